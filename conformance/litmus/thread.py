"""One thread of a litmus test, run on values it has not read yet: the paths it can take, each with its events.

A path is what a thread does for one outcome of its branches, its conditional operations and the addresses it computes:
a list of events, the conditions under which it is taken, and its registers at the end as functions of its reads. Paths
are found by running the thread again and again, each time along other decisions, the way an implementation is unfolded
(`conformance.automaton.unfold`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from conformance.litmus.parse import Line, LitmusTest
from conformance.litmus.values import NONE, Address, Concrete, Read, Unsupported, Value, apply, constant

WORD = 0xFFFF_FFFF
MOST_CHOICES = 64


@dataclass(slots=True)
class MemoryEvent:
    """Something a thread does that the memory model orders.

    `addr`, `data` and `ctrl` are the reads (their index in the path) that it depends on in this way; `pick_*` the same
    through a selection. `flow` is what reached it in any way but control: a later read of what it wrote depends on it.
    """

    thread: int
    index: int
    line: int
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

    @property
    def name(self) -> Read:
        return self.thread, self.index

    @property
    def flow(self) -> frozenset[int]:
        return self.pick_addr | self.pick_data


@dataclass(slots=True)
class Path:
    thread: int
    events: list[MemoryEvent] = field(default_factory=list)
    conditions: list[tuple[Value, Concrete]] = field(default_factory=list)
    """(value, what it has on this path)."""
    registers: dict[str, Value] = field(default_factory=dict)


Written = Mapping[Address, tuple[Concrete, ...]]
"""What each location may hold, as far as known: what the reads of a path may return."""


class Runner:
    """Runs one thread along given decisions; an architecture's instructions call its methods."""

    def __init__(
        self, number: int, lines: Sequence[Line], test: LitmusTest, written: Written, decisions: list[int]
    ) -> None:
        self.number, self.lines, self.test, self.written = number, lines, test, written
        self.path = Path(number)
        self.registers = self.path.registers
        self.decisions, self.decided = decisions, 0
        self.options: list[int] = []
        self.reads: dict[Read, tuple[Concrete, ...]] = {}
        self.ctrl = self.pick_ctrl = NONE
        self.line = 0
        self.reserved: MemoryEvent | None = None
        """What the last exclusive load read."""

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
        results: set[Concrete] = set()
        for _, result in value.cases(self.reads):
            results.add(result)
            if len(results) > MOST_CHOICES:
                raise Unsupported(f"an address or branch of thread {self.number} with over {MOST_CHOICES} values")
        ordered = sorted(results, key=str)
        chosen = ordered[self.choose(len(ordered)) if len(ordered) > 1 else 0]
        self.path.conditions.append((value, chosen))
        return chosen

    # Events

    def _event(self, kind: Literal["R", "W", "F"], order: frozenset[str]) -> MemoryEvent:
        line = self.lines[self.line].text
        event = MemoryEvent(self.number, len(self.path.events), self.line, line, kind, order=order)
        event.ctrl, event.pick_ctrl = self.ctrl, self.pick_ctrl
        self.path.events.append(event)
        return event

    def _access(self, kind: Literal["R", "W"], address: Value, order: frozenset[str]) -> MemoryEvent:
        at = self.known(address)
        if not isinstance(at, Address):
            raise Unsupported(f"thread {self.number}: {self.lines[self.line].text} uses the number {at} as an address")
        event = self._event(kind, order)
        event.at, event.addr, event.pick_addr = at, address.dep, address.pick
        return event

    def read(self, address: Value, *order: str) -> tuple[MemoryEvent, Value]:
        event = self._access("R", address, frozenset(order))
        assert event.at
        through = NONE
        for earlier in reversed(self.path.events[:-1]):
            if earlier.kind == "W" and earlier.at == event.at and earlier.line != event.line:
                through = earlier.flow
                break
        event.pick_data = through
        self.reads[event.name] = self.written.get(event.at, (0,))
        mine = frozenset((event.index,))
        event.value = Value((event.name,), lambda value: value, mine, mine | address.pick | through)
        return event, event.value

    def write(
        self, address: Value, data: Value, *order: str, rmw: MemoryEvent | None = None, picked: Value | None = None
    ) -> MemoryEvent:
        """`picked`: what decides whether it is written at all, within its instruction."""
        event = self._access("W", address, frozenset(order))
        event.value, event.data = data, data.dep
        event.pick_data = data.pick | (picked.pick if picked else NONE)
        event.rmw = rmw.index if rmw else -1
        return event

    def fence(self, kind: str) -> None:
        self._event("F", frozenset((kind,)))

    def branch(self, condition: Value) -> bool:
        """Whether it is taken; everything after it is controlled by it."""
        taken = bool(self.known(condition))
        self.ctrl |= condition.dep
        self.pick_ctrl |= condition.pick
        return taken

    def jump(self, label: str) -> None:
        targets = [n for n, line in enumerate(self.lines) if label in line.labels]
        if not targets:
            raise Unsupported(f"thread {self.number} jumps to {label}, which is not in its column")
        if targets[0] <= self.line:
            raise Unsupported(f"thread {self.number} loops: it jumps back to {label}")
        self.line = targets[0] - 1

    # Registers

    def get(self, register: str) -> Value:
        return self.registers.get(register) or constant(0)

    def set(self, register: str, value: Value) -> None:
        self.registers[register] = value


def narrow(value: Concrete, mask: int) -> Concrete:
    """What a register or location of that size keeps of it. An address fits whole."""
    return value & mask if isinstance(value, int) else value


def arithmetic(function: Callable[[int, int], int], mask: int, left: Value, right: Value) -> Value:
    """A two-operand instruction. Of addresses only what needs no address space: plus a number, minus, equal or not."""

    def of(a: Concrete, b: Concrete) -> Concrete:
        if isinstance(a, int) and isinstance(b, int):
            return function(a, b) & mask
        if isinstance(a, Address) and isinstance(b, Address):
            if a == b and function in (operator.sub, operator.xor):
                return 0
            if a.symbol == b.symbol and function is operator.sub:
                return (a.offset - b.offset) & mask
            if function is operator.sub:
                return 1  # different objects: only that they differ can be told
        elif function is operator.add:
            base, by = (a, b) if isinstance(a, Address) else (b, a)
            assert isinstance(base, Address) and isinstance(by, int)
            return base._replace(offset=base.offset + (by - mask - 1 if by > mask >> 1 else by))
        elif function is operator.sub and isinstance(a, Address) and isinstance(b, int):
            return a._replace(offset=a.offset - (b - mask - 1 if b > mask >> 1 else b))
        raise Unsupported(f"arithmetic on the addresses {a} and {b}")

    return apply(of, left, right)


Step = Callable[[Runner, str], None]


def paths(number: int, test: LitmusTest, written: Written, step: Step, start: Mapping[str, Concrete]) -> Iterator[Path]:
    """All paths of a thread whose reads return what `written` says."""
    decisions: list[int] = []
    while True:
        runner = Runner(number, test.threads[number], test, written, decisions)
        runner.registers.update({name: constant(value) for name, value in start.items()})
        while runner.line < len(runner.lines):
            step(runner, runner.lines[runner.line].text)
            runner.line += 1
        yield runner.path
        while decisions and decisions[-1] + 1 == runner.options[len(decisions) - 1]:
            decisions.pop()
        if not decisions:
            return
        decisions[-1] += 1
