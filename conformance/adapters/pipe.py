"""`exec:COMMAND`: an implementation in any language, as a program that answers lines of JSON on its standard output.

    suite ──hello, step, bye──> Contained ──> program            docs/protocol.md says what is written there

The program is a pure function, so that nothing is lost with it: when it dies it is started again, greeted again and
asked the same question again. What it does wrong twice for the same question is its verdict.
"""

from __future__ import annotations

import copy
import os
import shlex
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from conformance.adapters import protocol
from conformance.adapters.contained import MEMORY, Contained, GoneError
from conformance.adapters.declared import implementation_of, world_of
from conformance.adapters.registry import AdapterError, Implementation
from conformance.adapters.source import Fault
from conformance.roles.operations import Answer, Result

Kind: TypeAlias = Literal["build", "crash", "timeout", "refused", "undeclared", "protocol"]
Asked: TypeAlias = tuple[str, tuple[Result, ...], tuple[Result, ...]]
"""A question: routine, arguments, results so far."""

STEP_SECONDS = 5.0
RUN_SECONDS = 1800.0
RESTARTS = 5
GRACE = 10.0
"""Seconds beyond the limit of a step, for a program that keeps the limit itself and says more about it."""
ADVICE: Mapping[str, str] = {
    "crash": "What it writes to standard error before is shown here, and tells how far it came.",
    "timeout": "A loop that waits for another agent must read locations and call relax; a slow step needs a longer limit.",
    "protocol": "docs/protocol.md says what is due; conformance/adapters/protocol.schema.json is its schema.",
}


class PipeError(Fault):
    """A program gave no answer: what was asked, what happened, what to do.

    `kind`: build; crash (a signal, its own exit); timeout; refused (the program says why it stops, or does not start);
    undeclared (memory that outlives a call); protocol (what it wrote is not what is due).
    """

    def __init__(self, message: str, kind: Kind, routine: str = "", *, what: str = "", at: str = "") -> None:
        super().__init__("TIMEOUT" if kind == "timeout" else "CRASH", message, routine, what=what, at=at)
        self.kind: Kind = kind


