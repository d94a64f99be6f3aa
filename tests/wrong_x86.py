"""Wrong implementations that the scenarios were not made for: what an engineer who errs may write on x86."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.x86 import PINV, Field, Shared
from reference.nested.kvm import NestedKvm
from reference.x86.iommu import ReferenceIommu
from reference.x86.kvm import EVENT, IN, UNBLOCK, Kvm
from reference.x86.processor import ReferenceProcessor


class SkipsLastWord(Kvm):
    def harvest(self, cpu: Cpu, vcpu: Any) -> Any:
        a = False
        for w in self.world.words[:-1] or self.world.words:
            if cpu.load(vcpu.pid.pir[w]):
                self.merge(cpu, vcpu, w, cpu.swap(vcpu.pid.pir[w], 0))
                a = True
        return a


class LowHalf(Kvm):
    def merge(self, cpu: Cpu, vcpu: Any, word: int, bits: int) -> Any:
        super().merge(cpu, vcpu, word, bits & 0xFFFFFFFF)


class StaleRvi(Kvm):
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Any) -> Any:
        h = self.highest(cpu, vcpu)
        arrived = self.take(cpu, vcpu)
        if self.apicv_active():
            cpu.store(vcpu.rvi, h)
        elif arrived:
            self.request(cpu, vcpu, EVENT)
        return h


class MergeOverwrites(Kvm):
    def merge(self, cpu: Cpu, vcpu: Any, word: int, bits: int) -> Any:
        cpu.store(vcpu.virr[word], bits)
        self.note_pending(cpu, vcpu)


class LowestWordFirst(Kvm):
    def find_highest(self, cpu: Cpu, vcpu: Any) -> Any:
        for w in self.world.words:
            b = cpu.load(vcpu.virr[w])
            if b:
                return 64 * w + b.bit_length() - 1
        return 0


class StaleDestination(Kvm):
    def deliver_interrupt(self, cpu: Cpu, vcpu: Any, vector: int) -> None:
        if not self.apicv_active():
            super().deliver_interrupt(cpu, vcpu, vector)
            return
        to = cpu.load(vcpu.cpu)
        if self.post_vector(cpu, vcpu, vector):
            if cpu.load(vcpu.mode) == IN:
                if not self.is_running_here(cpu, vcpu):
                    cpu.send_ipi(PINV, to)
            else:
                self.wake_up(cpu, vcpu)


class WakesFirstOnly(Kvm):
    def wakeup_handler(self, cpu: Cpu, where: int) -> Any:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for n in cpu.load(here.wakeup_list)[:1]:
            v = self.world.vcpus[n]
            if cpu.load(v.pid.on):
                self.wake_up(cpu, v)
        cpu.unlock(here.wakeup_lock)


class WrongDescriptor(Kvm):
    def wakeup_handler(self, cpu: Cpu, where: int) -> Any:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for n in cpu.load(here.wakeup_list):
            if cpu.load(self.world.vcpus["vcpu0"].pid.on):
                self.wake_up(cpu, self.world.vcpus[n])
        cpu.unlock(here.wakeup_lock)


class SnWheneverPut(Kvm):
    def pi_put(self, cpu: Cpu, vcpu: Any, preempted: bool) -> Any:
        super().pi_put(cpu, vcpu, preempted)
        cpu.test_and_set(vcpu.pid.sn)


class NoShift(Kvm):
    def destination(self, where: int) -> Any:
        return where


class OldSnapshot(Kvm):
    def update_control(self, cpu: Cpu, vcpu: Any, **f: int) -> Any:
        old = cpu.load(vcpu.pid.control)
        new = old
        for n, v in f.items():
            fl = getattr(vcpu.pid, n)
            new = new & ~fl.mask | v << fl.shift
        while True:
            was = cpu.cmpxchg(vcpu.pid.control, old, new)
            if was == old:
                return new
            old = was


class LeftOverFirstWord(Kvm):
    def any_posted(self, cpu: Cpu, vcpu: Any) -> Any:
        return bool(cpu.load(vcpu.pid.pir[self.world.words[0]]))


class NoSyncOnFastPath(Kvm):
    def reenter_guest(self, cpu: Cpu, vcpu: Any, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class ChecksOnOnly(Kvm):
    """looks at ON before sleeping, never at vIRR"""

    def has_interrupt(self, cpu: Cpu, vcpu: Any) -> Any:
        if not cpu.load(vcpu.pid.on):
            return False
        return super().has_interrupt(cpu, vcpu)


class ForgetsWindow(Kvm):
    def inject(self, cpu: Cpu, vcpu: Any) -> Any:
        if not cpu.load(vcpu.injected) and self.interrupt_blocked(cpu, vcpu):
            return
        super().inject(cpu, vcpu)


class DropsInjected(Kvm):
    def inject(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.store(vcpu.injected, 0)
        super().inject(cpu, vcpu)


class EntersByTpr(Kvm):
    """highest only if above vTPR -> RVI 0"""

    def publish(self, cpu: Cpu, vcpu: Any, arrived: Any) -> Any:
        h = self.highest(cpu, vcpu)
        if self.apicv_active():
            cpu.store(vcpu.rvi, h if h >> 4 > cpu.load(vcpu.vtpr) >> 4 else 0)
            return h
        return super().publish(cpu, vcpu, arrived)


class SavesOneWord(Kvm):
    def save(self, cpu: Cpu, vcpu: Any) -> Any:
        i = super().save(cpu, vcpu)
        return (*i[:-1], 0) if len(i) > 1 else (0,)


class PurgesOnOnly(Kvm):
    def purge(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.test_and_clear(vcpu.pid.on)


class RviDown(ReferenceProcessor):
    def raise_rvi(self, cpu: Cpu, vcpu: Any, found: Any) -> Any:
        if found:
            cpu.store(vcpu.rvi, found)


class HarvestsOne(ReferenceProcessor):
    """one vector a notification"""

    def harvest_word(self, cpu: Cpu, vcpu: Any, word: int) -> Any:
        bits = cpu.load(vcpu.pid.pir[word])
        if not bits:
            return 0
        b = bits.bit_length() - 1
        cpu.fetch_and(vcpu.pid.pir[word], ~(1 << b))
        cpu.store(vcpu.virr[word], cpu.load(vcpu.virr[word]) | 1 << b)
        return 64 * word + b


class EoiForgetsRest(ReferenceProcessor):
    """EOI does not evaluate"""

    def virtualize_eoi(self, cpu: Cpu, vcpu: Any) -> Any:
        v = cpu.load(vcpu.svi)
        self.clear_bit(cpu, vcpu.visr, v)
        cpu.store(vcpu.svi, self.highest(cpu, vcpu.visr))
        self.virtualize_ppr(cpu, vcpu)


class TprForgets(ReferenceProcessor):
    def write_tpr(self, cpu: Cpu, vcpu: Any, value: int) -> Any:
        cpu.store(vcpu.vtpr, value)
        self.virtualize_ppr(cpu, vcpu)


class IommuLateBit(ReferenceIommu):
    def post(self, cpu: Cpu, vcpu: Any, vector: int, urgent: bool) -> Any:
        with cpu.atomic():
            on, sn = cpu.load(vcpu.pid.on), cpu.load(vcpu.pid.sn)
            told = self.announce(cpu, vcpu) if not on and (urgent or not sn) else None
        cpu.test_and_set(vcpu.pid.bit(vector))
        if told:
            cpu.send_ipi(*told)


class LooksBeforeItsStoreIsSeen(Kvm):
    def block_once(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.prepare_to_block()
        if self.check_block(cpu, vcpu):
            cpu.finish_block()
            cpu.store(vcpu.blocking, 0)
            return Then("unblocked", vcpu)
        cpu.schedule()
        return Then("block_once", vcpu)


class LeavesAsAnother(Kvm):
    def leave_wakeup_list(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        there = self.world.cpus[where]
        cpu.lock(there.wakeup_lock)
        cpu.store(there.wakeup_list, cpu.load(there.wakeup_list)[1:])
        cpu.unlock(there.wakeup_lock)


class HaltEndsByRequest(Kvm):
    """What ends the wait ends the guest's HLT, too."""

    def unblocked(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.fetch_and(vcpu.requests, ~UNBLOCK)
        return Then("vcpu_run", vcpu)


class RviOnlyIfArrived(Kvm):
    def publish(self, cpu: Cpu, vcpu: Any, arrived: bool) -> int:
        highest = self.highest(cpu, vcpu)
        if arrived and self.apicv_active():
            cpu.store(vcpu.rvi, highest)
        elif arrived:
            self.request(cpu, vcpu, EVENT)
        return highest


class DropsItsOwnIpi(Kvm):
    """The fast path enters again, and never posts."""

    def reenter_guest(self, cpu: Cpu, vcpu: Any, vector: int) -> Any:
        self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class TimerForgotten(Kvm):
    def reset(self, cpu: Cpu, vcpu: Any, old: int, timer: int) -> Any:
        return super().reset(cpu, vcpu, old, 0)


class RunsElsewhereStill(Kvm):
    """A pCPU goes on saying that it runs the vCPU that has left it."""

    def put(self, cpu: Cpu, vcpu: Any, preempted: bool) -> None:
        self.pi_put(cpu, vcpu, preempted)


class RunsAnybodyHere(Kvm):
    """That some vCPU runs here is taken for that vCPU."""

    def is_running_here(self, cpu: Cpu, vcpu: Any) -> bool:
        return bool(cpu.load(self.world.cpus[cpu.id()].running_vcpu))


class RequestNotLocked(Kvm):
    def request(self, cpu: Cpu, vcpu: Any, bit: int) -> None:
        cpu.store(vcpu.requests, cpu.load(vcpu.requests) | bit)


class IrrPendingLast(Kvm):
    """What is left is looked for first, and told in irr_pending then: a sender that comes between is forgotten."""

    def inject(self, cpu: Cpu, vcpu: Any) -> None:
        vector = self.highest(cpu, vcpu)
        if cpu.load(vcpu.injected) or self.interrupt_blocked(cpu, vcpu):
            cpu.store(vcpu.interrupt_window, 1)
        elif vector >> 4 > max(self.highest_in_service(cpu, vcpu), cpu.load(vcpu.vppr)) >> 4:
            word, bit = divmod(vector, 64)
            cpu.fetch_and(vcpu.virr[word], ~(1 << bit))
            cpu.store(vcpu.irr_pending, int(bool(self.find_highest(cpu, vcpu))))
            cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) | 1 << bit)
            cpu.store(vcpu.interrupt_window, 0)
            cpu.store(vcpu.injected, vector)


