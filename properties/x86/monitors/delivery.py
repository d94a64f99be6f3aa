"""Virtual-interrupt delivery in the presence of other agents (Intel SDM vol. 3C, 29.1, 29.2).

What a single routine does to a state is checked as a function, in properties/x86/sequential.
"""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from properties.x86.catalogue import (
    ACRN,
    DELIVERY,
    END_TO_END,
    KVM_UNIT_TESTS,
    SDM,
    XEN,
)
from properties.x86.monitors.registers import wide, word
from properties.x86.monitors.subjects import virr, visr

VID_2 = DELIVERY.must(
    "VID-2",
    "Pending virtual interrupts are evaluated at VM entry, TPR virtualization, EOI virtualization, self-IPI "
    "virtualization and posted-interrupt processing, and at nothing else, even if it changes RVI or vPPR.",
    SDM("29.2.1"),
    observe=(
        "Recognition begins in one of the routines that make these five; nothing is said of where it ends, nor of which instruction "
        "it was."
    ),
)

VID_10 = DELIVERY.must(
    "VID-10",
    "NMIs and higher events come before a virtual interrupt; a virtual interrupt comes before external interrupts.",
    SDM("29.2.2"),
    observe="With a deliverable recognized interrupt no external interrupt is acknowledged. NMIs are not modelled.",
)

VID_12 = DELIVERY.must_not(
    "VID-12",
    "A vector whose class is not above vPPR's is not delivered. It stays in vIRR, where the harvest moved it.",
    SDM("29.2.1"),
    KVM_UNIT_TESTS("x86/vmx_tests.c vmx_posted_interrupts_test", "masked case"),
    observe=(
        "At each delivery the vector's class against that of vPPR just before; at quiescence a masked vector that was in vIRR, or that "
        "the processor took from PIR, is in vIRR or PIR."
    ),
)

VID_13 = DELIVERY.must(
    "VID-13",
    "Of the vectors in vIRR at a delivery the highest goes first.",
    SDM("29.2.2", "with RVI the highest vector in vIRR"),
    observe="At each delivery no higher bit is set in vIRR; nothing is said about bits still in PIR.",
)

VID_14 = DELIVERY.may(
    "VID-14",
    "A vector posted again while it is in service is kept in vIRR and delivered after the EOI: one may be in vIRR "
    "and one in vISR.",
    SDM("29.1.1", "vIRR and vISR are separate registers"),
    observe="A trace with vIRR[v] and vISR[v] both 1.",
)


class Delivery(Monitor):
    """Memory: (vPPR, highest vIRR) as the delivery in progress found them, or ()."""

    clauses = (VID_2, VID_10, VID_12, VID_13)
    witnesses = (VID_14,)
    events = (ev.Called, ev.Delivered, ev.Changed, ev.Taken)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.delivery"
        self.memory: tuple[int, ...] = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        match event:
            case ev.Called(routine="deliver", args=(self.vcpu,)):
                irr = wide(look, f"{self.vcpu}.virr")
                return (word(look.value(f"{self.vcpu}.vppr")), irr.bit_length() - 1)
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if memory:
                vppr, highest = memory
                look.witness(VID_12)
                look.witness(VID_13)
                if vector >> 4 <= vppr >> 4:
                    said = f"vector {vector} is delivered although vPPR is {vppr:#x}: its class is not higher"
                    look.breach(VID_12, said, f"{self.vcpu}.vppr", virr(self.vcpu, vector), self.vcpu)
                if vector < highest:
                    said = f"vector {vector} is delivered while the higher vector {highest} is in vIRR"
                    look.breach(VID_13, said, virr(self.vcpu, highest), virr(self.vcpu, vector), self.vcpu)
                return ()
            case ev.Changed(at=at, old=0, new=1, routine=routine) if at == f"{self.vcpu}.recognized":
                look.witness(VID_2)
                if routine not in ("vm_entry", "acknowledge", "instruction"):
                    said = f"{routine} recognizes a pending virtual interrupt: evaluation is not its business"
                    look.breach(VID_2, said, at, self.vcpu)
            case ev.Changed(at=at, set_bits=bits) if at.startswith(f"{self.vcpu}.virr["):
                if bits & word(look.value(at.replace("virr", "visr"))):
                    look.witness(VID_14, Subject(at, bits), self.vcpu)
            case ev.Taken(guest=self.vcpu):
                look.witness(VID_10)
                ready = all(word(look.value(f"{self.vcpu}.{n}")) for n in ("recognized", "rflags_if"))
                if ready and not word(look.value(f"{self.vcpu}.blocking_by_sti")):
                    look.breach(
                        VID_10, "an external interrupt is acknowledged while a recognized virtual interrupt is deliverable",
                        f"{self.vcpu}.recognized", f"{self.vcpu}.rflags_if", self.vcpu,
                    )  # fmt: skip
            case _:
                pass
        return memory


E2E_15 = END_TO_END.must(
    "E2E-15",
    "An EOI exits exactly for the vectors in the EOI-exit bitmap at that EOI.",
    SDM("29.1.4"),
    KVM_UNIT_TESTS("706cad23"),
    premise="EOI-exit bitmap used",
    observe="Each EOI's exit against the bitmap at that EOI.",
)

E2E_17 = END_TO_END.must(
    "E2E-17",
    "A change of the EOI-exit bitmap (for a level-triggered source) reaches a running vCPU before the first such interrupt is "
    "delivered to it.",
    XEN("xen/arch/x86/hvm/vmx/vmx.c", "eoi_exitmap_changed"),
    ACRN("c2c05a29d"),
    premise="EOI-exit bitmap used",
    unchecked="No routine of a role changes the bitmap: it is what it was when the scenario began.",
)


class EoiExit(Monitor):
    """Memory: the vector that an EOI in progress ends and its bit of the EOI-exit bitmap, or ()."""

    clauses = (E2E_15,)
    events = (ev.Called, ev.Returned, ev.Exited)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.eoi"
        self.memory: tuple[int, ...] = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        match event:
            case ev.Called(routine="instruction", args=(self.vcpu, "end_of_interrupt")):
                look.witness(E2E_15)
                in_service = wide(look, f"{self.vcpu}.visr")
                vector = max(in_service.bit_length() - 1, 0)
                return (vector, word(look.value(f"{self.vcpu}.eoi_exit[{vector // 64}]")) >> vector % 64 & 1)
            case ev.Returned(routine="instruction", args=(self.vcpu, "end_of_interrupt")) if memory:
                if memory[1]:
                    said = f"the EOI of {memory[0]} caused no exit, though its EOI-exit bit is set"
                    look.breach(E2E_15, said, visr(self.vcpu, memory[0]), self.vcpu)
                return ()
            case ev.Exited(vcpu=self.vcpu, reason=("eoi", *_)) if memory:
                if not memory[1]:
                    said = f"the EOI of {memory[0]} caused an exit, though its EOI-exit bit is clear"
                    look.breach(E2E_15, said, visr(self.vcpu, memory[0]), self.vcpu)
                return ()
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    watched = (Delivery, EoiExit) if "eoi-exit" in scenario.facts else (Delivery,)
    return [monitor(f"vcpu{n}") for n in range(len(scenario.vcpus)) for monitor in watched]
