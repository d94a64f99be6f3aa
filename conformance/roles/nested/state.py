"""The state of a vCPU whose guest is a hypervisor: L1 runs on vmcs01, its own guest L2 on vmcs02."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from conformance.roles.location import Field, Shared
from conformance.roles.x86 import Vcpu as BaseVcpu
from conformance.roles.x86 import World as BaseWorld

NPINV = 0xF0
"""Host notification vector of L2, in vmcs02 (Linux: POSTED_INTR_NESTED_VECTOR)."""
PINV12 = 0xE0
"""Notification vector that L1 chose for L2, in vmcs12: for L1's local APIC an interrupt like others."""
L2 = 256
"""What is delivered to L2 is told apart by it: L2 + 200 is L2's vector 200."""
VMCS01, VMCS02 = 0, 1
"""Which VMCS is current."""
PLAIN, POSTING = 0, 1
"""The VMCSs that L1 has for L2: without and with posted interrupts."""


class SecondLevel(BaseVcpu):
    """L2 as vmcs02 has it: its descriptor lies in L1's memory (PIR12, ON12), so do its vIRR, RVI and the rest."""


class Vcpu(BaseVcpu):
    """A vCPU: what is L1's by name as of any vCPU, what is L2's in `l2`."""

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        own = {at.removeprefix("l2."): field for at, field in declared.items() if at.startswith("l2.")}
        self.l2 = SecondLevel(f"{name}.l2", own)


class World(BaseWorld):
    """x86's world, each vCPU with a second level."""

    vcpus: dict[str, Any]
    make_vcpu = Vcpu

    @cached_property
    def words(self) -> tuple[int, ...]:
        """Of all registers of 256 bits, with the word of PINV12."""
        return tuple(sorted({PINV12 // 64, *(v // 64 for v in self.scenario.vectors)}))

    def of_vcpu(self, n: int) -> Mapping[str, Shared]:
        """`vmcs` is the current VMCS; `l2.vmcs12` the one that L1 launched last, `l2.posting` posted-interrupt processing in
        vmcs02; `interrupted` says that L1 handles an interrupt that took it out of L2, to which it goes back.
        """
        first = super().of_vcpu(n)
        second = {f"l2.{at}": shared for at, shared in first.items()}
        current = {at: Shared(0, private_to="*") for at in ("vmcs", "interrupted", "l2.vmcs12", "l2.posting")}
        return {**first, **second, "l2.pid.control": Shared(PINV12 << 16), **current}
