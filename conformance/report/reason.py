"""Why a schedule breaks a clause: a few sentences computed from the happens-before edges of its rows.

    reads        the last row that changed a location      ->  a row that read the value
    overwritten  a row that read a value                   ->  the first later row that changes it
    message      the row that sends, the row that arrives  ->  the row that latches, the row that takes
    wakes        the row that makes a thread runnable      ->  the row that puts it back on a CPU

and program order, top to bottom within an agent. The style is Elle's (K. Kingsbury and P. Alvaro, Elle: Inferring Isolation Anomalies
from Experimental Observations, 2020): name the step that matters, what it saw and could not see, what the others saw, and what is left.
Nothing is said that the rows do not prove: an edge whose value does not fit (a store read back from its CPU's store buffer, a field read
under an unknown mask) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from conformance.engine.search import LIVELOCK_REASON
from conformance.engine.trace import FIELDS, show
from conformance.report.lanes import common_owner
from conformance.report.verdict import Row

MASKS = {name: mask for mask, name in FIELDS}
EMPTY = frozenset({"0", "none", "free", "[]", "False"})
"""Values with which nobody waits to be noticed."""


class Edge(NamedTuple):
    """`source` happens before `target` (step numbers); `at` is the location, message or thread, `value` what was read or sent."""

    kind: Literal["reads", "overwritten", "message", "wakes"]
    source: int
    target: int
    at: str
    value: str


# Reads


def part(read: str, value: str, name: str) -> str | None:
    """What reading `value` at `read` tells of the location `name`: its value as printed, or None for nothing."""
    if read == name:
        return value
    owner, _, field = read.rpartition(".")
    if not name.startswith(f"{owner}.") or not re.fullmatch(r"0x[0-9a-f]+|\d+", value):
        return None
    inner, word = name[len(owner) + 1 :], int(value, 0)
    bit = re.fullmatch(r"PIR\[(\d+)\]", inner)
    whole = re.fullmatch(r"PIR word (\d+)|PIR\[(\d+):(\d+)\]", field)
    if bit and whole:
        vector = int(bit[1])
        low, high = (64 * int(whole[1]), 64 * int(whole[1]) + 63) if whole[1] else (int(whole[3]), int(whole[2]))
        return str(word >> vector - low & 1) if low <= vector <= high else None
    names = list(MASKS) if field == "control" else field.split("+")
    if inner in MASKS and inner in names and all(n in MASKS for n in names):
        lowest = 0 if field == "control" else min((MASKS[n] & -MASKS[n]).bit_length() - 1 for n in names)
        return show(word << lowest, MASKS[inner])
    return None


def saw(row: Row, name: str) -> str | None:
    """The value of a location that a row read, or None if it did not look at it."""
    return next((v for read, value in row.reads.items() if (v := part(read, value, name)) is not None), None)


def changers(rows: Sequence[Row], name: str) -> list[Row]:
    return [row for row in rows if name in row.changes]


def value_before(rows: Sequence[Row], step: int, name: str) -> str | None:
    """What memory holds at `name` just before a step; None if no row tells."""
    changed = changers(rows, name)
    earlier = [row for row in changed if row.number < step]
    if earlier:
        return earlier[-1].changes[name][1]
    return changed[0].changes[name][0] if changed else None


def reads_from(rows: Sequence[Row]) -> list[Edge]:
    """From the last row that changed a location to each row that read the value it left."""
    found: list[Edge] = []
    for name in locations(rows):
        changed = changers(rows, name)
        for row in rows:
            value = saw(row, name)
            last = next((w for w in reversed(changed) if w.number < row.number), None)
            if last is not None and value == last.changes[name][1]:
                found.append(Edge("reads", last.number, row.number, name, value))
    return found


def overwritten(rows: Sequence[Row]) -> list[Edge]:
    """From each row that read a value to the first later row that changes it; a row that changes it itself has none."""
    found: list[Edge] = []
    for name in locations(rows):
        for row in rows:
            value = saw(row, name)
            later = next((w for w in changers(rows, name) if w.number > row.number), None)
            if later and value is not None and name not in row.changes and value == value_before(rows, row.number, name):
                found.append(Edge("overwritten", row.number, later.number, name, value))
    return found


def locations(rows: Sequence[Row]) -> list[str]:
    """Memory locations that change, in order of their first change."""
    return list(dict.fromkeys(name for row in rows for name in row.changes if "." in name))


# Messages, threads, store buffers


class Message(NamedTuple):
    """An interrupt on its way: the steps that sent it, latched it and took it (0: did not happen)."""

    vector: str
    cpu: str
    sent: int
    arrived: int = 0
    taken: int = 0


def messages(rows: Sequence[Row]) -> list[Message]:
    """Messages that merged with one already on its way are that one."""
    found: list[Message] = []
    for row in rows:
        for name, (old, new) in row.changes.items():
            cpu, _, what = name.partition(" ")
            gone, come = set(old.split()) - set(new.split()), set(new.split()) - set(old.split())
            for n, m in enumerate(found):
                if m.cpu == cpu and m.vector in gone and what == "in flight" and not m.arrived:
                    found[n] = m._replace(arrived=row.number)
                if m.cpu == cpu and m.vector in gone and what == "latched" and m.arrived and not m.taken:
                    found[n] = m._replace(taken=row.number)
            if what == "in flight":
                found.extend(Message(vector, cpu, row.number) for vector in sorted(come - {"none"}))
    return found


def wakes(rows: Sequence[Row]) -> list[Edge]:
    """From the row that wakes a sleeping thread to the row in which it is back on a CPU."""
    found: list[Edge] = []
    for row in rows:
        for thread, change in row.changes.items():
            back = f"{thread} is back on the CPU"
            if change == ("sleeping", "runnable"):
                later = (r.number for r in rows if r.number > row.number and back in r.texts)
                found.extend(Edge("wakes", row.number, number, thread, "runnable") for number in list(later)[:1])
    return found


def edges(rows: Sequence[Row]) -> list[Edge]:
    """All edges between rows but program order."""
    sent = [
        Edge("message", a, b, m.cpu, m.vector) for m in messages(rows) for a, b in ((m.sent, m.arrived), (m.arrived, m.taken)) if b
    ]
    return [*reads_from(rows), *overwritten(rows), *sent, *wakes(rows)]


def stored(rows: Sequence[Row], drain: Row) -> int:
    """The step that put into the store buffer what `drain` makes visible, 0 if it was before the first row."""
    store = drain.texts[0].partition(": ")[2]
    waiting: list[int] = []
    for row in rows[: rows.index(drain)]:
        if row.agent == drain.agent and row.texts[0].partition(": ")[2] == store:
            del waiting[:1]
        elif row.agent == cpu_of(drain.agent) and any(text.partition(": ")[2] == store for text in row.texts):
            waiting.append(row.number)
    return waiting[0] if waiting else 0


def cpu_of(agent: str) -> str:
    """The CPU for which a store buffer, a preemption or a spontaneous exit acts; other agents act for themselves."""
    behind = re.fullmatch(r"(?:buffer|preempt cpu|exit cpu)(\d+)", agent)
    return f"cpu{behind[1]}" if behind else agent


# Sentences


class Cell(NamedTuple):
    """A location that the monitor's reason speaks of, or one bit of it."""

    at: str
    bit: int = -1

    def of(self, value: str) -> str:
        return value if self.bit < 0 or not value[:1].isdigit() else str(int(value, 0) >> self.bit & 1)


