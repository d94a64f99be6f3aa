"""Hypothesis draws x86 scenarios, beyond the rows of the grammar: more agents, longer programs, any vectors, more tokens.

Options come in the order of what they cost, so that what shrinks gets cheaper.
"""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.scenario import Action, Budget, Scenario, VcpuSetup
from conformance.roles.x86 import PINV, WAKEUP
from properties.x86.grammar import APICV, EOIS, HALTING, MEMORY, PLATFORMS, Agent, assemble

KINDS = ("device", "handler", "ipi", "sender", "urgent")
VECTORS = st.sampled_from((200, 100, 201, 216, 191, 192, 255, 16)) | st.integers(16, 255)
PLAIN = st.sampled_from(("hlt", "cli", "sti", "pause"))
TIMES = {
    "device": 5.0,
    "urgent": 5.0,
    "handler": 4.3,
    "ipi": 6.4,
    "sender": 8.5,
    "preempt": 2.3,
    "migrate": 2.2,
    "exit": 1.7,
}
"""How many times as many states each makes it, and each action of a program 1.5: measured by a log-linear fit."""


def actions(vectors: tuple[int, ...]) -> st.SearchStrategy[Action]:
    priorities = st.sampled_from(sorted({v & 0xF0 for v in vectors} | {0, 0xF0}))
    one: st.SearchStrategy[Action] = st.tuples(PLAIN)
    masks: st.SearchStrategy[Action] = st.tuples(st.just("write_tpr"), priorities)
    sends: st.SearchStrategy[Action] = st.tuples(
        st.sampled_from(("self_ipi", "fastpath_ipi")), st.sampled_from(vectors)
    )
    transfers: st.SearchStrategy[Action] = st.tuples(st.just("save_restore"), st.sampled_from(vectors))
    resets: st.SearchStrategy[Action] = (
        st.permutations((*vectors, 0)).filter(lambda two: two[0] != 0).map(lambda two: ("reset", two[0], two[1]))
    )
    return one | masks | sends | transfers | resets


@st.composite
def scenarios(draw: st.DrawFn, states: float) -> Scenario:
    """Of about so many states at most."""
    apart = draw(st.sampled_from((0, 0, 1)))
    shared = not apart and draw(st.sampled_from((False, False, True)))
    hosts = 1 + apart
    vcpus = 1 + (apart or shared)
    agents = draw(
        st.lists(
            st.builds(Agent, st.sampled_from(KINDS), VECTORS, st.integers(0, vcpus - 1)), min_size=1, max_size=3
        ).filter(lambda drawn: sum(a.kind == "handler" for a in drawn) <= 1)
    )
    around = draw(st.tuples(*(st.sampled_from(list(f)) for f in (APICV, HALTING, PLATFORMS, EOIS, MEMORY))))
    if "no-device" in around:
        assume(not any(a.kind in ("device", "urgent") for a in agents))
    vectors = tuple(sorted({a.vector for a in agents}))
    programs = [draw(st.lists(actions(vectors), max_size=3)) for _ in range(vcpus)]
    budget = draw(
        st.builds(
            Budget,
            preempt=st.integers(int(shared), 2),
            migrate=st.integers(0, 0 if shared else 1),
            exit=st.integers(0, 2),
            spurious=st.sampled_from(((), ((PINV, 0),), ((WAKEUP, 0),))),
        )
    )
    assume(not (shared and any(a.kind == "handler" for a in agents)))
    if "inhibited" in around:
        assume(
            "eoi-exit" not in around
            and not any(a.kind == "ipi" for a in agents)
            and not any(x[0] in ("self_ipi", "fastpath_ipi") for p in programs for x in p)
        )
    assume(_states(agents, programs, budget, vcpus, around) <= states)
    setups = [VcpuSetup(n * (hosts > 1), tuple(p)) for n, p in enumerate(programs)]
    return assemble("drawn", "drawn at random", agents, setups, around, budget)


def _states(
    agents: list[Agent], programs: list[list[Action]], budget: Budget, vcpus: int, around: Collection[str]
) -> float:
    """Predicted."""
    n = 40.0 * (6.0 if vcpus > 1 else 1) * (3 if "inhibited" in around else 1) * (2 if "buffered" in around else 1)
    for agent in agents:
        n *= TIMES[agent.kind]
    for what in ("preempt", "migrate", "exit"):
        n *= TIMES[what] ** getattr(budget, what)
    return n * 1.5 ** sum(map(len, programs)) * 2 ** len(budget.spurious)
