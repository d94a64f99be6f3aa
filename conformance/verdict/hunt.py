"""Look for a scenario in which an implementation breaks a guarantee, beyond those that everybody has: Hypothesis draws them.

A find counts where the reference, explored completely, does not break the same there. It is shrunk twice: by Hypothesis,
which makes the choices fewer and simpler, then one part after the other is taken out as long as states become fewer.
What was found is kept in Hypothesis's database, and tried first the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.adapters.registry import AdapterError, Implementation, reference_of, resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.roles import architectures
from conformance.roles.scenario import Budget, Scenario
from conformance.roles.sensible import refusals
from conformance.search.proof import prove
from conformance.verdict.ingredients import plugged
from conformance.verdict.pool import Died, Pool
from conformance.verdict.suite import Suite, load_suite

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

AT_ONCE = 50
"""Scenarios drawn between two looks at the clock."""


class Broken(NamedTuple):
    """What an implementation does wrong in a scenario: guarantees that it breaks, or CRASH, TIMEOUT and the like."""

    clauses: frozenset[str]
    states: int


class Found(NamedTuple):
    scenario: Scenario
    broken: Broken


class FoundOne(AssertionError):
    """So that Hypothesis shrinks it."""


class Turn(NamedTuple):
    """What came of one lot of scenarios, which are the same wherever they are drawn."""

    found: Found | None
    looked: Mapping[str, int]
    """States of each scenario that was explored, by implementation and data."""


@dataclass
class Hunt:
    """`most`: states that a scenario may have. `keeps`: what is found is tried first the next time."""

    implementation: Implementation
    suite: Suite
    guarantees: frozenset[str]
    most: int
    keeps: bool = True
    known: dict[str, tuple[Broken | None, int]] = field(default_factory=dict)
    """What was found in each scenario, by implementation and data, and its states; None: more than `most`."""
    looked: dict[str, int] = field(default_factory=dict)
    """Of the current turn."""
    last: Found | None = None

    def turn(self, drawn: SearchStrategy[Scenario], seed: int) -> Turn:
        self.looked = {}
        try:
            self._draw(drawn, seed)
        except FoundOne:
            assert self.last
            return Turn(self.smaller(self.last), self.looked)
        return Turn(None, self.looked)

    def _draw(self, drawn: SearchStrategy[Scenario], seed: int) -> None:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import seed as seeded

        kept: dict[str, Any] = {} if self.keeps else {"database": None}

        @seeded(seed)
        @settings(
            max_examples=AT_ONCE,
            deadline=None,
            report_multiple_bugs=False,
            phases=(Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
            **kept,
        )
        @given(drawn)
        def intack_hunt(scenario: Scenario) -> None:
            broken = self.breaks(scenario)
            if broken.clauses:
                self.last = Found(scenario, broken)
                raise FoundOne(", ".join(sorted(broken.clauses)))

        intack_hunt()

    def breaks(self, scenario: Scenario) -> Broken:
        """What of it is the implementation's own."""
        if refusals(scenario, architectures()[scenario.architecture]):
            return Broken(frozenset(), 0)
        found = self._explored(self.implementation, scenario)
        if not found.clauses:
            return found
        base = self._explored(reference_of(scenario.architecture), scenario)
        return Broken(found.clauses - base.clauses, found.states)

    def _explored(self, implementation: Implementation, scenario: Scenario) -> Broken:
        key = f"{implementation.spec} {msgspec.json.encode(msgspec.structs.replace(scenario, name='', about='')).decode()}"
        if key not in self.known:
            self.known[key] = self._explore(implementation, scenario)
        broken, self.looked[key] = self.known[key]
        return broken or Broken(frozenset(), self.most)

    def _explore(self, implementation: Implementation, scenario: Scenario) -> tuple[Broken | None, int]:
        try:
            found = in_machine(implementation, scenario, self.suite, lambda m: prove(m, most=self.most))
        except Fault as fault:
            return Broken(frozenset({fault.status}), 0), 0
        broken = {*found.breached, *found.at_rest, *(("LIVELOCK",) if found.livelock else ())}
        if not found.complete and not broken:
            return None, found.states
        return Broken(frozenset(broken & self.guarantees), found.states), found.states

    def smaller(self, found: Found) -> Found:
        """Less of it, as long as one of the same guarantees is broken, in fewer states."""
        while True:
            for scenario in simpler(found.scenario):
                broken = self.breaks(scenario)
                if broken.clauses & found.broken.clauses and broken.states < found.broken.states:
                    found = Found(scenario, broken)
                    break
            else:
                return found


