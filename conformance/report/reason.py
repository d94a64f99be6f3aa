"""Why a schedule breaks a clause: a few sentences computed from the happens-before edges of its rows.

    reads        the last row that changed a location      ->  a row that read the value
    overwritten  a row that read a value                   ->  the first later row that changes it
    message      the row that sends, the row that arrives  ->  the row that latches, the row that takes
    wakes        the row that makes a thread runnable      ->  the row that puts it back on a CPU

and program order, top to bottom within an agent. The style is Elle's (K. Kingsbury and P. Alvaro, Elle: Inferring
Isolation Anomalies from Experimental Observations, 2020): name the step that matters, what it saw and could not see,
what the others saw, and what is left. Nothing is said that the rows do not prove: an edge whose value does not fit (a
store read back from its CPU's store buffer, a field read under an unknown mask) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

from conformance.report.edges import (
    MASKS,
    Edge,
    Message,
    changers,
    cpu_of,
    edges,
    locations,
    messages,
    number,
    part,
    saw,
    stored,
    value_before,
)
from conformance.report.lanes import common_owner, shorten
from conformance.search.proof import LIVELOCK_REASON
from conformance.verdict.clause import Row

VERBS = (("sets", ("0", "1")), ("clears", ("1", "0")), ("wakes", ("sleeping", "runnable")))
RECOVERY = {
    "": "",
    "DELAYED": ", and only an exit or tick, which nothing promises, mends it",
    "LOST": ", and one more exit on every CPU does not mend it",
}
HOST = ("in root mode", "on the host")
"""Where the host takes an interrupt, in the architectures' words."""
EMPTY = frozenset({"0", "none", "free", "[]", "False"})
"""Values with which nobody waits to be noticed."""


class Cell(NamedTuple):
    """A location that the monitor's reason speaks of, or one bit of it."""

    at: str
    bit: int = -1

    def of(self, value: str) -> str:
        word = number(value)
        return value if self.bit < 0 or word is None else str(word >> self.bit & 1)

    def turned(self, row: Row) -> bool:
        """Whether a row changes it."""
        old, new = row.changes.get(self.at, ("", ""))
        return self.of(old) != self.of(new)

    def __str__(self) -> str:
        return self.at if self.bit < 0 else f"bit {self.bit} of {self.at}"


