"""Which vectors are delivered, and in which order: none that nobody posted, and no order that anybody is promised."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from properties.x86.catalogue import BONZINI, END_TO_END, KVM_LIST
from properties.x86.monitors.end_to_end import E2E_2
from properties.x86.monitors.subjects import pir, virr

E2E_5 = END_TO_END.may(
    "E2E-5",
    "A higher vector may be delivered before a lower one that was posted earlier.",
    KVM_LIST(BONZINI),
    observe="A trace where the lower vector's post is first and the higher vector's delivery is first.",
)
E2E_7 = END_TO_END.must_not(
    "E2E-7",
    "No order of delivery between different vectors is promised, so none may be asserted beyond VID-13.",
    KVM_LIST(BONZINI),
    unchecked=(
        "A rule about the suite itself, not about an implementation; E2E-5 and E2E-6 search for the reorderings it "
        "allows."
    ),
    observe="Which clauses this catalogue contains.",
)


class Unposted(Monitor):
    """Vectors that no agent of the scenario posts: artefacts such as 0 or 0xFF."""

    clauses = (E2E_2,)
    events = (ev.Delivered,)
    name = "unposted"

    def __init__(self, scenario: Scenario) -> None:
        self.known = scenario.vectors

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if isinstance(event, ev.Delivered) and event.vector not in self.known:
            said = f"vector {event.vector} is delivered to {event.vcpu}, and nobody ever posted it"
            look.breach(E2E_2, said, pir(event.vcpu, event.vector), virr(event.vcpu, event.vector), event.vcpu)


class PostOrder(Monitor):
    """Memory: vectors posted, in order."""

    witnesses = (E2E_5,)
    events = (ev.Changed, ev.Delivered)
    name = "post_order"
    memory = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        if isinstance(event, ev.Changed) and ".pid.pir[" in event.at:
            base = 64 * int(event.at[-2])
            new = tuple(base + n for n in range(64) if event.set_bits >> n & 1)
            return (*memory, *(v for v in new if v not in memory))
        if isinstance(event, ev.Delivered) and event.vector in memory:
            if any(v < event.vector for v in memory[: memory.index(event.vector)]):
                lower = min(v for v in memory if v < event.vector)
                look.witness(E2E_5, *(pir(event.vcpu, v) for v in (lower, event.vector)), event.vcpu)
            return tuple(v for v in memory if v != event.vector)
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    return [Unposted(scenario), *([PostOrder()] if "post-order" in scenario.facts else [])]
