"""Hypothesis draws x86 scenarios, beyond the rows of the grammar: more agents, longer programs, any vectors, more tokens.

Part after part, and of each what there is room for: most of what is drawn at once would be too large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import TypeVar

from hypothesis import strategies as st

from conformance.roles.scenario import Action, Budget, Scenario, VcpuSetup
from conformance.roles.x86 import PINV, WAKEUP
from properties.covering import Option
from properties.x86 import grammar
from properties.x86.grammar import APICV, EOIS, HALTING, HANDLERS, MEMORY, PLATFORMS, VCPUS, Agent, assemble

T = TypeVar("T")

LEAST = 12.0
FEW, MANY = (1, 2, 3), (4, 5, 6)
"""Agents."""
SEVERAL = (200, 100, 40, 150, 201, 216, 191, 192, 33, 255, 16)
VECTOR = st.sampled_from(SEVERAL) | st.integers(16, 255)
VECTORS = st.lists(VECTOR, min_size=1, max_size=4, unique=True)
THREE = st.lists(VECTOR, min_size=3, max_size=3, unique=True)
FIRST: Mapping[str, float] = {kind: option.times for kind, option in grammar.FIRST.items()}
BESIDE: Mapping[str, float] = {"device": 35, "urgent": 35, "handler": 26, "ipi": 35, "sender": 90}
IN_TURN = 6.0
"""A device that waits for the agent before it."""
TOKENS: Mapping[str, float] = {"preempt": 10, "migrate": 2.5, "again": 3, "exit": 3, "notification": 5, "wakeup": 5}
ACTIONS: Mapping[str, float] = {"hlt": 6, "save_restore": 9, "reset": 6, "fastpath_ipi": 2.5, "self_ipi": 2.5}
"""How many times as many states each makes it, other actions 1.2: measured by a log-linear fit, as in the grammar, whose surroundings
these are.
"""
ORDERS = ("at random", "as drawn", "ascending", "descending")
"""Of the agents' vectors, which come from the first again when they run out."""
DOES = ("halts", "halts for good", "spins", "nothing", "save_restore", "reset", "fastpath_ipi", "self_ipi")
WAITS = ("halts", "halts for good", "save_restore", "reset")
"""What a guest or its host does; and what it does while the vCPU's thread may be anywhere."""
MOST = st.sampled_from(("program", "program", "tokens", "tokens", "agents", "around"))
"""What a scenario has most of."""
SIZES = st.sampled_from((1, 6))
"""Of what there is room for this part is taken: two small ones find more than one that is large."""
BARRED: Mapping[str, tuple[str, ...]] = {
    "program": (),
    "tokens": ("no-device", "assigns", "unassigns"),
    "agents": tuple(PLATFORMS)[1:],
    "around": ("assigned", "no-device", "xapic"),
}
"""Platforms, by what a scenario has most of."""
MEANWHILE = ("open", "closed", "masked")


@lru_cache(maxsize=None, typed=True)
def one_of(*options: T) -> st.SearchStrategy[T]:
    """Strategies are dear to make."""
    return st.sampled_from(options)


class Room:
    """How many times as many states there may be yet."""

    def __init__(self, draw: st.DrawFn, left: float) -> None:
        self.draw, self.left = draw, left

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(one_of(*options))

    def likely(self) -> bool:
        return self.pick((True, True, True, False))

    def take(self, times: float) -> bool:
        if fits := times <= self.left:
            self.left /= times
        return fits

    def option(self, factor: Mapping[str, Option], barred: Sequence[str] = ()) -> str:
        """Half of the time the plain one; of vCPUs, which take most room, more often, of platforms, which are many, less."""
        plain, *rest = (o for o in factor if o not in barred)
        plainly = 6 if factor is VCPUS else 2
        taken = self.pick((*[plain] * plainly, *rest))
        return taken if self.take(factor[taken].times) else plain

    def kind(self, kinds: Mapping[str, float]) -> str:
        """Of an agent that there is room for; "" if there is none."""
        fitting = [kind for kind, times in kinds.items() if times <= self.left]
        kind = self.pick(fitting) if fitting else ""
        return kind if kind and self.take(kinds[kind]) else ""


