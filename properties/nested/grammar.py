"""What a nested scenario can be made of: who posts to L2, or to L1 while it runs; what L2 does; vectors, vCPUs, memory, budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from conformance.roles.nested import NPINV, PINV12
from conformance.roles.scenario import Action, Budget, Scenario, Thread, VcpuSetup
from properties.covering import Grammar, Option, Row

AGENTS = {
    "posts": Option("L1 posts to L2", 21),
    "prepares": Option("L1 posts to L2 and notifies nobody", 1),
    "own": Option("an interrupt of L1's own comes", 16),
    "pinv12": Option("L1's other vCPU sends PINV12 for nothing", 15),
    "posts,prepares": Option("L1 posts to L2, and once it is notified again without", 43),
    "posts+own": Option("L1 posts to L2, and an interrupt of L1's own comes", 700),
    "posts+posts": Option("two vCPUs of L1 post to L2", 480),
    "posts+request": Option("L1 posts to L2, and something is requested", 390),
    "own+request": Option("an interrupt of L1's own comes, and something is requested", 260),
}
PROGRAMS: Mapping[str, tuple[Option, tuple[Action, ...]]] = {
    "runs": (Option("which stays in its guest", 1), ()),
    "halts": (Option("which halts", 3.2), (("hlt",),)),
    "closes": (Option("which closes interrupts for a while", 1.3), (("cli",), ("sti",))),
    "masks": (Option("which raises its task priority for a while", 1.3), (("write_tpr", 0xF0), ("write_tpr", 0))),
    "exits": (Option("which exits to L1 and is entered again", 3), (("io",), ("vmlaunch", 1))),
    "switches": (
        Option("which exits to L1, and another without posted interrupts is entered", 3.3),
        (("io",), ("vmlaunch", 0)),
    ),
}
PLACES: Mapping[str, tuple[int, int]] = {
    "apart": (200, 100),
    "one-word": (200, 216),
    "one-vector": (200, 200),
    "word-edges": (191, 192),
}
"""The first agent's vector and the second's."""
VECTORS = {
    "apart": Option("", 1),
    "one-word": Option("vectors in one word", 1),
    "one-vector": Option("the same vector", 1),
    "word-edges": Option("vectors at the edges of words", 1),
}
ENTRIES: Mapping[str, tuple[Option, tuple[Action, ...]]] = {
    "open": (Option("", 1.3), (("vmlaunch", 1),)),
    "closed": (Option("L1 enters it with interrupts closed", 1.4), (("cli",), ("vmlaunch", 1))),
    "plain": (Option("without posted interrupts", 1), (("vmlaunch", 0),)),
}
VCPUS = {
    "one": Option("", 1),
    "shared": Option("another vCPU, that runs L1, shares the pCPU", 1.3),
}
MEMORY = {
    "in-order": Option("", 1),
    "buffered": Option("store buffers", 1.5),
}
SPENT: Mapping[str, Budget] = {
    "none": Budget(),
    "exit": Budget(exit=1),
    "preempt": Budget(preempt=1),
    "notified": Budget(exit=1, spurious=((NPINV, 0),)),
    "migrate": Budget(preempt=1, migrate=1),
}
BUDGETS = {
    "none": Option("", 1),
    "exit": Option("one exit", 3.1),
    "preempt": Option("one preemption", 6.2),
    "notified": Option("one exit, one notification for nothing", 12),
    "migrate": Option("one preemption, one migration", 11),
}
CALLS = {"posts": "l1_posts", "prepares": "l1_prepares", "own": "deliver_interrupt", "pinv12": "deliver_interrupt"}


class Agent(NamedTuple):
    """What posts: posts, prepares, own, pinv12 or request, with which vector."""

    kind: str
    vector: int


def build(name: str, about: str, row: Row) -> Scenario:
    kinds, program, vectors, entry, vcpus, memory, budget = row
    agents = [Agent(kind, v) for kind, v in zip(kinds.replace(",", "+").split("+"), PLACES[vectors], strict=False)]
    runs = (*ENTRIES[entry][1], *PROGRAMS[program][1])
    return assemble(
        name,
        about,
        agents,
        runs,
        SPENT[budget],
        shared=vcpus == "shared",
        buffered=memory == "buffered",
        in_turn="," in kinds,
    )


def assemble(
    name: str,
    about: str,
    agents: Sequence[Agent],
    program: tuple[Action, ...],
    budget: Budget,
    *,
    shared: bool = False,
    buffered: bool = False,
    in_turn: bool = False,
) -> Scenario:
    """Each agent on a CPU of its own, behind those where the vCPU can be. With `in_turn` the second waits for the first."""
    hosts = 2 if budget.migrate else 1
    threads = [
        Thread(
            f"{agent.kind}{n}" if [a.kind for a in agents].count(agent.kind) > 1 else agent.kind,
            CALLS.get(agent.kind, "make_request"),
            ("vcpu0",) if agent.kind == "request" else ("vcpu0", PINV12 if agent.kind == "pinv12" else agent.vector),
            hosts + n,
        )
        for n, agent in enumerate(agents)
    ]
    if in_turn:
        threads[1] = Thread(threads[1].name, threads[1].routine, threads[1].args, threads[1].cpu, threads[0].name)
    vectors = {thread.args[1] for thread in threads if len(thread.args) > 1}
    return Scenario(
        name=name,
        about=about,
        architecture="nested",
        cpus=hosts + len(threads),
        vcpus=(VcpuSetup(0, program), *([VcpuSetup(0)] if shared else [])),
        threads=tuple(threads),
        vectors=tuple(sorted(v for v in vectors if isinstance(v, int))),
        budget=budget,
        buffer=2 if buffered else 0,
        loaded=not shared,
        story=False,
    )


def pointless(row: Row) -> bool:
    """These do not go together, or the one leaves nothing of the other."""
    agents, program, vectors, entry, vcpus, _, budget = row
    alone = "+" not in agents and "," not in agents
    return (
        (vcpus == "shared" and budget == "migrate")
        or (entry == "plain" and ("posts" in agents or "prepares" in agents))
        or ((alone or "request" in agents) and vectors in ("one-word", "one-vector"))
        or ("own" in agents and program == "masks")
    )


NESTED = Grammar(
    "nested",
    {
        "agents": AGENTS,
        "program": {name: option for name, (option, _) in PROGRAMS.items()},
        "vectors": VECTORS,
        "entry": {name: option for name, (option, _) in ENTRIES.items()},
        "vcpus": VCPUS,
        "memory": MEMORY,
        "budget": BUDGETS,
    },
    build,
    least=45,
    most=45_000,
    pointless=pointless,
)
