"""The processor: posted-interrupt processing and virtual-interrupt delivery.

Intel SDM vol. 3C, chapter "APIC Virtualization and Virtual Interrupts" (chapter 29 in the edition read; section names
are unchanged in newer ones): 29.1.2 TPR virtualization, 29.1.3 PPR, 29.1.4 EOI, 29.1.5 self-IPI, 29.2 evaluation and
delivery, 29.6 posting. Each routine names its section, and `DIFFERENCES` what is not as there.

    notification ──> acknowledge ── ON:=0 ── PIR words ──> vIRR ── RVI ── evaluate ──> deliver ──> guest's handler
                                                            ^                           │
                                             self-IPI ──────┘      vISR, SVI, VPPR <────┘ ── end of interrupt

State of a vCPU: vIRR, vISR (virtual-APIC page), RVI, SVI (guest interrupt status), VTPR, VPPR, `recognized` (a pending
virtual interrupt), the guest's IF and STI shadow, `halted`. Only the logical processor that runs the vCPU touches it;
the descriptor is shared.
"""

from __future__ import annotations

from typing import Any

from conformance.roles.mirrors import Difference, mirrors
from conformance.roles.x86 import PINV, Cpu, Field, Processor, Vcpu, VmEntryChecks
from reference.pir.harvest import harvest
from reference.x86.descriptor import SDM, check_vm_entry

DIFFERENCES = (
    Difference(
        "order",
        "the words of PIR may be taken in any order, and in any grouping",
        "word by word of 64 bits, upwards or downwards",
        "most scenarios have vectors in two words at most, so both orders are all; a word that is taken in parts is a "
        "variant that must pass",
    ),
    Difference(
        "process_posted",
        "step 4 writes EOI to the local APIC, which has the notification in service until then",
        "nothing: a latched interrupt is over when it is acknowledged",
        "the local APIC's in-service register is not modelled; no other host interrupt could come in between",
    ),
    Difference(
        "boundary",
        "NMIs, INIT, the preemption timer and blocking by MOV SS come in between",
        "virtual interrupts, then the highest external interrupt",
        "nothing else is modelled",
    ),
    Difference(
        "instruction",
        "interrupts stay blocked for one instruction after an STI",
        "the next boundary may deliver",
        "which instruction comes first is not looked at",
    ),
    Difference(
        "end_of_interrupt",
        "the handler writes EOI, and returns by IRET some instructions later",
        "both in one step",
        "IF is 0 until the IRET, so nothing is delivered in between",
    ),
)


def priority_class(vector: int) -> int:
    """Bits 7:4. The upper nibble decides priority; 0 means none (SDM 29.2.1)."""
    return vector >> 4


