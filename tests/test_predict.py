"""Prediction: orders that z3 proposes are checked by carrying values along, and what is predicted is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.search import predict
from conformance.search.causality import Occurrence, Race, broken_by, events, races, unwatched
from conformance.search.predict import Orders, Prediction, Predictor
from conformance.search.proof import prove, walk
from conformance.search.sampling import SampledRun, bursts, draw, run_bursts, sample
from conformance.verdict.explore import explore
from properties.suite import SUITE
from reference.known_bad import KNOWN_BAD

GUARANTEES = {c.id for c in SUITE.clauses if c.kind == "guarantee"} | {"DEADLOCK", "LIVELOCK", "RACE"}
SCENARIOS = {s.name: s for s in SUITE.scenarios}
RUNS = 12
FROM_A_PASSING_RUN = (
    "B18", "B22a", "B22b", "B24", "B26", "M13", "M16", "A06", "A07", "A21", "A23", "L1", "L2", "L3", "V05", "V10", "V22",
)  # fmt: skip
"""Bugs that the very first schedules do not show, and one of them predicts."""


def passing(machine: Machine, runs: int = RUNS) -> Iterator[SampledRun]:
    for plan in draw(bursts(len(machine.agents)), runs):
        run = run_bursts(machine, plan)
        if run.rested and not run.broken.keys() & GUARANTEES:
            yield run


def predicted(machine: Machine, runs: int = RUNS) -> Iterator[Prediction]:
    predictor = Predictor(machine)
    for run in passing(machine, runs):
        yield from predictor.predictions(run)


def judged(machine: Machine, run: SampledRun) -> set[str]:
    """What a schedule breaks, found by walking it anew."""
    state, broken = machine.initial, set[str]()
    for _, outcome, state in walk(machine, run.schedule):
        broken |= {breach.clause for breach in outcome.breaches}
    if machine.quiescent(state):
        broken |= {finding.clause for finding in machine.at_rest(state) if isinstance(finding, Breach)}
    return broken


# Bugs


@pytest.mark.parametrize("bug", FROM_A_PASSING_RUN)
def test_a_passing_run_predicts_a_bug(bug: str) -> None:
    bad = KNOWN_BAD[bug]

    def use(machine: Machine) -> None:
        found = next(p for p in predicted(machine) if p.run.broken.keys() & GUARANTEES)
        assert not judged(machine, found.origin) & GUARANTEES
        assert judged(machine, found.run) == found.run.broken.keys()
        proved = prove(machine)
        assert found.run.broken.keys() <= {*proved.breached, *proved.at_rest}

    in_machine(resolve(f"known-bad:{bug}"), SCENARIOS[bad.scenario], SUITE, use)


@pytest.mark.parametrize("scenario", ["one-sender", "core", "tso-running", "vgic-edge", "gicv4.1-wfi"])
def test_the_reference_is_not_accused(scenario: str) -> None:
    def use(machine: Machine) -> None:
        made = list(predicted(machine, 4))
        assert made
        assert not any(p.run.broken for p in made)
        assert all(p.run.rested for p in made)

    in_machine(resolve("reference"), SCENARIOS[scenario], SUITE, use)


# Orders


@pytest.mark.parametrize("scenario", ["one-sender", "preempt-running", "tso-block", "vgic-sgi", "gicv4.1-running"])
def test_an_order_keeps_what_its_events_read(scenario: str) -> None:
    """Checked by carrying values along, and by the machine: each step is there, with the choice that it had."""

    def use(machine: Machine) -> None:
        bare = unwatched(machine)
        partial = 0
        for run in passing(machine, 3):
            happened = events(bare, run.schedule)
            orders = Orders(bare, happened)
            assert broken_by(bare.initial, happened, range(len(happened))) is None
            for race in races(happened)[:60]:
                order = orders.reversed(race)
                assert not orders.gave_up
                if order is None:
                    continue
                assert broken_by(bare.initial, happened, order) is None
                assert race.first not in order or order.index(race.then) < order.index(race.first)
                assert sum(1 for _ in walk(machine, tuple(happened[n].step for n in order))) == len(order)
                partial += race.then not in order
        assert partial

    in_machine(resolve("reference"), SCENARIOS[scenario], SUITE, use)


def event(agent: int, reads: int, seen: int, writes: int = 0, add: int = 0) -> Occurrence:
    return Occurrence(agent, (), reads, seen, writes, add, 0)


X, Y = 0b0011, 0b1100
"""Two cells of two bits."""


class Cells:
    """As much of a machine as constraints need."""

    initial = 0

    class layout:  # noqa: N801
        class _Cell:
            def __init__(self, mask: int) -> None:
                self.mask = mask

        cells = {"x": _Cell(X), "y": _Cell(Y)}  # noqa: RUF012


def reversed_(run: tuple[Occurrence, ...], race: Race) -> Any:
    return Orders(Cells(), run).reversed(race)  # type: ignore[arg-type]


def test_a_read_may_come_before_a_write_it_does_not_see() -> None:
    """x := 1; x := 0, and then x = 0 is read: it may be read before both, or between other writes of 0."""
    run = (event(0, 0, 0, X, 1), event(0, 0, 0, X, 0), event(1, X, 0))
    order = reversed_(run, Race(1, 2))
    assert sorted(order) == [0, 1, 2]
    assert order == (2, 0, 1)
    assert broken_by(0, run, (0, 2, 1)) == 1


def test_a_read_that_sees_the_write_comes_first_and_ends_what_is_kept() -> None:
    """Message passing: x := 1, y := 1; y = 1 is read, then x = 1. Neither read can keep its value before its write."""
    run = (event(0, 0, 0, X, 1), event(0, 0, 0, Y, 4), event(1, Y, 4), event(1, X, 1))
    assert reversed_(run, Race(1, 2)) == (0,) or reversed_(run, Race(1, 2)) == ()
    assert reversed_(run, Race(0, 3)) is None
    assert broken_by(0, run, (2,)) == 0


def test_program_order_is_kept() -> None:
    run = (event(0, 0, 0, X, 1), event(0, 0, 0, Y, 4), event(1, 0, 0, X, 2))
    assert broken_by(0, run, (1,)) == 0
    assert reversed_(run, Race(0, 2)) == (2, 0, 1)


# Answers


def test_the_same_each_time() -> None:
    def use(machine: Machine) -> list[tuple[Any, ...]]:
        return [(p.race, p.order, p.run) for p in predicted(machine, 4)]

    once, again = (in_machine(resolve("reference"), SCENARIOS["core"], SUITE, use) for _ in range(2))
    assert once == again


def test_a_solver_that_gives_up_predicts_nothing_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "EFFORT", 1)

    def use(machine: Machine) -> Predictor:
        predictor = Predictor(machine)
        assert not [p for run in passing(machine, 2) for p in predictor.predictions(run)]
        return predictor

    assert in_machine(resolve("reference"), SCENARIOS["one-sender"], SUITE, use).undecided


def test_sampled_scenarios_are_predicted_from() -> None:
    """So few schedules do not find this one; what they predict does."""
    bad = KNOWN_BAD["M16"]
    scenario = msgspec.structs.replace(SCENARIOS[bad.scenario], samples=6)

    def alone(machine: Machine) -> set[str]:
        return set(sample(machine, scenario.samples)[1])

    assert not in_machine(resolve("known-bad:M16"), scenario, SUITE, alone) & set(bad.breaks)
    found = explore(resolve("known-bad:M16"), scenario, SUITE)
    assert found.predicted
    assert set(found.counterexamples) & set(bad.breaks)
