"""The fence audit by axioms: for x86-TSO beside the store buffers, and for Armv8, which has no such machine here.

For each site and each window of a scenario (`routines`) z3 lists every outcome: what each thread read, and what memory
holds at last. One that appears without the site (a locked operation is made relaxed on Armv8, and two accesses on x86),
and that the implementation has neither with it nor under sequential consistency, is judged where it leads: the
scenario's machine is put into that state, its obligatory steps go on to rest, and a guarantee that is broken there makes
the site needed. Where no outcome appears, that is z3's answer for every combination of paths: an order that the axioms
keep forbids each.

A window is less than a whole run: an outcome that is new in it may be one that whole runs have anyway. What it ends
before (put and load of a context switch) is not judged. An interrupt message is taken to arrive after what its sender
stored before it: what only an earlier arrival breaks is not found here (under TSO the store buffers do find it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import msgspec

from conformance.adapters.registry import Implementation
from conformance.litmus.axioms import Model
from conformance.litmus.program import Outcome, Program
from conformance.litmus.solve import Found, Solver
from conformance.litmus.witness import effects
from conformance.machine import events as ev
from conformance.machine.build import in_machine
from conformance.machine.facts import Exits
from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.machine.parts import Frame, Running
from conformance.machine.state import View
from conformance.ordering.missing import Gap, fenced, gaps, mending
from conformance.ordering.routines import STATUS, Course, Window, serial, window
from conformance.ordering.weaken import Site, sites
from conformance.roles.scenario import Scenario
from conformance.search.recovery import settle
from conformance.verdict.suite import Suite, guarantees


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a site under a model; as `fences.Judged`, with the execution in place of a schedule."""

    site: Site
    status: str
    breaks: tuple[str, ...] = ()
    window: str = ""
    """The window in which an outcome appears,"""
    witness: Found | None = None
    """and the execution that shows it."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a model breaks though no site was taken away; as `fences.Missing`."""

    breaks: tuple[str, ...]
    mends: tuple[Gap, ...]
    """One fence in any of these keeps all of it."""
    window: str
    witness: Found


class Audited(NamedTuple):
    """All of one implementation."""

    judged: tuple[Judgement, ...]
    missing: tuple[Lacking, ...]


Key = tuple[tuple[Any, ...], Outcome]


def outcomes(made: Window, model: Model) -> Iterator[tuple[Key, tuple[Course, ...], Found]]:
    """Every outcome of a window once; with a site taken away, those of runs that pass it: the others are unchanged."""
    for courses in product(*made.courses):
        if made.site and not any(course.weakened for course in courses):
            continue
        program = replace(made.program, paths=[[course.path] for course in courses])
        if not _serial(program, courses) or _hopeless(program):
            continue
        for final, found in Solver(program, model).executions():
            yield (tuple(course.results for course in courses), final), courses, found


def _serial(program: Program, courses: Sequence[Course]) -> bool:
    """Whether what two threads do under locks fits together; with three, all pass."""
    initial = {at: place.values[0] for at, place in program.test.memory.items()}
    return len(courses) != 2 or serial(courses[0].under_locks, courses[1].under_locks, initial)


def _hopeless(program: Program) -> bool:
    """Whether some read returns what nobody writes: most combinations, told without the solver."""
    combination = next(program.combinations())
    for path in combination.paths:
        for value, wanted in path.conditions:
            (name,) = value.support
            read = combination.event(name)
            assert read.at
            sources = [w.value if w else None for w in combination.sources(read)]
            if any(v is not None and v.support for v in sources):
                continue
            words = [v.constant if v else program.initial(read) for v in sources]
            if all(value.of(word) != wanted for word in words):
                return True
    return False


def audit(implementation: Implementation, suite: Suite, scenarios: Sequence[Scenario], model: Model) -> Audited:
    """Every site that the software has in these scenarios, and what is broken with all of them in their places. Raises Fault,
    Unsupported, Undecided.
    """
    found: dict[str, Judgement] = {}
    missing: list[Lacking] = []
    for scenario in scenarios:
        here = _Audit(implementation, suite, msgspec.structs.replace(scenario, buffer=0), model)
        judgements, lacking = in_machine(implementation, here.scenario, suite, here.audited)
        for judgement in judgements:
            known = found.get(str(judgement.site))
            if known is None or _RANK.index(judgement.status) < _RANK.index(known.status):
                found[str(judgement.site)] = judgement
        told = {clause for one in missing for clause in one.breaks}
        if lacking and not told.issuperset(lacking.breaks):
            missing.append(replace(lacking, mends=here.mends(lacking)))
    return Audited(tuple(found[name] for name in sorted(found)), tuple(missing))


