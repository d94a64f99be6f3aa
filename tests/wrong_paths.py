"""Wrong implementations whose mistake shows only where two paths meet: a transfer and a move, a mask and a fast path, requests
that come at once, handlers three deep, two moves that cross, a second target.
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles import arm
from conformance.roles.arm import HCR_EN, HCR_LRENPIE, HCR_NPIE, HCR_TDIR, HCR_UIE
from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.x86 import PINV, Shared
from reference.arm.kvm import PMR, KvmArm
from reference.arm.vgic import IRQ_PENDING, SLEEP
from reference.x86.kvm import OUT, UNBLOCK, Kvm


class PurgeWhole(Kvm):
    """A purge initializes the whole descriptor; NDST is 0 until the vCPU is next loaded elsewhere."""

    def purge(self, cpu: Cpu, vcpu: Any) -> None:
        self.update_control(cpu, vcpu, on=0, sn=0, nv=PINV, ndst=0)
        for word in self.world.words:
            cpu.swap(vcpu.pid.pir[word], 0)


class MaskedFastpath(Kvm):
    """The fast path of an IPI to itself does not harvest what the guest's priority masks at that moment."""

    def reenter_guest(self, cpu: Cpu, vcpu: Any, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        if vector >> 4 > cpu.load(vcpu.vppr) >> 4:
            self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class UnblockTakesAll(Kvm):
    """Who is woken for UNBLOCK takes all requests at once; an EVENT among them is forgotten."""

    def unblocked(self, cpu: Cpu, vcpu: Any) -> Any:
        asked = cpu.load(vcpu.requests) & UNBLOCK
        if asked and cpu.swap(vcpu.requests, 0) and not self.has_interrupt(cpu, vcpu):
            return Then("vcpu_halt", vcpu)
        return Then("vcpu_run", vcpu)


class ServiceCache(Kvm):
    """With APICv inhibited the highest in service and the one below it are kept; three deep the lowest is forgotten."""

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "isr_top": Shared(0), "isr_below": Shared(0)}

    def inject(self, cpu: Cpu, vcpu: Any) -> None:
        if cpu.load(vcpu.injected):
            cpu.store(vcpu.interrupt_window, 1)
            return
        super().inject(cpu, vcpu)
        if vector := cpu.load(vcpu.injected):
            cpu.store(vcpu.isr_below, cpu.load(vcpu.isr_top))
            cpu.store(vcpu.isr_top, vector)

    def highest_in_service(self, cpu: Cpu, vcpu: Any) -> int:
        return cpu.load(vcpu.isr_top)

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        super().end_of_interrupt(cpu, vcpu)
        cpu.store(vcpu.isr_top, cpu.load(vcpu.isr_below))
        cpu.store(vcpu.isr_below, 0)


class EoiWindow(Kvm):
    """An EOI exit lets host interrupts in and enters again, and harvests only where RVI is 0."""

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.preempt_disable()
        self.ready(cpu, vcpu)
        if cpu.load(vcpu.requests):
            cpu.store(vcpu.mode, OUT)
            cpu.irq_enable()
            cpu.preempt_enable()
            return Then("vcpu_run", vcpu)
        reason = cpu.enter_guest(vcpu)
        while reason[0] == "eoi":
            cpu.irq_enable()
            cpu.irq_disable()
            if not cpu.load(vcpu.rvi):
                self.sync_pir_to_irr(cpu, vcpu)
            reason = cpu.enter_guest(vcpu)
        if reason[0] == "fastpath_ipi":
            return Then("reenter_guest", vcpu, reason[1])
        return Then("leave_guest", vcpu, *reason)


class HaltsOwnerOnly(KvmArm):
    """Before an active bit is written only the vCPU leaves its guest on whose list the interrupt was a moment ago."""

    def change_active(self, cpu: Cpu, vcpu: Any, intid: int, active: int) -> Any:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        owner = cpu.load(irq.owner)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        others = [v for v in self.world.all_vcpus() if v is not vcpu and v.name in owner]
        cpu.lock(self.world.vm.config_lock)
        self.halt(cpu, others)
        flag = self.lock_folded(cpu, vcpu, intid)
        cpu.store(irq.active, active)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)
        for other in others:
            cpu.store(other.paused, 0)
            cpu.wake(other)
        cpu.unlock(self.world.vm.config_lock)
        return arm.Then("vcpu_run", vcpu)


class PendingAgainIsReady(KvmArm):
    """An edge that is pending again while it is active counts as ready when the list is sorted."""

    def summarize(self, cpu: Cpu, vcpu: Any, listed: list[int]) -> tuple[list[int], int]:
        room = self.world.list_registers
        if len(listed) <= room:
            return listed, HCR_EN
        pending, active, keys = 0, 0, dict[int, tuple[bool, int]]()
        for intid in listed:
            irq = self.world.irq(vcpu, intid)
            cpu.lock(irq.irq_lock)
            may = not cpu.load(irq.active) or not self.world.level_sensitive(intid)
            ready = cpu.load(irq.enabled) and may and self.pending(cpu, vcpu, intid)
            keys[intid] = (not ready, self.world.priority(intid))
            is_active = cpu.load(irq.active)
            active, pending = active + is_active, pending + 1 - is_active
            cpu.unlock(irq.irq_lock)
        listed = sorted(listed, key=lambda intid: keys[intid])
        cpu.store(vcpu.ap_list, tuple(map(str, listed)))
        hcr = HCR_EN
        if pending > room:
            hcr |= HCR_NPIE
        if pending + active > room:
            hcr |= (HCR_LRENPIE | HCR_TDIR if active else 0) | (HCR_UIE if room > 1 else 0)
        return listed, hcr


