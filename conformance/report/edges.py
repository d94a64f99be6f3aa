"""Happens-before edges of a trace: who read what whom wrote, which message was sent, taken, and what it woke.

Computed bit by bit from the facts and changes of steps: a read of a word whose bits two steps left has an edge from each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from conformance.machine import facts
from conformance.roles.operations import WORD
from conformance.search.trace import Held, TraceStep
from conformance.search.words import cpu_called


class Edge(NamedTuple):
    """Step `source` happens before step `target`. `at` is a location, CPU or thread; of a word `mask` says which bits.
    `value` is what was read there, or the vector that was sent.
    """

    kind: Literal["reads", "overwritten", "message", "wakes"]
    source: int
    target: int
    at: str
    value: Held
    mask: int = WORD


# Memory


class Turn(NamedTuple):
    """A step changes a location."""

    step: int
    old: Held
    new: Held

    def within(self, mask: int) -> int:
        """Which bits of the mask it changes; all of them, of what is no word."""
        if isinstance(self.old, int) and isinstance(self.new, int):
            return (self.old ^ self.new) & mask
        return mask


def turns(trace: Sequence[TraceStep]) -> dict[str, list[Turn]]:
    """Every change of each location, in order; locations in order of their first change."""
    found: dict[str, list[Turn]] = {}
    for step in trace:
        for at, old, new in ((c.at, c.old, c.new) for c in step.changes):
            found.setdefault(at, []).append(Turn(step.number, old, new))
    return found


def looks(step: TraceStep) -> Iterator[tuple[str, int, Held]]:
    """What a step reads: location, mask, and what it found under the mask."""
    for fact in step.facts:
        match fact:
            case facts.Reads(at=at, mask=mask, value=value) | facts.Modifies(at=at, mask=mask, was=value):
                yield at, mask, value
            case _:
                pass


def under(value: Held, mask: int) -> Held:
    return value & mask if isinstance(value, int) else value


def saw(step: TraceStep, at: str, mask: int) -> Held | None:
    """What a step read of some bits of a location, or None if it did not look at them all."""
    seen = [under(value, mask) for place, known, value in looks(step) if place == at and not mask & ~known]
    return seen[-1] if seen else None


def reads_from(trace: Sequence[TraceStep]) -> list[Edge]:
    """From the last step that changed what a step reads to that step, where it read the value that was left."""
    changed, found = turns(trace), list[Edge]()
    for step in trace:
        for at, mask, value in dict.fromkeys(looks(step)):
            for turn in reversed([t for t in changed.get(at, ()) if t.step < step.number]):
                bits = turn.within(mask)
                if bits and under(value, bits) == under(turn.new, bits):
                    found.append(Edge("reads", turn.step, step.number, at, under(value, bits), bits))
                mask &= ~bits
    return list(dict.fromkeys(found))


def overwritten(trace: Sequence[TraceStep]) -> list[Edge]:
    """From each step that read a value to the first later one that changes it; one that changes it itself has none."""
    changed, found = turns(trace), list[Edge]()
    for step in trace:
        for at, mask, value in dict.fromkeys(looks(step)):
            for turn in (t for t in changed.get(at, ()) if t.step >= step.number):
                bits = turn.within(mask)
                if bits and turn.step != step.number and under(value, bits) == under(turn.old, bits):
                    found.append(Edge("overwritten", step.number, turn.step, at, under(value, bits), bits))
                mask &= ~bits
    return list(dict.fromkeys(found))


# Messages, threads, store buffers


class Message(NamedTuple):
    """An interrupt on its way: the steps that sent it, latched it and took it (0: did not happen)."""

    vector: int
    cpu: str
    sent: int
    arrived: int = 0
    taken: int = 0


def messages(trace: Sequence[TraceStep]) -> list[Message]:
    """Every message, in the order of sending. One that merges with another on its way shares its fate."""
    found: list[Message] = []
    for step in trace:
        for fact in step.facts:
            match fact:
                case facts.Sends(vector=vector, to=to):
                    found.append(Message(vector, step.agent if to is None else cpu_called(to), step.number))
                case facts.Rises(vector=vector, cpu=cpu):
                    found.append(Message(vector, f"cpu{cpu}", step.number))
                case facts.Arrives(vector=vector, cpu=cpu):
                    here = [n for n, m in enumerate(found) if (m.vector, m.cpu, m.arrived) == (vector, f"cpu{cpu}", 0)]
                    found = [m._replace(arrived=step.number) if n in here else m for n, m in enumerate(found)]
                case facts.Takes(vector=vector) | facts.Acknowledges(vector=vector):
                    here = [
                        n for n, m in enumerate(found) if m[:2] == (vector, step.agent) and m.arrived and not m.taken
                    ]
                    found = [m._replace(taken=step.number) if n in here else m for n, m in enumerate(found)]
                case _:
                    pass
    return found


def wakes(trace: Sequence[TraceStep]) -> list[Edge]:
    """From the step that wakes a sleeping thread to the one in which it is back on a CPU."""
    found: list[Edge] = []
    for step in trace:
        for at, old, new in ((c.at, c.old, c.new) for c in step.changes):
            thread = at.removesuffix(".status")
            if at != thread and (old, new) == ("sleeping", "runnable"):
                back = (s.number for s in trace if s.number > step.number and facts.SwitchesIn(thread) in s.facts)
                found.extend(Edge("wakes", step.number, number, thread, new) for number in list(back)[:1])
    return found


def edges(trace: Sequence[TraceStep]) -> list[Edge]:
    """All edges between steps but program order."""
    sent = [
        Edge("message", a, b, m.cpu, m.vector)
        for m in messages(trace)
        for a, b in ((m.sent, m.arrived), (m.arrived, m.taken))
        if b
    ]
    return [*reads_from(trace), *overwritten(trace), *sent, *wakes(trace)]


def stored(trace: Sequence[TraceStep], drain: TraceStep) -> int:
    """The step that put into the store buffer what `drain` makes visible, 0 if it was before the first step."""
    drained = next(fact for fact in drain.facts if isinstance(fact, facts.Drains))
    what = (drained.at, drained.value, drained.mask)
    waiting: list[int] = []
    for step in trace:
        if step.number >= drain.number:
            break
        for fact in step.facts:
            match fact:
                case facts.Writes(at=at, value=value, mask=mask) if step.agent == cpu_of(drain.agent):
                    waiting += [step.number] * ((at, value, mask) == what)
                case facts.Drains(at=at, value=value, mask=mask) if step.agent == drain.agent:
                    del waiting[: (at, value, mask) == what]
                case _:
                    pass
    return waiting[0] if waiting else 0


ON_BEHALF = ("buffer", "preempt cpu", "exit cpu")


def cpu_of(agent: str) -> str:
    """The CPU for which a store buffer, a preemption or a spontaneous exit acts; other agents act for themselves."""
    behind = (agent.removeprefix(kind) for kind in ON_BEHALF if agent.startswith(kind))
    return next((f"cpu{number}" for number in behind), agent)