OUTSIDE = "not judged: no window reaches it"
_RANK = ("needed", "changes outcomes, breaks nothing", "not needed", OUTSIDE)
Broken = dict[str, tuple[str, Found]]
"""By clause: a window that breaks it, and the execution."""


class _Audit:
    """One scenario under a model."""

    def __init__(self, implementation: Implementation, suite: Suite, scenario: Scenario, model: Model) -> None:
        self.implementation, self.suite, self.scenario = implementation, suite, scenario
        self.model: Model = model
        self.guarantees = guarantees(suite, implementation)
        self.gaps: tuple[Gap, ...] = ()

    def audited(self, machine: Machine) -> tuple[list[Judgement], Lacking | None]:
        starts = [*windows(machine), *windows_with_something_held(machine)]
        plain = {name: window(machine, state, name, self.model, None) for name, state in starts}
        known: dict[str, set[Key]] = {}
        broken: dict[str, set[str]] = {}
        by_model: dict[Model, Broken] = {"sc": {}, self.model: {}}
        for name, state in starts:
            known[name], broken[name] = set(), set()
            for which, first in by_model.items():
                for key, courses, found in outcomes(plain[name], which):
                    if key not in known[name]:
                        known[name].add(key)
                        breaks = judged(machine, state, plain[name], courses, found, which) & self.guarantees
                        broken[name] |= breaks
                        first |= {clause: (name, found) for clause in breaks if clause not in first}
        lost = by_model[self.model].keys() - by_model["sc"].keys()
        lacking = None
        if lost:
            at, witness = by_model[self.model][min(lost)]
            lacking = Lacking(tuple(sorted(lost)), (), at, witness)
            done = {(e.text, e.at.symbol) for path in witness.combination.paths for e in path.events if e.at}
            done |= {(routine, "") for routine, at in done if at.startswith(STATUS)}
            self.gaps = tuple(g for g in gaps(machine.assembly, self.model) if (g.routine, g.access[1]) in done)
        made = [self._judged(machine, site, starts, known, broken) for site in sites(machine.assembly)]
        return made, lacking

    def _judged(
        self,
        machine: Machine,
        site: Site,
        starts: Sequence[tuple[str, int]],
        known: Mapping[str, set[Key]],
        broken: Mapping[str, set[str]],
    ) -> Judgement:
        best = Judgement(site, OUTSIDE)
        for name, state in starts:
            without = window(machine, state, name, self.model, site)
            if best.status == OUTSIDE and any(course.weakened for of in without.courses for course in of):
                best = Judgement(site, "not needed")
            for key, courses, found in outcomes(without, self.model):
                if key in known[name] or best.breaks:
                    continue
                breaks = (judged(machine, state, without, courses, found, self.model) & self.guarantees) - broken[name]
                status = "needed" if breaks else "changes outcomes, breaks nothing"
                if breaks or best.status == "not needed":
                    best = Judgement(site, status, tuple(sorted(breaks)), name, found)
        return best

    def mends(self, lacking: Lacking) -> tuple[Gap, ...]:
        """Of those that the execution passes: others would not forbid it."""
        keeps = partial(self._keeps, frozenset(lacking.breaks))

        def fenced_keeps(gap: Gap) -> bool:
            change = partial(fenced, gap=gap, model=self.model)
            return in_machine(self.implementation, self.scenario, self.suite, keeps, change)

        return mending(self.gaps, fenced_keeps)

    def _keeps(self, clauses: frozenset[str], machine: Machine) -> bool:
        for name, state in (*windows(machine), *windows_with_something_held(machine)):
            made = window(machine, state, name, self.model, None)
            for _, courses, found in outcomes(made, self.model):
                if clauses & judged(machine, state, made, courses, found, self.model):
                    return False
        return True


def windows(machine: Machine) -> Iterator[tuple[str, int]]:
    """The start, and each return from the guest on the way that the vCPUs take alone."""
    yield f"{machine.scenario.name}, from the start", machine.initial
    alone = [
        a for a in machine.obligatory if a.name in {f"cpu{machine.threads[v].place.unpack(0)}" for v in machine.vcpus}
    ]
    state, exits = machine.initial, 0
    for _ in range(200):
        moved = next((o for a in alone for o in a.entry(state).outcomes[:1]), None)
        if moved is None:
            return
        for note in moved.notes:
            if isinstance(note.fact, Exits):
                exits += 1
                after = state & moved.keep | moved.add
                yield f"{machine.scenario.name}, from exit {exits} ({' '.join(map(str, note.fact.reason))})", after
        state = state & moved.keep | moved.add


def windows_with_something_held(machine: Machine) -> Iterator[tuple[str, int]]:
    """Where the first of several threads has ended, each return from a forced exit on the way of the vCPU alone, whose
    hardware (list registers) then holds what was injected.
    """
    first, *others = machine.scenario.threads or (None,)
    if first is None or not others or not machine.scenario.budget.exit:
        return
    state = machine.initial
    where = [f"cpu{first.cpu}", *(f"cpu{machine.threads[v].place.unpack(0)}" for v in machine.vcpus)]
    seen: set[Any] = set()
    for name in where:
        agents = [a for a in machine.agents if a.name == name]
        forced = [a for a in machine.agents if a.name == f"exit {name}" and name != where[0]]
        for _ in range(200):
            for outcome in (o for a in forced for o in a.entry(state).outcomes[:1]):
                after = state & outcome.keep | outcome.add
                held = tuple(after & cell.mask for cell in machine.memory.values())
                if held not in seen:
                    seen.add(held)
                    yield f"{machine.scenario.name}, from forced exit {len(seen)}", after
            moved = next((o for a in agents for o in a.entry(state).outcomes[:1]), None)
            if moved is None:
                break
            state = state & moved.keep | moved.add


def judged(
    machine: Machine, state: int, made: Window, courses: Sequence[Course], found: Found, model: Model
) -> set[str]:
    """The clauses that are broken at the rest to which an outcome leads."""
    view = View(state)
    final = dict(zip(made.shared, found.combination.outcome(found.execution, found.returned), strict=True))
    for course, c in zip(courses, made.cpus, strict=True):
        _leave(machine, view, course, c, final)
    for event in effects(found, model):
        if event.kind == "W" and event.at and event.value and _told(machine, event.at.symbol):
            _tell(
                machine, view, event.at.symbol, event.value.given(found.returned), made.cpus[event.thread], event.text
            )
    for at, value in final.items():
        if _told(machine, at):
            view.set(machine.memory[at], value)
    after = state
    for cell, value in view.writes.items():
        after = after & ~cell.mask | cell.pack(value)
    return {f.clause for f in machine.at_rest(settle(machine, after)) if isinstance(f, Breach)}


def _told(machine: Machine, at: str) -> bool:
    """Whether it is a location of the machine; its locks are free at the end of a window, as at its start."""
    return at in machine.memory and not machine.assembly.locations[at].lock


def _leave(machine: Machine, view: View, course: Course, c: int, final: dict[str, Any]) -> None:
    """A CPU as a course leaves it."""
    cell = machine.cpus[c].run
    run = view.get(cell)
    for thread in machine.scenario.threads:
        if run.thread == thread.name and run.frames[0].node is machine.assembly.root(thread.routine, thread.args):
            machine.emit(view, ev.Called(c, thread.routine, thread.args))  # with its first step: Execution._begin
    view.set(cell, Running(run.thread, (*run.frames[:-1], Frame(run.frames[-1].kind, course.end)), ""))
    view.set(machine.cpus[c].flag, course.on)
    thread = machine.threads[run.thread]
    view.set(thread.unpreemptible, view.get(thread.unpreemptible) + course.unpreemptible)
    if (status := final.get(STATUS + run.thread)) is not None:
        view.set(thread.status, "about to sleep" if status else "runnable")
    for at, value in course.own.items():
        view.set(machine.memory[at], value)
    for vector, to in course.sent:
        if 0 <= to < len(machine.cpus):
            view.set(machine.cpus[to].flight, view.get(machine.cpus[to].flight) | 1 << vector)


def _tell(machine: Machine, view: View, at: str, value: Any, cpu: int, routine: str) -> None:
    """Monitors learn of a write as of any other."""
    old = view.get(machine.memory[at])
    view.set(machine.memory[at], value)
    bits = value & ~old if isinstance(value, int) else 0
    machine.emit(view, ev.Changed(cpu, routine, at, old, value, bits))
