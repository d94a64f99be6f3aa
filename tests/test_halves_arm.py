"""As test_halves.py, of Arm: what a clause says, and what breaks it."""

from __future__ import annotations

from typing import ClassVar

import pytest
from msgspec import structs
from test_halves import broken, like, proved, told

from conformance.roles.arm import LPI, PRIORITIES, SGI, Cpu, Shared, Vcpu
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Budget, Scenario, VcpuSetup
from properties.arm.scenarios import WFI, its, redistributors, register
from reference.alternatives.arm.vgic_hooks import VgicHooks
from reference.arm.kvm import KvmArm
from reference.known_bad.arm.vcpu import UnlockedPendingLast


class CountsMaintenance(KvmArm):
    """The handler counts, for all the machine and for an interrupt: no vCPU's state."""

    vm_state: ClassVar = {**KvmArm.vm_state, "maintained": Shared(0)}

    def maintenance_interrupt(self, cpu: Cpu, where: int) -> None:
        cpu.swap(self.world.vm.maintained, 1)


class DropsWhatIsSentAgain(KvmArm):
    """An SGI that is found active is not made pending."""

    def send_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int, targets: int) -> None:
        for to in self.world.all_vcpus():
            if targets >> to.number & 1 and not cpu.load(self.world.irq(to, intid).active):
                super().send_sgi(cpu, vcpu, intid, 1 << to.number)


SENT_TWICE = like(
    "vgic-sgi", vcpus=(VcpuSetup(0), VcpuSetup(1, (register("sgir", SGI, 0b01),) * 2)), budget=Budget(exit=1)
)
LATE = like("vgic-late-maintenance")
PREEMPTED = like("gicv4.1-wfi-preempt", facts=("gicv4.1",), devices=redistributors(), budget=Budget(preempt=1))
SECOND = like(
    "gicv4.1-wfi",
    vcpus=(VcpuSetup(0, (("write_pmr", 0x80), *WFI)),),
    devices=(its(LPI + 1), *redistributors()),
    vectors=(LPI + 1,),
)

BROKEN: tuple[tuple[type[BaseRole], Scenario, str], ...] = (
    (DropsWhatIsSentAgain, SENT_TWICE, "VGIC-EDGE-3"),
    (VgicHooks, PREEMPTED, "GICV4-RES-10"),
)
KEPT: tuple[tuple[type[BaseRole], Scenario, tuple[str, ...]], ...] = (
    (CountsMaintenance, LATE, ("GICV2-MI-3",)),
    (KvmArm, PREEMPTED, ("GICV4-RES-10",)),
)


@pytest.mark.parametrize(("role", "scenario", "clause"), BROKEN, ids=told)
def test_the_half_that_is_broken_is_told(role: type[BaseRole], scenario: Scenario, clause: str) -> None:
    assert clause in broken(role, scenario)


@pytest.mark.parametrize(("role", "scenario", "clauses"), KEPT, ids=told)
def test_another_right_way_is_no_breach(role: type[BaseRole], scenario: Scenario, clauses: tuple[str, ...]) -> None:
    assert not broken(role, scenario) & {*clauses}


def test_an_sgi_that_is_sent_again_is_kept_and_puts_the_clause_to_the_test() -> None:
    found = proved(KvmArm, SENT_TWICE)
    assert "VGIC-EDGE-3" in found.witnessed
    assert not {*found.breached, *found.at_rest}


def test_the_priority_is_that_of_the_virtual_lpi_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask lets 8193 through, and not 8192."""
    monkeypatch.setitem(PRIORITIES, LPI + 1, 0x0C)  # type: ignore[arg-type]
    assert "GICV4-DB-5" in broken(UnlockedPendingLast, SECOND)
    first = structs.replace(SECOND, vectors=(LPI,), devices=(its(), *redistributors()))
    assert "GICV4-DB-5" not in broken(UnlockedPendingLast, first)