class ReferenceProcessor(Processor, VmEntryChecks):
    """One logical processor, as the manual writes it."""

    @mirrors(SDM, "26.2.1.1")
    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> bool:
        """What is checked is in reference.x86.descriptor."""
        return not check_vm_entry(address, notification_vector, controls)

    # Evaluation

    @mirrors(SDM, "26.3", "26.6")
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """PPR virtualization and evaluation; an event the VMM injects is delivered before any virtual interrupt."""
        if self.apicv():
            self.virtualize_ppr(cpu, vcpu)
            self.evaluate(cpu, vcpu)
        vector = cpu.load(vcpu.injected)
        if vector:
            cpu.store(vcpu.injected, 0)
            cpu.store(vcpu.rflags_if, 0)
            cpu.deliver(vector)

    def apicv(self) -> bool:
        """Whether virtual-interrupt delivery and posted-interrupt processing are on in the VMCS."""
        return not self.world.fact("apicv-inhibited")

    @mirrors(SDM, "29.2.1")
    def evaluate(self, cpu: Cpu, vcpu: Vcpu) -> None:
        rvi, vppr = cpu.load(vcpu.rvi), cpu.load(vcpu.vppr)
        window = cpu.load(vcpu.interrupt_window)
        cpu.store(vcpu.recognized, int(not window and priority_class(rvi) > priority_class(vppr)))

    @mirrors(SDM, "29.1.3")
    def virtualize_ppr(self, cpu: Cpu, vcpu: Vcpu) -> None:
        vtpr, svi = cpu.load(vcpu.vtpr), cpu.load(vcpu.svi)
        cpu.store(vcpu.vppr, vtpr if priority_class(vtpr) >= priority_class(svi) else svi & 0xF0)

    # Delivery

    @mirrors(SDM, "29.2.2")
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """Virtual interrupts come before external interrupts, which ignore the guest's IF in non-root mode."""
        if cpu.load(vcpu.recognized) and cpu.load(vcpu.rflags_if) and not cpu.load(vcpu.blocking_by_sti):
            return ("deliver",)
        return ("acknowledge", max(pending)) if pending else None

    @mirrors(SDM, "29.2.2")
    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with cpu.atomic():
            vector = cpu.load(vcpu.rvi)
            self.set_bit(cpu, vcpu.visr, vector)
            cpu.store(vcpu.svi, vector)
            cpu.store(vcpu.vppr, vector & 0xF0)
            self.clear_bit(cpu, vcpu.virr, vector)
            cpu.store(vcpu.rvi, self.highest(cpu, vcpu.virr))
            cpu.store(vcpu.recognized, 0)
            cpu.store(vcpu.rflags_if, 0)
            cpu.store(vcpu.halted, 0)
            cpu.deliver(vector)

    # Posted-interrupt processing

    @mirrors(SDM, "29.6, steps 1 and 2")
    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        """The notification vector starts posted-interrupt processing, any other causes a VM exit."""
        if vector == PINV and self.apicv():
            self.process_posted(cpu, vcpu)
        else:
            cpu.exit_guest("interrupt", vector)

    @mirrors(SDM, "29.6, steps 3 to 7")
    def process_posted(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.clear_on(cpu, vcpu)
        found = 0
        for word in self.order(cpu):
            found = max(found, self.harvest_word(cpu, vcpu, word))
        self.raise_rvi(cpu, vcpu, found)
        self.evaluate(cpu, vcpu)

    @mirrors(SDM, "29.6, step 3")
    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """ON:=0, the rest of the descriptor unchanged."""
        cpu.test_and_clear(vcpu.pid.on)

    @mirrors(SDM, "29.6, step 5")
    def order(self, cpu: Cpu) -> tuple[int, ...]:
        """The manual orders neither the words nor their grouping: other agents may come between them."""
        upwards = self.world.words
        return upwards if len(upwards) == 1 or cpu.choose("upwards", "downwards") == "upwards" else upwards[::-1]

    @mirrors(SDM, "29.6, step 5")
    def harvest_word(self, cpu: Cpu, vcpu: Vcpu, word: int) -> int:
        """One word: nobody comes between the read and the clear. Answers its highest vector, or 0."""
        bits = cpu.swap(vcpu.pid.pir[word], 0)
        if not bits:
            return 0
        merged, posted, _ = harvest(bits, cpu.load(vcpu.virr[word]))
        cpu.store(vcpu.virr[word], merged)
        return 64 * word + posted

    @mirrors(SDM, "29.6, step 6")
    def raise_rvi(self, cpu: Cpu, vcpu: Vcpu, found: int) -> None:
        """RVI becomes the maximum of its old value and the highest bit found in PIR; an empty PIR leaves it
        alone.
        """
        rvi = cpu.load(vcpu.rvi)
        if found > rvi:
            cpu.store(vcpu.rvi, found)

    # What the guest executes

    @mirrors(SDM, "25.1.3", "29.1")
    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> None:
        match what:
            case "end_of_interrupt":
                self.end_of_interrupt(cpu, vcpu)
            case "write_tpr":
                self.write_tpr(cpu, vcpu, *operands)
            case "self_ipi":
                self.self_ipi(cpu, vcpu, *operands)
            case "hlt" if self.world.fact("hlt-not-intercepted"):
                cpu.store(vcpu.halted, 1)
            case "sti" | "cli":
                cpu.store(vcpu.rflags_if, int(what == "sti"))
                if what == "sti" and cpu.load(vcpu.interrupt_window):
                    cpu.exit_guest("interrupt_window")
            case _:
                cpu.exit_guest(what, *operands)

    @mirrors(SDM, "29.1.4")
    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """EOI virtualization, followed by the IRET that ends the guest's handler (IF:=1)."""
        cpu.store(vcpu.rflags_if, 1)
        if self.apicv():
            self.virtualize_eoi(cpu, vcpu)
        else:
            cpu.exit_guest("apic_eoi")

    @mirrors(SDM, "29.1.4")
    def virtualize_eoi(self, cpu: Cpu, vcpu: Vcpu) -> None:
        vector = cpu.load(vcpu.svi)
        self.clear_bit(cpu, vcpu.visr, vector)
        cpu.store(vcpu.svi, self.highest(cpu, vcpu.visr))
        self.virtualize_ppr(cpu, vcpu)
        word, bit = divmod(vector, 64)
        if cpu.load(Field(f"{vcpu.name}.eoi_exit[{word}]", 1 << bit, bit)):
            cpu.exit_guest("eoi", vector)
        else:
            self.evaluate(cpu, vcpu)

    @mirrors(SDM, "29.1.2")
    def write_tpr(self, cpu: Cpu, vcpu: Vcpu, value: int) -> None:
        """Without virtual-interrupt delivery a TPR below the threshold exits; the threshold is taken to be what TPR was."""
        lowered = value >> 4 < cpu.load(vcpu.vtpr) >> 4
        cpu.store(vcpu.vtpr, value)
        self.virtualize_ppr(cpu, vcpu)
        if self.apicv():
            self.evaluate(cpu, vcpu)
        elif lowered:
            cpu.exit_guest("tpr_below_threshold")

    @mirrors(SDM, "29.1.5")
    def self_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.set_bit(cpu, vcpu.virr, vector)
        cpu.store(vcpu.rvi, max(cpu.load(vcpu.rvi), vector))
        self.evaluate(cpu, vcpu)

    # Bits of the virtual-APIC page

    @mirrors(SDM, "29.1.1")
    def set_bit(self, cpu: Cpu, words: tuple[Field, ...], vector: int) -> None:
        cpu.store(words[vector // 64], cpu.load(words[vector // 64]) | 1 << vector % 64)

    @mirrors(SDM, "29.1.1")
    def clear_bit(self, cpu: Cpu, words: tuple[Field, ...], vector: int) -> None:
        cpu.store(words[vector // 64], cpu.load(words[vector // 64]) & ~(1 << vector % 64))

    @mirrors(SDM, "29.1.1")
    def highest(self, cpu: Cpu, words: tuple[Field, ...]) -> int:
        """The highest vector whose bit is set, or 0."""
        for word in reversed(self.world.words):
            bits = cpu.load(words[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0
