"""KVM's sender: the order of its steps (Linux 6.1, vmx_deliver_posted_interrupt, kvm_vcpu_trigger_posted_interrupt).

Disciplines. They read KVM's own locations (`vcpuN.mode`, `vcpuN.cpu`, ...) and apply where an implementation declares
them.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.x86.monitors.end_to_end import PINV, word
from properties.x86.monitors.subjects import on

IN, ON = 1, 1
SENDER = "deliver_interrupt"


class Call(NamedTuple):
    """How far a delivery in progress has come."""

    pir: bool = False
    on: bool = False
    mode: int = -1
    sent: bool = False
    excused: bool = False


class SenderOrder(Monitor):
    """KVM-SND-1, 4, 5. Memory: the delivery in progress on one CPU."""

    clauses = ("KVM-SND-1", "KVM-SND-4", "KVM-SND-5")
    witnesses = ("KVM-SND-2", "KVM-SND-3", "KVM-SND-8", "KVM-SND-9")
    events = (ev.Asked, ev.Sent, ev.Returned)

    def __init__(self, cpu: int, vcpu: str) -> None:
        self.cpu, self.vcpu, self.name = cpu, vcpu, f"{vcpu}.sender.cpu{cpu}"
        self.memory = Call()
        self.mode, self.on_bit = f"{vcpu}.mode", on(vcpu)

    def on(self, event: ev.Event, memory: Call, look: Look) -> Call:
        if event.cpu != self.cpu or getattr(event, "routine", SENDER) != SENDER:
            return memory
        match event:
            case ev.Asked(operation=op, result=result):
                return self._asked(op, result, memory, look)
            case ev.Sent(vector=vector, to=to) if vector == PINV:
                if memory.mode < 0:
                    look.breach("KVM-SND-1", "the notification is sent before mode was read", self.mode, self.vcpu)
                if to != look.place(self.vcpu):
                    look.witness("KVM-SND-9", f"{self.vcpu}.cpu", self.vcpu)
                return memory._replace(sent=True)
            case ev.Returned(args=(self.vcpu, *_)):
                if memory.mode == IN:
                    look.witness("KVM-SND-5")
                    if not memory.sent and not memory.excused:
                        said = f"the sender read mode = IN of {self.vcpu} and sent no notification"
                        look.breach("KVM-SND-5", said, self.mode, self.vcpu)
                elif memory.mode >= 0 and not word(look.value(f"{self.vcpu}.blocking")):
                    look.witness("KVM-SND-8", self.mode, self.vcpu)
                return Call()
            case _:
                return memory

    def _asked(self, op: ops.Operation, result: ops.Result, memory: Call, look: Look) -> Call:
        match op:
            case ops.Rmw(at=at, how="or", value=bits) if at.startswith(f"{self.vcpu}.pid.pir["):
                if isinstance(result, int) and result & bits:
                    look.witness("KVM-SND-2", Subject(at, bits), self.vcpu)
                return memory._replace(pir=True)
            case ops.Rmw(at=at) | ops.Store(at=at) if at == f"{self.vcpu}.pid.control":
                if not memory.pir:
                    pir = [f"{self.vcpu}.pid.pir[{w}]" for w in range(4)]
                    said = "the sender sets ON before it has set its PIR bit"
                    look.breach("KVM-SND-1", said, self.on_bit, *pir, self.vcpu)
                if isinstance(op, ops.Rmw) and isinstance(result, int) and result & ON:
                    look.witness("KVM-SND-3", self.on_bit, self.vcpu)
                return memory._replace(on=True)
            case ops.Load(at=at) if at == f"{self.vcpu}.mode":
                look.witness("KVM-SND-1")
                look.witness("KVM-SND-4")
                if not memory.on:
                    said = "the sender reads mode before it has set ON"
                    look.breach("KVM-SND-1", said, self.mode, self.on_bit, self.vcpu)
                elif look.buffered(self.cpu, f"{self.vcpu}.pid."):
                    said = "the sender reads mode while its own store to the descriptor is still in its buffer"
                    look.breach("KVM-SND-4", said, self.on_bit, self.mode, self.vcpu)
                return memory._replace(mode=word(result) if isinstance(result, int) else -1)
            case ops.Load(at=at) if at.endswith(".running_vcpu"):
                return memory._replace(excused=result == (self.vcpu,))
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    agents = [*scenario.threads, *scenario.interrupts]
    cpus = {(a.cpu, str(a.args[0])) for a in agents if a.routine == SENDER}
    if "apicv-inhibited" in scenario.facts:
        return []
    return [SenderOrder(cpu, vcpu) for cpu, vcpu in sorted(cpus)]
