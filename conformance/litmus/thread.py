"""One thread of a litmus test, run on values it has not read yet: the paths it can take, each with its events.

A path is what a thread does for one outcome of its branches, its conditional operations and the addresses it computes:
a list of events, the conditions under which it is taken, and its registers at the end as functions of its reads. Paths
are found by running the thread again and again, each time along other decisions, the way an implementation is unfolded
(`conformance.automaton.unfold`).

Memory is in pieces, the largest that each access takes whole or not at all: with accesses of one size to each location
they are the locations, else bytes or several. An access is as many events as it takes pieces (S. Flur and others,
Mixed-Size Concurrency: ARM, POWER, C/C++11, and SC, POPL 2017, take bytes throughout, which comes to the same).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Literal, NamedTuple

from conformance.litmus.instruction import Instruction
from conformance.litmus.parse import LitmusTest
from conformance.litmus.values import NONE, Address, Concrete, Read, Unsupported, Value, apply, constant, mask

MOST_CHOICES = 64
MOST_CASES = 20_000
"""Combinations of what the reads may return that a value is computed from."""
MOST_STEPS = 1000
"""Instructions on one path."""
MOST_ROUNDS = 2
"""How often a path jumps back to one label, as herd unrolls loops by default."""
FARTHEST = 1 << 16
"""Bytes from the location that an address is computed from."""


@dataclass(slots=True)
class MemoryEvent:
    """Something a thread does that the memory model orders.

    `addr`, `data` and `ctrl` are the reads (their index in the path) that it depends on in this way; `pick_*` the same
    through a selection. `flow` is what reached it in any way but control: a later read of what it wrote depends on it.
    """

    thread: int
    index: int
    line: Line
    """The instruction: the read and the write of one are not in program order, but in `rmw`."""
    text: str
    kind: Literal["R", "W", "F"]
    at: Address | None = None
    value: Value | None = None
    order: frozenset[str] = frozenset()
    """A acquire, Q acquirePC, L release, locked (x86), noret (the read of an atomic that returns nothing); of a fence
    its kind: full, dsb, load, store, dsb.load, dsb.store, isb; none: orders nothing. message: see `axioms`."""
    rmw: int = -1
    """Of the write of an atomic or exclusive pair: its read."""
    addr: frozenset[int] = NONE
    data: frozenset[int] = NONE
    ctrl: frozenset[int] = NONE
    pick_addr: frozenset[int] = NONE
    pick_data: frozenset[int] = NONE
    pick_ctrl: frozenset[int] = NONE
    size: int = 8
    """In bytes."""
    access: int = -1
    """The first event of the access that it is a piece of: nothing comes between these. -1: it is one by itself."""

    @property
    def name(self) -> Read:
        return self.thread, self.index

    @property
    def flow(self) -> frozenset[int]:
        return self.pick_addr | self.pick_data


Line = tuple[int, int]
"""An instruction, and how often its thread has done it before."""


@dataclass(slots=True)
class Path:
    thread: int
    events: list[MemoryEvent] = field(default_factory=list)
    conditions: list[tuple[Value, Concrete]] = field(default_factory=list)
    """(value, what it has on this path)."""
    registers: dict[str, Value] = field(default_factory=dict)


class Memory:
    """What is known of memory while threads are run again and again, until nothing more is found."""

    def __init__(self, test: LitmusTest) -> None:
        self.test = test
        self.cuts: dict[str, set[int]] = {}
        """By location: the offsets at which an access begins or ends."""
        self.widest: dict[Address, int] = {}
        """The size of the largest access that begins there."""
        self.written: dict[Address, tuple[Concrete, ...]] = {}
        """What each piece may hold: what the reads of a path may return."""
        self.endless = False
        """Whether a path was left out, as it jumps back more than MOST_ROUNDS times."""

    def pieces(self, at: Address, size: int) -> list[tuple[Address, int]]:
        """Of an access, lowest first, as far as known."""
        self.widest[at] = max(size, self.widest.get(at, 0))
        cuts = self.cuts.setdefault(at.symbol, set())
        cuts |= {at.offset, at.offset + size}
        inside = sorted(cut for cut in cuts if at.offset <= cut <= at.offset + size)
        return [(at._replace(offset=low), high - low) for low, high in pairwise(inside)]

    def size(self, at: Address) -> int:
        """Of a location of the final state: what is declared, or else that of an int or of the largest access there."""
        place = self.test.memory.get(at.symbol)
        return place.size if place and place.size else max(4, self.widest.get(at, 0))

    def holds(self, at: Address, size: int) -> tuple[Concrete, ...]:
        return self.written.get(at) or (self.test.initial(at, size),)


class Endless(Exception):
    """A path that goes round and round."""


class Access(NamedTuple):
    """One access: single-copy atomic, whatever pieces memory is in."""

    at: Address
    size: int
    events: tuple[MemoryEvent, ...]


class Runner:
    """Runs one thread along given decisions; an architecture's instructions call its methods."""

    def __init__(self, number: int, memory: Memory, decisions: list[int]) -> None:
        self.number, self.memory, self.test = number, memory, memory.test
        self.lines = self.test.threads[number]
        self.path = Path(number)
        self.registers = self.path.registers
        self.decisions, self.decided = decisions, 0
        self.options: list[int] = []
        self.reads: dict[Read, tuple[Concrete, ...]] = {}
        self.ctrl = self.pick_ctrl = NONE
        self.line = self.then = 0
        """Which instruction is done, and which is next."""
        self.done: Counter[int] = Counter()
        """How often each instruction was done, and (under its complement) was jumped back to."""
        self.reserved: Access | None = None
        """What the last exclusive load read."""

    def run(self, step: Step) -> Path:
        """From the first instruction on. Raises Endless, and Unsupported with the line of the file."""
        while self.line < len(self.lines):
            instruction = self.lines[self.line]
            if sum(self.done.values()) > MOST_STEPS:
                raise Unsupported(f"thread {self.number} goes on for more than {MOST_STEPS} instructions")
            self.then = self.line + 1
            try:
                step(self, instruction)
            except Unsupported as error:
                raise Unsupported(f"line {instruction.line}: {error}") from None
            self.done[self.line] += 1
            self.line = self.then
        return self.path

    # Decisions

    def choose(self, count: int) -> int:
        """One of several ways to go on; each is taken on some path."""
        if self.decided == len(self.decisions):
            self.decisions.append(0)
        self.options.append(count)
        self.decided += 1
        return self.decisions[self.decided - 1]

    def known(self, value: Value) -> Concrete:
        """What a value is on this path, where it matters for what is done next."""
        if not value.support:
            return value.constant
        cases = prod(len(self.reads[read]) for read in value.support)
        results = {result for _, result in value.cases(self.reads)} if cases <= MOST_CASES else set[Concrete]()
        if not results or len(results) > MOST_CHOICES:
            raise Unsupported(f"an address or branch of thread {self.number} with over {MOST_CHOICES} values")
        ordered = sorted(results, key=str)
        chosen = ordered[self.choose(len(ordered)) if len(ordered) > 1 else 0]
        self.path.conditions.append((value, chosen))
        return chosen

    # Events

    def _event(self, kind: Literal["R", "W", "F"], order: frozenset[str]) -> MemoryEvent:
        line = (self.line, self.done[self.line])
        event = MemoryEvent(self.number, len(self.path.events), line, self.lines[self.line].text, kind, order=order)
        event.ctrl, event.pick_ctrl = self.ctrl, self.pick_ctrl
        self.path.events.append(event)
        return event

    def _access(self, kind: Literal["R", "W"], address: Value, size: int, order: frozenset[str]) -> Access:
        at = self.known(address)
        if not isinstance(at, Address):
            raise Unsupported(f"thread {self.number}: {self.lines[self.line].text} uses the number {at} as an address")
        if at.offset % size:
            raise Unsupported(f"{size} bytes at {at}, which is not aligned: no manual makes that one access everywhere")
        place = self.test.memory.get(at.symbol)
        end = place.size * len(place.values) if place and place.size else FARTHEST
        if abs(at.offset) > FARTHEST or at.offset + size > end or (at.offset < 0 and end < FARTHEST):
            raise Unsupported(f"{size} bytes at {at}, beyond {at.symbol}")
        first = len(self.path.events)
        made: list[MemoryEvent] = []
        for piece, width in self.memory.pieces(at, size):
            event = self._event(kind, order)
            event.at, event.size, event.access = piece, width, first
            event.addr, event.pick_addr = address.dep, address.pick
            made.append(event)
        return Access(at, size, tuple(made))

    def read(self, address: Value, size: int, *order: str) -> tuple[Access, Value]:
        access = self._access("R", address, size, frozenset(order))
        for event in access.events:
            assert event.at
            event.pick_data = self._through(event)
            self.reads[event.name] = self.memory.holds(event.at, event.size)
            mine = frozenset((event.index,))
            event.value = Value((event.name,), lambda value: value, mine, mine | address.pick | event.pick_data)
        values = [event.value for event in access.events if event.value]
        if len(values) == 1:
            return access, values[0]
        shifts = [8 * (event.at.offset - access.at.offset) for event in access.events if event.at]

        def joined(*parts: Concrete) -> Concrete:
            word = 0
            for part, shift in zip(parts, shifts, strict=True):
                if not isinstance(part, int):
                    raise Unsupported(f"{size} bytes at {access.at}, a part of the address {part}")
                word |= part << shift
            return word

        return access, apply(joined, *values)

    def _through(self, read: MemoryEvent) -> frozenset[int]:
        """What reached the write of its own thread that a read would see."""
        for earlier in reversed(self.path.events[: read.index]):
            if earlier.kind == "W" and earlier.at == read.at and earlier.line != read.line:
                return earlier.flow
        return NONE

    def write(
        self,
        address: Value,
        size: int,
        data: Value,
        *order: str,
        rmw: Access | None = None,
        picked: Value | None = None,
    ) -> Access:
        """`picked`: what decides whether it is written at all, within its instruction."""
        access = self._access("W", address, size, frozenset(order))
        for n, event in enumerate(access.events):
            assert event.at
            event.value = self._piece(data, event, access)
            event.data = data.dep
            event.pick_data = data.pick | (picked.pick if picked else NONE)
            event.rmw = rmw.events[n].index if rmw else -1
        return access

    @staticmethod
    def _piece(data: Value, event: MemoryEvent, access: Access) -> Value:
        assert event.at
        shift, bits, whole = 8 * (event.at.offset - access.at.offset), mask(event.size), len(access.events) == 1

        def of(value: Concrete) -> Concrete:
            if isinstance(value, int):
                return value >> shift & bits
            if not whole:
                raise Unsupported(f"{event.size} bytes at {event.at}, a part of the address {value}")
            return value

        return apply(of, data)

    def fence(self, kind: str) -> None:
        self._event("F", frozenset((kind,)))

    def branch(self, condition: Value) -> bool:
        """Whether it is taken; everything after it is controlled by it."""
        taken = bool(self.known(condition))
        self.ctrl |= condition.dep
        self.pick_ctrl |= condition.pick
        return taken

    def jump(self, label: str) -> None:
        """Raises Endless for a jump back beyond the bound: what happens on such a path is not said."""
        targets = [n for n, line in enumerate(self.lines) if label in line.labels]
        if not targets:
            raise Unsupported(f"thread {self.number} jumps to {label}, which is not in its column")
        if targets[0] <= self.line:
            self.done[~targets[0]] += 1
            if self.done[~targets[0]] > MOST_ROUNDS:
                self.memory.endless = True
                raise Endless
        self.then = targets[0]

    # Registers

    def get(self, register: str) -> Value:
        return self.registers.get(register) or constant(0)

    def set(self, register: str, value: Value) -> None:
        self.registers[register] = value


