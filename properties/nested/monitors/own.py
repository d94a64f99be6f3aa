"""L1's own interrupts, which reach L1 whether L1 or L2 runs when they come; and L1's SVI, which L2 may make stale."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.nested import PINV12
from conformance.roles.scenario import Scenario
from properties.nested.catalogue import KERNEL, KVM_NESTED, LINUX, NESTED_END_TO_END, SDM, VMX, XEN
from properties.nested.monitors.levels import bit, in_l2, of, posting, settled, wide, word
from properties.nested.monitors.under_way import Posting
from properties.x86.monitors.guest import open_after, task_priority

NST_E2E_4 = NESTED_END_TO_END.must(
    "NST-E2E-4",
    "An interrupt for L1 is delivered to L1, if L1 does not mask it, whether L1 or L2 runs when it comes.",
    SDM("29.2"),
    XEN("8b3721c542 and 25df013e7a (2020)", "RVI is L1's whatever the exit acknowledged"),
    observe="At quiescence: each interrupt for L1 against the deliveries to L1 since.",
)

KVM_NST_8 = KVM_NESTED.must(
    "KVM-NST-8",
    "Where L1 has entered L2 without posted interrupts, the vector that was PINV12 before is an interrupt for L1 like any other.",
    SDM("29.6, step 1", "it takes process-posted-interrupts"),
    KERNEL("1ed0f119c5ff (2024)"),
    premise="the vector is sent while L2 runs without posted interrupts",
    observe="At quiescence it was delivered to L1.",
)

KVM_NST_12 = KVM_NESTED.must(
    "KVM-NST-12",
    "An interrupt for L1, of a priority that L1 admits, that is found on the way into L2 makes L2 exit to L1 before L2 goes on.",
    SDM("25.2", "external interrupts cause VM exits where L1 asks for it", read=False),
    KERNEL("f27a85c4988d (2017)"),
    premise="an interrupt for L1 comes while L2 is active",
    observe="At quiescence no vCPU has L2 active with such an interrupt waiting for L1.",
)

KVM_NST_13 = KVM_NESTED.must(
    "KVM-NST-13",
    "Where L2 owns L1's local APIC and ends what L1 has in service, SVI is the highest vector in vISR when L1 runs again.",
    SDM("29.1.4"),
    LINUX(f"{VMX} vmx_hwapic_isr_update", "comment; it is deferred to the exit to L1"),
    premise="L2 ends an interrupt of L1's",
    observe="SVI against vISR at each entry to L1 since.",
)


class Owed(NamedTuple):
    sent: Posting = Posting()
    while_l2: bool = False
    """L2 was active when the last call began."""


class OwnInterrupts(Monitor):
    """One vector of L1's. That PINV12 is L1's only where L2 does without, is another clause: once an L2 is entered that has
    posted interrupts, what has not been delivered was a notification of that one.
    """

    clauses = (NST_E2E_4, KVM_NST_8, KVM_NST_12)
    events = (ev.Called, ev.Returned, ev.Changed, ev.Delivered, ev.Entered)
    memory = Owed()

    def __init__(self, vcpu: str, vector: int) -> None:
        self.vcpu, self.vector, self.name = vcpu, vector, f"{vcpu}.l1.{vector}"
        self.pir = bit(vcpu, "pid.pir", vector)
        self.about = (self.pir, bit(vcpu, "virr", vector), vcpu)

    def on(self, event: ev.Event, memory: Owed, look: Look) -> Owed:
        match event:
            case ev.Called(routine="deliver_interrupt", args=(self.vcpu, self.vector)):
                active = in_l2(look, self.vcpu)
                plain = active and not posting(look, self.vcpu)
                return Owed(memory.sent.begins(), active) if self.vector != PINV12 or plain else Owed()
            case ev.Returned(routine="deliver_interrupt", args=(self.vcpu, self.vector)) if memory.sent.calls:
                return memory._replace(sent=memory.sent.returns())
            case ev.Changed(at=self.pir.name, set_bits=bits) if bits & self.pir.mask and memory.sent.unset:
                return memory._replace(sent=memory.sent.sets())
            case ev.Entered(vcpu=self.vcpu) if self.vector == PINV12 and posting(look, self.vcpu):
                return Owed()
            case ev.Delivered(vcpu=self.vcpu, vector=self.vector):
                self._exercised(memory, look)
                return memory._replace(sent=memory.sent.delivered())
            case _:
                return memory

    def _exercised(self, memory: Owed, look: Look) -> None:
        if memory.sent.owed or memory.sent.unset:
            look.witness(NST_E2E_4)
            if self.vector == PINV12:
                look.witness(KVM_NST_8)
            elif memory.while_l2:
                look.witness(KVM_NST_12)

    def at_rest(self, memory: Owed, look: Look) -> None:
        serving = max((v for v in look.in_service(self.vcpu) if v < 256), default=0)
        if not memory.sent.owed or not (where := settled(look, self.vcpu)) or serving >> 4 >= self.vector >> 4:
            return
        if self._masked(look):
            return
        self._exercised(memory, look)
        said = f"{where}, and vector {self.vector}, which was sent to L1, is not delivered"
        look.breach(NST_E2E_4, said, *self.about)
        if self.vector == PINV12:
            look.breach(KVM_NST_8, said, *self.about, Subject(f"{self.vcpu}.l2.vmcs12"))
        elif in_l2(look, self.vcpu):
            look.breach(KVM_NST_12, said, *self.about)

    def _masked(self, look: Look) -> bool:
        """By L1, or by L2, whose instructions are not told apart. While L2 runs L1's interrupt flag does not matter."""
        executed = look.executed(self.vcpu)
        if in_l2(look, self.vcpu):
            return task_priority(executed) >> 4 >= self.vector >> 4
        return not open_after(executed, self.vector)


class Servicing(Monitor):
    """Memory: whether L2 has ended an interrupt of L1's since L1 ran."""

    clauses = (KVM_NST_13,)
    events = (ev.GuestActed, ev.Entered)
    memory = False

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.svi"

    def on(self, event: ev.Event, memory: bool, look: Look) -> bool:
        match event:
            case ev.GuestActed(vcpu=self.vcpu, action=("apic_eoi",)) if in_l2(look, self.vcpu):
                return True
            case ev.Entered(vcpu=self.vcpu) if memory and not in_l2(look, self.vcpu):
                look.witness(KVM_NST_13)
                highest = max(wide(look, f"{self.vcpu}.visr").bit_length() - 1, 0)
                svi = word(look.value(f"{self.vcpu}.svi"))
                if svi != highest:
                    said = f"L1 of {self.vcpu} is entered with SVI = {svi}, and {highest} is the highest vector in vISR"
                    look.breach(KVM_NST_13, said, f"{self.vcpu}.svi", *of(self.vcpu, "visr"), self.vcpu)
                return False
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    sent = {t.args[:2] for t in scenario.threads if t.routine == "deliver_interrupt"}
    made: list[Monitor] = [OwnInterrupts(str(vcpu), vector) for vcpu, vector in sorted(sent) if isinstance(vector, int)]
    ending = [n for n, vcpu in enumerate(scenario.vcpus) if ("apic_eoi",) in vcpu.program]
    return [*made, *(Servicing(f"vcpu{n}") for n in ending)]
