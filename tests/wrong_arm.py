"""Wrong implementations that the scenarios were not made for: what an engineer who errs may write on Arm."""

from __future__ import annotations

from typing import Any

from conformance.roles.arm import Then
from conformance.roles.arm.state import (
    ACTIVE,
    DOORBELL_REQUEST,
    HCR_NPIE,
    PENDING,
    PENDING_LAST,
    VMCR_RESET,
    vpendbaser_word,
)
from conformance.roles.cpu import Cpu
from conformance.roles.role import BaseRole
from reference.arm.its import ReferenceIts
from reference.arm.kvm import PMR, KvmArm
from reference.arm.vgic import IRQ_PENDING, SLEEP
from reference.arm.virtual_interface import ReferenceVirtualInterface


class OneTooFew(KvmArm):
    def flush(self, cpu: Cpu, vcpu: Any) -> Any:
        here = self.world.cpus[cpu.id()]
        cpu.lock(vcpu.ap_list_lock)
        listed, hcr = self.summarize(cpu, vcpu, [int(i) for i in cpu.load(vcpu.ap_list)])
        words = []
        for i in listed:
            if len(words) == max(1, self.world.list_registers - 1):
                break
            words += self.populate_lr(cpu, vcpu, i)
        cpu.unlock(vcpu.ap_list_lock)
        for lr, w in zip(here.lr, (*words, *[0] * len(here.lr)), strict=False):
            cpu.store(lr.word, w)
        cpu.store(here.hcr.word, hcr)


class OnePriority(KvmArm):
    def compute_lr(self, cpu: Cpu, vcpu: Any, intid: int) -> Any:
        return super().compute_lr(cpu, vcpu, intid) & ~(0x1F << 23) | 0x14 << 23


class ActiveLostWhenPending(KvmArm):
    def compute_lr(self, cpu: Cpu, vcpu: Any, intid: int) -> Any:
        w = super().compute_lr(cpu, vcpu, intid)
        return w & ~(ACTIVE << 28) if w >> 28 & 3 == 3 else w


class EndsInside(KvmArm):
    def fold_outside(self, cpu: Cpu, vcpu: Any, inside: Any, ended: Any) -> Any:
        super().fold_outside(cpu, vcpu, set(), ended)


class KicksFirst(KvmArm):
    def notify(self, cpu: Cpu, vcpu: Any) -> Any:
        super().notify(cpu, self.world.all_vcpus()[0])


class WrongSource(KvmArm):
    def send_sgi(self, cpu: Cpu, vcpu: Any, intid: int, targets: Any) -> Any:
        for to in self.world.all_vcpus():
            if targets >> to.number & 1:
                irq = self.world.irq(to, intid)
                f = self.lock_irqsave(cpu, irq.irq_lock)
                cpu.store(irq.latch, 1)
                cpu.store(irq.source, cpu.load(irq.source) | 1 << to.number)
                self.queue_irq_unlock(cpu, to, intid, f)


class SourceOverwrites(KvmArm):
    def send_sgi(self, cpu: Cpu, vcpu: Any, intid: int, targets: Any) -> Any:
        for to in self.world.all_vcpus():
            if targets >> to.number & 1:
                irq = self.world.irq(to, intid)
                f = self.lock_irqsave(cpu, irq.irq_lock)
                cpu.store(irq.latch, 1)
                cpu.store(irq.source, 1 << vcpu.number)
                self.queue_irq_unlock(cpu, to, intid, f)


class DisableClears(KvmArm):
    def write(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int, *more: str) -> Any:
        super().write(cpu, vcpu, intid, what, value, *more, *(("latch",) if what == "enabled" else ()))


class WrongBank(KvmArm):
    def write_and_queue(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int) -> Any:
        super().write_and_queue(cpu, self.world.all_vcpus()[0] if intid < 32 else vcpu, intid, what, value)


class DropsWhatMoves(KvmArm):
    def migrate(self, cpu: Cpu, vcpu: Any, intid: int, target: Any) -> Any:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        cpu.lock(irq.irq_lock)
        if self.movable(cpu, vcpu, intid):
            cpu.store(vcpu.ap_list, tuple(i for i in cpu.load(vcpu.ap_list) if i != str(intid)))
            cpu.store(irq.owner, ())
        cpu.unlock(irq.irq_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, flag)
        return True