def narrow(value: Concrete, bits: int) -> Concrete:
    """What a register of that mask keeps of it. An address fits whole."""
    return value & bits if isinstance(value, int) else value


def arithmetic(function: Callable[[int, int], int], bits: int, left: Value, right: Value) -> Value:
    """A two-operand instruction. Of addresses only what needs no address space: plus a number, minus, equal or not."""

    def of(a: Concrete, b: Concrete) -> Concrete:
        if isinstance(a, int) and isinstance(b, int):
            return function(a, b) & bits
        if isinstance(a, Address) and isinstance(b, Address):
            if a == b and function in (operator.sub, operator.xor):
                return 0
            if a.symbol == b.symbol and function is operator.sub:
                return (a.offset - b.offset) & bits
            if function is operator.sub:
                return 1  # different objects: only that they differ can be told
        elif function is operator.add:
            base, by = (a, b) if isinstance(a, Address) else (b, a)
            assert isinstance(base, Address) and isinstance(by, int)
            return base._replace(offset=base.offset + (by - bits - 1 if by > bits >> 1 else by))
        elif function is operator.sub and isinstance(a, Address) and isinstance(b, int):
            return a._replace(offset=a.offset - (b - bits - 1 if b > bits >> 1 else b))
        raise Unsupported(f"arithmetic on the addresses {a} and {b}")

    return apply(of, left, right)


Step = Callable[[Runner, Instruction], None]


def paths(number: int, memory: Memory, step: Step, start: Mapping[str, Concrete]) -> Iterator[Path]:
    """All paths of a thread whose reads return what memory may hold, but for those that are endless."""
    decisions: list[int] = []
    while True:
        runner = Runner(number, memory, decisions)
        runner.registers.update({name: constant(value) for name, value in start.items()})
        with suppress(Endless):
            yield runner.run(step)
        while decisions and decisions[-1] + 1 == runner.options[len(decisions) - 1]:
            decisions.pop()
        if not decisions:
            return
        decisions[-1] += 1
