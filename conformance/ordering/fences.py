"""Which fences and locked prefixes an implementation needs, by taking each away and exploring what changes.

For each site the suite asks, in scenarios with store buffers: does an outcome appear that the implementation does not
have under sequential consistency, and does a clause break? An outcome is all that every agent read, in its order, and
what memory holds at rest.

    needed                             an outcome appears, and a clause breaks: here is the schedule
    changes outcomes, breaks nothing
    demanded, changes nothing          a clause forbids to leave it out, and no outcome appears
    not needed                         neither

A scenario without store buffers is given some. A site is taken away in every scenario in which it is reached, smallest
first, until it is needed. Each is taken away alone; of those that are not needed then, each two of one role are taken away
together: two that cover for each other, such as a fence beside a locked operation, may not both go. What is broken with
every fence in its place lacks one: `missing` says where it would go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any, Literal, NamedTuple

import msgspec

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine import events as ev
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.ordering.missing import Gap, fenced, gaps, mending
from conformance.ordering.weaken import Site, sites, weakened
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove, shortest, visits
from conformance.verdict.clause import Counterexample
from conformance.verdict.explore import document
from conformance.verdict.suite import Suite, guarantees

DEPTH = 2
"""Stores that a buffer holds where a scenario does not say."""
MOST_STATES = 400_000
STORY_STATES = 30_000
"""Of a story in which nothing is taken away, and only what is missing is looked for."""
FEWEST_STATES, TIMES_AS_MANY = 20_000, 4
"""What is left of the code without a site is given so many states, or so many times those of the whole."""
FEW_STATES, MOST_OUTCOMES = 2_000, 200_000
"""Outcomes are compared, where nothing breaks, in scenarios of so few states; anywhere, among so many states at most."""
MOST_TOGETHER = 12
"""Scenarios in which two sites are taken away together."""

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
    looked: tuple[str, ...] = ()
    """The scenarios in which it was taken away."""


@dataclass(frozen=True, slots=True)
class Together:
    """Two sites neither of which is needed beside the other: without both, something breaks."""

    sites: tuple[Site, Site]
    breaks: tuple[str, ...]
    witness: Counterexample
    clause: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What store buffers alone break though no site was taken away."""

    breaks: tuple[str, ...]
    mends: tuple[Gap, ...]
    """One fence in any of these keeps all of it."""
    witness: Counterexample
    clause: str


class Audited(NamedTuple):
    """All of one implementation. `scenarios`: those explored, smallest first; `too_large`: left out."""

    judged: tuple[Judged, ...]
    together: tuple[Together, ...]
    missing: tuple[Missing, ...]
    scenarios: tuple[str, ...]
    too_large: tuple[str, ...]
    depth: int
    only_missing: tuple[str, ...]
    """Of those left out the ones in which it was looked for what is missing."""


class Explored(NamedTuple):
    """One exploration: the guarantees that some run breaks, the sites and gaps met."""

    states: int
    broken: frozenset[str]
    sites: tuple[Site, ...]
    gaps: tuple[Gap, ...]
    complete: bool
    witness: Counterexample | None = None
    clause: str = ""


Change = Callable[[Assembly], Assembly]


@dataclass
class Buffered:
    """One scenario with store buffers, and the code in it."""

    implementation: Implementation
    suite: Suite
    scenario: Scenario
    plain: Explored = field(init=False)

    def __post_init__(self) -> None:
        self.plain = Explored(0, frozenset(), (), (), False)
        assembly = assemble(self.implementation, self.scenario)
        self._software, self._role_of = assembly.software(), assembly.role_of

    def role(self, site: Site) -> str:
        return self._role_of.get(site.routine, "")

    @property
    def reached(self) -> frozenset[str]:
        return frozenset(map(str, self.plain.sites))

    def explore(
        self,
        most: int,
        change: Change = lambda whole: whole,
        beside: frozenset[str] | None = None,
        depth: int | None = None,
    ) -> Explored:
        """With the code changed, and as many buffered stores. Of what breaks and is not in `beside` the least schedule is
        told.
        """
        scenario = self.scenario if depth is None else msgspec.structs.replace(self.scenario, buffer=depth)
        owed = guarantees(self.suite, self.implementation)

        def use(machine: Machine) -> Explored:
            done = prove(machine, most=most)
            broken = frozenset({*done.breached, *done.at_rest} & owed)
            found = Explored(
                done.states, broken, tuple(sites(machine.assembly)), tuple(gaps(machine.assembly)), done.complete
            )
            if beside is None or not (more := broken - beside):
                return found
            least = shortest(machine, set(more))
            if not least:
                return found
            clause = min(least, key=lambda c: (not least[c].at_rest, least[c].switches, least[c].steps, c))
            shown = msgspec.structs.replace(document(machine, least[clause], self.implementation, ""), replay="")
            return found._replace(witness=shown, clause=clause)

        return in_machine(self.implementation, scenario, self.suite, use, change)

    def without(self, *taken: Site) -> Explored:
        most = max(FEWEST_STATES, TIMES_AS_MANY * self.plain.states)
        return self.explore(most, lambda whole: weakened(whole, *taken), self.plain.broken)

    def outcomes(self, *taken: Site, depth: int | None = None) -> frozenset[Any] | None:
        """(what every CPU's software read, what memory holds) of each rest; None if there are too many to compare."""
        scenario = self.scenario if depth is None else msgspec.structs.replace(self.scenario, buffer=depth)

        def use(machine: Machine) -> frozenset[Any] | None:
            rests = set()
            recorder = machine.attached[0].cell
            assert recorder
            for state, resting, met in visits(machine):
                if met > MOST_OUTCOMES:
                    return None
                if resting:
                    memory = tuple(cell.unpack(state) for cell in machine.memory.values())
                    rests.add((recorder.unpack(state), memory))
            return frozenset(rests)

        watch = _Recording(self._software)
        try:
            return in_machine(self.implementation, scenario, watch, use, lambda whole: weakened(whole, *taken))
        except Fault as fault:
            if fault.status != "UNKNOWN":
                raise
            return None  # more than a monitor may remember

    def appears(self, site: Site) -> bool | None:
        """Whether there is an outcome without the site that there is neither with it nor under sequential consistency."""
        if self._known is None:
            strict, buffered = self.outcomes(depth=0), self.outcomes()
            self._known = None if strict is None or buffered is None else strict | buffered
        if self._known is None or (without := self.outcomes(site)) is None:
            return None
        return bool(without - self._known)

    _known: frozenset[Any] | None = field(default=None, init=False)


