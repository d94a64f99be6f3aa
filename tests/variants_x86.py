"""What somebody may write otherwise than KVM and the manuals do on x86, and nothing is lost by it; why, in each docstring."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.x86 import KICK, PINV, WAKEUP, Field, Vcpu
from reference.x86.iommu import ReferenceIommu
from reference.x86.kvm import EVENT, EXITING, IN, OUT, UNBLOCK, Kvm
from reference.x86.processor import ReferenceProcessor


class LooksAtItsBitFirst(Kvm):
    """Who set the bit sees to the rest."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        return not cpu.load(vcpu.pid.bit(vector)) and super().post_vector(cpu, vcpu, vector)


class SetsOnByExchange(Kvm):
    """ON by a compare-and-exchange of the control word, in a loop."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if cpu.test_and_set(vcpu.pid.bit(vector)):
            return False
        while True:
            control = cpu.load(vcpu.pid.control)
            if control & 1:
                return False
            if cpu.cmpxchg(vcpu.pid.control, control, control | 1) == control:
                return True


class NotifiesAlways(Kvm):
    """One notification too many harms nobody."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        cpu.test_and_set(vcpu.pid.bit(vector))
        cpu.test_and_set(vcpu.pid.on)
        return True


class WakesToo(Kvm):
    """Wakes whatever the mode is."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().trigger(cpu, vcpu)
        self.wake_up(cpu, vcpu)


class FencesMore(Kvm):
    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fence()
        super().trigger(cpu, vcpu)
        cpu.fence()


class HarvestsFromTheTop(Kvm):
    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in reversed(self.world.words):
            if bits := cpu.swap(vcpu.pid.pir[word], 0):
                self.merge(cpu, vcpu, word, bits)
                arrived = True
        return arrived


class HarvestsBitByBit(Kvm):
    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            seen = cpu.load(vcpu.pid.pir[word])
            for bit in (b for b in range(64) if seen >> b & 1):
                if cpu.test_and_clear(vcpu.pid.bit(64 * word + bit)):
                    self.merge(cpu, vcpu, word, 1 << bit)
                    arrived = True
        return arrived


class HarvestsWhateverOnSays(Kvm):
    """ON is cleared if it is set; PIR is read in any case."""

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        if cpu.load(vcpu.pid.on):
            cpu.test_and_clear(vcpu.pid.on)
        cpu.fence()
        return self.harvest(cpu, vcpu)


class HarvestsTwice(Kvm):
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        super().sync_pir_to_irr(cpu, vcpu)
        return super().sync_pir_to_irr(cpu, vcpu)


class AsksForRequestsTwice(Kvm):
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.load(vcpu.requests)
        return super().vcpu_run(cpu, vcpu)


class LooksBeforeItAnnounces(Kvm):
    """One look more, before it announces that it blocks."""

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.check_block(cpu, vcpu):
            return Then("vcpu_run", vcpu)
        return super().vcpu_block(cpu, vcpu)


class KicksTwice(Kvm):
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().kick(cpu, vcpu)
        super().kick(cpu, vcpu)


class LeavesTwice(Kvm):
    """OUT is written again."""

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.store(vcpu.mode, OUT)
        return super().leave_guest(cpu, vcpu, *reason)


class ClearsOnInOneStep(ReferenceProcessor):
    """Posted-interrupt processing in one step: nobody comes between."""

    def process_posted(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with cpu.atomic():
            super().process_posted(cpu, vcpu)


class FromTheTop(ReferenceProcessor):
    """The words of PIR in another order."""

    def order(self, cpu: Cpu) -> tuple[int, ...]:
        return tuple(reversed(self.world.words))


class SetsOnFirstAndLast(Kvm):
    """ON is set before the bit, and again after it: the second time is the usual protocol, the first a spurious notification."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        mine = not cpu.test_and_set(vcpu.pid.on)
        cpu.test_and_set(vcpu.pid.bit(vector))
        return not cpu.test_and_set(vcpu.pid.on) or mine


