"""The search for least counterexamples over columns against the one that makes one visit at a time: the same schedules."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from tiny_agents import Plan, RandomMachine, machines
from tiny_machine import fitted
from tiny_programs import Program, made, programs

from conformance.adapters.registry import resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.machine import Machine
from conformance.search import proof as search
from conformance.search.least import least
from conformance.search.proof import _one_visit_at_a_time, prove, shortest
from conformance.search.results import BreakingSchedule
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS
from reference.known_bad import KNOWN_BAD

BY_NAME = {s.name: s for s in SCENARIOS}
MOST = 3_000_000
MUTANTS = ["B02", "B14", "B17", "B18", "B21", "B22a", "B27", "M1", "M2", "M6", "M7", "M10", "M15", "F1"]


def both(machine: Machine) -> dict[str, BreakingSchedule]:
    """By columns first, where cells outgrow their fields on the way. Reasons of races name the sites met so far."""
    done = prove(machine, reduce=False)
    found: dict[type[Finding], dict[str, BreakingSchedule]] = {}
    for kind, clauses in ((Breach, {*done.breached, *done.at_rest}), (Witness, {*done.witnessed})):
        found[kind] = least(machine, clauses | {"NEVER"}, MOST, kind)
        assert found[kind] == _one_visit_at_a_time(machine, clauses | {"NEVER"}, MOST, kind)[0]
        assert set(found[kind]) == clauses
    return found[Breach]


@pytest.mark.parametrize("bad", MUTANTS)
def test_same_schedules_in_a_known_bad_implementation(bad: str) -> None:
    scenario = BY_NAME[KNOWN_BAD[bad].scenario]
    assert set(KNOWN_BAD[bad].breaks) & set(in_machine(resolve(f"known-bad:{bad}"), scenario, SUITE, both))


@settings(max_examples=200, deadline=None)
@given(machines())
def test_same_schedules_on_random_agents(plan: Plan) -> None:
    both(RandomMachine(plan))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_same_schedules_on_random_programs(program: Program) -> None:
    def compare(widths: dict[str, int]) -> None:
        machine = made(program, widths)
        with suppress(Fault):
            both(machine)

    fitted(compare)


def test_a_machine_that_remembers_nothing() -> None:
    """Cells meet their values on the way, and outgrow their fields."""
    scenario, implementation = BY_NAME["one-device"], resolve("known-bad:B22a")
    warm = in_machine(implementation, scenario, SUITE, lambda m: _one_visit_at_a_time(m, {"E2E-10", "E2E-1"}, MOST)[0])
    assert warm == in_machine(implementation, scenario, SUITE, lambda m: least(m, {"E2E-10", "E2E-1"}, MOST))


@pytest.mark.parametrize("few", [0, search.FEW_VISITS])
@pytest.mark.parametrize("bad", ["B17", "B14"])
def test_the_bound_on_costs(bad: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just above its cost a counterexample is found, the same one; at its cost it is not."""
    monkeypatch.setattr(search, "FEW_VISITS", few)

    def compare(machine: Machine) -> None:
        done = prove(machine)
        broken = {*done.breached, *done.at_rest, *(("LIVELOCK",) if done.livelock else ())}
        for clause, found in shortest(machine, broken).items():
            cost = (found.switches, found.steps)
            assert shortest(machine, {clause}, below=cost) == {}
            assert shortest(machine, {clause}, below=(found.switches, found.steps + 1)) == {clause: found}
            assert shortest(machine, {clause}, below=(found.switches + 1, 0)) == {clause: found}

    in_machine(resolve(f"known-bad:{bad}"), BY_NAME[KNOWN_BAD[bad].scenario], SUITE, compare)


def test_the_bound_on_visits() -> None:
    scenario, implementation = BY_NAME["core"], resolve("known-bad:M1")
    assert in_machine(implementation, scenario, SUITE, lambda m: least(m, {"E2E-1"}, 1_000)) == {}


@pytest.mark.parametrize("bad", ["B14", "M7"])
def test_livelock_and_others_together(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by two searches where there are many visits."""
    clauses = set(KNOWN_BAD[bad].breaks) | {"LIVELOCK"}

    def found(machine: Machine) -> dict[str, BreakingSchedule]:
        return shortest(machine, clauses)

    implementation, scenario = resolve(f"known-bad:{bad}"), BY_NAME[KNOWN_BAD[bad].scenario]
    one = in_machine(implementation, scenario, SUITE, found)
    assert "LIVELOCK" in one
    monkeypatch.setattr(search, "FEW_VISITS", 10)
    assert in_machine(implementation, scenario, SUITE, found) == one
