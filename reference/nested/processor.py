"""The processor with a hypervisor as its guest: the same posted-interrupt processing and delivery, by the current VMCS.

Intel SDM vol. 3C, 29.6. It knows nothing of nesting: with vmcs02 current the descriptor, the virtual-APIC page and the
notification vector are those that L0 put there for L2.

    NPINV ──> acknowledge ── vmcs02: ON12:=0, PIR12 ──> vIRR12 ──> L2's handler
                          └─ vmcs01: VM exit
"""

from __future__ import annotations

from typing import Any

from conformance.roles.mirrors import Difference, mirrors
from conformance.roles.nested import L2, NPINV, VMCS02, Cpu, NestedProcessor, Vcpu
from conformance.roles.x86 import PINV
from reference.x86.descriptor import SDM
from reference.x86.processor import ReferenceProcessor

DIFFERENCES = (
    Difference(
        "instruction",
        "L1 enters L2 again by an instruction of its own, some time after its handler",
        "in the step that ends the handler",
        "L1 does nothing else in between; what it could do is another program",
    ),
)


class OfL2:
    """A CPU to the hardware: what is delivered there is L2's."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cpu, name)

    def deliver(self, vector: int) -> None:
        self.cpu.deliver(L2 + vector)


class ReferenceNestedProcessor(NestedProcessor):
    """One logical processor; `x86` takes one level for a vCPU."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.x86 = ReferenceProcessor(world)

    @mirrors(SDM, "24.1")
    def current(self, cpu: Cpu, vcpu: Vcpu) -> tuple[Any, Any]:
        """The level whose VMCS is current, and the CPU as its hardware knows it."""
        return (OfL2(cpu), vcpu.l2) if cpu.load(vcpu.vmcs) == VMCS02 else (cpu, vcpu)

    @mirrors(SDM, "26.3", "26.6")
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.x86.vm_entry(*self.current(cpu, vcpu))

    @mirrors(SDM, "29.2.2")
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        return self.x86.boundary(*self.current(cpu, vcpu), pending)

    @mirrors(SDM, "29.2.2")
    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.x86.deliver(*self.current(cpu, vcpu))

    @mirrors(SDM, "29.6, steps 1 and 2")
    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        """Each VMCS has a notification vector of its own, and vmcs02 perhaps none."""
        here, level = self.current(cpu, vcpu)
        ours = vector == PINV if level is vcpu else vector == NPINV and cpu.load(vcpu.l2.posting)
        if ours:
            self.x86.process_posted(here, level)
        else:
            cpu.exit_guest("interrupt", vector)

    @mirrors(SDM, "25.1.3", "29.1")
    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> None:
        if what == "vmlaunch":
            cpu.store(vcpu.l2.vmcs12, operands[0])
        here, level = self.current(cpu, vcpu)
        self.x86.instruction(here, level, what, *operands)
        if what == "end_of_interrupt" and level is vcpu and cpu.load(vcpu.interrupted):
            cpu.store(vcpu.interrupted, 0)
            cpu.exit_guest("vmresume")
