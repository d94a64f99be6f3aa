"""What the monitors read off a CPU's GICH registers (Arm IHI 0048B, 5.3; numbers from memory), and when a guest takes what
is pending.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine.monitor import Look
from conformance.roles.arm import LPI, PRIORITIES, VMCR_RESET
from conformance.roles.operations import Value

PENDING, ACTIVE = 1, 2
EN, UIE, LRENPIE, NPIE = 1, 2, 4, 8
PMR, CTLR = 0x1F << 27, 0x21F
"""Of GICH_VMCR, what GICV_PMR and GICV_CTLR show the guest."""


def word(value: Value) -> int:
    return value if isinstance(value, int) else 0


class HeldInRegister(NamedTuple):
    """A valid list register. `source` is CPUID, where it is not linked to a physical interrupt."""

    number: int
    intid: int
    state: int
    priority: int
    hw: bool
    source: int
    eoi: bool


def list_registers(look: Look, cpu: int) -> list[HeldInRegister]:
    """The valid list registers of a CPU."""
    return [r for r in _all(look, cpu) if r.state]


def _all(look: Look, cpu: int) -> list[HeldInRegister]:
    made: list[HeldInRegister] = []
    n = 0
    while look.has(at := f"cpu{cpu}.lr[{n}]"):
        made.append(_decoded(n, word(look.value(at))))
        n += 1
    return made


def registers(look: Look, cpu: int) -> list[str]:
    """The list registers of a CPU, as locations."""
    return [f"cpu{cpu}.lr[{r.number}]" for r in _all(look, cpu)]


def _decoded(n: int, lr: int) -> HeldInRegister:
    hw = bool(lr >> 31)
    return HeldInRegister(
        n, lr & 0x3FF, lr >> 28 & 3, lr >> 23 & 0x1F, hw, 0 if hw else lr >> 10 & 7, not hw and bool(lr >> 19 & 1)
    )


def state_of(look: Look, cpu: int, intid: int, source: int = 0) -> int:
    """LR.State of an interrupt on a CPU, 0 if no list register holds it."""
    return next((r.state for r in list_registers(look, cpu) if (r.intid, r.source) == (intid, source)), 0)


def maintenance_asserted(look: Look, cpu: int) -> bool:
    """GICH_HCR.En and GICH_MISR != 0, its causes EOI, U, LRENP and NP (IHI 0048B, 5.2 and 5.3)."""
    hcr = word(look.value(f"cpu{cpu}.hcr"))
    registers = _all(look, cpu)
    valid = [r for r in registers if r.state]
    ended = any(r.eoi and not r.state for r in registers)
    underflow = hcr & UIE and len(valid) <= 1
    not_present = hcr & LRENPIE and hcr >> 27
    none_pending = hcr & NPIE and all(r.state != PENDING for r in valid)
    return bool(hcr & EN and (ended or underflow or not_present or none_pending))


def intid_of(acknowledged: int) -> int:
    """The INTID in what GICV_IAR answered."""
    return acknowledged if acknowledged >= LPI else acknowledged & 0x3FF


def guest_vmcr(look: Look, vcpu: str) -> int:
    """GICV_PMR and GICV_CTLR as the guest's writes have left them, at their places in GICH_VMCR."""
    vmcr = VMCR_RESET
    for action in look.executed(vcpu):
        match action:
            case ("write_pmr", int(value)):
                vmcr = vmcr & ~PMR | (value >> 3 & 0x1F) << 27
            case ("write_ctlr", int(value)):
                vmcr = vmcr & ~CTLR | value & CTLR
            case _:
                pass
    return vmcr & (PMR | CTLR)


def unmasked(look: Look, vcpu: str, intid: int) -> bool:
    """Whether the guest's priority mask and group enable let an interrupt through, by what the guest has executed.

    Virtual LPIs are of group 1, all others of group 0.
    """
    vmcr = guest_vmcr(look, vcpu)
    group = 2 if intid >= LPI else 1
    return bool(vmcr & group) and PRIORITIES.get(intid, 0x14) < vmcr >> 27


def closed(look: Look, vcpu: str) -> bool:
    """PSTATE.I where the guest has no handler to complete: as it was at first, or as the guest's last write of it left it."""
    for action in reversed(look.executed(vcpu)):
        if action in (("mask",), ("unmask",)):
            return action == ("mask",)
    return dict(look.machine.scenario.initial).get(f"{vcpu}.pstate_i", 0) == 1


def takes(look: Look, vcpu: str, intid: int) -> str:
    """Where a vCPU rests that would take this interrupt, in words; "" if it does not rest, or would not."""
    if not unmasked(look, vcpu, intid):
        return ""
    if look.status(vcpu) == "sleeping":
        return f"{vcpu} sleeps"
    here = look.in_guest(vcpu)
    if here < 0:
        return ""
    if look.value(f"{vcpu}.halted"):
        return f"{vcpu} waits in WFI in its guest on cpu{here}"
    return "" if closed(look, vcpu) else f"{vcpu} is in its guest on cpu{here}"