class KicksInsteadOfNotifying(Kvm):
    """A kick makes the guest exit, and every entry harvests."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.load(vcpu.mode) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))
        else:
            self.wake_up(cpu, vcpu)


class NotifiesItselfToo(Kvm):
    """A notification to the sender's own pCPU is taken in root mode, or processed after the entry."""

    def is_running_here(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return False


class NotifiesInAnyMode(Kvm):
    """A notification that finds the vCPU out of its guest is spurious."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.send_ipi(PINV, cpu.load(vcpu.cpu))
        self.wake_up(cpu, vcpu)


class WakesBeforeItAsks(Kvm):
    """The wake comes after ON was set, as it must; what mode is decides about the notification alone."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.wake_up(cpu, vcpu)
        if cpu.load(vcpu.mode) == IN:
            cpu.send_ipi(PINV, cpu.load(vcpu.cpu))


class HarvestsByCompareExchange(Kvm):
    """A word of PIR is taken if it still is what was read; else once more."""

    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            while bits := cpu.load(vcpu.pid.pir[word]):
                if cpu.cmpxchg(vcpu.pid.pir[word], bits, 0) == bits:
                    self.merge(cpu, vcpu, word, bits)
                    arrived = True
        return arrived


class ClearsOnUnseen(Kvm):
    """Without a look first: what was 0 stays 0."""

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        cpu.test_and_clear(vcpu.pid.on)
        return self.harvest(cpu, vcpu)


class ClearsOnWithTheWord(Kvm):
    """ON goes by a compare-and-exchange of the control word, until it holds."""

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        control = cpu.load(vcpu.pid.control)
        while control & 1:
            was = cpu.cmpxchg(vcpu.pid.control, control, control & ~1)
            if was == control:
                cpu.fence()
                return self.harvest(cpu, vcpu)
            control = was
        return False


class HarvestsBeforeItGoesIn(Kvm):
    """One harvest more, before mode := IN; the one that counts comes after it."""

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        self.sync_pir_to_irr(cpu, vcpu)
        super().ready(cpu, vcpu)


class GoesInByExchange(Kvm):
    """A locked operation is the barrier that b95234c84004 asks for."""

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.swap(vcpu.mode, IN)
        self.sync_pir_to_irr(cpu, vcpu)


class LoadsTheWholeWord(Kvm):
    """No short way where the vCPU comes back to its pCPU: NDST, SN and NV are written each time."""

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        flag = cpu.irq_disable()
        if cpu.load(vcpu.pid.nv) != PINV:
            self.leave_wakeup_list(cpu, vcpu, cpu.load(vcpu.cpu))
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        cpu.irq_restore(flag)
        self.announce_left_over(cpu, vcpu)


class AnnouncesAtEveryLoad(Kvm):
    """ON without a bit: the next harvest finds nothing."""

    def announce_left_over(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.test_and_set(vcpu.pid.on)


class WakesAllThatAreListed(Kvm):
    """A wake-up for nothing: who is woken looks, and sleeps again."""

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            self.wake_up(cpu, self.world.vcpus[name])
        cpu.unlock(here.wakeup_lock)


class HoldsTheListLonger(Kvm):
    """One lock over both, the list and the control word: coarser, and in no other lock's way."""

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        flag = cpu.irq_disable()
        cpu.lock(here.wakeup_lock)
        cpu.store(here.wakeup_list, (*cpu.load(here.wakeup_list), vcpu.name))
        announced = self.update_control(cpu, vcpu, nv=0xF1) & 1
        cpu.unlock(here.wakeup_lock)
        if announced:
            cpu.send_ipi_self(0xF1)
        cpu.irq_restore(flag)


class PollsBeforeItBlocks(Kvm):
    """Two looks, and each may end the wait: the one after the announcement is the one that must not miss."""

    def vcpu_halt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        for _ in range(2):
            if self.check_block(cpu, vcpu):
                return Then("vcpu_run", vcpu)
        return Then("vcpu_block", vcpu)


class SavesWithTwoHarvests(Kvm):
    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        self.sync_pir_to_irr(cpu, vcpu)
        return super().save(cpu, vcpu)


class PurgesTwice(Kvm):
    """What is cleared twice is clear."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().purge(cpu, vcpu)
        super().purge(cpu, vcpu)


class ReadsBackWhatItPosts(ReferenceIommu):
    """A device's post looks at its bit once more, in the same step."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        cpu.load(vcpu.pid.bit(vector))
        super().post(cpu, vcpu, vector, urgent)


class Pinned(Kvm):
    """ACRN's design (hypervisor/arch/x86/guest/virq.c, vlapic.c): each vCPU has a pCPU of its own, NDST and NV never change, SN
    is never set, and the notification's handler wakes who sleeps. Right as long as nothing moves.
    """

    profile: ClassVar[str] = "generic"
    lacks: ClassVar = ("migration", "shared-pcpu", "assignment-changes", "inhibit-toggles")

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if cpu.load(vcpu.pid.sn):
            self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
            self.announce_left_over(cpu, vcpu)

    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        """Nothing: who posts finds the pCPU, whatever runs there."""

    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        for vcpu in self.world.vcpus.values():
            if cpu.load(vcpu.cpu) == where and cpu.load(vcpu.pid.on):
                self.wake_up(cpu, vcpu)


class JoinsTheListLast(Kvm):
    """NV first, then the list: a wakeup comes to this pCPU, whose interrupts are off until both are done."""

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        flag = cpu.irq_disable()
        control = self.update_control(cpu, vcpu, nv=WAKEUP)
        self.join_wakeup_list(cpu, vcpu)
        if control & 1:
            cpu.send_ipi_self(WAKEUP)
        cpu.irq_restore(flag)


class TakesOffWhomItWakes(Kvm):
    """The wakeup handler, as Xen's does: load finds nothing to take off."""

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        stays: list[str] = []
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.load(vcpu.pid.on):
                self.wake_up(cpu, vcpu)
            else:
                stays.append(name)
        cpu.store(here.wakeup_list, tuple(stays))
        cpu.unlock(here.wakeup_lock)


class RestoresIntoPir(Kvm):
    """What was pending is posted anew, and the next entry harvests it."""

    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...], timer: int | None = None) -> None:
        self.purge(cpu, vcpu)
        for word, bits in zip(self.world.words, image, strict=True):
            cpu.store(vcpu.virr[word], 0)
            if bits:
                cpu.fetch_or(vcpu.pid.pir[word], bits)
        cpu.test_and_set(vcpu.pid.on)
        if timer is not None:
            self.deliver_interrupt(cpu, vcpu, timer)