class _Recording(NamedTuple):
    """Watches for outcomes alone."""

    software: frozenset[str]

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return [Recorder(self.software)]


def audit(
    implementation: Implementation, suite: Suite, scenarios: Sequence[Scenario], most: int = MOST_STATES
) -> Audited:
    """Every site that the software has in these scenarios, each with store buffers and at most `most` states, judged under
    TSO; what is missing in larger stories too. Raises Fault.
    """
    where: list[Buffered] = []
    larger: list[Buffered] = []
    too_large: list[str] = []
    for scenario in _with_buffers(scenarios):
        here = Buffered(implementation, suite, scenario)
        here.plain = here.explore(most)
        if here.plain.complete:
            where.append(here)
            continue
        too_large.append(scenario.name)
        if scenario.story:
            here.plain = here.explore(STORY_STATES)
            larger += [here] * here.plain.complete
    for explored in (where, larger):
        explored.sort(key=lambda here: (here.plain.states, here.scenario.name))
    found = {str(site): site for here in where for site in here.plain.sites}
    judged = [_judge([h for h in where if name in h.reached], found[name]) for name in sorted(found)]
    return Audited(
        tuple(judged),
        tuple(_together(where, [j.site for j in judged if j.status not in ("needed", "demanded, changes nothing")])),
        tuple(_missing([*where, *larger])),
        tuple(here.scenario.name for here in where),
        tuple(too_large),
        DEPTH,
        tuple(here.scenario.name for here in larger),
    )


def _with_buffers(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Of those that differ in what they are called alone, the first."""
    each: dict[Scenario, Scenario] = {}
    for scenario in scenarios:
        made = scenario if scenario.buffer else msgspec.structs.replace(scenario, buffer=DEPTH)
        each.setdefault(msgspec.structs.replace(made, name="", about="", story=True, audited=False), made)
    return list(each.values())


def _judge(where: Sequence[Buffered], site: Site) -> Judged:
    new, demanded, looked = False, Judged(site, "demanded, changes nothing"), []
    for here in where:
        looked.append(here.scenario.name)
        found = here.without(site)
        more = tuple(sorted(found.broken - here.plain.broken))
        if found.witness:
            if here.appears(site) is not False:
                return Judged(site, "needed", more, found.witness, found.clause, tuple(looked))
            if not demanded.breaks:
                demanded = Judged(site, "demanded, changes nothing", more, found.witness, found.clause)
        elif not new and here.plain.states <= FEW_STATES:
            new = bool(here.appears(site))
    if demanded.breaks:
        return replace(demanded, looked=tuple(looked))
    return Judged(site, "changes outcomes, breaks nothing" if new else "not needed", looked=tuple(looked))


def _together(where: Sequence[Buffered], spared: Sequence[Site]) -> Iterator[Together]:
    """Each two of one role that may each go, and not both."""
    for one, other in combinations(spared, 2):
        both = [h for h in where if {str(one), str(other)} <= h.reached and h.role(one) == h.role(other)]
        for here in both[:MOST_TOGETHER]:
            found = here.without(one, other)
            if found.witness:
                more = tuple(sorted(found.broken - here.plain.broken))
                yield Together((one, other), more, found.witness, found.clause)
                break


def _missing(where: Sequence[Buffered]) -> Iterator[Missing]:
    """What is broken with store buffers and not without, each clause in the smallest scenario that shows it."""
    told: set[str] = set()
    for here in where:
        if here.plain.broken <= told:
            continue
        strict = here.explore(MOST_STATES, depth=0)
        lost = here.plain.broken - strict.broken - told
        told |= here.plain.broken
        if not lost:
            continue
        most = max(FEWEST_STATES, TIMES_AS_MANY * here.plain.states)
        shown = here.explore(most, beside=here.plain.broken - lost)

        def keeps(gap: Gap, here: Buffered = here, lost: frozenset[str] = lost, most: int = most) -> bool:
            return not lost & here.explore(most, partial(fenced, gap=gap)).broken

        assert shown.witness
        yield Missing(tuple(sorted(lost)), mending(here.plain.gaps, keeps), shown.witness, shown.clause)
