"""x86 posted interrupts as the rest of the suite knows them: facts, words and names."""

from __future__ import annotations

from conformance.roles.architecture import Architecture, Word
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import HIGH, LOW, PINV, ROLES, World

X86 = Architecture(
    name="x86",
    roles=ROLES,
    world=World,
    memory="tso",
    example=Scenario(
        name="example",
        about="all four words of each register",
        architecture="x86",
        cpus=2,
        vectors=(0, 64, 128, HIGH),
    ),
    arguments={"vector": HIGH, "old": HIGH, "timer": LOW, "notification_vector": PINV, "what": "hlt"},
    facts={
        "apicv-inhibited": "APICv is inhibited: the processor processes no posted interrupts",
        "assignment-changes": "devices that can post come and go",
        "eoi-exit": "some vectors have their bit set in the EOI-exit bitmap",
        "halt-polling": "the vCPU polls before it blocks",
        "hlt-not-intercepted": "HLT does not exit: the processor waits in the guest",
        "inhibit-toggles": "APICv is inhibited on the way",
        "post-order": "the order of posts is watched",
        "xapic": "physical APIC ids have 8 bits, at NDST[15:8]",
    },
    in_host="in root mode",
    words={
        "pid.control": Word({"ON": 1, "SN": 2, "NV": 0xFF << 16, "NDST": 0xFFFFFFFF << 32}),
        "pid.pir": Word(bits="PIR"),
        "virr": Word(bits="vIRR"),
        "visr": Word(bits="vISR"),
    },
)
