"""Run a replay string again, on the code as it is now: FIXED, STILL VIOLATED or DIFFERENT; of what a clause allows or one
design alone does, what became of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from conformance.adapters.registry import AdapterError, Implementation, resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach, Finding
from conformance.machine.machine import Machine
from conformance.roles.scenario import Scenario
from conformance.search.proof import BreakingSchedule as Found
from conformance.search.proof import Step, prove, shortest, walk
from conformance.search.replay import Replay, ReplayError, decode, follow, scenario_hash
from conformance.search.sampling import switches
from conformance.verdict.clause import Clause, Status, Verdict
from conformance.verdict.explore import document
from conformance.verdict.own_scenarios import ScenarioError, check
from conformance.verdict.suite import Suite, load_suite

Word = Literal["FIXED", "STILL VIOLATED", "STILL DEVIATES", "DIFFERENT", "OBSERVED AGAIN", "NOT OBSERVED"]


def replay(string: str, implementation: Implementation | None = None) -> tuple[Word, Verdict]:
    """Follow the schedule by its labels as far as they fit, then search the same scenario and clause.

    STILL VIOLATED (of a discipline: STILL DEVIATES): the same schedule breaks the clause again. DIFFERENT: it no longer
    fits or no longer breaks it, but another one does. FIXED: none does. The witness of a MAY clause is OBSERVED AGAIN,
    DIFFERENT or NOT OBSERVED. `implementation`: this one, whatever the string names. Raises ReplayError where the string
    does not belong to this catalogue, Fault where the code misbehaves.
    """
    suite = load_suite()
    recorded, clause, scenario = fitting(string, suite)
    try:
        implementation = implementation or resolve(recorded.implementation)
    except AdapterError as error:
        raise ReplayError(f"this replay string names an implementation that is not here: {error}") from error
    return _again(recorded, suite, clause, scenario, implementation)


def fitting(string: str, suite: Suite) -> tuple[Replay, Clause, Scenario]:
    """What a replay string holds, if it belongs to this catalogue. Raises ReplayError."""
    recorded = decode(string)
    clause = next((c for c in suite.clauses if c.id == recorded.clause), None)
    scenario = recorded.own or next((s for s in suite.scenarios if s.name == recorded.scenario), None)
    if clause is None or scenario is None:
        gone = f"clause {recorded.clause}" if clause is None else f"scenario {recorded.scenario}"
        raise ReplayError(
            f"this replay string is stale: {gone} is not in this catalogue any more. Run the clause again."
        )
    if scenario_hash(scenario) != recorded.catalogue:
        raise ReplayError(
            f"this replay string is stale: scenario {scenario.name} has changed since. "
            f"Run it again: intack run -a {recorded.implementation} --clause {clause.id}"
        )
    if recorded.own:
        try:
            check(recorded.own, "the scenario of this replay string")
        except ScenarioError as error:
            raise ReplayError(str(error)) from None
    return recorded, clause, scenario


def elsewhere(string: str, implementation: Implementation) -> tuple[int, bool] | None:
    """For how many steps the schedule fits another implementation, and whether it breaks the clause there, too. None where
    that does not take part, or misbehaves.
    """
    suite = load_suite()
    recorded, _, scenario = fitting(string, suite)

    def fits(machine: Machine) -> tuple[int, bool]:
        schedule = follow(machine, recorded.steps)
        whole = len(schedule) == len(recorded.steps)
        return len(schedule), whole and bool(broken_by(machine, schedule, recorded.clause, recorded.kind))

    if not implementation.takes_part(scenario):
        return None
    try:
        return in_machine(implementation, scenario, suite, fits)
    except Fault:
        return None


def _again(
    recorded: Replay, suite: Suite, clause: Clause, scenario: Scenario, implementation: Implementation
) -> tuple[Word, Verdict]:
    return in_machine(implementation, scenario, suite, lambda m: _judge(m, recorded, clause, implementation))


def _judge(machine: Machine, recorded: Replay, clause: Clause, implementation: Implementation) -> tuple[Word, Verdict]:
    schedule = follow(machine, recorded.steps)
    fits = len(schedule) == len(recorded.steps)
    does, nothing = ("shows it", "does not show it") if recorded.witness else ("breaks it", "breaks nothing")
    same = fits and broken_by(machine, schedule, recorded.clause, recorded.kind)
    if same:
        evidence = f"the recorded schedule of {len(schedule)} steps {does} again"
        verdict = _verdict(machine, same, clause, implementation, recorded, evidence)
        return SAME[verdict.status], verdict
    how = f"fits and {nothing}" if fits else f"fits for {len(schedule)} of {len(recorded.steps)} steps"
    other = shortest(machine, {recorded.clause}, kind=recorded.kind).get(recorded.clause)
    if other:
        evidence = f"the recorded schedule {how}; another one {does}"
        return "DIFFERENT", _verdict(machine, other, clause, implementation, recorded, evidence)
    states = prove(machine).states
    evidence = f"the recorded schedule {how}; none of the {states:,} states of scenario {machine.scenario.name} {does}"
    gone = Verdict(
        clause=clause,
        implementation=implementation.name,
        profile=recorded.profile,
        status=Status.NEVER_OBSERVED if recorded.witness else Status.HELD,
        evidence=evidence,
    )
    return "NOT OBSERVED" if recorded.witness else "FIXED", gone


SAME: Mapping[Status, Word] = {
    Status.VIOLATED: "STILL VIOLATED",
    Status.DEVIATES: "STILL DEVIATES",
    Status.OBSERVED: "OBSERVED AGAIN",
}


def broken_by(machine: Machine, schedule: tuple[Step, ...], clause: str, kind: type[Finding] = Breach) -> Found | None:
    """Whether this schedule breaks the clause (or shows what it allows): by its last step, or in the rest it ends in."""
    state, outcome = machine.initial, None
    for _, outcome, state in walk(machine, schedule):
        pass
    for finding in outcome.findings if outcome else ():
        if isinstance(finding, kind) and finding.clause == clause:
            return Found(finding, schedule, switches(machine, schedule), False)
    if machine.quiescent(state):
        for finding in machine.at_rest(state):
            if isinstance(finding, kind) and finding.clause == clause:
                return Found(finding, schedule, switches(machine, schedule), True)
    return None


def _verdict(
    machine: Machine, found: Found, clause: Clause, implementation: Implementation, recorded: Replay, evidence: str
) -> Verdict:
    status = Status.VIOLATED if clause.kind == "guarantee" else Status.DEVIATES
    if recorded.witness:
        status = Status.OBSERVED
    return Verdict(
        clause=clause,
        implementation=implementation.name,
        profile=recorded.profile,
        status=status,
        evidence=evidence,
        counterexample=document(machine, found, implementation, recorded.profile),
    )