def subjects(rows: Sequence[Row], reason: str, loosely: bool = False) -> list[Cell]:
    """Which locations that change the reason names: outright, as PIR[100], as a vector in an array of words, or as what
    software keeps of an interrupt.

    `loosely`: also by bare names such as `mode`, in arrays that it does not name, and locations that are only read.
    """
    vectors = {int(v) for v in re.findall(r"\b(?:vectors? |PIR\[|vIRR\[|vISR\[)(\d+)\b", reason)}
    interrupts = set(re.findall(r"\b(?:interrupt|SGI) (\d+)\b", reason))
    owners = set(re.findall(r"\bvcpu\d+\b", reason))
    found: list[Cell] = []
    for name in dict.fromkeys([*locations(rows), *(_only_read(rows, vectors) if loosely else ())]):
        owner, _, field = name.partition(".")
        array = re.fullmatch(r"(\w+)\[(\d+)\]", field)
        of_irq = re.search(r"\birq(\d+)\.(?!\w*lock)", name)
        if owners and owner.startswith("vcpu") and owner not in owners:
            continue
        if of_irq and of_irq[1] in interrupts:
            found.append(Cell(name))
        elif array and array[1] == "PIR":
            found += [Cell(name)] * (int(array[2]) in vectors)
        elif array and (loosely or array[1] in reason.lower()):
            found += [Cell(name, v % 64) for v in sorted(vectors) if v // 64 == int(array[2])]
        elif _mentions(reason, name) or ((loosely or field in MASKS) and _mentions(reason, field)):
            found.append(Cell(name))
    return found


def _only_read(rows: Sequence[Row], vectors: set[int]) -> Iterator[str]:
    """Names of what rows read, the wide ones by their parts."""
    for name in dict.fromkeys(name for row in rows for name in row.reads):
        owner = name.rpartition(".")[0]
        inner = [f"{owner}.{field}" for field in (*MASKS, *(f"PIR[{v}]" for v in sorted(vectors)))]
        yield from (n for n in inner if part(name, "0", n) is not None)
        yield name


def _mentions(reason: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w\[])", reason) is not None


def why(rows: Sequence[Row], reason: str, recovery: Literal["DELAYED", "LOST", ""] = "") -> tuple[str, ...]:
    """Three to five sentences, fewer where hardly anything happens, on how the rows lead to the monitor's `reason`.

    The clause is broken by a step if a row says so, else at rest; `recovery` is what one more exit on each CPU does.
    A witness has no reason; of no rows there is nothing to say.
    """
    return _Story(rows, reason, recovery).sentences() if rows else ()


class _Story:
    """The sentences about one trace.

    Its point is the step that breaks the clause (B), or else the last one to change what the reason speaks of (P).
    """

    def __init__(self, rows: Sequence[Row], reason: str, recovery: Literal["DELAYED", "LOST", ""]) -> None:
        self.rows, self.reason, self.recovery = rows, shorten(reason, ""), recovery
        self.row = {row.number: row for row in rows}
        self.edges = edges(rows)
        self.broken = next((row for row in rows if row.breaks), None)
        self.cells = subjects(rows, self.reason, loosely=self.broken is not None)
        self.point = self.broken or self._last_change() or rows[-1]
        self.name = "B" if self.broken else "P"
        self.call = self._call(self.point)
        self.slice = self._slice()
        self.facts = self._facts()

    def sentences(self) -> tuple[str, ...]:
        switches = self._switches()
        if self.broken:
            told = [self._let(), self._history(), self._learned(), self._messages() or switches]
            told += [f"So B breaks it: {self.reason}."] if self.reason else []
        else:
            told = [self._let(), self._learned(), self._messages(), switches, self._however(), self._so()]
            if all(told):
                told.pop(1 if " moves " in switches else 3)
        owner = common_owner(self.rows)
        return tuple(shorten(text, owner) for text in told if text)

    # Which steps matter

    def _last_change(self) -> Row | None:
        cells = self.cells or [Cell(name) for name in locations(self.rows)]
        return next((row for row in reversed(self.rows) if any(c.turned(row) for c in cells)), None)

    def _call(self, row: Row) -> list[Row]:
        """The call that a row belongs to, from the row on; if a step breaks the clause, from the row back."""
        lane = [r for r in self.rows if (r.agent, r.in_handler) == (row.agent, row.in_handler)]
        at = lane.index(row)
        rest = lane[at::-1] if self.broken else lane[at:]
        return rest[: next((n for n, r in enumerate(rest) if r.routine != row.routine), len(rest))]

    def _slice(self) -> set[int]:
        """Steps that happen before the point's call, each with its own: backwards along the edges between agents."""
        reached = {row.number for row in self.call}
        pending = sorted(reached)
        while pending:
            step = pending.pop()
            for edge in self.edges:
                if edge.target == step and edge.kind != "overwritten" and (self.broken or self._crosses(edge)):
                    new = {r.number for r in self._call(self.row[edge.source])} - reached
                    reached |= new
                    pending += new
        return reached

    def _crosses(self, edge: Edge) -> bool:
        return cpu_of(self.row[edge.source].agent) != cpu_of(self.row[edge.target].agent)

    def _facts(self) -> list[tuple[int, str, list[Edge]]]:
        """At most three reads (step, location) of what another agent wrote or will.

        At rest those in the point's call come first, then stale ones; otherwise only those of a subject count.
        """
        facts: dict[tuple[int, str], list[Edge]] = {}
        calls = {row.number for row in self.call}
        subjects = {cell.at for cell in self.cells}
        for edge in self.edges:
            reader = edge.source if edge.kind == "overwritten" else edge.target
            counts = not self.broken or edge.at in subjects
            if edge.kind in ("reads", "overwritten") and reader in self.slice and self._crosses(edge) and counts:
                facts.setdefault((reader, edge.at), []).append(edge)

        def rank(fact: tuple[int, str]) -> tuple[bool, bool, bool, tuple[int, str]]:
            only_read = all(edge.kind == "reads" for edge in facts[fact])
            return not self.broken and fact[0] not in calls, only_read, fact[1] not in subjects, fact

        return [(reader, at, facts[reader, at]) for reader, at in sorted(sorted(facts, key=rank)[:3])]

    # What is said of them

    def step(self, number: int) -> str:
        return self.name if number == self.point.number else f"step {number}"

    def who(self, row: Row) -> str:
        return f"{row.routine} {'in a handler ' * row.in_handler}on {row.agent}" if row.routine else row.agent

    def did(self, *rows: Row) -> str:
        """What rows do to memory and threads, each location once."""
        net: dict[str, tuple[str, str]] = {}
        for row in rows:
            for name, (old, new) in row.changes.items():
                if " " not in name:
                    net[name] = (net.get(name, (old, new))[0], new)
        net = {n: c for n, c in net.items() if c[0] != c[1] and c[1] != "done"}
        net = {n: c for n, c in net.items() if "free" not in c} or net  # a lock, where nothing else is to be told
        told = [
            f"{verb} {' and '.join(n for n, c in net.items() if c == change)}"
            for verb, change in VERBS
            if change in net.values()
        ]
        told += [f"changes {n} from {c[0]} to {c[1]}" for n, c in net.items() if c not in dict(VERBS).values()]
        return " and ".join(told[:3]) + (" and more" if len(told) > 3 else "")

    def _let(self) -> str:
        """The point, and which call it comes in the middle of."""
        row = self.point
        first = row.texts[0].removeprefix(f"{row.routine}: ") if row.texts else "it acts"
        event = next((text for text in row.texts if re.match(r"(delivers|acknowledges|takes) ", text)), "")
        does = (event if self.broken else "") or self.did(row) or f'does "{first}"'
        for agent in dict.fromkeys(r.agent for r in self.rows if r.agent.startswith("cpu") and r.agent != row.agent):
            lane = [r for r in self.rows if r.agent == agent and r.routine]
            before = next((r for r in reversed(lane) if r.number < row.number), None)
            after = next((r for r in lane if r.number > row.number), None)
            if before and after and (before.routine, before.in_handler) == (after.routine, after.in_handler):
                does += f", between steps {before.number} and {after.number} of {before.routine} on {agent}"
                break
        return f"Let {self.name} be step {row.number}, where {self.who(row)} {does}."

    def _learned(self) -> str:
        return _sentence("; ".join(self._fact(*fact) for fact in self.facts))

    def _fact(self, reader: int, at: str, about: list[Edge]) -> str:
        told: list[str] = []
        for edge in about:
            if edge.kind == "reads":
                told.append(f"as {self.step(edge.source)} left it")
                continue
            writer = self.row[edge.target]
            put = stored(self.rows, writer) if writer.agent.startswith("buffer") else 0
            if 0 < put < reader:
                hidden = f"stays in {cpu_of(writer.agent)}'s store buffer until {self.step(edge.target)}"
                told.append(f"though {self.step(put)} had stored {writer.changes[at][1]}, which {hidden}")
            else:
                told.append(f"before {self.step(edge.target)} makes it {writer.changes[at][1]}")
        return f"{self.step(reader)} reads {at} = {about[0].value}, {' and '.join(told)}"

    def _history(self) -> str:
        """How the subjects came to be what they are, and who looked last; if there is none, what the call looked at."""
        told: list[str] = []
        for cell in self.cells[:3]:
            turns = [row for row in self.rows if cell.turned(row)]
            path = [f"{cell.of(row.changes[cell.at][1])} in {self.step(row.number)}" for row in turns]
            told += [f"{cell} becomes {', '.join(path[-4:])}"] if path else []
            looks = [row for row in self.rows if saw(row, cell.at) is not None] if cell.bit < 0 else []
            if looks and looks[-1] not in turns:
                told.append(f"{cell.at} is last read in {self._look(looks[-1])} as {saw(looks[-1], cell.at)}")
        if not told:
            read = [f"{n} = {v} in {self.step(row.number)}" for row in self.call for n, v in row.reads.items()][:3]
            told += [f"{self.point.agent} last reads {', '.join(reversed(read))}"] if read else []
        return _sentence("; ".join(told[:4]))

    def _messages(self) -> str:
        """What became of the interrupts that the slice, or anybody after the point, sent."""
        every = messages(self.rows)
        if self.broken:
            return _sentence("".join([self._message(m) for m in every if m.cpu == self.point.agent and m.taken][-1:]))
        told = [m for m in every if m.sent in self.slice or m.sent > self.point.number][-2:]
        if told:
            return _sentence("; ".join(map(self._message, told)))
        later = [text for row in self.rows if row.number >= self.point.number for text in row.texts]
        silent = self.cells and not any(": sends " in text for text in later)
        return f"No interrupt is sent from {self.name} on." if silent else ""

    def _message(self, message: Message) -> str:
        told = f"{self.step(message.sent)} sends {message.vector} to {message.cpu}"
        if not message.arrived:
            return f"{told}, where it has not arrived"
        if not message.taken:
            return f"{told}, where it is latched in {self.step(message.arrived)} and not taken"
        row = self.row[message.taken]
        lane = [r for r in self.rows if r.agent == row.agent and r.number > row.number]
        if host := next((h for h in HOST if any(h in text for text in row.texts)), ""):
            handled = takewhile(lambda r: r.in_handler and not any(t.startswith("takes ") for t in r.texts), lane)
            did = self.did(row, *handled) or "changes nothing"
            return f"{told}; {self.step(row.number)} takes it {host} and {did}"
        left = next((text for text in row.texts if " exits: " in text), "")
        did = left or self.did(row, *takewhile(lambda r: r.routine == "acknowledge", lane))
        return f"{told}; {self.step(row.number)} takes it in the guest{' and ' * bool(did)}{did}"

    def _switches(self) -> str:
        """Where threads left and entered CPUs."""
        told: dict[str, list[str]] = {}
        for row in self.rows:
            if row is self.point:
                continue
            for text in row.texts:
                move = re.fullmatch(r"(\S+) (is preempted|moves from cpu\d+ to cpu\d+|is back on the CPU)", text)
                if move:
                    does = move[2].replace("the CPU", row.agent)
                    told.setdefault(move[1], []).append(f"{does} in {self.step(row.number)}")
            for thread, (_, new) in row.changes.items():
                if new == "sleeping":
                    told.setdefault(thread, []).append(f"goes to sleep in {self.step(row.number)}")
        return _sentence("; ".join(f"{thread} {', '.join(moves[-4:])}" for thread, moves in told.items()))

    def _however(self) -> str:
        """Who looked last at what the point's call leaves to be noticed."""
        unseen: list[str] = []
        told: list[str] = []
        names = [c.at for c in self.cells if c.of(self._final(c.at)) not in EMPTY]
        for name in dict.fromkeys([*names, *(n for row in self.call for n in row.changes if "." in n)]):
            value = self._final(name)
            if value in EMPTY or value.startswith("cpu"):  # a lock: who waits for one reads nothing
                continue
            setter = changers(self.rows, name)[-1].number
            looks = [r for r in self.rows if r.number != setter and saw(r, name) is not None]
            if looks and looks[-1].number > setter:
                if saw(looks[-1], name) == value:
                    told.append(f"the last to look at {name} is {self._look(looks[-1])} and sees {value}")
                continue
            unseen.append(name)
            before = [
                r for r in looks if r not in self.call and saw(r, name) == value_before(self.rows, r.number, name)
            ]
            if before:
                told.append(f"the last look at {name} was {self._look(before[-1])} and saw {saw(before[-1], name)}")
        if unseen:
            told.insert(0, f"nobody looks at {' or '.join(unseen[:3])} once it is set")
        return f"However, {'; '.join(told[:3])}." if told else ""

    def _final(self, name: str) -> str:
        return changers(self.rows, name)[-1].changes[name][1]

    def _look(self, row: Row) -> str:
        return f"{self.step(row.number)} ({self.who(row)})"

    def _so(self) -> str:
        """What is left at rest."""
        if self.reason == LIVELOCK_REASON:
            return f"So after step {self.rows[-1].number}: {self.reason}."
        changed = [Cell(name) for row in self.call for name in row.changes if "." in name]
        cells = dict.fromkeys([*self.cells, *changed, *(Cell(at) for _, at, _ in self.facts)])
        told = [f"{cell} = {cell.of(self._final(cell.at))}" for cell in list(cells)[:4]]
        status = {name: new for row in self.rows for name, (_, new) in row.changes.items()}
        told += [f"{name} sleeps" for name, new in status.items() if new == "sleeping"]
        signals = {
            name: new for name, new in status.items() if name.endswith((" latched", " in flight")) and new != "none"
        }
        told += [f"{name} is {new}" for name, new in signals.items()] or ["nothing is latched or in flight"]
        return f"So at rest {', '.join(told)}: no step that must happen is left{RECOVERY[self.recovery]}."


def _sentence(text: str) -> str:
    return ("S" + text[1:] if text.startswith("step ") else text) + "." if text else ""
