"""vcpu->mode and vcpu->requests: the four values, who may change them, and how others learn what a vCPU is about.

Linux 6.1, Documentation/virt/kvm/vcpu-requests.rst.

    requester                                    vCPU's thread
    requests |= ..., barrier                     mode := IN, barrier
    cmpxchg mode IN -> EXITING ── won: KICK      look at requests
    (EXITING: another one has kicked)            ... exit; mode := OUT

    free a page: unlink, then wait for an        walk: interrupts off, mode := READING, barrier, read, mode := OUT
    answer of whoever is not OUT
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.location import Shared
from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.nested import Cpu, Requester, Role, Then, Vcpu
from conformance.roles.x86 import KICK
from reference.x86.kvm import EXITING, IN, KVM_HOST_H, KVM_MAIN, LINUX, OUT, X86

MMU = Original(LINUX, "arch/x86/kvm/mmu/mmu.c")
READING = 3
"""READING_SHADOW_PAGE_TABLES."""
REPORT = 4
"""A request that the vCPU has nothing to do for but look."""
CALL = 0xFB
"""Host vector that calls a function on another pCPU (Linux: CALL_FUNCTION_VECTOR)."""

DIFFERENCES = (
    Difference(
        "free_page",
        "kvm_flush_remote_tlbs() goes over all vCPUs, and frees a list of pages",
        "one vCPU, one page",
        "each vCPU is asked by itself",
    ),
    Difference(
        "kick",
        "a vCPU that is woken is not kicked",
        "it is",
        "a vCPU that sleeps is not IN, so the exchange is lost",
    ),
)


class Mode(Role):
    """What the vCPU's thread does with its mode, and others read."""

    @mirrors(X86, "vcpu_enter_guest")
    def enter_mode(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, IN)
        cpu.fence()

    @mirrors(X86, "vcpu_enter_guest")
    def leave_mode(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, OUT)

    @mirrors(MMU, "walk_shadow_page_lockless_begin")
    def begin_walk(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.store(vcpu.mode, READING)
        cpu.fence()

    @mirrors(MMU, "walk_shadow_page_lockless_end")
    def end_walk(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, OUT, "release")
        cpu.irq_enable()

    @mirrors(KVM_HOST_H, "kvm_vcpu_exiting_guest_mode")
    def exiting(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """IN becomes EXITING. Answers what it was."""
        return cpu.cmpxchg(vcpu.mode, IN, EXITING)

    @mirrors(X86, "kvm_vcpu_exit_request")
    def mode(self, cpu: Cpu, vcpu: Vcpu) -> int:
        return cpu.load(vcpu.mode)


class Requests(Mode, Requester):
    """Who asks something of a vCPU, and how it walks page tables that others free."""

    vm_state: ClassVar = {"sptes": Shared(1), "page": Shared(1), "answered": Shared(0)}
    handlers: ClassVar = {CALL: "ack_kick"}

    @mirrors(KVM_MAIN, "kvm_vcpu_kick")
    @mirrors(KVM_HOST_H, "kvm_make_request")
    def make_request(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fetch_or(vcpu.requests, REPORT)
        self.kick(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_kick")
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if self.exiting(cpu, vcpu) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))

    @mirrors(MMU, "kvm_mmu_commit_zap_page")
    @mirrors(KVM_MAIN, "kvm_make_all_cpus_request")
    def free_page(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Whoever reads the tables has interrupts off: it answers when it has done."""
        cpu.store(self.world.vm.sptes, 0)
        cpu.fetch_or(vcpu.requests, REPORT)
        if self.needs_answer(cpu, vcpu):
            cpu.send_ipi(CALL, cpu.load(vcpu.cpu))
            while not cpu.load(self.world.vm.answered):
                cpu.relax()
        cpu.store(self.world.vm.page, 0)

    @mirrors(KVM_MAIN, "kvm_request_needs_ipi")
    def needs_answer(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """KVM_REQUEST_WAIT: of whoever is not outside, EXITING and READING too."""
        return self.exiting(cpu, vcpu) != OUT

    @mirrors(KVM_MAIN, "ack_kick")
    def ack_kick(self, cpu: Cpu, where: int) -> None:
        cpu.store(self.world.vm.answered, 1)

    @mirrors(MMU, "get_walk")
    def walk(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        self.begin_walk(cpu, vcpu)
        if cpu.load(self.world.vm.sptes):
            cpu.load(self.world.vm.page)
        self.end_walk(cpu, vcpu)
        return Then("vcpu_run", vcpu)