class ForgetsTpr(Kvm):
    """What is injected is compared with what is in service, and not with TPR."""

    def inject(self, cpu: Cpu, vcpu: Any) -> None:
        vppr = cpu.load(vcpu.vppr)
        cpu.store(vcpu.vppr, 0)
        super().inject(cpu, vcpu)
        cpu.store(vcpu.vppr, vppr)


class EoiExitForgetsPriority(ReferenceProcessor):
    """An EOI that exits leaves SVI and VPPR as they were."""

    def virtualize_eoi(self, cpu: Cpu, vcpu: Any) -> None:
        svi, vppr = cpu.load(vcpu.svi), cpu.load(vcpu.vppr)
        word, bit = divmod(svi, 64)
        if cpu.load(Field(f"{vcpu.name}.eoi_exit[{word}]", 1 << bit, bit)):
            self.clear_bit(cpu, vcpu.visr, svi)
            cpu.store(vcpu.vppr, vppr)
            cpu.exit_guest("eoi", svi)
        else:
            super().virtualize_eoi(cpu, vcpu)


class ClearsPendingLate(NestedKvm):
    """pi_pending is cleared once PIR12 is harvested: a notification that comes between is forgotten."""

    def complete(self, cpu: Cpu, vcpu: Any) -> None:
        if not cpu.load(vcpu.pi_pending):
            return
        if cpu.test_and_clear(vcpu.l2.pid.on):
            self.l1.harvest(cpu, vcpu.l2)
            self.raise_rvi(cpu, vcpu)
        cpu.store(vcpu.pi_pending, 0)


