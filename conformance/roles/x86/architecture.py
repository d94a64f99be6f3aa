"""x86 posted interrupts as the rest of the suite knows them: facts, words and names."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.roles.architecture import Architecture, Completion, Word
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import HIGH, KICK, LOW, PINV, ROLES, WAKEUP, World

TRANSFERS = ("save_restore", "reset")
OPENED = 1 << 8
"""In what a guest has yet to complete: its handler has opened interrupts, so that one of a higher class interrupts it."""


def completion(vector: int, scenario: Scenario) -> Completion:
    """EOI and IRET; with the fact `handlers-nest` each handler opens interrupts before that."""
    if "handlers-nest" in scenario.facts and not vector & OPENED:
        return ("sti",), (vector | OPENED,)
    return ("end_of_interrupt",), ()


def refusals(scenario: Scenario) -> Iterator[str]:
    for vector in scenario.vectors:
        if not 16 <= vector <= 255:
            yield f"{vector} is no vector of an interrupt: they are 16 to 255"
    for interrupt in scenario.interrupts:
        if interrupt.vector in (PINV, WAKEUP, KICK) or not 16 <= interrupt.vector <= 255:
            yield f"the handler of {interrupt.vector:#x}: the vector is the host's own, or none"
    assigned = dict(scenario.initial).get("vm.assigned", 1)
    assigns = {thread.name for thread in scenario.threads if thread.routine == "assign_device"}
    after = {agent.name: agent.after for agent in (*scenario.threads, *scenario.devices)}
    for device in scenario.devices:
        before = device.after
        while before and before not in assigns:
            before = after[before]
        if device.routine == "post" and not assigned and not before:
            yield f"{device.name} posts, and no device is assigned: it comes after a thread that calls assign_device"
    for n, vcpu in enumerate(scenario.vcpus):
        yield from _program(scenario, n, [(str(a[0]), a[1:]) for a in vcpu.program])


def _program(scenario: Scenario, n: int, program: list[tuple[str, tuple[int | str, ...]]]) -> Iterator[str]:
    for what, operands in program:
        value = operands[0] if operands else 0
        if what.endswith("_ipi") and value not in scenario.vectors:
            yield f"vcpu{n} sends itself {value}, which is not in vectors"
        if what.endswith("_ipi") and "apicv-inhibited" in scenario.facts:
            yield f"vcpu{n} sends itself an IPI with APICv inhibited, which is not modelled"
        if what == "write_tpr" and not (isinstance(value, int) and 0 <= value <= 255):
            yield f"vcpu{n} writes {value!r} to TPR, which has 8 bits"
        if what in TRANSFERS:
            given = operands[:-1] if what == "reset" and operands[-1] == 0 else operands
            if not set(given) <= set(scenario.vectors) or len(set(given)) < len(given):
                yield f"{what} takes vectors of the scenario that differ; only TIMER may be 0, for none"


X86 = Architecture(
    name="x86",
    roles=ROLES,
    world=World,
    posts="sender",
    interrupts=256,
    memory="tso",
    example=Scenario(
        name="example",
        about="all four words of each register",
        architecture="x86",
        cpus=2,
        vectors=(0, 64, 128, HIGH),
    ),
    arguments={"vector": HIGH, "old": HIGH, "timer": LOW, "notification_vector": PINV, "what": "hlt"},
    instructions={
        **dict.fromkeys(("hlt", "sti", "cli", "pause"), ()),
        "write_tpr": ("VALUE",),
        "self_ipi": ("VECTOR",),
        "fastpath_ipi": ("VECTOR",),
        "save_restore": ("VECTOR",),
        "reset": ("OLD", "TIMER"),
    },
    refuses=refusals,
    facts={
        "apicv-inhibited": "APICv is inhibited: the processor processes no posted interrupts",
        "assignment-changes": "devices that can post come and go",
        "eoi-exit": "some vectors have their bit set in the EOI-exit bitmap",
        "halt-polling": "the vCPU polls before it blocks",
        "handlers-nest": "the guest's handlers open interrupts before they write EOI",
        "hlt-not-intercepted": "HLT does not exit: the processor waits in the guest",
        "inhibit-toggles": "APICv is inhibited on the way",
        "post-order": "the order of posts is watched",
        "xapic": "physical APIC ids have 8 bits, at NDST[15:8]",
    },
    completion=completion,
    in_host="in root mode",
    words={
        "pid.control": Word({"ON": 1, "SN": 2, "NV": 0xFF << 16, "NDST": 0xFFFFFFFF << 32}),
        "pid.pir": Word(bits="PIR"),
        "virr": Word(bits="vIRR"),
        "visr": Word(bits="vISR"),
    },
)
