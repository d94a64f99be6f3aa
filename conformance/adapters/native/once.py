"""A program that forgets each question, asked once: what it has said in a world it says in every scenario that tells it the same.

    scenario ──what it is told of──> Once ──questions that are new──> the program in that world

That it says the same when it is asked again is found out once, too: `fresh` asks another program of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from conformance.adapters import protocol
from conformance.adapters.pipe import PipeSource
from conformance.adapters.source import Fault, Question, Source
from conformance.roles.operations import Answer, Result

WORLDS = 64
"""In so many it is remembered what was said."""
IDLE = 32
"""Programs that go on running while nobody asks them: to start one takes as long as a hundred answers."""


class Once:
    """A source. A question that had no answer is asked again."""

    forgets = True

    def __init__(self, program: PipeSource, idle: dict[Once, None]) -> None:
        self.program, self.idle = program, idle
        self.said: dict[Question, Answer] = {}
        self.again: Once | None = None

    def next(self, routine: str, args: tuple[Result, ...], results: tuple[Result, ...]) -> Answer:
        question = (routine, args, results)
        answer = self.said.get(question)
        if answer is None:
            answer = self.said[question] = self.program.next(*question)
        return answer

    def answers(self, questions: Sequence[Question]) -> list[Answer | Fault]:
        new = [question for question in questions if question not in self.said]
        answered = dict(zip(new, self.program.answers(new), strict=True))
        self.said |= {question: answer for question, answer in answered.items() if not isinstance(answer, Fault)}
        return [answered[question] if question in answered else self.said[question] for question in questions]

    def site(self, routine: str, args: tuple[Result, ...], results: tuple[Result, ...]) -> str:
        return self.program.site(routine, args, results)

    def fresh(self) -> Source:
        """Shares nothing with this one; each time it is the same."""
        self.again = self.again or Once(self.program.fresh(), self.idle)
        return self.again

    def close(self) -> None:
        """Nobody asks for now."""
        self.program.begin_anew()
        self.idle.pop(self, None)
        self.idle[self] = None
        if len(self.idle) > IDLE:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            oldest.program.close()


def asked_once(program: PipeSource, told: Callable[[Any], protocol.WorldMessage]) -> Callable[[Any], Source]:
    """Makes the sources of a program. `told`: what it is told of a world, which should be no more than it looks at."""
    sources: dict[bytes, Once] = {}
    idle: dict[Once, None] = {}

    def source(world: Any) -> Source:
        message = told(world)
        key = msgspec.json.encode(message, order="deterministic")
        sources[key] = sources.pop(key, None) or Once(program.in_world(message), idle)
        if len(sources) > WORLDS:
            del sources[next(iter(sources))]  # used longest ago
        return sources[key]

    return source
