"""What the monitors read off the posted-interrupt descriptor and the virtual-APIC page."""

from __future__ import annotations

from conformance.machine.monitor import Look
from conformance.roles.operations import Value

HARDWARE = ("vm_entry", "boundary", "acknowledge", "deliver", "instruction")
"""The processor's routines."""


def word(value: Value) -> int:
    return value if isinstance(value, int) else 0


def wide(look: Look, register: str) -> int:
    """A register of 256 bits, such as `vcpu0.virr`."""
    return sum(word(look.value(f"{register}[{w}]")) << 64 * w for w in range(4))