class PipeSource:
    """The program as a source of answers in one world. Started at the first question.

    `step_seconds` limits one step, `run_seconds` all waiting together, `memory` the bytes of data of each of its
    processes, `restarts` how often it is started again.
    """

    what = "program"
    at_once = 64
    """Questions in a step."""

    def __init__(
        self,
        command: Sequence[str],
        world: protocol.WorldMessage | None = None,
        *,
        step_seconds: float = STEP_SECONDS,
        run_seconds: float = RUN_SECONDS,
        memory: int = MEMORY,
        restarts: int = RESTARTS,
    ) -> None:
        self.command = tuple(command)
        self.world = world or protocol.WorldMessage()
        self.step_seconds, self.run_seconds, self.memory, self.restarts = step_seconds, run_seconds, memory, restarts
        self._forget()

    def _forget(self) -> None:
        self._program: Contained | None = None
        self._declaration: protocol.Declaration | None = None
        self._lock = threading.RLock()
        self._sites: dict[Asked, str] = {}
        self._lost_programs = self._id = 0
        self._waited = 0.0

    # What subclasses fill in

    def start_command(self) -> Sequence[str]:
        """What to run. Raises PipeError."""
        return self.command

    def layout(self) -> tuple[tuple[str, int, int, str, str], ...]:
        return ()

    def explain(self, failure: protocol.Failure) -> str:
        """A failure that the program itself reports, in words."""
        return failure.what

    def failed_at(self, failure: protocol.Failure) -> str:
        """The line where it failed (file:line), if it is known."""
        return ""

    def place(self, site: str) -> str:
        """Where an operation was asked for, as people write it."""
        return site

    def follow(self, question: Asked) -> tuple[Result, ...] | None:
        """Results that may come after a question, if answers ahead are wanted."""
        return None

    def answered_ahead(self, question: protocol.Question, ahead: protocol.Ahead) -> None:
        """What comes after a question."""

    # The source

    def fresh(self) -> PipeSource:
        """The same program in a process of its own."""
        other = copy.copy(self)
        other._forget()
        return other

    def in_world(self, world: protocol.WorldMessage) -> PipeSource:
        """The same program, asked about another scenario."""
        other = self.fresh()
        other.world = world
        return other

    def next(self, routine: str, args: tuple[Result, ...], results: tuple[Result, ...]) -> Answer:
        """The operation that `routine` asks for after `results`, or its Return. Raises PipeError."""
        (answer,) = self.answers([(routine, args, results)])
        if isinstance(answer, Fault):
            raise answer
        return answer

    def answers(self, questions: Iterable[Asked]) -> list[Answer | Fault]:
        """The answers to many questions, a fault where there is none; sent in batches."""
        wanted = list(questions)
        answers: list[Answer | Fault] = []
        with self._lock:
            while len(answers) < len(wanted):
                batch = wanted[len(answers) : len(answers) + self.at_once]
                try:
                    answers += self._step(batch)
                except PipeError as error:
                    if len(batch) == 1 or self._lost_programs > self.restarts:
                        answers += [error] * len(batch)
                    else:  # which of them it was is found out one by one
                        answers += [answer for question in batch for answer in self.answers([question])]
        return answers

    def site(self, routine: str, args: tuple[Result, ...], results: tuple[Result, ...]) -> str:
        """Where in the code this question's operation was asked for, if the program said so."""
        return self.place(self._sites.get((routine, args, results), ""))

    def declaration(self) -> protocol.Declaration:
        """What the program offers. Starts it. Raises PipeError."""
        with self._lock:
            self._running("asked what it offers")
            assert self._declaration
            return self._declaration

    def begin_anew(self) -> None:
        """What limits a run counts from here on."""
        self._lost_programs, self._waited = 0, 0.0

    def close(self) -> None:
        """End the program and all that it started. The next question starts it again."""
        with self._lock:
            if self._program is not None and self._program.usable:
                self._program.say(protocol.encode(protocol.Bye()))
                self._program.close()
            self._program = None

    # One exchange

    def _step(self, questions: Sequence[Asked]) -> list[Answer | Fault]:
        """Ask, twice if the program dies of it the first time."""
        asked = f"asked for {_shown(questions[0])}" + f" and {len(questions) - 1} more" * (len(questions) > 1)
        routine = questions[0][0]
        self._id += 1
        try:
            asking = [protocol.Question(*question, self.follow(question)) for question in questions]
            for question in asking:
                protocol.check_value((question.routine, question.arguments, question.results, question.follow))
            line = protocol.encode(protocol.Step(self._id, tuple(asking)))
        except protocol.ProtocolError as error:
            raise PipeError(f"{asked}: {error}", "refused", routine) from None
        try:
            reply = self._exchange(line, asked, len(questions))
        except PipeError as first:
            if first.kind != "crash":
                raise PipeError(str(first), first.kind, routine, what=first.what) from None
            try:
                reply = self._exchange(line, asked, len(questions))
            except PipeError as again:
                raise PipeError(
                    f"{again}\nIt was started anew for it, and did so twice.", again.kind, routine, what=again.what
                ) from None
        if not isinstance(reply, protocol.Answers) or reply.id != self._id or len(reply.answers) != len(questions):
            raise self._misses(
                asked, line, f"an answer to step {self._id} with {len(questions)} answers", reply, routine
            )
        for question, ahead in zip(asking, reply.ahead, strict=False):
            self.answered_ahead(question, ahead)
        return [
            self._answer(question, raw, asked, line) for question, raw in zip(questions, reply.answers, strict=True)
        ]

    def _exchange(self, line: bytes, asked: str, count: int) -> protocol.Reply:
        program = self._running(asked)
        before = time.monotonic()
        try:
            if self._waited > self.run_seconds:
                raise GoneError("timeout", f"it has taken {self.run_seconds:g} s for this run, which is its limit")
            return protocol.decode(program.ask(line, (self.step_seconds + self._grace()) * count))
        except GoneError as gone:
            raise self._lost(asked, str(gone), gone.kind) from None
        except protocol.ProtocolError as error:
            raise self._lost(asked, f"it wrote {error}\nsent: {_cut(line)}", "protocol") from None
        finally:
            self._waited += time.monotonic() - before

    def _grace(self) -> float:
        return 0.0

    def _running(self, asked: str) -> Contained:
        """The program, greeted. Raises PipeError."""
        if self._program is not None and self._program.usable:
            return self._program
        command, layout = self.start_command(), self.layout()
        if self._lost_programs > self.restarts:
            raise PipeError(
                f"{asked}, the {self.what} has failed {self._lost_programs} times: {self.restarts} restarts are allowed. "
                "See what it died of before: run `intack smoke` on it.",
                "crash",
            )
        limit = round(self.step_seconds * 1000)
        hello = protocol.encode(protocol.Hello(protocol.VERSION, self.world, max(1, limit), layout))
        try:
            self._program = Contained(command, memory=self.memory)
        except OSError as error:
            raise PipeError(f"the {self.what} cannot be started: {error}", "refused") from None
        try:
            reply = protocol.decode(self._program.ask(hello, self.step_seconds + GRACE))
        except GoneError as gone:
            raise self._lost("when greeted", str(gone), gone.kind) from None
        except protocol.ProtocolError as error:
            raise self._lost("when greeted", f"it wrote {error}\nsent: {_cut(hello)}", "protocol") from None
        if isinstance(reply, protocol.Trouble):
            raise self._lost("when greeted", f"it gave up: {reply.what}", "refused")
        if not isinstance(reply, protocol.Declaration) or reply.version != protocol.VERSION:
            found = f"version {reply.version}" if isinstance(reply, protocol.Declaration) else _named(reply)
            raise self._lost(
                "when greeted", f"it answered with {found}, not with version {protocol.VERSION}", "protocol"
            )
        self._declaration = reply
        return self._program

    def _lost(self, asked: str, how: str, kind: Kind) -> PipeError:
        """The program cannot be asked any more: it is closed."""
        words = self._program.words() if self._program else ""
        if self._program:
            self._program.close()
            self._program = None
            self._lost_programs += 1
        what, *more = f"the {self.what} failed: {how}".split("\n")
        advice = ("\n" if more else ". ") + f"{ADVICE.get(kind, '')} {_when(asked)}.".lstrip()
        return PipeError("\n".join((what, *more)) + advice + words, kind, what=what)

    def _misses(self, asked: str, line: bytes, due: str, reply: object, routine: str) -> PipeError:
        got = _named(reply)
        kind: Kind = "refused" if isinstance(reply, protocol.Trouble) else "protocol"
        lost = self._lost(asked, f"{due} was due\n    sent: {_cut(line)}\n    got: {got}", kind)
        return PipeError(str(lost), kind, routine, what=lost.what)

    def _answer(self, question: Asked, raw: Any, asked: str, line: bytes) -> Answer | Fault:
        try:
            answer, site = protocol.answer_of(raw)
        except protocol.ProtocolError as error:
            return self._misses(asked, line, f"an operation ({error})", raw, question[0])
        if not isinstance(answer, protocol.Failure):
            if site:
                self._sites[question] = site
            return answer
        words = self._program.words() if self._program else ""
        what = f"the {self.what} failed: {self.explain(answer)}"
        told = " ".join(
            filter(None, (f"{what}.", ADVICE.get(answer.kind), f"It was asked for {_shown(question)}.{words}"))
        )
        return PipeError(told, answer.kind, question[0], what=what, at=self.failed_at(answer))


