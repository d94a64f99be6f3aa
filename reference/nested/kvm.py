"""KVM's nested posted interrupts, as of Linux 6.1 and what was mended since: L0 for a vCPU that runs L1 and L2.

What concerns L1 alone is `reference.x86.kvm`, asked through `l1`. What L1 posts to L2 lies in L1's memory; L0 only learns of
L1's notification, PINV12.

    sender                              vCPU's thread                         pCPU
    L2 active, vector is PINV12?        entry: interrupts off, mode:=IN
    pi_pending:=1, request EVENT        harvest PIR (L1's), look at requests
    read mode ── IN ── NPINV ──────────────────────────────────────────────>  processed on vmcs02, or an exit
              └─ else: wake             request: exit to L1, or pi_pending and ON12: PIR12 ──> vIRR12, RVI12
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.location import Shared
from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.nested import (
    NPINV,
    PINV12,
    POSTING,
    VMCS01,
    VMCS02,
    Cpu,
    NestedResidency,
    NestedRunLoop,
    NestedSender,
    Then,
    Vcpu,
)
from conformance.roles.x86 import KICK, PINV, WAKEUP
from reference.nested.mode import IN, Requests
from reference.x86.kvm import EVENT, IRQ, KVM_MAIN, LAPIC, LINUX, POSTED_INTR, SMP, VMX, X86, Kvm

NESTED = Original(LINUX, "arch/x86/kvm/vmx/nested.c")
CACHE_REGS = Original(LINUX, "arch/x86/kvm/kvm_cache_regs.h")

DIFFERENCES = (
    Difference(
        "check_nested_events",
        "PINV12, if it is L1's highest interrupt, makes L2 exit to L1",
        "it is a notification of L2, as after 6e0b456547f4; then L1's next interrupt is looked at",
        "mended after 6.1: known-bad:B34",
    ),
    Difference(
        "nested_run",
        "posted_intr_nv keeps what another vmcs12 had left, if this one has no posted interrupts",
        "it is made invalid, as after 1ed0f119c5ff",
        "mended after 6.1: known-bad:B35",
    ),
    Difference(
        "inject_events",
        "nothing may make L2 exit before it has been entered once (nested_run_pending)",
        "an interrupt of L1's may",
        "L1 cannot tell it from an interrupt that came after one instruction of L2",
    ),
    Difference(
        "nested_exit",
        "vmcs12 says what L2 had, and L1 saves and restores what it likes",
        "L2's state stays where it is until L1 enters L2 again",
        "L1 has one L2, or two that share no state that is looked at",
    ),
)


class NestedKvm(Requests, NestedSender, NestedRunLoop, NestedResidency):
    """Linux with APICv for L1 and, where L1's vmcs12 asks for it, posted interrupts for L2."""

    profile: ClassVar[str] = "kvm"
    software: ClassVar[type[Kvm]] = Kvm
    """What does for L1 alone."""
    vcpu_state: ClassVar = {
        **Kvm.vcpu_state,
        "guest_mode": Shared(0),
        "posted_intr_nv": Shared(0),
        "pi_pending": Shared(0),
        "svi_is_stale": Shared(0, private_to="*"),
    }
    cpu_state: ClassVar = Kvm.cpu_state
    handlers: ClassVar = {
        PINV: "posted_intr_ipi",
        NPINV: "posted_intr_nested_ipi",
        WAKEUP: "wakeup_handler",
        KICK: "reschedule_ipi",
        **Requests.handlers,
    }

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.l1 = self.software(world)

    # Sender

    @mirrors(VMX, "vmx_deliver_posted_interrupt", "vmx_deliver_interrupt")
    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if not self.deliver_nested(cpu, vcpu, vector) and self.l1.post_vector(cpu, vcpu, vector):
            self.trigger(cpu, vcpu, PINV)

    @mirrors(VMX, "vmx_deliver_nested_posted_interrupt")
    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        """PINV12, where L2 is active: nothing is posted, L1 has done that. Answers whether it was that."""
        if not (cpu.load(vcpu.guest_mode) and vector == cpu.load(vcpu.posted_intr_nv)):
            return False
        self.note_pending(cpu, vcpu)
        cpu.fence()
        self.trigger(cpu, vcpu, NPINV)
        return True

    @mirrors(VMX, "vmx_deliver_nested_posted_interrupt")
    def note_pending(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """If the processor does not take the notification, the next entry will."""
        cpu.store(vcpu.pi_pending, 1)
        self.l1.request(cpu, vcpu, EVENT)

    @mirrors(VMX, "kvm_vcpu_trigger_posted_interrupt")
    def trigger(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if self.mode(cpu, vcpu) == IN:
            cpu.send_ipi(vector, cpu.load(vcpu.cpu))
        else:
            self.l1.wake_up(cpu, vcpu)

    # Host handlers: the vector itself is all they are for

    @mirrors(IRQ, "sysvec_kvm_posted_intr_ipi")
    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        """Nothing to do in root mode."""

    @mirrors(IRQ, "sysvec_kvm_posted_intr_nested_ipi")
    def posted_intr_nested_ipi(self, cpu: Cpu, where: int) -> None:
        """It cannot know whom it was meant for."""

    @mirrors(SMP, "sysvec_reschedule_ipi")
    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the VM exit it forces matters."""

    # Run loop

    @mirrors(X86, "vcpu_run", "vcpu_enter_guest")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if cpu.load(vcpu.requests) and cpu.swap(vcpu.requests, 0) & EVENT:
            self.inject_events(cpu, vcpu)
        return Then("vcpu_enter_guest", vcpu)

    @mirrors(CACHE_REGS, "is_guest_mode")
    def in_l2(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Asked by the vCPU's own thread, which alone changes it."""
        return cpu.load(vcpu.vmcs) == VMCS02

    @mirrors(X86, "kvm_check_and_inject_events")
    def inject_events(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """L1's own are delivered by the processor, while L1 runs."""
        if self.in_l2(cpu, vcpu):
            self.check_nested_events(cpu, vcpu)

    @mirrors(X86, "vcpu_enter_guest")
    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.irq_disable()
        self.enter_mode(cpu, vcpu)
        self.sync_pir_to_irr(cpu, vcpu)
        if cpu.load(vcpu.requests):
            self.leave_mode(cpu, vcpu)
            cpu.irq_enable()
            cpu.preempt_enable()
            return Then("vcpu_run", vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))

    @mirrors(VMX, "vmx_sync_pir_to_irr")
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """Of L1. While L2 is active RVI is L2's, so what arrived is an event. Answers L1's highest pending vector, or 0."""
        arrived = self.l1.take(cpu, vcpu)
        if self.in_l2(cpu, vcpu):
            if arrived:
                self.announce(cpu, vcpu)
            return self.l1.find_highest(cpu, vcpu)
        return self.l1.publish(cpu, vcpu, arrived)

    @mirrors(VMX, "vmx_sync_pir_to_irr")
    def announce(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.l1.request(cpu, vcpu, EVENT)

    @mirrors(X86, "vcpu_enter_guest")
    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        self.leave_mode(cpu, vcpu)
        cpu.irq_enable()
        cpu.preempt_enable()
        match reason:
            case ("vmlaunch", int(vmcs12)):
                return Then("nested_run", vcpu, vmcs12)
            case ("vmresume",):
                return Then("nested_run", vcpu, cpu.load(vcpu.l2.vmcs12))
            case ("io",):
                self.nested_exit(cpu, vcpu)
            case ("apic_eoi",):
                self.end_of_interrupt(cpu, vcpu)
            case ("touch",):
                return Then("walk", vcpu)
            case ("hlt",):
                return Then("vcpu_block", vcpu)
            case _:
                pass
        return Then("vcpu_run", vcpu)

    @mirrors(LAPIC, "apic_set_eoi", "apic_clear_isr")
    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """By L2, which owns L1's local APIC. SVI is in vmcs01, and vmcs02 is loaded."""
        vector = self.l1.highest_in_service(cpu, vcpu)
        word, bit = divmod(vector, 64)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) & ~(1 << bit))
        self.update_svi(cpu, vcpu)
        self.l1.request(cpu, vcpu, EVENT)

    @mirrors(VMX, "vmx_hwapic_isr_update")
    def update_svi(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if self.in_l2(cpu, vcpu):
            cpu.store(vcpu.svi_is_stale, 1)
        else:
            cpu.store(vcpu.svi, self.l1.highest_in_service(cpu, vcpu))

    # Between L1 and L2

    @mirrors(NESTED, "nested_vmx_run", "nested_vmx_enter_non_root_mode", "prepare_vmcs02_early")
    def nested_run(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> Any:
        cpu.store(vcpu.pi_pending, 0)
        self.take_notification_vector(cpu, vcpu, vmcs12)
        cpu.store(vcpu.vmcs, VMCS02)
        self.set_controls(cpu, vcpu, vmcs12)
        cpu.store(vcpu.guest_mode, 1)
        highest = self.interrupt_for_l1(cpu, vcpu)
        if highest and not (vmcs12 == POSTING and highest == PINV12):
            self.l1.request(cpu, vcpu, EVENT)
        elif highest:
            self.morph(cpu, vcpu)
        return Then("vcpu_run", vcpu)

    @mirrors(NESTED, "prepare_vmcs02_early")
    def set_controls(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> None:
        """Posted-interrupt processing is on in vmcs02 if it is in vmcs12."""
        cpu.store(vcpu.l2.posting, int(vmcs12 == POSTING))

    @mirrors(NESTED, "prepare_vmcs02_early")
    def take_notification_vector(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> None:
        cpu.store(vcpu.posted_intr_nv, PINV12 if vmcs12 == POSTING else 0)

    @mirrors(NESTED, "nested_vmx_run")
    def morph(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """PINV12 waits in L1's vIRR at the entry to L2: a notification of L2."""
        self.note_pending(cpu, vcpu)
        self.clear_irr(cpu, vcpu, PINV12)

    @mirrors(LAPIC, "apic_clear_irr")
    def clear_irr(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        word, bit = divmod(vector, 64)
        cpu.fetch_and(vcpu.virr[word], ~(1 << bit))

    @mirrors(LAPIC, "kvm_apic_has_interrupt", "apic_has_interrupt_for_ppr")
    def interrupt_for_l1(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """L1's highest pending vector if its priority admits it, or 0. Its IF does not matter while L2 is active."""
        highest = self.sync_pir_to_irr(cpu, vcpu)
        priority = max(self.l1.highest_in_service(cpu, vcpu), cpu.load(vcpu.vtpr))
        return highest if highest >> 4 > priority >> 4 else 0

    @mirrors(NESTED, "vmx_check_nested_events")
    def check_nested_events(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """An interrupt for L1 makes L2 exit, unless it is L2's notification."""
        while vector := self.interrupt_for_l1(cpu, vcpu):
            if not self.is_notification(cpu, vcpu, vector):
                self.nested_exit(cpu, vcpu, vector)
                return
            cpu.store(vcpu.pi_pending, 1)
            self.clear_irr(cpu, vcpu, vector)
        self.complete(cpu, vcpu)

    @mirrors(NESTED, "vmx_check_nested_events")
    def is_notification(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        return vector == cpu.load(vcpu.posted_intr_nv)

    @mirrors(NESTED, "vmx_complete_nested_posted_interrupt")
    def complete(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """What the processor would have done with the notification."""
        if not cpu.load(vcpu.pi_pending):
            return
        cpu.store(vcpu.pi_pending, 0)
        if cpu.test_and_clear(vcpu.l2.pid.on):
            self.l1.harvest(cpu, vcpu.l2)
            self.raise_rvi(cpu, vcpu)

    @mirrors(NESTED, "vmx_complete_nested_posted_interrupt")
    def raise_rvi(self, cpu: Cpu, vcpu: Vcpu) -> None:
        highest = self.l1.find_highest(cpu, vcpu.l2)
        if highest > cpu.load(vcpu.l2.rvi):
            cpu.store(vcpu.l2.rvi, highest)

    @mirrors(NESTED, "nested_vmx_vmexit")
    @mirrors(LAPIC, "kvm_get_apic_interrupt")
    def nested_exit(self, cpu: Cpu, vcpu: Vcpu, vector: int = 0) -> None:
        """L2 exits to L1; a vector was acknowledged, and L1 handles it."""
        cpu.store(vcpu.guest_mode, 0)
        cpu.store(vcpu.vmcs, VMCS01)
        if cpu.load(vcpu.svi_is_stale):
            cpu.store(vcpu.svi_is_stale, 0)
            self.update_svi(cpu, vcpu)
        if not vector:
            return
        word, bit = divmod(vector, 64)
        self.clear_irr(cpu, vcpu, vector)
        cpu.store(vcpu.visr[word], cpu.load(vcpu.visr[word]) | 1 << bit)
        self.update_svi(cpu, vcpu)
        cpu.store(vcpu.injected, vector)
        cpu.store(vcpu.interrupted, 1)

    # Block

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return self.l1.vcpu_block(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def block_once(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.prepare_to_block()
        cpu.fence()
        if self.has_events(cpu, vcpu):
            cpu.finish_block()
            cpu.store(vcpu.blocking, 0)
            return Then("unblocked", vcpu)
        cpu.schedule()
        return Then("block_once", vcpu)

    @mirrors(X86, "vcpu_block")
    def unblocked(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        self.inject_events(cpu, vcpu)
        return Then("vcpu_run", vcpu)

    @mirrors(X86, "kvm_vcpu_has_events")
    def has_events(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """L1's interrupts, and while L2 is active those that L2 would take."""
        if self.in_l2(cpu, vcpu):
            return bool(self.interrupt_for_l1(cpu, vcpu)) or self.has_nested_events(cpu, vcpu)
        return bool(self.interrupt_for_l1(cpu, vcpu)) and bool(cpu.load(vcpu.rflags_if))

    @mirrors(NESTED, "vmx_has_nested_events")
    def has_nested_events(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """By RVI12, or by a notification that is still to be completed."""
        priority = cpu.load(vcpu.l2.vppr) >> 4
        return cpu.load(vcpu.l2.rvi) >> 4 > priority or self.highest_posted(cpu, vcpu) >> 4 > priority

    @mirrors(NESTED, "vmx_has_nested_events")
    def highest_posted(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """In PIR12, if it was notified of; or 0."""
        if not (cpu.load(vcpu.pi_pending) and cpu.load(vcpu.l2.pid.on)):
            return 0
        for word in reversed(self.world.words):
            bits = cpu.load(vcpu.l2.pid.pir[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0

    # Residency

    @mirrors(KVM_MAIN, "kvm_sched_in")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        self.l1.load(cpu, vcpu, where)

    @mirrors(KVM_MAIN, "kvm_sched_out")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        self.l1.put(cpu, vcpu, preempted)

    @mirrors(POSTED_INTR, "pi_wakeup_handler")
    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        self.l1.wakeup_handler(cpu, where)
