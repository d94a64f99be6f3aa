"""Hypothesis draws Arm scenarios, beyond the rows of the grammar: more agents, longer programs, any registers, more tokens.

Options come in the order of what they cost, so that what shrinks gets cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.arm import DOORBELL, EDGE, EDGE2, EDGE3, LEVEL, LPI, PPI, SGI
from conformance.roles.scenario import Action, Budget, Scenario
from properties.arm.grammar import HALF, JUST, Agent, Parts, assemble
from properties.arm.scenarios import register

KINDS = ("own", "peer", "its", "handler", "injector")
INTIDS = (EDGE, LEVEL, EDGE3, PPI, SGI, EDGE2)
ALONE: tuple[Action, ...] = (
    ("wfi",),
    ("mask",),
    ("unmask",),
    ("pause",),
    ("write_pmr", HALF),
    ("write_pmr", 0xF8),
    ("write_pmr", 0),
)
MASKS: tuple[tuple[Action, Action], ...] = (
    *((("write_pmr", value), ("write_pmr", 0xF8)) for value in (0, HALF, JUST)),
    (("mask",), ("unmask",)),
)
"""What closes interrupts, and what opens them again."""
MEANWHILE: tuple[list[Action], ...] = ([], [("wfi",)], [("pause",)])
REGISTERS = ("ispendr", "icpendr", "icenabler", "isenabler", "isactiver", "icactiver", "itargetsr")
AROUND = (("icenabler", "isenabler"), ("icpendr", "ispendr"), ("isactiver", "icactiver"), ("ctlr", "ctlr"))
"""What makes an interrupt nobody's, or holds it fast, and what undoes that."""
OF_SGIS = ("spendsgir", "cpendsgir")
TIMES = {
    "own": 2.1,
    "peer": 2.1,
    "its": 7.7,
    "handler": 9.0,
    "injector": 45.0,
    "exit": 3.3,
    "preempt": 5.4,
    "migrate": 3.1,
    "one": 1.0,
    "shared": 2.8,
    "another": 100.0,
}
AN_ACTION = 1.7
"""How many times as many states each makes it, and each action of a program: as in the grammar."""


@st.composite
def agents(draw: st.DrawFn, vcpus: str) -> Agent:
    """Beside a guest on another pCPU no injector: its states would leave none for what the guests do to each other."""
    none = {"one": "peer", "another": "injector"}.get(vcpus)
    who = draw(st.sampled_from([kind for kind in KINDS if kind != none]))
    intids = {"its": (LPI, LPI + 1), "own": INTIDS, "peer": INTIDS}.get(who, tuple(i for i in INTIDS if i >= 16))
    if who == "peer":
        intids = tuple(i for i in intids if i < 16 or i >= 32)  # a private interrupt that it makes is its own
    return Agent(who, draw(st.sampled_from(intids)))


AGENTS = {vcpus: agents(vcpus) for vcpus in ("one", "shared", "another")}


@cache
def writes(intids: tuple[int, ...], vcpus: int) -> st.SearchStrategy[list[Action]]:
    """A write of a register, or a retarget while the interrupt is nobody's or active."""
    written: st.SearchStrategy[Action] = st.builds(
        lambda name, intid, to: register(name, intid, to if name == "itargetsr" else 1),
        st.sampled_from(REGISTERS),
        st.sampled_from([i for i in intids if i >= 16] or [EDGE]),
        st.integers(0, vcpus - 1),
    )
    of_sgis: st.SearchStrategy[Action] = st.builds(
        lambda name, sources: register(name, SGI, sources), st.sampled_from(OF_SGIS), st.integers(1, 2**vcpus - 1)
    )
    about = [i for i in intids if i >= 16] or [EDGE]
    single = written | of_sgis if SGI in intids else written
    around = st.builds(_around, st.sampled_from(AROUND), st.sampled_from(about), st.integers(0, vcpus - 1))
    return single.map(lambda action: [action]) | around


@cache
def actions(intids: tuple[int, ...], vcpus: int) -> st.SearchStrategy[list[Action]]:
    """Each a step of a program: an instruction, interrupts closed for a while, a write of a register."""
    alone = st.sampled_from(ALONE).map(lambda action: [action])
    masked = st.builds(_masked, st.sampled_from(MASKS), st.sampled_from(MEANWHILE))
    return alone | writes(intids, vcpus) | masked


def _around(names: tuple[str, str], intid: int, to: int) -> list[Action]:
    """Of a private interrupt, which has no other target, the two writes alone."""
    first, last = (register(n, 0 if n == "ctlr" else intid, v) for v, n in enumerate(names))
    return [first, *([register("itargetsr", intid, to)] if intid >= 32 else ()), last]