class HaltsInTheGuest(Kvm):
    """An intercepted HLT that finds no interrupt enters the guest again, in the activity state HLT."""

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        if reason[0] == "hlt" and not self.has_interrupt(cpu, vcpu):
            cpu.store(vcpu.halted, 1)
            return Then("vcpu_run", vcpu)
        return super().handle_exit(cpu, vcpu, reason)


class HarvestsOnTheWayOut(Kvm):
    """One harvest more, after the exit."""

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.store(vcpu.mode, OUT)
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)


class PostsByCompareExchange(Kvm):
    """The PIR bit by a compare-and-exchange of its word, in a loop."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        word, bit = vcpu.pid.pir[vector // 64], 1 << vector % 64
        old = cpu.load(word)
        while not old & bit:
            was = cpu.cmpxchg(word, old, old | bit)
            if was == old:
                return not cpu.test_and_set(vcpu.pid.on)
            old = was
        return False


class TakesHalfWords(ReferenceProcessor):
    """The processor takes 32 bits at a time: the manual leaves the grouping open."""

    def harvest_word(self, cpu: Cpu, vcpu: Vcpu, word: int) -> int:
        found = 0
        for shift in (0, 32):
            bits = cpu.swap(Field(vcpu.pid.pir[word].at, 0xFFFFFFFF << shift, shift), 0) << shift
            if bits:
                cpu.store(vcpu.virr[word], cpu.load(vcpu.virr[word]) | bits)
                found = 64 * word + bits.bit_length() - 1
        return found


class SoftwareTakesHalfWords(Kvm):
    """32 bits at a time, as __kvm_apic_update_irr does."""

    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            for shift in (0, 32):
                half = Field(vcpu.pid.pir[word].at, 0xFFFFFFFF << shift, shift)
                if cpu.load(half):
                    self.merge(cpu, vcpu, word, cpu.swap(half, 0) << shift)
                    arrived = True
        return arrived


class LeavesItToTheProcessor(Kvm):
    """What is outstanding at the entry is notified to the own pCPU, interrupts off, and the processor harvests: ACRN."""

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.apicv_active():
            super().ready(cpu, vcpu)
            return
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        if cpu.load(vcpu.pid.on):
            cpu.send_ipi_self(PINV)


class SavesPirToo(Kvm):
    """The image is vIRR or PIR; nothing is harvested for it."""

    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        return tuple(cpu.load(vcpu.virr[w]) | cpu.load(vcpu.pid.pir[w]) for w in self.world.words)


class AsksForAnEventAtEveryExit(Kvm):
    """A request too many finds nothing to do."""

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        if not self.apicv_active():
            self.request(cpu, vcpu, EVENT)
        return super().handle_exit(cpu, vcpu, reason)


class SetsSnWhileItHarvests(Kvm):
    """No notification on the way in; then SN goes, and it looks again."""

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.test_and_set(vcpu.pid.sn)
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.test_and_clear(vcpu.pid.sn)
        self.announce_left_over(cpu, vcpu)
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        self.sync_pir_to_irr(cpu, vcpu)


class KickReadsCpuFirst(Kvm):
    """Who is in its guest by the exchange was there when the request was seen by nobody: its pCPU is the one that was read."""

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        to = cpu.load(vcpu.cpu)
        self.wake_up(cpu, vcpu)
        if cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, to)


class LoadClearsOn(Kvm):
    """Cleared before the look at PIR that every load on another pCPU ends with."""

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if cpu.load(vcpu.cpu) != where:
            cpu.test_and_clear(vcpu.pid.on)
        super().pi_load(cpu, vcpu, where)


class ReadsCpuBeforeMode(Kvm):
    """Both come after ON: who enters elsewhere from then on harvests."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        to = cpu.load(vcpu.cpu)
        if cpu.load(vcpu.mode) == IN:
            if not self.is_running_here(cpu, vcpu):
                cpu.send_ipi(PINV, to)
            return
        self.wake_up(cpu, vcpu)


