"""Wrong run loops, waits for interrupts, loads and puts: changes to `KvmArm`, and what only the 2012 design could get wrong."""

from __future__ import annotations

from typing import Any

from conformance.roles.arm import DOORBELL_REQUEST, Cpu, Field, Then, Vcpu, vpendbaser_word
from reference.alternatives.arm.vgic_2012 import EOI, Vgic2012Mended
from reference.arm.kvm import KvmArm
from reference.arm.vgic import OUT


class StaleVmcr(KvmArm):
    """KVM, 328e56647944 to 5eeaf10eec39 (2019): GICH_VMCR is read at put alone. Whether a vCPU may sleep is decided by the
    priority mask of its last put.
    """

    def vcpu_wfi(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.store(vcpu.in_wfi, 1)
        self.v4_put(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_block", vcpu)


class NoRequestCheck(KvmArm):
    """KVM before 325f9c649c8a (2017): a kick without a request. What comes between flush and mode:=IN waits for an exit."""

    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return False


class InterruptsOnUnderLock(Vgic2012Mended):
    """The 2012 design as posted, with the rest mended: the maintenance handler sets the summary bit while sync_to_cpu is
    about to clear it.
    """

    def lock_irqsave(self, cpu: Cpu, lock: Field) -> bool:
        cpu.lock(lock)
        return True

    def unlock_irqrestore(self, cpu: Cpu, lock: Field, flag: bool) -> None:
        cpu.unlock(lock)


class GoesByHardware(Vgic2012Mended):
    """What the 2012 design feared of late hardware: put leaves the interface on, and the maintenance handler takes what
    its list registers show for the doing of the vCPU that is loaded by then, which has not been entered yet.
    """

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        cpu.store(self.world.cpus[cpu.id()].running_vcpu, ())

    def maintenance_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        for name in cpu.load(here.running_vcpu):
            words = [cpu.load(lr.word) for lr in here.lr]
            ended = sum(1 << n for n, word in enumerate(words) if word & EOI and not word >> 28 & 3)
            cpu.store(self.world.vcpus[name].vgic_eisr, ended)
            self.completed(cpu, self.world.vcpus[name], here.lr)


class NoBarrier(Vgic2012Mended):
    """The 2012 design without its barrier after the summary bit is set, which did nothing."""

    def barrier(self, cpu: Cpu) -> None:
        pass


class EntersBeforeScan(KvmArm):
    """KVM before 96806229ca03 and 57e3cebd022f (2020): the guest is entered before the virtual pending table is read."""

    def v4_commit(self, cpu: Cpu, vcpu: Vcpu) -> None:
        pass


class UnlockedPendingLast(KvmArm):
    """KVM before a3f574cd6548 (2020): the doorbell's pending_last is overwritten by the readback that it overtook."""

    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 1)
        cpu.store(vcpu.pending_last, self.clear_valid(cpu, vcpu, DOORBELL_REQUEST))


class UnlockedWith40(UnlockedPendingLast):
    """Linux: with GICv4.0 vpe_lock is not taken, though the doorbell is enabled before the vPE is taken off."""

    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if self.world.fact("gicv4.1"):
            KvmArm.block_vpe(self, cpu, vcpu)
        else:
            super().block_vpe(cpu, vcpu)


class LeavesVpeOff(KvmArm):
    """S. Christopherson's first proposal of 2021 without its reload: the guest is entered after a wait with its vPE off."""

    def vcpu_unblock(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.store(vcpu.in_wfi, 0)
        return Then("vcpu_run", vcpu)


class YieldSynchronizes(KvmArm):
    """Proposed in 2021, and not: asking whether another vCPU could run brings its VMCR up to date first. It may run, on
    another pCPU, whose registers these are not.
    """

    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> None:
        for other in self.world.all_vcpus():
            if other is not vcpu:
                self.vmcr_sync(cpu, other)
                self.runnable(cpu, other)


# Synthetic


class AbortDropsRegisters(KvmArm):
    """Synthetic: an entry that is called off does not fold. The next flush overwrites what was in the list registers."""

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        if reason != ("request",):
            return super().leave_guest(cpu, vcpu, *reason)
        cpu.store(vcpu.mode, OUT)
        cpu.irq_enable()
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu)


class InterruptsOnAfterFlush(KvmArm):
    """Synthetic: interrupts are on between flush and mode:=IN. A handler's interrupt is not in the list registers, and
    its request is looked at before.
    """

    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        found = super().exit_request(cpu, vcpu)
        cpu.irq_enable()
        cpu.irq_disable()
        return found


class ForgetsApr(KvmArm):
    """Synthetic: GICH_APR does not come along to another pCPU."""

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        super().put(cpu, vcpu, preempted)
        cpu.store(vcpu.apr_sw, 0)


class RunnableIgnoresMask(KvmArm):
    """Synthetic: what is masked by priority keeps a vCPU from sleeping."""

    def runnable(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return super().runnable(cpu, vcpu) or self.listed(cpu, vcpu)

    def listed(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        cpu.lock(vcpu.ap_list_lock)
        found = cpu.load(vcpu.ap_list) != ()
        cpu.unlock(vcpu.ap_list_lock)
        return found


class LooksBeforeAnnouncing(KvmArm):
    """Synthetic: the vCPU looks for an interrupt before it announces its sleep, and not after."""

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.runnable(cpu, vcpu):
            return Then("vcpu_unblock", vcpu)
        cpu.prepare_to_block()
        cpu.schedule()
        return Then("vcpu_block", vcpu)


class IgnoresPendingLast(KvmArm):
    """Synthetic: whether to sleep is asked of the list alone."""

    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().block_vpe(cpu, vcpu)
        cpu.store(vcpu.pending_last, 0)


class NoDoorbell(KvmArm):
    """Synthetic: a vCPU goes to sleep without asking for a doorbell."""

    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.pending_last, self.clear_valid(cpu, vcpu, 0))


class StaysResident(KvmArm):
    """Synthetic: put leaves the vPE on. On another pCPU it is then on twice."""

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        self.vmcr_sync(cpu, vcpu)
        cpu.store(vcpu.apr_sw, cpu.load(self.world.cpus[cpu.id()].apr))
        cpu.store(vcpu.resident, 0)


class KeepsAffinity(KvmArm):
    """Synthetic: the ITS is not told that the vPE moved (no VMOVP)."""

    def v4_load(self, cpu: Cpu, vcpu: Vcpu) -> None:
        before = cpu.load(vcpu.vpe_affinity) if self.world.gicv4 else 0
        super().v4_load(cpu, vcpu)
        if self.world.gicv4:
            cpu.store(vcpu.vpe_affinity, before)


class ReadsBeforeDrain(KvmArm):
    """Synthetic: PendingLast is read before the drain is done."""

    def clear_valid(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> int:
        base = self.world.cpus[cpu.id()].vpendbaser
        self.wait_while_dirty(cpu, base.dirty)
        cpu.store(base.word, vpendbaser_word(vcpu.number, valid=False) | bits)
        return cpu.load(base.pending_last)


class WritesWhileDirty(KvmArm):
    """Synthetic: the vPE is taken off while its table is still being read."""

    def clear_valid(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> int:
        base = self.world.cpus[cpu.id()].vpendbaser
        cpu.store(base.word, vpendbaser_word(vcpu.number, valid=False) | bits)
        self.wait_while_dirty(cpu, base.dirty)
        return cpu.load(base.pending_last)


class DoorbellOnly(KvmArm):
    """Synthetic: the doorbell wakes nobody."""

    def doorbell_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.disable_doorbell(cpu, vcpu)
        cpu.lock(vcpu.vpe_lock)
        cpu.store(vcpu.pending_last, 1)
        cpu.unlock(vcpu.vpe_lock)


# Equivalents that are right


class RingsTwice(KvmArm):
    """A doorbell's handler does everything twice, as a spurious doorbell would."""

    def doorbell_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().doorbell_handler(cpu, vcpu)
        super().doorbell_handler(cpu, vcpu)


class PendingLastAlways(KvmArm):
    """PendingLast is taken to be set whatever it says: a vCPU with a vPE goes back to its guest once before it sleeps."""

    def clear_valid(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> int:
        super().clear_valid(cpu, vcpu, bits)
        return 1


class PreemptedAsks(KvmArm):
    """A vPE is put with a doorbell even where its vCPU is only preempted: what rings is spurious."""

    def make_non_resident(self, cpu: Cpu, vcpu: Vcpu, doorbell: bool) -> None:
        super().make_non_resident(cpu, vcpu, True)
