"""What every adapter makes of what was plugged in: a source, which answers (routine, arguments, results so far) with the
next operation, and what it raises where it cannot.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from conformance.roles import operations as ops

Question: TypeAlias = tuple[str, tuple[ops.Result, ...], tuple[ops.Result, ...]]
"""Routine, arguments, results so far."""


class Fault(Exception):
    """The implementation itself misbehaved: the exploration that met it cannot go on.

    `status` is the verdict it causes (CRASH, TIMEOUT, NONDETERMINISTIC, UNKNOWN); the message names the routine, what
    happened, and what to do. `what` is what happened alone, and `at` the line of code (file:line), where they are known.
    `notes` is what the machine's step had done until then.
    """

    def __init__(self, status: str, message: str, routine: str = "", *, what: str = "", at: str = "") -> None:
        super().__init__(message)
        self.status, self.routine, self.at = status, routine, at
        self.what = what or message.partition("\n")[0]
        self.notes: tuple[Any, ...] = ()


class Interrupted(KeyboardInterrupt):
    """By a signal, and so by whoever runs the suite: a KeyboardInterrupt that code under test raises is its own."""


def from_outside(error: BaseException) -> bool:
    """Whether it comes over code under test, rather than from it. Where Python's own handler of Ctrl-C is in place nobody can tell."""
    if isinstance(error, Interrupted):
        return True
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Line(NamedTuple):
    """A line of code under test: file, number from 1, and the function it belongs to (each empty or 0 if unknown)."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" if self.number else self.file


class Source(Protocol):
    """An implementation as the engine sees it: the pure function. `forgets` is set where no question can leave anything
    behind for another.
    """

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        """The operation that follows `results`, or Return. Raises Fault."""
        ...

    def fresh(self) -> Source:
        """A new instance that shares nothing with this one."""
        ...


def answers_of(source: Source, questions: Sequence[Question]) -> Iterable[ops.Answer | Fault]:
    """The answers to many questions: at one go, where the source can, else as they are asked for."""
    at_once = getattr(source, "answers", None)
    return at_once(questions) if at_once else (source.next(*question) for question in questions)


def close(source: Source) -> None:
    """End the program that answers, if there is one. Asked again, it starts again."""
    end = getattr(source, "close", None)
    if end:
        end()
