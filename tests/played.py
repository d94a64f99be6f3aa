"""A routine that runs alone, against a memory that is a dictionary."""

from __future__ import annotations

from collections.abc import Callable

from conformance.adapters.pipe import PipeSource
from conformance.roles.operations import (
    Answer,
    CpuId,
    Interrupts,
    ListOf,
    Load,
    Operation,
    Result,
    Return,
    Rmw,
    Store,
    Value,
    Wake,
)

Memory = dict[str, Value]


def perform(memory: Memory, operation: Operation) -> Result:
    """What a lone CPU would see."""
    match operation:
        case Load(at, mask):
            value = memory.get(at, 0)
            return value & mask if isinstance(value, int) else value
        case Store(at, value, mask):
            old = memory.get(at, 0)
            memory[at] = old & ~mask | value if isinstance(value, int) and isinstance(old, int) else value
        case Rmw(at, how, value, mask, expect):
            old = memory.get(at, 0)
            assert isinstance(old, int)
            assert not (value | expect) & ~mask
            new = {
                "swap": value,
                "or": old | value,
                "and": old & value,
                "xor": old ^ value,
                "add": old + value,
                "cas": value if old & mask == expect else old,
            }[how]
            memory[at] = old & ~mask | new & mask
            return old & mask
        case Interrupts() | Wake():
            return True
        case CpuId():
            return 2
        case ListOf(name, lists):
            return next((n for n, at in enumerate(lists) if name in memory.get(at, ())), -1)  # type: ignore[operator]
        case _:
            pass
    return None


def play(
    program: PipeSource,
    routine: str,
    *args: Result,
    memory: Memory | None = None,
    before: Callable[[Answer, Memory], None] = lambda answer, memory: None,
) -> list[Answer]:
    """All that the routine asks for when it runs alone; `before` may come between."""
    memory = {} if memory is None else memory
    answers: list[Answer] = []
    results: tuple[Result, ...] = ()
    while not answers or not isinstance(answers[-1], Return):
        answers.append(program.next(routine, args, results))
        before(answers[-1], memory)
        results = (*results, perform(memory, answers[-1]) if isinstance(answers[-1], Operation) else None)
    return answers
