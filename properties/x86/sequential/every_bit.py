"""All words, and all of their bits: all of a word and of half a word, the first and the last of each, alone and at once."""

from __future__ import annotations

from conformance.roles.x86 import PINV
from properties.function import Property, Subject, function
from properties.x86.catalogue import END_TO_END, PROCESSING, SDM
from properties.x86.sequential import manual
from properties.x86.sequential.life import Life
from properties.x86.sequential.processing import processed
from properties.x86.sequential.state import LEGAL, NONE, State, Vectors, one_of

CHECKS: dict[str, Property] = {}

INHIBITED = "apicv-inhibited"
ALL = frozenset(LEGAL)
WORDS = tuple(ALL & set(range(64 * n, 64 * n + 64)) for n in range(4))
HALVES = tuple(ALL & set(range(32 * n, 32 * n + 32)) for n in range(8))
EDGES = frozenset(edge for half in HALVES for edge in (min(half), max(half)) if half)
crowds = one_of((*(frozenset({vector}) for vector in sorted(EDGES)), *filter(None, HALVES), *WORDS, EDGES))
"""So few that each is tried. Not all at once: bit by bit that takes more operations than a call may ask for."""


PIP_16 = PROCESSING.alone.must(
    "PIP-16",
    "The harvest takes every bit of every word of PIR, however many are set.",
    SDM("29.6, step 5"),
    observe="After the processing vIRR is what it was or PIR, and PIR is empty.",
)


@function(CHECKS, PIP_16, "processor", crowds)
def takes_every_bit(subject: Subject, posted: Vectors) -> None:
    state = State(pir=posted, on=1, rflags_if=1)
    for taken in ((), (1,)):
        processed(subject, state, taken).must(manual.process(state), "pir", "virr", "rvi")


E2E_21 = END_TO_END.alone.must(
    "E2E-21",
    "Every vector that was posted, however many there are and wherever they lie, is on its way at the next VM entry: in vIRR, or in "
    "PIR with a notification for the pCPU that enters. It may have been posted while no pCPU ran the vCPU.",
    SDM("29.6", "one bit of 256 a vector"),
    role="run_loop",
    observe="vIRR, PIR and the notifications sent at an entry, against what was posted; RVI, which is the highest in vIRR.",
)


@function(CHECKS, E2E_21, "run_loop residency sender iommu", crowds)
def entry_brings_in_every_bit(subject: Subject, posted: Vectors) -> None:
    for poster in posters(subject):
        for preempted in (False, True):
            life = Life(subject)
            life.load(0)
            if preempted:
                life.put(preempted=True)
            post(life, poster, posted)
            if preempted:
                life.load(0)
            must_have(life, posted)


def posters(subject: Subject) -> tuple[str, ...]:
    return ("deliver_interrupt",) if subject.lacks("device-posting") else ("deliver_interrupt", "post")


def post(life: Life, poster: str, posted: Vectors) -> None:
    """All of them, told in one word."""
    calls = [*life.calls, f"{poster} of {told(posted)}"]
    for _ in life.posted(tuple((poster, vector) for vector in sorted(posted))):
        pass
    life.calls = calls


def told(vectors: Vectors) -> str:
    """As runs of neighbours."""
    starts = [v for v in sorted(vectors) if v - 1 not in vectors]
    ends = [v for v in sorted(vectors) if v + 1 not in vectors]
    return ", ".join(f"{a:#x}" if a == b else f"{a:#x} to {b:#x}" for a, b in zip(starts, ends, strict=True)) or "none"


def must_have(life: Life, due: Vectors) -> None:
    """At its next entry."""
    entered = life.enter()
    if entered is None:
        life.broken("due is that it enters the guest")
    state = State.of({**State().memory(), **life.memory})
    notified = any((message.vector, message.to) == (PINV, life.cpu) for message in entered.sent)
    found = state.virr | (state.pir if notified else NONE)
    if found != due:
        life.broken(
            f"due at the entry are {told(due)}; missing are {told(due - found)}, and too many {told(found - due)}"
        )
    if state.rvi != manual.highest(state.virr):
        life.broken(f"RVI is {state.rvi:#x} at the entry; due is the highest in vIRR, {manual.highest(state.virr):#x}")


E2E_22 = END_TO_END.alone.must(
    "E2E-22",
    "With APICv inhibited the next VM entry injects the highest vector that was posted, and leaves all others in vIRR.",
    SDM("29.6", "one bit of 256 a vector"),
    role="run_loop",
    premise="APICv inhibited",
    observe="The vector injected and vIRR at an entry, against what was posted.",
)


@function(CHECKS, E2E_22, "run_loop residency sender iommu", crowds, needs=(INHIBITED,))
def injects_the_highest(subject: Subject, posted: Vectors) -> None:
    for poster in posters(subject):
        life = Life(subject, (INHIBITED,))
        life.load(0)
        post(life, poster, posted)
        if life.enter() is None:
            life.broken("due is that it enters the guest")
        state = State.of({**State().memory(), **life.memory})
        due = max(posted)
        if state.injected != due or state.virr != posted - {due}:
            life.broken(
                f"due is that {due:#x} is injected, and {told(posted - {due})} in vIRR; "
                f"found are {state.injected:#x} and {told(state.virr)}"
            )


E2E_23 = END_TO_END.alone.must(
    "E2E-23",
    "Save and restore keep every vector that is pending, and a reset forgets every one, however many there are and wherever they lie.",
    SDM("29.6", "one bit of 256 a vector"),
    role="state_transfer",
    premise="save and restore",
    observe="As E2E-21, at the entry after a save and restore, and after a reset without a timer.",
)


@function(CHECKS, E2E_23, "state_transfer run_loop residency sender", crowds)
def transfers_every_bit(subject: Subject, posted: Vectors) -> None:
    last = LEGAL[0]
    for harvested in (False, True):
        for what, args, due in (("save_restore", (last,), posted | {last}), ("reset", (last, 0), NONE)):
            life = Life(subject)
            life.load(0)
            post(life, "deliver_interrupt", posted)
            if harvested:
                life.enter()
            life.call(what, *args)
            must_have(life, due)