def adapter(argument: str) -> Implementation:
    """A program in any language that answers lines of JSON: exec:COMMAND (docs/protocol.md)."""
    try:
        command = shlex.split(argument)
    except ValueError as error:
        raise AdapterError(f"exec:{argument}: the command cannot be split into words: {error}") from None
    if not command:
        raise AdapterError("exec: needs a command after the colon, such as exec:'node posted.mjs'")
    program = PipeSource(command)
    try:
        declared = program.declaration()
    except PipeError as error:
        raise AdapterError(f"exec:{argument}: {error}") from None
    finally:
        program.close()
    name = declared.name or os.path.basename(command[-1])
    return implementation_of(declared, name, f"exec:{argument}", lambda world: program.in_world(world_of(world)))


def _named(reply: object) -> str:
    if isinstance(reply, protocol.Answers):
        return f"answers to step {reply.id}, {len(reply.answers)} of them"
    if isinstance(reply, protocol.Trouble):
        return f"that it gave up: {reply.what}"
    if isinstance(reply, protocol.Declaration):
        return f"a hello of version {reply.version}"
    return _cut(repr(reply).encode())


def _shown(question: Asked) -> str:
    routine, args, results = question
    return f"{routine}({', '.join(map(repr, args))}) after the results {results!r}"


def _when(asked: str) -> str:
    return f"That was {asked}" if asked.startswith("when") else f"It was {asked}"


def _cut(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return text if len(text) <= 600 else f"{text[:600]}... ({len(text)} characters)"
