"""Barriers that are not there: where a guarantee is kept under sequential consistency and broken under a weaker model, the
places at which one full fence would do.

Found by putting each in: a fence after one access that another may overtake, without a change to the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import LONGEST_CALL, Node, Unfolding, too_long
from conformance.litmus.axioms import Model
from conformance.ordering.weaken import before
from conformance.roles import operations as ops

Accessed: TypeAlias = tuple[str, str, int]
"""What is done, location and mask; of an announcement no location."""
DOES = {"writes": "writing", "reads": "reading", "announces": "announcing a sleep"}


class Gap(NamedTuple):
    """The n-th access of its kind in a call, and what is done behind it before the next barrier."""

    routine: str
    access: Accessed
    nth: int
    place: str
    """Of the access, for people, as `read` and `written`."""
    read: tuple[str, ...]
    written: tuple[str, ...] = ()
    onward: tuple[str, ...] = ()
    """Routines that it goes on to."""

    def __str__(self) -> str:
        times = f" (#{self.nth})" if self.nth > 1 else ""
        does = f"{DOES[self.access[0]]} {self.place}".rstrip()
        behind = (("reading", self.read), ("writing", self.written), ("going on to", self.onward))
        told = " or ".join(f"{verb} {' or '.join(places)}" for verb, places in behind if places)
        return f"{self.routine}: a full fence after {does}{times}, before {told}"


def mending(gaps: Sequence[Gap], keeps: Callable[[Gap], bool]) -> tuple[Gap, ...]:
    """Those at which a fence keeps what is broken: between a store and what is done behind it in the same routine; if none
    does, at the end of a routine; if none does, behind a read.
    """
    ranks = [(gap.access[0] == "reads", not (gap.read or gap.written)) for gap in gaps]
    for rank in sorted(set(ranks)):
        if found := tuple(gap for gap, of in zip(gaps, ranks, strict=True) if of == rank and keeps(gap)):
            return found
    return ()


def gaps(assembly: Assembly, model: Model = "tso") -> list[Gap]:
    """All that software has been seen to leave, in a fixed order: on TSO a read behind a plain store, on Armv8 any access
    behind another.
    """
    place = assembly.architecture.place
    found: dict[tuple[str, Accessed, int], dict[str, set[str]]] = {}
    for routine in assembly.software():
        for node in assembly.routines[routine].nodes():
            access = _accessed(node.answer, model)
            if node.routine == routine and access:
                nth = 1 + sum(_accessed(earlier.answer, model) == access for earlier in before(node))
                behind = found.setdefault((routine, access, nth), {"reads": set(), "writes": set(), "goes on": set()})
                for kind, at, mask in _behind(node, model):
                    if at != access[1] or not mask & access[2]:  # what it reads of its own it has
                        behind[kind].add(place(at, mask) if mask else at)
    made = [
        Gap(routine, access, nth, access[1] and place(*access[1:]), *(tuple(sorted(of)) for of in behind.values()))
        for (routine, access, nth), behind in found.items()
        if any(behind.values())
    ]
    return sorted(made)


def _accessed(operation: ops.Answer, model: Model) -> Accessed | None:
    """What a later access may overtake."""
    match operation:
        case ops.Store(at=at, mask=mask, order=order) if order != "seq_cst":
            return "writes", at, mask
        case ops.Rmw(at=at, mask=mask, order=order) if model == "armv8" and order != "seq_cst":
            return "writes", at, mask
        case ops.Load(at=at, mask=mask, order="plain") if model == "armv8":
            return "reads", at, mask
        case ops.PrepareToBlock():
            return "announces", "", 0
        case _:
            return None


def _behind(node: Node, model: Model) -> Iterator[Accessed]:
    """Or the routine that comes next, and no mask."""
    pending = list(node.edges.values())
    while pending:
        node = pending.pop()
        match node.answer:
            case ops.Fence(kind="full") | ops.EnterGuest() | ops.Schedule():
                continue
            case ops.Rmw() | ops.Lock() if model != "armv8":
                continue
            case ops.Return(then=(str(routine), *_)):
                yield "goes on", routine, 0
            case ops.Load(at=at, mask=mask):
                yield "reads", at, mask
            case ops.Store(at=at, mask=mask) | ops.Rmw(at=at, mask=mask) if model == "armv8":
                yield "writes", at, mask
        pending += [child for child in node.edges.values() if child.parent is node]


class _Fenced:
    """The source of a routine with a fence behind one access."""

    def __init__(self, whole: Unfolding, gap: Gap, model: Model) -> None:
        self._whole, self._gap = whole, gap
        self._model: Model = model

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        node, used, times = self._whole.root(routine, args), 0, 0
        for _ in range(2 * LONGEST_CALL):
            if used == len(results) or isinstance(node.answer, ops.Return):
                return node.answer
            fits = _accessed(node.answer, self._model) == self._gap.access
            times += fits
            node, used = node.child(results[used]), used + 1
            if fits and times == self._gap.nth:
                if used == len(results):
                    return ops.Fence()
                used += 1
        raise too_long(node)

    def fresh(self) -> _Fenced:
        return _Fenced(Unfolding(self._whole.source.fresh()), self._gap, self._model)


def fenced(assembly: Assembly, gap: Gap, model: Model = "tso") -> Assembly:
    """The assembly with a full fence in the gap."""
    whole = assembly.routines[gap.routine]
    return replace(assembly, routines={**assembly.routines, gap.routine: Unfolding(_Fenced(whole, gap, model))})