class Relatches(KvmArm):
    def fold_latch(self, cpu: Cpu, vcpu: Any, intid: int, state: Any) -> Any:
        irq = self.world.irq(vcpu, intid)
        if state and cpu.load(irq.taken):
            cpu.store(irq.latch, 1)
        cpu.store(irq.taken, 0)


class PpiIsEdge(KvmArm):
    def inject(self, cpu: Cpu, vcpu: Any, intid: int, level: int) -> None:
        if not 16 <= intid < 32:
            super().inject(cpu, vcpu, intid, level)
            return
        irq = self.world.irq(vcpu, intid)
        f = self.lock_irqsave(cpu, irq.irq_lock)
        if level:
            cpu.store(irq.latch, 1)
        self.queue_irq_unlock(cpu, vcpu, intid, f)


class RescansSpis(KvmArm):
    def rescan(self, cpu: Cpu) -> Any:
        for intid in self.world.intids:
            if intid >= 32:
                v = self.world.all_vcpus()[0]
                irq = self.world.irq(v, intid)
                f = self.lock_irqsave(cpu, irq.irq_lock)
                self.queue_irq_unlock(cpu, v, intid, f)


class NpieOffByOne(KvmArm):
    def summarize(self, cpu: Cpu, vcpu: Any, listed: Any) -> Any:
        chosen, h = super().summarize(cpu, vcpu, listed)
        return chosen, h & ~HCR_NPIE if len(listed) == self.world.list_registers + 1 else h


class AffinityLate(KvmArm):
    def v4_load(self, cpu: Cpu, vcpu: Any) -> None:
        if not self.world.gicv4 or cpu.load(vcpu.resident) or cpu.load(vcpu.in_wfi):
            return
        w = cpu.id()
        self.disable_doorbell(cpu, vcpu)
        cpu.store(self.world.cpus[w].vpendbaser.word, vpendbaser_word(vcpu.number, valid=True) | PENDING_LAST)
        cpu.store(vcpu.vpe_affinity, w)
        cpu.store(vcpu.resident, 1)


class SetPendingRaises(KvmArm):
    def write_and_queue(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int) -> Any:
        super().write_and_queue(
            cpu, vcpu, intid, "line" if what == "latch" and self.world.level_sensitive(intid) else what, value
        )


class FallIsIgnored(KvmArm):
    def inject(self, cpu: Cpu, vcpu: Any, intid: int, level: int) -> Any:
        if level:
            super().inject(cpu, vcpu, intid, level)


class FallTakesLatch(KvmArm):
    def inject(self, cpu: Cpu, vcpu: Any, intid: int, level: int) -> Any:
        if not level:
            irq = self.world.irq(vcpu, intid)
            f = self.lock_irqsave(cpu, irq.irq_lock)
            cpu.store(irq.latch, 0)
            self.unlock_irqrestore(cpu, irq.irq_lock, f)
        super().inject(cpu, vcpu, intid, level)


class PmrOffByOne(KvmArm):
    def runnable(self, cpu: Cpu, vcpu: Any) -> Any:
        """masks by <= pmr-1"""
        if not self.forwards(cpu):
            return False
        if self.world.gicv4 and cpu.load(vcpu.pending_last):
            return True
        pmr = (cpu.load(vcpu.vmcr_sw) >> 27) & 0x1F
        found = False
        f = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        for n in cpu.load(vcpu.ap_list):
            irq = self.world.irq(vcpu, int(n))
            cpu.lock(irq.irq_lock)
            r, p = self.order(cpu, vcpu, int(n))
            found = found or (not r and p + 1 < pmr)
            cpu.unlock(irq.irq_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, f)
        return found


class ReverseSort(KvmArm):
    def order(self, cpu: Cpu, vcpu: Any, intid: int) -> Any:
        a, p = super().order(cpu, vcpu, intid)
        return a, p

    def summarize(self, cpu: Cpu, vcpu: Any, listed: Any) -> Any:
        chosen, h = super().summarize(cpu, vcpu, listed)
        return (chosen[::-1], h) if len(chosen) > self.world.list_registers else (chosen, h)