def subjects(rows: Sequence[Row], reason: str) -> list[Cell]:
    """Which of the locations that change the reason names: outright, as PIR[100], or as a vector in an array of words."""
    vectors = {int(v) for v in re.findall(r"\b(?:vectors? |PIR\[|vIRR\[|vISR\[)(\d+)\b", reason)}
    owners = set(re.findall(r"\bvcpu\d+\b", reason))
    found: list[Cell] = []
    for name in locations(rows):
        owner, _, field = name.partition(".")
        array = re.fullmatch(r"(\w+)\[(\d+)\]", field)
        if owners and owner.startswith("vcpu") and owner not in owners:
            continue
        if array and array[1] == "PIR":
            found += [Cell(name)] * (int(array[2]) in vectors)
        elif array and array[1] in reason.lower():
            found += [Cell(name, v % 64) for v in sorted(vectors) if v // 64 == int(array[2])]
        elif re.search(rf"(?<![\w.]){re.escape(name)}(?![\w\[])", reason) or (field in MASKS and re.search(rf"\b{field}\b", reason)):
            found.append(Cell(name))
    return found


def why(rows: Sequence[Row], reason: str, recovery: str = "") -> tuple[str, ...]:
    """Three to five sentences (fewer where hardly anything happens) on how the rows lead to what the monitor's `reason` says.

    Broken by a step if a row says so, else at rest after the last; `recovery` is what one more exit on each CPU does then.
    """
    return _Story(rows, reason, recovery).sentences() if rows else ()


class _Story:
    def __init__(self, rows: Sequence[Row], reason: str, recovery: str) -> None:
        self.rows, self.reason, self.recovery = rows, reason, recovery
        self.by_number = {row.number: row for row in rows}
        self.edges = edges(rows)
        self.cells = subjects(rows, reason)
        self.broken = next((row for row in rows if row.breaks), None)
        self.point = self.broken or self._last_change() or rows[-1]
        self.name = "B" if self.broken else "P"
        self.call = self._call(self.point)
        self.slice = self._slice()

    def _last_change(self) -> Row | None:
        for row in reversed(self.rows):
            if any(c.at in row.changes and c.of(row.changes[c.at][0]) != c.of(row.changes[c.at][1]) for c in self.cells):
                return row
        return None if self.cells else next((r for r in reversed(self.rows) if any("." in name for name in r.changes)), None)

    def _call(self, row: Row) -> list[Row]:
        """The rest of the call that a row belongs to; up to a row that breaks the clause, its beginning."""
        same = [r for r in self.rows if (r.agent, r.in_handler) == (row.agent, row.in_handler)]
        at = same.index(row)
        rest = same[at::-1] if self.broken else same[at:]
        other = next((n for n, r in enumerate(rest) if r.routine != row.routine), len(rest))
        return rest[: max(other, 1)]

    def _slice(self) -> set[int]:
        """Backwards along the edges between agents from the call of the point."""
        reached = {row.number for row in self.call}
        pending = list(reached)
        while pending:
            step = pending.pop()
            for edge in self.edges:
                if edge.kind != "overwritten" and edge.target == step and self._crosses(edge):
                    new = {r.number for r in self._call(self.by_number[edge.source])} - reached
                    reached |= new
                    pending += new
        return reached

    def _crosses(self, edge: Edge) -> bool:
        agents = {cpu_of(self.by_number[step].agent) for step in (edge.source, edge.target)}
        return len(agents) == 2

    def sentences(self) -> tuple[str, ...]:
        middle = [self._history(), self._learned(), self._messages()] if self.broken else [self._learned(), self._messages()]
        told = [self._let(), *middle, self._switches(), "" if self.broken else self._however(), self._so()]
        while sum(map(bool, told)) > 5:
            told[told.index(self._switches())] = ""
        prefix = common_owner(self.rows)
        return tuple(text.replace(prefix, "") if prefix else text for text in told if text)

    def step(self, number: int) -> str:
        return self.name if number == self.point.number else f"step {number}"

    def who(self, row: Row) -> str:
        return f"{row.routine or 'an interrupt'} {'in a handler ' * row.in_handler}on {row.agent}" if row.routine else row.agent

    def did(self, row: Row) -> str:
        told = [
            f"sets {n}" if c == ("0", "1") else f"clears {n}" if c == ("1", "0") else f"changes {n} from {c[0]} to {c[1]}"
            for n, c in row.changes.items()
            if "." in n
        ]
        return " and ".join(told) or row.texts[0].removeprefix(f"{row.routine}: ")
