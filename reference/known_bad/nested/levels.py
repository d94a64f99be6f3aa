"""Wrong ways between L1 and L2: changes to `NestedKvm`'s entries, exits and what it takes for L1's or L2's."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.location import Shared
from conformance.roles.nested import PINV12, POSTING, Cpu, Vcpu
from reference.nested.kvm import NestedKvm


class IgnoresArrivals(NestedKvm):
    """KVM before f27a85c4988d (2017): an interrupt for L1 that the harvest finds on the way into L2 requests nothing."""

    def announce(self, cpu: Cpu, vcpu: Vcpu) -> None: ...


class LooksAtRviOnly(NestedKvm):
    """KVM before 27c4fa42b11a (2024): whether L2 wakes from HLT is asked of RVI12, not of what is posted and notified."""

    def highest_posted(self, cpu: Cpu, vcpu: Vcpu) -> int:
        return 0


class LeavesNotificationToL1(NestedKvm):
    """KVM before 25bb2cf97139 (2020): PINV12 that waits in L1's vIRR at the entry to L2 goes on waiting there."""

    def morph(self, cpu: Cpu, vcpu: Vcpu) -> None: ...


class ExitsWithNotification(NestedKvm):
    """KVM before 6e0b456547f4 (2024): PINV12 that is found while L2 is active makes L2 exit to L1."""

    def is_notification(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        return False


class KeepsNotificationVector(NestedKvm):
    """KVM before 1ed0f119c5ff (2024): a vmcs12 without posted interrupts leaves the notification vector of the one before."""

    def take_notification_vector(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> None:
        if vmcs12 == POSTING:
            cpu.store(vcpu.posted_intr_nv, PINV12)


class StaleSvi(NestedKvm):
    """KVM before 2025, when the update was deferred: L2 ends an interrupt of L1's, and SVI, which is in vmcs01, keeps it."""

    def update_svi(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.in_l2(cpu, vcpu):
            super().update_svi(cpu, vcpu)


class RviWithAcknowledgeOnly(NestedKvm):
    """Xen at f96e1469ad (2020): RVI is L1's again only if the exit from L2 acknowledged an interrupt."""

    vcpu_state: ClassVar = {**NestedKvm.vcpu_state, "rvi_stays": Shared(0, private_to="*")}

    def nested_exit(self, cpu: Cpu, vcpu: Vcpu, vector: int = 0) -> None:
        cpu.store(vcpu.rvi_stays, int(not vector))
        super().nested_exit(cpu, vcpu, vector)

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        if not cpu.load(vcpu.rvi_stays):
            return super().sync_pir_to_irr(cpu, vcpu)
        cpu.store(vcpu.rvi_stays, 0)
        self.l1.take(cpu, vcpu)
        return self.l1.find_highest(cpu, vcpu)


class HarvestsUnasked(NestedKvm):
    """Synthetic: L0 looks at PIR12 at each entry to L2, notified or not."""

    def nested_run(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> Any:
        if cpu.test_and_clear(vcpu.l2.pid.on):
            self.l1.harvest(cpu, vcpu.l2)
            self.raise_rvi(cpu, vcpu)
        return super().nested_run(cpu, vcpu, vmcs12)


class ForgetsRvi(NestedKvm):
    """Synthetic: what L0 moves to vIRR12 does not count: RVI12 stays."""

    def raise_rvi(self, cpu: Cpu, vcpu: Vcpu) -> None: ...


class LeavesPosted(NestedKvm):
    """Synthetic: L0 copies PIR12 to vIRR12 and does not clear it: the processor finds it again."""

    def complete(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.load(vcpu.pi_pending):
            cpu.store(vcpu.pi_pending, 0)
            for word in self.world.words:
                cpu.fetch_or(vcpu.l2.virr[word], cpu.load(vcpu.l2.pid.pir[word]))
            self.raise_rvi(cpu, vcpu)


class DeliversTwice(NestedKvm):
    """Considered on the list in Nov 2020 and refused: where L2 exits to L1 and its notification is noted as pending, PINV12 is
    put in L1's vIRR. The processor may have taken the notification already.
    """

    def nested_exit(self, cpu: Cpu, vcpu: Vcpu, vector: int = 0) -> None:
        if cpu.load(vcpu.pi_pending):
            word, bit = divmod(PINV12, 64)
            cpu.fetch_or(vcpu.virr[word], 1 << bit)
        super().nested_exit(cpu, vcpu, vector)


class WritesRviOfL2(NestedKvm):
    """Synthetic, as 17e433b54393 (2019) was for another vCPU: the harvest of L1's vectors writes RVI of the loaded VMCS."""

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        highest = super().sync_pir_to_irr(cpu, vcpu)
        if self.in_l2(cpu, vcpu) and highest > cpu.load(vcpu.l2.rvi):
            cpu.store(vcpu.l2.rvi, highest)
        return highest
