"""Nested posted interrupts as the rest of the suite knows them: facts, words and names."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.roles.architecture import Architecture, Word
from conformance.roles.nested import L2, NPINV, PINV12, PLAIN, POSTING, ROLES, World
from conformance.roles.scenario import Scenario
from conformance.roles.x86.state import HIGH, KICK, LOW, PINV, WAKEUP

CONTROL = {"SN": 2, "NV": 0xFF << 16, "NDST": 0xFFFFFFFF << 32}


def refusals(scenario: Scenario) -> Iterator[str]:
    for vector in scenario.vectors:
        if not 16 <= vector <= 255:
            yield f"{vector} is no vector of an interrupt: they are 16 to 255"
    for n, vcpu in enumerate(scenario.vcpus):
        for what, *operands in vcpu.program:
            if what == "vmlaunch" and operands[0] not in (PLAIN, POSTING):
                yield f"vcpu{n} launches {operands[0]!r}: L1 has {PLAIN}, without posted interrupts, and {POSTING}, with them"
            if what == "write_tpr" and not (isinstance(operands[0], int) and 0 <= operands[0] <= 255):
                yield f"vcpu{n} writes {operands[0]!r} to TPR, which has 8 bits"


def interrupt(number: int) -> str:
    return f"L2's {number - L2}" if number >= L2 else f"L1's {number}" if number != PINV12 else "L1's PINV12"


NESTED = Architecture(
    name="nested",
    extends="x86",
    roles=ROLES,
    world=World,
    posts="nested_sender",
    interrupts=2 * L2,
    memory="tso",
    example=Scenario(
        name="nested-example",
        about="all four words of each register",
        architecture="nested",
        cpus=2,
        vectors=(0, 64, 128, HIGH),
    ),
    arguments={"vector": HIGH, "first": LOW, "second": HIGH, "acknowledge vector": PINV, "what": "hlt"},
    instructions={
        **dict.fromkeys(("hlt", "sti", "cli", "touch", "io", "apic_eoi"), ()),
        "vmlaunch": ("VMCS12",),
        "write_tpr": ("VALUE",),
    },
    refuses=refusals,
    host_interrupts={PINV: "PINV", NPINV: "NPINV", WAKEUP: "WAKEUP", KICK: "KICK"},
    in_host="in root mode",
    guest_interrupt=interrupt,
    words={
        "pid.control": Word({"ON": 1, **CONTROL}),
        "pid.pir": Word(bits="PIR"),
        "virr": Word(bits="vIRR"),
        "visr": Word(bits="vISR"),
        "l2.pid.control": Word({"ON12": 1, **{f"{name}12": bits for name, bits in CONTROL.items()}}),
        "l2.pid.pir": Word(bits="PIR12"),
        "l2.virr": Word(bits="vIRR12"),
        "l2.visr": Word(bits="vISR12"),
    },
)
