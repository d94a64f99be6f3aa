"""Wrong implementations around the local APIC that scenarios were not made for: words, service and priorities, halts, transfers."""

from __future__ import annotations

from typing import Any

from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.x86 import PINV, WAKEUP
from reference.x86.iommu import ReferenceIommu
from reference.x86.kvm import EVENT, Kvm
from reference.x86.processor import ReferenceProcessor


class TwoWords(Kvm):
    """A harvest takes two words of PIR, not more."""

    def harvest(self, cpu: Cpu, vcpu: Any) -> bool:
        taken = 0
        for word in self.world.words:
            if taken < 2 and cpu.load(vcpu.pid.pir[word]):
                self.merge(cpu, vcpu, word, cpu.swap(vcpu.pid.pir[word], 0))
                taken += 1
        return bool(taken)


class EoiClearsAll(Kvm):
    """An emulated EOI ends everything in service."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        for word in self.world.words:
            cpu.store(vcpu.visr[word], 0)
        self.request(cpu, vcpu, EVENT)


class PlainMerge(Kvm):
    """KVM before 514946d14363: a load and a store of vIRR, which a sender sets too."""

    def merge(self, cpu: Cpu, vcpu: Any, word: int, bits: int) -> None:
        cpu.store(vcpu.virr[word], cpu.load(vcpu.virr[word]) | bits)
        self.note_pending(cpu, vcpu)


class HighestBitOnly(Kvm):
    """Of each word the highest vector; the others wait for the next look at ON."""

    def merge(self, cpu: Cpu, vcpu: Any, word: int, bits: int) -> None:
        top = 1 << bits.bit_length() - 1
        super().merge(cpu, vcpu, word, top)
        if bits != top:
            cpu.fetch_or(vcpu.pid.pir[word], bits & ~top)


class LocksWithInterruptsOn(Kvm):
    """The wakeup handler wants the lock that its own pCPU holds."""

    def pi_load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        before = cpu.load(vcpu.cpu)
        if cpu.load(vcpu.pid.nv) == WAKEUP:
            self.leave_wakeup_list(cpu, vcpu, before)
        flag = cpu.irq_disable()
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        cpu.irq_restore(flag)
        self.announce_left_over(cpu, vcpu)


class IpiLatchesEarly(ReferenceIommu):
    """NV and NDST as they were before the bit was set."""

    def virtual_ipi(self, cpu: Cpu, vcpu: Any, vector: int) -> None:
        nv, ndst = cpu.load(vcpu.pid.nv), cpu.load(vcpu.pid.ndst)
        cpu.test_and_set(vcpu.pid.bit(vector))
        with cpu.atomic():
            told = not cpu.load(vcpu.pid.on) and not cpu.load(vcpu.pid.sn)
            if told:
                cpu.test_and_set(vcpu.pid.on)
        if told:
            cpu.send_ipi(nv, self.apic_id(ndst))


class WakesFromHltForNothing(ReferenceProcessor):
    """A notification ends HLT, whether anything is deliverable or not."""

    def process_posted(self, cpu: Cpu, vcpu: Any) -> None:
        super().process_posted(cpu, vcpu)
        cpu.store(vcpu.halted, 0)


class EntryEndsHlt(ReferenceProcessor):
    """VM entry ends HLT."""

    def vm_entry(self, cpu: Cpu, vcpu: Any) -> None:
        super().vm_entry(cpu, vcpu)
        cpu.store(vcpu.halted, 0)


class KicksBeforeItAsks(Kvm):
    """The kick comes before the request that it is for."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Any, vector: int) -> None:
        if self.apicv_active():
            super().deliver_interrupt(cpu, vcpu, vector)
            return
        self.set_irr(cpu, vcpu, vector)
        self.kick(cpu, vcpu)
        self.request(cpu, vcpu, EVENT)


class RestoreForgetsPending(Kvm):
    """A restored vIRR is not marked as nonempty."""

    def restore(self, cpu: Cpu, vcpu: Any, image: tuple[int, ...], timer: int | None = None) -> None:
        cpu.store(vcpu.irr_pending, 0)
        super().restore(cpu, vcpu, image, timer)


class EoiEndsLowest(Kvm):
    """Of what is in service the lowest ends."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        for word in self.world.words:
            bits = cpu.load(vcpu.visr[word])
            if bits:
                cpu.store(vcpu.visr[word], bits & bits - 1)
                break
        self.request(cpu, vcpu, EVENT)


class InjectsOverServices(Kvm):
    """Injection asks for TPR and IF, not for what is in service."""

    def highest_in_service(self, cpu: Cpu, vcpu: Any) -> int:
        return 0

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        vector = Kvm.highest_in_service(self, cpu, vcpu)
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) & ~(1 << bit))
        self.request(cpu, vcpu, EVENT)


class EoiRequestsIfLast(Kvm):
    """An event is requested once nothing is in service any more."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        vector = self.highest_in_service(cpu, vcpu)
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) & ~(1 << bit))
        if not self.highest_in_service(cpu, vcpu):
            self.request(cpu, vcpu, EVENT)


