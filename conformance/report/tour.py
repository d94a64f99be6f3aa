"""One call as a tour: the few of its steps that bear on the story, in order.

What a call read decided what it did; what it changed, sent and woke is what others could notice. The most telling steps
are kept, up to `MOST`:

    a read      1, and 2 more if it decided the way, 2 if it is what the story is about, 1 if another agent wrote it or
                will, 1 if an earlier call left it so; nothing, if its own call did. 4 more if it is where the call then sent
                an interrupt, and was another by then
    what it did 2, and 1 more for an interrupt, a wake-up, an entry, a sleep, 1 if another agent reads it, 1 if it is what
                the story is about
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from conformance.machine import facts
from conformance.report.point import Cell, Look, Point
from conformance.search.trace import Change, TraceStep

MOST = 4
"""Steps of one call that are told."""

NOTED = (
    facts.Announces | facts.Withdraws | facts.Schedules | facts.Enters | facts.Sends | facts.Wakes | facts.Fails
    | facts.Delivers | facts.Exits
)  # fmt: skip
"""What is told whatever it changes."""


class Stop(NamedTuple):
    """A step of a tour: what it read that matters, and whether what else it did is told."""

    step: TraceStep
    looks: tuple[Look, ...]
    does: bool
    weight: int


def tour(
    point: Point,
    call: Sequence[TraceStep],
    about: Collection[Cell],
    most: int = MOST,
    spare: Collection[int] = (),
    least: int = 2,
    newest: bool = False,
) -> list[Stop]:
    """The steps of a call worth telling, `spare` left out; `about` are the cells that the story is about. Of equals the later
    ones, or with `newest` first those that read what was left last.
    """
    stops = [_stop(point, call, step, about) for step in call if step.number not in spare]
    telling = (s for s in stops if s.weight >= least and (s.looks or s.step is not point.step))
    kept = sorted(telling, key=lambda s: (-s.weight, -max(map(_fresh, s.looks), default=0) * newest, -s.step.number))[
        :most
    ]
    return sorted(kept, key=lambda stop: stop.step.number)


def _stop(point: Point, call: Sequence[TraceStep], step: TraceStep, about: Collection[Cell]) -> Stop:
    looks = [_abroad(call, look) for look in point.all_looks(step) if not look.cell.turned(step)]
    weighed = [(weight, look) for look in looks if (weight := _weight(point, call, look, about))]
    noted = any(isinstance(fact, NOTED) for fact in step.facts)
    ats = {cell.at for cell in about}
    changed = {change.at for change in step.changes if shared(change) and not point.its_own(step, change.at)}
    crosses = any(edge.source == step.number and edge.kind == "reads" and point.crosses(edge) for edge in point.edges)
    does = 2 + noted + crosses + bool(changed & ats) if noted or changed else 0
    if step is point.step or does:
        weighed = [(weight, look) for weight, look in weighed if look.about and weight > 2]
    weighed = sorted(weighed, key=lambda w: (w[0] <= 2, -_fresh(w[1]), -w[0]))
    most = {look.cell for _, look in weighed[: 3 if step is point.step else 1]}
    told = [(weight, look) for weight, look in weighed if look.cell in most]
    return Stop(step, tuple(look for _, look in told), bool(does), max([does, *(weight for weight, _ in told)]))


def _fresh(look: Look) -> int:
    """When what was read had been left there."""
    return max((edge.source for edge in look.about if edge.kind == "reads"), default=0)


def _abroad(call: Sequence[TraceStep], look: Look) -> Look:
    """Without what the call itself makes of it later."""
    mine = {step.number for step in call}
    return look._replace(about=tuple(e for e in look.about if e.kind == "reads" or e.target not in mine))


def _weight(point: Point, call: Sequence[TraceStep], look: Look, about: Collection[Cell]) -> int:
    """How much it tells that this was read."""
    mine = {step.number for step in call}
    sources = {edge.source for edge in look.about if edge.kind == "reads"}
    if sources & mine:
        return 0
    fact = point.fact(look)
    crosses = any(point.crosses(edge) for edge in look.about)
    subject = any(cell.at == look.cell.at and cell.mask & look.cell.mask for cell in about)
    stale = 4 * any(_misled(look, step) for step in call)
    return 1 + 2 * bool(fact and fact.decides) + crosses + 2 * subject + bool(sources) + stale


def _misled(look: Look, later: TraceStep) -> bool:
    """Whether the step sent an interrupt to where the look said, after somebody had changed that."""
    if not isinstance(look.value, int) or all(e.kind != "overwritten" or e.target > later.number for e in look.about):
        return False
    said = look.value // (look.cell.mask & -look.cell.mask)
    where = (said, said >> 8)  # xAPIC ids lie in the second byte
    return look.step < later.number and any(isinstance(fact, facts.Sends) and fact.to in where for fact in later.facts)


def shared(change: Change) -> bool:
    """Of a location that is no lock, not of what the machine keeps of its own."""
    words = isinstance(change.new, int | tuple) and isinstance(change.old, int | tuple)
    return words and "." in change.at and not change.at.endswith((".latched", ".in_flight", ".interrupts"))