class AsksOnce(KvmArm):
    """A vCPU that has been asked to look, and has not looked yet, is not kicked again."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        if not cpu.fetch_or(vcpu.requests, IRQ_PENDING) & IRQ_PENDING:
            self.kick(cpu, vcpu)


class LocksAsItComes(KvmArm):
    """The two lists that an interrupt moves between are locked in the order of the move."""

    def move(self, cpu: Cpu, vcpu: Any, intid: int, target: Any) -> bool:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        cpu.lock(target.ap_list_lock)
        cpu.lock(irq.irq_lock)
        moves = self.movable(cpu, vcpu, intid) and self.oracle(cpu, vcpu, intid) is target
        if moves:
            cpu.store(vcpu.ap_list, tuple(i for i in cpu.load(vcpu.ap_list) if i != str(intid)))
            cpu.store(target.ap_list, (*cpu.load(target.ap_list), str(intid)))
            cpu.store(irq.owner, (target.name,))
        cpu.unlock(irq.irq_lock)
        cpu.unlock(target.ap_list_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, flag)
        return moves


class TakesRequestsInTwo(KvmArm):
    """Requests are read, and then cleared: one that comes in between is forgotten."""

    def vcpu_run(self, cpu: Cpu, vcpu: Any) -> Any:
        asked = cpu.load(vcpu.requests)
        if asked:
            cpu.store(vcpu.requests, 0)
        return arm.Then("vcpu_sleep" if asked & SLEEP else "vcpu_enter_guest", vcpu)


class SleepsUnasked(KvmArm):
    """On the way in only an interrupt counts as a request; one to sleep is left to the next exit."""

    def exit_request(self, cpu: Cpu, vcpu: Any) -> bool:
        return bool(cpu.load(vcpu.requests) & IRQ_PENDING)


class PrunesMasked(KvmArm):
    """What the priority mask, as last saved, does not let through leaves the list. Nobody puts it back when it opens."""

    def prune(self, cpu: Cpu, vcpu: Any) -> None:
        super().prune(cpu, vcpu)
        pmr = (cpu.load(vcpu.vmcr_sw) & PMR.mask) >> PMR.shift
        cpu.lock(vcpu.ap_list_lock)
        kept: list[str] = []
        for name in cpu.load(vcpu.ap_list):
            irq = self.world.irq(vcpu, int(name))
            cpu.lock(irq.irq_lock)
            if self.world.priority(int(name)) < pmr or cpu.load(irq.active):
                kept.append(name)
            else:
                cpu.store(irq.owner, ())
            cpu.unlock(irq.irq_lock)
        cpu.store(vcpu.ap_list, tuple(kept))
        cpu.unlock(vcpu.ap_list_lock)


class DeactivateClears(KvmArm):
    """GICD_ICACTIVER makes an interrupt not pending either."""

    def change_active(self, cpu: Cpu, vcpu: Any, intid: int, active: int) -> Any:
        then = super().change_active(cpu, vcpu, intid, active)
        if not active:
            self.write(cpu, vcpu, intid, "latch", 0)
        return then


class SendsToTheFirst(KvmArm):
    """An SGI goes to the first of its targets."""

    def send_sgi(self, cpu: Cpu, vcpu: Any, intid: int, targets: int) -> None:
        super().send_sgi(cpu, vcpu, intid, targets & -targets)


class RingsTheFirst(KvmArm):
    """Whichever vPE a doorbell is for, the first vCPU is told."""

    def doorbell_of_vcpu1(self, cpu: Cpu, where: int) -> None:
        self.doorbell_handler(cpu, self.world.all_vcpus()[0])


FOUND: dict[type[BaseRole], tuple[str, str]] = {
    PurgeWhole: ("restored-elsewhere", "E2E-1"),
    MaskedFastpath: ("masked-fast-path", "E2E-1"),
    UnblockTakesAll: ("inhibited-assign", "E2E-14"),
    ServiceCache: ("inhibited-nest-three", "E2E-16"),
    EoiWindow: ("eoi-exit-burst", "E2E-1"),
    HaltsOwnerOnly: ("vgic-deactivate-meanwhile", "LIVELOCK"),
    AsksOnce: ("own-edge/nested/masks-waits/deactivates/retargets/shared", "VGIC-WFI-2"),
    LocksAsItComes: ("vgic-retarget-exchange", "DEADLOCK"),
    TakesRequestsInTwo: ("vgic-halt-asked", "LIVELOCK"),
    SleepsUnasked: ("vgic-halt-asked", "LIVELOCK"),
    PrunesMasked: ("vgic-mask-open", "VGIC-EDGE-1"),
    DeactivateClears: ("vgic-deactivate-meanwhile", "VGIC-EDGE-1"),
    SendsToTheFirst: ("peer-sgi/again/shared", "VGIC-SGI-1"),
    RingsTheFirst: ("gicv4.1-shared-pcpu", "GICV4-DB-4"),
    PendingAgainIsReady: ("vgic-overflow-again", "VGIC-EDGE-1"),
}
"""Each with a scenario that finds it, and a guarantee that is broken there."""
