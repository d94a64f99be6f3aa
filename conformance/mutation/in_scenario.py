"""A scenario as a place in which mutants are judged: each is explored until a guarantee is broken that the unchanged code
keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.machine.state import LayoutFull, Outcome
from conformance.mutation.kill import Candidate, Judged, candidates, contained
from conformance.mutation.mutant import Whole, said, whole
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from conformance.search.results import Proof
from conformance.verdict.explore import MOST_STATES
from conformance.verdict.suite import Suite, guarantees

FEWEST_STATES, TIMES_AS_MANY = 20_000, 4
"""A mutant is given so many states, or so many times those of the unchanged code."""


class Killed(Exception):
    """A guarantee that the unchanged code keeps is broken: enough is known."""

    def __init__(self, clause: str) -> None:
        super().__init__(clause)
        self.clause = clause


class Hunt(Proof):
    """A search that ends with the first clause of `fatal` that is broken."""

    __slots__ = ("fatal",)

    def __init__(self, fatal: frozenset[str]) -> None:
        super().__init__()
        self.fatal = fatal

    def tell(self, outcome: Outcome) -> None:
        super().tell(outcome)
        self._stop(breach.clause for breach in outcome.breaches)

    def judge(self, findings: list[Finding]) -> None:
        super().judge(findings)
        self._stop(finding.clause for finding in findings if isinstance(finding, Breach))

    def _stop(self, clauses: Iterable[str]) -> None:
        for clause in clauses:
            if clause in self.fatal:
                raise Killed(clause)


class Shown(Monitor):
    """Collects what a guest, a wire or a scheduler shows. It has no memory, and so costs no states."""

    events = (ev.Sent, ev.Taken, ev.Entered, ev.Exited, ev.Delivered, ev.GuestActed, ev.Slept, ev.Woken)
    name = "shown"

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def on(self, event: ev.Event, memory: Any, look: Look) -> Any:
        match event:
            case ev.Sent(vector=vector, to=to):
                self.seen.add(("sent", vector, to))
            case ev.Woken(thread=thread, was=was):
                self.seen.add(("woken", thread, was))
            case _:
                self.seen.add((type(event).__name__, *event))
        return memory


class Watched(Machine):
    """A machine that keeps what memory, guests and threads are wherever it comes to rest."""

    rests: set[tuple[Any, ...]]

    def at_rest(self, state: int) -> list[Finding]:
        cells = [*self.memory.values(), *self.guests.values(), *(t.status for t in self.threads.values())]
        self.rests.add(tuple(cell.unpack(state) for cell in cells))
        return super().at_rest(state)


class Run(NamedTuple):
    """One exploration, and what was seen from outside meanwhile."""

    proof: Proof
    events: frozenset[Any]
    rests: frozenset[Any]

    @property
    def broken(self) -> frozenset[str]:
        return frozenset({*self.proof.breached, *self.proof.at_rest, *(("LIVELOCK",) if self.proof.livelock else ())})


def run(assembly: Assembly, suite: Suite, scenario: Scenario, fatal: frozenset[str], most: int) -> Run:
    """Raises Killed, Fault."""
    widths: dict[str, int] = {}
    while True:
        watching = Shown()
        try:
            machine = Watched(assembly, scenario, [*suite.monitors(scenario), watching], widths)
            machine.rests = set()
            proof = prove(machine, most=most, done=Hunt(fatal))
            return Run(proof, frozenset(watching.seen), frozenset(machine.rests))
        except LayoutFull as full:
            widths[full.cell] = full.width


class InScenario:
    """One scenario, explored whole with the unchanged code."""

    def __init__(self, implementation: Implementation, suite: Suite, scenario: Scenario, known: Whole, plain: Run):
        self._suite, self._scenario = suite, scenario
        self.whole, self.plain = known, plain
        owed = guarantees(suite, implementation)
        self._fatal = owed - plain.broken
        self.witnessed = frozenset(plain.proof.witnessed) & owed
        self.said = said([known.assembly])
        self._candidates = tuple(candidates(known, implementation))  # before mutants make the automata grow

    @property
    def name(self) -> str:
        return self._scenario.name

    @property
    def states(self) -> int:
        return self.plain.proof.states

    def candidates(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def judge(self, judged: Judged) -> None:
        """Explore the mutant."""
        most = max(FEWEST_STATES, TIMES_AS_MANY * self.states)
        changed = self.whole.changed(judged.mutant)
        with contained(judged, self.name):
            try:
                found = run(changed, self._suite, self._scenario, self._fatal, most)
            except Killed as killed:
                judged.met("killed", killed.clause, self.name)
            else:
                self._compare(judged, found, most)

    def _compare(self, judged: Judged, found: Run, most: int) -> None:
        new = sorted(found.broken - self.plain.broken)
        if "LIVELOCK" in new and "LIVELOCK" in self._fatal:
            return judged.met("killed", "LIVELOCK", self.name)
        if not found.proof.complete:
            return judged.met("crash", f"more than {most:,} states", self.name)
        judged.lose(sorted(self.witnessed - found.proof.witnessed.keys()), self.name)
        if new:
            judged.met("deviates", ", ".join(new), self.name)
        elif found.events != self.plain.events:
            judged.met("shows", _told(found.events ^ self.plain.events), self.name)
        elif found.rests != self.plain.rests:
            judged.met("memory", "", self.name)
        return None


def _told(events: frozenset[Any]) -> str:
    """One event in which they differ."""
    return " ".join(map(str, min(events, key=str)))


def explored(
    implementation: Implementation, suite: Suite, scenario: Scenario, most: int = MOST_STATES
) -> InScenario | None:
    """The unchanged code, explored whole, if it has at most so many states. Raises Fault."""
    assembly = assemble(implementation, scenario)
    plain = run(assembly, suite, scenario, frozenset(), most)
    if not plain.proof.complete:
        return None
    return InScenario(implementation, suite, scenario, whole(assembly, scenario.cpus), plain)


def smallest_first(
    implementation: Implementation, suite: Suite, scenarios: Iterable[Scenario], most: int = MOST_STATES
) -> list[InScenario]:
    """The scenarios by size. Left out is what has more states than `most`, and where the unchanged code misbehaves."""
    found: list[InScenario] = []
    for scenario in scenarios:
        with suppress(Fault):
            if place := explored(implementation, suite, scenario, most):
                found.append(place)
    return sorted(found, key=lambda place: (place.states, place.name))
