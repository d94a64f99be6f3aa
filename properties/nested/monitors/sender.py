"""How KVM sends L2's notification: what it leaves behind before it looks at the vCPU's mode, and by which vector."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.nested import NPINV, PINV12
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.nested.catalogue import BONZINI, KERNEL, KVM_LIST, KVM_NESTED, LINUX, MODE, VMX

KVM_NST_2 = KVM_NESTED.must(
    "KVM-NST-2",
    "The sender of PINV12 notes that it is pending and requests an event, has a full barrier, and only then reads vcpu->mode.",
    KERNEL("6b6977117f50"),
    LINUX(f"{VMX} vmx_deliver_nested_posted_interrupt", "comment"),
    kind="discipline",
    role="nested_sender",
    authority="linux",
    profiles=("kvm",),
    premise="L2 is active with posted interrupts",
    observe="Each read of mode by a call that posted nothing to L1: a request made before it, no store of it still buffered.",
)

KVM_NST_3 = KVM_NESTED.must(
    "KVM-NST-3",
    "L2's notification has a physical vector of its own, so that it does not process L1's descriptor where L2 has just exited.",
    KERNEL("705699a13994"),
    kind="discipline",
    role="nested_sender",
    authority="linux",
    profiles=("kvm",),
    premise="L2 is active with posted interrupts",
    observe="The vector that a call sends which posted nothing to L1.",
)

MODE_6 = MODE.must(
    "MODE-6",
    "Where mode counts its generations, its four values are in bits 1:0, each entry counts one up above them, and a sender that "
    "has sent L2's notification reads mode again, and once more if it differs.",
    KVM_LIST(BONZINI, "the proposal"),
    kind="discipline",
    role="nested_sender",
    premise="mode counts",
    observe="Each change of mode to IN_GUEST_MODE, and what a sender reads between its message and its return.",
)

MODE_9 = MODE.may(
    "MODE-9",
    "L2's notification may come in root mode, and its handler need not do anything.",
    KVM_LIST(BONZINI),
    observe="A trace where NPINV is taken in root mode.",
)


class Sending(Monitor):
    """Memory: of each pCPU how far its call has come: "" nothing yet, posted, requested, sent."""

    clauses = (KVM_NST_2, KVM_NST_3, MODE_6)
    witnesses = (MODE_9,)
    events = (ev.Called, ev.Asked, ev.Changed, ev.Sent, ev.Returned, ev.Taken)

    def __init__(self, vcpu: str, cpus: int) -> None:
        self.vcpu, self.name, self.mode = vcpu, f"{vcpu}.sending", f"{vcpu}.mode"
        self.requests, self.pir = f"{vcpu}.requests", f"{vcpu}.pid.pir["
        self.memory = ("",) * cpus

    def on(self, event: ev.Event, memory: tuple[str, ...], look: Look) -> tuple[str, ...]:
        if isinstance(event, ev.Taken):
            if event.vector == NPINV and not event.guest:
                look.witness(MODE_9)
            return memory
        if isinstance(event, ev.Changed) and event.at == self.mode:
            self._entered(event, look)
        if getattr(event, "routine", "") != "deliver_interrupt" or event.cpu < 0:
            return memory
        stage = self._stage(event, memory[event.cpu], look)
        return (*memory[: event.cpu], stage, *memory[event.cpu + 1 :])

    def _stage(self, event: ev.Event, stage: str, look: Look) -> str:
        match event:
            case ev.Called(args=(self.vcpu, vector)):
                return "" if vector == PINV12 else "posted"
            case ev.Called() | ev.Returned() if stage != "sent":
                return "posted" if isinstance(event, ev.Called) else ""
            case ev.Asked(operation=ops.Rmw(at=at)) if at.startswith(self.pir):
                return "posted"
            case ev.Asked(operation=ops.Rmw(at=self.requests) | ops.Store(at=self.requests)) if stage != "posted":
                return "requested"
            case ev.Asked(operation=ops.Load(at=self.mode) | ops.Rmw(at=self.mode)) if stage != "posted":
                return self._looks(event.cpu, stage, look)
            case ev.Sent(vector=vector) if stage != "posted":
                look.witness(KVM_NST_3)
                if vector == PINV:
                    said = f"deliver_interrupt posted nothing to L1 of {self.vcpu}, and sends L1's notification vector"
                    look.breach(KVM_NST_3, said, f"{self.vcpu}.guest_mode", self.vcpu)
                return "sent"
            case ev.Returned() if self._counts(look):
                said = (
                    f"deliver_interrupt returns without a look at mode of {self.vcpu} after it sent L2's notification"
                )
                look.breach(MODE_6, said, self.mode, self.vcpu)
            case _:
                return stage
        return ""

    def _looks(self, cpu: int, stage: str, look: Look) -> str:
        if stage == "sent":
            return "requested"
        hidden = look.buffered(cpu, self.requests) or look.buffered(cpu, f"{self.vcpu}.pi_pending")
        if stage == "requested":
            look.witness(KVM_NST_2)
        if stage != "requested" or hidden:
            how = "while its request waits in the store buffer" if hidden else "before it has requested anything"
            look.breach(KVM_NST_2, f"deliver_interrupt reads mode of {self.vcpu} {how}", self.mode, self.vcpu)
        return stage

    def _counts(self, look: Look) -> bool:
        mode = look.value(self.mode)
        return isinstance(mode, int) and mode > 3

    def _entered(self, event: ev.Changed, look: Look) -> None:
        if not (isinstance(event.old, int) and isinstance(event.new, int)) or event.new & 3 != 1:
            return
        if max(event.old, event.new) > 3:
            look.witness(MODE_6)
            if event.new >> 2 != (event.old >> 2) + 1:
                said = f"mode of {self.vcpu} goes from {event.old:#x} to {event.new:#x}: its count is to go up by one"
                look.breach(MODE_6, said, self.mode, self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    posts = any(thread.routine.startswith("l1_") for thread in scenario.threads)
    return [Sending(f"vcpu{n}", scenario.cpus) for n in range(len(scenario.vcpus)) if posts]
