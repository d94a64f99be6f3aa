"""What a vCPU enters its guest with: list registers that the architecture allows, and all that was active still active.

Looked at in VM entries, where software's writes become hardware's. What is known of an interrupt here: which vCPU
acknowledged it and has not deactivated it.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LEVEL, LPI
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import ACTIVE, PENDING, HeldInRegister, intid_of, list_registers, registers, word
from properties.arm.monitors.routing import CHANGING, Routing, written


class Contents(Monitor):
    """GICV2-LR-UNIQ, LR-9, VGIC-RT-3, VGIC-EOI-1: of each entry alone."""

    clauses = ("GICV2-LR-UNIQ", "GICV2-LR-9", "VGIC-RT-3", "VGIC-EOI-1")
    events = (ev.Entered,)
    name = "list_registers"

    def __init__(self, scenario: Scenario) -> None:
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
        self.levels = level_sensitive(scenario)

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Entered):
            return
        valid = list_registers(look, event.cpu)
        seen: dict[int, HeldInRegister] = {}
        for r in valid:
            at = f"cpu{event.cpu}.lr[{r.number}]"
            look.witness("GICV2-LR-UNIQ")
            if r.intid in seen:
                other = f"cpu{event.cpu}.lr[{seen[r.intid].number}]"
                said = f"{event.vcpu} enters its guest with interrupt {r.intid} in {at} and in {other}"
                look.breach("GICV2-LR-UNIQ", said, at, other, event.vcpu)
            seen[r.intid] = r
            if r.hw:
                look.witness("GICV2-LR-9")
                if r.state == PENDING | ACTIVE:
                    look.breach("GICV2-LR-9", f"{at} is pending and active and linked to a physical interrupt", at)
            elif r.intid in self.levels:
                look.witness("VGIC-EOI-1")
                if not r.eoi:
                    said = f"{event.vcpu} enters its guest with level interrupt {r.intid} in {at}, and EOI = 0: nobody is told"
                    look.breach("VGIC-EOI-1", f"{said} when the guest ends it", at, event.vcpu)
        self._shared(event, {i for i in seen if i >= 32}, look)

    def _shared(self, event: ev.Entered, spis: set[int], look: Look) -> None:
        for vcpu in self.vcpus:
            cpu = look.in_guest(vcpu)
            if vcpu == event.vcpu or cpu < 0 or not spis:
                continue
            look.witness("VGIC-RT-3")
            for r in list_registers(look, cpu):
                if r.intid in spis:
                    there = f"cpu{cpu}.lr[{r.number}]"
                    said = (
                        f"{event.vcpu} enters its guest on cpu{event.cpu} with interrupt {r.intid} in a list register, "
                    )
                    about = (there, *registers(look, event.cpu), *look.kept(f"irq{r.intid}"), event.vcpu, vcpu)
                    look.breach("VGIC-RT-3", f"{said}and {vcpu} runs with it in {there}", *about)


def level_sensitive(scenario: Scenario) -> set[int]:
    return {i for i in scenario.vectors if i == LEVEL or 16 <= i < 32}


class Held(NamedTuple):
    """`active`: what GICV_IAR answered, acknowledged and not deactivated; `routing` of each SPI; `apr` at the last exit."""

    active: tuple[int, ...] = ()
    routing: tuple[Routing, ...] = ()
    apr: int = 0
    exited: bool = False


class Active(Monitor):
    """GICV2-PRI-4, VGIC-SGI-5, VGIC-EN-3, VGIC-RT-2, GICV2-LR-10: what one vCPU has acknowledged and not ended."""

    clauses = ("GICV2-PRI-4", "VGIC-SGI-5", "VGIC-RT-2", "VGIC-EN-3")
    witnesses = ("GICV2-LR-10",)
    events = (ev.Called, ev.Returned, ev.Delivered, ev.GuestActed, ev.Entered, ev.Exited)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.active"
        self.spis = [i for i in scenario.vectors if 32 <= i < LPI]
        self.ends = "deactivate" if "eoi-mode-1" in scenario.facts else "end_of_interrupt"
        self.levels = level_sensitive(scenario)
        self.memory = Held(routing=tuple(Routing() for _ in self.spis))

    def on(self, event: ev.Event, memory: Held, look: Look) -> Held:
        match event:
            case ev.Called(routine="distributor", args=(_, "icactiver", int(intid), _)):
                return memory._replace(active=tuple(i for i in memory.active if i != intid))
            case ev.Called(routine="distributor") | ev.Returned(routine="distributor"):
                now = tuple(written(event, i, "", r) for i, r in zip(self.spis, memory.routing, strict=True))
                return memory._replace(routing=now) if now != memory.routing else memory
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if vector < LPI:
                return memory._replace(active=(*memory.active, vector))
            case ev.GuestActed(vcpu=self.vcpu, action=(self.ends, int(told))):
                return memory._replace(active=tuple(i for i in memory.active if i != told))
            case ev.Exited(vcpu=self.vcpu, cpu=cpu):
                return memory._replace(apr=word(look.value(f"cpu{cpu}.apr")), exited=True)
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._entered(cpu, memory, look)
                return memory._replace(apr=0, exited=False)
            case _:
                return memory

    def _entered(self, cpu: int, memory: Held, look: Look) -> None:
        apr = word(look.value(f"cpu{cpu}.apr"))
        if memory.exited and memory.apr:
            look.witness("GICV2-PRI-4")
        if memory.exited and apr != memory.apr:
            said = f"{self.vcpu} enters its guest with cpu{cpu}.apr = {apr:#x}; it left with {memory.apr:#x}"
            look.breach("GICV2-PRI-4", said, f"cpu{cpu}.apr", self.vcpu)
        valid = list_registers(look, cpu)
        free = look.has(f"cpu{cpu}.lr[{len(valid)}]")
        for told in memory.active:
            held = [r for r in valid if r.intid == intid_of(told) and r.state & ACTIVE]
            if held or free:
                self._tracked(told, held, memory, cpu, look)

    def _tracked(self, told: int, held: list[HeldInRegister], memory: Held, cpu: int, look: Look) -> None:
        intid = intid_of(told)
        lost = f"{self.vcpu} enters its guest on cpu{cpu} with interrupt {intid} active in no list register"
        if intid < 16:
            look.witness("VGIC-SGI-5")
            if all(r.source != told >> 10 & 7 for r in held):
                said = f"{lost}, nor from vcpu{told >> 10 & 7}" if not held else (
                    f"{self.vcpu} acknowledged SGI {intid} of vcpu{told >> 10 & 7}, and enters its guest with it active "
                    f"as vcpu{held[0].source}'s in cpu{cpu}.lr[{held[0].number}]"
                )  # fmt: skip
                look.breach("VGIC-SGI-5", said, *self._about(intid, cpu, look))
        if intid in self.levels and any(r.state == ACTIVE for r in held):
            look.witness("GICV2-LR-10", *self._about(intid, cpu, look))
        if intid not in self.spis:
            return
        routing = memory.routing[self.spis.index(intid)]
        here = int(self.vcpu.removeprefix("vcpu"))
        for clause, applies, why in (
            ("VGIC-EN-3", routing.enabled == 0, "disabled"),
            ("VGIC-RT-2", routing.target not in (here, CHANGING), f"retargeted to vcpu{routing.target}"),
        ):
            if applies:
                look.witness(clause)
                if not held:
                    said = f"{lost}; the guest acknowledged it and has not ended it, and it was {why}"
                    look.breach(clause, said, *self._about(intid, cpu, look))

    def _about(self, intid: int, cpu: int, look: Look) -> tuple[Subject | str, ...]:
        kept = look.kept(f"irq{intid}" if intid >= 32 else f"{self.vcpu}.irq{intid}")
        return (*registers(look, cpu), *kept, self.vcpu)


class Deactivated(Monitor):
    """VGIC-ACT-1. Memory: the vCPU whose write of GICD_ICACTIVER is under way, and nobody acknowledged since, or ""."""

    clauses = ("VGIC-ACT-1",)
    events = (ev.Called, ev.Delivered, ev.Entered)

    def __init__(self, scenario: Scenario, intid: int) -> None:
        self.intid, self.name = intid, f"deactivated.{intid}"
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
        self.memory = ""

    def on(self, event: ev.Event, memory: str, look: Look) -> str:
        match event:
            case ev.Called(routine="distributor", args=(str(writer), "icactiver", self.intid, _)):
                return writer
            case ev.Delivered(vector=vector) if vector == self.intid:
                return ""
            case ev.Entered(vcpu=vcpu) if vcpu == memory:
                look.witness("VGIC-ACT-1")
                for other in self.vcpus:
                    cpu = look.in_guest(other)
                    for r in list_registers(look, cpu) if cpu >= 0 else ():
                        if r.intid == self.intid and r.state & ACTIVE:
                            at = f"cpu{cpu}.lr[{r.number}]"
                            said = f"{vcpu} goes on after its write of GICD_ICACTIVER, and interrupt {self.intid} is active in "
                            about = (at, *look.kept(f"irq{self.intid}"), vcpu, other)
                            look.breach("VGIC-ACT-1", f"{said}{at}, where {other} runs", *about)
                return ""
            case _:
                return memory


def deactivations(scenario: Scenario) -> list[Monitor]:
    written = {a[2] for v in scenario.vcpus for a in v.program if a[:2] == ("mmio", "icactiver")}
    return [Deactivated(scenario, i) for i in scenario.vectors if i in written]