@st.composite
def scenarios(draw: st.DrawFn, states: float) -> Scenario:
    """Of about so many states at most. What they have most of comes first: agents, what is around, what the guest does, or what
    may happen to it.
    """
    most = draw(MOST)
    room = Room(draw, states / LEAST / (1 if most == "agents" else draw(SIZES)))
    vcpus = room.option(VCPUS, () if most == "program" else tuple(VCPUS)[1:])
    apicv = room.option(APICV, ("apicv",) if most == "around" else ())
    platform = room.option(PLATFORMS, BARRED[most] if vcpus == "one" else ("assigns",))
    eois = room.option(EOIS, ("eoi-exit",) if apicv == "inhibited" else ())
    handlers = room.option(HANDLERS)
    memory = room.option(MEMORY, ("buffered",) if most == "agents" else ())
    vectors = draw(THREE if most == "agents" else VECTORS)
    programs = [] if most == "agents" else [_program(room, vectors, apicv, DOES if most == "program" else WAITS)]
    tokens = _tokens(room, moves=True) if most == "tokens" else []
    agents = _agents(room, vectors, vcpus, apicv, platform, many=most == "agents")
    while len(programs) < (1 if vcpus == "one" else 2):
        programs.append(_program(room, vectors, apicv))
    halting = room.option(HALTING) if any(("hlt",) in program for program in programs) else next(iter(HALTING))
    tokens = tokens or _tokens(room)
    ends_in_halt = all(program[-1:] in ((), (("hlt",),)) for program in programs)
    budget = Budget(
        preempt=max(tokens.count("preempt"), int(vcpus == "shared")),
        migrate=tokens.count("migrate") if vcpus != "shared" else 0,
        exit=tokens.count("exit"),
        again=tokens.count("again") if ends_in_halt else 0,
        spurious=tuple((v, 0) for v, token in ((PINV, "notification"), (WAKEUP, "wakeup")) if token in tokens),
    )
    setups = [VcpuSetup(n if vcpus == "another" else 0, program) for n, program in enumerate(programs)]
    around = (apicv, halting, platform, eois, handlers, memory)
    return assemble("drawn", "drawn at random", agents, setups, around, budget)


def _tokens(room: Room, *, moves: bool = False) -> list[str]:
    often = {"preempt", "migrate"} if moves else set[str]()
    taken = {token: room.likely() if token in often else not room.likely() for token in TOKENS}
    return [token for token, times in TOKENS.items() if taken[token] and room.take(times)]


def _agents(room: Room, vectors: Sequence[int], vcpus: str, apicv: str, platform: str, *, many: bool) -> list[Agent]:
    """Many are devices in turn, if there are devices."""
    barred = {"device", "urgent"} if platform in ("no-device", "unassigns") else set[str]()
    barred |= {"ipi"} if apicv == "inhibited" else set()
    barred |= {"handler"} if vcpus == "shared" else set()
    kinds = [kind for kind in FIRST if kind not in barred]
    order = room.pick(ORDERS[2:] if many else ORDERS)
    vectors = sorted(vectors, reverse=order == "descending") if "ending" in order else vectors
    in_turn = "device" in kinds and (many or room.pick((False, True)))
    targets = (0,) if vcpus == "one" else (0, 1)
    agents: list[Agent] = []
    for n in range(room.pick(MANY if many else FEW)):
        waits = bool(agents) and in_turn and (many or room.likely())
        times = BESIDE if agents else FIRST
        kind = "device" if waits and room.take(IN_TURN) else room.kind({kind: times[kind] for kind in kinds})
        vector = room.pick(vectors) if order == "at random" else vectors[n % len(vectors)]
        if kind or not agents:
            agents.append(Agent(kind or kinds[0], vector, room.pick(targets), waits))
    return agents


def _program(room: Room, vectors: Sequence[int], apicv: str, does: Sequence[str] = ()) -> tuple[Action, ...]:
    """Some things that a guest or its host does, each as it is, with interrupts closed or with a task priority that masks: for
    this while or for good.
    """
    program: tuple[Action, ...] = ()
    for _ in range(room.pick((0, 1, 2, 3) if not does else (1, 2, 3) if does is DOES else (1, 1, 2))):
        able = [what for what in does or DOES if not (what.endswith("_ipi") and apicv == "inhibited")]
        doing = _does(room, room.pick(able), vectors)
        meanwhile = room.pick(MEANWHILE)
        before: tuple[Action, ...] = ()
        after: tuple[Action, ...] = ()
        if meanwhile == "closed":
            before, after = (("cli",),), (("sti",),)
        if meanwhile == "masked":
            before, after = (("write_tpr", room.pick((*vectors, 0xF0)) & 0xF0),), (("write_tpr", 0),)
        phrase = (*before, *doing, *(after if room.likely() else ()))
        program += phrase if room.take(prod(ACTIONS.get(str(action), 1.2) for action, *_ in phrase)) else ()
    return program


def _does(room: Room, what: str, vectors: Sequence[int]) -> tuple[Action, ...]:
    match what:
        case "halts":
            return ("hlt",), ("sti",)
        case "halts for good":
            return (("hlt",),)
        case "spins":
            return (("pause",),)
        case "nothing":
            return ()
        case "reset":
            old = room.pick(vectors)
            return (("reset", old, room.pick([0, *(v for v in vectors if v != old)])),)
        case _:
            return ((what, room.pick(vectors)),)
