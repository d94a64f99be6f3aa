"""Interrupts that nobody of the scenario can have made: a wrong number, a wrong source, another vCPU's bank."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI, SPURIOUS
from conformance.roles.scenario import Scenario
from properties.arm.monitors.edges import VGIC_EDGE_5, VGIC_SGI_4
from properties.arm.monitors.levels import VGIC_LVL_3
from properties.arm.monitors.list_registers import level_sensitive
from properties.arm.monitors.registers import intid_of, registers


class Unmade(Monitor):
    """`watched`: (vCPU, or "" for any; what GICV_IAR answers) of all that has a monitor of its own."""

    events = (ev.Delivered,)
    name = "unmade"

    def __init__(self, scenario: Scenario, watched: Iterable[tuple[str, int]]) -> None:
        self.watched, self.levels = frozenset(watched), level_sensitive(scenario)
        sgis = [VGIC_SGI_4] if any(i < 16 for i in scenario.vectors) else []
        self.clauses = (VGIC_EDGE_5, *sgis, *([VGIC_LVL_3] if self.levels else []))

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Delivered) or event.vector == SPURIOUS:
            return
        if {("", event.vector), (event.vcpu, event.vector)} & self.watched:
            return
        intid = intid_of(event.vector)
        clause = VGIC_SGI_4 if intid < 16 else VGIC_LVL_3 if intid in self.levels else VGIC_EDGE_5
        what = f"SGI {intid} of vcpu{event.vector >> 10 & 7}" if intid < 16 else f"interrupt {intid}"
        held = () if intid >= LPI else registers(look, event.cpu)
        said = f"{event.vcpu} acknowledges {what}, which nobody made pending there"
        look.breach(clause, said, *held, event.vcpu)
