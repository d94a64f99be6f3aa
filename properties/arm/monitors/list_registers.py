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
from properties.arm.catalogue import (
    FREEBSD,
    IHI_0048,
    KERNEL,
    LEVELS_AND_EDGES,
    LINUX,
    LIST_REGISTERS,
    PRIORITY,
    REGISTERS,
    ROUTING,
    SGIS,
    XEN,
)
from properties.arm.monitors.registers import ACTIVE, PENDING, HeldInRegister, intid_of, list_registers, registers, word
from properties.arm.monitors.routing import CHANGING, VGIC_EN_3, Routing, written

GICV2_LR_UNIQ = LIST_REGISTERS.must(
    "GICV2-LR-UNIQ",
    "The valid list registers of a pCPU hold different VirtualIDs.",
    REGISTERS("ICH_LR<n>, vINTID", "of GICv3: UNPREDICTABLE"),
    KERNEL("16ca6a607d84 (2018)"),
    XEN("bccfbe70a36f"),
    role="run_loop",
    observe="The list registers while the guest runs.",
)

GICV2_LR_8 = LIST_REGISTERS.must(
    "GICV2-LR-8",
    "After that a level-sensitive physical interrupt whose line is still high becomes pending again, and is "
    "signalled, by itself.",
    IHI_0048("4.3"),
    unchecked=(
        "The physical distributor's lines and pending states are not modelled; that the interrupt is no longer active "
        "is LR-7."
    ),
    observe="The physical interrupt's line and state.",
)

GICV2_LR_9 = LIST_REGISTERS.must_not(
    "GICV2-LR-9",
    "No list register with HW=1 is made pending and active: what is pending lives in the physical distributor.",
    LINUX("vgic/vgic-v2.c vgic_v2_compute_lr()", "allow_pending"),
    IHI_0048("5.3, GICH_LRn"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    premise="the implementation links list registers to physical interrupts",
    observe="Every list register that is written.",
)

GICV2_LR_11 = LIST_REGISTERS.must(
    "GICV2-LR-11",
    "List registers that are not implemented read as zero and ignore writes.",
    REGISTERS("GICH_LR<n>", "RAZ/WI"),
    unchecked=(
        "A routine names list registers as locations; those that are not implemented have none, and touching one is a "
        "CRASH."
    ),
    observe="A write to a list register beyond GICH_VTR.ListRegs.",
)

GICV2_LR_12 = LIST_REGISTERS.may(
    "GICV2-LR-12",
    "Among pending interrupts of equal priority any may come first.",
    IHI_0048("3.3"),
    unchecked="Nothing can break it: GICV2-PRI-1 accepts every order, and the specification chooses.",
    observe="Which of two equals is acknowledged.",
)

GICV2_LR_13 = LIST_REGISTERS.may(
    "GICV2-LR-13",
    "What happens is UNPREDICTABLE for VirtualIDs 1020 to 1023, for an SGI with HW=1, and where interrupts are "
    "completed out of order.",
    IHI_0048("5.3 and 5.5"),
    unchecked="Such cases are not generated, so nothing is judged in them.",
)

VGIC_EOI_1 = LEVELS_AND_EDGES.must(
    "VGIC-EOI-1",
    "A level-sensitive interrupt that is not linked to a physical one is in its list register with EOI = 1, so "
    "that its end is seen.",
    LINUX("vgic/vgic-v2.c lr_signals_eoi_mi() and vgic_v2_compute_lr()"),
    FREEBSD("PR 2437"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    observe="The list registers at each entry. What it is for, VGIC-LVL-2 checks.",
)

VGIC_RT_3 = ROUTING.must_not(
    "VGIC-RT-3",
    "The list registers of two vCPUs that run hold the same SPI.",
    IHI_0048("1-N model"),
    LINUX("vgic/vgic.c", "irq->vcpu"),
    authority="architecture",
    premise="a vCPU enters with an SPI while another runs",
    observe="Each entry, against the list registers of all who run.",
)


class Contents(Monitor):
    """GICV2-LR-UNIQ, LR-9, VGIC-RT-3, VGIC-EOI-1: of each entry alone."""

    clauses = (GICV2_LR_UNIQ, GICV2_LR_9, VGIC_RT_3, VGIC_EOI_1)
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
            look.witness(GICV2_LR_UNIQ)
            if r.intid in seen:
                other = f"cpu{event.cpu}.lr[{seen[r.intid].number}]"
                said = f"{event.vcpu} enters its guest with interrupt {r.intid} in {at} and in {other}"
                look.breach(GICV2_LR_UNIQ, said, at, other, event.vcpu)
            seen[r.intid] = r
            if r.hw:
                look.witness(GICV2_LR_9)
                if r.state == PENDING | ACTIVE:
                    look.breach(GICV2_LR_9, f"{at} is pending and active and linked to a physical interrupt", at)
            elif r.intid in self.levels:
                look.witness(VGIC_EOI_1)
                if not r.eoi:
                    said = f"{event.vcpu} enters its guest with level interrupt {r.intid} in {at}, and EOI = 0: nobody is told"
                    look.breach(VGIC_EOI_1, f"{said} when the guest ends it", at, event.vcpu)
        self._shared(event, {i for i in seen if i >= 32}, look)

    def _shared(self, event: ev.Entered, spis: set[int], look: Look) -> None:
        for vcpu in self.vcpus:
            cpu = look.in_guest(vcpu)
            if vcpu == event.vcpu or cpu < 0 or not spis:
                continue
            look.witness(VGIC_RT_3)
            for r in list_registers(look, cpu):
                if r.intid in spis:
                    there = f"cpu{cpu}.lr[{r.number}]"
                    said = (
                        f"{event.vcpu} enters its guest on cpu{event.cpu} with interrupt {r.intid} in a list register, "
                    )
                    about = (there, *registers(look, event.cpu), *look.kept(f"irq{r.intid}"), event.vcpu, vcpu)
                    look.breach(VGIC_RT_3, f"{said}and {vcpu} runs with it in {there}", *about)


def level_sensitive(scenario: Scenario) -> set[int]:
    return {i for i in scenario.vectors if i == LEVEL or 16 <= i < 32}


class Held(NamedTuple):
    """`active`: what GICV_IAR answered, acknowledged and not deactivated; `routing` of each SPI; `apr` at the last exit."""

    active: tuple[int, ...] = ()
    routing: tuple[Routing, ...] = ()
    apr: int = 0
    exited: bool = False


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
    observe="The list registers of that vCPU at each entry.",
)


class Active(Monitor):
    """GICV2-PRI-4, VGIC-SGI-5, VGIC-EN-3, VGIC-RT-2, GICV2-LR-10: what one vCPU has acknowledged and not ended."""

    clauses = (GICV2_PRI_4, VGIC_SGI_5, VGIC_RT_2, VGIC_EN_3)
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
    observe="The list registers of all who run, when the writer goes on.",
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
            case ev.Entered(vcpu=vcpu) if vcpu == memory:
                look.witness(VGIC_ACT_1)
                for other in self.vcpus:
                    cpu = look.in_guest(other)
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
