"""What the hypervisor is told: GICH_MISR, the maintenance interrupt, GICH_HCR.En and EOICount (IHI 0048B, chapter 5)."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.arm import LPI
from properties.arm.catalogue import IHI_0048, IHI_0069, MAINTENANCE_INTERRUPT, QEMU, REGISTERS
from properties.arm.sequential import manual
from properties.arm.sequential.list_registers import PRIVATE, acknowledged, must_offer, read
from properties.arm.sequential.state import (
    ACTIVE,
    DIR,
    EOI,
    OPEN,
    PENDING,
    PENDING_AND_ACTIVE,
    State,
    choices,
    flag,
    foreign,
    states,
    which,
)
from properties.function import BrokenError, Property, Subject, function
from properties.x86.sequential.state import number, one_of

CHECKS: dict[str, Property] = {}


def must_tell(subject: Subject, state: State, *causes: str) -> None:
    """GICH_MISR's bits of these causes are as they are due."""
    found = number(read(subject, state, "misr"))
    for bit, (cause, due) in enumerate(manual.misr(state).items()):
        if cause in causes and bool(found >> bit & 1) != due:
            raise BrokenError(f"misr(0) on {state}: due is {int(due)} in MISR.{cause}; found {found >> bit & 1}")


GICV2_MISR_1 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MISR-1",
    "MISR.EOI is 1 if and only if EISR is not 0.",
    IHI_0048("5.3, GICH_MISR"),
    QEMU("hw/intc/arm_gic.c gic_compute_misr()"),
    observe="MISR against the list registers.",
)


@function(CHECKS, GICV2_MISR_1, PRIVATE, states())
def end_of_interrupt(subject: Subject, state: State) -> None:
    must_tell(subject, state, "EOI")


GICV2_MISR_2 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MISR-2",
    "MISR.U is 1 if and only if HCR.UIE is 1 and no or one list register is valid; an active one is valid.",
    IHI_0048("5.3, GICH_MISR"),
    QEMU("hw/intc/arm_gic.c gic_compute_misr()"),
    observe="MISR against HCR and the list registers.",
)


@function(CHECKS, GICV2_MISR_2, PRIVATE, states(uie=one_of((1, 1, 1, 0))))
def underflow(subject: Subject, state: State) -> None:
    must_tell(subject, state, "U")


GICV2_MISR_3 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MISR-3",
    "MISR.NP is 1 if and only if HCR.NPIE is 1 and no list register is in state pending; pending and active is "
    "not that state.",
    REGISTERS("GICH_MISR, NP"),
    observe="MISR against HCR and the list registers.",
)


@function(CHECKS, GICV2_MISR_3, PRIVATE, states(npie=one_of((1, 1, 1, 0))))
def nothing_pending(subject: Subject, state: State) -> None:
    must_tell(subject, state, "NP")


GICV2_MISR_4 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MISR-4",
    "MISR.LRENP is 1 if and only if HCR.LRENPIE is 1 and HCR.EOICount is not 0.",
    REGISTERS("GICH_HCR, EOICount"),
    observe="MISR against HCR.",
)


@function(CHECKS, GICV2_MISR_4, PRIVATE, states(lrenpie=one_of((1, 1, 1, 0)), eoi_count=one_of((0, 1, 16, 31))))
def entry_not_present(subject: Subject, state: State) -> None:
    must_tell(subject, state, "LRENP")


GICV2_MISR_5 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MISR-5",
    "MISR.VGrp0E, VGrp0D, VGrp1E and VGrp1D are 1 where HCR enables them and the group is enabled (E) or disabled (D).",
    REGISTERS("GICH_MISR, VGrp0E to VGrp1D"),
    QEMU("hw/intc/arm_gic.c gic_compute_misr()"),
    observe="MISR against HCR and VMCR.",
)


@function(CHECKS, GICV2_MISR_5, PRIVATE, states())
def group_enables(subject: Subject, state: State) -> None:
    must_tell(subject, state, "VGrp0E", "VGrp0D", "VGrp1E", "VGrp1D")


RARELY: dict[str, Any] = {
    name: one_of((0, 0, 1)) for name in ("uie", "npie", "lrenpie", "vgrp0eie", "vgrp0die", "vgrp1eie", "vgrp1die")
}


