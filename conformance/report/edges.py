"""Happens-before edges of a trace: who read what whom wrote, which message was sent, taken, and what it woke."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from conformance.search.trace import MASKS, WORDS, show
from conformance.verdict.clause import Row

SENDS = re.compile(r": sends (0x[0-9a-f]+|the kick|vcpu[0-9]+'s doorbell) to (cpu[0-9]+|itself)")


class Edge(NamedTuple):
    """Step `source` happens before step `target`; `at` is a location, CPU or thread, `value` what was read or sent."""

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
    inner, word = name.removeprefix(f"{owner}."), number(value)
    if word is None or inner == name:
        return None
    bit = re.fullmatch(r"PIR\[(\d+)\]", inner)
    whole = re.fullmatch(r"PIR word (\d+)|PIR\[(\d+):(\d+)\]", field)
    if bit and whole:
        vector = int(bit[1])
        low, high = (64 * int(whole[1]), 64 * int(whole[1]) + 63) if whole[1] else (int(whole[3]), int(whole[2]))
        return str(word >> vector - low & 1) if low <= vector <= high else None
    if name.startswith(f"{read}."):  # a list register, read whole
        inner, names = name.removeprefix(f"{read}."), WORDS.get(field.partition("[")[0], ())
    else:
        names = WORDS.get(field) or field.split("+")
    if inner in MASKS and inner in names and all(n in MASKS for n in names):
        lowest = 0 if field.partition("[")[0] in WORDS else min((MASKS[n] & -MASKS[n]).bit_length() - 1 for n in names)
        return show(word << lowest, MASKS[inner])
    return None


def number(value: str) -> int | None:
    """A printed value as an integer, None if it is none."""
    return int(value, 0) if re.fullmatch(r"0x[0-9a-f]+|0|[1-9][0-9]*", value) else None


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
            if value is not None and last is not None and value == last.changes[name][1]:
                found.append(Edge("reads", last.number, row.number, name, value))
    return found


def overwritten(rows: Sequence[Row]) -> list[Edge]:
    """From each row that read a value to the first later row that changes it; a row that changes it itself has none."""
    found: list[Edge] = []
    for name in locations(rows):
        for row in rows:
            value = saw(row, name)
            later = next((w for w in changers(rows, name) if w.number > row.number), None)
            if value is None or later is None or name in row.changes:
                continue
            if value == value_before(rows, row.number, name):
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
    """Every message, in the order of sending. One that merges with another on its way shares its fate."""
    found: list[Message] = []
    for row in rows:
        sent = {
            (vector, row.agent if to == "itself" else to) for text in row.texts for vector, to in SENDS.findall(text)
        }
        for name, (old, new) in row.changes.items():
            cpu, _, what = name.partition(" ")
            gone, come = set(old.split()) - set(new.split()), set(new.split()) - set(old.split())
            for n, m in enumerate(found):
                if m.cpu == cpu and m.vector in gone and what == "in flight" and not m.arrived:
                    found[n] = m._replace(arrived=row.number)
                if m.cpu == cpu and m.vector in gone and what == "latched" and m.arrived and not m.taken:
                    found[n] = m._replace(taken=row.number)
            if what == "in flight":
                sent |= {(vector, cpu) for vector in come - {"none"}}
        found += [Message(vector, cpu, row.number) for vector, cpu in sorted(sent)]
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
        Edge("message", a, b, m.cpu, m.vector)
        for m in messages(rows)
        for a, b in ((m.sent, m.arrived), (m.arrived, m.taken))
        if b
    ]
    return [*reads_from(rows), *overwritten(rows), *sent, *wakes(rows)]


def stored(rows: Sequence[Row], drain: Row) -> int:
    """The step that put into the store buffer what `drain` makes visible, 0 if it was before the first row."""
    store = drain.texts[0].partition(": ")[2]
    waiting: list[int] = []
    for row in rows[: rows.index(drain)]:
        same = any(text.partition(": ")[2] == store for text in row.texts)
        if same and row.agent == drain.agent:
            del waiting[:1]
        elif same and row.agent == cpu_of(drain.agent):
            waiting.append(row.number)
    return waiting[0] if waiting else 0


def cpu_of(agent: str) -> str:
    """The CPU for which a store buffer, a preemption or a spontaneous exit acts; other agents act for themselves."""
    behind = re.fullmatch(r"(?:buffer|preempt cpu|exit cpu)(\d+)", agent)
    return f"cpu{behind[1]}" if behind else agent
