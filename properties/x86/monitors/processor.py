"""Posted-interrupt processing and virtual-interrupt delivery in the presence of other agents (Intel SDM vol. 3C, 29.2,
29.6).

What a single routine does to a state is checked as a function, in properties/x86/sequential; here only what needs more than
one agent.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import (
    ACRN,
    BONZINI,
    CHRISTOPHERSON,
    DELIVERY,
    END_TO_END,
    KVM_LIST,
    KVM_UNIT_TESTS,
    LINUX,
    PROCESSING,
    SDM,
    XEN,
)
from properties.x86.monitors.registers import HARDWARE, wide, word
from properties.x86.monitors.subjects import latched, on, pir, virr, visr


class Processing(NamedTuple):
    """One posted-interrupt processing in progress: ON cleared yet, PIR reached yet, and the vectors taken from PIR."""

    cleared: bool = False
    reached: bool = False
    taken: tuple[int, ...] = ()


HARVESTED = "bits of PIR are taken"

PIP_1 = PROCESSING.must(
    "PIP-1",
    "Only an unmasked physical interrupt acknowledged in non-root operation starts the processing, and only if "
    "its vector is the notification vector; any other vector is a VM exit.",
    SDM("29.6, steps 1 and 2"),
    observe=(
        "Every harvest of PIR by the processor follows an acknowledge of the notification vector in non-root "
        "operation; another vector is followed by a VM exit."
    ),
)

PIP_3 = PROCESSING.must(
    "PIP-3",
    "The processing ends the physical notification interrupt itself by writing EOI to the local APIC; the guest "
    "owes none.",
    SDM("29.6, step 4"),
    unchecked=(
        "The local APIC's in-service register is not modelled: an acknowledged notification leaves nothing there that "
        "an EOI would have to end."
    ),
    observe="After the processing the local APIC's in-service bit of the notification vector is 0.",
)

PIP_4 = PROCESSING.must(
    "PIP-4",
    "ON is cleared before PIR is read. So a bit posted in between is either harvested now or has a notification "
    "of its own.",
    SDM("29.6", "order of steps 3 and 5"),
    observe="At the end of each processing, with SN=0, a bit left in PIR has ON=1 or a poster that is about to set ON.",
)

PIP_5 = PROCESSING.must(
    "PIP-5",
    "The harvest ORs PIR into vIRR and clears PIR. For each bit, or group of bits, taking and clearing are "
    "indivisible to every other agent, so no bit vanishes.",
    SDM("29.6, step 5"),
    observe="Each PIR bit that goes from 1 to 0 is in vIRR when the processing ends, whatever was posted meanwhile.",
)

PIP_6 = PROCESSING.may(
    "PIP-6",
    "The harvest is atomic for each bit or group of bits; it need not be for all 256. Another agent may post into "
    "one group after another was taken, within one processing.",
    SDM("29.6, step 5"),
    KVM_LIST(CHRISTOPHERSON, "P. Bonzini reads the step so, he himself as the whole line"),
    observe="A trace where a post sets a PIR bit between two harvest steps of one processing.",
)

PIP_9 = PROCESSING.must(
    "PIP-9",
    "On its own logical processor nothing comes between the steps of one processing.",
    SDM("29.6", "after step 7"),
    observe="Between the acknowledge and the evaluation that CPU makes no VM exit and no delivery; other agents may move.",
)

PIP_10 = PROCESSING.may(
    "PIP-10",
    "If the evaluation recognizes an interrupt, it may be delivered at once.",
    SDM("29.6", "after step 7"),
    observe="A processing that ends with an interrupt recognized and RFLAGS.IF set.",
)

PIP_12 = PROCESSING.may(
    "PIP-12",
    "The processing may run with ON already 0 or PIR empty: the steps do not test ON. It then does no harm (E2E-9).",
    SDM("29.6, step 6"),
    KVM_LIST(CHRISTOPHERSON, "finds the missing test odd"),
    observe="A trace where a notification is processed with ON=0 or with PIR empty.",
)

PIP_13 = PROCESSING.must_not(
    "PIP-13",
    "In non-root operation the processor does not take PIR bits because of a write to the descriptor: it does not "
    "watch ON, and only the notification starts a harvest.",
    SDM("29.6", "names no other trigger"),
    KVM_LIST(BONZINI, "asks"),
    KVM_LIST("S. Christopherson, 24 Nov 2020", "answers"),
    observe="Each harvest of PIR by the processor, against the acknowledge of a notification before it.",
    of=(PIP_1,),
    where=(HARVESTED,),
)

PIP_14 = PROCESSING.must(
    "PIP-14",
    "A notification acknowledged in root mode runs the host's handler for that vector and processes nothing.",
    SDM("29.6", "in non-root operation only"),
    ACRN("0397cb717"),
    LINUX("arch/x86/kernel/irq.c sysvec_kvm_posted_intr_ipi", "only acknowledges"),
    unchecked=(
        "In root mode the suite's machine hands every vector to the host's handler: no role could make the processor "
        "process it there."
    ),
    observe="In root mode the acknowledge of the notification vector changes neither the descriptor nor vIRR.",
)


class PostedInterruptProcessing(Monitor):
    """Memory: the processing in progress on this vCPU, or None as ()."""

    clauses = (PIP_1, PIP_4, PIP_5, PIP_9, PIP_13)
    witnesses = (PIP_6, PIP_10, PIP_12)
    events = (ev.Taken, ev.Asked, ev.Changed, ev.Returned, ev.Exited, ev.Delivered)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.processing"
        self.inhibited = "apicv-inhibited" in scenario.facts
        self.memory: Processing | tuple[()] = ()
        self.control, self.pir = f"{vcpu}.pid.control", f"{vcpu}.pid.pir["

    def on(self, event: ev.Event, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        match event:
            case ev.Taken(guest=self.vcpu, vector=vector):
                look.witness(PIP_1)
                look.witness(PIP_9)
                if vector != PINV or self.inhibited:
                    return ()
                if not word(look.value(self.control)) & 1 or not self._posted(look):
                    look.witness(PIP_12, on(self.vcpu), self.vcpu)
                return Processing()
            case ev.Asked(routine=routine, operation=ops.Rmw(at=at) | ops.Load(at=at)) if at.startswith(self.pir):
                if isinstance(memory, Processing) and routine == "acknowledge":
                    look.witness(PIP_4)
                    if not memory.cleared:
                        look.breach(
                            PIP_4,
                            f"the processor looks at {at} before it has cleared ON",
                            on(self.vcpu),
                            at,
                            self.vcpu,
                        )
                    return memory._replace(reached=True)
            case ev.Asked(routine="acknowledge", operation=ops.Rmw(at=self.control, mask=mask, value=value)):
                if isinstance(memory, Processing) and mask & 1 and not value & 1:
                    return memory._replace(cleared=True)
            case ev.Changed(at=at) if at.startswith(self.pir):
                return self._pir_changed(event, memory, look)
            case ev.Returned(routine="acknowledge", args=(self.vcpu, int(vector))):
                return self._ended(vector, memory, look)
            case ev.Exited(vcpu=self.vcpu) | ev.Delivered(vcpu=self.vcpu) if isinstance(memory, Processing):
                said = f"the processor leaves posted-interrupt processing of {self.vcpu} before its end"
                look.breach(PIP_9, said, on(self.vcpu), self.vcpu)
                return ()
            case _:
                pass
        return memory

    def _pir_changed(self, event: ev.Changed, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        gone = word(event.old) & ~word(event.new)
        if gone and event.routine in HARDWARE:
            look.witness(PIP_13)
            look.witness(PIP_5)
            if not isinstance(memory, Processing):
                said = f"{event.routine} harvests {event.at} though no notification was acknowledged"
                look.breach(PIP_1, said, Subject(event.at, gone), self.vcpu, where=(HARVESTED,))
                return memory
            base = 64 * int(event.at[-2])
            return memory._replace(taken=(*memory.taken, *(base + n for n in range(64) if gone >> n & 1)))
        if event.set_bits and isinstance(memory, Processing) and memory.reached:
            look.witness(PIP_6, Subject(event.at, event.set_bits), self.vcpu)
        return memory

    def _ended(self, vector: int, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        if vector != PINV:
            said = f"vector {vector:#x} was acknowledged in {self.vcpu}'s guest and caused no VM exit"
            look.breach(PIP_1, said, *(latched(c, vector) for c in look.cpus), self.vcpu)
            return ()
        if not isinstance(memory, Processing):
            return memory
        for taken in memory.taken:
            if not word(look.value(f"{self.vcpu}.virr[{taken // 64}]")) >> taken % 64 & 1:
                said = f"the processor took PIR[{taken}] and vIRR[{taken}] is 0 when the processing ends"
                look.breach(PIP_5, said, pir(self.vcpu, taken), virr(self.vcpu, taken), self.vcpu)
        if not memory.cleared and word(look.value(self.control)) & 1 and self._posted(look):
            said = "the processing ends with a bit in PIR and the old ON still set: its notification is spent"
            waits = [f"{self.pir}{w}]" for w in range(4) if word(look.value(f"{self.pir}{w}]"))]
            look.breach(PIP_4, said, on(self.vcpu), *waits, self.vcpu)
        if word(look.value(f"{self.vcpu}.recognized")) and word(look.value(f"{self.vcpu}.rflags_if")):
            look.witness(PIP_10, f"{self.vcpu}.recognized", self.vcpu)
        return ()

    def _posted(self, look: Look) -> bool:
        return any(word(look.value(f"{self.pir}{w}]")) for w in range(4))


VID_2 = DELIVERY.must(
    "VID-2",
    "Pending virtual interrupts are evaluated at VM entry, TPR virtualization, EOI virtualization, self-IPI "
    "virtualization and posted-interrupt processing, and at nothing else, even if it changes RVI or vPPR.",
    SDM("29.2.1"),
    observe="Recognition begins in one of the routines that make these five; nothing is said of where it ends.",
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
        "At each delivery the vector's class against that of vPPR just before; at quiescence a masked posted vector "
        "is in vIRR or PIR."
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
    "An EOI exits exactly for the vectors in the EOI-exit bitmap at that EOI. A change of the bitmap (for a "
    "level-triggered source) reaches a running vCPU before the first such interrupt is delivered to it.",
    SDM("29.1.4"),
    XEN("xen/arch/x86/hvm/vmx/vmx.c", "eoi_exitmap_changed"),
    ACRN("c2c05a29d"),
    KVM_UNIT_TESTS("706cad23"),
    premise="EOI-exit bitmap used",
    observe="Each EOI's exit against the bitmap at that EOI. When a change of the bitmap reaches the vCPU is not looked at.",
)


class EoiExit(Monitor):
    """E2E-15, first half: an EOI exits exactly for vectors whose bit is set in the EOI-exit bitmap. Memory: (vector,
    bit) or ().
    """

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
    made: list[Monitor] = []
    for n in range(len(scenario.vcpus)):
        made += [PostedInterruptProcessing(scenario, f"vcpu{n}"), Delivery(f"vcpu{n}")]
        if "eoi-exit" in scenario.facts:
            made.append(EoiExit(f"vcpu{n}"))
    return made
