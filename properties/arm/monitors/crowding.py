"""More is pending than list registers hold: what is in them, and what brings the rest.

For one vCPU: what was surely pending for it when it last exited, so that whoever filled the list registers since could
know.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI, PRIORITIES
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import PENDING, HeldInRegister, list_registers, registers

Pending = tuple[tuple[int, int], ...]
"""(INTID, source), sorted."""


class Due(NamedTuple):
    """`now` pending for sure, `known` at the last exit and ever since; `begun`: (caller, INTID, source) in progress."""

    now: Pending = ()
    known: Pending = ()
    begun: tuple[tuple[str, int, int], ...] = ()


class Crowding(Monitor):
    """GICV2-PRI-5 and VGIC-SGI-3; GICV2-PRI-6 is observed. For edges and SGIs."""

    clauses = ("GICV2-PRI-5",)
    witnesses = ("GICV2-PRI-6",)
    events = (ev.Called, ev.Returned, ev.Delivered, ev.Entered, ev.Exited)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.crowding"
        self.number = int(vcpu.removeprefix("vcpu"))
        self.sgis = any(i < 16 for i in scenario.vectors)
        self.clauses = ("GICV2-PRI-5", "VGIC-SGI-3") if self.sgis else ("GICV2-PRI-5",)
        self.memory = Due()

    def on(self, event: ev.Event, memory: Due, look: Look) -> Due:
        match event:
            case ev.Called() | ev.Returned():
                return self._made(event, memory)
            case ev.Delivered(vcpu=self.vcpu, vector=vector):
                key = (vector & 0x3FF, vector >> 10 & 7)
                left = tuple(k for k in memory.now if k != key)
                return Due(
                    left, tuple(k for k in memory.known if k != key), tuple(b for b in memory.begun if b[1:] != key)
                )
            case ev.Exited(vcpu=self.vcpu):
                return memory._replace(known=memory.now)
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._entered(memory.known, cpu, list_registers(look, cpu), look)
                return memory
            case _:
                return memory

    def _made(self, event: ev.Called | ev.Returned, memory: Due) -> Due:
        match event.routine, event.args:
            case "inject", (_, int(intid), 1):
                call = (f"cpu{event.cpu}", intid, 0)
            case "distributor", (str(writer), "ispendr", int(intid), _) if intid >= 32:
                call = (writer, intid, 0)
            case "distributor", (str(writer), "sgir", int(intid), int(targets)) if targets >> self.number & 1:
                call = (writer, intid, int(writer.removeprefix("vcpu")))
            case _:
                return memory
        if isinstance(event, ev.Called):
            return memory._replace(begun=(*memory.begun, call))
        if call not in memory.begun:
            return memory
        begun = tuple(b for b in memory.begun if b != call)
        return memory._replace(begun=begun, now=tuple(sorted({*memory.now, call[1:]})))

    def _entered(self, known: Pending, cpu: int, valid: list[HeldInRegister], look: Look) -> None:
        outside = [k for k in known if all((r.intid, r.source) != k for r in valid)]
        pending = [r for r in valid if r.state == PENDING]
        for intid, source in outside:
            held = next((r for r in valid if r.intid == intid), None)
            if intid < 16 and held:
                self._source_waits(intid, source, cpu, held, pending, look)
                continue
            look.witness("GICV2-PRI-5")
            worse = [r for r in valid if r.priority > priority(intid) or r.state != PENDING]
            if worse:
                reason = (
                    f"{self.vcpu} enters its guest with interrupt {intid}, of priority {priority(intid):#x}, pending in no "
                    f"list register, and {said(worse[0])} in lr[{worse[0].number}]"
                )
                look.breach(
                    "GICV2-PRI-5", reason, f"cpu{cpu}.lr[{worse[0].number}]", *self._kept(intid, look), self.vcpu
                )

    def _source_waits(
        self, intid: int, source: int, cpu: int, held: HeldInRegister, pending: list[HeldInRegister], look: Look
    ) -> None:
        """Another source of the SGI is in a list register: its end has to bring this one."""
        look.witness("VGIC-SGI-3")
        if any(r.priority > priority(intid) for r in pending):
            look.witness("GICV2-PRI-6", *registers(look, cpu), self.vcpu)
        if not held.eoi:
            reason = (
                f"{self.vcpu} enters its guest with SGI {intid} of vcpu{held.source} in lr[{held.number}], EOI = 0, while "
                f"SGI {intid} of vcpu{source} waits: nobody is told when the first ends"
            )
            look.breach("VGIC-SGI-3", reason, f"cpu{cpu}.lr[{held.number}]", *self._kept(intid, look), self.vcpu)

    def _kept(self, intid: int, look: Look) -> tuple[Subject, ...]:
        return look.kept(f"irq{intid}" if intid >= 32 else f"{self.vcpu}.irq{intid}")


def priority(intid: int) -> int:
    return PRIORITIES.get(intid, 0x14)


def said(register: HeldInRegister) -> str:
    state = {1: "pending", 2: "active", 3: "pending and active"}[register.state]
    return f"interrupt {register.intid}, {state}, of priority {register.priority:#x},"


def monitors(scenario: Scenario) -> list[Monitor]:
    """Where interrupts can outnumber list registers, or an SGI has several sources, and none moves or is disabled."""
    writes = {a[1] for v in scenario.vcpus for a in v.program if a[0] == "mmio"}
    several = sum(a[:2] == ("mmio", "sgir") for v in scenario.vcpus for a in v.program) > 1
    registers = 1 if "one-list-register" in scenario.facts else 2
    crowded = len([i for i in scenario.vectors if i < LPI]) > registers or several
    if not crowded or writes & {"icenabler", "itargetsr", "ctlr", "icpendr"}:
        return []
    return [Crowding(scenario, "vcpu0")]
