"""What a guest has acknowledged and not ended: it is still active when its vCPU enters again, or was deactivated for good."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI, SPURIOUS
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import (
    KERNEL,
    LINUX,
    LIST_REGISTERS,
    PRIORITY,
    REGISTERS,
    ROUTING,
    SGIS,
)
from properties.arm.monitors.list_registers import level_sensitive
from properties.arm.monitors.lost import VGIC_OVF_3
from properties.arm.monitors.registers import (
    ACTIVE,
    LRENPIE,
    HeldInRegister,
    intid_of,
    list_registers,
    registers,
    word,
)
from properties.arm.monitors.routing import CHANGING, VGIC_EN_3, Routing, written

GICV2_LR_10 = LIST_REGISTERS.may(
    "GICV2-LR-10",
    "Software never makes a level-sensitive interrupt pending and active: that is only an optimisation.",
    KERNEL("67b5b673ad4d (2018)"),
    role="run_loop",
    authority="linux",
    observe="A level-sensitive interrupt goes through a list register without ever being pending and active.",
)

GICV2_PRI_4 = PRIORITY.must(
    "GICV2-PRI-4",
    "APR is saved and restored with VMCR and the list registers: otherwise an interrupt of lower priority "
    "preempts a handler.",
    LINUX("vgic/vgic-v2.c vgic_v2_put() and vgic_v2_load()"),
    role="residency",
    authority="end-to-end",
    observe="APR at entry against what it was when the vCPU last left its guest.",
)

VGIC_SGI_5 = SGIS.must(
    "VGIC-SGI-5",
    "An SGI that is active when its vCPU leaves the guest is active from the same source when it comes back: the "
    "end must name it.",
    LINUX("vgic/vgic-v2.c vgic_v2_fold_lr()", "active_source"),
    role="run_loop",
    premise="an exit while an SGI is active",
    observe="The list register's CPUID at each entry with an SGI that was acknowledged and not ended.",
)

VGIC_RT_2 = ROUTING.must(
    "VGIC-RT-2",
    "An active interrupt stays with the vCPU that acknowledged it until it is ended there.",
    LINUX("vgic/vgic.c vgic_target_oracle()"),
    premise="an active interrupt is retargeted",
    observe="The list registers of that vCPU at each entry, of SPIs: no other interrupt has a target to write.",
)


class Held(NamedTuple):
    """`active`: what GICV_IAR answered, acknowledged and not deactivated; `routing` of each SPI; at the last exit `apr`, and
    whether GICH_HCR had `counted` ends in no list register.
    """

    active: tuple[int, ...] = ()
    routing: tuple[Routing, ...] = ()
    apr: int = 0
    counted: bool = False
    exited: bool = False


class Active(Monitor):
    """What one vCPU has acknowledged and not ended."""

    clauses = (GICV2_PRI_4, VGIC_SGI_5, VGIC_RT_2, VGIC_EN_3, VGIC_OVF_3)
    witnesses = (GICV2_LR_10,)
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
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if vector < LPI and vector != SPURIOUS:
                return memory._replace(active=(*memory.active, vector))
            case ev.GuestActed(vcpu=self.vcpu, action=(self.ends, int(told))):
                return memory._replace(active=tuple(i for i in memory.active if i != told))
            case ev.Exited(vcpu=self.vcpu, cpu=cpu):
                counted = bool(word(look.value(f"cpu{cpu}.hcr")) >> 27)
                return memory._replace(apr=word(look.value(f"cpu{cpu}.apr")), counted=counted, exited=True)
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._entered(cpu, memory, look)
                return memory._replace(apr=0, counted=False, exited=False)
            case _:
                return memory

    def _entered(self, cpu: int, memory: Held, look: Look) -> None:
        apr = word(look.value(f"cpu{cpu}.apr"))
        if memory.exited and memory.apr:
            look.witness(GICV2_PRI_4)
        if memory.exited and apr != memory.apr:
            said = f"{self.vcpu} enters its guest with cpu{cpu}.apr = {apr:#x}; it left with {memory.apr:#x}"
            look.breach(GICV2_PRI_4, said, f"cpu{cpu}.apr", self.vcpu)
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
            look.witness(VGIC_SGI_5)
            if all(r.source != told >> 10 & 7 for r in held):
                said = f"{lost}, nor from vcpu{told >> 10 & 7}" if not held else (
                    f"{self.vcpu} acknowledged SGI {intid} of vcpu{told >> 10 & 7}, and enters its guest with it active "
                    f"as vcpu{held[0].source}'s in cpu{cpu}.lr[{held[0].number}]"
                )  # fmt: skip
                look.breach(VGIC_SGI_5, said, *self._about(intid, cpu, look))
        if intid in self.levels and any(r.state == ACTIVE for r in held):
            look.witness(GICV2_LR_10, *self._about(intid, cpu, look))
        waits = word(look.value(f"cpu{cpu}.hcr")) & LRENPIE
        if memory.counted and not held and not waits:
            said = f"{lost}, after GICH_HCR.EOICount told of the end of another one; the guest has not ended it"
            look.breach(VGIC_OVF_3, said, f"cpu{cpu}.hcr", *self._about(intid, cpu, look))
        if intid not in self.spis:
            return
        routing = memory.routing[self.spis.index(intid)]
        here = int(self.vcpu.removeprefix("vcpu"))
        for clause, applies, why in (
            (VGIC_EN_3, routing.enabled == 0, "disabled"),
            (VGIC_RT_2, routing.target not in (here, CHANGING), f"retargeted to vcpu{routing.target}"),
        ):
            if applies:
                look.witness(clause)
                if not held:
                    said = f"{lost}; the guest acknowledged it and has not ended it, and it was {why}"
                    look.breach(clause, said, *self._about(intid, cpu, look))

    def _about(self, intid: int, cpu: int, look: Look) -> tuple[Subject | str, ...]:
        kept = look.kept(f"irq{intid}" if intid >= 32 else f"{self.vcpu}.irq{intid}")
        return (*registers(look, cpu), *kept, self.vcpu)


VGIC_ACT_1 = ROUTING.must(
    "VGIC-ACT-1",
    "A write of GICD_ICACTIVER for an interrupt takes effect also if it is in a list register of a vCPU that "
    "runs: when the write is over, it is active nowhere.",
    REGISTERS("GICD_ICACTIVER<n>", read=False),
    LINUX("vgic/vgic-mmio.c vgic_mmio_write_cactive() and vgic_change_active_prepare()"),
    KERNEL("abd7229626b9", "a wrong comparison left vCPUs running"),
    role="distributor",
    authority="architecture",
    premise="an interrupt is deactivated by a register",
    observe=(
        "The list registers of all who run, when the writer goes on. What is kept of who does not run is not looked at: an edge "
        "that it would hold back is lost (VGIC-EDGE-1)."
    ),
)


class Deactivated(Monitor):
    """Memory: the vCPU whose write of GICD_ICACTIVER is under way, and nobody acknowledged since, or ""."""

    clauses = (VGIC_ACT_1,)
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
            case ev.Entered(vcpu=vcpu, cpu=here) if vcpu == memory:
                look.witness(VGIC_ACT_1)
                for other in self.vcpus:
                    cpu = here if other == vcpu else look.in_guest(other)
                    for r in list_registers(look, cpu) if cpu >= 0 else ():
                        if r.intid == self.intid and r.state & ACTIVE:
                            at = f"cpu{cpu}.lr[{r.number}]"
                            said = f"{vcpu} goes on after its write of GICD_ICACTIVER, and interrupt {self.intid} is active in "
                            about = (at, *look.kept(f"irq{self.intid}"), vcpu, other)
                            look.breach(VGIC_ACT_1, f"{said}{at}, where {other} runs", *about)
                return ""
            case _:
                return memory


def deactivations(scenario: Scenario) -> list[Monitor]:
    written = {a[2] for v in scenario.vcpus for a in v.program if a[:2] == ("mmio", "icactiver")}
    return [Deactivated(scenario, i) for i in scenario.vectors if i in written]