class HaltsOverPosts(NestedKvm):
    """L2 that halts is woken by what is in RVI12, and not by what L1 has posted."""

    def has_nested_events(self, cpu: Cpu, vcpu: Any) -> bool:
        return cpu.load(vcpu.l2.rvi) >> 4 > cpu.load(vcpu.l2.vppr) >> 4


class RaisesTprUnseen(ReferenceProcessor):
    """A TPR that is raised is not evaluated: what was recognized before is delivered."""

    def write_tpr(self, cpu: Cpu, vcpu: Any, value: int) -> None:
        before = cpu.load(vcpu.recognized)
        raised = value >> 4 >= cpu.load(vcpu.vtpr) >> 4
        super().write_tpr(cpu, vcpu, value)
        if raised and self.apicv():
            cpu.store(vcpu.recognized, before)


class InjectsWhatWasDue(Kvm):
    """What the interrupt window was asked for is injected when it opens, whatever TPR is by then."""

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "due": Shared(0, private_to="*")}

    def inject(self, cpu: Cpu, vcpu: Any) -> None:
        due = cpu.load(vcpu.due)
        if not due or self.interrupt_blocked(cpu, vcpu) or cpu.load(vcpu.injected):
            super().inject(cpu, vcpu)
            waits = cpu.load(vcpu.interrupt_window) and not cpu.load(vcpu.injected)
            cpu.store(vcpu.due, self.highest(cpu, vcpu) if waits else 0)
            return
        word, bit = divmod(due, 64)
        cpu.fetch_and(vcpu.virr[word], ~(1 << bit))
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) | 1 << bit)
        for at, value in ((vcpu.interrupt_window, 0), (vcpu.injected, due), (vcpu.due, 0)):
            cpu.store(at, value)


