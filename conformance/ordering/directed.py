"""A machine that keeps watch over an order: which of some named operations have happened, one after the other.

It is the machine of the scenario with one more cell. A step that does what is awaited next moves it on; a step that does
what must never happen spoils the run. Clauses are then judged in the runs that fit only, with all the engine has: the
sleep sets of `prove`, the least schedule of `shortest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from typing import NamedTuple

from conformance.adapters.registry import Implementation
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.machine import Machine
from conformance.machine.monitor import Monitor
from conformance.machine.state import Agent, LayoutFull, View
from conformance.ordering.names import Did, Name, Speaks
from conformance.roles.scenario import Scenario
from conformance.search.proof import Proof, prove
from conformance.verdict.suite import Suite

FITS = Witness("ORDER")
"""Found in each rest of a run that fits, as if it were a clause's witness."""
SPOILT = -1


class Progress(NamedTuple):
    place: int = 0
    """How much of the chain has happened; SPOILT if the run can fit no more."""
    times: tuple[int, ...] = ()
    """How often each name, of the chain and then of what must never happen, that asks for its n-th occurrence has
    occurred.
    """
    broken: frozenset[Breach] = frozenset()
    """Breaches by steps so far: they count once the run fits."""


class Directed(Machine):
    """`chain` in this order, `never` not at all."""

    def __init__(
        self,
        assembly: Assembly,
        scenario: Scenario,
        monitors: Sequence[Monitor],
        widths: dict[str, int],
        chain: Sequence[Name],
        never: Sequence[Name],
    ) -> None:
        super().__init__(assembly, scenario, monitors, widths)
        self.chain, self.never = tuple(chain), tuple(never)
        self.speaks = Speaks(assembly.architecture, self.vcpus)
        self.progress = self.layout.cell("order", Progress(0, (0,) * (len(chain) + len(never))), 4)
        for agent in self.agents:
            agent.step = self._watched(agent, agent.step)
            agent.tables.clear()  # of the steps that booting has taken unwatched

    def _watched(self, agent: Agent, step: Callable[[View], None]) -> Callable[[View], None]:
        def watched(view: View) -> None:
            step(view)
            self._watch(agent.name, view)

        return watched

    def _watch(self, agent: str, view: View) -> None:
        """Looks at its cell only if the step matters, so that other steps stay independent of it."""
        happened = [self.speaks.did(agent, note.fact) for note in view.notes]
        noticed = [n for n in (*self.chain, *self.never) if any(map(n.matches, happened))]
        if not noticed and not view.findings:
            return
        place, times, broken = view.get(self.progress)
        for it in happened:
            place, times = self._moved(place, times, it)
        broken |= {f for f in view.findings if isinstance(f, Breach)}
        told = sorted(broken, key=astuple) if place == len(self.chain) else []
        view.findings[:] = told
        view.set(self.progress, Progress(place, times, frozenset() if told else broken))

    def _moved(self, place: int, times: tuple[int, ...], it: Did) -> tuple[int, tuple[int, ...]]:
        if place == SPOILT or any(not name.nth and name.matches(it) for name in self.never):
            return SPOILT, ()
        counted = list(times)
        due = place
        for n, name in enumerate((*self.chain, *self.never)):
            if not name.nth or not name.matches(it) or counted[n] > name.nth:
                continue
            counted[n] += 1
            if counted[n] == name.nth and n != due:  # too early or too late, or what must never happen
                return SPOILT, ()
            if counted[n] == name.nth:
                place += 1
        if due < len(self.chain) and not self.chain[due].nth and self.chain[due].matches(it):
            place += 1
        return place, tuple(counted)

    def at_rest(self, state: int) -> list[Finding]:
        if self.progress.unpack(state).place != len(self.chain):
            return []
        return [FITS, *super().at_rest(state)]

    def furthest(self) -> int:
        """How much of the chain any run has got through, in order. Says so after a search."""
        return max(value.place for value in self.progress.values)

    def labels(self) -> Iterator[Did]:
        """Everything that happened in a search."""
        for agent in self.agents:
            for table in agent.tables.values():
                for known in table.exact.values():
                    for entry in known.values():
                        for outcome in entry.outcomes:
                            yield from (self.speaks.did(agent.name, note.fact) for note in outcome.notes)


def searched(
    implementation: Implementation,
    scenario: Scenario,
    suite: Suite,
    chain: Sequence[Name],
    never: Sequence[Name],
    most: int,
) -> tuple[Directed, Proof]:
    """Every run of the scenario, watched."""
    widths: dict[str, int] = {}
    while True:
        assembly = assemble(implementation, scenario)
        try:
            machine = Directed(assembly, scenario, suite.monitors(scenario), widths, chain, never)
            return machine, prove(machine, most=most)
        except LayoutFull as full:
            widths[full.cell] = full.width
