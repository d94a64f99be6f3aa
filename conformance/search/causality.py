"""A run as events: steps with what each read and wrote, which of them race, and which orders keep what was read.

The variables of a run are the cells of the state: memory words, locks, what each CPU runs, interrupts in flight and
latched. So a lock, a message and control are reads and writes like any other, and an order keeps them if each event
reads what it has read. Footprints are measured on a machine without monitors: watching is no event, and
orders that only a monitor can tell apart are orders of the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from conformance.machine.machine import Machine
from conformance.search.results import Step


class Occurrence(NamedTuple):
    """One step. Masks and values are of packed states, of a machine without monitors."""

    agent: int
    choice: tuple[int, ...]
    reads: int
    seen: int
    """The values of what it read: the state, and-ed with `reads`."""
    writes: int
    """What it changed, or wrote without having looked."""
    add: int
    """The values written."""
    needs: int
    """Of `reads`, what decides whether there is such a step at all: what the agent is about to do, locks."""

    @property
    def step(self) -> Step:
        return self.agent, self.choice

    def depends_on(self, other: Occurrence) -> bool:
        """Whether the order of the two may matter."""
        mine, others = self.reads | self.writes, other.reads | other.writes
        return self.agent == other.agent or bool(self.writes & others or other.writes & mine)


class Race(NamedTuple):
    """Two events of different agents, by their numbers, that depend on each other."""

    first: int
    then: int


def unwatched(machine: Machine) -> Machine:
    """The same machine without monitors."""
    return Machine(machine.assembly, machine.scenario, (), machine.layout.widths)


def events(bare: Machine, schedule: Sequence[Step]) -> tuple[Occurrence, ...]:
    """The events of a schedule. Raises KeyError where it does not fit."""
    made: list[Occurrence] = []
    state = bare.initial
    locks = sum(bare.memory[name].mask for name, shared in bare.assembly.locations.items() if shared.lock)
    for index, choice in schedule:
        agent = bare.agents[index]
        entry = agent.entry(state)
        outcome = next((o for o in entry.outcomes if o.choice == choice), None)
        if outcome is None:
            raise KeyError(f"{agent.name} cannot take choice {choice} here")
        needs = (agent.pivot.mask if agent.obligatory else 0) | locks
        made.append(
            Occurrence(
                index, choice, entry.reads, state & entry.reads, outcome.writes, outcome.add, needs & entry.reads
            )
        )
        state = state & outcome.keep | outcome.add
    return tuple(made)


def races(run: Sequence[Occurrence]) -> tuple[Race, ...]:
    """First the pairs with nothing between them in the happens-before order (C. Flanagan and P. Godefroid, Dynamic
    Partial-Order Reduction for Model Checking Software, POPL 2005), then the other pairs that depend on each other,
    which are open to an order that gives the events between them their values in another way.
    """
    close: list[Race] = []
    far: list[Race] = []
    before: list[int] = []
    """By event: the events that happen before it, as bits."""
    for n, event in enumerate(run):
        mine = 0
        for m in range(n - 1, -1, -1):
            if not event.depends_on(run[m]):
                continue
            if run[m].agent != event.agent:
                (far if mine >> m & 1 else close).append(Race(m, n))
            mine |= before[m] | 1 << m
        before.append(mine)
    return (*close, *far)


def broken_by(initial: int, run: Sequence[Occurrence], order: Sequence[int]) -> int | None:
    """The place in `order` (numbers of events) of the first event that is out of its program order or reads what it did
    not read; None if there is none. Constraints play no part in this: the values are carried along.
    """
    state = initial
    done: set[int] = set()
    for place, number in enumerate(order):
        event = run[number]
        earlier = (m for m in range(number) if run[m].agent == event.agent)
        if number in done or not done.issuperset(earlier) or state & event.reads != event.seen:
            return place
        done.add(number)
        state = state & ~event.writes | event.add
    return None
