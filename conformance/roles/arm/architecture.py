"""Arm's virtual GIC as the rest of the suite knows it: facts, words and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.roles.architecture import Architecture, Completion, Level, Word
from conformance.roles.arm import DEVICE, DOORBELL, EDGE, KICK, LEVEL, LPI, MAINTENANCE, PPI, ROLES, SGI, World
from conformance.roles.nearest import nearest
from conformance.roles.scenario import Scenario, VcpuSetup

DROPPED = 1 << 40
"""In what a guest has yet to complete: its priority is dropped (GICV_EOIR), it is not deactivated yet (GICV_DIR)."""
QUIETED = 1 << 41
"""In what a guest has yet to complete: it has told the device to lower its line."""
OPENED = 1 << 42
"""In what a guest has yet to complete: its handler has opened interrupts, so that one of higher priority preempts it."""


def completion(interrupt: int, scenario: Scenario) -> Completion:
    """With EOImode=0 a write of GICV_EOIR; with EOImode=1 one that drops the priority, then one of GICV_DIR. The handler of
    a level-sensitive interrupt quiets its device first, unless the scenario has the fact `device-keeps-its-line`. With
    `handlers-nest` each handler opens interrupts before all of that.
    """
    intid = interrupt & 0x3FF
    told = interrupt & ~DROPPED & ~QUIETED & ~OPENED
    if interrupt & DROPPED:
        return ("deactivate", told), ()
    if "handlers-nest" in scenario.facts and not interrupt & OPENED:
        return ("unmask",), (interrupt | OPENED,)
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


REGISTERS = (
    "sgir", "spendsgir", "cpendsgir", "isenabler", "icenabler", "ispendr", "icpendr", "isactiver", "icactiver", "itargetsr",
    "ctlr",
)  # fmt: skip


def refusals(scenario: Scenario) -> Iterator[str]:
    gicv4 = {"gicv4", "gicv4.1"} & set(scenario.facts)
    if len(gicv4) > 1:
        yield "gicv4 and gicv4.1 are two machines"
    for intid in scenario.vectors:
        if not (0 <= intid <= 1019 or LPI <= intid < LPI + 64):
            yield f"{intid} is no interrupt: they are 0 to 1019, LPIs {LPI} to {LPI + 63} here"
        if intid >= LPI and not gicv4:
            yield f"{intid} is an LPI, and virtual LPIs take the fact gicv4 or gicv4.1"
    for device in scenario.devices:
        if device.routine in ("vlpi", "redistributor") and not gicv4:
            yield f"{device.name} takes the fact gicv4 or gicv4.1"
    answered = {device.args for device in scenario.devices if device.routine == "redistributor"}
    for cpu in sorted({*range(scenario.cpus)} - {thread.cpu for thread in scenario.threads}) if gicv4 else ():
        if (cpu,) not in answered:
            yield f"cpu{cpu} has no redistributor: whoever takes a vPE off there waits for ever"
    for n, vcpu in enumerate(scenario.vcpus):
        for what, *operands in vcpu.program:
            yield from _write(scenario, f"vcpu{n}", operands) if what == "mmio" and len(operands) == 3 else ()


def _write(scenario: Scenario, vcpu: str, operands: Sequence[int | str]) -> Iterator[str]:
    register, intid, value = operands
    if register not in REGISTERS:
        yield f"{vcpu} writes {register!r}. {nearest(str(register), REGISTERS)}"
    elif register != "ctlr" and intid not in scenario.vectors:
        yield f"{vcpu} writes {register} for {intid}, which is not in vectors"
    elif register == "itargetsr" and not (isinstance(value, int) and 0 <= value < len(scenario.vcpus)):
        yield f"{vcpu} makes {value!r} the target of {intid}, and there are {len(scenario.vcpus)} vCPUs"
    elif register in ("sgir", "spendsgir", "cpendsgir") and not (isinstance(intid, int) and intid < 16):
        yield f"{vcpu} writes {register} for {intid}, which is no SGI: they are 0 to 15"
    elif register in ("spendsgir", "cpendsgir") and not (
        isinstance(value, int) and 0 < value < 1 << len(scenario.vcpus)
    ):
        yield f"{vcpu} writes {register} for sources {value!r}, a bit for each, and there are {len(scenario.vcpus)} vCPUs"


ARM = Architecture(
    name="arm",
    roles=ROLES,
    world=World,
    posts="injector",
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
    instructions={
        **dict.fromkeys(("wfi", "mask", "unmask", "pause"), ()),
        "write_pmr": ("VALUE",),
        "write_ctlr": ("VALUE",),
        "mmio": ("REGISTER", "INTID", "VALUE"),
    },
    refuses=refusals,
    facts={
        "device-keeps-its-line": "the guest's handler does not quiet a level's device",
        "eoi-mode-1": "GICV_CTLR.EOImode is 1: dropping the priority and deactivating are two writes",
        "gicv4": "virtual LPIs and doorbells of GICv4.0",
        "gicv4.1": "those of GICv4.1",
        "handlers-nest": "the guest's handlers open interrupts (PSTATE.I) once they have acknowledged theirs",
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
        DEVICE + 1: "the other device's interrupt",
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
