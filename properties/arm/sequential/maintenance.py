"""What the hypervisor is told: GICH_MISR, the maintenance interrupt, GICH_HCR.En and EOICount (IHI 0048B, chapter 5)."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.arm import LPI
from properties import function as sequential
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
from properties.function import BrokenError, Property, Subject
from properties.x86.sequential.state import number, one_of

CHECKS: dict[str, Property] = {}
clause = partial(sequential.clause, CHECKS, architecture="arm")


def must_tell(subject: Subject, state: State, *causes: str) -> None:
    """GICH_MISR's bits of these causes are as they are due."""
    found = number(read(subject, state, "misr"))
    for bit, (cause, due) in enumerate(manual.misr(state).items()):
        if cause in causes and bool(found >> bit & 1) != due:
            raise BrokenError(f"misr(0) on {state}: due is {int(due)} in MISR.{cause}; found {found >> bit & 1}")


@clause("GICV2-MISR-1", PRIVATE, states())
def end_of_interrupt(subject: Subject, state: State) -> None:
    must_tell(subject, state, "EOI")


@clause("GICV2-MISR-2", PRIVATE, states(uie=one_of((1, 1, 1, 0))))
def underflow(subject: Subject, state: State) -> None:
    must_tell(subject, state, "U")


@clause("GICV2-MISR-3", PRIVATE, states(npie=one_of((1, 1, 1, 0))))
def nothing_pending(subject: Subject, state: State) -> None:
    must_tell(subject, state, "NP")


@clause("GICV2-MISR-4", PRIVATE, states(lrenpie=one_of((1, 1, 1, 0)), eoi_count=one_of((0, 1, 16, 31))))
def entry_not_present(subject: Subject, state: State) -> None:
    must_tell(subject, state, "LRENP")


@clause("GICV2-MISR-5", PRIVATE, states())
def group_enables(subject: Subject, state: State) -> None:
    must_tell(subject, state, "VGrp0E", "VGrp0D", "VGrp1E", "VGrp1D")


RARELY: dict[str, Any] = {
    name: one_of((0, 0, 1)) for name in ("uie", "npie", "lrenpie", "vgrp0eie", "vgrp0die", "vgrp1eie", "vgrp1die")
}


@clause("GICV2-MI-1", PRIVATE, states(**RARELY))
def maintenance_interrupt(subject: Subject, state: State) -> None:
    due = manual.maintenance(state)
    if bool(read(subject, state, "maintenance")) != due:
        raise BrokenError(f"maintenance(0) on {state}: due is that it is {'' if due else 'not '}asserted")


@clause("GICV2-HCR-1", PRIVATE, states((PENDING, ACTIVE, PENDING_AND_ACTIVE), **{**OPEN, "en": flag}), choices)
def enable(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    """With En=0 no virtual IRQ, IAR answers 1023, no maintenance interrupt, and the list registers keep what they hold."""
    must_offer(subject, state)
    acknowledged(subject, state, taken)
    if not state.en and read(subject, state, "maintenance"):
        raise BrokenError(f"maintenance(0) on {state}: due is that it is not asserted")


@clause("GICV2-HCR-2", PRIVATE, states(eoi_count=one_of((0, 1, 30, 31))), foreign, one_of((EOI, DIR)))
def eoi_count(subject: Subject, state: State, told: int, what: str) -> None:
    """Where no list register has the interrupt. GICV_DIR with EOImode=0 is UNPREDICTABLE."""
    assume(what == EOI or state.eoi_mode)
    due = manual.end_of_interrupt(state, told) if what == EOI else manual.directed_deactivate(state, told)
    subject.run(state, "instruction", what, told).must(due, "eoi_count", "lrs", "apr")


@clause("GICV2-HCR-3", PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE)), which, st.booleans())
def not_counted(subject: Subject, state: State, n: int, lpi: bool) -> None:
    """Neither the end of what a list register has, nor that of a vLPI, which is never active."""
    told = LPI + n if lpi else state.lrs[n].told
    for what in (EOI, DIR) if state.eoi_mode else (EOI,):
        subject.run(state, "instruction", what, told).must(state, "eoi_count")
