"""A program that answers lines with lines, contained: it cannot hang, flood, outgrow or outlive the suite.

A guard (guard.py) stands between: it starts the program in a process group of its own with a limit on its memory, and
kills all that the program ever started when the program ends, when it is closed, and when the suite itself is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, TypeAlias

from conformance.adapters import guard
from conformance.adapters.ended import by

LONGEST_LINE = 1 << 20
"""Bytes of a reply; what is longer is garbage."""
STDERR_LINES = 200
STDERR_BYTES = 1 << 16
"""Of standard error, that much is kept and shown."""
TRIES = 20
"""Half seconds that its guard has for ending it."""
MEMORY = 2 << 30
"""Bytes of data that each of its processes may have."""

Gone: TypeAlias = Literal["crash", "timeout", "refused"]


class GoneError(Exception):
    """The program is of no more use: it ended, hung, or wrote something that is no line."""

    def __init__(self, kind: Gone, message: str) -> None:
        super().__init__(message)
        self.kind: Gone = kind


class Contained:
    """The running program. `close` ends it and all that it started; so does the end of this process."""

    def __init__(self, command: Sequence[str], *, memory: int = MEMORY) -> None:
        self.owner = os.getpid()
        self.command = tuple(command)
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        # Appending, so that what the program writes stands at the front again after a truncation.
        fcntl.fcntl(self.errors, fcntl.F_SETFL, os.O_APPEND)
        control, self.control = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(control), str(memory), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            start_new_session=True,
            pass_fds=[control],
        )
        os.close(control)
        self.close = weakref.finalize(self, _end, self.owner, self.control, self.process, self.errors)
        assert self.process.stdin
        assert self.process.stdout
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    @property
    def usable(self) -> bool:
        """Whether this process may talk to it: a fork has inherited pipes that are its parent's."""
        return self.close.alive and self.owner == os.getpid()

    def ask(self, line: bytes, seconds: float) -> bytes:
        """The one line that answers this one. Raises GoneError; after that, it can only be closed."""
        deadline = time.monotonic() + seconds
        os.ftruncate(self.errors.fileno(), 0)  # what it said about another question is not about this one
        reply = bytearray()
        try:
            while line:
                try:
                    line = line[os.write(self._in, line) :]
                except BlockingIOError:
                    self._wait(self._in, select.POLLOUT, deadline, seconds)
            while not reply.endswith(b"\n"):
                self._wait(self._out, select.POLLIN, deadline, seconds)
                part = os.read(self._out, 1 << 16)
                if not part:
                    raise self._ended(bytes(reply))
                reply += part
                if len(reply) > LONGEST_LINE:
                    raise GoneError("refused", f"it wrote a line of more than {LONGEST_LINE} bytes: {_start(reply)}")
        except BrokenPipeError:
            raise self._ended(b"") from None
        if reply.count(b"\n") > 1:
            raise GoneError("refused", f"it wrote several lines where one was due: {_start(reply)}")
        return bytes(reply)

    def say(self, line: bytes) -> None:
        """Write a line that has no answer."""
        with contextlib.suppress(OSError):
            os.write(self._in, line)

    def words(self) -> str:
        """The last that it wrote on standard error, as a sentence of its own; empty if nothing."""
        size = os.fstat(self.errors.fileno()).st_size
        said = os.pread(self.errors.fileno(), STDERR_BYTES, max(0, size - STDERR_BYTES)).decode(errors="replace")
        lines = said.strip().splitlines()[-STDERR_LINES:]
        return "\nIts standard error ends with:\n" + "\n".join(lines) if lines else ""

    def _wait(self, pipe: int, event: int, deadline: float, seconds: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise GoneError("timeout", f"no answer within {seconds:g} s")

    def _ended(self, half: bytes) -> GoneError:
        """The program has closed its pipes: as a rule because it is over."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return GoneError("crash", f"it closed its standard output{_in_between(half)}, but runs on")
        if code == guard.CANNOT_START and not half:
            return GoneError("refused", f"it does not start ({Path(self.command[0]).name})")
        return GoneError("crash", f"it {by(code)}{_in_between(half)}")


def _in_between(half: bytes) -> str:
    return f" in the middle of a line: {_start(half)}" if half else ""


def _start(text: bytes | bytearray) -> str:
    return repr(text[:120].decode(errors="replace")) + ("..." if len(text) > 120 else "")


def _end(owner: int, control: int, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    if os.getpid() == owner:  # a fork inherits the finalizer too
        os.close(control)
        for _ in range(TRIES):  # what it guards may have stopped it
            process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                break
        else:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, errors):
        if pipe:
            pipe.close()
