"""What holds for any number of callers: explored with counted callers, a breach confirmed by so many real ones.

A count that stands for that many or more may be left by one caller and still stand for as many, so what the search reaches
need not be reached by any number of callers. So a breach counts once it is found again in an ordinary scenario, with
one, two and up to `MOST_CALLERS` callers; where it is not, the cap is raised, and at last it is UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.assembly import assemble
from conformance.machine import crowd
from conformance.machine.crowd import Crowded, signed
from conformance.machine.monitor import Monitor
from conformance.machine.state import LayoutFull
from conformance.roles.scenario import Device, Scenario, Thread, many
from conformance.search.proof import Proof, prove
from conformance.verdict.clause import Counterexample
from conformance.verdict.evidence import optional
from conformance.verdict.explore import explore, least, without_schedule
from conformance.verdict.suite import Suite

CAPS = (1, 2)
MOST_STATES = 10_000_000
MOST_CALLERS = 4
NOT_BY_A_COUNT = frozenset({"LIVELOCK"})
"""A way to rest may be one that no number of callers has."""


@runtime_checkable
class TellsCrowds(Protocol):
    """A suite may do this, too."""

    @property
    def crowds(self) -> Sequence[Scenario]:
        """Scenarios in which each device and sender stands for any number of its like."""
        ...


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one scenario."""

    scenario: str
    about: str
    cap: int
    """Callers at one place are counted up to this."""
    states: int
    clauses: tuple[str, ...] = ()
    """Those that hold for any number of callers."""
    broken: Mapping[str, Counterexample] = {}
    callers: Mapping[str, int] = {}
    """By broken clause: how many callers break it."""
    spurious: tuple[str, ...] = ()
    """Broken where callers are counted, and by no `MOST_CALLERS` of them: UNKNOWN."""
    unknown: str = ""
    """Why nothing can be said."""
    evidence: str = ""
    """For what number of what, and within which bounds, the clauses hold."""


def watching(suite: Suite, scenario: Scenario) -> list[Monitor]:
    """The monitors whose memory stays finite."""
    return [more for monitor in suite.monitors(scenario) if (more := monitor.for_any_number())]


def counted(
    implementation: Implementation, scenario: Scenario, suite: Suite, *, cap: int = 1, most: int = 0
) -> tuple[Crowded, Proof]:
    """The search with counted callers. Raises Fault."""
    widths: dict[str, int] = {}
    apart: set[tuple[object, object]] = set()
    while True:
        assembly = assemble(implementation, scenario)
        monitors = watching(suite, scenario)
        machine: Crowded | None = None
        try:
            machine = Crowded(assembly, scenario, monitors, widths, cap=cap, most=most, apart_from=apart)
            done = prove(machine, most=MOST_STATES)
        except LayoutFull as full:
            widths[full.cell] = full.width
            continue
        except Fault:
            if machine is None or not (mistaken := machine.mistaken()):
                raise
        else:
            if not (mistaken := machine.mistaken()):
                return machine, done
        apart |= mistaken


def judged(
    implementation: Implementation, scenario: Scenario, suite: Suite, owed: Collection[str] | None = None
) -> Counted:
    """Of these clauses, or of all. Never raises for what the implementation does."""
    watched = {c.id for monitor in watching(suite, scenario) for c in monitor.clauses}
    watched &= watched if owed is None else frozenset(owed)
    told = Counted(scenario=scenario.name, about=scenario.about, cap=0, states=0, evidence=bounds(scenario))
    broken: dict[str, Counterexample] = {}
    callers: dict[str, int] = {}
    spurious: set[str] = set()
    for cap in CAPS:
        try:
            machine, done = counted(implementation, scenario, suite, cap=cap)
            machine.assembly.recheck()
        except Fault as fault:
            return msgspec.structs.replace(told, unknown=f"{fault.status}: {fault}")
        found = {*done.breached, *done.at_rest} - NOT_BY_A_COUNT
        found &= found if owed is None else frozenset(owed)
        told = msgspec.structs.replace(told, cap=cap, states=done.states)
        for k, few in callers_of(scenario) if found - broken.keys() else ():
            seen = explore(implementation, few, suite, shorten=False).counterexamples
            for clause in sorted((found - broken.keys()) & seen.keys()):
                if clause not in broken:
                    shown = least(implementation, few, suite, clause) or without_schedule(seen[clause])
                    both = sorted({clause, *shown.breaks} & found - broken.keys())
                    broken |= dict.fromkeys(both, shown)
                    callers |= dict.fromkeys(both, k)
            if found <= broken.keys():
                break
        spurious = found - broken.keys()
        held = watched & done.witnessed.keys() - found if done.complete else set[str]()
        told = msgspec.structs.replace(
            told,
            clauses=tuple(sorted(held)),
            broken=broken,
            callers=callers,
            spurious=tuple(sorted(spurious)),
            unknown="" if done.complete else f"not at an end after {done.states:,} states",
        )
        if done.complete and not spurious:
            break
    return told


