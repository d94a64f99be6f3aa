"""The search over columns against the plain one: same states, transitions, states at rest, broken clauses, livelock; and
its parts against a dictionary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_agents import Do, Line, Plan, RandomMachine, machines
from tiny_machine import fitted, reach
from tiny_programs import Program, made, programs

from conformance.adapters.registry import resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.machine.state import Layout
from conformance.roles.scenario import Scenario
from conformance.search import proof as search
from conformance.search.frontier import Frontier
from conformance.search.packing import Outgrown, Packing
from conformance.search.proof import Proof, prove
from conformance.search.state_table import Numbering
from conformance.verdict.explore import explore
from properties.suite import SUITE
from properties.x86.scenarios import GOLDEN, SCENARIOS
from reference.known_bad import KNOWN_BAD

BY_NAME = {s.name: s for s in SCENARIOS}
SMALL = [s for s in SCENARIOS if not s.samples and GOLDEN[s.name] <= 25_000]
MUTANTS = ["B06", "B07", "B13", "B14", "B15", "B21", "B27", "M1", "M2", "M6", "M7", "M8b", "M10", "M20", "F2"]


def summary(done: Proof) -> tuple[Any, ...]:
    """What both searches have to agree on: all but the reasons, which are the first met."""
    clauses = (frozenset(found) for found in (done.breached, done.at_rest, done.witnessed))
    return done.states, done.transitions, done.quiescent, *clauses, bool(done.livelock), done.complete


def by_columns(machine: Machine, most: int = 1_000_000) -> Proof:
    done = Proof()
    Frontier(machine, done).search(most, None)
    return done


def both(machine: Machine) -> Proof:
    """By columns first, in a machine that remembers nothing: cells outgrow their fields on the way."""
    wide = by_columns(machine)
    assert summary(wide) == summary(prove(machine, reduce=False))
    assert summary(by_columns(machine)) == summary(wide)
    return wide


@pytest.mark.parametrize("scenario", SMALL, ids=lambda s: s.name)
def test_same_in_a_scenario(scenario: Scenario) -> None:
    done = in_machine(resolve("reference"), scenario, SUITE, both)
    assert done.states == GOLDEN[scenario.name]


@pytest.mark.parametrize("bad", MUTANTS)
def test_same_in_a_known_bad_implementation(bad: str) -> None:
    done = in_machine(resolve(f"known-bad:{bad}"), BY_NAME[KNOWN_BAD[bad].scenario], SUITE, both)
    found = {*done.breached, *done.at_rest, *(("LIVELOCK",) if done.livelock else ())}
    assert set(KNOWN_BAD[bad].breaks) & found


ROUND = Plan(
    (
        (Line((), "p", (1, 1, 1)), Line((), "p", (0, 0, 2))),
        (Line((Do("set", "p", "p", 2),), "p", (3, 3, 3)),),
    ),
    (False, True),
    (),
)
"""Goes round for ever, unless the optional agent lets it out."""


@settings(max_examples=300, deadline=None)
@example(ROUND)
@given(machines())
def test_same_on_random_agents(plan: Plan) -> None:
    both(RandomMachine(plan))


@settings(max_examples=100, deadline=None)
@given(machines(), st.integers(1, 6))
def test_same_from_states_that_were_met_already(plan: Plan, met: int) -> None:
    """And these are packed together as one by one."""
    machine = RandomMachine(plan)
    plain = prove(machine, reduce=False)
    known = [state for (state, _, _), _ in zip(search.visits(machine), range(met), strict=False)]
    done = Proof()
    frontier = Frontier(machine, done, known)
    packed = np.array([frontier.packing.pack(state) for state in known], np.uint64)
    assert (packed == np.array(frontier.packing.columns(known)).T).all()
    frontier.search(1_000_000, None)
    assert summary(done) == summary(plain)


def test_a_livelock_is_one_though_an_optional_step_ends_it() -> None:
    assert by_columns(RandomMachine(ROUND)).livelock
    obliged = ROUND._replace(optional=(False, False))
    assert not by_columns(RandomMachine(obliged)).livelock


@settings(max_examples=100, deadline=None)
@given(programs())
def test_same_on_random_programs(program: Program) -> None:
    def compare(widths: dict[str, int]) -> None:
        machine = made(program, widths)
        try:
            wide: Any = summary(by_columns(machine))
        except Fault:
            wide = None
        try:
            plain: Any = summary(prove(machine, reduce=False))
        except Fault:
            plain = None
        assert wide == plain

    fitted(compare)


def test_the_bound_on_states() -> None:
    done = in_machine(resolve("reference"), BY_NAME["core"], SUITE, lambda m: by_columns(m, most=3_000))
    assert not done.complete
    assert 3_000 < done.states < GOLDEN["core"]


@pytest.mark.parametrize("spec", ["known-bad:B18", "known-bad:M7", "known-bad:M2"])
def test_the_verdict_does_not_depend_on_who_searches(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clauses and least counterexamples, row by row."""
    scenario = BY_NAME[KNOWN_BAD[spec.removeprefix("known-bad:")].scenario]
    found = []
    for few in (0, 100, 1_000_000):
        monkeypatch.setattr(search, "FEW", few)
        found.append(explore(resolve(spec), scenario, SUITE))
    assert found[0].counterexamples
    assert {str(sorted(each.counterexamples.items())) for each in found} == {
        str(sorted(found[0].counterexamples.items()))
    }
    assert {(each.states, each.quiescent, frozenset(each.witnessed)) for each in found} == {
        (found[0].states, found[0].quiescent, frozenset(found[0].witnessed))
    }


