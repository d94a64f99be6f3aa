"""Which fences and locked prefixes an implementation needs, by taking each away and exploring what changes.

For each site the suite asks, in scenarios with store buffers: does an outcome appear that the implementation does not
have under sequential consistency, and does a clause break? An outcome is all that every agent read, in its order, and
what memory holds at rest.

    needed                             an outcome appears, and a clause breaks: here is the schedule
    changes outcomes, breaks nothing
    demanded, changes nothing          a clause forbids to leave it out, and no outcome appears
    not needed                         neither

Each site is taken away alone. Two that cover for each other, such as a fence beside a locked operation, are both not
needed, and may not both go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from conformance.adapters.registry import Implementation
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine import events as ev
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.machine.state import LayoutFull
from conformance.ordering.weaken import Site, sites, weakened
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove, shortest, visits
from conformance.verdict.clause import Counterexample
from conformance.verdict.explore import document
from conformance.verdict.suite import Suite

DEPTH = 2
"""Stores that a buffer holds where a scenario does not say."""
MOST_STATES = 400_000

Status = Literal["needed", "changes outcomes, breaks nothing", "demanded, changes nothing", "not needed"]


class Recorder(Monitor):
    """Remembers what the software on each CPU has read: the outcome so far."""

    name = "outcome"
    events = (ev.Asked,)
    memory: tuple[tuple[Any, ...], ...] = ()

    def __init__(self, software: frozenset[str]) -> None:
        self.software = software

    def on(self, event: ev.Event, memory: Any, look: Look) -> Any:
        if not isinstance(event, ev.Asked) or event.routine not in self.software:
            return memory
        operation = event.operation
        if not isinstance(operation, ops.Load | ops.Rmw):
            return memory
        mine = dict(memory)
        mine[event.cpu] = (*mine.get(event.cpu, ()), (event.routine, operation.at, operation.mask, event.result))
        return tuple(sorted(mine.items()))


@dataclass(frozen=True, slots=True)
class Judged:
    """A site, taken away, in one model."""

    site: Site
    status: Status
    breaks: tuple[str, ...] = ()
    """Guarantees that break without it, of those that hold with it."""
    witness: Counterexample | None = None
    """The least schedule that shows it, a breach at rest before one by a step."""
    clause: str = ""


def audit(implementation: Implementation, suite: Suite, scenarios: Sequence[Scenario]) -> list[Judged]:
    """Every site that the software has in these scenarios, judged under TSO. Raises Fault."""
    scenarios = [s if s.buffer else msgspec.structs.replace(s, buffer=DEPTH) for s in scenarios]
    baseline = {s.name: _explored(implementation, suite, s, None) for s in scenarios}
    strict = {
        s.name: _outcomes(implementation, msgspec.structs.replace(s, buffer=0), None)
        | _outcomes(implementation, s, None)
        for s in scenarios
    }
    found: dict[str, Site] = {}
    for machine, _ in baseline.values():
        found |= {str(site): site for site in sites(machine.assembly)}
    return [_judge(implementation, suite, scenarios, baseline, strict, found[name]) for name in sorted(found)]


Baseline = dict[str, tuple[Machine, frozenset[str]]]


def _judge(
    implementation: Implementation,
    suite: Suite,
    scenarios: Sequence[Scenario],
    baseline: Baseline,
    known: dict[str, frozenset[Any]],
    site: Site,
) -> Judged:
    new, demanded = False, Judged(site, "demanded, changes nothing")
    for scenario in scenarios:
        machine, broken = _explored(implementation, suite, scenario, site)
        appears = bool(_outcomes(implementation, scenario, site) - known[scenario.name])
        new = new or appears
        if more := broken - baseline[scenario.name][1]:
            found = shortest(machine, set(more))
            clause = min(found, key=lambda c: (not found[c].at_rest, found[c].switches, found[c].steps, c))
            shown = msgspec.structs.replace(document(machine, found[clause], implementation, ""), replay="")
            if appears:
                return Judged(site, "needed", tuple(sorted(more)), shown, clause)
            demanded = Judged(site, "demanded, changes nothing", tuple(sorted(more)), shown, clause)
    if demanded.breaks:
        return demanded
    return Judged(site, "changes outcomes, breaks nothing" if new else "not needed")


def _machine(implementation: Implementation, scenario: Scenario, monitors: Any, site: Site | None, use: Any) -> Any:
    widths: dict[str, int] = {}
    while True:
        assembly = weakened(assemble(implementation, scenario), site)
        try:
            return use(Machine(assembly, scenario, monitors(assembly), widths))
        except LayoutFull as full:
            widths[full.cell] = full.width


def _explored(
    implementation: Implementation, suite: Suite, scenario: Scenario, site: Site | None
) -> tuple[Machine, frozenset[str]]:
    """The machine, and the guarantees that some run breaks."""
    guarantees = {c.id for c in suite.clauses if c.kind == "guarantee" and implementation.profile in c.profiles}

    def use(machine: Machine) -> tuple[Machine, frozenset[str]]:
        done = prove(machine, most=MOST_STATES)
        return machine, frozenset({*done.breached, *done.at_rest} & guarantees)

    return _machine(implementation, scenario, lambda _: suite.monitors(scenario), site, use)


def _outcomes(implementation: Implementation, scenario: Scenario, site: Site | None) -> frozenset[Any]:
    """(what every CPU's software read, what memory holds) of each rest."""

    def monitors(assembly: Assembly) -> list[Monitor]:
        return [Recorder(assembly.software())]

    def use(machine: Machine) -> frozenset[Any]:
        rests = set()
        recorder = machine.attached[0].cell
        assert recorder
        for state, resting, _ in visits(machine):
            if resting:
                memory = tuple(cell.unpack(state) for cell in machine.memory.values())
                rests.add((recorder.unpack(state), memory))
        return frozenset(rests)

    return _machine(implementation, scenario, monitors, site, use)
