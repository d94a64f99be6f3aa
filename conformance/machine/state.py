"""Packed states: a whole machine in one Python integer, and steps that remember only what they touched.

The state is made of *cells* (a memory word, what a CPU runs, its latched interrupts, a monitor's memory, ...). Each
cell owns a range of bits; its values are numbered as they appear. A step is written plainly, against a `View` that
records every cell it reads and writes. What the step does depends on nothing else, so its outcome is remembered under
exactly the bits it read:

    state & reads  ->  (state & keep) | add

and from then on the same step, anywhere in the state space, is two dictionary look-ups. The footprints used for
partial-order reduction are therefore measured, never declared: a forgotten dependency cannot exist.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from conformance.adapters.source import Fault
from conformance.automaton.unfold import Node
from conformance.machine.facts import Happened
from conformance.machine.finding import Breach, Finding

T = TypeVar("T", bound=Hashable)

MOST_REMEMBERED = 1000
"""Values of one monitor's memory. Those of the suite's scenarios have a hundred at most."""


class LayoutFull(Exception):
    """A cell met more values than its bits can number; explore again with more (`width` bits for `cell`)."""

    def __init__(self, cell: str, width: int) -> None:
        super().__init__(f"cell {cell} needs {width} bits")
        self.cell, self.width = cell, width


class Cell(Generic[T]):
    """One component of the state. Values are interned: number n stands for the n-th distinct value met, 0 for the
    initial one.
    """

    __slots__ = ("full", "initial", "mask", "name", "numbers", "shift", "values", "width")

    def __init__(self, name: str, initial: T, shift: int, width: int) -> None:
        self.name, self.initial, self.shift, self.width = name, initial, shift, width
        self.mask = ((1 << width) - 1) << shift
        self.full = 1 << width
        self.numbers: dict[T, int] = {initial: 0}
        self.values: list[T] = [initial]

    def pack(self, value: T) -> int:
        number = self.numbers.get(value)
        if number is None:
            number = len(self.values)
            if number >= MOST_REMEMBERED and self.name.startswith("monitor."):
                raise Fault(
                    "UNKNOWN",
                    f"{self.name} has more than {MOST_REMEMBERED} different things to remember, so this never comes to an end. "
                    "Does a routine chain to itself for ever? Let its chain end, or wait for another agent.",
                )
            if number >= self.full:
                raise LayoutFull(self.name, max(1, self.width * 2))
            self.numbers[value] = number
            self.values.append(value)
        return number << self.shift

    def unpack(self, state: int) -> T:
        return self.values[(state & self.mask) >> self.shift]


class Layout:
    """All cells of one machine, in the order they were declared. The initial state is 0."""

    def __init__(self, widths: dict[str, int] | None = None) -> None:
        self.cells: dict[str, Cell[Any]] = {}
        self.bits = 0
        self.widths = widths if widths is not None else {}

    def cell(self, name: str, initial: T, width: int = 6) -> Cell[T]:
        if name in self.cells:
            raise ValueError(f"two cells are called {name}")
        made = Cell(name, initial, self.bits, self.widths.get(name, width))
        self.cells[name] = made
        self.bits += made.width
        return made

    def show(self, state: int) -> dict[str, Any]:
        """Every cell's value: for reports and debugging, never for exploration."""
        return {name: cell.unpack(state) for name, cell in self.cells.items()}


class Note(NamedTuple):
    """One thing that a step does, and the node of the automaton that asked for it, if one did."""

    fact: Happened
    node: Node | None = None


UNREAD: Any = object()


class NotEnabled(Exception):
    """The step cannot be taken in this state."""


