"""The architectural state of one vCPU as the manual speaks of it, and how Hypothesis draws one.

A register of 256 bits is the set of vectors whose bits are 1. Everything drawn comes down to small indices into tables
in which the telling values come first and often: the edges of words and of priority classes, and vectors that meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypeVar

from hypothesis import strategies as st

from conformance.roles.operations import Value
from properties.function import VCPU

T = TypeVar("T")
CONTROL = f"{VCPU}.pid.control"
PIR = tuple(f"{VCPU}.pid.pir[{word}]" for word in range(4))
DESCRIPTOR = (*PIR, CONTROL)
WORDS = range(4)

Vectors: TypeAlias = frozenset[int]
Operand: TypeAlias = Literal["vector", "register"]
NONE: Vectors = frozenset()


@dataclass(frozen=True)
class State:
    """What the routines of processor and IOMMU read and write."""

    pir: Vectors = NONE
    on: int = 0
    sn: int = 0
    nv: int = 0
    ndst: int = 0
    virr: Vectors = NONE
    visr: Vectors = NONE
    rvi: int = 0
    svi: int = 0
    vtpr: int = 0
    vppr: int = 0
    recognized: int = 0
    eoi_exit: Vectors = NONE
    interrupt_window: int = 0
    injected: int = 0
    rflags_if: int = 0
    blocking_by_sti: int = 0
    halted: int = 0

    def control(self) -> int:
        """The 64-bit word at byte 32 of the descriptor."""
        return self.on | self.sn << 1 | self.nv << 16 | self.ndst << 32

    def memory(self) -> dict[str, Value]:
        """The locations that hold this state."""
        memory: dict[str, Value] = {CONTROL: self.control()}
        for name in REGISTERS:
            memory[f"{VCPU}.{name}"] = getattr(self, name)
        for name, place in SETS.items():
            for word in WORDS:
                bits = (1 << v % 64 for v in getattr(self, name) if v // 64 == word)
                memory[f"{VCPU}.{place}[{word}]"] = sum(bits)
        return memory

    @staticmethod
    def of(memory: Mapping[str, Value]) -> State:
        """The state that these locations hold."""
        control = number(memory[CONTROL])
        parts: dict[str, Any] = {name: number(memory[f"{VCPU}.{name}"]) for name in REGISTERS}
        for name, place in SETS.items():
            parts[name] = vectors_in(memory[f"{VCPU}.{place}[{word}]"] for word in WORDS)
        return State(on=control & 1, sn=control >> 1 & 1, nv=control >> 16 & 0xFF, ndst=control >> 32, **parts)

    def __str__(self) -> str:
        """What is not 0."""
        return self.shown(*(f.name for f in fields(self) if getattr(self, f.name))) or "a state of zeros"

    def shown(self, *names: str) -> str:
        return ", ".join(f"{TITLES.get(name, name.upper())}={shown(getattr(self, name))}" for name in names)


SETS = {"pir": "pid.pir", "virr": "virr", "visr": "visr", "eoi_exit": "eoi_exit"}
REGISTERS = ("rvi", "svi", "vtpr", "vppr", "recognized", "interrupt_window", "injected", "rflags_if", "blocking_by_sti")
REGISTERS += ("halted",)
TITLES = {
    "virr": "vIRR",
    "visr": "vISR",
    "vtpr": "vTPR",
    "vppr": "vPPR",
    "recognized": "recognized",
    "eoi_exit": "EOI-exit bitmap",
    "interrupt_window": "interrupt-window exiting",
    "injected": "injected",
    "rflags_if": "IF",
    "blocking_by_sti": "blocking by STI",
    "halted": "halted",
}


def number(value: Value) -> int:
    assert isinstance(value, int)
    return value


def vectors_in(words: Iterable[Value]) -> Vectors:
    bits = sum(number(word) << 64 * n for n, word in enumerate(words))
    found: set[int] = set()
    while bits:
        found.add(bits.bit_length() - 1)
        bits ^= 1 << bits.bit_length() - 1
    return frozenset(found)


def shown(value: Any) -> str:
    """A register as the manual writes one: vectors and other numbers in hexadecimal, flags as they are."""
    if isinstance(value, frozenset):
        return "{" + ", ".join(f"{v:#x}" for v in sorted(value)) + "}"
    if isinstance(value, tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value) if not isinstance(value, int) or isinstance(value, bool) or value in (0, 1) else f"{value:#x}"


# Drawing

FAR = 1 << 200


class Below(st.SearchStrategy[int]):
    """0 to `limit` - 1, which failures shrink towards 0.

    Not `integers`, which likes numbers that occur in the modules it finds loaded. As far away as these are drawn there
    are none: what is drawn, and what a failure shrinks to, does not depend on who else is imported.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def do_draw(self, data: Any) -> int:
        return data.draw_integer(FAR, FAR + self.limit - 1, shrink_towards=FAR) - FAR


