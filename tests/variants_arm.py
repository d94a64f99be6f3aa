"""What somebody may write otherwise than KVM and the manuals do on Arm, and nothing is lost by it; why, in each docstring."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.arm import HCR_LRENPIE, HCR_NPIE, PENDING, Cpu, Shared, Then
from conformance.roles.arm import KICK as KICK_SGI
from conformance.roles.role import BaseRole
from reference.arm.its import ReferenceIts
from reference.arm.kvm import KvmArm as Vgic
from reference.arm.vgic import EXITING, IN, IRQ_PENDING, OUT, SLEEP
from reference.arm.virtual_interface import Candidate, ReferenceVirtualInterface


class KicksTwiceOnArm(Vgic):
    def kick(self, cpu: Cpu, vcpu: Any) -> None:
        super().kick(cpu, vcpu)
        super().kick(cpu, vcpu)


class LooksForWorkTwice(Vgic):
    def runnable(self, cpu: Cpu, vcpu: Any) -> bool:
        return super().runnable(cpu, vcpu) or super().runnable(cpu, vcpu)


class WakesWhoIsKicked(Vgic):
    """Wakes a second time, last."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        super().notify(cpu, vcpu)
        cpu.wake(vcpu)


class KicksAll(Vgic):
    """Every vCPU is asked to look: for all but one it is for nothing."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        for each in self.world.all_vcpus():
            super().notify(cpu, each)


class KicksWhateverTheMode(Vgic):
    """A kick that finds the vCPU out of its guest is spurious: the request is what an entry sees."""

    def kick(self, cpu: Cpu, vcpu: Any) -> None:
        cpu.wake(vcpu)
        cpu.send_ipi(KICK_SGI, cpu.load(vcpu.cpu))


class FencesMoreOnArm(Vgic):
    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        cpu.fetch_or(vcpu.requests, IRQ_PENDING)
        cpu.fence()
        self.kick(cpu, vcpu)
        cpu.fence()


class FillsFromTheLast(Vgic):
    """Which list register holds an interrupt is nobody's business."""

    def flush(self, cpu: Cpu, vcpu: Any) -> None:
        super().flush(cpu, vcpu)
        registers = self.world.cpus[cpu.id()].lr
        words = [cpu.load(lr.word) for lr in registers]
        for lr, word in zip(registers, reversed(words), strict=True):
            cpu.store(lr.word, word)


class AsksForMore(Vgic):
    """NPIE as long as something pending is in a list register, LRENPIE always: an exit when there is nothing left, no storm."""

    def flush(self, cpu: Cpu, vcpu: Any) -> None:
        super().flush(cpu, vcpu)
        here = self.world.cpus[cpu.id()]
        pending = any(cpu.load(lr.state) == PENDING for lr in here.lr)
        cpu.store(here.hcr.word, cpu.load(here.hcr.word) | HCR_LRENPIE | (HCR_NPIE if pending else 0))


class PutSavesTwice(Vgic):
    def put(self, cpu: Cpu, vcpu: Any, preempted: bool) -> None:
        self.vmcr_sync(cpu, vcpu)
        super().put(cpu, vcpu, preempted)


class PutLeavesNothing(Vgic):
    """The CPU interface is cleared once it is saved: whoever comes next loads its own."""

    def put(self, cpu: Cpu, vcpu: Any, preempted: bool) -> None:
        super().put(cpu, vcpu, preempted)
        here = self.world.cpus[cpu.id()]
        cpu.store(here.vmcr.word, 0)
        cpu.store(here.apr, 0)


class SyncsVmcrAtEveryExit(Vgic):
    """The copy is fresh earlier than it need be."""

    def leave_guest(self, cpu: Cpu, vcpu: Any, *reason: Any) -> Any:
        self.vmcr_sync(cpu, vcpu)
        return super().leave_guest(cpu, vcpu, *reason)


class LooksBeforeItWaits(Vgic):
    """One look more, with VMCR read out, before anything is put; the one after the announcement still comes."""

    def vcpu_wfi(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.preempt_disable()
        self.vmcr_sync(cpu, vcpu)
        found = self.runnable(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu) if found else super().vcpu_wfi(cpu, vcpu)


class PollsInWfi(Vgic):
    """Looks before the announcement, too."""

    def vcpu_block(self, cpu: Cpu, vcpu: Any) -> Any:
        if self.runnable(cpu, vcpu):
            return Then("vcpu_unblock", vcpu)
        return super().vcpu_block(cpu, vcpu)


class TakesRequestsUnseen(Vgic):
    """By an exchange whatever there is: nothing taken is nothing done."""

    def vcpu_run(self, cpu: Cpu, vcpu: Any) -> Any:
        return Then("vcpu_sleep" if cpu.swap(vcpu.requests, 0) & SLEEP else "vcpu_enter_guest", vcpu)


class LooksForRequestsTwice(Vgic):
    def exit_request(self, cpu: Cpu, vcpu: Any) -> bool:
        return super().exit_request(cpu, vcpu) or super().exit_request(cpu, vcpu)


class GoesInByExchangeOnArm(Vgic):
    """mode := IN by a locked operation, and the fence as well."""

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.preempt_disable()
        cpu.irq_disable()
        self.flush(cpu, vcpu)
        self.v4_commit(cpu, vcpu)
        cpu.swap(vcpu.mode, IN)
        cpu.fence()
        if self.exit_request(cpu, vcpu):
            return Then("leave_guest", vcpu, "request")
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class LeavesLate(Vgic):
    """mode := OUT after the list registers are folded: who finds IN meanwhile sends a kick for nothing."""

    def leave_guest(self, cpu: Cpu, vcpu: Any, *reason: Any) -> Any:
        self.fold(cpu, vcpu)
        cpu.store(vcpu.mode, OUT)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)


