"""From a schedule to a trace: the facts of each step, and what it changed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from conformance.adapters.source import Fault
from conformance.automaton.meaning import seen
from conformance.automaton.unfold import Node
from conformance.machine.facts import Happened, Modifies, Reads, SetsInterrupts, Wakes
from conformance.machine.machine import Machine
from conformance.machine.state import Cell, Note
from conformance.roles.operations import Result, Return, Value
from conformance.search.decisive import decides
from conformance.search.proof import BreakingSchedule, walk

Held: TypeAlias = int | str | tuple[int | str, ...]
"""What the machine keeps somewhere: a word, a list; who holds a lock ("" nobody), what state a thread is in; vectors."""


class Change(msgspec.Struct, frozen=True):
    """What a step leaves different. `at` is a location, or what the machine calls a part of its own: cpu0.interrupts (the
    flag), cpu0.latched and cpu0.in_flight (vectors), vcpu0.status.
    """

    at: str
    old: Held
    new: Held


class Alternative(msgspec.Struct, frozen=True):
    """A step that could have been taken instead: whose, and what it would have done first."""

    agent: str
    fact: Happened | None = None


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `agent` took it, in a handler or not; `facts` are what it did, first what others notice; `breaks` is set
    on the step that breaks the clause, or shows what it allows.
    """

    number: int
    agent: str
    in_handler: bool = False
    facts: tuple[Happened, ...] = ()
    changes: tuple[Change, ...] = ()
    breaks: bool = False
    instead: tuple[Alternative, ...] = ()
    """What other agents could have done here, or this one by another choice."""

    @property
    def routine(self) -> str:
        """Whose call it goes on with, "" if it is none's."""
        return next((fact.routine for fact in self.facts if fact.routine), "")


def trace(machine: Machine, found: BreakingSchedule) -> tuple[TraceStep, ...]:
    """The steps of a schedule. Raises KeyError where it does not fit."""
    walked = list(walk(machine, found.schedule))
    held = _held(machine, [machine.initial, *(after for _, _, after in walked)])
    return tuple(
        TraceStep(
            number=number,
            agent=machine.agents[index].name,
            in_handler=bool(outcome.lane),
            facts=tuple(told(note, held) for note in outcome.notes),
            changes=_changes(machine, before, after),
            breaks=not found.at_rest and number == found.steps,
            instead=_instead(machine, before, index, choice),
        )
        for number, ((index, choice), (before, outcome, after)) in enumerate(
            zip(found.schedule, walked, strict=True), 1
        )
    )


def _instead(machine: Machine, before: int, taken: int, choice: tuple[int, ...]) -> tuple[Alternative, ...]:
    found: dict[Alternative, None] = {}
    for agent in machine.agents:
        with contextlib.suppress(Fault):  # beside the path
            for outcome in agent.entry(before).outcomes:
                if (agent.index, outcome.choice) != (taken, choice):
                    fact = next((note.fact for note in outcome.notes), None)
                    found.setdefault(Alternative(agent.name, fact))
    return tuple(found)


def _held(machine: Machine, states: list[int]) -> dict[str, list[Value]]:
    """All that each location holds in the run, in order, each value once."""
    return {at: list(dict.fromkeys(map(cell.unpack, states))) for at, cell in machine.memory.items()}


def told(note: Note, held: Mapping[str, list[Value]] = MappingProxyType({})) -> Happened:
    """The fact, with what only the routine that did it can tell; `held` is all that each location holds in the run."""
    fact, node = note
    if node is None:
        return fact
    match fact:
        case Reads(value=result) | Modifies(was=result):
            others = [seen(value, fact.mask) for value in held.get(fact.at, ())]
        case Wakes(woke=result):
            others = []
        case SetsInterrupts(was=result):
            others = []
        case _:
            result, others = None, []
    changes = {"site": node.site, "decides": decides(node, result, others), "last": _over(node, result)}
    return msgspec.structs.replace(fact, **{name: value for name, value in changes.items() if value})


def _over(node: Node, result: Result) -> bool:
    """Whether the call was over then."""
    after = node.edges.get(result)
    return after is not None and isinstance(after.answer, Return)


def _changes(machine: Machine, before: int, after: int) -> tuple[Change, ...]:
    """Memory, messages, interrupt flags, and what threads are up to."""
    kept = dict[str, Cell[Any]](machine.memory)
    for c, cpu in enumerate(machine.cpus):
        kept |= {f"cpu{c}.latched": cpu.latched, f"cpu{c}.in_flight": cpu.flight, f"cpu{c}.interrupts": cpu.flag}
    kept |= {f"{name}.status": thread.status for name, thread in machine.threads.items()}
    vectors = {cell for cpu in machine.cpus for cell in (cpu.latched, cpu.flight)}
    made: list[Change] = []
    for at, cell in kept.items():
        if (before ^ after) & cell.mask:
            old, new = cell.unpack(before), cell.unpack(after)
            made.append(Change(at, *map(_vectors if cell in vectors else _plain, (old, new))))
    return tuple(made)


def _vectors(mask: int) -> tuple[int, ...]:
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


def _plain(value: Held) -> Held:
    return int(value) if isinstance(value, bool) else value