class NeverHalts(ReferenceProcessor):
    """HLT neither exits nor halts."""

    def instruction(self, cpu: Cpu, vcpu: Any, what: str, *operands: int) -> None:
        if what != "hlt":
            super().instruction(cpu, vcpu, what, *operands)


class WakesOne(Kvm):
    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.load(vcpu.pid.on):
                self.wake_up(cpu, vcpu)
                break
        cpu.unlock(here.wakeup_lock)


FOUND: dict[type[BaseRole], tuple[str, str]] = {
    SkipsLastWord: ("self-ipi", "E2E-1"),
    LowHalf: ("reset", "E2E-1"),
    StaleRvi: ("reset", "KVM-ENT-6"),
    MergeOverwrites: ("handler/sends-itself/one-word/unassigns", "E2E-1"),
    LowestWordFirst: ("self-ipi", "VID-13"),
    StaleDestination: ("sender/no-device/migrate", "E2E-11"),
    WakesFirstOnly: ("sleeper-beside", "E2E-10"),
    WrongDescriptor: ("device/then-device/shared", "E2E-10"),
    SnWheneverPut: ("one-device", "E2E-10"),
    NoShift: ("device/masks-halts/one-word/in-guest-hlt/xapic/migrate", "KVM-PI-2"),
    OldSnapshot: ("one-device", "E2E-10"),
    LeftOverFirstWord: ("device/then-device/shared", "E2E-11"),
    NoSyncOnFastPath: ("self-ipi", "E2E-11"),
    ChecksOnOnly: ("handler/masks-halts/inhibited/no-device", "E2E-10"),
    ForgetsWindow: ("inhibited-closed", "E2E-1"),
    DropsInjected: ("handler/restored/inhibited/no-device/buffered", "E2E-1"),
    EntersByTpr: ("closed-and-masked", "KVM-ENT-6"),
    SavesOneWord: ("save-restore", "E2E-1"),
    PurgesOnOnly: ("reset", "E2E-3"),
    RviDown: ("urgent/sends-itself/low-first", "VID-13"),
    HarvestsOne: ("device/then-device/masks/one-word/toggled", "E2E-11"),
    EoiForgetsRest: ("device/safe-halt/low-first/in-guest-hlt/eoi-exit/nest/buffered", "E2E-15"),
    TprForgets: ("closed-and-masked", "E2E-1"),
    LooksBeforeItsStoreIsSeen: ("tso-inhibited", "E2E-10"),
    LeavesAsAnother: ("two-sleepers", "E2E-10"),
    WakesOne: ("two-sleepers", "E2E-10"),
    HaltEndsByRequest: ("assign", "E2E-18"),
    RviOnlyIfArrived: ("reset-pending", "E2E-3"),
    DropsItsOwnIpi: ("self-ipi", "E2E-1"),
    TimerForgotten: ("reset", "E2E-1"),
    RunsElsewhereStill: ("moved-on", "E2E-1"),
    RunsAnybodyHere: ("on-another", "E2E-1"),
    RequestNotLocked: ("tso-inhibited", "E2E-10"),
    IrrPendingLast: ("handler/restored/inhibited/no-device/buffered", "E2E-1"),
    ForgetsTpr: ("handler/masks-halts/one-class/inhibited/in-guest-hlt/no-device/nest/notified", "E2E-16"),
    EoiExitForgetsPriority: ("handler/and-device/eoi-exit/nest", "E2E-1"),
    ClearsPendingLate: ("posts+posts/one-word", "NST-E2E-1"),
    HaltsOverPosts: ("nested-hlt", "NST-E2E-1"),
    RaisesTprUnseen: ("closed-and-masked", "E2E-16"),
    InjectsWhatWasDue: ("inhibited-closed-and-masked", "E2E-16"),
    NeverHalts: ("halt-closed", "E2E-18"),
    IommuLateBit: ("self-ipi", "E2E-11"),
}
"""Each with the smallest scenario that was seen to find it, and a guarantee that is broken there."""