class PrunesTwice(Vgic):
    def prune(self, cpu: Cpu, vcpu: Any) -> None:
        super().prune(cpu, vcpu)
        super().prune(cpu, vcpu)


class FoldsFromTheLast(Vgic):
    """Each list register is another interrupt's."""

    def fold(self, cpu: Cpu, vcpu: Any) -> None:
        registers = self.world.cpus[cpu.id()].lr
        words = [cpu.load(lr.word) for lr in registers]
        for lr, word in zip(registers, reversed(words), strict=True):
            cpu.store(lr.word, word)
        super().fold(cpu, vcpu)


class SendsInTheOtherOrder(Vgic):
    """An SGI to the last target first: no order is promised."""

    def send_sgi(self, cpu: Cpu, vcpu: Any, intid: int, targets: int) -> None:
        for to in reversed(self.world.all_vcpus()):
            if targets >> to.number & 1:
                super().send_sgi(cpu, vcpu, intid, 1 << to.number)


class SetsSgiQuietly(Vgic):
    """GICD_SPENDSGIR kicks nobody: who writes is out of its guest, and looks at its list before it goes back."""

    def set_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        cpu.lock(irq.irq_lock)
        cpu.store(irq.source, cpu.load(irq.source) | sources)
        cpu.store(irq.latch, 1)
        if not cpu.load(irq.owner):
            cpu.store(vcpu.ap_list, (*cpu.load(vcpu.ap_list), str(intid)))
            cpu.store(irq.owner, (vcpu.name,))
        cpu.unlock(irq.irq_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, flag)


class ClearsPendingLastWhenResident(Vgic):
    """The redistributor knows what is pending while the vPE is resident, and says so when it comes off."""

    def v4_load(self, cpu: Cpu, vcpu: Any) -> None:
        super().v4_load(cpu, vcpu)
        if self.world.gicv4 and cpu.load(vcpu.resident):
            cpu.store(vcpu.pending_last, 0)


class SparesItself(Vgic):
    """No interrupt to itself: on the pCPU where somebody else runs, the vCPU is out of its guest."""

    def kick(self, cpu: Cpu, vcpu: Any) -> None:
        if not cpu.wake(vcpu) and cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            where = cpu.load(vcpu.cpu)
            if where != cpu.id():
                cpu.send_ipi(KICK_SGI, where)


class KicksWhereItWas(Vgic):
    """Where to is read before whether: a vCPU that moved in between has gone in anew, after it was asked to look."""

    def kick(self, cpu: Cpu, vcpu: Any) -> None:
        where = cpu.load(vcpu.cpu)
        if not cpu.wake(vcpu) and cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK_SGI, where)


class HaltsAllAtOnce(Vgic):
    """All are asked, then all are kicked, then each is waited for, as kvm_make_all_cpus_request() does."""

    def halt(self, cpu: Cpu, vcpus: list[Any]) -> None:
        for vcpu in vcpus:
            cpu.store(vcpu.paused, 1)
            cpu.fetch_or(vcpu.requests, SLEEP)
        super().halt(cpu, vcpus)


class OneLockMore(Vgic):
    """One lock of the VM around every injection: coarser, and always the first that is taken."""

    vm_state: ClassVar = {**Vgic.vm_state, "inject_lock": Shared(lock=True)}

    def inject(self, cpu: Cpu, vcpu: Any, intid: int, level: int) -> None:
        flag = cpu.irq_disable()
        cpu.lock(self.world.vm.inject_lock)
        super().inject(cpu, vcpu, intid, level)
        cpu.unlock(self.world.vm.inject_lock)
        cpu.irq_restore(flag)


class QueuesTheSameLevelAgain(Vgic):
    """A line that is high already is queued again: it is on a list, or masked, and a kick is for nothing."""

    def inject(self, cpu: Cpu, vcpu: Any, intid: int, level: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        if self.world.level_sensitive(intid):
            cpu.store(irq.line, level)
        elif level:
            cpu.store(irq.latch, 1)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)


class TrapsEveryDir(Vgic):
    """GICV_DIR always traps, as on a GICv2 under Linux: the list register it was in has been folded by then."""

    def flush(self, cpu: Cpu, vcpu: Any) -> None:
        super().flush(cpu, vcpu)
        cpu.store(self.world.cpus[cpu.id()].hcr.tdir, 1)


class FirstOfEquals(ReferenceVirtualInterface):
    """Of equal priorities the first list register goes first: the manual leaves it open."""

    def signalled(self, cpu: Cpu, vcpu: Any) -> list[Candidate]:
        return super().signalled(cpu, vcpu)[:1]


class NeverHints(ReferenceIts):
    """PendingLast only where something is pending."""

    def hints(self, cpu: Cpu) -> bool:
        return False


VARIANTS: tuple[type[BaseRole], ...] = (
    KicksTwiceOnArm, LooksForWorkTwice, WakesWhoIsKicked, KicksAll, KicksWhateverTheMode, FencesMoreOnArm, FillsFromTheLast,
    AsksForMore, PutSavesTwice, PutLeavesNothing, SyncsVmcrAtEveryExit, LooksBeforeItWaits, PollsInWfi, TakesRequestsUnseen,
    LooksForRequestsTwice, GoesInByExchangeOnArm, LeavesLate, PrunesTwice, FoldsFromTheLast, SendsInTheOtherOrder, HaltsAllAtOnce,
    OneLockMore, QueuesTheSameLevelAgain, SetsSgiQuietly, ClearsPendingLastWhenResident,
    SparesItself, KicksWhereItWas, TrapsEveryDir, FirstOfEquals, NeverHints,
)  # fmt: skip