class KicksWithoutExchange(Kvm):
    """A kick too many makes it exit for nothing."""

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.wake_up(cpu, vcpu)
        if cpu.load(vcpu.mode) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))


class PurgeLeavesOn(Kvm):
    """The next entry looks for nothing, and clears it."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        for word in self.world.words:
            cpu.swap(vcpu.pid.pir[word], 0)


class LeavesOnAloneUnderSn(Kvm):
    """As devices do: load announces what came under SN."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if cpu.test_and_set(vcpu.pid.bit(vector)) or cpu.load(vcpu.pid.sn):
            return False
        return not cpu.test_and_set(vcpu.pid.on)


class HandlerClearsOn(Kvm):
    """The wakeup handler takes ON along: the load that follows announces what is left in PIR."""

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.test_and_clear(vcpu.pid.on):
                self.wake_up(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)


class LeavesTheFastPath(Kvm):
    """An IPI to itself is posted on the fast path, and harvested by an entry like any other."""

    def reenter_guest(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        return Then("leave_guest", vcpu, "fastpath_ipi", vector)


class DeviceThatGoesForcesARound(Kvm):
    """Who blocks comes round once when the last device goes, too, and blocks again."""

    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().unassign_device(cpu, vcpu)
        self.request(cpu, vcpu, UNBLOCK)
        self.kick(cpu, vcpu)


class InhibitingKicks(Kvm):
    """Every vCPU is kicked, as kvm_make_all_cpus_request() does: an exit for nothing, or a wake-up for nothing."""

    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().inhibit_apicv(cpu, vcpu)
        self.request(cpu, vcpu, EVENT)
        self.kick(cpu, vcpu)


class YieldsUnseen(Kvm):
    """A guest that spins gives way to whoever there is, without a look at what is posted to others."""

    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return Then("vcpu_run", vcpu)


VARIANTS: tuple[type[BaseRole], ...] = (
    LooksAtItsBitFirst, SetsOnByExchange, NotifiesAlways, WakesToo, FencesMore, HarvestsFromTheTop, HarvestsBitByBit,
    HarvestsWhateverOnSays, HarvestsTwice, AsksForRequestsTwice, LooksBeforeItAnnounces, KicksTwice, LeavesTwice, ClearsOnInOneStep,
    FromTheTop, SetsOnFirstAndLast, KicksInsteadOfNotifying, NotifiesItselfToo, NotifiesInAnyMode, WakesBeforeItAsks,
    HarvestsByCompareExchange, ClearsOnUnseen, ClearsOnWithTheWord, HarvestsBeforeItGoesIn, GoesInByExchange, LoadsTheWholeWord,
    AnnouncesAtEveryLoad, WakesAllThatAreListed, HoldsTheListLonger, PollsBeforeItBlocks, SavesWithTwoHarvests, PurgesTwice,
    ReadsBackWhatItPosts, Pinned, JoinsTheListLast, TakesOffWhomItWakes, RestoresIntoPir, HaltsInTheGuest,
    ReadsCpuBeforeMode, KicksWithoutExchange, PurgeLeavesOn, LeavesOnAloneUnderSn, HandlerClearsOn,
    HarvestsOnTheWayOut, PostsByCompareExchange, TakesHalfWords, SoftwareTakesHalfWords, LeavesItToTheProcessor,
    SavesPirToo, AsksForAnEventAtEveryExit, SetsSnWhileItHarvests, KickReadsCpuFirst, LoadClearsOn,
    LeavesTheFastPath, DeviceThatGoesForcesARound, InhibitingKicks, YieldsUnseen,
)  # fmt: skip
