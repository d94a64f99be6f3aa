"""Wrong processors: changes to the reference's posted-interrupt processing and virtual-interrupt delivery. All
synthetic.
"""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Field, Vcpu
from reference.x86.processor import ReferenceProcessor


class ForgetsRvi(ReferenceProcessor):
    """RVI becomes the highest vector harvested, whatever it was. A higher vector that was pending in vIRR is passed
    over: the lower one goes first, or hides it for good if that one is masked.
    """

    def raise_rvi(self, cpu: Cpu, vcpu: Vcpu, found: int) -> None:
        if found:
            cpu.store(vcpu.rvi, found)


class AdmitsEqualClass(ReferenceProcessor):
    """Evaluation recognizes a vector of vPPR's own class: a vector that the guest has masked is delivered."""

    def evaluate(self, cpu: Cpu, vcpu: Vcpu) -> None:
        rvi, vppr = cpu.load(vcpu.rvi), cpu.load(vcpu.vppr)
        window = cpu.load(vcpu.interrupt_window)
        cpu.store(vcpu.recognized, int(not window and bool(rvi) and rvi >> 4 >= vppr >> 4))


class ComparesWholeVector(ReferenceProcessor):
    """Evaluation compares all eight bits of RVI and vPPR: within vPPR's own class a masked vector is delivered."""

    def evaluate(self, cpu: Cpu, vcpu: Vcpu) -> None:
        rvi, vppr = cpu.load(vcpu.rvi), cpu.load(vcpu.vppr)
        window = cpu.load(vcpu.interrupt_window)
        cpu.store(vcpu.recognized, int(not window and rvi > vppr))


class LeavesOn(ReferenceProcessor):
    """Posted-interrupt processing does not clear ON. The next post finds it set and notifies nobody."""

    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        pass


class LeavesIrr(ReferenceProcessor):
    """Delivery leaves the vector in vIRR: after the EOI it is delivered again."""

    def clear_bit(self, cpu: Cpu, words: tuple[Field, ...], vector: int) -> None:
        if all(words is not vcpu.virr for vcpu in self.world.vcpus.values()):
            super().clear_bit(cpu, words, vector)


class WrongSvi(ReferenceProcessor):
    """EOI virtualization looks for the next SVI in vIRR. A lower vector that waits there counts as in service and
    blocks itself.
    """

    def highest(self, cpu: Cpu, words: tuple[Field, ...]) -> int:
        owner = next(vcpu for vcpu in self.world.vcpus.values() if words in (vcpu.virr, vcpu.visr))
        return super().highest(cpu, owner.virr)


class EoiWithoutEvaluation(ReferenceProcessor):
    """EOI virtualization does not evaluate. A lower vector that waited for this EOI stays in vIRR until something else
    happens.
    """

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        recognized = cpu.load(vcpu.recognized)
        super().end_of_interrupt(cpu, vcpu)
        cpu.store(vcpu.recognized, recognized)


class TprWithoutEvaluation(ReferenceProcessor):
    """A write of the TPR does not evaluate. A vector that the guest unmasks by lowering it stays in vIRR."""

    def write_tpr(self, cpu: Cpu, vcpu: Vcpu, value: int) -> None:
        cpu.store(vcpu.vtpr, value)
        self.virtualize_ppr(cpu, vcpu)