class PendingLastKept(KvmArm):
    def block_vpe(self, cpu: Cpu, vcpu: Any) -> Any:
        f = self.lock_irqsave(cpu, vcpu.vpe_lock)
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 1)
        self.clear_valid(cpu, vcpu, DOORBELL_REQUEST)
        self.unlock_irqrestore(cpu, vcpu.vpe_lock, f)


class TakesTwoLpis(ReferenceIts):
    def scan(self, cpu: Cpu, vcpu: Any, where: int) -> Any:
        b = cpu.load(vcpu.vpt)
        cpu.store(self.world.cpus[where].vlpis, b & -b)
        if self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 0)


class AprEqual(ReferenceVirtualInterface):
    def running_priority(self, cpu: Cpu, here: Any) -> Any:
        return super().running_priority(cpu, here) + 1


class DirSourceIgnored(ReferenceVirtualInterface):
    def list_registers(self, cpu: Cpu, here: Any) -> Any:
        return [c._replace(told=c.told & 0x3FF) for c in super().list_registers(cpu, here)]


class KicksWhoHasIt(KvmArm):
    """What is on the list of a vCPU that is not its target any more stays there until that one exits."""

    def listed_already(self, cpu: Cpu, vcpu: Any, intid: int, target: Any) -> None:
        self.notify(cpu, vcpu)

    def follow(self, cpu: Cpu, vcpu: Any, intid: int, target: Any) -> None:
        if vcpu is not target and not self.migrate(cpu, vcpu, intid, target):
            self.notify(cpu, vcpu)


class LatchesLevels(KvmArm):
    """A level that comes back pending is latched, wherever it came from."""

    def fold_latch(self, cpu: Cpu, vcpu: Any, intid: int, state: int) -> None:
        irq = self.world.irq(vcpu, intid)
        if state & PENDING:
            cpu.store(irq.latch, 1)
        cpu.store(irq.taken, 0)


class ClearForgetsTaken(KvmArm):
    """GICD_ICPENDR clears the latch, not the note that it went along into a list register."""

    def write(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int, *more: str) -> None:
        super().write(cpu, vcpu, intid, what, value)


class LazyRestore(KvmArm):
    """Back on the pCPU where it was last, VMCR and APR are taken to be there still."""

    def load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        here = self.world.cpus[where]
        if cpu.load(vcpu.cpu) != where or not cpu.load(here.vmcr.word):
            cpu.store(vcpu.cpu, where)
            cpu.store(here.vmcr.word, cpu.load(vcpu.vmcr_sw))
            cpu.store(here.apr, cpu.load(vcpu.apr_sw))
        self.v4_load(cpu, vcpu)


class ClearsNoEdge(KvmArm):
    """GICD_ICPENDR clears levels alone."""

    def write(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int, *more: str) -> None:
        if what != "latch" or self.world.level_sensitive(intid):
            super().write(cpu, vcpu, intid, what, value, *more)


class ActivatesNoSpi(KvmArm):
    """GICD_ISACTIVER makes private interrupts active alone."""

    def change_active(self, cpu: Cpu, vcpu: Any, intid: int, active: int) -> Any:
        return Then("vcpu_run", vcpu) if active else super().change_active(cpu, vcpu, intid, active)


class ActivatesSpisAlone(KvmArm):
    def write_and_queue(self, cpu: Cpu, vcpu: Any, intid: int, what: str, value: int) -> None:
        if what != "active":
            super().write_and_queue(cpu, vcpu, intid, what, value)


