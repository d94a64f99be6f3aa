"""Nested posted interrupts without the processor's help: vmcs02 has none, and each notification is an exit.

What is not told here is as in `reference.nested.kvm`. It shows that the manual can be kept to the letter: a notification is
noted, and used up where L0 looks at PIR12, once. The price is an exit for each, which is what posted interrupts are to spare.

    sender: pi_pending:=1, request EVENT, kick ──> exit ──> pi_pending ── ON12:=0, PIR12 ──> vIRR12, RVI12
"""

from __future__ import annotations

from typing import ClassVar

from conformance.roles.mirrors import Difference, mirrors
from conformance.roles.nested import NPINV, Cpu, Vcpu
from reference.nested.kvm import NESTED, VMX, NestedKvm

DIFFERENCES = (
    Difference(
        "set_controls",
        "vmcs02 has posted-interrupt processing if vmcs12 has",
        "it has not",
        "no notification can move what was posted after it, or to another vCPU",
    ),
    Difference(
        "trigger",
        "L2's notification goes to the processor",
        "the vCPU is kicked",
        "L0 looks at what is pending at the next entry",
    ),
)


class NestedEmulated(NestedKvm):
    """KVM with vmcs02's posted interrupts off: L0 does L2's posted-interrupt processing itself, by the letter."""

    profile: ClassVar[str] = "strict"
    not_applicable: ClassVar = {
        "KVM-NST-11": "no notification for L2 goes to a processor, so none can come to another L2"
    }

    @mirrors(NESTED, "prepare_vmcs02_early")
    def set_controls(self, cpu: Cpu, vcpu: Vcpu, vmcs12: int) -> None:
        cpu.store(vcpu.l2.posting, 0)

    @mirrors(VMX, "kvm_vcpu_trigger_posted_interrupt")
    def trigger(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if vector != NPINV:
            super().trigger(cpu, vcpu, vector)
            return
        self.l1.wake_up(cpu, vcpu)
        self.kick(cpu, vcpu)
