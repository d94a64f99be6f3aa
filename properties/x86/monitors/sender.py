"""KVM's sender: the order of its steps (Linux 6.1, vmx_deliver_posted_interrupt, kvm_vcpu_trigger_posted_interrupt).

Disciplines. They read KVM's own locations (`vcpuN.mode`, `vcpuN.cpu`, ...) and apply where an implementation declares
them.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import KERNEL, KVM_SENDER, LINUX, REQUESTS, VMX, XEN
from properties.x86.monitors.registers import word
from properties.x86.monitors.subjects import on, pir

IN, ON = 1, 1

SENDER = "deliver_interrupt"

KVM_SND_1 = KVM_SENDER.must(
    "KVM-SND-1",
    "The sender sets the PIR bit, then sets ON, then reads vcpu->mode, then notifies or wakes.",
    LINUX(f"{VMX} vmx_deliver_posted_interrupt"),
    KERNEL("b95234c84004 (2016)"),
    LINUX(REQUESTS, "request-less kicks"),
    observe="The order of setting the PIR bit, setting ON, reading mode, and sending or waking.",
)

KVM_SND_2 = KVM_SENDER.may(
    "KVM-SND-2",
    "If the PIR bit was already 1 the sender may return without notifying: the one who set it owes the "
    "notification, and may be stalled.",
    LINUX(f"{VMX} vmx_deliver_posted_interrupt"),
    observe="A trace where a delivery finds its PIR bit set and sends nothing.",
)

KVM_SND_3 = KVM_SENDER.may(
    "KVM-SND-3",
    "If ON was already 1 the sender may return without notifying: the one who set it owes the notification.",
    LINUX(f"{VMX} vmx_deliver_posted_interrupt"),
    observe="A trace where a delivery sets its PIR bit, finds ON set and sends nothing.",
)

KVM_SND_4 = KVM_SENDER.must(
    "KVM-SND-4",
    "A full barrier lies between setting ON and reading vcpu->mode (the locked operation is one). With the "
    "barrier after the target's store of mode it excludes that the sender reads an old mode while the target "
    "reads an old ON.",
    LINUX(f"{VMX} vmx_deliver_posted_interrupt", "comment"),
    LINUX(REQUESTS),
    observe=(
        "Under TSO, that the sender's own change of the descriptor has left its store buffer when it reads mode. A locked operation "
        "leaves nothing there, so a plain store alone can break it."
    ),
)

KVM_SND_5 = KVM_SENDER.must(
    "KVM-SND-5",
    "If vcpu->mode is IN_GUEST_MODE and the target is not the vCPU running on this pCPU, the sender sends the "
    "notification vector to vcpu->cpu.",
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt"),
    observe="After such a read of mode a notification to the pCPU read from vcpu->cpu is put in flight.",
)

KVM_SND_8 = KVM_SENDER.may(
    "KVM-SND-8",
    "If vcpu->mode is not IN_GUEST_MODE and the vCPU is not blocking, the sender may do nothing more: the sync at "
    "entry takes the vector and no kick is needed.",
    KERNEL("b95234c84004 (2016)"),
    KERNEL("3ce7bf58e125 in a mirror", '"Don\'t do full kick when triggering posted interrupt fails"'),
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt"),
    observe=(
        "A trace where the sender returns after a mode other than IN_GUEST_MODE and has sent and woken nothing, while the vCPU's "
        "thread is neither asleep nor about to be."
    ),
)

KVM_SND_9 = KVM_SENDER.may(
    "KVM-SND-9",
    "vcpu->cpu may be stale when the IPI is sent, because the vCPU has moved. To move it had to leave the guest, "
    "and it syncs before entering again.",
    LINUX("virt/kvm/kvm_main.c kvm_vcpu_kick", "comment"),
    XEN("xen/arch/x86/hvm/vmx/vmx.c", "comment on a stale processor"),
    observe="A trace where a software sender's notification goes to a pCPU that the vCPU has left.",
)


class Call(NamedTuple):
    """How far a delivery in progress has come."""

    pir: bool = False
    on: bool = False
    mode: int = -1
    sent: bool = False
    woke: bool = False
    found: bool = False
    """Its PIR bit was 1 already."""
    outstanding: bool = False
    """ON was."""
    excused: bool = False
    to: int = -1
    """What it has read of vcpu->cpu since it read mode."""


class SenderOrder(Monitor):
    """Memory: the delivery in progress on one CPU."""

    clauses = (KVM_SND_1, KVM_SND_4, KVM_SND_5)
    witnesses = (KVM_SND_2, KVM_SND_3, KVM_SND_8, KVM_SND_9)
    events = (ev.Asked, ev.Sent, ev.Woken, ev.Returned)

    def __init__(self, cpu: int, vcpu: str, buffers: bool) -> None:
        self.cpu, self.vcpu, self.buffers, self.name = cpu, vcpu, buffers, f"{vcpu}.sender.cpu{cpu}"
        self.memory = Call()
        self.mode, self.place, self.on_bit = f"{vcpu}.mode", f"{vcpu}.cpu", on(vcpu)

    def on(self, event: ev.Event, memory: Call, look: Look) -> Call:
        if event.cpu != self.cpu or getattr(event, "routine", SENDER) != SENDER:
            return memory
        match event:
            case ev.Asked(operation=op, result=result):
                return self._asked(op, result, memory, look)
            case ev.Sent(vector=vector, to=to) if vector == PINV:
                if memory.mode < 0:
                    look.breach(KVM_SND_1, "the notification is sent before mode was read", self.mode, self.vcpu)
                if memory.mode == IN and look.has(self.place) and to != memory.to:
                    said = f"the notification goes to cpu{to}, which is not what the sender read of {self.place} after mode = IN"
                    look.breach(KVM_SND_5, said, self.place, self.mode, self.vcpu)
                if to != look.place(self.vcpu):
                    look.witness(KVM_SND_9, self.place, self.vcpu)
                return memory._replace(sent=True)
            case ev.Woken(thread=self.vcpu, was=was):
                if memory.mode < 0 and look.has(self.mode):
                    look.breach(KVM_SND_1, f"{self.vcpu} is woken before mode was read", self.mode, self.vcpu)
                return memory._replace(woke=memory.woke or was != "runnable")
            case ev.Returned(args=(self.vcpu, int(vector), *_)):
                self._over(vector, memory, look)
                return Call()
            case _:
                return memory

    def _over(self, vector: int, memory: Call, look: Look) -> None:
        if memory.mode == IN:
            look.witness(KVM_SND_5)
            if not memory.sent and not memory.excused:
                said = f"the sender read mode = IN of {self.vcpu} and sent no notification"
                look.breach(KVM_SND_5, said, self.mode, self.vcpu)
        if memory.sent or memory.woke:
            return
        if memory.mode < 0 and memory.found:
            look.witness(KVM_SND_2, pir(self.vcpu, vector), self.vcpu)
        elif memory.mode < 0 and memory.outstanding:
            look.witness(KVM_SND_3, self.on_bit, self.vcpu)
        elif memory.mode not in (-1, IN) and look.status(self.vcpu) == "runnable":
            look.witness(KVM_SND_8, self.mode, self.vcpu)

    def _asked(self, op: ops.Operation, result: ops.Result, memory: Call, look: Look) -> Call:
        match op:
            case ops.Rmw(at=at, how="or", value=bits) if at.startswith(f"{self.vcpu}.pid.pir["):
                return memory._replace(pir=True, found=isinstance(result, int) and bool(result & bits))
            case ops.Rmw(at=at, how="cas", expect=expect, mask=mask) if at.startswith(f"{self.vcpu}.pid.pir["):
                return memory._replace(pir=memory.pir or result == expect & mask)
            case ops.Rmw(at=at) | ops.Store(at=at) if at == f"{self.vcpu}.pid.control":
                if not memory.pir:
                    pir = [f"{self.vcpu}.pid.pir[{w}]" for w in range(4)]
                    said = "the sender sets ON before it has set its PIR bit"
                    look.breach(KVM_SND_1, said, self.on_bit, *pir, self.vcpu)
                outstanding = isinstance(op, ops.Rmw) and isinstance(result, int) and bool(result & ON)
                return memory._replace(on=True, outstanding=outstanding)
            case ops.Load(at=at) if at == f"{self.vcpu}.mode":
                look.witness(KVM_SND_1)
                if self.buffers:
                    look.witness(KVM_SND_4)
                if not memory.on:
                    said = "the sender reads mode before it has set ON"
                    look.breach(KVM_SND_1, said, self.mode, self.on_bit, self.vcpu)
                elif look.buffered(self.cpu, f"{self.vcpu}.pid."):
                    said = "the sender reads mode while its own store to the descriptor is still in its buffer"
                    look.breach(KVM_SND_4, said, self.on_bit, self.mode, self.vcpu)
                return memory._replace(mode=word(result) if isinstance(result, int) else -1)
            case ops.Load(at=self.place) if memory.mode >= 0 and isinstance(result, int):
                return memory._replace(to=result)
            case ops.Load(at=at) if at.endswith(".running_vcpu"):
                return memory._replace(excused=result == (self.vcpu,))
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    agents = [*scenario.threads, *scenario.interrupts]
    cpus = {(a.cpu, str(a.args[0])) for a in agents if a.routine == SENDER}
    if "apicv-inhibited" in scenario.facts:
        return []
    return [SenderOrder(cpu, vcpu, bool(scenario.buffer)) for cpu, vcpu in sorted(cpus)]