def _masked(masks: tuple[Action, Action], meanwhile: list[Action]) -> list[Action]:
    return [masks[0], *meanwhile, masks[1]]


@st.composite
def scenarios(draw: st.DrawFn, states: float) -> Scenario:
    """Of about so many states at most."""
    vcpus = draw(st.sampled_from(("one", "one", "shared", "another")))
    number = 1 + (vcpus != "one")
    parts, drawn = Parts(), draw(st.lists(AGENTS[vcpus], min_size=1, max_size=3))
    if len(drawn) < 3 and draw(st.booleans()):
        drawn = [*drawn, draw(st.sampled_from(drawn))]  # what comes again while it is handled
    for agent in drawn:
        parts.made(agent)
    levels = [i for i in sorted(parts.intids) if i in (LEVEL, PPI)]
    if levels and draw(st.booleans()):
        parts.handlers.append((draw(st.sampled_from(levels)), 0))
    tokens = 0 if vcpus == "another" else 2
    budget = draw(
        st.builds(
            Budget,
            preempt=st.integers(0, tokens),
            migrate=st.integers(0, int(vcpus == "one")),
            exit=st.integers(0, tokens),
            spurious=st.sampled_from(((), ((DOORBELL, 0),) if parts.vlpis else ())),
        )
    )
    assume(budget.preempt or not budget.migrate)
    room = states / _states([agent.who for agent in drawn], parts, budget, vcpus)
    assume(room >= 1)
    intids = tuple(i for i in sorted(parts.intids) if i < LPI)
    most = min(1 if vcpus == "another" else 3, int(math.log(room, AN_ACTION) / number))
    steps = st.lists(actions(intids, number), max_size=most)
    if vcpus != "one" and parts.vlpis and draw(st.booleans()):
        parts.vpe = "vcpu1"
    if vcpus != "one" and draw(st.integers(0, 3)) == 3:
        _exchange(parts)
    parts.own += sum(draw(steps), list[Action]())
    if vcpus == "another":  # it is there to do something
        parts.peer += draw(writes(intids, number).filter(lambda written: len(written) == 1))
    parts.peer += sum(draw(steps), list[Action]()) if vcpus != "one" else []
    assume(not any(_foreign(parts, action) for action in (*parts.own, *parts.peer)))
    facts = set(draw(st.lists(st.sampled_from(("one-list-register", "eoi-mode-1", "handlers-nest")), max_size=2)))
    facts |= {draw(st.sampled_from(("gicv4.1", "gicv4")))} if parts.vlpis else set()
    facts |= {"wfi-not-trapped"} if draw(st.sampled_from((False, False, True))) else set()
    facts |= {"injects-from-handler"} if parts.handlers else set()
    lowered = any(not level for _, level in parts.handlers)
    if LEVEL in parts.intids and not lowered and draw(st.booleans()):
        facts |= {"device-keeps-its-line", "irqfd-resample"}
    return assemble("drawn", "drawn at random", parts, tuple(sorted(facts)), vcpus, budget)


def _exchange(parts: Parts) -> None:
    """Interrupts closed, each vCPU gives the other one that it has pending."""
    parts.intids |= {EDGE, EDGE2}
    parts.own += [("mask",), register("ispendr", EDGE), register("itargetsr", EDGE, 1), ("unmask",)]
    mine = (register("itargetsr", EDGE2, 1), register("ispendr", EDGE2), register("itargetsr", EDGE2, 0))
    parts.peer += [("mask",), *mine, ("unmask",)]


def _foreign(parts: Parts, action: Action) -> bool:
    """A write that concerns no interrupt of the scenario, or no SPI where it needs one."""
    if action[0] != "mmio" or action[1] in ("ctlr", "sgir", *OF_SGIS):
        return False
    return action[2] not in parts.intids or (action[1] == "itargetsr" and int(action[2]) < 32)


def _states(who: Sequence[str], parts: Parts, budget: Budget, vcpus: str) -> float:
    """Predicted."""
    n = 9.0 * TIMES[vcpus]
    for kind in (*who, *["handler"] * (len(parts.handlers) - who.count("handler"))):
        n *= TIMES[kind]
    for what in ("preempt", "migrate", "exit"):
        n *= TIMES[what] ** getattr(budget, what)
    return n * AN_ACTION ** (len(parts.own) + len(parts.peer)) * 2 ** len(budget.spurious)
