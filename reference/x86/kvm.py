"""KVM's software as of Linux 6.1: post, harvest, enter, block, load and put.

After commits b95234c84004 (2016: interrupts off before mode:=IN, harvest after it) and d76fb40637fc (2021: descriptor
handled in load and put). Read against 6.1.192. Each routine names its functions, and `DIFFERENCES` what is not as there.

    sender                          vCPU thread                           pCPU
    PIR[v]:=1, ON:=1                interrupts off, mode:=IN, fence
    read mode ── IN ── PINV ──────────────────────────────────────────>   latched, or posted-interrupt processing
              └─ else: wake         ON? ON:=0, harvest PIR, RVI:=..., enter
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.x86 import KICK, PINV, WAKEUP, Cpu, Residency, RunLoop, Sender, Shared, StateTransfer, Then, Vcpu

LINUX = "Linux 6.1"
POSTED_INTR = Original(LINUX, "arch/x86/kvm/vmx/posted_intr.c")
POSTED_INTR_H = Original(LINUX, "arch/x86/kvm/vmx/posted_intr.h")
VMX = Original(LINUX, "arch/x86/kvm/vmx/vmx.c")
LAPIC = Original(LINUX, "arch/x86/kvm/lapic.c")
LAPIC_H = Original(LINUX, "arch/x86/kvm/lapic.h")
X86 = Original(LINUX, "arch/x86/kvm/x86.c")
IRQ = Original(LINUX, "arch/x86/kernel/irq.c")
SMP = Original(LINUX, "arch/x86/kernel/smp.c")
KVM_MAIN = Original(LINUX, "virt/kvm/kvm_main.c")
KVM_HOST_H = Original(LINUX, "include/linux/kvm_host.h")

DIFFERENCES = (
    Difference(
        "merge",
        "a plain store of 32 bits of vIRR; with APICv inhibited it can undo a bit that a sender sets meanwhile",
        "a locked or, as after cff540ebef38 and 514946d14363",
        "mended after 6.1",
    ),
    Difference(
        "note_pending",
        "the harvest leaves irr_pending as it is",
        "it sets it with APICv inhibited, as after cff540ebef38",
        "mended after 6.1: known-bad:B07",
    ),
    Difference(
        "harvest",
        "eight words of 32 bits; got_posted_interrupt only if what is new is the highest in vIRR",
        "words of 64 bits; with APICv inhibited an event is requested for whatever is found",
        "two vectors of one word are harvested in one access more often; a request too many finds nothing to do",
    ),
    Difference(
        "vcpu_run",
        "each request is tested and cleared by itself; events are injected with APICv active too",
        "all requests are taken at once; with APICv active there is nothing to inject",
        "only EVENT and UNBLOCK exist here, and UNBLOCK asks of a vCPU that runs nothing",
    ),
    Difference(
        "inject",
        "cancel_injection takes back what an entry that was called off would have injected, and queues it anew",
        "it stays in `injected` and goes first with the next entry",
        "the guest sees the same",
    ),
    Difference(
        "reenter_guest",
        "kvm_vcpu_exit_request() is looked at before the fast path enters again, and it may come round many times",
        "it enters again once, whatever was requested",
        "requests need not wait for long: a kick makes the guest exit",
    ),
    Difference(
        "kick",
        "returns if it woke the vCPU, and where the vCPU runs on this pCPU sends itself nothing",
        "goes on in both cases",
        "a vCPU that sleeps is not IN, so the exchange is lost; an interrupt too many is harmless",
    ),
    Difference(
        "wake_up",
        "rcuwait_wake_up() has a full barrier before it reads who waits",
        "no barrier",
        "each caller has done a locked operation since it stored anything",
    ),
    Difference(
        "vcpu_halt",
        "kvm_arch_vcpu_runnable() is asked before anything; polling looks again and again, for a time",
        "it is not; polling looks once, at any time",
        "the look before sleeping is the one that counts; what several looks find, one at the right time finds",
    ),
    Difference(
        "check_block",
        "looks for an interrupt first, and tests and clears UNBLOCK last",
        "looks at UNBLOCK first, and leaves it to `unblocked` to clear it",
        "either ends the wait, and `unblocked` asks for the interrupt again",
    ),
    Difference(
        "has_interrupt",
        "kvm_arch_interrupt_allowed() is asked first, and nothing is synchronized for a guest with interrupts closed",
        "it synchronizes first",
        "what such a guest cannot take is harvested before it sleeps or as it enters",
    ),
    Difference(
        "block_once",
        "finish_rcuwait() clears who waits, then the thread is plainly running; preemption is off around both",
        "the other way round, with preemption on",
        "a wake in between does nothing in either order; a put in between readies the wakeup handler, as one before does",
    ),
    Difference(
        "purge",
        "memset of PIR",
        "an exchange of each word",
        "a post that meets it is lost in either, and may be",
    ),
    Difference(
        "assign_device",
        "kvm_make_all_cpus_request(): every vCPU",
        "the one vCPU that is given",
        "no scenario has two vCPUs where devices are assigned",
    ),
    Difference(
        "inhibit_apicv",
        "every vCPU is kicked and then acts on KVM_REQ_APICV_UPDATE",
        "only the VM's word changes",
        "what is asked is whether load and put go by it: 53b7ca1a3593",
    ),
)

OUT, IN, EXITING = 0, 1, 2
"""vcpu->mode: OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE."""
EVENT, UNBLOCK = 1, 2
"""Bits of vcpu->requests: KVM_REQ_EVENT, KVM_REQ_UNBLOCK."""


class Kvm(Sender, RunLoop, Residency, StateTransfer):
    """Linux 6.1 with IPI virtualization in use, so that put always readies the wakeup handler."""

    profile: ClassVar[str] = "kvm"
    vcpu_state: ClassVar = {
        "mode": Shared(OUT),
        "requests": Shared(0),
        "cpu": Shared(0),
        "blocking": Shared(0),
        "irr_pending": Shared(0),
    }
    cpu_state: ClassVar = {
        "running_vcpu": Shared(()),
        "wakeup_lock": Shared(lock=True),
        "wakeup_list": Shared((), guarded_by="wakeup_lock"),
    }
    vm_state: ClassVar = {"assigned": Shared(1), "inhibited": Shared(0)}
    handlers: ClassVar = {PINV: "posted_intr_ipi", WAKEUP: "wakeup_handler", KICK: "reschedule_ipi"}

    # Sender

    @mirrors(VMX, "vmx_deliver_interrupt", "vmx_deliver_posted_interrupt")
    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if not self.apicv_active():
            self.set_irr(cpu, vcpu, vector)
            self.request(cpu, vcpu, EVENT)
            self.kick(cpu, vcpu)
            return
        if self.post_vector(cpu, vcpu, vector):
            self.trigger(cpu, vcpu)

    @mirrors(VMX, "vmx_deliver_posted_interrupt")
    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        """Set PIR[vector], then ON. Answers whether this sender owes the notification."""
        if cpu.test_and_set(vcpu.pid.bit(vector)):
            return False
        return not cpu.test_and_set(vcpu.pid.on)

    @mirrors(VMX, "kvm_vcpu_trigger_posted_interrupt")
    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The locked operation on ON comes before the read of mode."""
        if cpu.load(vcpu.mode) == IN:
            if not self.is_running_here(cpu, vcpu):
                cpu.send_ipi(PINV, cpu.load(vcpu.cpu))
            return
        self.wake_up(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_get_running_vcpu")
    def is_running_here(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """True in a handler on top of the vCPU's own thread."""
        if self.running_is_moot():
            return False
        return cpu.load(self.world.cpus[cpu.id()].running_vcpu) == (vcpu.name,)

    def running_is_moot(self) -> bool:
        return self.world.abridged(
            not self.world.fact("posts-on-own-cpu"), "who runs here is asked by posts on this pCPU"
        )

    @mirrors(KVM_MAIN, "kvm_vcpu_wake_up")
    def wake_up(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Only of a vCPU that announced that it blocks."""
        if cpu.load(vcpu.blocking):
            cpu.wake(vcpu)

    @mirrors(KVM_HOST_H, "kvm_make_request")
    def request(self, cpu: Cpu, vcpu: Vcpu, bit: int) -> None:
        cpu.fetch_or(vcpu.requests, bit)

    @mirrors(KVM_MAIN, "kvm_vcpu_kick")
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Wake it, or force an exit if it is in the guest."""
        self.wake_up(cpu, vcpu)
        if cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))

    @mirrors(LAPIC_H, "kvm_vcpu_apicv_active")
    def apicv_active(self) -> bool:
        return not self.world.fact("apicv-inhibited")

    @mirrors(LAPIC_H, "kvm_lapic_set_irr")
    def set_irr(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.fetch_or(vcpu.virr[vector // 64], 1 << vector % 64)
        cpu.store(vcpu.irr_pending, 1)

    # Host handlers: the vector itself is all they are for

    @mirrors(IRQ, "sysvec_kvm_posted_intr_ipi")
    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        """Nothing to do in root mode: entry will harvest."""

    @mirrors(SMP, "sysvec_reschedule_ipi")
    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the VM exit it forces matters."""

    # Run loop

    @mirrors(X86, "vcpu_run", "vcpu_enter_guest")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if cpu.load(vcpu.requests) and cpu.swap(vcpu.requests, 0) & EVENT and not self.apicv_active():
            self.inject(cpu, vcpu)
        return Then("vcpu_enter_guest", vcpu)

    @mirrors(X86, "kvm_check_and_inject_events")
    @mirrors(LAPIC, "kvm_get_apic_interrupt", "apic_has_interrupt_for_ppr", "apic_clear_irr")
    def inject(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """With APICv inhibited the next entry carries the interrupt, or waits for IF. What an entry that was called off
        did not deliver goes first.
        """
        if cpu.load(vcpu.injected):
            cpu.store(vcpu.interrupt_window, 1)
            return
        vector = self.highest(cpu, vcpu)
        if vector >> 4 <= max(self.highest_in_service(cpu, vcpu), cpu.load(vcpu.vppr)) >> 4:
            return
        if self.interrupt_blocked(cpu, vcpu):
            cpu.store(vcpu.interrupt_window, 1)
            return
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.irr_pending, 0)
        cpu.fetch_and(vcpu.virr[word], ~(1 << bit))
        if self.find_highest(cpu, vcpu):
            cpu.store(vcpu.irr_pending, 1)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) | 1 << bit)
        cpu.store(vcpu.interrupt_window, 0)
        cpu.store(vcpu.injected, vector)

    @mirrors(X86, "vcpu_enter_guest")
    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        self.ready(cpu, vcpu)
        if cpu.load(vcpu.requests):
            cpu.store(vcpu.mode, OUT)
            cpu.irq_enable()
            cpu.preempt_enable()
            return Then("vcpu_run", vcpu)
        reason = cpu.enter_guest(vcpu)
        if reason[0] == "fastpath_ipi":
            return Then("reenter_guest", vcpu, reason[1])
        return Then("leave_guest", vcpu, *reason)

    @mirrors(X86, "vcpu_enter_guest")
    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Interrupts off, then mode := IN, then the harvest: the order that b95234c84004 is about."""
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        self.sync_pir_to_irr(cpu, vcpu)

    @mirrors(X86, "vcpu_enter_guest", "handle_fastpath_set_x2apic_icr_irqoff")
    def reenter_guest(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """After an IPI to itself: mode stays IN, so the harvest is all that brings it in."""
        self.deliver_interrupt(cpu, vcpu, vector)
        self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))

    @mirrors(X86, "vcpu_enter_guest")
    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.store(vcpu.mode, OUT)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)

    @mirrors(VMX, "vmx_handle_exit")
    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        match reason[0]:
            case "hlt":
                return Then("vcpu_halt", vcpu)
            case "save_restore" | "reset":
                return Then(reason[0], vcpu, *reason[1:])
            case "pause":
                return Then("directed_yield", vcpu)
            case "apic_eoi":
                self.end_of_interrupt(cpu, vcpu)
            case "interrupt_window" | "tpr_below_threshold":
                self.request(cpu, vcpu, EVENT)
            case _:
                pass
        return Then("vcpu_run", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_on_spin")
    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Which other vCPU could use the pCPU? Its descriptor may be read, never harvested."""
        for other in self.world.vcpus.values():
            if other is not vcpu:
                self.has_pending(cpu, other)
        return Then("vcpu_run", vcpu)

    @mirrors(POSTED_INTR, "pi_has_pending_interrupt")
    def has_pending(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Under SN a post leaves ON alone."""
        return bool(cpu.load(vcpu.pid.on) or (cpu.load(vcpu.pid.sn) and self.any_posted(cpu, vcpu)))

    @mirrors(LAPIC, "apic_set_eoi")
    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Emulated, with APICv inhibited."""
        vector = self.highest_in_service(cpu, vcpu)
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) & ~(1 << bit))
        self.request(cpu, vcpu, EVENT)

    @mirrors(LAPIC, "apic_find_highest_isr")
    def highest_in_service(self, cpu: Cpu, vcpu: Vcpu) -> int:
        in_service = sum(cpu.load(vcpu.visr[w]) << 64 * w for w in self.world.words)
        return max(in_service.bit_length() - 1, 0)

    # Harvest

    @mirrors(VMX, "vmx_sync_pir_to_irr")
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """Answers the highest vector pending in vIRR, or 0."""
        return self.publish(cpu, vcpu, self.take(cpu, vcpu))

    @mirrors(VMX, "vmx_sync_pir_to_irr")
    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """ON is cleared before PIR is read; answers whether anything moved."""
        if not cpu.load(vcpu.pid.on):
            return False
        cpu.test_and_clear(vcpu.pid.on)
        cpu.fence()
        return self.harvest(cpu, vcpu)

    @mirrors(VMX, "vmx_sync_pir_to_irr", "vmx_set_rvi")
    def publish(self, cpu: Cpu, vcpu: Vcpu, arrived: bool) -> int:
        """RVI, or with APICv inhibited an event request for what arrived."""
        highest = self.highest(cpu, vcpu)
        if self.apicv_active():
            cpu.store(vcpu.rvi, highest)
        elif arrived:
            self.request(cpu, vcpu, EVENT)
        return highest

    @mirrors(LAPIC, "__kvm_apic_update_irr")
    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            if cpu.load(vcpu.pid.pir[word]):
                bits = cpu.swap(vcpu.pid.pir[word], 0)
                self.merge(cpu, vcpu, word, bits)
                arrived = True
        return arrived

    @mirrors(LAPIC, "__kvm_apic_update_irr")
    def merge(self, cpu: Cpu, vcpu: Vcpu, word: int, bits: int) -> None:
        """With APICv inhibited, senders set vIRR directly."""
        cpu.fetch_or(vcpu.virr[word], bits)
        self.note_pending(cpu, vcpu)

    @mirrors(LAPIC, "kvm_apic_update_irr")
    def note_pending(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.apicv_active():
            cpu.store(vcpu.irr_pending, 1)

    @mirrors(LAPIC, "apic_find_highest_irr")
    def highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """With APICv inhibited, irr_pending says whether a search is worth it; else it is always true, and not kept here."""
        if not self.apicv_active() and not cpu.load(vcpu.irr_pending):
            return 0
        return self.find_highest(cpu, vcpu)

    @mirrors(LAPIC, "apic_search_irr")
    def find_highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        for word in reversed(self.world.words):
            bits = cpu.load(vcpu.virr[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0

    # Block

    @mirrors(X86, "vcpu_block")
    @mirrors(KVM_MAIN, "kvm_vcpu_halt")
    def vcpu_halt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Halt-polling looks for a wake event for a while before it blocks; the descriptor is not touched for it."""
        if self.world.fact("halt-polling") and cpu.choose("poll", "block") == "poll" and self.check_block(cpu, vcpu):
            return Then("unblocked", vcpu)
        return Then("vcpu_block", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.store(vcpu.blocking, 1)
        return Then("block_once", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def block_once(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """One round: announce, look for a wake event, sleep."""
        cpu.prepare_to_block()
        cpu.fence()
        if self.check_block(cpu, vcpu):
            cpu.finish_block()
            cpu.store(vcpu.blocking, 0)
            return Then("unblocked", vcpu)
        cpu.schedule()
        return Then("block_once", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_check_block")
    def check_block(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Whether there is a request, or an interrupt that the guest would take."""
        return bool(cpu.load(vcpu.requests) & UNBLOCK) or self.has_interrupt(cpu, vcpu)

    @mirrors(X86, "vcpu_block", "vcpu_run")
    def unblocked(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Still halted if a request was all there was; then it blocks again."""
        if (
            cpu.load(vcpu.requests) & UNBLOCK
            and cpu.fetch_and(vcpu.requests, ~UNBLOCK)
            and not self.has_interrupt(cpu, vcpu)
        ):
            return Then("vcpu_halt", vcpu)
        return Then("vcpu_run", vcpu)

    @mirrors(X86, "kvm_vcpu_has_events")
    @mirrors(LAPIC, "kvm_apic_has_interrupt")
    def has_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        highest = self.sync_pir_to_irr(cpu, vcpu)
        return highest >> 4 > cpu.load(vcpu.vppr) >> 4 and not self.interrupt_blocked(cpu, vcpu)

    @mirrors(VMX, "vmx_interrupt_blocked")
    def interrupt_blocked(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return not cpu.load(vcpu.rflags_if)

    # Residency

    @mirrors(KVM_MAIN, "kvm_sched_in")
    @mirrors(X86, "kvm_arch_vcpu_load")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        self.set_running(cpu, where, (vcpu.name,))
        self.pi_load(cpu, vcpu, where)
        cpu.store(vcpu.cpu, where)

    @mirrors(KVM_MAIN, "kvm_sched_in", "kvm_sched_out")
    def set_running(self, cpu: Cpu, where: int, who: tuple[str, ...]) -> None:
        """The per-CPU variable kvm_running_vcpu."""
        if not self.running_is_moot():
            cpu.store(self.world.cpus[where].running_vcpu, who)

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_load")
    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        before = cpu.load(vcpu.cpu)
        if cpu.load(vcpu.pid.nv) != WAKEUP and before == where:
            if cpu.test_and_clear(vcpu.pid.sn):
                self.announce_left_over(cpu, vcpu)
            return
        flag = cpu.irq_disable()
        if cpu.load(vcpu.pid.nv) == WAKEUP:
            self.leave_wakeup_list(cpu, vcpu, before)
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        cpu.irq_restore(flag)
        self.announce_left_over(cpu, vcpu)

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_load")
    def announce_left_over(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """What was posted under SN set no ON: set it, so that the next harvest looks."""
        cpu.fence()
        if self.any_posted(cpu, vcpu):
            cpu.test_and_set(vcpu.pid.on)

    @mirrors(POSTED_INTR_H, "pi_is_pir_empty")
    def any_posted(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return any(cpu.load(vcpu.pid.pir[word]) for word in self.world.words)

    @mirrors(KVM_MAIN, "kvm_sched_out")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if self.needs_wakeup(cpu):
            self.pi_put(cpu, vcpu, preempted)
        self.set_running(cpu, cpu.id(), ())

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_put")
    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if cpu.load(vcpu.blocking) and not self.interrupt_blocked(cpu, vcpu):
            self.enable_wakeup_handler(cpu, vcpu)
        if preempted:
            cpu.test_and_set(vcpu.pid.sn)

    @mirrors(POSTED_INTR, "vmx_needs_pi_wakeup")
    def needs_wakeup(self, cpu: Cpu) -> bool:
        """Always, as where IPI virtualization is in use. See the alternative kvm-vtd-only."""
        return True

    @mirrors(POSTED_INTR, "pi_enable_wakeup_handler")
    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """An outstanding notification went to PINV, so a self-IPI stands in for it."""
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        if self.update_control(cpu, vcpu, nv=WAKEUP) & 1:
            cpu.send_ipi_self(WAKEUP)
        cpu.irq_restore(flag)

    @mirrors(POSTED_INTR, "pi_try_set_control")
    def update_control(self, cpu: Cpu, vcpu: Vcpu, **fields: int) -> int:
        """Compare-exchange of the whole control word until it holds; answers the value published."""
        pid = vcpu.pid
        old = cpu.load(pid.control)
        while True:
            new = old
            for name, value in fields.items():
                field = getattr(pid, name)
                new = new & ~field.mask | value << field.shift
            was = cpu.cmpxchg(pid.control, old, new)
            if was == old:
                return new
            old = was

    @mirrors(POSTED_INTR, "pi_enable_wakeup_handler")
    def join_wakeup_list(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        cpu.lock(here.wakeup_lock)
        listed = cpu.load(here.wakeup_list)
        if vcpu.name in listed:  # CONFIG_DEBUG_LIST
            cpu.fails(f"{vcpu.name} is not on the list yet")
        cpu.store(here.wakeup_list, (*listed, vcpu.name))
        cpu.unlock(here.wakeup_lock)

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_load")
    def leave_wakeup_list(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        there = self.world.cpus[where]
        cpu.lock(there.wakeup_lock)
        cpu.store(there.wakeup_list, tuple(n for n in cpu.load(there.wakeup_list) if n != vcpu.name))
        cpu.unlock(there.wakeup_lock)

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_load")
    def destination(self, where: int) -> int:
        """NDST of a pCPU: its x2APIC id, or its xAPIC id in bits 15:8."""
        return where << 8 & 0xFF00 if self.world.fact("xapic") else where

    @mirrors(POSTED_INTR, "pi_wakeup_handler")
    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        """Wake every vCPU on this pCPU's list whose ON is set."""
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.load(vcpu.pid.on):
                self.wake_up(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)

    # State transfer

    @mirrors(X86, "kvm_vcpu_ioctl_get_lapic", "kvm_vcpu_ioctl_set_lapic")
    def save_restore(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """An ioctl ends with the release of vcpu->mutex, a locked operation: who posts from then on finds what was restored."""
        self.deliver_interrupt(cpu, vcpu, vector)
        self.restore(cpu, vcpu, self.save(cpu, vcpu))
        cpu.fence()
        return Then("vcpu_run", vcpu)

    @mirrors(X86, "kvm_vcpu_ioctl_get_lapic")
    @mirrors(LAPIC, "kvm_apic_get_state")
    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        """KVM_GET_LAPIC. Harvest first, for what is still in PIR belongs to the image."""
        self.sync_pir_to_irr(cpu, vcpu)
        return tuple(cpu.load(vcpu.virr[word]) for word in self.world.words)

    @mirrors(X86, "kvm_vcpu_ioctl_set_lapic")
    @mirrors(LAPIC, "kvm_apic_set_state")
    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...], timer: int | None = None) -> None:
        """KVM_SET_LAPIC. Purge the descriptor, then load the image; an expired timer posts while loading."""
        self.purge(cpu, vcpu)
        for word, bits in zip(self.world.words, image, strict=True):
            cpu.store(vcpu.virr[word], bits)
        if timer is not None:
            self.deliver_interrupt(cpu, vcpu, timer)

    @mirrors(VMX, "vmx_apicv_pre_state_restore")
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.test_and_clear(vcpu.pid.on)
        for word in self.world.words:
            cpu.swap(vcpu.pid.pir[word], 0)

    @mirrors(X86, "kvm_vcpu_ioctl_set_lapic")
    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, old)
        self.restore(cpu, vcpu, (0,) * len(self.world.words), timer or None)
        cpu.fence()
        return Then("vcpu_run", vcpu)

    @mirrors(X86, "kvm_arch_start_assignment")
    @mirrors(POSTED_INTR, "vmx_pi_start_assignment")
    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """A vCPU that blocks already has left NV alone: force it round once."""
        cpu.store(self.world.vm.assigned, 1)
        self.request(cpu, vcpu, UNBLOCK)
        self.kick(cpu, vcpu)

    @mirrors(X86, "kvm_arch_end_assignment")
    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, 0)

    @mirrors(X86, "kvm_set_or_clear_apicv_inhibit")
    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Load and put must not go by it, or they may disagree."""
        cpu.store(self.world.vm.inhibited, 1)
