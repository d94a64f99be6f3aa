"""Sites: what a mutant changes, by the lines of the code under test.

A site is a line with one kind of operation on one kind of location, `cpu.test_and_set(vcpu.pid.on)` in one place, or a
line that calls something which performs operations. It may be reached in several routines and by several ways through
them; an edit of the line changes all of them, and so does a mutant. Where a source knows no lines, the n-th operation of
its kind in a routine stands for a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from conformance.adapters.source import Line
from conformance.automaton.unfold import Node, Unfolding
from conformance.ordering.weaken import before
from conformance.roles import operations as ops

NUMBER = re.compile(r"\d+(?=[.\]]|$)")
CALL = "call"


class Site(NamedTuple):
    """`kind` is the operation's, or `call`; `at` its location without the numbers of owners and words, or what is called."""

    line: Line
    kind: str
    at: str

    def __str__(self) -> str:
        return f"{self.line}: {self.what}"

    @property
    def what(self) -> str:
        return f"{self.kind}{' ' * bool(self.at)}{self.at}"

    @property
    def key(self) -> str:
        """What stays the same when lines move: function and operation."""
        return f"{self.line.function}: {self.what}"


def kind(operation: ops.Answer) -> str:
    match operation:
        case ops.Rmw(how=how):
            return f"locked {how}"
        case ops.Fence(kind="full"):
            return "fence"
        case ops.Fence(kind=which):
            return f"{which} fence"
        case ops.Interrupts(on=on):
            return f"interrupts {'on' if on else 'off'}"
        case ops.Preemption(on=on):
            return f"preemption {'on' if on else 'off'}"
        case ops.Atomic(on=on):
            return f"atomic {'begins' if on else 'ends'}"
        case _:
            return type(operation).__name__.lower()


def stem(operation: ops.Answer) -> str:
    """A location's name with every number left out: vcpu.pid.pir[], cpu.lr[]."""
    return NUMBER.sub("", getattr(operation, "at", ""))


@dataclass
class Sites:
    """The sites of everything that unfoldings have been seen to do, each node's worked out once."""

    of_node: dict[Node, tuple[Site, ...]] = field(default_factory=dict)

    def __getitem__(self, node: Node) -> tuple[Site, ...]:
        """The operation's own site, then those of the calls that it is part of, innermost first."""
        sites = self.of_node.get(node)
        if sites is None:
            lines = node.lines or (Line(f"{node.routine}#{_occurrence(node)}", 0, node.routine),)
            own = Site(lines[-1], kind(node.answer), stem(node.answer))
            calls = (Site(line, CALL, callee.function) for line, callee in pairwise(lines))
            sites = self.of_node[node] = (own, *list(calls)[::-1])
        return sites

    def nodes(self, unfoldings: Iterable[Unfolding]) -> dict[Site, list[Node]]:
        """Every site that has been reached, with its nodes."""
        found: dict[Site, list[Node]] = {}
        for unfolding in unfoldings:
            for node in unfolding.nodes():
                for site in () if isinstance(node.answer, ops.Return) else self[node]:
                    found.setdefault(site, []).append(node)
        return dict(sorted(found.items()))


def _occurrence(node: Node) -> int:
    what = kind(node.answer), stem(node.answer)
    return 1 + sum((kind(earlier.answer), stem(earlier.answer)) == what for earlier in before(node))
