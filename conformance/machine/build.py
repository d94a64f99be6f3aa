"""From an implementation and a scenario to the machine that runs them, watched by the suite's monitors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from conformance.adapters.registry import Implementation
from conformance.adapters.source import close
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine.machine import Machine
from conformance.machine.monitor import Monitor
from conformance.machine.state import LayoutFull
from conformance.roles.scenario import Scenario

T = TypeVar("T")


class Watch(Protocol):
    """Whoever knows which monitors watch a scenario: a suite."""

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]: ...


def in_machine(
    implementation: Implementation,
    scenario: Scenario,
    suite: Watch,
    use: Callable[[Machine], T],
    change: Callable[[Assembly], Assembly] = lambda assembly: assembly,
) -> T:
    """Build the machine of a scenario and use it; again, with more bits, whenever a cell meets more values than fit.

    `change` may put something between the implementation and the machine.
    """
    widths: dict[str, int] = {}
    assembly = change(assemble(implementation, scenario))
    try:
        while True:
            try:
                return use(Machine(assembly, scenario, suite.monitors(scenario), widths))
            except LayoutFull as full:
                widths[full.cell] = full.width
    finally:
        for unfolding in assembly.unfoldings():
            close(unfolding.source)