class NeverNests(Kvm):
    """With anything in service nothing is injected."""

    def inject(self, cpu: Cpu, vcpu: Any) -> None:
        if not self.highest_in_service(cpu, vcpu):
            super().inject(cpu, vcpu)


class SviZeroAfterEoi(ReferenceProcessor):
    """SVI is 0 after an EOI, whatever is left in vISR."""

    def virtualize_eoi(self, cpu: Cpu, vcpu: Any) -> None:
        v = cpu.load(vcpu.svi)
        self.clear_bit(cpu, vcpu.visr, v)
        cpu.store(vcpu.svi, 0)
        self.virtualize_ppr(cpu, vcpu)
        self.evaluate(cpu, vcpu)


class EntryClearsSvi(Kvm):
    """The guest interrupt status is written whole, SVI with it."""

    def publish(self, cpu: Cpu, vcpu: Any, arrived: bool) -> int:
        if self.apicv_active():
            cpu.store(vcpu.svi, 0)
        return super().publish(cpu, vcpu, arrived)


class SyncsOnlyIfOnWasSet(Kvm):
    """The fast path looks at ON before it posts its own IPI."""

    def reenter_guest(self, cpu: Cpu, vcpu: Any, vector: int) -> Any:
        on = cpu.load(vcpu.pid.on)
        self.deliver_interrupt(cpu, vcpu, vector)
        if on:
            self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class AnnouncesBeforeSn(Kvm):
    """The look at what came under SN comes before SN is cleared."""

    def pi_load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        self.announce_left_over(cpu, vcpu)
        flag = cpu.irq_disable()
        if cpu.load(vcpu.pid.nv) == WAKEUP:
            self.leave_wakeup_list(cpu, vcpu, cpu.load(vcpu.cpu))
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        cpu.irq_restore(flag)


class HandlerStopsAtIdle(Kvm):
    """The wakeup handler stops at the first that has nothing."""

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if not cpu.load(vcpu.pid.on):
                break
            self.wake_up(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)


class TprBelowIgnored(Kvm):
    """An exit below the TPR threshold asks for no event."""

    def handle_exit(self, cpu: Cpu, vcpu: Any, reason: Any) -> Any:
        if reason[0] == "tpr_below_threshold":
            return Then("vcpu_run", vcpu)
        return super().handle_exit(cpu, vcpu, reason)


class ReinjectsAfterExit(Kvm):
    """An exit with something in service has it injected again."""

    def leave_guest(self, cpu: Cpu, vcpu: Any, *reason: Any) -> Any:
        if reason[0] == "tick" and not self.apicv_active():
            v = self.highest_in_service(cpu, vcpu)
            if v and not cpu.load(vcpu.injected):
                cpu.store(vcpu.injected, v)
        return super().leave_guest(cpu, vcpu, *reason)


class RestoresOnTop(Kvm):
    """The image is or-ed into vIRR: a fresh local APIC has the old one's vectors."""

    def restore(self, cpu: Cpu, vcpu: Any, image: tuple[int, ...], timer: int | None = None) -> None:
        self.purge(cpu, vcpu)
        for word, bits in zip(self.world.words, image, strict=True):
            cpu.fetch_or(vcpu.virr[word], bits)
        if timer is not None:
            self.deliver_interrupt(cpu, vcpu, timer)


class LooksAtSnFirst(Kvm):
    """SN is asked before the bit is set: under it nobody is told."""

    def post_vector(self, cpu: Cpu, vcpu: Any, vector: int) -> bool:
        silent = cpu.load(vcpu.pid.sn)
        if cpu.test_and_set(vcpu.pid.bit(vector)) or silent:
            return False
        return not cpu.test_and_set(vcpu.pid.on)


class SleepsThroughNotifications(ReferenceProcessor):
    """A processor in HLT acknowledges nothing."""

    def boundary(self, cpu: Cpu, vcpu: Any, pending: tuple[int, ...]) -> Any:
        if cpu.load(vcpu.halted) and not cpu.load(vcpu.recognized):
            return None
        return super().boundary(cpu, vcpu, pending)


class GuestMasksHost(ReferenceProcessor):
    """The guest's IF masks external interrupts."""

    def boundary(self, cpu: Cpu, vcpu: Any, pending: tuple[int, ...]) -> Any:
        found = super().boundary(cpu, vcpu, pending)
        return found if found == ("deliver",) or cpu.load(vcpu.rflags_if) else None