class View:
    """A state as one step sees it. Records reads and writes; `pick` branches."""

    __slots__ = ("findings", "known", "lane", "notes", "offered", "prefix", "reads", "state", "taken", "writes")

    def __init__(self, state: int, prefix: tuple[int, ...] = ()) -> None:
        self.state, self.prefix, self.reads, self.lane = state, prefix, 0, 0
        self.writes: dict[Cell[Any], Any] = {}
        self.known: dict[Cell[Any], Any] = {}
        """What was read or written."""
        self.taken: list[int] = []
        self.offered: list[int] = []
        self.notes: list[Note] = []
        self.findings: list[Finding] = []

    def get(self, cell: Cell[T]) -> T:
        value = self.known.get(cell, UNREAD)
        if value is UNREAD:
            self.reads |= cell.mask
            value = self.known[cell] = cell.unpack(self.state)
        return value

    def set(self, cell: Cell[T], value: T) -> None:
        self.writes[cell] = self.known[cell] = value

    def take_out(self, cell: Cell[T]) -> T:
        """What was written, which is as if it had not been."""
        del self.known[cell]
        return self.writes.pop(cell)

    def pick(self, options: int) -> int:
        """One of `options` branches; every branch is explored."""
        if options == 1:
            return 0
        at = len(self.taken)
        chosen = self.prefix[at] if at < len(self.prefix) else 0
        self.taken.append(chosen)
        self.offered.append(options)
        return chosen


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way a step can go: `state & keep | add` is the next state.

    `lane` tells apart what runs on one agent (thread or handler), for counting switches. `findings` are what monitors
    found in this step. `choice` are the branches taken; `notes` is the account of the step.
    """

    keep: int
    add: int
    writes: int
    lane: int
    choice: tuple[int, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]

    @property
    def breaches(self) -> tuple[Breach, ...]:
        return tuple(finding for finding in self.findings if isinstance(finding, Breach))


@dataclass(frozen=True, slots=True)
class NextSteps:
    """All outcomes of an agent's next step in every state that agrees on the bits of `reads`. Empty: not enabled."""

    reads: int
    outcomes: tuple[Outcome, ...]
    writes: int
    touches: int
    """Reads and writes."""

    def independent(self, other: NextSteps) -> bool:
        """Whether the two agents' steps commute: neither writes what the other touches."""
        return not (self.writes & other.touches or other.writes & self.touches)


class Table:
    """The remembered steps of one agent under one value of its pivot.

    `exact` files each entry under precisely what it read; `entries`, under `mask`, everything that any of them read, so
    that one look-up finds it.
    """

    __slots__ = ("entries", "exact", "mask")

    def __init__(self) -> None:
        self.mask = 0
        self.entries: dict[int, NextSteps] = {}
        self.exact: dict[int, dict[int, NextSteps]] = {}

    def recall(self, state: int) -> NextSteps | None:
        """The entry for a state that agrees with an earlier one on all that was read there."""
        for reads, known in self.exact.items():
            entry = known.get(state & reads)
            if entry is not None:
                self.entries[state & self.mask] = entry
                return entry
        return None

    def remember(self, state: int, entry: NextSteps) -> None:
        self.exact.setdefault(entry.reads, {})[state & entry.reads] = entry
        if entry.reads & ~self.mask:
            self.mask |= entry.reads
            self.entries.clear()
        self.entries[state & self.mask] = entry


class Agent:
    """Something that takes steps: a CPU, a device, a wire, a store buffer, or an optional event with a budget.

    `pivot` is the cell that decides most of what the agent does next; remembered steps are filed under it first.
    """

    def __init__(
        self, name: str, index: int, pivot: Cell[Any], step: Callable[[View], None], obligatory: bool = True
    ) -> None:
        self.name, self.index, self.pivot, self.step, self.obligatory = name, index, pivot, step, obligatory
        self.tables: dict[int, Table] = {}
        self.computed = 0

    def entry(self, state: int) -> NextSteps:
        """What this agent can do in `state`."""
        table = self.tables.get(state & self.pivot.mask)
        if table is not None:
            entry = table.entries.get(state & table.mask)
            if entry is not None:
                return entry
        return self.compute(state)

    def compute(self, state: int) -> NextSteps:
        """What is remembered under other bits, or else run the step for real, once for each branch."""
        table = self.tables.setdefault(state & self.pivot.mask, Table())
        entry = table.recall(state)
        if entry is None:
            entry = self._run(state)
            table.remember(state, entry)
        return entry

    def _run(self, state: int) -> NextSteps:
        self.computed += 1
        outcomes: list[Outcome] = []
        reads = self.pivot.mask
        writes = 0
        pending: list[tuple[int, ...]] = [()]
        while pending:
            view = View(state, pending.pop())
            try:
                self.step(view)
                outcomes.append(_outcome(view))
                writes |= outcomes[-1].writes
            except NotEnabled:
                pass
            except Fault as fault:
                fault.notes = tuple(view.notes)
                raise
            reads |= view.reads
            for at in range(len(view.prefix), len(view.taken)):
                fixed = tuple(view.taken[:at])
                pending.extend((*fixed, other) for other in range(1, view.offered[at]))
        outcomes.sort(key=lambda o: o.choice)
        return NextSteps(reads, tuple(outcomes), writes, reads | writes)


def _outcome(view: View) -> Outcome:
    writes = add = 0
    for cell, value in view.writes.items():
        bits = cell.pack(value)
        if view.reads & cell.mask and view.state & cell.mask == bits:
            continue  # left as it was read
        writes |= cell.mask
        add |= bits
    return Outcome(~writes, add, writes, view.lane, tuple(view.taken), tuple(view.findings), tuple(view.notes))