def judged_by_steps(
    implementation: Implementation, scenario: Scenario, suite: Suite, owed: Collection[str] | None = None
) -> Counted:
    """The same of a story's twin: any number of steps that nothing obliges, callers as they are told (`unlimited`). LIVELOCK
    is judged there as anywhere.
    """
    done = explore(implementation, scenario, suite, shorten=False)
    watched = {c.id for monitor in suite.monitors(scenario) for c in monitor.clauses} | {"LIVELOCK"}
    broken = {
        clause: least(implementation, scenario, suite, clause) or without_schedule(found)
        for clause, found in done.counterexamples.items()
        if owed is None or clause in {*owed, "LIVELOCK"}
    }
    watched &= watched if owed is None else {*owed, "LIVELOCK"}
    held = watched & {*done.witnessed, "LIVELOCK"} - broken.keys() if done.complete else set[str]()
    unfinished = done.fault or ("" if done.complete else f"not at an end after {done.states:,} states")
    steps = ", ".join(f"{name}s" for name in optional([scenario]))
    sizes = (
        f"{many(len(scenario.vcpus), 'vCPU')}, {many(scenario.cpus, 'pCPU')}, {many(scenario.agents, 'other agent')}"
    )
    return Counted(
        scenario=scenario.name,
        about=scenario.about,
        cap=0,
        states=done.states,
        clauses=tuple(sorted(held)),
        broken=broken,
        unknown=unfinished,
        evidence=f"for any number of {steps}; {sizes}, {many(len(scenario.vectors), 'interrupt')}",
    )


def bounds(scenario: Scenario) -> str:
    """What there is any number of, and what not."""
    of = crowd.counted(scenario)
    kinds = (("devices", of.devices), ("software callers", of.threads), ("handlers", scenario.interrupts))
    posts = " and ".join(name for name, there in kinds if there)
    steps = "".join(f", {name}s" for name in optional([scenario]))
    sizes = (
        many(len(scenario.vcpus), "vCPU"),
        many(scenario.cpus - len(scenario.threads), "pCPU"),
        many(len(scenario.vectors), "interrupt"),
    )
    return (
        f"for any number of posts, {posts}{steps}; {', '.join(sizes)}; LIVELOCK is judged within bounds, by intack run"
    )


def callers_of(scenario: Scenario) -> Iterator[tuple[int, Scenario]]:
    """Scenarios with real callers, one, two and more, of each kind, each making one call: first with nobody preempted and no
    exits, then with one of each.
    """
    once = msgspec.structs.replace(scenario.budget, unlimited=False)
    calm = msgspec.structs.replace(once, preempt=0, exit=0)
    of = crowd.counted(scenario)
    kinds = len(of.devices) + len(of.threads)
    for k in range(1, MOST_CALLERS + 1 if kinds else 2):
        for several in _several(kinds, k):
            for budget in dict.fromkeys((calm, once)):
                name = "-".join(map(str, (scenario.name, *several)))
                yield k, msgspec.structs.replace(_with(scenario, several), name=name, budget=budget, story=False)


def _with(scenario: Scenario, several: tuple[int, ...]) -> Scenario:
    """With so many of each device, and then of each sender, on CPUs of their own; and devices that are no callers."""
    times = iter(several)
    callers = crowd.counted(scenario).devices
    devices: list[Device] = []
    for kind in scenario.devices:
        if kind not in callers:
            devices.append(kind)
            continue
        devices += [msgspec.structs.replace(kind, name=f"{kind.name}{n + 1}") for n in range(next(times))]
    threads: list[Thread] = []
    hosts = scenario.cpus - len(scenario.threads)
    for kind in scenario.threads:
        for _ in range(next(times)):
            cpu = hosts + len(threads)
            threads.append(msgspec.structs.replace(kind, name=f"sender{cpu}", cpu=cpu))
    cpus = hosts + len(threads)
    return msgspec.structs.replace(scenario, devices=tuple(devices), threads=tuple(threads), cpus=cpus)


def _several(kinds: int, total: int) -> Iterator[tuple[int, ...]]:
    """All ways to have so many callers of these kinds."""
    if kinds < 2:
        yield (total,) * kinds
        return
    for first in range(total, -1, -1):
        for rest in _several(kinds - 1, total - first):
            yield (first, *rest)


def meet(implementation: Implementation, scenario: Scenario, suite: Suite, *, cap: int, most: int) -> int:
    """The cutoff: the least number of callers in progress at a time that, counted exactly, reach all that is reached where
    they are counted up to `cap`; 0 if no number up to `most` does. Of what all share, that is; memory is Python's, so for
    small state spaces.
    """
    machine, _ = counted(implementation, scenario, suite, cap=cap)
    whole = _shared(machine)
    for k in range(1, most + 1):
        exact, _ = counted(implementation, scenario, suite, cap=k, most=k)
        if _shared(exact) == whole:
            return k
    return 0


def _shared(machine: Crowded) -> set[tuple[object, ...]]:
    from conformance.search.proof import visits

    states = {machine.apart(state) for state, _, _ in visits(machine)}
    cells = [c for c in machine.layout.cells.values() if len(c.values) > 1 and not machine.counts(c)]
    told = [(cell, [repr(signed(value)) for value in cell.values]) for cell in cells]
    named = [(cell.mask, cell.shift, [f"{cell.name} = {text}" for text in texts]) for cell, texts in told]
    return {
        tuple(texts[number] for mask, shift, texts in named if (number := (state & mask) >> shift)) for state in states
    }
