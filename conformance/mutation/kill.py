"""Which mutants are killed: scenario by scenario, smallest first, each mutant only where its site is reached.

A mutant is done at its first kill: the search stops there, nothing is shrunk and nothing asked again. What survives all
scenarios is looked at once more: if the guest, the wires and memory at rest show nothing that the unchanged code does not
show, it is equivalent or wants another scenario; if they do, it wants a clause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple
from zlib import crc32

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.machine.state import LayoutFull, Outcome
from conformance.mutation.mutant import Mutant, Whole, whole
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove, visits
from conformance.search.results import Proof
from conformance.verdict.explore import MOST_STATES, Suite

Fate = Literal["killed", "not exercised", "deviates", "crash", "shows", "memory", "same"]
"""By a guarantee; by a premise that is lost; by a discipline alone; by a fault of the mutant. Survivors: a guest, a wire
or a scheduler shows what the unchanged code does not; or memory at rest alone; or nothing.
"""
RANK: Sequence[Fate] = ("killed", "not exercised", "deviates", "crash", "shows", "memory", "same")
FEWEST_STATES, TIMES_AS_MANY = 20_000, 4
"""A mutant is given so many states, or so many times those of the unchanged code."""
MOST_SHOWN = 50_000
"""States of a scenario in which survivors are looked at again."""


@dataclass
class Judged:
    """What became of one mutant. `detail` is the clause that killed it, or what went wrong."""

    mutant: Mutant
    routines: tuple[str, ...] = ()
    role: str = ""
    fate: Fate = "same"
    detail: str = ""
    scenario: str = ""
    """Where that was."""
    reached: list[str] = field(default_factory=list)
    """The scenarios that reach its site."""

    def reaches(self, routines: Iterable[str], role: str, scenario: str) -> None:
        self.routines, self.role = tuple(sorted({*self.routines, *routines})), self.role or role
        self.reached.append(scenario)

    def met(self, fate: Fate, detail: str, scenario: str) -> None:
        """Keep the strongest fate."""
        if RANK.index(fate) < RANK.index(self.fate):
            self.fate, self.detail, self.scenario = fate, detail, scenario


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


class Base(NamedTuple):
    """The unchanged code in one scenario."""

    whole: Whole
    states: int
    broken: frozenset[str]
    witnessed: frozenset[str]


class Mutated(NamedTuple):
    """What an audit found: every mutant in the order of the sites, and the scenarios that were explored."""

    judged: tuple[Judged, ...]
    scenarios: tuple[str, ...]


def audit(
    implementation: Implementation, suite: Suite, scenarios: Sequence[Scenario], only: Only, most: int = MOST_STATES
) -> Mutated:
    """Judge every mutant of the implementation's own routines, in those of the scenarios that have at most `most` states."""
    guarantees = frozenset(
        c.id for c in suite.clauses
        if c.kind == "guarantee" and implementation.profile in c.profiles and not c.waived.get(implementation.profile)
    )  # fmt: skip
    found: dict[Mutant, Judged] = {}
    bases = smallest_first(implementation, suite, scenarios, most)
    for scenario, base in bases:
        nodes = base.whole.nodes(_own(implementation, base.whole.assembly, scenario))
        for mutant in base.whole.mutants(nodes):
            routines = sorted({node.routine for node in nodes[mutant.site]})
            if not only.wants(mutant, routines):
                continue
            judged = found.setdefault(mutant, Judged(mutant))
            if judged.fate == "killed":
                continue
            judged.reaches(routines, base.whole.assembly.role_of.get(routines[0], ""), scenario.name)
            _judge(judged, base, suite, scenario, guarantees)
    for scenario, base in bases:
        _look_again(scenario, base, [j for j in found.values() if j.fate in ("same", "memory")])
    return Mutated(tuple(found[m] for m in sorted(found)), tuple(scenario.name for scenario, _ in bases))


def smallest_first(
    implementation: Implementation, suite: Suite, scenarios: Iterable[Scenario], most: int
) -> list[tuple[Scenario, Base]]:
    """The unchanged code in each scenario that it takes part in, by size; what has more states than `most` is left out."""
    explorations = [(scenario, explored(implementation, suite, scenario, most)) for scenario in scenarios]
    return sorted(((s, base) for s, base in explorations if base), key=lambda pair: (pair[1].states, pair[0].name))


