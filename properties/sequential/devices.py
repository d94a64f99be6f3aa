"""Senders in hardware: one post by VT-d (5.2.3 to 5.2.5), and one send of IPI virtualization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from conformance.engine.alone import Memory
from conformance.engine.operations import Rmw, Store
from properties.sequential import manual
from properties.sequential.property import Property, Ran, Subject, clause
from properties.sequential.state import CONTROL, DESCRIPTOR, NONE, PIR, State, below, descriptors, flag, one_of, vector

CHECKS: dict[str, Property] = {}

POSTING = ("device-posting",)
SENDING = ("ipi-virtualization",)
BITS = ("pir", "on", "sn")

OTHERS: dict[str, Callable[[State], State]] = {
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
    """Another agent's step, taken before step `at` of the routine under test."""

    def __init__(self, at: int, what: str) -> None:
        self.at, self.what, self.came = at, what, False

    def __call__(self, step: int, memory: Memory) -> None:
        if step == self.at:
            self.came = True
            changed = OTHERS[self.what](State.of(memory)).memory()
            memory.update((at, changed[at]) for at in DESCRIPTOR)


def atomically(ran: Ran, intruder: Intruder, *parts: Callable[[State], tuple[State, int]]) -> None:
    """The outcome must be that of the parts, each of them whole, with the intruder before, between or after them."""
    outcomes: list[tuple[State, int]] = []
    for place in range(len(parts) + 1):
        state, messages = ran.before, 0
        for n, part in enumerate(parts):
            if n == place:
                state = OTHERS[intruder.what](state)
            state, more = part(state)
            messages += more
        outcomes.append((OTHERS[intruder.what](state) if place == len(parts) else state, messages))
    found = (ran.after.shown(*BITS), len(ran.alone.sent))
    if found not in [(state.shown(*BITS), messages) for state, messages in outcomes]:
        ways = " or ".join(dict.fromkeys(f"{s.shown(*BITS)} with {n} notifications" for s, n in outcomes))
        ran.broken(f"{intruder.what} before its step {intruder.at}: due is {ways}; found {found[0]} with {found[1]}")


@clause(CHECKS, "VTD-1", "iommu", descriptors(), vector, flag, below(8), one_of(tuple(OTHERS)), needs=POSTING)
def one_atomic_post(subject: Subject, state: State, vector: int, urgent: int, at: int, other: str) -> None:
    """One step changes the descriptor, and it decides on what is there in that step."""
    ran = post(subject, state, vector, urgent)
    if len(ran.alone.steps_changing("vcpu0.pid.")) > 1:
        ran.broken(f"due is one step that changes the descriptor; found {len(ran.alone.steps_changing('vcpu0.pid.'))}")
    intruder = Intruder(at, other)
    ran = post(subject, state, vector, urgent, between=intruder)
    if intruder.came:
        atomically(ran, intruder, lambda s: manual.post(s, vector, bool(urgent)))


@clause(CHECKS, "VTD-2", "iommu", descriptors(), vector, flag, needs=POSTING)
def notifies_if_due(subject: Subject, state: State, vector: int, urgent: int) -> None:
    judge(post(subject, state, vector, urgent), *manual.post(state, vector, bool(urgent)), "on")


@clause(CHECKS, "VTD-3", "iommu", descriptors(sn=1), vector, needs=POSTING)
def silent_under_sn(subject: Subject, state: State, vector: int) -> None:
    judge(post(subject, state, vector, 0), *manual.post(state, vector, False), "pir", "on", "sn", "nv", "ndst")


@clause(CHECKS, "VTD-4", "iommu", descriptors(), vector, needs=POSTING)
def urgent_overrides_sn(subject: Subject, state: State, vector: int) -> None:
    judge(post(subject, state, vector, 1), *manual.post(state, vector, True), "pir", "on", "sn")


@clause(CHECKS, "IPIV-1", "ipi_virtualization", descriptors(), vector, below(8), one_of(tuple(OTHERS)), needs=SENDING)
def two_locked_operations(subject: Subject, state: State, vector: int, at: int, other: str) -> None:
    """PIR in one, ON in a later one; the second decides on what is there then."""
    ran = send(subject, state, vector)
    judge(ran, *manual.post(state, vector, False), "pir", "on", "sn")
    written = [a for a in ran.alone.asked if isinstance(a.operation, Store | Rmw) and a.operation.at in DESCRIPTOR]
    if any(not a.locked for a in written):
        ran.broken("the descriptor is changed by a plain store; due is a locked operation")
    for change in ran.alone.changes_of(CONTROL):
        if not any(a.operation.at in PIR and a.step < change.by.step for a in written):  # type: ignore[union-attr]
            ran.broken("ON is set with the PIR bit or before it; due is a locked operation of its own, after it")
    intruder = Intruder(at, other)
    ran = send(subject, state, vector, between=intruder)
    if intruder.came:
        atomically(ran, intruder, lambda s: (manual.posts_bit(s, vector), 0), manual.decides)


@clause(CHECKS, "IPIV-2", "ipi_virtualization", descriptors(), vector, needs=SENDING)
def honours_sn(subject: Subject, state: State, vector: int) -> None:
    judge(send(subject, state, vector), *manual.post(state, vector, False), "on", "sn")
