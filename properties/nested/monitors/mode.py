"""The protocol of vcpu->mode and vcpu->requests: who writes mode, and what whoever asks may rely on."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.nested.catalogue import LINUX, MODE, REQUESTS
from properties.nested.monitors.levels import settled

OUT, IN, EXITING, READING = range(4)
NAMES = ("OUTSIDE_GUEST_MODE", "IN_GUEST_MODE", "EXITING_GUEST_MODE", "READING_SHADOW_PAGE_TABLES")

MODE_1 = MODE.must(
    "MODE-1",
    "Only the vCPU's own thread writes its mode, except that another one makes IN_GUEST_MODE into EXITING_GUEST_MODE.",
    LINUX("virt/kvm/kvm_main.c kvm_vcpu_kick", "comment"),
    LINUX(REQUESTS),
    kind="discipline",
    observe="Each change of mode: by the thread that is on that pCPU, or from IN to EXITING with the rest as it was.",
)

MODE_2 = MODE.must(
    "MODE-2",
    "A request that is made before mode is looked at is seen: the vCPU looks at its requests after mode := IN_GUEST_MODE, or is "
    "made to exit.",
    LINUX(REQUESTS, "Ensuring Requests Are Seen"),
    observe=(
        "At quiescence no vCPU is in its guest with a request that its own thread has not read since it was made, or that still "
        "stands in its requests."
    ),
)

MODE_3 = MODE.may(
    "MODE-3",
    "Another one that asks, and finds EXITING_GUEST_MODE, sends no interrupt: one is on its way.",
    LINUX(REQUESTS, "IPI Reduction"),
    observe="A trace where a compare-exchange of mode finds EXITING.",
)

MODE_5 = MODE.must(
    "MODE-5",
    "A thread that reads shadow page tables says so by READING_SHADOW_PAGE_TABLES, with interrupts off, until it has done: whoever "
    "frees a page waits for every mode but OUTSIDE_GUEST_MODE.",
    LINUX("arch/x86/kvm/mmu/mmu.c walk_shadow_page_lockless_begin", "comment"),
    LINUX("virt/kvm/kvm_main.c kvm_request_needs_ipi"),
    kind="guarantee",
    premise="a page is freed while a vCPU walks the tables",
    observe="What a walk reads of a page, against whether the page was freed.",
)


class Made(NamedTuple):
    """Requests that were made, as bits."""

    unread: int = 0
    """Those that the thread has not read since."""
    stands: bool = False
    """One of them was not cleared since."""


class Protocol(Monitor):
    clauses = (MODE_1, MODE_2)
    witnesses = (MODE_3,)
    events = (ev.Asked, ev.Changed)
    memory = Made()

    def __init__(self, vcpu: str, asked: bool) -> None:
        self.vcpu, self.asked, self.name = vcpu, asked, f"{vcpu}.mode"
        self.mode, self.requests = f"{vcpu}.mode", f"{vcpu}.requests"

    def on(self, event: ev.Event, memory: Made, look: Look) -> Made:
        match event:
            case ev.Changed(at=self.mode, old=int(old), new=int(new)) if old != new:
                self._writes(event, old, new, look)
            case ev.Asked(routine="make_request", operation=ops.Rmw(at=self.mode), result=int(was)) if (
                was & 3 == EXITING
            ):
                look.witness(MODE_3)
            case ev.Changed(at=self.requests, set_bits=bits) if event.routine == "make_request":
                return Made(memory.unread | bits, memory.stands or bits != 0)
            case ev.Changed(at=self.requests, new=0):
                return memory._replace(stands=False)
            case ev.Asked(operation=ops.Load(at=self.requests) | ops.Rmw(at=self.requests) as op, result=int(read)):
                looks = isinstance(op, ops.Load) or op.how != "or"
                if looks and event.routine != "make_request" and look.on_cpu(event.cpu) == self.vcpu:
                    return memory._replace(unread=memory.unread & ~read)
            case _:
                pass
        return memory

    def _writes(self, event: ev.Changed, old: int, new: int, look: Look) -> None:
        look.witness(MODE_1)
        own = event.cpu >= 0 and look.on_cpu(event.cpu) == self.vcpu
        if not own and (old & 3, new) != (IN, old ^ IN ^ EXITING):
            said = f"{event.routine} on cpu{event.cpu} makes mode of {self.vcpu} {NAMES[new & 3]}, which only its thread may"
            look.breach(MODE_1, said, self.mode, self.vcpu)

    def at_rest(self, memory: Made, look: Look) -> None:
        if self.asked:
            look.witness(MODE_2)
            if (memory.unread or memory.stands) and look.in_guest(self.vcpu) >= 0:
                said = f"{settled(look, self.vcpu)}, and has not seen a request that was made"
                look.breach(MODE_2, said, self.requests, self.mode, self.vcpu)


class Walks(Monitor):
    clauses = (MODE_5,)
    events = (ev.Asked,)
    name = "walks"

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        match event:
            case ev.Asked(operation=ops.Load(at="vm.page"), result=0):
                said = f"{event.routine} on cpu{event.cpu} reads a shadow page that is free"
                look.breach(MODE_5, said, "vm.page", "vm.sptes", *(f"{v}.mode" for v in look.machine.vcpus))
            case ev.Asked(routine="free_page", operation=ops.Rmw(at=at), result=int(was)):
                if at.endswith(".mode") and was & 3 == READING:
                    look.witness(MODE_5)
            case _:
                pass


def monitors(scenario: Scenario) -> list[Monitor]:
    asked = {thread.args[0] for thread in scenario.threads if thread.routine == "make_request"}
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    frees = any(thread.routine == "free_page" for thread in scenario.threads)
    return [*(Protocol(vcpu, vcpu in asked) for vcpu in vcpus), *([Walks()] if frees else [])]
