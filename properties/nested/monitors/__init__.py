"""The monitors of nested posted interrupts."""

from __future__ import annotations

from conformance.machine.monitor import Monitor
from conformance.roles.scenario import Scenario
from properties.nested.monitors import end_to_end, mode, notifications, own, sender


def monitors(scenario: Scenario) -> list[Monitor]:
    return [m for part in (end_to_end, notifications, own, sender, mode) for m in part.monitors(scenario)]
