"""Posted-interrupt processing (SDM 29.6): what one acknowledge of the notification vector makes of a state."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from conformance.automaton.meaning import may_change
from conformance.roles.operations import Rmw
from conformance.roles.x86 import PINV
from properties.function import Property, Ran, Subject, function
from properties.x86.catalogue import END_TO_END, PROCESSING, SDM
from properties.x86.sequential import manual
from properties.x86.sequential.state import CONTROL, NONE, State, choices, flag, states

CHECKS: dict[str, Property] = {}


def in_guest(**given: Any) -> st.SearchStrategy[State]:
    """States that a running guest can be in."""
    return states(vppr=0, recognized=0, **given).map(manual.settled)


HALTS = "hlt-not-intercepted"
"""The fact under which HLT stops the processor in the guest."""


def processed(subject: Subject, state: State, taken: tuple[int, ...], facts: tuple[str, ...] = ()) -> Ran[State]:
    return subject.run(state, "acknowledge", PINV, choices=taken, facts=facts)


PIP_2 = PROCESSING.alone.must(
    "PIP-2",
    "ON is cleared by one locked operation that leaves the rest of the descriptor as it is.",
    SDM("29.6, step 3"),
    observe="The operation that clears ON is locked, and PIR, SN, NV and NDST are equal before and after it.",
)


@function(CHECKS, PIP_2, "processor", in_guest(), choices)
def on_is_cleared(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    ran = processed(subject, state, taken)
    ran.must(manual.process(state), "on", "sn", "nv", "ndst")
    for change in ran.alone.changes_of(CONTROL):
        op = change.by.operation
        if not change.by.locked:
            ran.broken("ON is cleared by a plain store; due is a locked operation")
        if isinstance(op, Rmw) and op.how != "cas" and may_change(op) != 1:
            ran.broken(f"due is an operation on bit 0 alone; the one that clears ON writes {may_change(op):#x}")


PIP_7 = PROCESSING.alone.must(
    "PIP-7",
    "All of PIR is harvested: it is in vIRR, and PIR is empty. RVI becomes the larger of its old value and the highest vector "
    "harvested; with PIR empty it does not change.",
    SDM("29.6, steps 5 and 6"),
    observe="PIR, vIRR and RVI after the processing, against what they were; RVI never falls.",
)


@function(CHECKS, PIP_7, "processor", in_guest(), choices)
def all_is_harvested(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    processed(subject, state, taken).must(manual.process(state), "pir", "virr", "rvi")


PIP_8 = PROCESSING.alone.must(
    "PIP-8",
    "The processing ends with an evaluation of pending virtual interrupts.",
    SDM("29.6, step 7"),
    observe="After the processing an interrupt is recognized exactly if VID-1 says so of the new RVI.",
)


@function(CHECKS, PIP_8, "processor", in_guest(), choices)
def ends_with_an_evaluation(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    ran = processed(subject, state, taken)
    ran.must(manual.evaluate(ran.after), "recognized")


PIP_11 = PROCESSING.alone.must(
    "PIP-11",
    "A processor that was in HLT goes back to HLT after the processing unless a virtual interrupt is then "
    "delivered; from the active or MWAIT state it is active.",
    SDM("29.6", "last list"),
    premise="HLT not intercepted",
    observe="Activity state before and after the processing, with and without a deliverable interrupt.",
)


@function(CHECKS, PIP_11, "processor", in_guest(halted=flag), choices, needs=(HALTS,))
def returns_to_hlt(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    """Whether a virtual interrupt is delivered afterwards is the implementation's answer here, and VID-3's business."""
    subject.notes.add("MWAIT is not modelled")
    ran = processed(subject, state, taken, (HALTS,))
    ran.must(state, "halted")
    if subject.run(ran.after, "boundary", (), facts=(HALTS,)).alone.answer.value == ("deliver",):
        subject.run(ran.after, "deliver", facts=(HALTS,)).must(State(halted=0), "halted")


E2E_9 = END_TO_END.alone.must(
    "E2E-9",
    "A spurious notification at a pCPU in the guest of a vCPU whose PIR is empty changes nothing for that vCPU.",
    SDM("29.6, step 6"),
    observe="vIRR, vISR, RVI, SVI, vPPR and PIR are equal before and after the processing of an empty PIR.",
)


@function(CHECKS, E2E_9, "processor", in_guest(pir=NONE), choices)
def spurious_is_harmless(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    processed(subject, state, taken).must(state, "pir", "virr", "visr", "rvi", "svi", "vtpr", "vppr")
