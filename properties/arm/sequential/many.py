"""Many interrupts of one vCPU, and another vCPU that takes some over: what the software around list registers does with them.

injected, one after another ── vcpu0 enters ── handles what is in its list registers ── exits, enters, and so on
                                   └── vcpu1 writes GICD_ITARGETSR of some
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from conformance.automaton.alone import Alone, Memory, run_alone
from conformance.roles.arm import EDGE
from conformance.roles.operations import Lock, Result, Unlock, Value
from properties.arm.catalogue import LINUX, QUEUEING, ROUTING
from properties.arm.sequential.state import INVALID, PENDING, PENDING_AND_ACTIVE, Lr
from properties.function import BrokenError, Property, Subject, function
from properties.x86.sequential.state import number, one_of

CHECKS: dict[str, Property] = {}

MANY = tuple(range(EDGE, EDGE + 7))
LIST_REGISTERS, ELSEWHERE = 2, 2
"""Of a CPU; the CPU of who injects."""
FOLLOWED = 200
"""Calls of the run loop, at most."""

some = one_of(tuple(frozenset(MANY[:n]) for n in (1, 2, 3, 4, 7)))
part = one_of((frozenset[int](), frozenset(MANY[:1]), frozenset(MANY[:2]), frozenset(MANY[1::2]), frozenset(MANY)))
"""So few that each is tried."""


class Pair:
    """Two vCPUs, each loaded on the CPU of its number."""

    def __init__(self, subject: Subject) -> None:
        self.assembly = subject.assembly(vcpus=2, vectors=MANY)
        self.memory: Mapping[str, Value] = {}
        self.runs: list[Alone] = []
        for n in range(2):
            self.memory = run_alone(self.assembly, "load", (f"vcpu{n}", n), self.memory, cpu=n, interrupts=False).memory

    def inject(self, intids: Collection[int]) -> None:
        for intid in sorted(intids):
            call = ("vcpu0", intid, 1)
            self.memory = run_alone(self.assembly, "inject", call, self.memory, cpu=ELSEWHERE, follow=FOLLOWED).memory

    def handled(self, n: int, taken: Collection[int] = ()) -> set[int]:
        """What its guest finds in its list registers and handles, entry by entry, until there is nothing. While it is there for
        the first time, and has not handled anything, the other vCPU makes itself the target of `taken`.
        """
        before, found = self.memory, set[int]()
        entries: list[int] = []

        def between(step: int, memory: Memory) -> None:
            if taken and step in entries[:1]:
                for intid in sorted(taken):
                    memory.update(self._written(1 - n, intid, memory))
            elif step in entries:
                memory.update({at: replace(lr, state=INVALID).word() for at, lr in self._lrs(n, memory).items()})

        while True:
            alone = self._run(n, before, between=between, exits=[("pause",)] * len(entries))
            self.memory = alone.memory
            listed = {
                lr.intid for lr in self._lrs(n, alone.memory).values() if lr.state in (PENDING, PENDING_AND_ACTIVE)
            }
            if entries or not taken:
                found |= listed
                if not listed or len(entries) > len(MANY):
                    return found
            entries.append(alone.steps)

    def _written(self, n: int, intid: int, memory: Mapping[str, Value]) -> Mapping[str, Value]:
        """The memory after GICD_ITARGETSR, until the vCPU would run on."""
        call: tuple[Result, ...] = ("distributor", f"vcpu{n}", "itargetsr", intid, n)
        while call and call[0] != "vcpu_run":
            alone = run_alone(self.assembly, str(call[0]), call[1:], memory, cpu=n)
            self.runs.append(alone)
            memory, call = alone.memory, alone.answer.then
        return memory

    def _run(self, n: int, memory: Mapping[str, Value], **more: Any) -> Alone:
        alone = run_alone(self.assembly, "vcpu_run", (f"vcpu{n}",), memory, cpu=n, follow=FOLLOWED, **more)
        self.runs.append(alone)
        if alone.ended != "in guest":
            raise BrokenError(f"vcpu_run(vcpu{n}): due is that it enters the guest; it is {alone.ended}")
        return alone

    def _lrs(self, n: int, memory: Mapping[str, Value]) -> dict[str, Lr]:
        names = [f"cpu{n}.lr[{r}]" for r in range(LIST_REGISTERS)]
        return {at: Lr.of(number(memory[at])) for at in names}


def judge(call: str, found: Collection[int], due: Collection[int]) -> None:
    if found != due:
        raise BrokenError(f"{call}: due in list registers, entry by entry, are {told(due)}; found are {told(found)}")


def told(intids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(intids))) or "none"


VGIC_OVF_4 = QUEUEING.alone.must(
    "VGIC-OVF-4",
    "However many of a vCPU's interrupts are pending, each comes into a list register once those before it are handled.",
    LINUX("vgic/vgic.c vgic_flush_lr_state()"),
    role="run_loop",
    observe="The list registers at one entry after another, against what was injected.",
)


@function(CHECKS, VGIC_OVF_4, "injector run_loop residency", some)
def brings_in_each(subject: Subject, pending: frozenset[int]) -> None:
    pair = Pair(subject)
    pair.inject(pending)
    judge(f"inject {told(pending)}, vcpu0 enters", pair.handled(0), pending)


VGIC_RT_5 = ROUTING.alone.must(
    "VGIC-RT-5",
    "However many of a vCPU's pending interrupts become another's while it is in its guest, with some in list registers: after its "
    "next exit it has none of them, and the other has all.",
    LINUX("vgic/vgic.c vgic_prune_ap_list()"),
    role="run_loop",
    observe="The list registers of both at their next entries, against what was injected and whose it is.",
)


@function(CHECKS, VGIC_RT_5, "injector run_loop residency distributor", some, part)
def hands_all_over(subject: Subject, pending: frozenset[int], taken: frozenset[int]) -> None:
    pair = Pair(subject)
    pair.inject(pending)
    story = f"inject {told(pending)}, vcpu0 enters, vcpu1 takes {told(taken)} over, vcpu0 exits and enters"
    judge(story, pair.handled(0, taken), pending - taken)
    judge(f"{story}, vcpu1 enters", pair.handled(1), pending & taken)


VGIC_RT_6 = ROUTING.alone.must(
    "VGIC-RT-6",
    "Two locks that are held together to hand an interrupt over are taken in one order, whichever vCPU it goes to, or under a third "
    "lock: two that go to each other's vCPU would wait for ever.",
    LINUX("vgic/vgic.c vgic_prune_ap_list()", "sorts them"),
    role="run_loop",
    observe="Which locks are held as another is taken, in all calls that hand interrupts over one way and back.",
)


@function(CHECKS, VGIC_RT_6, "injector run_loop residency distributor", some)
def locks_in_one_order(subject: Subject, pending: frozenset[int]) -> None:
    pair = Pair(subject)
    pair.inject(pending)
    pair.handled(0, pending)
    pair.handled(1, pending)
    taken: dict[tuple[str, str], tuple[str, frozenset[str]]] = {}
    for locks, (routine, under) in (order for alone in pair.runs for order in orders(alone)):
        taken[locks] = routine, under & taken.get(locks, ("", under))[1]
    for (first, second), (routine, under) in sorted(taken.items()):
        back, under_back = taken.get((second, first), ("", under))
        if back and not under & under_back:
            raise BrokenError(
                f"inject {told(pending)}, vcpu1 takes over, and vcpu0 takes back: {routine} takes {first} and then {second}, "
                f"{back} takes {second} and then {first}"
            )


def orders(alone: Alone) -> Iterator[tuple[tuple[str, str], tuple[str, frozenset[str]]]]:
    """Pairs of locks, the second taken while the first was held: by which routine, and what else it held."""
    held: list[str] = []
    for asked in alone.asked:
        match asked.operation:
            case Lock(at=at):
                yield from (((h, at), (asked.routine, frozenset(held) - {h})) for h in held)
                held.append(at)
            case Unlock(at=at) if at in held:
                held.remove(at)
            case _:
                pass
