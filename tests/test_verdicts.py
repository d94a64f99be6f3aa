"""What a verdict rests on, in words, and what it counts for."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.adapters.registry import Implementation, resolve
from conformance.machine.monitor import Monitor
from conformance.roles.scenario import Scenario
from conformance.verdict.clause import Status, Verdict, exit_status
from conformance.verdict.judge import Judge
from conformance.verdict.suite import Checked
from properties.suite import SUITE


class Few:
    """The suite, with a few of its scenarios."""

    clauses = SUITE.clauses
    assumptions = SUITE.assumptions
    routines = SUITE.routines

    def __init__(self, *names: str) -> None:
        self.scenarios = tuple(s for s in SUITE.scenarios if s.name in names)

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return SUITE.monitors(scenario)

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        return SUITE.sequential(clause, implementation)

    def cases(self, clause: str, implementation: Implementation) -> None:
        """Nothing."""

    def drawn(self, implementation: Implementation, states: float) -> None:
        """Nothing."""


def judged(spec: str, clause: str, *scenarios: str) -> Verdict:
    suite = Few(*scenarios)
    return Judge(resolve(spec), "kvm", suite).verdict(next(c for c in suite.clauses if c.id == clause))


def test_a_habit_that_is_another_designs_decides_nothing() -> None:
    """known-bad:E8, which is correct, reads no mode before it notifies: it is no worse for that."""
    habit = judged("known-bad:E8", "KVM-SND-5", "one-sender")
    assert habit.status is Status.NOT_EXERCISED
    assert "a discipline is one design's habit" in habit.evidence
    assert exit_status([habit]) == 0


def test_a_guarantee_that_is_never_put_to_the_test_is_undecided() -> None:
    guarantee = judged("reference", "KVM-PI-18", "reset")
    assert guarantee.status is Status.NOT_EXERCISED
    assert guarantee.evidence.startswith("in 1 scenario (reset): its premise")
    assert exit_status([guarantee]) == 2


def test_the_bounds_of_a_proof_are_a_sentence() -> None:
    """Which scenarios, and the plural where there are several."""
    held = judged("reference", "LIVELOCK", "one-sender", "core", "vgic-edge", "vgic-two-edges", "save-restore")
    assert held.evidence.startswith("exhaustively in 5 scenarios (one-sender, core, save-restore and 2 more), ")
    assert "at most 1 vCPU, 3 pCPUs, 2 other agents, 2 interrupts, " in held.evidence
    alone = judged("reference", "LIVELOCK", "save-restore")
    assert alone.evidence == (
        "exhaustively in 1 scenario (save-restore), 28 states: at most 1 vCPU, 1 pCPU, 0 other agents, 1 interrupt, "
        "no optional steps"
    )
