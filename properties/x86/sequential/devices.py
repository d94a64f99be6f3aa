"""Senders in hardware: one post by VT-d (5.2.3 to 5.2.5), and one send of IPI virtualization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from conformance.automaton.alone import Memory
from conformance.roles.operations import Rmw, Store
from properties.function import Property, Ran, Subject, function
from properties.x86.catalogue import (
    IPI_PSEUDOCODE,
    IPI_VIRTUALIZATION,
    KERNEL,
    LINUX,
    POSTED_INTR,
    VTD,
    VTD_POSTING,
    XEN,
)
from properties.x86.sequential import manual
from properties.x86.sequential.state import CONTROL, DESCRIPTOR, NONE, OTHERS, PIR, VCPU, State, flag, operands

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


def post(subject: Subject, state: State, vector: int, urgent: int, **more: Any) -> Ran[State]:
    return subject.run(state, "post", vector, bool(urgent), **more)


def send(subject: Subject, state: State, vector: int, **more: Any) -> Ran[State]:
    return subject.run(state, "virtual_ipi", vector, **more)


def judge(ran: Ran[State], due: State, messages: int, *names: str) -> None:
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

    def must_fit(self, ran: Ran[State], ways: list[tuple[State, State, int]]) -> None:
        """Each way is what the intruder sees if it comes there, and then the state and the notifications in the end."""
        due = dict.fromkeys(told(state, sent) for saw, state, sent in ways if saw == self.saw)
        found = told(ran.after, len(ran.alone.sent))
        if self.saw and found not in due:
            in_short = " or ".join(due) or "that it sees nothing half done"
            ran.broken(f"{self.what} before its step {self.at}: due is {in_short}; found {found}")


def told(state: State, notifications: int) -> str:
    return f"{state.shown(*BITS)} with {notifications} notifications"


def intruders(ran: Ran[State]) -> Iterator[Intruder]:
    """Every other agent, before every step of a run that nobody disturbed."""
    return (Intruder(at, what) for at in range(ran.alone.steps) for what in AGENTS)


VTD_1 = VTD_POSTING.alone.must(
    "VTD-1",
    "A post is one coherent atomic read-modify-write of the descriptor: setting the PIR bit of the entry's vector "
    "and deciding on a notification happen in it together.",
    VTD("5.2.3"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load", "comment"),
    XEN("e6dfe4250c", "comment"),
    observe="The device's post changes the descriptor in exactly one step.",
)


@function(CHECKS, VTD_1, "iommu", posts, flag, needs=POSTING)
def one_atomic_post(subject: Subject, case: tuple[State, int], urgent: int) -> None:
    """One step changes the descriptor, and what it decides on is there in that step: with another agent's step at any
    point, all is as if that had come before the post or after it, whichever the other agent could see.
    """
    state, vector = case
    ran = post(subject, state, vector, urgent)
    steps = ran.alone.steps_changing(f"{VCPU}.pid.")
    if len(steps) > 1:
        ran.broken(f"due is one step that changes the descriptor; found {len(steps)}")
    for intruder in intruders(ran):
        intrudes = AGENTS[intruder.what]
        later = post(subject, intrudes(state), vector, urgent)
        intruder.must_fit(
            post(subject, state, vector, urgent, between=intruder),
            [(state, later.after, len(later.alone.sent)), (ran.after, intrudes(ran.after), len(ran.alone.sent))],
        )


VTD_2 = VTD_POSTING.alone.must(
    "VTD-2",
    "The post notifies exactly if ON was 0 and either the entry is urgent (URG=1) or SN was 0, and then sets ON "
    "in the same atomic operation.",
    VTD("5.2.3"),
    XEN("4b759ce163 and a3019170b2"),
    KERNEL("6737557442e5", "message"),
    observe="ON and the number of notifications after a post, over all ON, SN and URG.",
)


@function(CHECKS, VTD_2, "iommu", posts, flag, needs=POSTING)
def notifies_if_due(subject: Subject, case: tuple[State, int], urgent: int) -> None:
    state, vector = case
    judge(post(subject, state, vector, urgent), *manual.post(state, vector, bool(urgent)), "on")


VTD_3 = VTD_POSTING.alone.must(
    "VTD-3",
    "With SN=1 and a non-urgent entry the PIR bit is set, ON stays as it was and nothing is sent.",
    VTD("5.2.3"),
    KERNEL("c112b5f50232", "message"),
    observe="The descriptor after a non-urgent post under SN; no notification.",
)


@function(CHECKS, VTD_3, "iommu", operands("vector", OTHERS | {"sn": 1}), needs=POSTING)
def silent_under_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(post(subject, state, vector, 0), *manual.post(state, vector, False), "pir", "on", "sn", "nv", "ndst")


VTD_4 = VTD_POSTING.alone.must(
    "VTD-4",
    "An urgent entry (URG=1) notifies in spite of SN=1; ON must still have been 0.",
    VTD("5.2.3"),
    premise="URG used",
    observe="ON and the notifications after an urgent post, over all ON and SN.",
)


@function(CHECKS, VTD_4, "iommu", posts, needs=POSTING)
def urgent_overrides_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(post(subject, state, vector, 1), *manual.post(state, vector, True), "pir", "on", "sn")


IPIV_1 = IPI_VIRTUALIZATION.alone.must(
    "IPIV-1",
    "The sending processor sets the PIR bit in one locked operation; in a second one it tests that ON and SN are "
    "0 and sets ON. Another agent may come between, unlike in a post by VT-d.",
    IPI_PSEUDOCODE,
    KERNEL("6e0b456547f4 (2024)", "quotes the pseudocode"),
    premise="IPI virtualization",
    observe="The locked operations of a send: PIR first, ON in a later one.",
)


@function(CHECKS, IPIV_1, "ipi_virtualization", posts, needs=SENDING)
def two_locked_operations(subject: Subject, case: tuple[State, int]) -> None:
    """PIR in one, ON in a later one; the second decides on what is there then."""
    state, vector = case
    ran = send(subject, state, vector)
    written = [a for a in ran.alone.asked if isinstance(a.operation, Store | Rmw) and a.operation.at in DESCRIPTOR]
    if any(not a.locked for a in written):
        ran.broken("the descriptor is changed by a plain store; due is a locked operation")
    for change in ran.alone.changes_of(CONTROL):
        if not any(a.operation.at in PIR and a.step < change.by.step for a in written):  # type: ignore[union-attr]
            ran.broken("ON is set with the PIR bit or before it; due is a locked operation of its own, after it")
    posted, (after, sent) = manual.posts_bit(state, vector), manual.post(state, vector, False)
    for intruder in intruders(ran):
        intrudes = AGENTS[intruder.what]
        intruder.must_fit(
            send(subject, state, vector, between=intruder),
            [
                (state, *manual.post(intrudes(state), vector, False)),
                (posted, *manual.decides(intrudes(posted))),
                (after, intrudes(after), sent),
            ],
        )


IPIV_2 = IPI_VIRTUALIZATION.alone.must(
    "IPIV-2",
    "The sending processor honours SN: with SN=1 it neither sets ON nor notifies. There is no urgent bit.",
    IPI_PSEUDOCODE,
    KERNEL("6e0b456547f4 (2024)", "quotes the pseudocode"),
    premise="IPI virtualization",
    observe="ON and the notifications after a send, over all ON and SN.",
)


@function(CHECKS, IPIV_2, "ipi_virtualization", posts, needs=SENDING)
def honours_sn(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    judge(send(subject, state, vector), *manual.post(state, vector, False), "on", "sn")
