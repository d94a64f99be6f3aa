"""What a vCPU enters its guest with: list registers that the architecture allows.

Looked at in VM entries, where software's writes become hardware's.
"""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LEVEL, PRIORITIES
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
    XEN,
)
from properties.arm.monitors.registers import (
    ACTIVE,
    CTLR,
    PENDING,
    PMR,
    HeldInRegister,
    guest_vmcr,
    list_registers,
    registers,
    word,
)

GICV2_LR_UNIQ = LIST_REGISTERS.must(
    "GICV2-LR-UNIQ",
    "The valid list registers of a pCPU hold different VirtualIDs.",
    REGISTERS("ICH_LR<n>, vINTID", "of GICv3: UNPREDICTABLE"),
    KERNEL("16ca6a607d84 (2018)"),
    XEN("bccfbe70a36f"),
    role="run_loop",
    observe="The valid list registers at each entry.",
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
    observe="The valid list registers at each entry.",
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

GICV2_PRI_9 = PRIORITY.must(
    "GICV2-PRI-9",
    "An interrupt is in its list register with the priority that the guest gave it, in the five bits that a list register holds.",
    IHI_0048("5.3, GICH_LRn"),
    LINUX("vgic/vgic-v2.c vgic_v2_compute_lr()"),
    role="run_loop",
    observe="The valid list registers at each entry. No guest here writes GICD_IPRIORITYR: priorities are what they were.",
)

GICV2_VMCR_5 = PRIORITY.must(
    "GICV2-VMCR-5",
    "What a guest has written to GICV_PMR and GICV_CTLR is in GICH_VMCR whenever it enters: it is saved and restored with the "
    "list registers.",
    IHI_0048("5.3, GICH_VMCR"),
    LINUX("vgic/vgic-v2.c vgic_v2_put() and vgic_v2_load()"),
    role="residency",
    authority="end-to-end",
    premise="a guest writes GICV_PMR or GICV_CTLR",
    observe="GICH_VMCR at each entry against what the guest has executed.",
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
    """Looks at each entry alone."""

    clauses = (GICV2_LR_UNIQ, GICV2_LR_9, GICV2_PRI_9, VGIC_RT_3, VGIC_EOI_1)
    events = (ev.Entered,)
    name = "list_registers"

    def __init__(self, scenario: Scenario) -> None:
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
        self.levels = level_sensitive(scenario)
        if any(a[0] in ("write_pmr", "write_ctlr") for v in scenario.vcpus for a in v.program):
            self.clauses = (*Contents.clauses, GICV2_VMCR_5)

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
            look.witness(GICV2_PRI_9)
            if r.priority != PRIORITIES.get(r.intid, 0x14):
                due = PRIORITIES.get(r.intid, 0x14)
                said = f"{event.vcpu} enters its guest with interrupt {r.intid}, of priority {due:#x}, in {at} with {r.priority:#x}"
                look.breach(GICV2_PRI_9, said, at, event.vcpu)
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
        if GICV2_VMCR_5 in self.clauses:
            self._masked(event, look)

    def _masked(self, event: ev.Entered, look: Look) -> None:
        look.witness(GICV2_VMCR_5)
        at, due = f"cpu{event.cpu}.vmcr", guest_vmcr(look, event.vcpu)
        holds = word(look.value(at)) & (PMR | CTLR)
        if holds != due:
            said = f"{event.vcpu} enters its guest with PMR and CTLR as {holds:#x} in {at}, and the guest has made them {due:#x}"
            look.breach(GICV2_VMCR_5, said, at, event.vcpu)

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
