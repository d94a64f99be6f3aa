"""Where the story of a trace begins, and which of its steps bear on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from conformance.machine.facts import Drains, Enters, Happened, Reads, Takes, Writes
from conformance.report.edges import Edge, Turn, cpu_of, edges, looks, turns, under
from conformance.roles.operations import WORD
from conformance.search.trace import Held, TraceStep
from conformance.search.words import Words
from conformance.verdict.clause import Counterexample


class Cell(NamedTuple):
    """Some bits of a location: a field, a bit, or all of it."""

    at: str
    mask: int = WORD

    def turned(self, step: TraceStep) -> bool:
        """Whether a step changes it."""
        return any(c.at == self.at and Turn(step.number, c.old, c.new).within(self.mask) for c in step.changes)


class Look(NamedTuple):
    """A step reads a cell: the value, what it has to do with other agents' steps, and the fact that tells of it."""

    step: int
    cell: Cell
    value: Held | None
    about: tuple[Edge, ...] = ()


class Point:
    """The point is the step that breaks the clause, or else the last one to change what the finding is about.

    `cells` are the subjects' bits that the trace touches; `call` is the call that the point belongs to, from it on (or
    back from it, if it breaks the clause); `slice` are the numbers of the steps that happen before the call, each with
    its own call: backwards along the edges between agents.
    """

    def __init__(self, found: Counterexample, words: Words) -> None:
        self.trace, self.words = found.trace, words
        self.steps = {step.number: step for step in self.trace}
        self.turns = turns(self.trace)
        self.edges = edges(self.trace)
        self.touching: dict[str, set[str]] = {}
        """Which agents read or change each location."""
        for step in self.trace:
            for at in {*(at for at, _, _ in looks(step)), *(change.at for change in step.changes)}:
                self.touching.setdefault(at, set()).add(cpu_of(step.agent))
        self.buffered = any(isinstance(fact, Drains) for step in self.trace for fact in step.facts)
        self._read_by: dict[int, list[Edge]] = {}
        for edge in self.edges:
            if edge.kind in ("reads", "overwritten"):
                self._read_by.setdefault(edge.source if edge.kind == "overwritten" else edge.target, []).append(edge)
        self.cells = tuple(self._cells(found))
        self.untouched = tuple(
            Cell(at, part)
            for at, mask in dict.fromkeys(found.subjects)
            if "." in at
            for part in self.parts(at, mask)
            if not self.turned(Cell(at, part))
        )
        """Subjects that nobody changes."""
        self.broken = next((step for step in self.trace if step.breaks), None)
        self.step = self.broken or self._last_change() or self.trace[-1]
        self.call = self.call_of(self.step)
        self.slice = self._slice()

    def _cells(self, found: Counterexample) -> Iterator[Cell]:
        read = {at: mask for step in self.trace for at, mask, _ in looks(step)}
        for at, mask in dict.fromkeys(found.subjects):
            changed = 0
            for turn in self.turns.get(at, ()):
                changed |= turn.within(mask)
            if changed:
                yield from (Cell(at, part) for part in self.parts(at, changed))
            elif mask & read.get(at, 0):
                yield Cell(at, mask & read[at])

    def parts(self, at: str, mask: int) -> list[int]:
        return self.words.parts(at, mask)

    def _last_change(self) -> TraceStep | None:
        """Of the subjects; where nobody changes them, the last step in which a call was over with what it read there."""
        changed = next((step for step in reversed(self.trace) if any(c.turned(step) for c in self.cells)), None)
        over = (s for s in reversed(self.trace) if any(fact.decides and fact.last for fact in s.facts))
        early = (s for s in over if self.untouched and (s.in_handler or s.agent not in self._vcpus()))
        last = (s for s in reversed(self.trace) if any("." in change.at for change in s.changes))
        return changed or next(early, next(last, None))

    @property
    def ends_early(self) -> bool:
        """Whether the point's call is over with what it reads there."""
        return any(fact.decides and fact.last for fact in self.step.facts)

    def _vcpus(self) -> set[str]:
        """Agents that run vCPUs."""
        return {step.agent for step in self.trace if any(isinstance(fact, Enters) for fact in step.facts)}

    def turned(self, cell: Cell) -> list[TraceStep]:
        """The steps that change a cell."""
        return [step for step in self.trace if cell.turned(step)]

    def writes(self, step: TraceStep, cell: Cell) -> bool:
        """Whether a step changes a cell, or writes what it holds."""
        again = any(isinstance(f, Writes) and f.at == cell.at and f.mask & cell.mask for f in step.facts)
        return again or cell.turned(step)

    def last_write(self, cell: Cell) -> TraceStep | None:
        """The last step before the end that changed a cell; if none did, that wrote what it held."""
        before = [step for step in reversed(self.trace) if step is not self.broken]
        turned = (step for step in before if cell.turned(step))
        return next(turned, next((step for step in before if self.writes(step, cell)), None))

    def latest(self) -> list[Cell]:
        """One cell of each location of the subjects: what changed last first, at the end what never did."""
        when = {cell: step.number if (step := self.last_write(cell)) else 0 for cell in self.cells}
        found: dict[str, Cell] = {}
        for cell in sorted(self.cells, key=lambda cell: (not self.turned(cell), -when[cell], -len(self.turned(cell)))):
            found.setdefault(cell.at, cell)
        return list(found.values())

    def lane_of(self, step: TraceStep) -> list[TraceStep]:
        """What the same agent does, in the same place: in a handler or not."""
        return [s for s in self.trace if (s.agent, s.in_handler) == (step.agent, step.in_handler)]

    def call_of(self, step: TraceStep) -> list[TraceStep]:
        lane = self.lane_of(step)
        at = lane.index(step)
        rest = lane[at::-1] if self.broken else lane[at:]
        return list(takewhile(lambda s: s.routine == step.routine, rest))

    def handled(self, step: TraceStep) -> list[TraceStep]:
        """What the handler of the interrupt that a step takes did next."""
        lane = [s for s in self.trace if s.agent == step.agent and s.number > step.number]
        return list(takewhile(lambda s: s.in_handler and not any(isinstance(f, Takes) for f in s.facts), lane))

    def whole_call(self, step: TraceStep) -> list[TraceStep]:
        """The call that a step belongs to, from its first step to its last."""
        lane = self.lane_of(step)
        at = lane.index(step)
        before = list(takewhile(lambda s: s.routine == step.routine, lane[at::-1]))
        return [*before[::-1], *takewhile(lambda s: s.routine == step.routine, lane[at + 1 :])]

    def _slice(self) -> frozenset[int]:
        reached = {step.number for step in self.call}
        pending = sorted(reached)
        while pending:
            step = pending.pop()
            for edge in self.edges:
                if edge.target == step and edge.kind != "overwritten" and (self.broken or self.crosses(edge)):
                    new = {s.number for s in self.call_of(self.steps[edge.source])} - reached
                    reached |= new
                    pending += new
        return frozenset(reached)

    def crosses(self, edge: Edge) -> bool:
        """Whether it is between two CPUs or devices."""
        return cpu_of(self.steps[edge.source].agent) != cpu_of(self.steps[edge.target].agent)

    def looks(self) -> Iterator[Look]:
        """What steps of the slice read of cells that another agent wrote or will write."""
        found: dict[tuple[int, Cell], list[Edge]] = {}
        for edge in self.edges:
            reader = edge.source if edge.kind == "overwritten" else edge.target
            if edge.kind in ("reads", "overwritten") and reader in self.slice and self.crosses(edge):
                for part in self.parts(edge.at, edge.mask):
                    found.setdefault((reader, Cell(edge.at, part)), []).append(edge)
        for (reader, cell), about in found.items():
            yield Look(reader, cell, self.saw(self.steps[reader], cell), tuple(about))

    def its_own(self, step: TraceStep, at: str) -> bool:
        """Whether a location belongs to the CPU that takes a step, and nobody else touches it."""
        return at.startswith(f"{step.agent}.") and self.touching[at] == {step.agent}

    def all_looks(self, step: TraceStep) -> list[Look]:
        """What a step read, whoever wrote it: of a word of which one or two parts have a story those, else the word. What
        it changes itself it has read, too, but that goes without saying.
        """
        found: list[Look] = []
        for at, mask in dict.fromkeys((at, mask) for at, mask, _ in looks(step)):
            if Cell(at, mask).turned(step) and not isinstance(self._of(step, at, mask), Reads):
                continue
            about: dict[Cell, list[Edge]] = {}
            for edge in self._read_by.get(step.number, ()):
                for part in self.parts(at, edge.mask & mask) if edge.at == at and edge.mask & mask else ():
                    about.setdefault(Cell(at, part & mask), []).append(edge)
            if len(about) > 2:
                about = {Cell(at, mask): [edge for edges in about.values() for edge in edges]}
            written = self._left_alone(step, at, mask)
            for cell in about or [Cell(at, mask)]:
                edges = about.get(cell, [])
                edges += [written] if written and not any(edge.kind == "reads" for edge in edges) else []
                found.append(Look(step.number, cell, self.saw(step, cell), tuple(dict.fromkeys(edges))))
        return found

    def _left_alone(self, step: TraceStep, at: str, mask: int) -> Edge | None:
        """From the last step before that wrote to a location what it held already."""
        value = self.saw(step, Cell(at, mask))
        if value is None or self.buffered:
            return None
        for before in reversed(self.trace[: step.number - 1]):
            if any(change.at == at for change in before.changes):
                return None
            for fact in reversed(before.facts):
                match fact:
                    case Writes(at=place, mask=written, value=put) if place == at and not mask & ~written:
                        same = under(put, mask) == value
                        return Edge("reads", before.number, step.number, at, value, mask) if same else None
                    case _:
                        pass
        return None

    def _of(self, step: TraceStep, at: str, mask: int) -> Happened | None:
        return next((f for f in step.facts if getattr(f, "at", "") == at and getattr(f, "mask", 0) == mask), None)

    def news(self) -> list[Edge]:
        """How it became known what the point's call left: who read it, who read what that call left, and so on; the longest
        way, each edge into another call.
        """
        best: list[Edge] = []
        pending: list[tuple[list[TraceStep], int, list[Edge]]] = [(self.call, self.step.number, [])]
        reached = {s.number for s in self.call}
        for call, since, way in pending:
            numbers = {s.number for s in call if s.number >= since}
            for edge in self.edges:
                if edge.kind == "reads" and edge.source in numbers and edge.target not in reached:
                    reader = self.steps[edge.target]
                    following = self.whole_call(reader)
                    if "." in edge.at and edge.value and reader not in call:
                        reached.add(edge.target)
                        pending.append((following, edge.target, [*way, edge]))
                        best = max(best, [*way, edge], key=len)
        return best

    def saw(self, step: TraceStep, cell: Cell) -> Held | None:
        """What a step found in a cell, as far as it looked; None if it did not."""
        seen = [under(value, cell.mask) for at, mask, value in looks(step) if at == cell.at and mask & cell.mask]
        return seen[-1] if seen else None

    def fact(self, look: Look) -> Happened | None:
        """The fact by which a step read a cell."""
        step = self.steps[look.step]
        read = (
            f for f in step.facts if getattr(f, "at", "") == look.cell.at and getattr(f, "mask", 0) & look.cell.mask
        )
        return next(read, None)


def empty(value: Held) -> bool:
    """Whether nobody waits for this to be noticed."""
    return not value
