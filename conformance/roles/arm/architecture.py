"""Arm's virtual GIC as the rest of the suite knows it: facts, words and names."""

from __future__ import annotations

from conformance.roles.architecture import Architecture, Completion, Level, Word
from conformance.roles.arm import DEVICE, DOORBELL, EDGE, KICK, LEVEL, LPI, MAINTENANCE, PPI, ROLES, SGI, World
from conformance.roles.scenario import Scenario, VcpuSetup

DROPPED = 1 << 40
"""In what a guest has yet to complete: its priority is dropped (GICV_EOIR), it is not deactivated yet (GICV_DIR)."""
QUIETED = 1 << 41
"""In what a guest has yet to complete: it has told the device to lower its line."""


def completion(interrupt: int, scenario: Scenario) -> Completion:
    """With EOImode=0 a write of GICV_EOIR; with EOImode=1 one that drops the priority, then one of GICV_DIR. The handler of
    a level-sensitive interrupt quiets its device first, unless the scenario has the fact `device-keeps-its-line`.
    """
    intid = interrupt & 0x3FF
    told = interrupt & ~DROPPED & ~QUIETED
    if interrupt & DROPPED:
        return ("deactivate", told), ()
    if (
        (intid == LEVEL or 16 <= intid < 32)
        and not interrupt & QUIETED
        and "device-keeps-its-line" not in scenario.facts
    ):
        return ("device_quiet", intid), (interrupt | QUIETED,)
    return ("end_of_interrupt", told), (told | DROPPED,) if "eoi-mode-1" in scenario.facts else ()


def interrupt_name(interrupt: int) -> str:
    """What GICV_IAR answered: an INTID, for an SGI with its source."""
    if interrupt >= LPI or interrupt & 0x3FF >= 16:
        return str(interrupt)
    return f"SGI {interrupt & 0x3FF} of vcpu{interrupt >> 10 & 7}"


ARM = Architecture(
    name="arm",
    roles=ROLES,
    world=World,
    memory="armv8",
    example=Scenario(
        name="example",
        about="an interrupt of each kind, GICv4, two vCPUs with a doorbell each",
        architecture="arm",
        cpus=2,
        vcpus=(VcpuSetup(0), VcpuSetup(1)),
        vectors=(SGI, PPI, LEVEL, EDGE, LPI),
        facts=("gicv4",),
    ),
    arguments={"intid": EDGE, "vlpi intid": LPI, "register": "ispendr", "what": "wfi"},
    facts={
        "device-keeps-its-line": "the guest's handler does not quiet a level's device",
        "eoi-mode-1": "GICV_CTLR.EOImode is 1: dropping the priority and deactivating are two writes",
        "gicv4": "virtual LPIs and doorbells of GICv4.0",
        "gicv4.1": "those of GICv4.1",
        "injects-from-handler": "a host interrupt's handler injects",
        "irqfd-resample": "irqfd lowers a level's line when the guest has ended the interrupt, and its device raises it again",
        "late-mi": "a maintenance interrupt may be taken after its level is gone",
        "one-list-register": "each CPU has one list register, not two",
        "typer-dirty": "GICR_TYPER.Dirty is set: software waits for VPENDBASER.Dirty to clear",
        "wfi-not-trapped": "WFI does not exit: the processor waits in the guest",
    },
    environments={
        "late-mi": "a maintenance interrupt may be taken after its level is gone: hardware that the architecture does not allow"
    },
    completion=completion,
    levels={MAINTENANCE: Level("maintenance", late="late-mi")},
    host_interrupts={
        KICK: "the kick",
        MAINTENANCE: "the maintenance interrupt",
        DEVICE: "the device's interrupt",
        DOORBELL: "vcpu0's doorbell",
        DOORBELL + 1: "vcpu1's doorbell",
    },
    in_host="on the host",
    guest_interrupt=interrupt_name,
    words={
        "lr": Word(
            {
                "VirtualID": 0x3FF,
                "CPUID": 7 << 10,
                "EOI": 1 << 19,
                "Priority": 0x1F << 23,
                "State": 3 << 28,
                "Group1": 1 << 30,
                "HW": 1 << 31,
            }
        ),
        "vpendbaser": Word(
            {"vPE": 0xFFFF, "Dirty": 1 << 60, "PendingLast": 1 << 61, "Doorbell": 1 << 62, "Valid": 1 << 63}
        ),
    },
)
