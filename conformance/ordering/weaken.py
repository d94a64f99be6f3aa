"""An implementation with one fence, locked prefix or memory order taken away, without a change to its code.

The routine is asked as before; only what it is told and what it asks for is translated on the way: a fence is answered at
once and never performed, a locked read-modify-write is performed as a load and a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from conformance.automaton.assembly import Assembly
from conformance.automaton.meaning import combined, writes
from conformance.automaton.unfold import LONGEST_CALL, Node, Unfolding, too_long
from conformance.roles import operations as ops


class Site(NamedTuple):
    """A place in a routine that orders something: the n-th time in a call that it performs this operation."""

    routine: str
    operation: ops.Fence | ops.Rmw
    nth: int
    after: str
    """What the routine does just before, for people."""
    at: str = ""
    """Of a locked operation: where, for people."""

    def __str__(self) -> str:
        what = "fence" if isinstance(self.operation, ops.Fence) else f"locked {self.operation.how} of {self.at}"
        times = f" #{self.nth}" if self.nth > 1 else ""
        return f"{self.routine}: {what}{times}" + (
            f" after {self.after}" if isinstance(self.operation, ops.Fence) else ""
        )

    @property
    def key(self) -> tuple[Shape, int]:
        return _shape(self.operation), self.nth


def sites(assembly: Assembly) -> list[Site]:
    """Every full fence and locked operation that the software of an assembly has been seen to perform."""
    made: list[Site] = []
    place = assembly.architecture.place
    for routine in assembly.software():
        found: dict[tuple[Shape, int], Site] = {}
        for node in assembly.routines[routine].nodes():
            operation = node.answer
            full = isinstance(operation, ops.Rmw) or (isinstance(operation, ops.Fence) and operation.kind == "full")
            if node.routine != routine or not full:
                continue
            assert isinstance(operation, ops.Fence | ops.Rmw)
            shape, nth = occurrence(node)
            at = place(operation.at, operation.mask) if isinstance(operation, ops.Rmw) else ""
            site = Site(routine, operation, nth, _previous(node, place), at)
            known = found.setdefault((shape, nth), site)
            found[shape, nth] = min(known, site, key=lambda s: s.after)
        made += found.values()
    return sorted(made, key=str)


Shape = tuple[str, str, int]


def _shape(operation: ops.Answer) -> Shape:
    """What makes two operations the same to whoever reads the code: not the value, which may be computed."""
    match operation:
        case ops.Rmw(at=at, how=how, mask=mask):
            return how, at, mask
        case ops.Fence(kind=kind):
            return "fence", kind, 0
        case _:
            return "", "", 0


def occurrence(node: Node) -> tuple[Shape, int]:
    """What a node's operation is, and the how-manieth of its kind in the call."""
    shape = _shape(node.answer)
    return shape, 1 + sum(_shape(earlier.answer) == shape for earlier in before(node))


def before(node: Node) -> Iterator[Node]:
    """The nodes of a call that lie before this one, last first."""
    while node.parent is not None:
        node = node.parent
        yield node


def _previous(node: Node, place: Callable[[str, int], str]) -> str:
    for earlier in before(node):
        match earlier.answer:
            case ops.Store(at=at, mask=mask) | ops.Rmw(at=at, mask=mask):
                return f"writing {place(at, mask)}"
            case ops.Load(at=at, mask=mask):
                return f"reading {place(at, mask)}"
            case ops.PrepareToBlock():
                return "announcing a sleep"
            case _:
                pass
    return "it begins"


class _Weakened:
    """The source of a routine without its `site`."""

    def __init__(self, whole: Unfolding, site: Site) -> None:
        self._whole, self._site = whole, site

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        """Walks the whole routine's automaton along the results, which the site takes none or two of."""
        node, used, times = self._whole.root(routine, args), 0, 0
        for _ in range(2 * LONGEST_CALL):
            operation = node.answer
            times += _shape(operation) == _shape(self._site.operation)
            if times == self._site.nth and _shape(operation) == _shape(self._site.operation):
                performed = _apart(operation, results[used:])
                if performed.asks:
                    return performed.asks
                node, used = node.child(performed.answer), used + performed.took
            elif used == len(results) or isinstance(operation, ops.Return):
                return operation
            else:
                node, used = node.child(results[used]), used + 1
        raise too_long(node)

    def fresh(self) -> _Weakened:
        return _Weakened(Unfolding(self._whole.source.fresh()), self._site)


class _Performed(NamedTuple):
    """The site's operation, as far as results go: what it asks next, or what it answered and how many it took."""

    asks: ops.AnyOperation | None = None
    answer: ops.Result = None
    took: int = 0


def _apart(operation: ops.Answer, results: tuple[ops.Result, ...]) -> _Performed:
    """A fence is nothing; a locked operation is a load, and a store if it writes."""
    if not isinstance(operation, ops.Rmw):
        return _Performed()
    if not results:
        return _Performed(ops.Load(operation.at, operation.mask))
    old = results[0]
    assert isinstance(old, int)
    if not writes(operation, old):
        return _Performed(answer=old, took=1)
    if len(results) == 1:
        return _Performed(ops.Store(operation.at, combined(operation, old), operation.mask))
    return _Performed(answer=old, took=2)


def weakened(assembly: Assembly, *taken: Site | None) -> Assembly:
    """The assembly without these sites, their routines translated; as it is if there is none."""
    routines = dict(assembly.routines)
    for site in sorted(filter(None, taken), key=lambda site: -site.nth):  # the later first, lest it is counted anew
        routines[site.routine] = Unfolding(_Weakened(routines[site.routine], site))
    return replace(assembly, routines=routines)