@dataclass(frozen=True)
class Hunting:
    """A hunt as a job: a task is the number of a turn. Of turns elsewhere nothing is `kept` in a database."""

    spec: str
    guarantees: frozenset[str]
    most: int
    seed: int
    kept: bool = True

    def begin(self) -> tuple[Callable[[int], Turn], str]:
        implementation, suite = resolve(self.spec), load_suite()
        hunt = Hunt(implementation, suite, self.guarantees, self.most, self.kept)
        drawn = suite.drawn(implementation, self.most)
        if drawn is None:
            raise AdapterError(f"nothing draws scenarios for {', '.join(implementation.architectures)}")
        return lambda number: hunt.turn(drawn, self.seed + number), plugged(implementation)


class TurnEndedError(Exception):
    """The process of a turn ended. The message says how."""


def hunted(pool: Pool[int, Turn], seconds: float) -> Turn:
    """Turn after turn until one finds something, or the time is over. The first by number counts, whatever is known first:
    what is told is the same for any number of processes. Raises TurnEndedError.
    """
    begun, number, turns, first = time.monotonic(), 0, dict[int, Turn](), None
    while True:
        over = time.monotonic() - begun >= seconds
        if first is None and over:
            return _together(turns.values())
        while first is None and pool.free > 0:
            pool.put(number)
            number += 1
        for n, turn in pool.take(1.0):
            if isinstance(turn, Died):
                raise TurnEndedError(f"the process in which scenarios were looked at {turn.how}")
            turns[n] = turn
            first = n if turn.found and (first is None or n < first) else first
        if first is not None and all(n in turns for n in range(first)):
            return _together(turns[n] for n in range(first + 1))


def _together(turns: Iterable[Turn]) -> Turn:
    found, looked = None, dict[str, int]()
    for turn in turns:
        found = turn.found or found
        looked |= turn.looked
    return Turn(found, looked)


def sample(drawn: SearchStrategy[Scenario], count: int) -> list[Scenario]:
    """So many different ones that make sense, always the same, called drawn/1 and on."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    kept: dict[Scenario, None] = {}

    @settings(
        max_examples=10 * count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
    )
    @seeded(0)
    @given(drawn)
    def intack_draw(scenario: Scenario) -> None:
        if not refusals(scenario, architectures()[scenario.architecture]):
            kept[scenario] = None

    intack_draw()
    return [msgspec.structs.replace(s, name=f"drawn/{n}") for n, s in enumerate(list(kept)[:count], 1)]


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """It, with one part taken out or made plain."""
    change: Callable[..., Scenario] = lambda **parts: msgspec.structs.replace(scenario, **parts)  # noqa: E731
    for name in ("threads", "devices", "interrupts"):
        for rest in without_one(getattr(scenario, name)):
            yield used(change(**{name: rest}))
    for n, vcpu in enumerate(scenario.vcpus):
        for program in without_one(vcpu.program):
            vcpus = (*scenario.vcpus[:n], msgspec.structs.replace(vcpu, program=program), *scenario.vcpus[n + 1 :])
            yield used(change(vcpus=vcpus))
    budget = scenario.budget
    for name in ("preempt", "migrate", "exit"):
        if getattr(budget, name):
            yield change(budget=msgspec.structs.replace(budget, **{name: getattr(budget, name) - 1}))
    for spurious in without_one(budget.spurious):
        yield change(budget=msgspec.structs.replace(budget, spurious=spurious))
    if budget != Budget():
        yield change(budget=Budget())
    for facts in without_one(scenario.facts):
        yield change(facts=facts)
    for initial in without_one(scenario.initial):
        yield change(initial=initial)
    if scenario.buffer:
        yield change(buffer=0)
        yield change(buffer=scenario.buffer - 1)


def without_one(parts: Sequence[object]) -> Iterator[tuple[object, ...]]:
    return ((*parts[:n], *parts[n + 1 :]) for n in range(len(parts)))


def used(scenario: Scenario) -> Scenario:
    """Without the interrupts that nobody makes any more."""
    calls = [a.args for a in (*scenario.threads, *scenario.devices, *scenario.interrupts)]
    named = {value for words in (*calls, *(a for v in scenario.vcpus for a in v.program)) for value in words}
    return msgspec.structs.replace(scenario, vectors=tuple(v for v in scenario.vectors if v in named))
