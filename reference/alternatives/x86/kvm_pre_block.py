"""KVM before its descriptor moved into load and put: pre_block and post_block around the whole of blocking.

Linux 5.13: before commit d76fb40637fc, after c112b5f50232 (2019: PIR is looked at after SN is cleared), the fix of 2019
that a blocking vCPU which migrates keeps the NDST of the pCPU whose list it is on, and 1831fa44df74 (2021: a guest that
halts with interrupts closed is left alone). What is not told here is as in `reference.x86.kvm`.

    halt ── pre_block: listed here, NV:=WAKEUP ── ON? ── no ──> poll, block, sleep ... woken ──> post_block: unlisted,
              |                                    └─ yes: back to the guest                      NDST:=here, NV:=PINV
              └── from here on put and load may come and go: SN only, NDST stale on purpose
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.x86 import PINV, WAKEUP, Cpu, Shared, Then, Vcpu
from reference.x86.kvm import Kvm

LINUX = "Linux 5.13"
POSTED_INTR = Original(LINUX, "arch/x86/kvm/vmx/posted_intr.c")
X86 = Original(LINUX, "arch/x86/kvm/x86.c")
KVM_MAIN = Original(LINUX, "virt/kvm/kvm_main.c")
KVM_MAIN_5_14 = Original("Linux 5.14", "virt/kvm/kvm_main.c")

DIFFERENCES = (
    Difference(
        "KvmPreBlock",
        "the wakeup handler gives a full kick",
        "it wakes, as in 6.1",
        "a listed vCPU is never in its guest",
    ),
    Difference(
        "poll",
        "it polls again and again, for a time",
        "once, at any time",
        "what several looks find, one at the right time finds",
    ),
)

NOWHERE = (1 << 64) - 1
"""vcpu->pre_pcpu of a vCPU that is on no list: -1."""

IN_PRE_BLOCK = "the wakeup handler is enabled in pre_block, not in put"


class KvmPreBlock(Kvm):
    """Linux 5.13: the wakeup handler is enabled before the vCPU blocks, and disabled after."""

    not_applicable: ClassVar = {
        "KVM-PI-2": "a vCPU that blocks keeps NV and NDST as pre_block left them, on purpose, until post_block",
        **{f"KVM-PI-{n}": IN_PRE_BLOCK for n in (6, 7, 8)},
    }
    vcpu_state: ClassVar = {
        **Kvm.vcpu_state,
        "pre_pcpu": Shared(NOWHERE, private_to="*"),
        "interruptible": Shared(0, private_to="*"),  # the thread's state: what kvm_sched_out() took preemption by
    }

    # Block

    @mirrors(X86, "vcpu_block")
    def vcpu_halt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return Then("vcpu_run" if self.has_interrupt(cpu, vcpu) else "pre_block", vcpu)

    @mirrors(POSTED_INTR, "pi_pre_block")
    def pre_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """What was posted before NV changed went to PINV, so ON=1 calls the halt off."""
        if not self.needs_wakeup(cpu) or self.interrupt_blocked(cpu, vcpu):
            return Then("poll", vcpu)
        flag = cpu.irq_disable()
        cpu.store(vcpu.pre_pcpu, cpu.id())
        self.join_wakeup_list(cpu, vcpu)
        self.update_control(cpu, vcpu, nv=WAKEUP)
        outstanding = cpu.load(vcpu.pid.on)
        if outstanding:
            self.disable_wakeup_handler(cpu, vcpu)
        cpu.irq_restore(flag)
        return Then("vcpu_run" if outstanding else "poll", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def poll(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Halt-polling comes after pre_block, and may end the halt as a sleep does."""
        if self.world.fact("halt-polling") and cpu.choose("poll", "block") == "poll" and self.check_block(cpu, vcpu):
            return Then("post_block", vcpu)
        return Then("vcpu_block", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def block_once(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.store(vcpu.interruptible, 1)
        after = super().block_once(cpu, vcpu)
        cpu.store(vcpu.interruptible, 0)
        return Then("post_block", vcpu) if after.routine == "unblocked" else after

    @mirrors(POSTED_INTR, "pi_post_block")
    def post_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Whether there is anything to undo is in pre_pcpu, not in what devices there are now."""
        if cpu.load(vcpu.pre_pcpu) != NOWHERE:
            flag = cpu.irq_disable()
            self.disable_wakeup_handler(cpu, vcpu)
            cpu.irq_restore(flag)
        return Then("unblocked", vcpu)

    @mirrors(POSTED_INTR, "__pi_post_block")
    def disable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Off the list of the pCPU it blocked on, which need not be this one."""
        self.leave_wakeup_list(cpu, vcpu, cpu.load(vcpu.pre_pcpu))
        self.update_control(cpu, vcpu, ndst=self.destination(cpu.id()), nv=PINV)
        cpu.store(vcpu.pre_pcpu, NOWHERE)

    # Residency

    @mirrors(POSTED_INTR, "vmx_can_use_vtd_pi")
    def needs_wakeup(self, cpu: Cpu) -> bool:
        """Some assigned device may post."""
        return bool(cpu.load(self.world.vm.assigned))

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_load")
    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        same = cpu.load(vcpu.cpu) == where
        if same and not cpu.load(vcpu.pid.sn):
            return
        if same or cpu.load(vcpu.pid.nv) == WAKEUP:
            cpu.test_and_clear(vcpu.pid.sn)
        else:
            self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0)
        self.announce_left_over(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_sched_out")
    @mirrors(POSTED_INTR, "vmx_vcpu_pi_put")
    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        """A thread switched out after it announced its sleep was not held to be preempted: posts go on waking it."""
        if preempted and not cpu.load(vcpu.interruptible):
            cpu.test_and_set(vcpu.pid.sn)


class KvmPreBlockOnRq(KvmPreBlock):
    """Linux 5.14 to 5.16: preempted is who is still on the run queue (3ba9f93b1236), whether it announced its sleep or
    not.
    """

    @mirrors(KVM_MAIN_5_14, "kvm_sched_out")
    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if preempted:
            cpu.test_and_set(vcpu.pid.sn)