class StoresCpuFirst(Kvm):
    """vcpu->cpu is the new pCPU before load asks for the old one."""

    def load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        cpu.store(vcpu.cpu, where)
        super().load(cpu, vcpu, where)


class ListsItselfAlone(Kvm):
    """Who joins the wakeup list takes the others off."""

    def join_wakeup_list(self, cpu: Cpu, vcpu: Any) -> None:
        here = self.world.cpus[cpu.id()]
        cpu.lock(here.wakeup_lock)
        listed = cpu.load(here.wakeup_list)
        if vcpu.name not in listed:
            cpu.store(here.wakeup_list, (*listed, vcpu.name)[-1:])
        cpu.unlock(here.wakeup_lock)


class WindowForgotten(Kvm):
    """Whatever exit comes, the interrupt window is asked for no more."""

    def leave_guest(self, cpu: Cpu, vcpu: Any, *reason: Any) -> Any:
        cpu.store(vcpu.interrupt_window, 0)
        return super().leave_guest(cpu, vcpu, *reason)


class IpiNotAtOnce(ReferenceIommu):
    """ON and SN are read in steps of their own."""

    def virtual_ipi(self, cpu: Cpu, vcpu: Any, vector: int) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        if not cpu.load(vcpu.pid.on) and not cpu.load(vcpu.pid.sn):
            with cpu.atomic():
                told = self.announce(cpu, vcpu)
            cpu.send_ipi(*told)


class DropsPostsUnderOn(ReferenceIommu):
    """A post that finds ON set is dropped."""

    def post(self, cpu: Cpu, vcpu: Any, vector: int, urgent: bool) -> None:
        with cpu.atomic():
            on, sn = cpu.load(vcpu.pid.on), cpu.load(vcpu.pid.sn)
            if not on or sn:
                cpu.test_and_set(vcpu.pid.bit(vector))
            told = self.announce(cpu, vcpu) if not on and (urgent or not sn) else None
        if told:
            cpu.send_ipi(*told)


FOUND: dict[type[BaseRole], tuple[str, str]] = {
    TwoWords: ("all-words", "E2E-1"),
    EoiClearsAll: ("inhibited-nest-three", "E2E-16"),
    PlainMerge: ("one-register", "E2E-1"),
    HighestBitOnly: ("sender/sends-itself/one-class/no-device", "E2E-11"),
    LocksWithInterruptsOn: ("tso-block", "DEADLOCK"),
    IpiLatchesEarly: ("ipi/no-device/migrate", "E2E-1"),
    WakesFromHltForNothing: ("halt-in-the-guest", "E2E-18"),
    EntryEndsHlt: ("device/halts-closed/one-word/shared/inhibited/in-guest-hlt", "E2E-18"),
    KicksBeforeItAsks: ("tso-inhibited", "E2E-10"),
    RestoreForgetsPending: ("inhibited-restored-pending", "KVM-ENT-13"),
    EoiEndsLowest: ("inhibited-handlers-nest", "E2E-24"),
    InjectsOverServices: ("inhibited-handlers-nest", "E2E-16"),
    EoiRequestsIfLast: ("inhibited-handlers-nest", "E2E-24"),
    NeverNests: ("inhibited-handlers-nest", "E2E-24"),
    SviZeroAfterEoi: ("handlers-nest", "E2E-16"),
    EntryClearsSvi: ("running", "E2E-1"),
    SyncsOnlyIfOnWasSet: ("self-ipi", "E2E-11"),
    AnnouncesBeforeSn: ("device/halts-closed/edges/in-guest-hlt/xapic/preempt", "E2E-11"),
    HandlerStopsAtIdle: ("sleeper-beside", "E2E-10"),
    TprBelowIgnored: ("inhibited-closed-and-masked", "E2E-1"),
    ReinjectsAfterExit: ("inhibited-closed", "E2E-3"),
    RestoresOnTop: ("reset-pending", "E2E-3"),
    LooksAtSnFirst: ("block-preempt-software", "E2E-10"),
    SleepsThroughNotifications: ("halt-in-the-guest", "PIP-15"),
    GuestMasksHost: ("device/halts-closed/edges/in-guest-hlt/xapic/preempt", "PIP-15"),
    StoresCpuFirst: ("block-preempt", "E2E-10"),
    ListsItselfAlone: ("two-sleepers", "E2E-10"),
    WindowForgotten: ("inhibited-closed", "E2E-1"),
    IpiNotAtOnce: ("ipi/one-word/preempt", "IPIV-3"),
    DropsPostsUnderOn: ("two-posts", "E2E-1"),
}
"""Each with a scenario that finds it, and a guarantee that is broken there."""
