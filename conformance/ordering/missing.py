"""Barriers that are not there: where a guarantee is kept under sequential consistency and broken with store buffers, the
places at which one full fence would do.

Found by putting each in: a fence after one store that something else is read behind, without a change to the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import LONGEST_CALL, Node, Unfolding, too_long
from conformance.ordering.weaken import before
from conformance.roles import operations as ops

Stored: TypeAlias = tuple[str, int]
"""Location and mask; of an announcement neither."""


class Gap(NamedTuple):
    """The n-th plain store of a call to a location, or announcement of a sleep, and what is read behind it before the next
    barrier.
    """

    routine: str
    store: Stored
    nth: int
    written: str
    """For people, as `read`."""
    read: tuple[str, ...]

    def __str__(self) -> str:
        times = f" (#{self.nth})" if self.nth > 1 else ""
        return f"{self.routine}: a full fence after {self.written}{times}, before reading {' or '.join(self.read)}"


def gaps(assembly: Assembly) -> list[Gap]:
    """All that software has been seen to leave, in a fixed order."""
    place = assembly.architecture.place
    found: dict[tuple[str, Stored, int], set[str]] = {}
    for routine in assembly.software():
        for node in assembly.routines[routine].nodes():
            store = _stored(node.answer)
            if node.routine == routine and store:
                nth = 1 + sum(_stored(earlier.answer) == store for earlier in before(node))
                read = {place(at, mask) for at, mask in _reads_behind(node) if at != store[0]}
                found.setdefault((routine, store, nth), set()).update(read)
    made = [
        Gap(routine, store, nth, f"writing {place(*store)}" if store[0] else "announcing a sleep", tuple(sorted(read)))
        for (routine, store, nth), read in found.items()
        if read
    ]
    return sorted(made)


def _stored(operation: ops.Answer) -> Stored | None:
    match operation:
        case ops.Store(at=at, mask=mask, order="plain"):
            return at, mask
        case ops.PrepareToBlock():
            return "", 0
        case _:
            return None


def _reads_behind(node: Node) -> Iterator[tuple[str, int]]:
    pending = list(node.edges.values())
    while pending:
        node = pending.pop()
        match node.answer:
            case ops.Fence(kind="full") | ops.Rmw() | ops.Lock() | ops.EnterGuest() | ops.Schedule():
                continue
            case ops.Load(at=at, mask=mask):
                yield at, mask
        pending += [child for child in node.edges.values() if child.parent is node]


class _Fenced:
    """The source of a routine with a fence behind one store."""

    def __init__(self, whole: Unfolding, gap: Gap) -> None:
        self._whole, self._gap = whole, gap

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        node, used, times = self._whole.root(routine, args), 0, 0
        for _ in range(2 * LONGEST_CALL):
            if used == len(results) or isinstance(node.answer, ops.Return):
                return node.answer
            fits = _stored(node.answer) == self._gap.store
            times += fits
            node, used = node.child(results[used]), used + 1
            if fits and times == self._gap.nth:
                if used == len(results):
                    return ops.Fence()
                used += 1
        raise too_long(node)

    def fresh(self) -> _Fenced:
        return _Fenced(Unfolding(self._whole.source.fresh()), self._gap)


def fenced(assembly: Assembly, gap: Gap) -> Assembly:
    """The assembly with a full fence in the gap."""
    whole = assembly.routines[gap.routine]
    return replace(assembly, routines={**assembly.routines, gap.routine: Unfolding(_Fenced(whole, gap))})
