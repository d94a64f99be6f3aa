"""What an x86 scenario can be made of: agents that post, the guest's program, where vectors lie, vCPUs, what is around them, budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from conformance.roles.scenario import Action, Budget, Device, DeviceInterrupt, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import DEVICE, PINV, WAKEUP
from properties.covering import Grammar, Option, Row

AGENTS = {
    "device": Option("a device posts", 2.5),
    "sender": Option("a software sender posts", 4.2),
    "handler": Option("a host interrupt's handler on the vCPU's pCPU posts", 1),
    "ipi": Option("another processor posts with IPI virtualization", 3),
    "urgent+device": Option("an urgent and a plain device post", 25),
    "device+device": Option("two devices post", 27),
    "sender,device": Option("a software sender posts, then a device", 18),
    "sender+device": Option("a software sender and a device post", 50),
    "sender+sender": Option("two software senders post", 100),
    "ipi+device": Option("another processor posts with IPI virtualization, and a device", 43),
    "device+handler": Option("a device and a handler on the vCPU's pCPU post", 20),
    "sender+handler": Option("a software sender and a handler on the vCPU's pCPU post", 39),
}
PROGRAMS = {
    "runs": Option("to a vCPU that stays in its guest", 1),
    "halts": Option("to a vCPU that halts", 4.2),
    "halts-closed": Option("to a vCPU that halts with interrupts closed", 5),
    "closes": Option("to a vCPU that closes interrupts for a while", 1.1),
    "safe-halt": Option("to a vCPU that halts right after it opened interrupts", 6.4),
    "masks": Option("to a vCPU that raises its task priority for a while", 1.9),
    "masks-halts": Option("to a vCPU that halts with a task priority that masks the lower vector", 5.5),
    "self-ipi": Option("to a vCPU that sends itself an IPI", 1.9),
}
PLACES: Mapping[str, tuple[int, int]] = {
    "apart": (200, 100),
    "low-first": (100, 200),
    "one-word": (200, 232),
    "one-half": (200, 216),
    "one-class": (201, 200),
    "one-vector": (200, 200),
    "word-edges": (191, 192),
    "extremes": (255, 16),
}
"""The first agent's vector and the second's."""
VECTORS = {
    "apart": Option("", 1),
    "low-first": Option("the lower vector first", 1),
    "one-word": Option("vectors in the two halves of a word", 1),
    "one-half": Option("vectors in one half of a word", 1),
    "one-class": Option("vectors of one class", 1),
    "one-vector": Option("the same vector", 1),
    "word-edges": Option("vectors at the edges of words", 1),
    "extremes": Option("the last vector and the first", 1),
}
VCPUS = {
    "one": Option("", 1),
    "another": Option("another vCPU on a pCPU of its own, to which the second agent posts", 7.1),
    "shared": Option("another vCPU shares the pCPU and halts, and the second agent posts to it", 2.2),
}
APICV = {
    "apicv": Option("", 1),
    "inhibited": Option("APICv is inhibited", 3),
}
HALTING = {
    "blocks": Option("", 4.3),
    "polling": Option("the vCPU polls before it blocks", 5.8),
    "in-guest-hlt": Option("HLT does not exit", 1),
}
PLATFORMS = {
    "assigned": Option("", 1.2),
    "no-device": Option("no device is assigned", 1.1),
    "xapic": Option("physical APIC ids of xAPIC", 1),
}
EOIS = {
    "silent-eoi": Option("", 1),
    "eoi-exit": Option("the EOI of the first vector exits", 1.4),
    "nest": Option("the guest's handlers open interrupts before their EOI", 1.3),
}
MEMORY = {
    "in-order": Option("", 1),
    "buffered": Option("store buffers", 1.5),
}
SPENT: Mapping[str, Budget] = {
    "none": Budget(),
    "exit": Budget(exit=1),
    "preempt": Budget(preempt=1),
    "notified": Budget(exit=1, spurious=((PINV, 0),)),
    "woken": Budget(preempt=1, spurious=((WAKEUP, 0),)),
    "exit+preempt": Budget(exit=1, preempt=1),
    "migrate": Budget(preempt=1, migrate=1),
}
BUDGETS = {
    "none": Option("", 1),
    "exit": Option("one exit", 4.6),
    "preempt": Option("one preemption", 6.3),
    "notified": Option("one exit, one notification for nothing", 19),
    "woken": Option("one preemption, one wakeup for nothing", 35),
    "exit+preempt": Option("one exit, one preemption", 27),
    "migrate": Option("one preemption, one migration", 10),
}
FACTS = {
    "in-guest-hlt": "hlt-not-intercepted",
    "polling": "halt-polling",
    "inhibited": "apicv-inhibited",
    "nest": "handlers-nest",
} | {name: name for name in ("xapic", "eoi-exit")}
"""Of the options that are one."""


class Agent(NamedTuple):
    """What posts: sender, device, urgent, ipi, or handler, with which vector, and to which vCPU."""

    kind: str
    vector: int
    vcpu: int = 0


def build(name: str, about: str, row: Row) -> Scenario | None:
    kinds, program, vectors, vcpus, *around, budget = row
    first, second = PLACES[vectors]
    other = 0 if vcpus == "one" else 1
    agents = [
        Agent(kind, vector, vcpu)
        for kind, vector, vcpu in zip(kinds.replace(",", "+").split("+"), (first, second), (0, other), strict=False)
    ]
    idle = {"one": [], "another": [VcpuSetup(1)], "shared": [VcpuSetup(0, (("hlt",),))]}[vcpus]
    return assemble(
        name,
        about,
        agents,
        [VcpuSetup(0, _program(program, first, second)), *idle],
        around,
        SPENT[budget],
        in_turn="," in kinds,
    )


def assemble(
    name: str,
    about: str,
    agents: Sequence[Agent],
    vcpus: Sequence[VcpuSetup],
    around: Collection[str],
    budget: Budget,
    *,
    in_turn: bool = False,
) -> Scenario:
    """Each sender on a CPU of its own, behind those of the vCPUs; one more of those where a vCPU may move and has no other.
    With `in_turn` devices wait for the sender. `around` are options of the surroundings, those that are plain left out or not.
    """
    hosts = {vcpu.cpu for vcpu in vcpus}
    own = max(len(hosts), 2 if budget.migrate else 1)
    threads: list[Thread] = []
    devices: list[Device] = []
    interrupts: list[DeviceInterrupt] = []
    for n, (kind, vector, target) in enumerate(agents):
        called = kind if [a.kind for a in agents].count(kind) == 1 else f"{kind}{n}"
        to = (f"vcpu{target}", vector)
        match kind:
            case "sender":
                threads.append(Thread(called, "deliver_interrupt", to, own + len(threads)))
            case "handler":
                interrupts.append(DeviceInterrupt(DEVICE, vcpus[target].cpu, "deliver_interrupt", to))
            case "ipi":
                devices.append(Device(called, "virtual_ipi", to))
            case _:
                after = threads[-1].name if in_turn and threads else ""
                devices.append(Device(called, "post", (*to, kind == "urgent"), after))
    sent = [int(a[1]) for vcpu in vcpus for a in vcpu.program if a[0] in ("self_ipi", "fastpath_ipi")]
    first = agents[0].vector
    initial = {
        "no-device": ("vm.assigned", 0),
        "eoi-exit": (f"vcpu0.eoi_exit[{first // 64}]", 1 << first % 64),
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
        vectors=tuple(sorted({*(agent.vector for agent in agents), *sent})),
        budget=budget,
        buffer=2 if "buffered" in around else 0,
        facts=tuple(FACTS[option] for option in around if option in FACTS),
        initial=tuple(initial[option] for option in around if option in initial),
        loaded=len(hosts) == len(vcpus),
        story=False,
    )


def pointless(row: Row) -> bool:
    """These do not go together, or the one leaves nothing of the other."""
    agents, program, _, vcpus, apicv, halting, platform, eois, _, budget = row
    kinds = set(agents.replace(",", "+").split("+"))
    posting = kinds & {"device", "urgent"}
    return (
        (platform == "no-device" and bool(posting))
        or (platform == "xapic" and not (posting and budget in ("migrate", "preempt")))
        or (halting != "blocks" and "halt" not in program)
        or (apicv == "inhibited" and ("ipi" in kinds or program == "self-ipi" or eois == "eoi-exit"))
        or (vcpus == "shared" and (budget == "migrate" or "handler" in kinds))
    )


def _program(name: str, first: int, second: int) -> tuple[Action, ...]:
    """Behind a HLT comes what shows that it has ended."""
    low, high = sorted((first & 0xF0, second & 0xF0))
    programs: Mapping[str, tuple[Action, ...]] = {
        "runs": (),
        "halts": (("hlt",), ("sti",)),
        "halts-closed": (("cli",), ("hlt",), ("write_tpr", 0)),
        "closes": (("cli",), ("sti",)),
        "safe-halt": (("cli",), ("sti",), ("hlt",), ("sti",)),
        "masks": (("write_tpr", high), ("write_tpr", 0)),
        "masks-halts": (("write_tpr", low), ("hlt",), ("sti",)),
        "self-ipi": (("self_ipi", second),),
    }
    return programs[name]


X86 = Grammar(
    "x86",
    {
        "agents": AGENTS,
        "program": PROGRAMS,
        "vectors": VECTORS,
        "vcpus": VCPUS,
        "apicv": APICV,
        "halting": HALTING,
        "platform": PLATFORMS,
        "eois": EOIS,
        "memory": MEMORY,
        "budget": BUDGETS,
    },
    build,
    least=5.5,
    triples=(("program", "apicv", "halting"), ("agents", "apicv", "memory")),
    most=12_000,
    pointless=pointless,
)
