"""A native program as a source of answers: built, then asked over the pipe protocol.

The program forks for each question, so a crash or an endless loop is an answer like any other. It reports addresses;
its debug information turns them into names and lines. A fork takes longer than the run in it, so runs go on behind
what was asked, and their answers ahead are kept until somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from conformance.adapters import protocol
from conformance.adapters.contained import MEMORY
from conformance.adapters.native.build import Build
from conformance.adapters.native.cache import scratch
from conformance.adapters.native.debuginfo import DebugInfo
from conformance.adapters.pipe import GRACE, STEP_SECONDS, Asked, PipeSource
from conformance.adapters.source import Fault
from conformance.roles.operations import Answer, Result

MOST_AHEAD = 1 << 16
"""Answers that nobody has asked for."""

Row = tuple[str, int, int, str, str]
"""Of the layout that the runtime is told: kind, address, bytes, name, types."""


class NativeProgram(PipeSource):
    """Builds sources into a program, at the first question, and asks it.

    `sources` are C, C++ and Rust files, compiled with the hooks, and objects and archives, linked as they are. A program
    that is not described (`DescribedProgram`) defines `intack_setup`; intack.h is on the include path. Relative paths in
    `cflags` are relative to `folder`, if it is given. `step_seconds` is for one run of a routine, in seconds.
    """

    what = "native program"
    at_once = 16  # an answer ahead may come with 32 KiB of others
    forgets = True
    """It answers each question in a process of its own."""
    glue: tuple[Path, ...] = ()
    """Files and folders that stand between the code under test and the suite: the line that called them is shown."""

    def __init__(
        self,
        sources: Sequence[Path | str],
        *,
        cflags: Sequence[str] = (),
        compiler: str = "",
        folder: Path | None = None,
        step_seconds: float = STEP_SECONDS,
        memory: int = MEMORY,
        world: protocol.WorldMessage | None = None,
    ) -> None:
        super().__init__((), world, step_seconds=step_seconds, memory=memory)
        self.sources = tuple(Path(source).absolute() for source in sources)
        self.cflags = tuple(cflags)
        self.compiler = compiler
        self.folder = folder
        self._built: Path | None = None

    def build(self) -> Path:
        """Compile and link, if need be. Raises NativeError."""
        if self._built is None or not self._built.exists():
            with scratch() as folder:
                sources, cflags = self.prepare(Path(folder))
                made = Build(sources, cflags, self.compiler, self.roots(), self.folder)
                self._built = made.program(Path(folder))
        return self._built

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        """The sources and flags to compile. A program that is made first is made here, in the build's own directory."""
        return self.sources, self.cflags

    def roots(self) -> Sequence[str]:
        """Symbols that have to be in the program even if nothing refers to them."""
        return ()

    @cached_property
    def debug(self) -> DebugInfo:
        return DebugInfo(self.build(), self.glue)

    def start_command(self) -> Sequence[str]:
        return [str(self.build())]

    # Answers ahead

    def _forget(self) -> None:
        super()._forget()
        self._ahead: dict[Asked, Any] = {}
        """As the program wrote them."""
        self._runs: dict[Asked, tuple[Result, ...]] = {}
        """What is asked for now, with the results that follow."""

    def answers(self, questions: Iterable[Asked]) -> list[Answer | Fault]:
        """Of questions that follow each other the first is asked for, with the results of the others."""
        wanted = list(questions)
        answers: dict[Asked, Answer | Fault] = {}
        with self._lock:
            while True:
                answers |= {q: answer for q in wanted if q not in answers and (answer := self._known(q))}
                self._runs = runs = _runs([question for question in wanted if question not in answers])
                if not runs:
                    return [answers[question] for question in wanted]
                answers |= zip(runs, super().answers(runs), strict=True)

    def follow(self, question: Asked) -> tuple[Result, ...] | None:
        return self._runs.get(question, ())

    def answered_ahead(self, question: protocol.Question, ahead: protocol.Ahead) -> None:
        if len(self._ahead) > MOST_AHEAD:
            self._ahead.clear()
        results = question.results
        for result, answer in zip((*(question.follow or ()), *ahead.results), ahead.answers, strict=False):
            results = (*results, protocol.result_of(result))
            self._ahead[question.routine, question.arguments, results] = answer

    def _known(self, question: Asked) -> Answer | Fault | None:
        raw = self._ahead.pop(question, None)
        return None if raw is None else self._answer(question, raw, "", b"")

    def _grace(self) -> float:
        return GRACE  # it keeps the limit of a step itself, and says where it was

    def place(self, site: str) -> str:
        return self.debug.line(*map(int, site.split())) if site else ""

    def failed_at(self, failure: protocol.Failure) -> str:
        if not failure.at:
            return ""
        where, *calls = failure.at
        return self.debug.line(where + (failure.kind in ("crash", "timeout")), *calls)  # there it is no return address

    def explain(self, failure: protocol.Failure) -> str:
        at, after = self.failed_at(failure), self.debug.line(failure.after) if failure.after else ""
        if failure.kind == "undeclared":
            writer, _, reader = failure.what.partition("outlives the call: ")[2].partition(" writes it and ")
            return (
                f"{self.debug.name_of(failure.object)} is not shared, but outlives the call: {writer} writes it at "
                f"{at or 'an unknown line'}, and {reader.removesuffix(' reads it')} reads it at {after or 'an unknown line'}. "
                "What one call leaves for another must be a shared location: describe it as one, or, if it is for "
                "statistics only, as private"
            )
        where = f" at {at}" if at else ""
        then = f", after its operation at {after}" if after and after != at else ""
        return f"{failure.what}{where}{then}"


def _runs(questions: Sequence[Asked]) -> dict[Asked, tuple[Result, ...]]:
    """Runs that come by all of these questions: the first on its way, and the results that follow it."""
    left = set(questions)
    runs: dict[Asked, tuple[Result, ...]] = {}
    for routine, args, results in sorted(questions, key=lambda question: -len(question[2])):
        before = len(results)
        while (routine, args, results[:before]) in left:
            left.remove((routine, args, results[:before]))
            before -= 1
        if before < len(results):
            runs[routine, args, results[: before + 1]] = results[before + 1 :]
    return runs
