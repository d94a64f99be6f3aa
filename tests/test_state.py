"""Cells and views, and remembered steps against steps taken anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_agents import CELLS, Plan, RandomMachine, anew, machines
from tiny_machine import reach

from conformance.machine.state import Agent, Cell, Layout, LayoutFull, NotEnabled, View


def test_cells_number_their_values_as_they_come() -> None:
    layout = Layout()
    first, second = layout.cell("first", "a", 2), layout.cell("second", 7, 3)
    assert layout.show(0) == {"first": "a", "second": 7}
    state = first.pack("b") | second.pack(9)
    assert layout.show(state) == {"first": "b", "second": 9}
    assert first.pack("a") == 0 and first.unpack(state) == "b"
    assert not first.mask & second.mask and layout.bits == 5


def test_a_cell_that_is_too_narrow_says_how_wide_it_should_be() -> None:
    for width, fits in ((0, 1), (1, 2), (2, 4)):
        cell = Layout().cell("cell", 0, width)
        for value in range(fits):
            cell.pack(value)
        with pytest.raises(LayoutFull) as full:
            cell.pack(fits)
        assert (full.value.cell, full.value.width) == ("cell", max(1, 2 * width))
    assert Layout({"cell": 5}).cell("cell", 0, 1).width == 5
    layout = Layout()
    layout.cell("cell", 0)
    with pytest.raises(ValueError, match="two cells"):
        layout.cell("cell", 0)


def entry_of(step: Callable[[View, Cell[int], Cell[int]], None], width: int = 4) -> tuple[Any, Cell[int], Cell[int]]:
    layout = Layout()
    pivot, one, two = layout.cell("pivot", 0), layout.cell("one", 0, width), layout.cell("two", 0, width)
    return Agent("agent", 0, pivot, lambda view: step(view, one, two)).entry(0), one, two


def test_a_step_reads_what_it_looks_at_before_it_writes() -> None:
    def step(view: View, one: Cell[int], two: Cell[int]) -> None:
        view.set(one, 1)
        view.set(two, view.get(one) + view.get(two))

    entry, one, two = entry_of(step)
    assert entry.reads & two.mask and not entry.reads & one.mask
    assert entry.writes == one.mask | two.mask


def test_what_is_left_as_it_was_read_is_not_written() -> None:
    def step(view: View, one: Cell[int], two: Cell[int]) -> None:
        view.set(one, view.get(one))
        view.set(two, 0)

    entry, _, two = entry_of(step)
    assert entry.writes == two.mask, "without having looked, writing the same value is still a write"


def test_every_branch_is_tried_and_a_disabled_one_still_reads() -> None:
    def step(view: View, one: Cell[int], two: Cell[int]) -> None:
        if view.pick(2):
            view.get(two)
            if view.pick(3) < 2:
                raise NotEnabled
        view.set(one, 5)

    entry, _, two = entry_of(step)
    assert [o.choice for o in entry.outcomes] == [(0,), (1, 2)]
    assert entry.reads & two.mask


def test_a_step_that_cannot_be_taken_depends_on_what_it_looked_at() -> None:
    def step(view: View, one: Cell[int], two: Cell[int]) -> None:
        if not view.get(one):
            raise NotEnabled

    entry, one, two = entry_of(step)
    assert entry.outcomes == () and entry.reads & one.mask and not entry.reads & two.mask


@settings(max_examples=150, deadline=None)
@given(machines(), st.randoms(use_true_random=False))
def test_remembered_steps_are_the_steps_taken_anew(plan: Plan, chance: random.Random) -> None:
    """Every agent, in every reachable state, visited in any order."""
    machine = RandomMachine(plan)
    seen = {machine.initial}
    pending = [machine.initial]
    while pending:
        state = pending.pop(chance.randrange(len(pending)))
        values = {name: machine.layout.cells[name].unpack(state) for name in CELLS + machine.counters}
        for agent in chance.sample(machine.agents, len(machine.agents)):
            remembered = []
            for outcome in agent.entry(state).outcomes:
                target = state & outcome.keep | outcome.add
                remembered.append((outcome.choice, machine.layout.show(target), outcome.findings, outcome.lane))
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
            assert remembered == anew(plan, agent.index, values)


@settings(max_examples=100, deadline=None)
@given(machines())
def test_steps_called_independent_commute(plan: Plan) -> None:
    machine = RandomMachine(plan)
    for state in reach(machine):
        entries = [(a, e) for a in machine.agents if (e := a.entry(state)).outcomes]
        for agent, entry in entries:
            for other, other_entry in entries:
                if agent is other or not entry.independent(other_entry):
                    continue
                for outcome in entry.outcomes:
                    after = state & outcome.keep | outcome.add
                    assert other.entry(after).outcomes == other_entry.outcomes
                    for second in other_entry.outcomes:
                        this_way = after & second.keep | second.add
                        before = state & second.keep | second.add
                        assert this_way == before & outcome.keep | outcome.add
