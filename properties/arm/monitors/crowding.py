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
from properties.arm.catalogue import IHI_0048, KERNEL, LINUX, PRIORITY, SGIS
from properties.arm.monitors.list_registers import level_sensitive
from properties.arm.monitors.registers import PENDING, HeldInRegister, intid_of, list_registers, registers

Pending = tuple[tuple[int, int], ...]
"""(INTID, source), sorted."""

GICV2_PRI_5 = PRIORITY.must(
    "GICV2-PRI-5",
    "Where list registers run out, the pending interrupts of highest priority are in them, and pending ones "
    "before active ones.",
    LINUX("vgic/vgic.c vgic_irq_cmp() and vgic_flush_lr_state()", "comment"),
    IHI_0048("5.2.1", "recommends it"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    observe="The list registers of vcpu0 at entry, against what is surely pending for it since its last exit.",
)

GICV2_PRI_6 = PRIORITY.may(
    "GICV2-PRI-6",
    "With SGIs of several sources injected one at a time, the list registers do not hold the pending interrupt of "
    "highest priority for a while.",
    LINUX("vgic/vgic.c vgic_flush_lr_state()", "comment: 'Big deal'"),
    role="run_loop",
    authority="linux",
    observe="The list registers at entry while an SGI of another source waits.",
)

GICV2_PRI_7 = PRIORITY.may(
    "GICV2-PRI-7",
    "Priorities that differ in their low three bits only are equal: a list register holds five bits.",
    LINUX("vgic/vgic-v2.c vgic_v2_compute_lr()"),
    authority="linux",
    unchecked="Every priority here has five bits, so two that are equal in a list register are equal throughout.",
)

VGIC_SGI_3 = SGIS.must(
    "VGIC-SGI-3",
    "While one source of an SGI is in a list register, the others wait, and its end is told to the hypervisor "
    "(EOI = 1), which brings the next.",
    LINUX("vgic/vgic-v2.c vgic_v2_compute_lr()", "EOI if more sources"),
    KERNEL("16ca6a607d84 (2018)"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    premise="one source of an SGI is in a list register while another waits",
    observe="Each entry of vcpu0 with a source in a list register while another, known at the exit before, is in none.",
)


class Due(NamedTuple):
    """`now` pending for sure, `known` at the last exit and ever since; `begun`: (caller, INTID, source) in progress;
    `active`: INTIDs that are acknowledged and not ended, or may be active by a register.
    """

    now: Pending = ()
    known: Pending = ()
    begun: tuple[tuple[str, int, int], ...] = ()
    active: tuple[int, ...] = ()


class Crowding(Monitor):
    """For edges and SGIs, and levels as long as nobody lowers their line."""

    clauses = (GICV2_PRI_5,)
    witnesses = (GICV2_PRI_6,)
    events = (ev.Called, ev.Returned, ev.Delivered, ev.GuestActed, ev.Entered, ev.Exited)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.crowding"
        self.ends = "deactivate" if "eoi-mode-1" in scenario.facts else "end_of_interrupt"
        self.number = int(vcpu.removeprefix("vcpu"))
        self.sgis = any(i < 16 for i in scenario.vectors)
        self.levels = level_sensitive(scenario)
        self.clauses = (GICV2_PRI_5, VGIC_SGI_3) if self.sgis else (GICV2_PRI_5,)
        self.memory = Due()

    def on(self, event: ev.Event, memory: Due, look: Look) -> Due:
        match event:
            case ev.Called() | ev.Returned():
                return self._made(event, memory)
            case ev.Delivered(vcpu=self.vcpu, vector=vector):
                key = (vector & 0x3FF, vector >> 10 & 7)
                return Due(
                    tuple(k for k in memory.now if k != key),
                    tuple(k for k in memory.known if k != key),
                    tuple(b for b in memory.begun if b[1:] != key),
                    (*memory.active, intid_of(vector)) if vector < LPI else memory.active,
                )
            case ev.GuestActed(vcpu=self.vcpu, action=(self.ends, int(told))):
                return memory._replace(active=tuple(i for i in memory.active if i != intid_of(told)))
            case ev.GuestActed(action=("device_quiet", int(intid))):
                return self._lowered(intid, memory)
            case ev.Exited(vcpu=self.vcpu):
                return memory._replace(known=memory.now)
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                ready = tuple(k for k in memory.known if k[0] not in memory.active)
                self._entered(ready, cpu, list_registers(look, cpu), look)
                return memory
            case _:
                return memory

    def _made(self, event: ev.Called | ev.Returned, memory: Due) -> Due:
        match event.routine, event.args:
            case "inject", (str(vcpu), int(intid), 0) if intid in self.levels and (intid >= 32 or vcpu == self.vcpu):
                return self._lowered(intid, memory)
            case "inject", (str(vcpu), int(intid), 1) if intid >= 32 or vcpu == self.vcpu:
                calls = {(f"cpu{event.cpu}", intid, 0)}
            case "distributor", (str(writer), "ispendr", int(intid), _) if intid >= 32:
                calls = {(writer, intid, 0)}
            case "distributor", (str(writer), "sgir", int(intid), int(targets)) if targets >> self.number & 1:
                calls = {(writer, intid, int(writer.removeprefix("vcpu")))}
            case "distributor", (self.vcpu, "spendsgir", int(intid), int(sources)):
                calls = {(self.vcpu, intid, source) for source in range(8) if sources >> source & 1}
            case "distributor", (_, "isactiver", int(intid), _) if isinstance(event, ev.Called):
                return memory._replace(active=(*memory.active, intid))
            case "distributor", (_, "icactiver", int(intid), _) if isinstance(event, ev.Returned):
                return memory._replace(active=tuple(i for i in memory.active if i != intid))
            case _:
                return memory
        if isinstance(event, ev.Called):
            return memory._replace(begun=(*memory.begun, *sorted(calls)))
        over = calls & {*memory.begun}
        if not over:
            return memory
        begun = tuple(b for b in memory.begun if b not in over)
        return memory._replace(begun=begun, now=tuple(sorted({*memory.now, *(call[1:] for call in over)})))

    def _lowered(self, intid: int, memory: Due) -> Due:
        """Calls that raise the line and are in progress may take effect before or after."""
        now, known = (tuple(k for k in keys if k[0] != intid) for keys in (memory.now, memory.known))
        return memory._replace(now=now, known=known, begun=tuple(b for b in memory.begun if b[1] != intid))

    def _entered(self, known: Pending, cpu: int, valid: list[HeldInRegister], look: Look) -> None:
        outside = [k for k in known if all((r.intid, r.source) != k for r in valid)]
        pending = [r for r in valid if r.state == PENDING]
        for intid, source in outside:
            held = next((r for r in valid if r.intid == intid), None)
            if intid < 16 and held:
                self._source_waits(intid, source, cpu, held, pending, look)
                continue
            look.witness(GICV2_PRI_5)
            worse = [r for r in valid if r.priority > priority(intid) or r.state != PENDING]
            if worse:
                reason = (
                    f"{self.vcpu} enters its guest with interrupt {intid}, of priority {priority(intid):#x}, pending in no "
                    f"list register, and {said(worse[0])} in lr[{worse[0].number}]"
                )
                look.breach(GICV2_PRI_5, reason, f"cpu{cpu}.lr[{worse[0].number}]", *self._kept(intid, look), self.vcpu)

    def _source_waits(
        self, intid: int, source: int, cpu: int, held: HeldInRegister, pending: list[HeldInRegister], look: Look
    ) -> None:
        """Another source of the SGI is in a list register: its end has to bring this one."""
        look.witness(VGIC_SGI_3)
        if any(r.priority > priority(intid) for r in pending):
            look.witness(GICV2_PRI_6, *registers(look, cpu), self.vcpu)
        if not held.eoi:
            reason = (
                f"{self.vcpu} enters its guest with SGI {intid} of vcpu{held.source} in lr[{held.number}], EOI = 0, while "
                f"SGI {intid} of vcpu{source} waits: nobody is told when the first ends"
            )
            look.breach(VGIC_SGI_3, reason, f"cpu{cpu}.lr[{held.number}]", *self._kept(intid, look), self.vcpu)

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
    sgis = [a for v in scenario.vcpus for a in v.program if a[:2] in (("mmio", "sgir"), ("mmio", "spendsgir"))]
    several = sum(1 if a[1] == "sgir" else int(a[3]).bit_count() for a in sgis) > 1
    registers = 1 if "one-list-register" in scenario.facts else 2
    crowded = len([i for i in scenario.vectors if i < LPI]) > registers or several
    if not crowded or writes & {"icenabler", "itargetsr", "ctlr", "icpendr", "cpendsgir"}:
        return []
    return [Crowding(scenario, "vcpu0")]
