"""A command in a process of its own, watched by the one that was started: it says how the command ended, and ends what the
command leaves behind.

    intack ──fork──> the command, and all that it starts
       ^                  │
       └── exit status ───┘    told when its work is done, and only then

Code that is plugged in runs in the command's process and can end it, by os._exit, a signal, one call in C that never
returns. Then nobody is left there to say that the work was not done: a run that was cut short must not look like one that
found nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from conformance.adapters import guard
from conformance.adapters.ended import by
from conformance.adapters.source import Interrupted
from conformance.commands.status import FAILED, INTERRUPTED

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which a run is ended: what it has found until then is told."""
GRACE = 10
"""Seconds for telling it, and for the end of a process whose work is done."""


def supervised(work: Callable[[], int]) -> int:
    """The exit status that `work` comes to, in a child. Returns twice, as a fork does: in the child, too."""
    before = guard.children()  # of the shell that became this process
    reading, telling = os.pipe()
    watcher = os.getpid()
    guard.linux(guard.PR_SET_CHILD_SUBREAPER)
    child = os.fork()
    if not child:
        guard.linux(guard.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != watcher:
            os._exit(FAILED)
        for number in ENDING:
            signal.signal(number, _interrupt)
        status = work()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GRACE)  # threads that were left running are not waited for
        os.write(telling, bytes([status]))
        return status
    os.close(telling)
    ended = _wait(child)
    while left := set(guard.children()) - set(before):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):
        if told := os.read(reading, 1):
            return told[0]
    if not ended.by_us:
        what = f"The process of this command {by(ended.code)} before its work was done: nothing can be said."
        print(what, "What is plugged in runs in it, and may have ended it.", file=sys.stderr)
    return INTERRUPTED if ended.by_us else FAILED


class _Ended:
    def __init__(self) -> None:
        self.code = 0
        self.by_us = False


def _wait(child: int) -> _Ended:
    """Until it is over. It is told of signals once; if it does not end then, or is to end again, it is killed."""
    ended = _Ended()

    def end(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if ended.by_us else number)
        ended.by_us = True
        if number != signal.SIGINT:
            signal.alarm(GRACE)

    for number in (*ENDING, signal.SIGALRM):
        signal.signal(number, end)
    ended.code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ended


def _interrupt(*_: object) -> None:
    for number in ENDING:  # from a terminal it comes twice: from there, and from the watcher
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted
