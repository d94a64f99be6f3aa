"""Explore one scenario with one implementation, completely, and keep what the verdicts need."""

from __future__ import annotations

import msgspec

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.determinism import in_fresh_process
from conformance.machine import rules
from conformance.machine.build import in_machine
from conformance.machine.facts import Crashes
from conformance.machine.finding import Breach, Witness
from conformance.machine.machine import Machine
from conformance.roles.scenario import Scenario
from conformance.search.failing import Failing, failing
from conformance.search.proof import LIVELOCK, prove, shortest, walk
from conformance.search.proof import BreakingSchedule as Found
from conformance.search.proof import Proof as Proved
from conformance.search.recovery import recovery
from conformance.search.replay import encode
from conformance.search.trace import TraceStep, told, trace
from conformance.verdict import unlimited
from conformance.verdict.clause import Counterexample
from conformance.verdict.ingredients import ships
from conformance.verdict.suite import Suite

FAILURES = ("CRASH", "TIMEOUT")
"""Statuses of a Fault that a step may end in; it is no clause's, but its least schedule is looked for like one's."""
MOST_STATES = 1_000_000
MOST_VISITS, MOST_VISITS_TO_A_WITNESS = 3_000_000, 200_000


class Explored(msgspec.Struct, frozen=True, kw_only=True):
    """What the exploration of one scenario found, as data: it crosses processes as JSON."""

    scenario: str
    bounds: str
    states: int = 0
    transitions: int = 0
    questions: int = 0
    quiescent: int = 0
    complete: bool = True
    samples: int = 0
    """Schedules drawn, where the scenario is too large to be exhausted."""
    predicted: int = 0
    """And run because another run had predicted them."""
    not_followed: int = 0
    """Orders that were predicted, and that the machine could not follow."""
    undecided: int = 0
    """Questions about predictions that the solver gave up."""
    counterexamples: dict[str, Counterexample] = {}
    witnessed: tuple[str, ...] = ()
    fault: str = ""
    fault_status: str = ""
    fault_routine: str = ""
    fault_what: str = ""
    fault_at: str = ""


def explore(
    implementation: Implementation,
    scenario: Scenario,
    suite: Suite,
    *,
    reduce: bool = True,
    profile: str = "",
    shorten: bool = True,
) -> Explored:
    """Never raises for what the implementation does: a fault is part of the result, with all that was found before it.

    Unless `shorten` is set, what an exhaustive search finds broken stays without a schedule: `least` finds the least.
    """
    try:
        if scenario.samples:
            return in_machine(implementation, scenario, suite, lambda m: _sampled(m, implementation, profile))
        most = max(MOST_STATES, unlimited.allowed(suite, scenario))
        return in_machine(
            implementation, scenario, suite, lambda m: _explore(m, implementation, reduce, profile, shorten, most)
        )
    except Fault as fault:
        return _ended(Explored(scenario=scenario.name, bounds=scenario.bounds()), fault)


def _explore(
    machine: Machine, implementation: Implementation, reduce: bool, profile: str, shorten: bool, most: int
) -> Explored:
    scenario = machine.scenario
    done = Proved()
    try:
        prove(machine, reduce=reduce, most=most, done=done)
        _ask_again(machine, implementation)
    except Fault as fault:
        return _until(fault, machine, done, implementation, profile, shorten)
    broken = {*done.breached, *done.at_rest, *(("LIVELOCK",) if done.livelock else ())}
    counterexamples: dict[str, Counterexample] = {}
    if broken:
        for clause, found in (shortest(machine, broken) if shorten else {}).items():
            counterexamples[clause] = document(machine, found, implementation, profile)
        for clause in broken - counterexamples.keys():
            breach = done.at_rest.get(clause) or done.breached.get(clause, LIVELOCK)
            found = unshortened(scenario, clause in done.at_rest, breach)
            counterexamples[clause] = without_schedule(found) if shorten else found
        if "LIVELOCK" in broken:
            for clause in restless(machine):
                counterexamples[clause] = counterexamples["LIVELOCK"]
    return Explored(
        scenario=scenario.name,
        bounds=scenario.bounds(),
        states=done.states,
        transitions=done.transitions,
        questions=machine.assembly.questions(),
        quiescent=done.quiescent,
        complete=done.complete,
        counterexamples=counterexamples,
        witnessed=tuple(sorted(done.witnessed)),
    )


def _ask_again(machine: Machine, implementation: Implementation) -> None:
    """All questions, here and in a process of its own. Raises Fault NONDETERMINISTIC. What ships with the suite has no state to
    hide, which the suite's own tests ask, and what names its content is asked in a process of its own each time.
    """
    if not ships(implementation) or implementation.replaces:
        machine.assembly.recheck()
    if not ships(implementation) or (implementation.replaces and not implementation.content):
        in_fresh_process(implementation, machine.scenario, machine.assembly)


def _until(
    fault: Fault, machine: Machine, done: Proved, implementation: Implementation, profile: str, shorten: bool
) -> Explored:
    """What was found before the fault. If the implementation contradicts itself, nothing that it led to counts."""
    scenario = machine.scenario
    broken = {} if fault.status == "NONDETERMINISTIC" else done.breached | done.at_rest
    counterexamples = {c: unshortened(scenario, c in done.at_rest, breach) for c, breach in broken.items()}
    for clause in broken if shorten else ():
        counterexamples[clause] = without_schedule(
            counterexamples[clause], f"the code itself fails there: {fault.status}, {fault.what}"
        )
        try:  # the fault may lie on the way to the least schedule, too
            found = shortest(machine, {clause}).get(clause)
            counterexamples |= {clause: document(machine, found, implementation, profile)} if found else {}
        except Fault:
            continue
    found = Explored(
        scenario=scenario.name,
        bounds=scenario.bounds(),
        questions=machine.assembly.questions(),
        counterexamples=counterexamples,
    )
    return _ended(found, fault)


def _ended(found: Explored, fault: Fault) -> Explored:
    return msgspec.structs.replace(
        found,
        complete=False,
        fault=str(fault),
        fault_status=fault.status,
        fault_routine=fault.routine,
        fault_what=fault.what,
        fault_at=fault.at,
    )


def least(
    implementation: Implementation,
    scenario: Scenario,
    suite: Suite,
    clause: str,
    *,
    witness: bool = False,
    below: tuple[int, int] | None = None,
    profile: str = "",
) -> Counterexample | None:
    """The least schedule that breaks the clause (of a MAY clause: shows it), if there is one within the bound of the
    search, and with fewer (switches, steps) than `below`. Of CRASH or TIMEOUT that after which the code itself fails so.
    """

    def found(machine: Machine) -> Counterexample | None:
        if clause in FAILURES:
            fails = failing(machine, clause)
            return fails and _failure(machine, fails, implementation)
        name = "LIVELOCK" if clause in restless(machine) else clause
        most, kind = (MOST_VISITS_TO_A_WITNESS, Witness) if witness else (MOST_VISITS, Breach)
        breaking = shortest(machine, {name}, most, kind, below).get(name)
        return breaking and document(machine, breaking, implementation, profile)

    try:
        return in_machine(implementation, scenario, suite, found)
    except Fault:  # it may lie on the way
        return None


def shrunk(
    implementation: Implementation, scenario: Scenario, suite: Suite, clause: str, *, profile: str = ""
) -> Counterexample | None:
    """The least schedule that Hypothesis finds to break the clause in a sampled scenario; None where it is too rare to be
    drawn again within the limits.
    """
    from hypothesis.errors import NoSuchExample

    from conformance.search.sampling import shrink

    try:
        return in_machine(
            implementation, scenario, suite, lambda m: document(m, shrink(m, clause), implementation, profile)
        )
    except (Fault, NoSuchExample):
        return None


