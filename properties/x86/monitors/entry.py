"""KVM's target side: entering the guest and harvesting PIR in software (Linux 6.1, vcpu_enter_guest,
vmx_sync_pir_to_irr).
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.x86.monitors.end_to_end import PINV, word
from properties.x86.monitors.processor import HARDWARE
from properties.x86.monitors.sender import IN, SENDER
from properties.x86.monitors.subjects import latched, on

EXITING = 2


class Entry(NamedTuple):
    """What this vCPU's thread has done since its last exit: mode stored and visible as IN, ON read after that, requests
    read, a look between announcing and sleeping, and the routine that cleared ON if its call is still in progress,
    and (APICv inhibited) whether it moved a vector into vIRR and has not requested an event for it.
    """

    inside: bool = False
    looked: bool = False
    requests: bool = False
    announced: bool = False
    checked: bool = False
    cleared: str = ""
    exited: bool = False
    moved: bool = False


class EntryOrder(Monitor):
    """KVM-ENT-1, 2, 3, 4, 6, 7, 8, 9, 12 and KVM-PI-16, 15, PID-8."""

    clauses = (
        "KVM-ENT-1", "KVM-ENT-2", "KVM-ENT-3", "KVM-ENT-4", "KVM-ENT-6", "KVM-ENT-7", "KVM-ENT-8", "KVM-ENT-9",
        "KVM-ENT-12", "KVM-PI-16", "PID-8",
    )  # fmt: skip
    witnesses = ("KVM-ENT-5", "KVM-PI-15", "KVM-SND-6", "E2E-12")
    events = (ev.Asked, ev.Changed, ev.Entered, ev.Exited, ev.Taken, ev.Slept, ev.Returned)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.entry"
        self.memory = Entry()
        self.inhibited = "apicv-inhibited" in scenario.facts
        self.control, self.mode = f"{vcpu}.pid.control", f"{vcpu}.mode"
        self.pir = [f"{vcpu}.pid.pir[{w}]" for w in range(4)]
        self.virr = [f"{vcpu}.virr[{w}]" for w in range(4)]

    def on(self, event: ev.Event, memory: Entry, look: Look) -> Entry:
        match event:
            case ev.Asked(cpu=cpu) if cpu >= 0 and isinstance(
                event.operation, ops.Load | ops.Store | ops.Rmw | ops.PrepareToBlock
            ):
                return self._asked(event, memory, look)
            case ev.Changed(at=self.mode, new=new) if new != EXITING:
                return memory._replace(inside=new == IN, looked=False, requests=False)
            case ev.Changed(at=at, routine=routine, cpu=cpu) if self.inhibited and at.startswith(f"{self.vcpu}.virr["):
                if routine not in (SENDER, *HARDWARE) and look.on_cpu(cpu) == self.vcpu and event.set_bits:
                    return memory._replace(moved=True)
            case ev.Entered(vcpu=self.vcpu):
                self._entered(memory, look)
                return memory._replace(looked=False, requests=False, exited=False)
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                if reason[0] == "interrupt" and not any(
                    word(look.value(f"{self.vcpu}.pid.pir[{w}]")) for w in range(4)
                ):
                    look.witness("E2E-12", *self.pir, self.vcpu)
                return memory._replace(looked=False, requests=False, exited=True)
            case ev.Taken(vector=vector, guest="", cpu=cpu) if vector == PINV and look.on_cpu(cpu) == self.vcpu:
                look.witness("KVM-ENT-3")
                if look.has(self.mode) and look.value(self.mode) == IN and memory.inside:
                    said = f"cpu{cpu} takes the notification in root mode between mode := IN and the VM entry"
                    look.breach("KVM-ENT-3", said, self.mode, latched(cpu, vector), self.vcpu)
            case ev.Slept(thread=self.vcpu):
                look.witness("KVM-PI-16")
                if not memory.checked:
                    said = f"{self.vcpu} sleeps without having looked for an interrupt since it announced it would"
                    look.breach("KVM-PI-16", said, on(self.vcpu), f"{self.vcpu}.status", self.vcpu)
                return memory._replace(announced=False, checked=False)
            case ev.Returned(routine=routine, args=(self.vcpu, *_)) if routine == memory.cleared:
                return memory._replace(cleared="")
            case _:
                pass
        return memory

    def _asked(self, event: ev.Asked, memory: Entry, look: Look) -> Entry:
        op, result, routine = event.operation, event.result, event.routine
        if isinstance(op, ops.Store) and op.at.startswith(f"{self.vcpu}.pid.") and routine not in HARDWARE:
            said = f"{routine} changes {op.at} by a plain store; others change it at the same time"
            look.breach("PID-8", said, Subject(op.at, op.mask), self.vcpu)
        if isinstance(op, ops.Rmw) and op.at.startswith(f"{self.vcpu}.pid."):
            look.witness("PID-8")
        if isinstance(op, ops.Rmw) and op.at.startswith(f"{self.vcpu}.pid.pir[") and op.how in ("swap", "and"):
            self._harvests(event, memory, look)
        asks_running = isinstance(op, ops.Load) and op.at.endswith(".running_vcpu") and result == (self.vcpu,)
        if asks_running and look.has(self.mode) and look.value(self.mode) == IN:
            look.witness("KVM-SND-6", self.mode, self.vcpu)
        if look.on_cpu(event.cpu) != self.vcpu or routine in (SENDER, *HARDWARE):
            return memory
        match op:
            case ops.Store(at=self.mode, value=value) if value == IN:
                look.witness("KVM-ENT-1")
                if look.interrupts_on(event.cpu):
                    said = f"mode := IN on cpu{event.cpu} with interrupts on"
                    look.breach("KVM-ENT-1", said, self.mode, f"cpu{event.cpu}.interrupts", self.vcpu)
            case ops.Load(at=self.control, mask=mask) | ops.Rmw(at=self.control, mask=mask) if mask & 1:
                if not word(result if isinstance(result, int) else 0) & 1:
                    look.witness("KVM-ENT-5", on(self.vcpu), self.vcpu)
                cleared = routine if isinstance(op, ops.Rmw) and op.how == "and" else memory.cleared
                if cleared and routine == "vcpu_halt":
                    look.witness("KVM-PI-15", on(self.vcpu), self.vcpu)
                return memory._replace(looked=memory.inside, checked=memory.announced, cleared=cleared)
            case ops.Load(at=at) if at == f"{self.vcpu}.requests":
                return memory._replace(requests=memory.inside and not result)
            case ops.Rmw(at=at) | ops.Store(at=at) if at == f"{self.vcpu}.requests" and memory.moved:
                look.witness("KVM-ENT-7")
                return memory._replace(moved=False)
            case ops.PrepareToBlock():
                return memory._replace(announced=True, checked=False)
            case _:
                pass
        return memory

    def _harvests(self, event: ev.Asked, memory: Entry, look: Look) -> None:
        if event.routine in HARDWARE:
            return
        for clause in ("KVM-ENT-4", "KVM-ENT-12"):
            look.witness(clause)
        if look.on_cpu(event.cpu) != self.vcpu:
            said = f"{event.routine} harvests {self.vcpu}'s PIR on cpu{event.cpu}, where another vCPU is loaded"
            look.breach("KVM-ENT-12", said, *self.pir, self.vcpu, f"cpu{event.cpu}")
        elif not memory.cleared:
            said = f"{event.routine} takes PIR before it has cleared ON"
            look.breach("KVM-ENT-4", said, on(self.vcpu), *self.pir, self.vcpu)

    def _entered(self, memory: Entry, look: Look) -> None:
        if not self.inhibited:
            look.witness("KVM-ENT-6")
            irr = sum(word(look.value(f"{self.vcpu}.virr[{w}]")) << 64 * w for w in range(4))
            highest, rvi = max(irr.bit_length() - 1, 0), word(look.value(f"{self.vcpu}.rvi"))
            if highest != rvi:
                said = f"VM entry of {self.vcpu} with RVI = {rvi}, while the highest vector in vIRR is {highest}"
                look.breach("KVM-ENT-6", said, f"{self.vcpu}.rvi", *self.virr, self.vcpu)
        elif memory.moved:
            said = f"VM entry of {self.vcpu} after a harvest that moved a vector, without an event request for it"
            look.breach("KVM-ENT-7", said, *self.virr, f"{self.vcpu}.requests", self.vcpu)
        if not look.has(self.mode):
            return
        for clause in ("KVM-ENT-2", "KVM-ENT-8"):
            look.witness(clause)
        if memory.exited:
            look.witness("KVM-ENT-9")
        if not memory.looked:
            clause = "KVM-ENT-9" if memory.exited and memory.inside else "KVM-ENT-2"
            said = f"VM entry of {self.vcpu} without a look at ON since mode := IN became visible"
            look.breach(clause, said, on(self.vcpu), self.mode, self.vcpu)
        if not memory.requests and not (memory.exited and memory.inside):
            said = f"VM entry of {self.vcpu} without a look at requests since mode := IN"
            look.breach("KVM-ENT-8", said, f"{self.vcpu}.requests", self.mode, self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    return [EntryOrder(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
