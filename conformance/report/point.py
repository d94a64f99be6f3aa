"""Where the story of a trace begins, and which of its steps bear on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from conformance.machine.facts import Happened
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
        self.cells = tuple(self._cells(found))
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
        cells = self.cells or [Cell(at) for at in self.turns if "." in at]
        return next((step for step in reversed(self.trace) if any(c.turned(step) for c in cells)), None)

    def lane_of(self, step: TraceStep) -> list[TraceStep]:
        """What the same agent does, in the same place: in a handler or not."""
        return [s for s in self.trace if (s.agent, s.in_handler) == (step.agent, step.in_handler)]

    def call_of(self, step: TraceStep) -> list[TraceStep]:
        lane = self.lane_of(step)
        at = lane.index(step)
        rest = lane[at::-1] if self.broken else lane[at:]
        return list(takewhile(lambda s: s.routine == step.routine, rest))

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
