"""Random machines of small agents over few cells: what the engine's searches see of a machine, without CPUs or
implementations.

An agent has lines. One step runs the line it is at, its instructions all at once, and goes on to another line or off
the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.machine import Machine
from conformance.machine.state import Agent, Layout, NotEnabled, View

CELLS = ("p", "q", "r")
VALUES = 3


class Do(NamedTuple):
    """One instruction on a cell: `value` is what is written, waited for, added, offered or complained about."""

    what: Literal["set", "add", "copy", "await", "pick", "breach", "handler"]
    cell: str
    other: str
    value: int


class Line(NamedTuple):
    does: tuple[Do, ...]
    ask: str
    go: tuple[int, int, int]
    """Where to go on, by the value of the cell `ask`."""


class Plan(NamedTuple):
    agents: tuple[tuple[Line, ...], ...]
    optional: tuple[bool, ...]
    rest: tuple[tuple[str, int, str], ...]
    """(cell, value, clause): broken at rest if the cell has the value; R2 is seen to hold."""


def machines(agents: int = 3, lines: int = 4) -> st.SearchStrategy[Plan]:
    cells, values = st.sampled_from(CELLS), st.integers(0, VALUES - 1)
    what = st.sampled_from(["set", "set", "add", "copy", "await", "pick", "breach", "handler"])
    does = st.lists(st.builds(Do, what, cells, cells, values), max_size=3).map(tuple)
    targets = st.integers(0, lines)
    line = st.builds(Line, does, cells, st.tuples(targets, targets, targets))
    agent = st.lists(line, min_size=1, max_size=lines).map(tuple)
    rest = st.tuples(cells, values, st.sampled_from(["R0", "R1", "R2", "B1"]))
    return st.integers(2, agents).flatmap(
        lambda n: st.builds(
            Plan,
            st.tuples(*[agent] * n),
            st.tuples(st.just(False), *[st.booleans()] * (n - 1)),
            st.lists(rest, max_size=3).map(tuple),
        )
    )


class Acts(NamedTuple):
    """What a step can do to the world it runs in."""

    get: Callable[[str], int]
    set: Callable[[str, int], None]
    pick: Callable[[int], int]
    find: Callable[[Finding], None]
    handler: Callable[[], None]


def take(plan: Plan, number: int, acts: Acts) -> None:
    """One step of an agent."""
    lines, counter = plan.agents[number], f"at{number}"
    at = acts.get(counter)
    if at >= len(lines):
        raise NotEnabled
    for what, cell, other, value in lines[at].does:
        match what:
            case "set":
                acts.set(cell, value)
            case "add":
                acts.set(cell, (acts.get(cell) + value) % VALUES)
            case "copy":
                acts.set(cell, acts.get(other))
            case "await" if acts.get(cell) != value:
                raise NotEnabled
            case "pick":
                acts.set(cell, acts.pick(value + 1))
            case "breach" if acts.get(cell) == value:
                acts.find(Breach(f"B{value}", f"{cell} is {value}") if value else Witness("B0"))
            case "handler":
                acts.handler()
            case _:
                pass
    acts.set(counter, lines[at].go[acts.get(lines[at].ask)])


class RandomMachine(Machine):
    """A plan as the searches want it."""

    def __init__(self, plan: Plan, width: int = 2) -> None:
        self.plan = plan
        self.layout = Layout()
        self.counters = tuple(f"at{n}" for n in range(len(plan.agents)))
        self.cells = {name: self.layout.cell(name, 0, width) for name in CELLS}
        self.cells |= {name: self.layout.cell(name, 0, 3) for name in self.counters}
        self.agents = [
            Agent(f"agent{n}", n, self.cells[f"at{n}"], lambda view, n=n: self._step(view, n), not plan.optional[n])
            for n in range(len(plan.agents))
        ]
        self.obligatory = [a for a in self.agents if a.obligatory]
        self.initial = 0

    def _step(self, view: View, number: int) -> None:
        def handler() -> None:
            view.lane = 1

        acts = Acts(
            lambda name: view.get(self.cells[name]),
            lambda name, value: view.set(self.cells[name], value),
            view.pick,
            view.findings.append,
            handler,
        )
        take(self.plan, number, acts)

    def at_rest(self, state: int) -> list[Finding]:
        values = self.layout.show(state)
        return [
            Witness(clause) if clause == "R2" else Breach(clause, f"{cell} is {value}")
            for cell, value, clause in self.plan.rest
            if values[cell] == value
        ]


def anew(plan: Plan, number: int, values: dict[str, int]) -> list[Any]:
    """Every (choices, values after, findings, lane) of an agent's step on plain values, nothing remembered."""
    found: list[Any] = []
    forced: list[tuple[int, ...]] = [()]
    while forced:
        begin = forced.pop()
        after, picks, findings, lane = dict(values), [], list[Finding](), [0]

        def pick(options: int, begin: tuple[int, ...] = begin, picks: list[int] = picks) -> int:
            if options == 1:
                return 0
            at = len(picks)
            picks.append(begin[at] if at < len(begin) else 0)
            if at >= len(begin):
                forced.extend((*picks[:-1], other) for other in range(1, options))
            return picks[-1]

        acts = Acts(
            after.__getitem__,
            after.__setitem__,
            pick,
            findings.append,
            lambda lane=lane: lane.__setitem__(0, 1),
        )
        try:
            take(plan, number, acts)
            found.append((tuple(picks), after, tuple(findings), lane[0]))
        except NotEnabled:
            pass
    return sorted(found, key=lambda each: each[0])
