"""Senders in hardware: one post by VT-d (5.2.3 to 5.2.5), and one send of IPI virtualization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from conformance.engine.alone import Memory
from conformance.engine.operations import Rmw, Store
from properties.sequential import manual
from properties.sequential.property import Property, Ran, Subject, clause
from properties.sequential.state import (
    CONTROL,
    DESCRIPTOR,
    NONE,
    OTHERS,
    PIR,
    VCPU,
    Below,
    State,
    flag,
    one_of,
    operands,
)

CHECKS: dict[str, Property] = {}

POSTING = ("device-posting",)
SENDING = ("ipi-virtualization",)
BITS = ("pir", "on", "sn")

posts = operands("vector", OTHERS)
"""A descriptor, and the vector that is posted into it."""

AGENTS: dict[str, Callable[[State], State]] = {
    "another agent sets SN": lambda s: replace(s, sn=1),
    "another agent clears SN": lambda s: replace(s, sn=0),
    "another agent clears ON": lambda s: replace(s, on=0),
    "another agent sets ON": lambda s: replace(s, on=1),
    "another agent takes PIR": lambda s: replace(s, pir=NONE),
}
"""What else may happen to the descriptor in one step."""


def post(subject: Subject, state: State, vector: int, urgent: int, **more: Any) -> Ran:
    return subject.run(state, "post", vector, bool(urgent), **more)


def send(subject: Subject, state: State, vector: int, **more: Any) -> Ran:
    return subject.run(state, "virtual_ipi", vector, **more)


def judge(ran: Ran, due: State, messages: int, *names: str) -> None:
    ran.must(due, *names)
    if len(ran.alone.sent) != messages:
        ran.broken(f"due are {messages} notifications; sent were {len(ran.alone.sent)}")


class Intruder:
    """Another agent's step, taken before step `at` of the routine under test. `saw` is what it found, if it came."""

    def __init__(self, at: int, what: str) -> None:
        self.at, self.what = at, what
        self.saw: State | None = None

    def __call__(self, step: int, memory: Memory) -> None:
        if step == self.at:
            self.saw = State.of(memory)
            changed = AGENTS[self.what](self.saw).memory()
            memory.update((at, changed[at]) for at in DESCRIPTOR)

    def must_fit(self, ran: Ran, outcomes: list[tuple[State, State, int]]) -> None:
        """Each outcome is what the intruder sees if it comes there, and then the state and the notifications in the end."""
        due = dict.fromkeys(
            f"{state.shown(*BITS)} with {sent} notifications"
            for saw, state, sent in outcomes
            if self.saw and self.saw.memory() == saw.memory()
        )
        found = f"{ran.after.shown(*BITS)} with {len(ran.alone.sent)} notifications"
        if self.saw and found not in due:
            ways = " or ".join(due) or "that it sees no state in between"
            ran.broken(f"{self.what} before its step {self.at}: due is {ways}; found {found}")


@clause(CHECKS, "VTD-1", "iommu", posts, flag, Below(8), one_of(AGENTS), needs=POSTING)
def one_atomic_post(subject: Subject, case: tuple[State, int], urgent: int, at: int, other: str) -> None:
    """One step changes the descriptor, and it decides on what is there in that step."""
    state, vector = case
    ran = post(subject, state, vector, urgent)
    steps = ran.alone.steps_changing(f"{VCPU}.pid.")
    if len(steps) > 1:
        ran.broken(f"due is one step that changes the descriptor; found {len(steps)}")
    intruder, intrudes = Intruder(at, other), AGENTS[other]
    disturbed = post(subject, state, vector, urgent, between=intruder)
    later = post(subject, intrudes(state), vector, urgent)
    intruder.must_fit(
        disturbed,
        [(state, later.after, len(later.alone.sent)), (ran.after, intrudes(ran.after), len(ran.alone.sent))],
    )


@clause(CHECKS, "VTD-2", "iommu", posts, flag, needs=POSTING)
def notifies_if_due(subject: Subject, case: tuple[State, int], urgent: int) -> None:
    state, vector = case
    judge(post(subject, state, vector, urgent), *manual.post(state, vector, bool(urgent)), "on")


@clause(CHECKS, "VTD-3", "iommu", operands("vector", OTHERS | {"sn": 1}), needs=POSTING)
def silent_under_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(post(subject, state, vector, 0), *manual.post(state, vector, False), "pir", "on", "sn", "nv", "ndst")


@clause(CHECKS, "VTD-4", "iommu", posts, needs=POSTING)
def urgent_overrides_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(post(subject, state, vector, 1), *manual.post(state, vector, True), "pir", "on", "sn")


@clause(CHECKS, "IPIV-1", "ipi_virtualization", posts, Below(8), one_of(AGENTS), needs=SENDING)
def two_locked_operations(subject: Subject, case: tuple[State, int], at: int, other: str) -> None:
    """PIR in one, ON in a later one; the second decides on what is there then."""
    state, vector = case
    ran = send(subject, state, vector)
    judge(ran, *manual.post(state, vector, False), "pir", "on", "sn")
    written = [a for a in ran.alone.asked if isinstance(a.operation, Store | Rmw) and a.operation.at in DESCRIPTOR]
    if any(not a.locked for a in written):
        ran.broken("the descriptor is changed by a plain store; due is a locked operation")
    for change in ran.alone.changes_of(CONTROL):
        if not any(a.operation.at in PIR and a.step < change.by.step for a in written):  # type: ignore[union-attr]
            ran.broken("ON is set with the PIR bit or before it; due is a locked operation of its own, after it")
    intruder, intrudes = Intruder(at, other), AGENTS[other]
    disturbed = send(subject, state, vector, between=intruder)
    posted, (after, sent) = manual.posts_bit(state, vector), manual.post(state, vector, False)
    intruder.must_fit(
        disturbed,
        [
            (state, *manual.post(intrudes(state), vector, False)),
            (posted, *manual.decides(intrudes(posted))),
            (after, intrudes(after), sent),
        ],
    )


@clause(CHECKS, "IPIV-2", "ipi_virtualization", posts, needs=SENDING)
def honours_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(send(subject, state, vector), *manual.post(state, vector, False), "on", "sn")
