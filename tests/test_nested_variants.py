"""Correct variants of L0's nested posted interrupts, which must pass: notifications, kicks and looks more than are needed."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.registry import of_class
from conformance.roles.nested import Cpu, Vcpu
from conformance.verdict.explore import explore
from properties.suite import SUITE
from reference.nested.kvm import NestedKvm
from reference.x86.kvm import EVENT

CLAUSES = {c.id: c for c in SUITE.clauses}
SCENARIOS = {s.name: s for s in SUITE.scenarios}


class NotifiesTwice(NestedKvm):
    def trigger(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        super().trigger(cpu, vcpu, vector)
        super().trigger(cpu, vcpu, vector)


class KicksToo(NestedKvm):
    def trigger(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        super().trigger(cpu, vcpu, vector)
        self.l1.wake_up(cpu, vcpu)
        self.kick(cpu, vcpu)


class LooksAlways(NestedKvm):
    """At each entry, whether an event was requested or not."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        self.l1.request(cpu, vcpu, EVENT)
        return super().vcpu_run(cpu, vcpu)


@pytest.mark.parametrize("variant", [NotifiesTwice, KicksToo, LooksAlways])
@pytest.mark.parametrize("scenario", ["nested-post", "nested-hlt", "nested-pending", "nested-own", "nested-switch"])
def test_more_than_is_needed_is_no_violation(variant: type[NestedKvm], scenario: str) -> None:
    found = explore(of_class(variant, variant.__name__, variant.__name__), SCENARIOS[scenario], SUITE)
    assert not found.fault
    assert not [c for c in found.counterexamples if CLAUSES[c].kind == "guarantee"]


@pytest.mark.parametrize("variant", [NotifiesTwice, LooksAlways])
def test_what_is_waived_is_all_that_breaks(variant: type[NestedKvm]) -> None:
    found = explore(of_class(variant, variant.__name__, variant.__name__), SCENARIOS["nested-order"], SUITE)
    assert {c for c in found.counterexamples if CLAUSES[c].kind == "guarantee"} == {"KVM-NST-9"}