def _sampled(machine: Machine, implementation: Implementation, profile: str) -> Explored:
    from conformance.search.predict import Predictor  # with z3
    from conformance.search.sampling import sample

    scenario = machine.scenario
    predictor = Predictor(machine, most=scenario.samples)
    steps, broken = sample(machine, scenario.samples, lambda run: (p.run for p in predictor.predictions(run)))
    _ask_again(machine, implementation)
    return Explored(
        scenario=scenario.name,
        bounds=scenario.bounds(),
        transitions=steps,
        questions=machine.assembly.questions(),
        samples=scenario.samples,
        predicted=predictor.replayed,
        not_followed=predictor.dropped,
        undecided=predictor.undecided,
        counterexamples={c: document(machine, found, implementation, profile) for c, found in broken.items()},
    )


def unshortened(scenario: Scenario, at_rest: bool, breach: Breach) -> Counterexample:
    """A breach that the proof has met: its least schedule is still to be found."""
    return Counterexample(
        scenario=scenario.name,
        switches=1_000,
        steps=0,
        at_rest=at_rest,
        reason=breach.reason,
        subjects=breach.subjects,
    )


def without_schedule(found: Counterexample, why: str = "none within the bound of the second search") -> Counterexample:
    """A breach whose least schedule was not reached: still a breach."""
    return msgspec.structs.replace(found, reason=f"{found.reason} (without its shortest schedule: {why})")


def restless(machine: Machine) -> list[str]:
    """Clauses that a scenario breaks by never coming to rest: LIVELOCK, and those that are declared to be that there."""
    return [clause.id for attached in machine.attached for clause in attached.monitor.also(rules.LIVELOCK)]


def document(machine: Machine, found: Found, implementation: Implementation, profile: str) -> Counterexample:
    """A counterexample as data."""
    made = trace(machine, found)
    mends = recovery(machine, found) if found.at_rest and found.clause != "LIVELOCK" else ""
    routines = [step.routine for step in made if step.routine]
    filled = machine.assembly.filled_by
    last = machine.assembly.role_of.get(routines[-1], "") if routines and not found.at_rest else ""
    if last and filled.get(last) == implementation.name:
        role = f"{last}, filled by {implementation.name}"
    else:  # at rest, or in a step of the reference's, which is not to blame for what it was led to
        own = sorted(r for r, name in filled.items() if name == implementation.name)
        role = f"the whole path, of which {implementation.name} fills {', '.join(own)}"
    return Counterexample(
        scenario=machine.scenario.name,
        switches=found.switches,
        steps=found.steps,
        at_rest=found.at_rest,
        recovery=mends,
        witness=isinstance(found.finding, Witness),
        reason=found.reason,
        subjects=found.finding.subjects,
        role=role,
        architecture=machine.scenario.architecture,
        trace=made,
        breaks=_broken_by(machine, found),
        replay=encode(machine, found, implementation.spec, profile),
    )


def _failure(machine: Machine, found: Failing, implementation: Implementation) -> Counterexample:
    """The steps, and the one in which it fails: with what it did until then."""
    before = trace(machine, Found(Breach(found.fault.status, found.fault.what), found.schedule, found.switches, True))
    fault, scenario, agent = found.fault, machine.scenario, machine.agents[found.agent]
    own = scenario.name if scenario.story else ""
    last = TraceStep(
        number=len(before) + 1,
        agent=agent.name,
        facts=(*(told(note) for note in found.notes), Crashes(what=fault.what, routine=fault.routine, site=fault.at)),
        breaks=True,
    )
    return Counterexample(
        scenario=scenario.name,
        switches=found.switches,
        steps=last.number,
        at_rest=False,
        reason=fault.what,
        architecture=scenario.architecture,
        trace=(*before, last),
        replay=f"intack run -a {implementation.spec} --scenario {own}" if own else "",
    )


def _broken_by(machine: Machine, found: Found) -> tuple[str, ...]:
    """Clauses that the steps break, and the rest in which they end."""
    breaches = list[str]()
    state = machine.initial
    for _, outcome, state in walk(machine, found.schedule):
        breaches += [breach.clause for breach in outcome.breaches]
    if found.at_rest and machine.quiescent(state):
        breaches += [finding.clause for finding in machine.at_rest(state) if isinstance(finding, Breach)]
    return tuple(dict.fromkeys(breaches))
