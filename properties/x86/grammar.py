"""What an x86 scenario can be made of: agents that post, the guest's program, where vectors lie, vCPUs, what is around them, budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from conformance.roles.scenario import Action, Budget, Device, DeviceInterrupt, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import DEVICE, PINV, WAKEUP
from properties.covering import Grammar, Option, Row

FIRST = {
    "device": Option("a device posts", 1.8),
    "sender": Option("a software sender posts", 4.5),
    "handler": Option("a host interrupt's handler on the vCPU's pCPU posts", 1),
    "ipi": Option("another processor posts with IPI virtualization", 2.6),
    "urgent": Option("an urgent device posts", 1.9),
}
SECOND = {
    "alone": Option("", 1),
    "then-device": Option("then a device", 7.8),
    "and-device": Option("and a device", 46),
    "and-sender": Option("and a software sender", 107),
    "and-handler": Option("and a handler on the vCPU's pCPU", 26),
}
PROGRAMS = {
    "runs": Option("to a vCPU that stays in its guest", 1),
    "halts": Option("to a vCPU that halts", 9),
    "halts-closed": Option("to a vCPU that halts with interrupts closed", 9),
    "safe-halt": Option("to a vCPU that halts right after it opened interrupts", 6.8),
    "masks": Option("to a vCPU that raises its task priority for a while", 1.3),
    "masks-halts": Option("to a vCPU that halts with a task priority that masks the lower vector", 8.6),
    "sends-itself": Option("to a vCPU that sends itself IPIs, one on the fast path that its task priority masks", 8.2),
    "restored": Option("to a vCPU that is saved and restored", 9.4),
    "reset": Option("to a vCPU that is given a fresh local APIC", 5.5),
}
"""With interrupts closed for good there are fewer states than said: what meets there would meet for nothing."""
PLACES: Mapping[str, tuple[int, int, int]] = {
    "apart": (200, 100, 50),
    "low-first": (100, 200, 101),
    "one-word": (200, 232, 216),
    "one-class": (201, 200, 203),
    "one-vector": (200, 200, 200),
    "edges": (191, 192, 255),
}
"""The first agent's vector, the second's, and the one that is there when the vCPU is saved or reset."""
VECTORS = {
    "apart": Option("", 1),
    "low-first": Option("the lower vector first", 1),
    "one-word": Option("vectors in the two halves of a word", 1),
    "one-class": Option("vectors of one class", 1),
    "one-vector": Option("the same vector", 1),
    "edges": Option("vectors at the edges of words", 1),
}
VCPUS = {
    "one": Option("", 1),
    "another": Option("another vCPU on a pCPU of its own, to which all but the first post", 12.5),
    "shared": Option("another vCPU shares the pCPU and halts, and all but the first post to it", 6.6),
}
APICV = {
    "apicv": Option("", 1),
    "inhibited": Option("APICv is inhibited", 2.7),
    "toggled": Option("APICv is inhibited on the way", 2.4),
}
HALTING = {
    "blocks": Option("", 6),
    "polling": Option("the vCPU polls before it blocks", 5.6),
    "in-guest-hlt": Option("HLT does not exit", 1),
}
PLATFORMS = {
    "assigned": Option("", 1.4),
    "no-device": Option("no device is assigned", 1.2),
    "xapic": Option("physical APIC ids of xAPIC", 1),
    "assigns": Option("the first device is assigned on the way", 48),
    "unassigns": Option("the last device goes on the way", 5.1),
}
EOIS = {
    "silent-eoi": Option("", 1),
    "eoi-exit": Option("the EOI of the highest vector exits", 1.4),
}
HANDLERS = {
    "one-by-one": Option("", 1),
    "nest": Option("the guest's handlers open interrupts before their EOI", 1),
}
MEMORY = {
    "in-order": Option("", 1),
    "buffered": Option("store buffers", 1.6),
}
SPENT: Mapping[str, Budget] = {
    "none": Budget(),
    "exit": Budget(exit=1),
    "preempt": Budget(preempt=1),
    "notified": Budget(spurious=((PINV, 0),)),
    "woken": Budget(spurious=((WAKEUP, 0),)),
    "exit+preempt": Budget(exit=1, preempt=1),
    "migrate": Budget(preempt=1, migrate=1),
}
BUDGETS = {
    "none": Option("", 1),
    "exit": Option("one exit", 2.9),
    "preempt": Option("one preemption", 10.6),
    "notified": Option("a notification for nothing", 5),
    "woken": Option("a wakeup for nothing", 7),
    "exit+preempt": Option("one exit, one preemption", 30.7),
    "migrate": Option("one preemption, one migration", 25),
}
FACTS = {
    "in-guest-hlt": "hlt-not-intercepted",
    "polling": "halt-polling",
    "inhibited": "apicv-inhibited",
    "toggled": "inhibit-toggles",
    "nest": "handlers-nest",
    "assigns": "assignment-changes",
    "unassigns": "assignment-changes",
} | {name: name for name in ("xapic", "eoi-exit")}
"""Of the options that are one."""
CALLED = {"assigns": "assign_device", "unassigns": "unassign_device", "toggled": "inhibit_apicv"}
"""What a thread does about vcpu0, in the options that are one."""


class Agent(NamedTuple):
    """What posts: sender, device, urgent, ipi, or handler, with which vector, and to which vCPU. In turn, a device waits for the
    sender or device before it.
    """

    kind: str
    vector: int
    vcpu: int = 0
    in_turn: bool = False


def build(name: str, about: str, row: Row) -> Scenario | None:
    first, second, program, vectors, vcpus, *around, budget = row
    kinds = (first, *second.split("-")[1:])
    other = 0 if vcpus == "one" else 1
    agents = [
        Agent(kind, vector, other if n else 0, bool(n) and second.startswith("then"))
        for n, (kind, vector) in enumerate(zip(kinds, PLACES[vectors], strict=False))
    ]
    idle = {"one": [], "another": [VcpuSetup(1)], "shared": [VcpuSetup(0, (("hlt",),))]}[vcpus]
    setups = [VcpuSetup(0, _program(program, *PLACES[vectors])), *idle]
    return assemble(name, about, agents, setups, around, SPENT[budget])


def assemble(
    name: str,
    about: str,
    agents: Sequence[Agent],
    vcpus: Sequence[VcpuSetup],
    around: Collection[str],
    budget: Budget,
) -> Scenario:
    """Each thread on a CPU of its own, behind those of the vCPUs; one more of those where a vCPU may move and has no other.
    `around` are options of the surroundings, those that are plain left out or not.
    """
    hosts = {vcpu.cpu for vcpu in vcpus}
    own = max(len(hosts), 2 if budget.migrate else 1)
    threads: list[Thread] = []
    devices: list[Device] = []
    interrupts: list[DeviceInterrupt] = []
    for option, routine in CALLED.items():
        if option in around:
            threads.append(Thread(routine.partition("_")[0], routine, ("vcpu0",), own + len(threads)))
    assigned = "assign" if "assigns" in around else ""
    before, ready = "", assigned
    for n, (kind, vector, target, in_turn) in enumerate(agents):
        called = kind if [a.kind for a in agents].count(kind) == 1 else f"{kind}{n}"
        to = (f"vcpu{target}", vector)
        match kind:
            case "sender":
                threads.append(Thread(called, "deliver_interrupt", to, own + len(threads)))
            case "handler":
                vector = DEVICE + len(interrupts)
                interrupts.append(DeviceInterrupt(vector, vcpus[target].cpu, "deliver_interrupt", to))
            case "ipi":
                devices.append(Device(called, "virtual_ipi", to, before if in_turn else ""))
            case _:
                devices.append(Device(called, "post", (*to, kind == "urgent"), ready if in_turn else assigned))
        if kind != "handler":
            before = called
            ready = called if kind in ("device", "urgent") or not assigned else ready
    named = {
        int(value) for vcpu in vcpus for what, *values in vcpu.program if what in GIVEN for value in values if value
    }
    highest = max(agent.vector for agent in agents)
    initial = {
        "no-device": ("vm.assigned", 0),
        "assigns": ("vm.assigned", 0),
        "eoi-exit": (f"vcpu0.eoi_exit[{highest // 64}]", 1 << highest % 64),
    }
    return Scenario(
        name=name,
        about=about,
        architecture="x86",
        cpus=own + len(threads),
        vcpus=tuple(vcpus),
        threads=tuple(threads),
        devices=tuple(devices),
        interrupts=tuple(interrupts),
        vectors=tuple(sorted({*(agent.vector for agent in agents), *named})),
        budget=budget,
        buffer=2 if "buffered" in around else 0,
        facts=tuple(FACTS[option] for option in around if option in FACTS),
        initial=tuple(initial[option] for option in around if option in initial),
        loaded=len(hosts) == len(vcpus),
        story=False,
    )


GIVEN = ("self_ipi", "fastpath_ipi", "save_restore", "reset")
"""Instructions whose operands are vectors."""


def pointless(row: Row) -> bool:
    """These do not go together, or the one leaves nothing of the other."""
    first, second, program, places, vcpus, apicv, halting, platform, eois, _, _, budget = row
    kinds = {first, *second.split("-")[1:]}
    posting = kinds & {"device", "urgent"}
    return (
        (first == "handler" and second.startswith(("then", "and-handler")))
        or (program == "halts-closed" and second != "alone")
        or (program in ("restored", "reset") and places == "one-vector" and bool(kinds - {"device", "urgent"}))
        or (platform in ("no-device", "unassigns") and bool(posting))
        or (platform == "assigns" and vcpus != "one")
        or (platform == "xapic" and not (posting and budget in ("migrate", "preempt")))
        or (halting != "blocks" and "halt" not in program)
        or (apicv == "inhibited" and ("ipi" in kinds or program == "sends-itself" or eois == "eoi-exit"))
        or (vcpus == "shared" and (budget == "migrate" or "handler" in kinds))
    )


def _program(name: str, first: int, second: int, third: int) -> tuple[Action, ...]:
    """Behind a HLT comes what shows that it has ended."""
    low, high = sorted((first & 0xF0, second & 0xF0))
    programs: Mapping[str, tuple[Action, ...]] = {
        "runs": (),
        "halts": (("hlt",), ("sti",)),
        "halts-closed": (("cli",), ("hlt",), ("write_tpr", 0)),
        "safe-halt": (("cli",), ("sti",), ("hlt",), ("sti",)),
        "masks": (("write_tpr", high), ("write_tpr", 0)),
        "masks-halts": (("write_tpr", low), ("hlt",), ("sti",)),
        "sends-itself": (("write_tpr", high), ("fastpath_ipi", second), ("write_tpr", 0), ("self_ipi", first)),
        "restored": (("save_restore", third),),
        "reset": (("reset", third, 0),),
    }
    return programs[name]


X86 = Grammar(
    "x86",
    {
        "first": FIRST,
        "second": SECOND,
        "program": PROGRAMS,
        "vectors": VECTORS,
        "vcpus": VCPUS,
        "apicv": APICV,
        "halting": HALTING,
        "platform": PLATFORMS,
        "eois": EOIS,
        "handlers": HANDLERS,
        "memory": MEMORY,
        "budget": BUDGETS,
    },
    build,
    least=1.9,
    triples=(("program", "apicv", "halting"), ("first", "apicv", "memory")),
    most=1_600,
    start=0.03,
    a_state=2e-5,
    pointless=pointless,
)