def test_bytes_of_a_stored_state() -> None:
    def measure(machine: Machine) -> float:
        frontier = Frontier(machine, Proof())
        frontier.search(1_000_000, None)
        return frontier.bytes / frontier.visited.count

    assert in_machine(resolve("reference"), BY_NAME["two-senders"], SUITE, measure) < 100


# Parts


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_numbers_of_states_as_a_dictionary_gives_them(data: st.DataObject) -> None:
    """Few values, so that many states are the same; some of them far apart, some next to each other."""
    word = st.sampled_from([0, 1, 2, 1 << 41, 1 << 63, (1 << 64) - 1]) | st.integers(0, 40)
    visited = Numbering(2)
    known: dict[tuple[int, int], int] = {}
    for rows in data.draw(st.lists(st.lists(st.tuples(word, word), min_size=1, max_size=60), max_size=6)):
        numbers = visited.number([np.array(column, np.uint64) for column in zip(*rows, strict=True)]).tolist()
        for row, number in zip(rows, numbers, strict=True):
            assert known.setdefault(row, number) == number
    assert sorted(known.values()) == list(range(visited.count))
    stored = map(tuple, visited.words[: visited.count].tolist())
    assert {row: n for n, row in enumerate(stored)} == known


def test_many_states_are_numbered_once() -> None:
    """Through every doubling of the table."""
    visited = Numbering(1)
    values = np.random.default_rng(0).integers(0, 1 << 16, 300_000).astype(np.uint64)
    for begin in range(0, len(values), 7_000):
        part = values[begin : begin + 7_000]
        numbers = visited.number([part])
        assert (visited.words[numbers, 0] == part).all()
    assert visited.count == len(set(values.tolist()))


def test_packing_there_and_back() -> None:
    """Every state of a scenario, and again in a wider packing."""

    def check(machine: Machine) -> None:
        states = reach(machine)
        packing = Packing(machine.layout)
        rows = [packing.pack(state) for state in states]
        columns = [np.array(column, np.uint64) for column in zip(*rows, strict=True)]
        assert packing.unpack(columns) == states
        for cell in machine.layout.cells.values():
            cell.values.extend([None] * min(len(cell.values), cell.full - len(cell.values)))
        wider = Packing(machine.layout)
        assert sum(f.width for f in wider.fields) > sum(f.width for f in packing.fields)
        assert wider.unpack(packing.repack(columns, wider)) == states

    in_machine(resolve("reference"), BY_NAME["preempt-running"], SUITE, check)


def test_a_number_that_does_not_fit() -> None:
    layout = Layout()
    seen, unseen = layout.cell("seen", 0, 8), layout.cell("unseen", 0, 8)
    seen.pack(1)
    packing = Packing(layout)
    (word,) = packing.pack(seen.pack(3))
    assert packing.unpack([np.array([word], np.uint64)]) == [seen.pack(3)]
    for state in (4 << seen.shift, unseen.pack(1)):
        with pytest.raises(Outgrown):
            packing.pack(state)