class RequestStored(KvmArm):
    """A request that comes across another one overwrites it."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        cpu.store(vcpu.requests, IRQ_PENDING)
        self.kick(cpu, vcpu)


class HaltDoesNotWait(KvmArm):
    """The vCPUs are asked to leave their guests, and may be there still."""

    def halt(self, cpu: Cpu, vcpus: list[Any]) -> None:
        for vcpu in vcpus:
            cpu.store(vcpu.paused, 1)
            cpu.fetch_or(vcpu.requests, SLEEP)
            self.kick(cpu, vcpu)

    def lock_folded(self, cpu: Cpu, vcpu: Any, intid: int) -> bool:
        return self.lock_irqsave(cpu, self.world.irq(vcpu, intid).irq_lock)


class FoldInTwo(KvmArm):
    """That no list register has it any more is said before its state is written back."""

    def fold_lr(self, cpu: Cpu, vcpu: Any, word: int) -> None:
        irq = self.world.irq(vcpu, word & 0x3FF)
        cpu.lock(irq.irq_lock)
        cpu.store(irq.on_lr, 0)
        cpu.unlock(irq.irq_lock)
        super().fold_lr(cpu, vcpu, word)


class PendingLastConsumed(KvmArm):
    """Who looks whether something is pending has seen it; who goes to sleep looks again."""

    def runnable(self, cpu: Cpu, vcpu: Any) -> bool:
        found = super().runnable(cpu, vcpu)
        if self.world.gicv4:
            cpu.store(vcpu.pending_last, 0)
        return found


class ResumesNobody(KvmArm):
    """A vCPU that was halted for a register sleeps on."""

    def change_active(self, cpu: Cpu, vcpu: Any, intid: int, active: int) -> Any:
        irq = self.world.irq(vcpu, intid)
        cpu.lock(self.world.vm.config_lock)
        self.halt(cpu, [v for v in self.world.all_vcpus() if v is not vcpu])
        flag = self.lock_folded(cpu, vcpu, intid)
        cpu.store(irq.active, active)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)
        cpu.unlock(self.world.vm.config_lock)
        return Then("vcpu_run", vcpu)


class MaskedQuiet(KvmArm):
    """A vCPU whose priority mask, as last saved, lets nothing through is not kicked. It may open it any time."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        cpu.fetch_or(vcpu.requests, IRQ_PENDING)
        if cpu.load(vcpu.vmcr_sw) & PMR.mask:
            self.kick(cpu, vcpu)


class ForgetsTheMask(KvmArm):
    """A vCPU comes back with the priority mask of the reset."""

    def load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        super().load(cpu, vcpu, where)
        cpu.store(self.world.cpus[where].vmcr.word, VMCR_RESET)


class WaitsOn(ReferenceVirtualInterface):
    """A physical interrupt does not end a WFI."""

    def acknowledge(self, cpu: Cpu, vcpu: Any, interrupt: int) -> None:
        cpu.exit_guest("interrupt", interrupt)


