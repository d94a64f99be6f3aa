"""How a process ended, in words."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable


def by(code: int) -> str:
    """By its exit status; by the signal, where that is negative."""
    return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit status {code}"


def by_trying(work: Callable[[], object]) -> str:
    """How `work` ends the process that does it, in words; nothing if it does not. It is tried in a child, unheard."""
    reading, telling = os.pipe()
    child = os.fork()
    if not child:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        with contextlib.suppress(BaseException):  # who does it for good is told
            work()
        os.write(telling, b"done")
        os._exit(0)
    os.close(telling)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if told else by(code)
