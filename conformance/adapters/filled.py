"""Every role of a scenario's architecture filled, by what was plugged in or else by the reference, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from conformance.adapters.registry import Implementation, reference_of
from conformance.roles import architectures
from conformance.roles.architecture import Architecture
from conformance.roles.location import Shared
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario


class Filled(NamedTuple):
    architecture: Architecture
    roles: Mapping[str, type[BaseRole]]
    """Role to the class that fills it."""
    classes: tuple[type[BaseRole], ...]
    """Each once, the implementation's own last: of two that declare one location, the later counts."""
    world: Any
    """What their routines can name, with every location that they declare."""


def fill(implementation: Implementation, scenario: Scenario) -> Filled:
    """Raises AdapterError where the architecture's reference cannot be had."""
    architecture = architectures()[scenario.architecture]
    own = implementation.filled(architecture.name)
    roles = {**reference_of(architecture.name).filled(architecture.name), **own}
    classes = sorted(dict.fromkeys(roles[role] for role in architecture.roles), key=lambda cls: cls in own.values())
    declared: dict[str, dict[str, Any]] = {"vcpu_state": {}, "cpu_state": {}, "vm_state": {}, "irq_state": {}}
    for cls in classes:
        for kind, state in declared.items():
            given = getattr(cls, kind).items()
            state |= {at: shared if isinstance(shared, Shared) else Shared(shared) for at, shared in given}
    return Filled(architecture, roles, tuple(classes), architecture.world(scenario, **declared))
