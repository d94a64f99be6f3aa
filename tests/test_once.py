"""A program that is asked once for all scenarios that tell it the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.native.once import IDLE, asked_once
from conformance.adapters.protocol import WorldMessage
from conformance.adapters.source import Fault, Question, Source
from conformance.roles.operations import Answer, Return
from reference.linux.arm64 import HERE as ARM64
from reference.linux.program import KernelProgram
from reference.linux.tree import Tree
from reference.linux.x86 import HERE as X86

FIRST, SECOND = ("load", ("vcpu0",), ()), ("load", ("vcpu0",), (3,))


class Program:
    """Stands for a native one: says how often it was asked, and in which world. Questions of `broken` have no answer."""

    def __init__(self, asked: list[tuple[int, Question]], running: set[object], cpus: int = 0) -> None:
        self.asked, self.running, self.cpus = asked, running, cpus
        self.broken: set[Question] = set()

    def in_world(self, world: WorldMessage) -> Program:
        return Program(self.asked, self.running, world.cpus)

    def fresh(self) -> Program:
        return Program(self.asked, self.running, self.cpus)

    def next(self, *question: Any) -> Answer:
        (answer,) = self.answers([question])
        if isinstance(answer, Fault):
            raise answer
        return answer

    def answers(self, questions: Sequence[Question]) -> list[Answer | Fault]:
        self.asked += [(self.cpus, question) for question in questions]
        self.running.add(self)
        said = Return(value=len(self.asked))
        return [Fault("CRASH", "no") if question in self.broken else said for question in questions]

    def begin_anew(self) -> None:
        """It has no limits."""

    def close(self) -> None:
        self.running.discard(self)


@pytest.fixture
def asked() -> list[tuple[int, Question]]:
    return []


@pytest.fixture
def running() -> set[object]:
    return set()


@pytest.fixture
def source(asked: list[tuple[int, Question]], running: set[object]) -> Callable[[WorldMessage], Source]:
    program: Any = Program(asked, running)
    return asked_once(program, lambda world: world)


def test_what_was_said_counts_where_it_is_told_the_same(
    source: Callable[[WorldMessage], Any], asked: list[tuple[int, Question]]
) -> None:
    first = source(WorldMessage(cpus=2))
    said = first.next(*FIRST)
    first.close()
    again = source(WorldMessage(cpus=2))
    assert again.next(*FIRST) == said and again.answers([SECOND, FIRST])[1] == said
    assert asked == [(2, FIRST), (2, SECOND)]
    source(WorldMessage(cpus=3)).next(*FIRST)
    assert asked[2:] == [(3, FIRST)]


def test_a_fresh_one_is_asked_itself_and_once_too(
    source: Callable[[WorldMessage], Any], asked: list[tuple[int, Question]]
) -> None:
    said = source(WorldMessage()).next(*FIRST)
    again = [source(WorldMessage()).fresh().next(*FIRST) for _ in range(2)]
    assert again[0] != said and again[0] == again[1] and len(asked) == 2, "one that differs is met in every scenario"


def test_what_had_no_answer_is_asked_again(
    source: Callable[[WorldMessage], Any], asked: list[tuple[int, Question]]
) -> None:
    once = source(WorldMessage())
    once.program.broken.add(FIRST)
    with pytest.raises(Fault):
        once.next(*FIRST)
    assert isinstance(once.answers([FIRST])[0], Fault)
    once.program.broken.clear()
    assert isinstance(once.next(*FIRST), Return) and len(asked) == 3


def test_only_so_many_go_on_running(source: Callable[[WorldMessage], Any], running: set[object]) -> None:
    for cpus in range(IDLE + 3):
        once = source(WorldMessage(cpus=cpus))
        once.next(*FIRST)
        once.close()
    assert {program.cpus for program in running if isinstance(program, Program)} == {*range(3, IDLE + 3)}


@pytest.mark.parametrize(
    ("folder", "facts", "vectors"), [(X86, ("halt-polling",), ()), (ARM64, ("unabridged", "gicv4.1"), (32, 33))]
)
def test_the_kernel_is_told_what_its_harness_looks_at(
    folder: Path, facts: tuple[str, ...], vectors: tuple[int, ...]
) -> None:
    program = KernelProgram(Tree(folder), folder, (), ())
    world = WorldMessage(
        vcpus=("vcpu0",),
        cpus=2,
        vectors=(32, 33),
        facts=("halt-polling", "unabridged", "gicv4.1", "two-posts"),
        locations={"a": "word"},
    )
    assert program.told(world) == WorldMessage(vcpus=("vcpu0",), cpus=2, vectors=vectors, facts=facts)
