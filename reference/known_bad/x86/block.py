"""Wrong ways to go to sleep: changes to `Kvm.block_once` and what it calls."""

from __future__ import annotations

from typing import Any

from conformance.roles.x86 import Cpu, Then, Vcpu
from reference.alternatives.x86.kvm_vtd_only import KvmVtdOnly
from reference.x86.kvm import Kvm


class LookBeforeAnnouncing(KvmVtdOnly):
    """Synthetic: the vCPU looks for interrupts, then announces that it sleeps, and sleeps without another look. A
    sender posts between the two and finds nobody to wake.
    """

    def block_once(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.check_block(cpu, vcpu):
            cpu.store(vcpu.blocking, 0)
            return Then("vcpu_run", vcpu)
        cpu.prepare_to_block()
        cpu.fence()
        cpu.schedule()
        return Then("block_once", vcpu)


class RefusesToBlock(Kvm):
    """KVM before 1831fa44df74 (2021): with ON set the vCPU refuses to block, even where its guest halted with
    interrupts closed. Nobody harvests for such a guest, so ON stays, and the thread comes back to block for ever.
    """

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.interrupt_blocked(cpu, vcpu) and cpu.load(vcpu.pid.on):
            return Then("vcpu_block", vcpu)
        return super().vcpu_block(cpu, vcpu)


class NoFenceBeforeLook(KvmVtdOnly):
    """Synthetic: no barrier between announcing the sleep and looking for interrupts. The announcement waits in the
    store buffer while ON is read as 0; a sender sets ON, still reads that nobody blocks, and wakes nobody. On TSO
    only.
    """

    def block_once(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.prepare_to_block()
        if self.check_block(cpu, vcpu):
            cpu.finish_block()
            cpu.store(vcpu.blocking, 0)
            return Then("vcpu_run", vcpu)
        cpu.schedule()
        return Then("block_once", vcpu)
