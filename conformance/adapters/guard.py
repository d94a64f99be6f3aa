"""Runs one command and outlives it: when its caller lets go of it, everything that the command started is killed.

    caller ──control pipe──> guard ──> command, and what it starts

    python -I -S guard.py CONTROL MEMORY COMMAND...

The caller holds the other end of the pipe CONTROL. Whether it closes it or is killed, the guard reads the end of the
file, and kills. Processes that leave the command's group are found too: on Linux the guard adopts them. It ends as the
command did. MEMORY limits the data of each process, in bytes (0: no limit). This file imports nothing of the project,
so that it starts fast.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FILE = 64 << 20
"""Bytes of the longest file that the command may write: standard error is one."""
CANNOT_START = 127


def main(control: int, memory: int, command: list[str]) -> None:
    """Never returns."""
    linux(PR_SET_CHILD_SUBREAPER)
    os.set_inheritable(control, False)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    guard, child = os.getpid(), os.fork()
    if child == 0:
        start(guard, memory, command)
    nothing = os.open(os.devnull, os.O_RDWR)
    for inherited in (0, 1):  # the command's own, so that each side sees when the other is gone
        os.dup2(nothing, inherited)
    status = None
    while status is None:
        ready, _, _ = select.select([control, woken], [], [])
        if control in ready:
            break
        os.read(woken, 512)
        status = reaped(child)
    kill(child)
    code = os.waitstatus_to_exitcode(status) if status is not None else 0
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(guard, -code)
    os._exit(code)


def start(guard: int, memory: int, command: list[str]) -> None:
    """Becomes the command, in a process group of its own. Never returns."""
    os.setpgid(0, 0)
    linux(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(CANNOT_START)
    signal.set_wakeup_fd(-1)
    for ignored in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


def reaped(child: int) -> int | None:
    """The status of the command, if it is over. Buries what else has ended."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = ended


def kill(child: int) -> None:
    """The command's group and all descendants, until none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    while True:
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # what it had started becomes the guard's own, and is found the next time round
        except ChildProcessError:
            return


def children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as known:
            return [int(pid) for pid in known.read().split()]
    except OSError:  # not Linux: the group is all that is known
        return []


def linux(*request: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(*request, *(1,) * (5 - len(request)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
