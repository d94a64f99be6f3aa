"""The architectural state of one vCPU as the manual speaks of it, and how Hypothesis draws one.

A register of 256 bits is the set of vectors whose bits are 1. Everything drawn comes down to small indices into tables
that put the telling values first: the edges of words and of priority classes, and a few neighbours, so that vectors meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeAlias, TypeVar

from hypothesis import assume
from hypothesis import strategies as st

from conformance.engine.operations import Value

T = TypeVar("T")
VCPU = "vcpu0"
CONTROL = f"{VCPU}.pid.control"
PIR = tuple(f"{VCPU}.pid.pir[{word}]" for word in range(4))
DESCRIPTOR = (*PIR, CONTROL)
WORDS = range(4)

Vectors: TypeAlias = frozenset[int]
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
        sets = {name: vectors_in(memory[f"{VCPU}.{place}[{w}]"] for w in WORDS) for name, place in SETS.items()}
        registers = {name: number(memory[f"{VCPU}.{name}"]) for name in REGISTERS}
        return State(
            on=control & 1,
            sn=control >> 1 & 1,
            nv=control >> 16 & 0xFF,
            ndst=control >> 32,
            **sets,
            **registers,
        )

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
    return str(value) if not isinstance(value, int) or isinstance(value, bool) or value in (0, 1) else f"{value:#x}"


# Drawing

FAR = 1 << 200
"""Hypothesis likes integers that occur in the modules it finds loaded. Here there are none, so what is drawn, and what a
failure shrinks to, does not depend on who else is imported."""


class Table(Generic[T]):
    """Values to draw from, the simplest first: failures shrink towards it."""

    def __init__(self, *values: T) -> None:
        self.values = values
        self.index = st.integers(FAR, FAR + len(values) - 1)

    def __getitem__(self, index: int) -> T:
        return self.values[index - FAR]

    def strategy(self) -> st.SearchStrategy[T]:
        return self.index.map(self.__getitem__)


def below(limit: int) -> st.SearchStrategy[int]:
    return st.integers(FAR, FAR + limit - 1).map(lambda n: n - FAR)


def one_of(options: Iterable[T]) -> st.SearchStrategy[T]:
    return Table(*options).strategy()


EDGES = (0x10, 0x11, 0x20, 0x1F, 0x40, 0x3F, 0x41, 0x7F, 0x80, 0xBF, 0xC0, 0xC8, 0x64, 0xF0, 0xFE, 0xFF)
LEGAL = (*EDGES * 8, *range(0x10, 0x100))
"""Vectors that a local APIC accepts: 10H to FFH."""

VECTOR = Table(*LEGAL)
REGISTER = Table(*(0,) * 40, *LEGAL, *range(0x10))
"""Eight bits."""
PENDING = Table(*(0,) * 20, *LEGAL)
"""RVI or SVI: a vector, or 0 for none."""
APIC_ID = Table(0, 1, 2, 3, 0x100, 0xFF00, 0x12345678, 0xFFFFFFFE)

vector, register = VECTOR.strategy(), REGISTER.strategy()
flag = st.booleans().map(int)
choices = st.tuples(below(4), below(4))
"""What is taken where a routine is free, in order; after these always the first option."""

DRAWN: Mapping[str, Table[int] | None] = {
    "pir": VECTOR,
    "on": None,
    "sn": None,
    "nv": REGISTER,
    "ndst": APIC_ID,
    "virr": VECTOR,
    "visr": VECTOR,
    "rvi": PENDING,
    "svi": PENDING,
    "vtpr": REGISTER,
    "vppr": REGISTER,
    "recognized": None,
    "eoi_exit": VECTOR,
    "interrupt_window": None,
    "rflags_if": None,
    "blocking_by_sti": None,
}
"""What a field is drawn from; None is a flag."""


@st.composite
def states(draw: st.DrawFn, where: Callable[[State], bool] | None = None, **given: Any) -> State:
    """Any state; what is `given` is a value or a strategy instead. Nothing is injected or halted unless given.

    Written with as few strategies as it takes: most of the time of a check is spent in drawing.
    """
    drawn: dict[str, Any] = {}
    for name, table in DRAWN.items():
        if name in given:
            continue
        if table is None:
            drawn[name] = int(draw(BOOLEAN))
        elif name in SETS:
            drawn[name] = NONE
            while len(drawn[name]) < MOST and draw(BOOLEAN):
                drawn[name] |= {table[draw(table.index)]}
        else:
            drawn[name] = table[draw(table.index)]
    for name, value in given.items():
        drawn[name] = draw(value) if isinstance(value, st.SearchStrategy) else value
    state = State(**drawn)
    assume(where is None or where(state))
    return state


BOOLEAN = st.booleans()
MOST = 3
"""Vectors in one register."""
ZEROS = {name: getattr(State(), name) for name in DRAWN if name not in ("pir", "on", "sn", "nv", "ndst")}


def descriptors(**given: Any) -> st.SearchStrategy[State]:
    """States of which only the descriptor is not 0."""
    return states(**(ZEROS | given))
