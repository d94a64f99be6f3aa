"""Scenarios that nobody picked: combinations of what a scenario can be made of, so that any two options meet in one.

A hole of a suite is a combination that no scenario has: two vectors in one word of PIR, a preemption with store buffers,
a handler that posts while a device does. Each architecture names its factors and the options of each; a row takes one
option of every factor. The rows cover every pair of options that goes together in a scenario small enough to be
exhausted. They are chosen one by one, always the row with the most new pairs for its time (Cohen, Dalal, Fredman,
Patton, "The AETG System", 1997; AETG draws candidates, here all rows that make sense are looked at, and what
they cost counts: generators that know no sizes chose six times as many rows).

    python -m properties.rows                   makes the rows anew: covering.json of each architecture
    python -m properties.golden --write         then pins what they come to
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from conformance.roles.scenario import Scenario

MOST_STATES = 10_000
"""Predicted states of a scenario that may be chosen, unless a grammar says otherwise."""
START, A_STATE = 0.1, 4e-6
"""What a scenario costs, in seconds: to begin with, and for each state, unless a grammar says otherwise. Only their ratio matters."""

Row: TypeAlias = tuple[str, ...]
"""An option of each factor, in the grammar's order."""
Pair: TypeAlias = tuple[tuple[int, str], ...]


class Option(NamedTuple):
    told: str
    """What it adds to the scenario's `about`; empty for what goes without saying."""
    times: float
    """How many times as many states as with the cheapest option of its factor, so at least 1: measured, by a log-linear fit."""


class Chosen(msgspec.Struct, frozen=True):
    """A row, and how many states its scenario has with the reference, every monitor attached."""

    row: Row
    states: int


@dataclass(frozen=True)
class Grammar:
    """What the scenarios of an architecture are made of. The first option of a factor is the plain one."""

    architecture: str
    factors: Mapping[str, Mapping[str, Option]]
    build: Callable[[str, str, Row], Scenario | None]
    """The scenario of a name, an `about` and a row; None: these options do not go together."""
    least: float
    """States of a row with the cheapest options."""
    triples: Sequence[tuple[str, str, str]] = ()
    """Factors of which every three options meet."""
    most: float = MOST_STATES
    start: float = START
    a_state: float = A_STATE
    pointless: Callable[[Row], bool] | None = None
    """Whether these options do not go together, where that is known without building."""

    def scenario(self, row: Row) -> Scenario | None:
        """None where its options do not go together, or are none of this grammar."""
        fits = len(row) == len(self.factors) and all(o in f for f, o in zip(self.factors.values(), row, strict=True))
        if not fits or (self.pointless and self.pointless(row)):
            return None
        return self.build(self.name(row), self.about(row), row)

    def name(self, row: Row) -> str:
        """Its options, those that are plain left out, but never the first factor's."""
        plain = [next(iter(options)) for options in self.factors.values()]
        return "/".join((row[0], *(o for o, usual in zip(row[1:], plain[1:], strict=True) if o != usual)))

    def about(self, row: Row) -> str:
        return "; ".join(told for option in self.options(row) if (told := option.told))

    def states(self, row: Row) -> float:
        """Predicted."""
        return self.least * math.prod(option.times for option in self.options(row))

    def options(self, row: Row) -> list[Option]:
        return [options[o] for options, o in zip(self.factors.values(), row, strict=True)]

    def rows(self) -> list[Row]:
        """Those that go together and are small enough."""
        within: list[tuple[Row, float]] = [((), self.least)]
        for options in self.factors.values():
            within = [
                ((*row, name), states * option.times)
                for row, states in within
                for name, option in options.items()
                if states * option.times <= self.most
            ]
        senseless = self.pointless or (lambda row: self.build("", "", row) is None)
        return [row for row, _ in within if not senseless(row)]

    def meetings(self, row: Row) -> frozenset[Pair]:
        """The pairs of options that meet in a row, and the triples that are asked for."""
        taken = tuple(enumerate(row))
        names = list(self.factors)
        triples = (tuple(taken[names.index(f)] for f in factors) for factors in self.triples)
        return frozenset((*combinations(taken, 2), *triples))


def choose(grammar: Grammar) -> list[Row]:
    """Rows that cover all that can meet. What a row would add only shrinks, so who was best with what it once would have added,
    and still adds that, is best.
    """
    rows = grammar.rows()
    bits: dict[Pair, int] = {}
    meetings = [sum(bits.setdefault(m, 1 << len(bits)) for m in grammar.meetings(row)) for row in rows]
    cost = [grammar.start + grammar.a_state * grammar.states(row) for row in rows]
    left = (1 << len(bits)) - 1
    best = [(-met.bit_count() / cost[n], n) for n, met in enumerate(meetings)]
    heapify(best)
    chosen: list[Row] = []
    while left:
        added, n = best[0]
        adds = -(meetings[n] & left).bit_count() / cost[n]
        if adds != added:
            heapreplace(best, (adds, n))
            continue
        heappop(best)
        chosen.append(rows[n])
        left &= ~meetings[n]
    return sorted(chosen, key=grammar.states)


def data(grammar: Grammar) -> Path:
    return Path(__file__).with_name(grammar.architecture) / "covering.json"


def pinned(grammar: Grammar) -> list[Chosen]:
    return msgspec.json.decode(data(grammar).read_bytes(), type=list[Chosen])


def rows(grammar: Grammar) -> list[Row]:
    """The pinned ones."""
    return [chosen.row for chosen in pinned(grammar)]


def covered(grammar: Grammar) -> tuple[tuple[Scenario, ...], dict[str, int]]:
    """The pinned rows as scenarios, and how many states each has. Raises ValueError for one that makes no sense."""
    chosen = pinned(grammar)
    scenarios: dict[str, Scenario] = {}
    for row in (c.row for c in chosen):
        scenario = grammar.scenario(row)
        if scenario is None or scenario.name in scenarios:
            raise ValueError(
                f"{data(grammar)}: {'/'.join(row)} makes no sense or is there twice. Run python -m properties.rows"
            )
        scenarios[scenario.name] = scenario
    return tuple(scenarios.values()), {grammar.name(c.row): c.states for c in chosen}


def pin(grammar: Grammar, rows: Iterable[Row], states: Mapping[Row, int]) -> None:
    lines = (msgspec.json.encode(Chosen(row, states.get(row, 0))).decode() for row in rows)
    data(grammar).write_text("[\n" + ",\n".join(lines) + "\n]\n")
