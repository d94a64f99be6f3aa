"""KVM's software as of Linux 6.1: post, harvest, enter, block, load and put.

Mirrors arch/x86/kvm/vmx/posted_intr.c, vmx.c, lapic.c, x86.c and virt/kvm/kvm_main.c after commits b95234c84004 (2016:
interrupts off before mode:=IN, harvest after it) and d76fb40637fc (2021: descriptor handled in load and put). Each
routine names its function.

    sender                          vCPU thread                           pCPU
    PIR[v]:=1, ON:=1                interrupts off, mode:=IN, fence
    read mode ── IN ── PINV ──────────────────────────────────────────>   latched, or posted-interrupt processing
              └─ else: wake         ON? ON:=0, harvest PIR, RVI:=..., enter
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.x86 import KICK, PINV, WAKEUP, Cpu, Residency, RunLoop, Sender, Shared, StateTransfer, Then, Vcpu

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

    # Sender: vmx.c, vmx_deliver_interrupt() and vmx_deliver_posted_interrupt()

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if not self.apicv_active():
            self.set_irr(cpu, vcpu, vector)
            self.request(cpu, vcpu, EVENT)
            self.kick(cpu, vcpu)
            return
        if self.post_vector(cpu, vcpu, vector):
            self.trigger(cpu, vcpu)

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        """Set PIR[vector], then ON. Answers whether this sender owes the notification."""
        if cpu.test_and_set(vcpu.pid.bit(vector)):
            return False
        return not cpu.test_and_set(vcpu.pid.on)

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_vcpu_trigger_posted_interrupt(): the locked operation on ON orders it before the read of mode."""
        if cpu.load(vcpu.mode) == IN:
            if not self.is_running_here(cpu, vcpu):
                cpu.send_ipi(PINV, cpu.load(vcpu.cpu))
            return
        self.wake_up(cpu, vcpu)

    def is_running_here(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """vcpu == kvm_get_running_vcpu(): true in a handler on top of the vCPU's own thread."""
        if not self.world.posts_on_own_cpu():
            return False
        return cpu.load(self.world.cpus[cpu.id()].running_vcpu) == (vcpu.name,)

    def wake_up(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_vcpu_wake_up(): rcuwait_wake_up() of a vCPU that announced it blocks."""
        if cpu.load(vcpu.blocking):
            cpu.wake(vcpu)

    def request(self, cpu: Cpu, vcpu: Vcpu, bit: int) -> None:
        """kvm_make_request()."""
        cpu.fetch_or(vcpu.requests, bit)

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_vcpu_kick(): wake it, or force an exit if it is in the guest."""
        self.wake_up(cpu, vcpu)
        if cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))

    def apicv_active(self) -> bool:
        return not self.world.fact("apicv-inhibited")

    def set_irr(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        """kvm_lapic_set_irr()."""
        cpu.fetch_or(vcpu.virr[vector // 64], 1 << vector % 64)
        cpu.store(vcpu.irr_pending, 1)

    # Host handlers: the vector itself is all they are for

    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        """kvm_posted_intr_ipi: nothing to do in root mode; entry will harvest."""

    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the VM exit it forces matters."""

    # Run loop: x86.c, vcpu_run() and vcpu_enter_guest()

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if cpu.load(vcpu.requests) and cpu.swap(vcpu.requests, 0) & EVENT and not self.apicv_active():
            self.inject(cpu, vcpu)
        return Then("vcpu_enter_guest", vcpu)

    def inject(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """inject_pending_event(): with APICv inhibited the next entry carries the interrupt, or waits for IF. What an
        aborted entry did not deliver goes first.
        """
        if cpu.load(vcpu.injected):
            cpu.store(vcpu.interrupt_window, 1)
            return
        vector = self.highest(cpu, vcpu)
        if vector >> 4 <= self.highest_in_service(cpu, vcpu) >> 4:
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

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Interrupts off, then mode := IN, then the harvest: the order that b95234c84004 is about."""
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        self.sync_pir_to_irr(cpu, vcpu)

    def reenter_guest(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """EXIT_FASTPATH_REENTER_GUEST after an IPI to itself: mode stays IN, so the harvest is all that brings it in."""
        self.deliver_interrupt(cpu, vcpu, vector)
        self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.store(vcpu.mode, OUT)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        match reason[0]:
            case "hlt":
                return Then("vcpu_halt", vcpu)
            case "save_restore" | "reset":
                return Then(reason[0], vcpu, *reason[1:])
            case "pause":
                self.directed_yield(cpu, vcpu)
            case "apic_eoi":
                self.end_of_interrupt(cpu, vcpu)
            case "interrupt_window":
                self.request(cpu, vcpu, EVENT)
            case _:
                pass
        return Then("vcpu_run", vcpu)

    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_vcpu_on_spin(): ask which other vCPU could use the pCPU. Its descriptor may be read, never harvested."""
        for other in self.world.vcpus.values():
            if other is not vcpu:
                self.has_pending(cpu, other)

    def has_pending(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """posted_intr.c, pi_has_pending_interrupt(): under SN a post leaves ON alone."""
        return bool(cpu.load(vcpu.pid.on) or (cpu.load(vcpu.pid.sn) and self.any_posted(cpu, vcpu)))

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """apic_set_eoi(): emulated, with APICv inhibited."""
        vector = self.highest_in_service(cpu, vcpu)
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) & ~(1 << bit))
        self.request(cpu, vcpu, EVENT)

    def highest_in_service(self, cpu: Cpu, vcpu: Vcpu) -> int:
        in_service = sum(cpu.load(vcpu.visr[w]) << 64 * w for w in self.world.words)
        return max(in_service.bit_length() - 1, 0)

    # Harvest: vmx.c, vmx_sync_pir_to_irr(); lapic.c, __kvm_apic_update_irr()

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """Answers the highest vector pending in vIRR, or 0."""
        return self.publish(cpu, vcpu, self.take(cpu, vcpu))

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """ON is cleared before PIR is read; answers whether anything moved."""
        if not cpu.load(vcpu.pid.on):
            return False
        cpu.test_and_clear(vcpu.pid.on)
        cpu.fence()
        return self.harvest(cpu, vcpu)

    def publish(self, cpu: Cpu, vcpu: Vcpu, arrived: bool) -> int:
        """RVI, or with APICv inhibited an event request for what arrived."""
        highest = self.highest(cpu, vcpu)
        if self.apicv_active():
            cpu.store(vcpu.rvi, highest)
        elif arrived:
            self.request(cpu, vcpu, EVENT)
        return highest

    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            if cpu.load(vcpu.pid.pir[word]):
                bits = cpu.swap(vcpu.pid.pir[word], 0)
                self.merge(cpu, vcpu, word, bits)
                arrived = True
        return arrived

    def merge(self, cpu: Cpu, vcpu: Vcpu, word: int, bits: int) -> None:
        """A locked or: with APICv inhibited, senders set vIRR directly (cff540ebef38 and 514946d14363, after 6.1)."""
        cpu.fetch_or(vcpu.virr[word], bits)
        self.note_pending(cpu, vcpu)

    def note_pending(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.apicv_active():
            cpu.store(vcpu.irr_pending, 1)

    def highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """apic_find_highest_irr(): with APICv inhibited, irr_pending says whether a search is worth it."""
        if not self.apicv_active() and not cpu.load(vcpu.irr_pending):
            return 0
        return self.find_highest(cpu, vcpu)

    def find_highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        for word in reversed(self.world.words):
            bits = cpu.load(vcpu.virr[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0

    # Block: kvm_main.c, kvm_vcpu_halt(), kvm_vcpu_block()

    def vcpu_halt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Halt-polling looks for a wake event for a while before it blocks; the descriptor is not touched for it."""
        if self.world.fact("halt-polling") and cpu.choose("poll", "block") == "poll" and self.check_block(cpu, vcpu):
            return Then("vcpu_run", vcpu)
        return Then("vcpu_block", vcpu)

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.store(vcpu.blocking, 1)
        return Then("block_once", vcpu)

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

    def check_block(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """kvm_vcpu_check_block(): a request, or an interrupt the guest would take."""
        return bool(cpu.load(vcpu.requests) & UNBLOCK) or self.has_interrupt(cpu, vcpu)

    def unblocked(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """vcpu_block(): still halted if a request was all there was; then it blocks again."""
        if (
            cpu.load(vcpu.requests) & UNBLOCK
            and cpu.fetch_and(vcpu.requests, ~UNBLOCK)
            and not self.has_interrupt(cpu, vcpu)
        ):
            return Then("vcpu_halt", vcpu)
        return Then("vcpu_run", vcpu)

    def has_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        highest = self.sync_pir_to_irr(cpu, vcpu)
        return highest >> 4 > cpu.load(vcpu.vppr) >> 4 and not self.interrupt_blocked(cpu, vcpu)

    def interrupt_blocked(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """vmx_interrupt_blocked()."""
        return not cpu.load(vcpu.rflags_if)

    # Residency: posted_intr.c, vmx_vcpu_pi_load(), vmx_vcpu_pi_put(); kvm_main.c, kvm_sched_in()

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        self.set_running(cpu, where, (vcpu.name,))
        self.pi_load(cpu, vcpu, where)
        cpu.store(vcpu.cpu, where)

    def set_running(self, cpu: Cpu, where: int, who: tuple[str, ...]) -> None:
        """kvm_running_vcpu: read only by what posts from a handler on this pCPU."""
        if self.world.posts_on_own_cpu():
            cpu.store(self.world.cpus[where].running_vcpu, who)

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

    def announce_left_over(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """What was posted under SN set no ON: set it, so that the next harvest looks."""
        cpu.fence()
        if self.any_posted(cpu, vcpu):
            cpu.test_and_set(vcpu.pid.on)

    def any_posted(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return any(cpu.load(vcpu.pid.pir[word]) for word in self.world.words)

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if self.needs_wakeup(cpu):
            self.pi_put(cpu, vcpu, preempted)
        self.set_running(cpu, cpu.id(), ())

    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if cpu.load(vcpu.blocking) and not self.interrupt_blocked(cpu, vcpu):
            self.enable_wakeup_handler(cpu, vcpu)
        if preempted:
            cpu.test_and_set(vcpu.pid.sn)

    def needs_wakeup(self, cpu: Cpu) -> bool:
        """vmx_needs_pi_wakeup(): always, as where IPI virtualization is in use. See the alternative kvm-vtd-only."""
        return True

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """pi_enable_wakeup_handler(): an outstanding notification went to PINV, so a self-IPI stands in for it."""
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        if self.update_control(cpu, vcpu, nv=WAKEUP) & 1:
            cpu.send_ipi_self(WAKEUP)
        cpu.irq_restore(flag)

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

    def join_wakeup_list(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        cpu.lock(here.wakeup_lock)
        cpu.store(here.wakeup_list, (*cpu.load(here.wakeup_list), vcpu.name))
        cpu.unlock(here.wakeup_lock)

    def leave_wakeup_list(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        there = self.world.cpus[where]
        cpu.lock(there.wakeup_lock)
        cpu.store(there.wakeup_list, tuple(n for n in cpu.load(there.wakeup_list) if n != vcpu.name))
        cpu.unlock(there.wakeup_lock)

    def destination(self, where: int) -> int:
        """NDST of a pCPU: its x2APIC id, or its xAPIC id in bits 15:8."""
        return where << 8 & 0xFF00 if self.world.fact("xapic") else where

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        """pi_wakeup_handler(): wake every vCPU on this pCPU's list whose ON is set."""
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.load(vcpu.pid.on):
                self.wake_up(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)

    # State transfer: lapic.c, kvm_apic_get_state(), kvm_apic_set_state(); posted_intr.c, vmx_pi_start_assignment()

    def save_restore(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        self.restore(cpu, vcpu, self.save(cpu, vcpu))
        return Then("vcpu_run", vcpu)

    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        """KVM_GET_LAPIC: harvest first, for what is still in PIR belongs to the image."""
        self.sync_pir_to_irr(cpu, vcpu)
        return tuple(cpu.load(vcpu.virr[word]) for word in self.world.words)

    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...], timer: int | None = None) -> None:
        """KVM_SET_LAPIC: purge the descriptor, then load the image; an expired timer posts while loading."""
        self.purge(cpu, vcpu)
        for word, bits in zip(self.world.words, image, strict=True):
            cpu.store(vcpu.virr[word], bits)
        if timer is not None:
            self.deliver_interrupt(cpu, vcpu, timer)

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.test_and_clear(vcpu.pid.on)
        for word in self.world.words:
            cpu.swap(vcpu.pid.pir[word], 0)

    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, old)
        self.restore(cpu, vcpu, (0,) * len(self.world.words), timer)
        return Then("vcpu_run", vcpu)

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """A vCPU that blocks already has left NV alone: force it round once."""
        cpu.store(self.world.vm.assigned, 1)
        self.request(cpu, vcpu, UNBLOCK)
        self.kick(cpu, vcpu)

    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, 0)

    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_set_apicv_inhibit(): load and put must not follow it, or they may disagree (53b7ca1a3593)."""
        cpu.store(self.world.vm.inhibited, 1)
