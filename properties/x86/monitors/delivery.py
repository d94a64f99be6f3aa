"""Virtual-interrupt delivery in the presence of other agents (Intel SDM vol. 3C, 29.1, 29.2).

What a single routine does to a state is checked as a function, in properties/x86/sequential.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from conformance.roles.x86.architecture import OPENED
from properties.x86.catalogue import (
    ACRN,
    DELIVERY,
    END_TO_END,
    KVM_UNIT_TESTS,
    SDM,
    XEN,
)
from properties.x86.monitors.guest import handled, priority, takes
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
    observe=(
        "No external interrupt is acknowledged while the guest, by what it has executed and was delivered, would take RVI, unless an "
        "STI was the last that it executed. NMIs are not modelled."
    ),
)

VID_12 = DELIVERY.must_not(
    "VID-12",
    "A vector whose class is not above vPPR's is not delivered. It stays in vIRR, where the harvest moved it.",
    SDM("29.2.1"),
    KVM_UNIT_TESTS("x86/vmx_tests.c vmx_posted_interrupts_test", "masked case"),
    observe=(
        "At each delivery the vector's class against that of the TPR that the guest wrote and of all that it handles; at quiescence a "
        "masked vector that was in vIRR, or that the processor took from PIR, is in vIRR or PIR."
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
    """Memory: the highest vector in vIRR, as the delivery in progress found it, or -1."""

    clauses = (VID_2, VID_10, VID_12, VID_13)
    witnesses = (VID_14,)
    events = (ev.Called, ev.Delivered, ev.Changed, ev.Taken)

    memory = -1

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.delivery"
        self.inhibited = "apicv-inhibited" in scenario.facts

    def on(self, event: ev.Event, memory: int, look: Look) -> int:
        match event:
            case ev.Called(routine="deliver", args=(self.vcpu,)):
                return wide(look, f"{self.vcpu}.virr").bit_length() - 1
            case ev.Delivered(vcpu=self.vcpu, vector=vector, cpu=cpu) if memory >= 0:
                look.witness(VID_12)
                look.witness(VID_13)
                if look.latched(cpu):
                    look.witness(VID_10)
                masks = priority(look.executed(self.vcpu), look.in_service(self.vcpu)[:-1])
                if vector >> 4 <= masks >> 4:
                    said = f"vector {vector} is delivered although the guest's priority is {masks:#x}: its class is not higher"
                    look.breach(VID_12, said, f"{self.vcpu}.vppr", virr(self.vcpu, vector), self.vcpu)
                if vector < memory:
                    said = f"vector {vector} is delivered while the higher vector {memory} is in vIRR"
                    look.breach(VID_13, said, virr(self.vcpu, memory), virr(self.vcpu, vector), self.vcpu)
                return -1
            case ev.Changed(at=at, old=0, new=1, routine=routine) if at == f"{self.vcpu}.recognized":
                look.witness(VID_2)
                if routine not in ("vm_entry", "acknowledge", "instruction"):
                    said = f"{routine} recognizes a pending virtual interrupt: evaluation is not its business"
                    look.breach(VID_2, said, at, self.vcpu)
            case ev.Changed(at=at, set_bits=bits) if at.startswith(f"{self.vcpu}.virr["):
                if bits & word(look.value(at.replace("virr", "visr"))):
                    look.witness(VID_14, Subject(at, bits), self.vcpu)
            case ev.Taken(guest=self.vcpu) if self._deliverable(look):
                said = "an external interrupt is acknowledged while the guest would take the vector in RVI"
                look.breach(VID_10, said, f"{self.vcpu}.rvi", f"{self.vcpu}.rflags_if", self.vcpu)
            case _:
                pass
        return memory

    def _deliverable(self, look: Look) -> bool:
        """A processor may hold virtual interrupts back for one instruction after an STI."""
        executed, in_service = look.executed(self.vcpu), look.in_service(self.vcpu)
        after_sti = bool(in_service[-1] & OPENED) if in_service else executed[-1:] == (("sti",),)
        rvi = word(look.value(f"{self.vcpu}.rvi"))
        held_back = self.inhibited or after_sti or word(look.value(f"{self.vcpu}.interrupt_window"))
        return not held_back and takes(executed, in_service, rvi)


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


class Ends(NamedTuple):
    in_service: tuple[int, ...] = ()
    """What the guest handles, as its last instruction or the last delivery left it."""
    eoi: int = -1
    """The vector whose EOI is in progress."""


class EoiExit(Monitor):
    clauses = (E2E_15,)
    events = (ev.Delivered, ev.GuestActed, ev.Returned, ev.Exited)
    memory = Ends()

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.eoi"

    def on(self, event: ev.Event, memory: Ends, look: Look) -> Ends:
        match event:
            case ev.Delivered(vcpu=self.vcpu):
                return memory._replace(in_service=look.in_service(self.vcpu))
            case ev.GuestActed(vcpu=self.vcpu, action=action):
                eoi = handled(memory.in_service[-1]) if action == ("end_of_interrupt",) else -1
                return Ends(look.in_service(self.vcpu), eoi)
            case ev.Returned(routine="instruction", args=(self.vcpu, "end_of_interrupt")) if memory.eoi >= 0:
                return self._over(memory, False, look)
            case ev.Exited(vcpu=self.vcpu, reason=(reason, *_)) if memory.eoi >= 0:
                return self._over(memory, True, look) if reason == "eoi" else memory._replace(eoi=-1)
            case _:
                return memory

    def _over(self, memory: Ends, exits: bool, look: Look) -> Ends:
        look.witness(E2E_15)
        vector = memory.eoi
        asked = word(look.value(f"{self.vcpu}.eoi_exit[{vector // 64}]")) >> vector % 64 & 1
        if exits != asked:
            said = f"the EOI of {vector} caused {'an' if exits else 'no'} exit, though its EOI-exit bit is {'set' if asked else 'clear'}"
            look.breach(E2E_15, said, visr(self.vcpu, vector), self.vcpu)
        return memory._replace(eoi=-1)


def monitors(scenario: Scenario) -> list[Monitor]:
    watched = (Delivery, EoiExit) if "eoi-exit" in scenario.facts else (Delivery,)
    return [monitor(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus)) for monitor in watched]
