"""A C program that answers the pure function (routine, arguments, results so far) -> next operation or Return.

    sources --cc -fsanitize=thread--> objects --+
    runtime.c --cc--> object ------------------ld--> program <--one line a question, one line an answer--> NativeProgram

The program forks for each question, so a crash or an endless loop is an answer like any other.
"""

from __future__ import annotations

import copy
import fcntl
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

from conformance.engine.operations import WORD, Answer, AnyOperation, Result, Return
from conformance.engine.unfold import Fault

HERE = Path(__file__).parent

HOOKS = (
    "-fsanitize=thread",
    "--param=tsan-distinguish-volatile=1",  # a volatile access is meant to be atomic, a plain one may be a race
    # Turned into something else after the hooks are placed, or before, these would be accesses that nobody sees:
    "-fno-tree-loop-distribute-patterns",
    "-Dmemcpy=__tsan_memcpy",
    "-Dmemmove=__tsan_memmove",
    "-Dmemset=__tsan_memset",
    "-fno-tree-vectorize",  # an access is at most a 64-bit word: kernels have no vector registers
)
"""How gcc is told to call the runtime at each access."""

GRACE = 10.0
"""Seconds beyond the time limit of a run, for a program that does not keep it itself (in its set-up, say)."""

Kind: TypeAlias = Literal["build", "crash", "timeout", "refused"]

ADVICE: dict[Kind, str] = {
    "crash": "What it prints to standard error before is shown here, and tells how far it came.",
    "timeout": "A loop that waits for another agent must read memory declared with intack_share(); "
    "a slow run needs a longer time_limit.",
}


class NativeError(Fault):
    """A native program could not be built or gave no answer: what was asked, what happened, what to do.

    `kind`: build; crash (a signal, its own exit, garbage); timeout; refused (program or runtime says why it stops).
    """

    def __init__(self, message: str, kind: Kind, routine: str = "") -> None:
        super().__init__("TIMEOUT" if kind == "timeout" else "CRASH", message, routine)
        self.kind: Kind = kind