GICV2_MI_1 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-MI-1",
    "The maintenance interrupt is a level: asserted if and only if HCR.En is 1 and MISR is not 0.",
    REGISTERS("GICH_HCR, En"),
    IHI_0048("5.2", "that it is a level"),
    observe="The level against HCR, VMCR and the list registers.",
)


@function(CHECKS, GICV2_MI_1, PRIVATE, states(**RARELY))
def maintenance_interrupt(subject: Subject, state: State) -> None:
    due = manual.maintenance(state)
    if bool(read(subject, state, "maintenance")) != due:
        raise BrokenError(f"maintenance(0) on {state}: due is that it is {'' if due else 'not '}asserted")


GICV2_HCR_1 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-HCR-1",
    "With HCR.En=0 there is no virtual IRQ and no maintenance interrupt, IAR answers 1023, and the list registers "
    "keep what they hold.",
    REGISTERS("GICH_HCR, En"),
    REGISTERS("GICV_IAR"),
    IHI_0048("5.3, GICH_HCR.En", "that the list registers keep what they hold"),
    observe="Boundary, IAR, the level and the list registers, with En 0 and 1.",
)


@function(CHECKS, GICV2_HCR_1, PRIVATE, states((PENDING, ACTIVE, PENDING_AND_ACTIVE), **{**OPEN, "en": flag}), choices)
def enable(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    """With En=0 no virtual IRQ, IAR answers 1023, no maintenance interrupt, and the list registers keep what they hold."""
    must_offer(subject, state)
    acknowledged(subject, state, taken)
    if not state.en and read(subject, state, "maintenance"):
        raise BrokenError(f"maintenance(0) on {state}: due is that it is not asserted")


GICV2_HCR_2 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-HCR-2",
    "EOICount goes up by one, modulo 32, when an interrupt that no list register has is deactivated; with "
    "EOImode=0 only where EOIR cleared a bit of APR.",
    REGISTERS("GICH_HCR, EOICount"),
    QEMU("hw/intc/arm_gic.c gic_complete_irq()"),
    observe="EOICount before and after EOIR and DIR.",
)


@function(CHECKS, GICV2_HCR_2, PRIVATE, states(eoi_count=one_of((0, 1, 30, 31))), foreign, one_of((EOI, DIR)))
def eoi_count(subject: Subject, state: State, told: int, what: str) -> None:
    """Where no list register has the interrupt. GICV_DIR with EOImode=0 is UNPREDICTABLE."""
    assume(what == EOI or state.eoi_mode)
    due = manual.end_of_interrupt(state, told) if what == EOI else manual.directed_deactivate(state, told)
    subject.run(state, "instruction", what, told).must(due, "eoi_count", "lrs", "apr")


GICV2_HCR_3 = MAINTENANCE_INTERRUPT.alone.must_not(
    "GICV2-HCR-3",
    "EOICount does not count the end of an interrupt that a list register has, nor that of a virtual LPI.",
    REGISTERS("GICH_HCR, EOICount"),
    IHI_0069("pseudocode VirtualWriteEOIR0/1", "as in QEMU 82a65e3188ab"),
    observe="EOICount before and after.",
)


@function(CHECKS, GICV2_HCR_3, PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE)), which, st.booleans())
def not_counted(subject: Subject, state: State, n: int, lpi: bool) -> None:
    """Neither the end of what a list register has, nor that of a vLPI, which is never active."""
    told = LPI + n if lpi else state.lrs[n].told
    for what in (EOI, DIR) if state.eoi_mode else (EOI,):
        subject.run(state, "instruction", what, told).must(state, "eoi_count")


GICV2_HCR_4 = MAINTENANCE_INTERRUPT.alone.must(
    "GICV2-HCR-4",
    "A write of 1020 to 1023 to GICV_EOIR or GICV_DIR, which end no interrupt, drops no priority, deactivates nothing and is not "
    "counted.",
    REGISTERS("GICV_EOIR and GICV_DIR", "special interrupt numbers", read=False),
    IHI_0069("pseudocode VirtualWriteEOIR0/1", read=False),
    observe="APR, EOICount and the list registers before and after.",
)


@function(CHECKS, GICV2_HCR_4, PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE)), one_of(range(1020, 1024)))
def special_numbers(subject: Subject, state: State, told: int) -> None:
    for what in (EOI, DIR) if state.eoi_mode else (EOI,):
        subject.run(state, "instruction", what, told).must(state, "eoi_count", "lrs", "apr")