def one_of(options: Iterable[T]) -> st.SearchStrategy[T]:
    """One of the options. Failures shrink towards the first."""
    values = tuple(options)
    return Below(len(values)).map(values.__getitem__)


LEGAL = range(0x10, 0x100)
"""Vectors that a local APIC accepts."""
CLASSES = (1, 2, 3, 4, 7, 8, 0xB, 0xC, 0xF, 5, 6, 9, 0xA, 0xD, 0xE)
"""Of vectors: the lowest, those at the edges of words, the others."""
IDS = (0, 1, 2, 3, 0x100, 0xFF00, 0x12345678, 0xFFFFFFFE)
SLOTS, NIBBLES, MOST = 3, 4, 3
"""Classes and low nibbles in one case, and vectors in one set."""
ZEROS = (0, 0, 0, 0)

CLASS, NIBBLE, ID, FLAG, QUARTER = Below(len(CLASSES)), Below(0x10), Below(len(IDS)), st.booleans(), Below(4)
VECTOR, PENDING, REGISTER = (Below(SLOTS * NIBBLES + more) for more in (0, len(ZEROS), len(ZEROS) + NIBBLES))

vector = one_of(LEGAL)
flag = FLAG.map(int)
choices = st.tuples(Below(4), Below(4))
"""What is taken where a routine is free, in order; after these always the first option."""


class Pool:
    """What one case is drawn from: a few classes and low nibbles, drawn first, so that vectors meet, and shrink
    together.

    Few strategies and no `map`: most of the time of a check goes into drawing.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        classes = [CLASSES[draw(CLASS)] for _ in range(SLOTS)]
        nibbles = (0, 1, 0xF, draw(NIBBLE))
        self.near = tuple(c << 4 | n for c in classes for n in nibbles)
        self.none_or_near = (*ZEROS, *self.near)
        self.any_or_near = (*self.none_or_near, *nibbles)

    def vector(self) -> int:
        return self.near[self.draw(VECTOR)]

    def pending(self) -> int:
        """RVI or SVI: a vector, or 0 for none."""
        return self.none_or_near[self.draw(PENDING)]

    def register(self) -> int:
        """Eight bits."""
        return self.any_or_near[self.draw(REGISTER)]

    def vectors(self) -> Vectors:
        found: set[int] = set()
        while len(found) < MOST and self.draw(FLAG):
            found.add(self.vector())
        return frozenset(found)

    def flag(self) -> int:
        return int(self.draw(FLAG))

    def rare_flag(self) -> int:
        return int(self.draw(QUARTER) == 3)

    def id(self) -> int:
        return IDS[self.draw(ID)]

    def state(self, given: Mapping[str, Any]) -> State:
        drawn = {name: given[name] if name in given else getattr(self, how)() for name, how in DRAWN.items()}
        for name, register in FOLLOWS.items():
            if name not in given and drawn[register] and self.draw(FLAG):
                drawn[name] |= {drawn[register]}
        drawn |= {n: self.draw(v) if isinstance(v, st.SearchStrategy) else v for n, v in given.items()}
        return State(**drawn)


FOLLOWS = {"virr": "rvi", "visr": "svi", "eoi_exit": "svi"}
"""Sets that often hold the vector in this register: always those two would, if nobody wrote RVI and SVI by hand."""
DRAWN = {
    "pir": "vectors",
    "on": "flag",
    "sn": "flag",
    "nv": "register",
    "ndst": "id",
    "virr": "vectors",
    "visr": "vectors",
    "rvi": "pending",
    "svi": "pending",
    "vtpr": "register",
    "vppr": "register",
    "recognized": "flag",
    "eoi_exit": "vectors",
    "interrupt_window": "rare_flag",
    "rflags_if": "flag",
    "blocking_by_sti": "flag",
}
"""What a field is drawn as. Nothing is injected or halted unless a check gives it."""
OTHERS = {name: getattr(State(), name) for name in DRAWN if name not in ("pir", "on", "sn", "nv", "ndst")}


@st.composite
def states(draw: st.DrawFn, **given: Any) -> State:
    """Any state, but for what is `given`: values or strategies."""
    return Pool(draw).state(given)


@st.composite
def descriptors(draw: st.DrawFn, **given: Any) -> State:
    """A state of which only the descriptor is not 0."""
    return Pool(draw).state(OTHERS | given)


@st.composite
def operands(draw: st.DrawFn, how: Operand, given: Mapping[str, Any]) -> tuple[State, int]:
    """A state, but for what is `given`, and a number beside it, from one pool."""
    pool = Pool(draw)
    state = pool.state(given)
    return state, getattr(pool, how)()