class NativeUnavailableError(NativeError):
    """Something has to be installed first."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "build")


class Failure(msgspec.Struct, frozen=True, tag_field="op", tag="error"):
    """In place of an operation: the run ended without one."""

    kind: Kind
    what: str


class Finish(msgspec.Struct, frozen=True, tag_field="op", tag="return"):
    """A Return as the runtime writes it: flat, because msgspec does not read the recursive type of a Result."""

    then: tuple[str | int, ...]
    value: bool | int | None


_decode = msgspec.json.Decoder(AnyOperation | Finish | Failure).decode


class NativeProgram:
    """Builds C sources into a program, at the first question, and asks it.

    `sources` are C files, compiled with the hooks, and `.o` files, linked as they are. One of them defines
    `intack_setup` (intack.h is on the include path). `time_limit` is for one run of a routine, in seconds.
    """

    def __init__(
        self,
        sources: Sequence[Path | str],
        *,
        cflags: Sequence[str] = (),
        compiler: str = "gcc",
        time_limit: float = 5.0,
    ) -> None:
        self.sources = tuple(map(Path, sources))
        self.cflags = tuple(cflags)
        self.compiler = compiler
        self.time_limit = time_limit
        self._folder: _Folder | None = None
        self._server: _Server | None = None
        self._lock = threading.RLock()

    def build(self) -> Path:
        """Compile and link, once. The executable goes when nobody uses it any more."""
        with self._lock:
            if self._folder is None:
                folder = _Folder()
                self._build(folder.path)
                self._folder = folder
            return self._folder.path / "program"

    def fresh(self) -> NativeProgram:
        """The same program in a process of its own."""
        self.build()
        other = copy.copy(self)
        other._server, other._lock = None, threading.RLock()
        return other

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        """The sources and flags to compile. A program that is made first is made here, in the build's own directory."""
        return self.sources, self.cflags

    def next(self, routine: str, args: tuple[Result, ...], results: tuple[Result, ...]) -> Answer:
        """The operation that `routine` asks for after `results`, or its Return."""
        with self._lock:
            asked = f"asked for {routine}({', '.join(map(repr, args))}) after the results {results!r}"
            line = " ".join((*_tokens((routine, *args), asked), ";", *_tokens(results, asked)))
            self.build()
            try:
                answer = _decode(self._ask(line))
            except (NativeError, msgspec.MsgspecError) as error:
                words = self._server.words() if self._server else ""
                self.close()
                kind = error.kind if isinstance(error, NativeError) else "crash"
                raise NativeError(f"{asked}, the native program failed: {error}.{words}", kind, routine) from None
            if isinstance(answer, Failure):
                what = f"{answer.what}. {ADVICE.get(answer.kind, '')}".strip()
                words = self._server.words() if self._server else ""
                raise NativeError(f"{asked}, the native program failed: {what}{words}", answer.kind, routine)
            return Return(answer.then, answer.value) if isinstance(answer, Finish) else answer

    def close(self) -> None:
        """End the program and all that it started. The next question starts it again."""
        with self._lock:
            if self._server is not None:
                self._server.close()
                self._server = None

    def _ask(self, line: str) -> bytes:
        limit = self.time_limit + GRACE
        if self._server is not None and self._server.owner == os.getpid():  # a fork must not use its parent's pipes
            self._server.forget_words()
            try:
                return self._server.ask(line, limit)
            except _VanishedError:
                pass  # The thread that started it has ended, say. It keeps nothing, so another one will do.
        self._server = _Server([str(self.build()), str(max(1, round(self.time_limit * 1000)))])
        return self._server.ask(line, limit)

    def _build(self, folder: Path) -> None:
        sources, cflags = self.prepare(folder)
        objects = [folder / "runtime.o"]
        self._run("compile the runtime", "-std=gnu11", "-O1", "-c", HERE / "runtime.c", "-o", objects[0])
        for number, source in enumerate(sources):
            if source.suffix == ".o":
                objects.append(source)
                continue
            objects.append(folder / f"{number}-{source.stem}.o")
            flags = ("-O2", "-g", *HOOKS, f"-I{HERE}", *cflags)
            self._run(f"compile {source}", *flags, "-c", source, "-o", objects[-1])
        # Not position-independent: static data have the same addresses in every process. Static: it forks faster.
        link = ("-no-pie", *objects, "-o", folder / "program")
        try:
            self._run("link the program", "-static", *link)
        except NativeError:
            self._run("link the program", *link)

    def _run(self, purpose: str, *arguments: str | Path) -> None:
        command = [self.compiler, *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        except OSError as error:
            raise NativeUnavailableError(
                f"to {purpose}, the compiler {self.compiler!r} cannot be started ({error.strerror}). "
                "Install it (Debian: apt-get install gcc libc6-dev), or name another one."
            ) from None
        if done.returncode:
            raise NativeError(f"could not {purpose}: {' '.join(command)}\n{done.stderr.strip()[-8000:]}", "build")


class _VanishedError(NativeError):
    """The whole program has ended, not just one run."""


class _Folder:
    """A directory that goes with its last user."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="intack-native-"))
        weakref.finalize(self, _in_process, os.getpid(), shutil.rmtree, self.path, True)


class _Server:
    """The running program: a parent that forks a child for each question, in a process group of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self.owner = os.getpid()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the program)
        # Appending, so that what the program writes stands at the front again after a truncation.
        fcntl.fcntl(self.errors, fcntl.F_SETFL, os.O_APPEND)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _in_process, self.owner, _end, self.process, self.errors)
        assert self.process.stdin
        assert self.process.stdout
        self.questions, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.questions, False)
        os.set_blocking(self.answers, False)

    def ask(self, line: str, limit: float) -> bytes:
        """The one line that answers this one. After an error, the program is of no more use."""
        deadline = time.monotonic() + limit
        question, reply = line.encode() + b"\n", b""
        while question:
            try:
                question = question[os.write(self.questions, question) :]
            except BlockingIOError:
                self._wait(self.questions, select.POLLOUT, deadline, limit)
            except BrokenPipeError:
                raise self._vanished() from None
        while not reply.endswith(b"\n"):
            self._wait(self.answers, select.POLLIN, deadline, limit)
            part = os.read(self.answers, 1 << 16)
            if not part:
                raise self._vanished()
            reply += part
        return reply

    def forget_words(self) -> None:
        """What it printed for another question is not about the next one."""
        os.ftruncate(self.errors.fileno(), 0)

    def words(self) -> str:
        """The last that the program said on its standard error."""
        size = os.fstat(self.errors.fileno()).st_size
        said = os.pread(self.errors.fileno(), 4000, max(0, size - 4000)).decode(errors="replace").strip()
        return f"\nIts standard error ends with:\n{said}" if said else ""

    def _wait(self, pipe: int, event: int, deadline: float, limit: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise NativeError(
                f"no answer within {limit:g} s, although a run has less: it hangs in its set-up", "timeout"
            )

    def _vanished(self) -> _VanishedError:
        self.process.wait()
        return _VanishedError(f"it ended with status {self.process.returncode}, in its set-up or from outside", "crash")


def _in_process(owner: int, call: object, *arguments: object) -> None:
    """Clean up in the process that made the mess only: a fork inherits the finalizers, too."""
    if os.getpid() == owner and callable(call):
        call(*arguments)


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    if process.poll() is None:  # if it ended before, its children did with it, and the number may be another's by now
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, errors):
        if pipe:
            pipe.close()
    process.wait()


def _tokens(values: Iterable[Result], asked: str) -> Iterator[str]:
    """Values as the runtime reads them; C has no JSON parser."""
    for value in values:
        if value is None:
            yield "-"
        elif isinstance(value, bool):
            yield "t" if value else "f"
        elif isinstance(value, int):
            if not -(1 << 63) <= value <= WORD:
                raise NativeError(f"{asked}: {value} does not fit into 64 bits", "refused")
            yield str(value)
        elif isinstance(value, str):
            if not value.isascii() or not value.isprintable() or " " in value:
                raise NativeError(
                    f"{asked}: a name is made of printable ASCII without spaces, unlike {value!r}", "refused"
                )
            yield "'" + value
        else:
            yield from ("(", *_tokens(value, asked), ")")
