"""What the machine asks about an architecture: how a guest completes an interrupt, and which host interrupts are levels.

Everything else it knows by the names of routines, which both architectures share: vcpu_run, load and put for the
thread; vm_entry, boundary, acknowledge, deliver and instruction for the processor that runs a guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from conformance.roles.scenario import Action, Scenario

Completion = tuple[Action, tuple[int, ...]]
"""What the guest executes to complete an interrupt, and what is then left of it to complete."""


def end_of_interrupt(interrupt: int, scenario: Scenario) -> Completion:
    return ("end_of_interrupt",), ()


class Level(NamedTuple):
    """`routine`, called with a CPU's number, says by looking only whether the level is asserted there. In scenarios with
    the fact `late` it may be taken after it is gone.
    """

    routine: str
    late: str = ""


@dataclass(frozen=True)
class Architecture:
    """`roles` maps a role's name to its base class; `world` makes what its routines can name in a scenario."""

    name: str = "x86"
    roles: Mapping[str, type[Any]] = field(default_factory=dict)
    world: Callable[..., Any] = object
    completion: Callable[[int, Scenario], Completion] = end_of_interrupt
    levels: Mapping[int, Level] = field(default_factory=dict)
    """Host interrupts that are levels: one that is no longer asserted is withdrawn, not taken."""
    host_interrupts: Mapping[int, str] = field(default_factory=dict)
    """Names of host interrupts; one that has none is shown as a hexadecimal vector."""
    in_host: str = "in root mode"
    """Where the host's software runs, in the architecture's words."""
    guest_interrupt: Callable[[int], str] = str
    """What `deliver` delivered, in words."""

    def host_interrupt(self, vector: int) -> str:
        return self.host_interrupts.get(vector, f"{vector:#x}")
