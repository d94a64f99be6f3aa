"""Which level a vCPU runs, by the current VMCS, and what nested findings are about."""

from __future__ import annotations

from conformance.machine.finding import Subject
from conformance.machine.monitor import Look
from conformance.roles.nested import PINV12, POSTING, VMCS02
from conformance.roles.operations import Value

HARDWARE = ("vm_entry", "boundary", "acknowledge", "deliver", "instruction")
"""The processor's routines."""


def word(value: Value) -> int:
    return value if isinstance(value, int) else 0


def in_l2(look: Look, vcpu: str) -> bool:
    """Whether vmcs02 is current: L2 runs, or waits in L0."""
    return look.value(f"{vcpu}.vmcs") == VMCS02


def posting(look: Look, vcpu: str) -> bool:
    """Whether L2 is current, and has posted interrupts by what L1 launched."""
    return in_l2(look, vcpu) and look.value(f"{vcpu}.l2.vmcs12") == POSTING


def settled(look: Look, vcpu: str) -> str:
    """Where a vCPU rests, in words; empty if its thread waits for a pCPU."""
    level = "L2" if in_l2(look, vcpu) else "L1"
    here = look.in_guest(vcpu)
    if here >= 0:
        return f"{vcpu} runs {level} on cpu{here}"
    return f"{vcpu} sleeps in L0, {level} halted" if look.status(vcpu) == "sleeping" else ""


def wide(look: Look, register: str) -> int:
    """A register of 256 bits, such as `vcpu0.l2.virr`."""
    return sum(word(look.value(f"{register}[{w}]")) << 64 * w for w in range(4))


def bit(vcpu: str, register: str, vector: int) -> Subject:
    """A vector's bit in a register of 256 bits: `l2.pid.pir`, `virr`."""
    return Subject(f"{vcpu}.{register}[{vector // 64}]", 1 << vector % 64)


def of(vcpu: str, register: str) -> tuple[Subject, ...]:
    """A register of 256 bits, all of it."""
    return tuple(Subject(f"{vcpu}.{register}[{w}]") for w in range(4))


def on12(vcpu: str) -> Subject:
    return Subject(f"{vcpu}.l2.pid.control", 1)


def notification(vcpu: str) -> Subject:
    """PINV12 in L1's vIRR."""
    return bit(vcpu, "virr", PINV12)