class ReturnsClosed(ReferenceVirtualInterface):
    """The handler's return leaves PSTATE.I set."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any, told: int) -> None:
        super().end_of_interrupt(cpu, vcpu, told)
        cpu.store(vcpu.pstate_i, 1)


class ClearsEverySource(KvmArm):
    """GICD_CPENDSGIR takes an SGI back whoever sent it."""

    def clear_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        super().clear_pending_sgi(cpu, vcpu, intid, 0xFF)


class ClearsTheLatchToo(KvmArm):
    """GICD_CPENDSGIR leaves the other sources noted, and the SGI pending no more."""

    def clear_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        super().clear_pending_sgi(cpu, vcpu, intid, sources)
        self.write(cpu, vcpu, intid, "latch", 0)


class ClearsTheSourceAlone(KvmArm):
    """GICD_CPENDSGIR leaves an SGI pending that is from nobody any more."""

    def clear_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        cpu.store(irq.source, cpu.load(irq.source) & ~sources)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)


class SetsSgiUnlisted(KvmArm):
    """GICD_SPENDSGIR queues nothing, so that no list register is filled for it."""

    def set_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        cpu.store(irq.source, cpu.load(irq.source) | sources)
        cpu.store(irq.latch, 1)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)


class SetsSgiOfItsOwn(KvmArm):
    """GICD_SPENDSGIR makes an SGI pending from the vCPU that writes, as GICD_SGIR does."""

    def set_pending_sgi(self, cpu: Cpu, vcpu: Any, intid: int, sources: int) -> None:
        super().set_pending_sgi(cpu, vcpu, intid, 1 << vcpu.number)


FOUND: dict[type[BaseRole], tuple[str, str]] = {
    OneTooFew: ("peer-sgi/neighbour/shared", "VGIC-EDGE-1"),
    OnePriority: ("own-sgi", "GICV2-PRI-9"),
    ActiveLostWhenPending: ("peer-edge/again/waits-closed/off/retargets/split/shared", "VGIC-EDGE-3"),
    EndsInside: ("private/own-crowd", "VGIC-OVF-3"),
    KicksFirst: ("handler-edge/off/retargets/shared", "VGIC-EDGE-1"),
    WrongSource: ("peer-sgi/again/shared", "VGIC-SGI-4"),
    SourceOverwrites: ("vgic-sgi", "VGIC-SGI-1"),
    DisableClears: ("own-edge/own-sgi/waits-closed/disables/one-register/in-guest-wfi/exit", "VGIC-EN-2"),
    WrongBank: ("peer-sgi/elsewhere/masks-waits/off/split/shared", "VGIC-LVL-1"),
    DropsWhatMoves: ("peer-edge/neighbour/retargets/shared", "VGIC-RT-1"),
    Relatches: ("peer-sgi/elsewhere/masks-waits/off/split/shared", "VGIC-LVL-6"),
    PpiIsEdge: ("private/falls/waits/clears", "VGIC-LVL-1"),
    RescansSpis: ("private/equal/off/one-register+split", "VGIC-EN-5"),
    NpieOffByOne: ("own-edge/own-crowd/waits-closed/clears/retargets/one-register+split/shared", "VGIC-OVF-1"),
    AffinityLate: ("vlpi/gicv4/migrate", "GICV4-RES-4"),
    SetPendingRaises: ("vgic-latch-falls", "VGIC-LVL-5"),
    FallIsIgnored: ("vgic-handler-level", "VGIC-LVL-3"),
    FallTakesLatch: ("vgic-edge-falls", "VGIC-EDGE-4"),
    PmrOffByOne: ("vgic-just-let-through-wfi", "VGIC-WFI-2"),
    ReverseSort: ("private/nested/waits-closed/one-register/in-guest-wfi", "VGIC-OVF-1"),
    PendingLastKept: ("gicv4.1-two-waits", "GICV4-DB-4"),
    TakesTwoLpis: ("gicv4-two-waits", "GICV4-DB-4"),
    AprEqual: ("resampled/equal", "GICV2-PRI-8"),
    KicksWhoHasIt: ("handler-edge/off/retargets/shared", "VGIC-RT-1"),
    LatchesLevels: ("vgic-clear-latched", "VGIC-LVL-3"),
    ClearForgetsTaken: ("vgic-clear-latched", "VGIC-LVL-3"),
    ClearsNoEdge: ("vgic-clear-pending", "VGIC-EDGE-6"),
    ActivatesNoSpi: ("peer-edge/own-crowd/deactivates/retargets/shared", "VGIC-ACT-2"),
    ActivatesSpisAlone: ("private/falls/deactivates", "VGIC-ACT-2"),
    LazyRestore: ("vgic-late-maintenance", "VGIC-LVL-1"),
    DirSourceIgnored: ("peer-sgi/again/shared", "VGIC-SGI-4"),
    RequestStored: ("vgic-halt-asked", "LIVELOCK"),
    HaltDoesNotWait: ("vgic-halt", "VGIC-ACT-1"),
    FoldInTwo: ("vgic-halt", "VGIC-ACT-1"),
    PendingLastConsumed: ("gicv4.1-two-waits", "GICV4-DB-4"),
    ResumesNobody: ("peer-edge/own-crowd/deactivates/retargets/shared", "VGIC-WFI-7"),
    WaitsOn: ("vgic-wfi-in-the-guest", "VGIC-WFI-7"),
    MaskedQuiet: ("vgic-mask-open", "VGIC-EDGE-1"),
    ForgetsTheMask: ("peer-sgi/elsewhere/masks-waits/off/split/shared", "GICV2-VMCR-5"),
    ClearsEverySource: ("vgic-sgi-registers", "VGIC-SGI-8"),
    ClearsTheLatchToo: ("vgic-sgi-registers", "VGIC-SGI-8"),
    ClearsTheSourceAlone: ("vgic-sgi-registers", "VGIC-SGI-8"),
    SetsSgiUnlisted: ("vgic-sgi-registers", "VGIC-SGI-7"),
    SetsSgiOfItsOwn: ("vgic-sgi-registers", "VGIC-SGI-7"),
    ReturnsClosed: ("own-edge/own-sgi/off/retargets/shared", "VGIC-EDGE-1"),
}
"""Each with the smallest scenario that was seen to find it, and a guarantee that is broken there."""
