"""As test_halves.py, of nested posted interrupts: what a clause says, and what breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from test_halves import SCENARIOS, broken, like, proved, told

from conformance.roles.nested import Cpu, Vcpu
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario, VcpuSetup
from properties.nested.monitors.under_way import Posting
from properties.nested.scenarios import LAUNCH
from reference.known_bad.nested.levels import ExitsWithNotification
from reference.nested.kvm import NestedKvm


class ExitsUnmarked(ExitsWithNotification):
    """L2 exits to L1 with its own notification, and it is written nowhere that L1 was taken out of L2."""

    def nested_exit(self, cpu: Cpu, vcpu: Vcpu, vector: int = 0) -> None:
        super().nested_exit(cpu, vcpu, vector)
        cpu.store(vcpu.interrupted, 0)


class MovesForAnother(NestedKvm):
    """What was posted to the L2 of another vCPU goes into vIRR12 of this one."""

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        for other in self.world.vcpus.values():
            if other is not vcpu and self.in_l2(cpu, vcpu) and cpu.test_and_clear(other.l2.pid.on):
                for word in self.world.words:
                    cpu.fetch_or(vcpu.l2.virr[word], cpu.swap(other.l2.pid.pir[word], 0))
                self.raise_rvi(cpu, vcpu)
        return super().vcpu_enter_guest(cpu, vcpu)


class ClearsUnread(NestedKvm):
    """What is asked for is forgotten on the way in, and nobody has looked at it."""

    def enter_mode(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().enter_mode(cpu, vcpu)
        cpu.store(vcpu.requests, 0)


HALTS = like("nested-hlt")
APART = structs.replace(HALTS, initial=(("vcpu0.l2.rvi", 0xF0),))
"""L1 has given its L2 an RVI12 of which there is nothing in vIRR12."""
BESIDE = like("nested-shared", vcpus=(VcpuSetup(0, LAUNCH),) * 2, initial=())

BROKEN: tuple[tuple[type[BaseRole], Scenario, str], ...] = (
    (ExitsUnmarked, like("nested-post"), "KVM-NST-6"),
    (MovesForAnother, BESIDE, "NST-E2E-2"),
    (ClearsUnread, like("requests", threads=SCENARIOS["requests"].threads[:1]), "MODE-2"),
)
KEPT: tuple[tuple[type[BaseRole], Scenario, tuple[str, ...]], ...] = (
    (NestedKvm, APART, ("KVM-NST-4",)),
    (MovesForAnother, BESIDE, ("NST-E2E-3",)),
    (NestedKvm, like("requests"), ("MODE-2",)),
    (NestedKvm, like("nested-switch"), ("KVM-NST-5", "KVM-NST-6")),
)


@pytest.mark.parametrize(("role", "scenario", "clause"), BROKEN, ids=told)
def test_the_half_that_is_broken_is_told(role: type[BaseRole], scenario: Scenario, clause: str) -> None:
    assert clause in broken(role, scenario)


@pytest.mark.parametrize(("role", "scenario", "clauses"), KEPT, ids=told)
def test_another_right_way_is_no_breach(role: type[BaseRole], scenario: Scenario, clauses: tuple[str, ...]) -> None:
    assert not broken(role, scenario) & {*clauses}


def test_the_premise_of_what_is_moved_comes_true() -> None:
    assert "KVM-NST-4" in proved(NestedKvm, APART).witnessed


def test_a_delivery_between_the_begin_of_a_second_call_and_its_bit_settles_the_first_alone() -> None:
    first = Posting().begins().begins().sets()
    assert first.owed
    assert not first.delivered().owed
    assert first.delivered().sets().owed


def test_a_call_that_saw_the_bit_set_is_settled_by_a_delivery_since_it_began() -> None:
    assert not Posting().begins().begins().sets().delivered().returns().returns().owed
    assert Posting().begins().sets().returns().delivered().begins().returns().owed
