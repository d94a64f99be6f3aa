"""Posted-interrupt processing in the presence of other agents (Intel SDM vol. 3C, 29.6).

What a single routine does to a state is checked as a function, in properties/x86/sequential.
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
    KVM_LIST,
    LINUX,
    PROCESSING,
    SDM,
)
from properties.x86.monitors.guest import open_to
from properties.x86.monitors.registers import HARDWARE, word
from properties.x86.monitors.subjects import latched, on, pir, virr


class Processing(NamedTuple):
    """One posted-interrupt processing in progress: ON was 0 since it began, PIR reached yet, and the vectors taken from PIR."""

    cleared: bool = False
    reached: bool = False
    taken: tuple[int, ...] = ()
    ended: bool = False
    """It is over, and nothing has happened in the guest since."""


HARVESTED = "bits of PIR are taken"

PIP_1 = PROCESSING.must(
    "PIP-1",
    "Only an unmasked physical interrupt acknowledged in non-root operation starts the processing, and only if "
    "its vector is the notification vector; any other vector is a VM exit, and so is that one where the VMCS has no such processing.",
    SDM("29.6, steps 1 and 2"),
    observe=(
        "Every harvest of PIR by the processor follows an acknowledge of the notification vector in non-root "
        "operation; another vector, or any with APICv inhibited, is followed by a VM exit."
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
    observe="Each look at PIR, against ON: it is 0 then, or was since the notification was acknowledged, by whatever write.",
)

PIP_5 = PROCESSING.must(
    "PIP-5",
    "The harvest ORs PIR into vIRR and clears PIR. For each bit, or group of bits, taking and clearing are "
    "indivisible to every other agent, so no bit vanishes.",
    SDM("29.6, step 5"),
    observe=(
        "Each PIR bit that goes from 1 to 0 is in vIRR when the processing ends, whatever was posted meanwhile. That all of PIR is "
        "taken, PIP-7 says."
    ),
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
    observe="A trace where the next that comes to a guest after a processing has ended is a delivery.",
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
    events = (ev.Taken, ev.Asked, ev.Changed, ev.Returned, ev.Exited, ev.Delivered, ev.GuestActed)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.processing"
        self.inhibited = "apicv-inhibited" in scenario.facts
        self.memory: Processing | tuple[()] = ()
        self.control, self.pir = f"{vcpu}.pid.control", f"{vcpu}.pid.pir["

    def on(self, event: ev.Event, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        if memory and memory.ended:
            return self._afterwards(event, memory, look)
        match event:
            case ev.Taken(guest=self.vcpu, vector=vector):
                look.witness(PIP_1)
                if vector != PINV or self.inhibited:
                    return ()
                if not word(look.value(self.control)) & 1 or not self._posted(look):
                    look.witness(PIP_12, on(self.vcpu), self.vcpu)
                return Processing(cleared=not word(look.value(self.control)) & 1)
            case ev.Asked(routine="acknowledge", operation=ops.Rmw(at=at) | ops.Load(at=at)) if at.startswith(self.pir):
                if isinstance(memory, Processing):
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
            case ev.Changed(at=self.control, new=new) if isinstance(memory, Processing) and not word(new) & 1:
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

    def _afterwards(self, event: ev.Event, memory: Processing, look: Look) -> Processing | tuple[()]:
        match event:
            case ev.Delivered(vcpu=self.vcpu):
                look.witness(PIP_10, f"{self.vcpu}.rvi", self.vcpu)
                return ()
            case ev.Exited(vcpu=self.vcpu) | ev.GuestActed(vcpu=self.vcpu):
                return ()
            case _:
                return self.on(event, (), look) or memory

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
        if vector != PINV or self.inhibited:
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
        look.witness(PIP_9)
        rvi = word(look.value(f"{self.vcpu}.rvi"))
        return Processing(ended=True) if open_to(look, self.vcpu, rvi, look.in_service(self.vcpu)) else ()

    def _posted(self, look: Look) -> bool:
        return any(word(look.value(f"{self.pir}{w}]")) for w in range(4))


def monitors(scenario: Scenario) -> list[Monitor]:
    return [PostedInterruptProcessing(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
