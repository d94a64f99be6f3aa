"""Many vCPUs asleep on one pCPU: one wakeup interrupt stands for all who posted to any of them.

vCPUs sleep, one after another ── some are loaded again ── posts ──> messages, one a vector and pCPU ── handlers ──> woken
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hypothesis import assume
from hypothesis import strategies as st

from conformance.automaton.alone import SentMessage, run_alone
from properties.function import Property, Subject, function
from properties.x86.catalogue import END_TO_END, LINUX, POSTED_INTR
from properties.x86.sequential.life import POSTERS, Life, arguments
from properties.x86.sequential.state import one_of

CHECKS: dict[str, Property] = {}

MOST, VECTOR, HERE = 5, 0x40, 0
NEEDS = {"post": "device-posting", "virtual_ipi": "ipi-virtualization"}
MESSAGES = 8
"""Rounds of handlers that send again, at most."""


E2E_25 = END_TO_END.alone.must(
    "E2E-25",
    "Of the vCPUs that sleep on one pCPU every one that is posted to wakes, however many they are, and whoever has left before.",
    LINUX(f"{POSTED_INTR} pi_wakeup_handler", "goes through the whole list"),
    role="residency",
    observe="Who is woken by the posts and by the handlers of the messages that these send, against who was posted to.",
)


@function(
    CHECKS,
    E2E_25,
    "residency run_loop sender iommu",
    one_of(tuple(range(2, MOST + 1))),
    one_of(POSTERS),
    st.sets(st.integers(0, MOST - 1)),
    st.sets(st.integers(0, MOST - 1)),
)
def wakes_every_sleeper(subject: Subject, vcpus: int, poster: str, left: set[int], posted: set[int]) -> None:
    assume(not subject.lacks(NEEDS.get(poster, "")))
    life = Life(subject, vcpus=vcpus)
    names = [f"vcpu{n}" for n in range(vcpus)]
    asleep: set[str] = set()
    for life.vcpu in names:
        life.load(HERE)
        assume(life.sleep() is not None)
        asleep.add(life.vcpu)
        handled(life, life.put(preempted=False).sent, asleep)
    life.calls = [f"{told(names)} go to sleep on cpu{HERE}"]
    for life.vcpu in (names[n] for n in sorted(left) if n < vcpus):
        life.load(HERE + 1)
        life.put(preempted=True)
        asleep.discard(life.vcpu)
    due = [names[n] for n in sorted(posted) if n < vcpus and names[n] in asleep]
    sent: list[SentMessage] = []
    woken: set[str] = set()
    for life.vcpu in due:
        alone = life.call(poster, *arguments(poster, VECTOR), cpu=HERE + 2, asleep=asleep)
        sent += alone.sent
        woken.update(alone.woken)
    woken |= handled(life, sent, asleep - woken)
    if missed := [name for name in due if name not in woken]:
        life.broken(f"due is that {told(due)} wake; not woken: {told(missed)}")


def handled(life: Life, sent: Iterable[SentMessage], asleep: Collection[str]) -> set[str]:
    """Who is woken by the handlers of what was sent, and of what these send."""
    woken: set[str] = set()
    for _ in range(MESSAGES):
        waiting = sorted(
            {message for message in sent if message.to < life.cpus and message.vector in life.assembly.handlers}
        )
        sent = []
        for vector, to in waiting:
            routine = life.assembly.handlers[vector]
            still = {name for name in asleep if name not in woken}
            alone = run_alone(life.assembly, routine, (to,), life.memory, cpu=to, interrupts=False, asleep=still)
            life.came(routine, f"{routine}({to})", alone)
            woken.update(alone.woken)
            sent += alone.sent
        if not sent:
            break
    return woken


def told(names: Iterable[str]) -> str:
    return ", ".join(names)
