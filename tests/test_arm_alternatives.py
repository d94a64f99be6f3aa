"""Arm's alternatives: which of them breaks what where, and that nothing is left once its gap is closed."""

from __future__ import annotations

import pytest

from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.search.proof import Proof, prove
from conformance.verdict.suite import load_suite

SUITE = load_suite()
KINDS = {c.id: c.kind for c in SUITE.clauses}
SCENARIOS = {s.name: s for s in SUITE.scenarios}
HOOKS, FIRST, MENDED = "vgic-hooks", "vgic-2012", "reference.alternatives.arm.vgic_2012:Vgic2012Mended"
NO_BARRIER = "reference.known_bad.arm.vcpu:NoBarrier"


def explored(spec: str, scenario: str) -> Proof:
    return in_machine(resolve(spec), SCENARIOS[scenario], SUITE, prove)


def broken(found: Proof) -> set[str]:
    """Guarantees."""
    clauses = {*found.breached, *found.at_rest, *(("LIVELOCK",) if found.livelock else ())}
    return {c for c in clauses if KINDS[c] == "guarantee"}


@pytest.mark.parametrize("scenario", ["vgic-edge-wfi", "vgic-level-wfi", "vgic-wfi-preempt", "gicv4.1-wfi"])
def test_blocking_hooks_are_enough_where_nobody_preempts_or_nothing_is_resident(scenario: str) -> None:
    assert not broken(explored(HOOKS, scenario))


def test_blocking_hooks_lose_the_doorbell_to_a_preemption() -> None:
    assert broken(explored(HOOKS, "gicv4.1-shared-pcpu")) == {"GICV4-DB-4", "VGIC-WFI-2"}


@pytest.mark.parametrize(
    ("scenario", "clauses"),
    [
        ("vgic-edge", {"VGIC-EDGE-1", "VGIC-Q-1"}),
        ("vgic-edge-wfi", set[str]()),
        ("vgic-sgi", {"GICV2-LR-UNIQ"}),
        ("vgic-sgi-registers", {"GICV2-LR-UNIQ"}),
        ("vgic-clear-level", {"VGIC-LVL-5"}),
    ],
)
def test_the_2012_design_breaks(scenario: str, clauses: set[str]) -> None:
    found = broken(explored(FIRST, scenario))
    assert clauses <= found
    assert clauses or not found


@pytest.mark.parametrize(
    "scenario", ["vgic-edge", "vgic-sgi", "vgic-sgi-registers", "vgic-clear-level", "vgic-level", "vgic-handler"]
)
def test_the_2012_design_mended_breaks_nothing_there(scenario: str) -> None:
    assert not broken(explored(MENDED, scenario))


def test_its_barrier_makes_no_difference() -> None:
    """Nor could it with store buffers: the summary bit is set by a locked operation, which drains them."""
    with_it, without = explored(MENDED, "vgic-level-wfi"), explored(NO_BARRIER, "vgic-level-wfi")
    assert (with_it.states, broken(with_it)) == (without.states, broken(without)) == (with_it.states, set())
