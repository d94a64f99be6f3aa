"""Handlers that nest: what interrupts a handler of the guest, by what was delivered to it and what it has ended."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import PRIORITIES, SPURIOUS
from conformance.roles.arm.architecture import DROPPED, OPENED, QUIETED
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import IHI_0048, PRIORITY
from properties.arm.monitors.registers import intid_of, registers

GICV2_PRI_8 = PRIORITY.must_not(
    "GICV2-PRI-8",
    "A handler of the guest is interrupted by an interrupt whose priority is not higher than that of every one that the guest "
    "has acknowledged and whose priority it has not dropped.",
    IHI_0048("3.3", "preemption"),
    authority="end-to-end",
    premise="the guest's handlers open interrupts",
    observe="Each acknowledgement, against those that the guest handles and has not written to GICV_EOIR.",
)


def priority(told: int) -> int:
    return PRIORITIES.get(intid_of(told), 0x14)


class Nesting(Monitor):
    """Without a memory: the guest's handlers are the guest's own. Its binary points are those of the reset."""

    clauses = (GICV2_PRI_8,)
    events = (ev.Delivered,)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.nesting"

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Delivered) or event.vcpu != self.vcpu or event.vector == SPURIOUS:
            return
        handled = [told & ~(OPENED | QUIETED) for told in look.in_service(self.vcpu)[:-1] if not told & DROPPED]
        if not handled:
            return
        look.witness(GICV2_PRI_8)
        first = min(handled, key=priority)
        if priority(event.vector) >= priority(first):
            said = (
                f"{self.vcpu} acknowledges interrupt {intid_of(event.vector)}, of priority {priority(event.vector):#x}, in its "
                f"handler of interrupt {intid_of(first)}, of priority {priority(first):#x}"
            )
            look.breach(GICV2_PRI_8, said, f"cpu{event.cpu}.apr", *registers(look, event.cpu), self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    if "handlers-nest" not in scenario.facts:
        return []
    return [Nesting(f"vcpu{n}") for n in range(len(scenario.vcpus))]