@dataclass(frozen=True)
class Only:
    """Which mutants are wanted, by globs."""

    routine: str = "*"
    operator: str = "*"
    part: tuple[int, int] = (0, 1)
    """The n-th of so many parts of the sites."""

    def wants(self, mutant: Mutant, routines: Iterable[str]) -> bool:
        n, of = self.part
        mine = crc32(mutant.site.key.encode()) % of == n
        return (
            mine and fnmatchcase(mutant.operator, self.operator) and any(fnmatchcase(r, self.routine) for r in routines)
        )


def _own(implementation: Implementation, assembly: Assembly, scenario: Scenario) -> set[str]:
    """The routines of the roles that the implementation fills."""
    own = implementation.filled(scenario.architecture)
    return {routine for routine in assembly.routines if assembly.role_of.get(routine) in own}


def explored(implementation: Implementation, suite: Suite, scenario: Scenario, most: int) -> Base | None:
    """The unchanged code, explored whole, if it has at most so many states. Raises Fault."""
    widths: dict[str, int] = {}
    assembly = assemble(implementation, scenario)
    while True:
        try:
            proof = prove(Machine(assembly, scenario, suite.monitors(scenario), widths), most=most)
        except LayoutFull as full:
            widths[full.cell] = full.width
            continue
        if not proof.complete:
            return None
        broken = frozenset({*proof.breached, *proof.at_rest, *(("LIVELOCK",) if proof.livelock else ())})
        return Base(whole(assembly, scenario.cpus), proof.states, broken, frozenset(proof.witnessed))


def _judge(judged: Judged, base: Base, suite: Suite, scenario: Scenario, guarantees: frozenset[str]) -> None:
    """Explore the mutant in one scenario."""
    fatal = guarantees - base.broken
    most = max(FEWEST_STATES, TIMES_AS_MANY * base.states)
    try:
        found = _searched(base.whole.changed(judged.mutant), suite, scenario, fatal, most)
    except Killed as killed:
        judged.met("killed", killed.clause, scenario.name)
    except Fault as fault:
        judged.met("crash", f"{fault.status}: {str(fault).splitlines()[0][:200]}", scenario.name)
    else:
        new = sorted({*found.breached, *found.at_rest} - base.broken)
        lost = sorted((base.witnessed - found.witnessed.keys()) & guarantees) if found.complete else []
        if found.livelock and "LIVELOCK" in fatal:
            judged.met("killed", "LIVELOCK", scenario.name)
        elif lost:
            judged.met("not exercised", ", ".join(lost), scenario.name)
        elif new:
            judged.met("deviates", ", ".join(new), scenario.name)
        elif not found.complete:
            judged.met("crash", f"more than {most:,} states", scenario.name)


def _searched(assembly: Assembly, suite: Suite, scenario: Scenario, fatal: frozenset[str], most: int) -> Proof:
    widths: dict[str, int] = {}
    while True:
        try:
            machine = Machine(assembly, scenario, suite.monitors(scenario), widths)
            return prove(machine, most=most, done=Hunt(fatal))
        except LayoutFull as full:
            widths[full.cell] = full.width


def _look_again(scenario: Scenario, base: Base, survivors: Sequence[Judged]) -> None:
    """Does what survives show anything in this scenario that the unchanged code does not?"""
    reaching = [judged for judged in survivors if scenario.name in judged.reached]
    if not reaching or base.states > MOST_SHOWN:
        return
    plain = shown(base.whole.assembly, scenario)
    for judged in reaching:
        changed = shown(base.whole.changed(judged.mutant), scenario)
        if changed[0] != plain[0]:
            judged.met("shows", _told(changed[0] ^ plain[0]), scenario.name)
        elif changed[1] != plain[1]:
            judged.met("memory", "", scenario.name)


def _told(events: frozenset[Any]) -> str:
    """One event in which they differ."""
    return " ".join(map(str, min(events, key=str)))


def shown(assembly: Assembly, scenario: Scenario) -> tuple[frozenset[Any], frozenset[Any]]:
    """What is seen from outside in any run, and what memory and threads are in any rest."""
    widths: dict[str, int] = {}
    while True:
        watching = Shown()
        try:
            machine = Machine(assembly, scenario, [watching], widths)
            cells = [*machine.memory.values(), *machine.guests.values(), *(t.status for t in machine.threads.values())]
            rests = {tuple(c.unpack(state) for c in cells) for state, resting, _ in visits(machine) if resting}
            return frozenset(watching.seen), frozenset(rests)
        except LayoutFull as full:
            widths[full.cell] = full.width
