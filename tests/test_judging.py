"""What monitors see, what a step owes to them, and what becomes of a violation at rest."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from tiny_machine import (
    Code,
    InGuest,
    X,
    Y,
    machine,
    promise,
    rests,
)

import properties.x86.monitors
from conformance.adapters.registry import resolve
from conformance.machine import events as ev
from conformance.machine.build import in_machine
from conformance.machine.finding import Witness
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.roles.cpu import Cpu, Then
from conformance.roles.scenario import Device, VcpuSetup
from conformance.search.proof import prove, shortest, visits
from conformance.search.recovery import recovery
from properties.suite import SUITE

STALE, ANY, THIRD = promise("STALE"), promise("ANY"), promise("THIRD")


class Stale(Monitor):
    """Y has to be as X at rest."""

    clauses = (STALE,)

    def at_rest(self, memory: Any, look: Look) -> None:
        if look.value("x") != look.value("y"):
            look.breach(STALE, "y is not x")


class Refreshing(InGuest):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.store(Y, cpu.load(X))
        cpu.enter_guest(vcpu)
        return Then("vcpu_run", vcpu)

    def write(self, cpu: Cpu) -> None:
        cpu.store(X, 1)


class Forgetting(Refreshing):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.store(Y, cpu.load(X))
        return Then("again", vcpu)

    def again(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.enter_guest(vcpu)
        return Then("again", vcpu)


@pytest.mark.parametrize(("code", "label"), [(Refreshing, "DELAYED"), (Forgetting, "LOST")])
def test_what_the_next_exit_mends_is_delayed_and_what_it_does_not_is_lost(code: type[Code], label: str) -> None:
    made = machine(code, vcpus=(VcpuSetup(0),), devices=(Device("device", "write", ()),), monitors=[Stale()])
    found = shortest(made, {"STALE"})["STALE"]
    assert found.at_rest and recovery(made, found) == label


class Counts(Monitor):
    """Counts the changes of X, three at most, and calls the third one a breach. Of any change it says that it happens."""

    clauses = (THIRD,)
    witnesses = (ANY,)
    events = (ev.Changed,)
    name = "counts"
    memory = 0

    def on(self, event: ev.Event, memory: int, look: Look) -> int:
        look.witness(ANY)
        if not isinstance(event, ev.Changed) or event.at != "x":
            return memory
        if memory == 2:
            look.breach(THIRD, "x changed a third time")
        return min(memory + 1, 3)


def test_a_step_depends_on_a_monitors_memory_only_if_the_monitor_looks_at_it() -> None:
    class Writes(Code):
        def thrice(self, cpu: Cpu) -> None:
            for n in (1, 2, 3):
                cpu.store(X, n)

        def other(self, cpu: Cpu) -> None:
            cpu.store(Y, 1)

    made = machine(Writes, "thrice", "other", monitors=[Counts()])
    done = prove(made)
    assert set(done.breached) == {"THIRD"} and set(done.witnessed) == {"ANY"}
    memory = made.layout.cells["monitor.counts"].mask
    first, second = (a.entry(made.initial) for a in made.agents[:2])
    assert [o.findings for o in first.outcomes] == [(Witness("ANY"),)], "told once, though the monitor was asked twice"
    assert first.reads & first.writes & memory and not second.touches & memory and first.independent(second)


def test_an_event_names_the_bits_that_a_write_set() -> None:
    class Writes(Code):
        def all(self, cpu: Cpu) -> None:
            cpu.store(X, 0b0011)
            cpu.fetch_or(X, 0b0110)
            cpu.fetch_and(X, 0b0101)
            cpu.cmpxchg(X, 0b0101, 0b1000)
            cpu.cmpxchg(X, 0b0101, 0b0001)
            cpu.swap(X, 0)

    class Bits(Monitor):
        events = (ev.Changed,)
        name = "bits"
        memory: tuple[int, ...] = ()

        def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
            return (*memory, event.set_bits) if isinstance(event, ev.Changed) else memory

    assert rests(machine(Writes, "all", monitors=[Bits()]), "monitor.bits") == {(0b0011, 0b0110, 0, 0b1000, 0)}


def test_no_monitor_compares_its_memory_by_identity() -> None:
    """The one way of looking at it that the engine cannot see."""
    for path in Path(next(iter(properties.x86.monitors.__path__))).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
                assert "memory" not in ast.unparse(node), f"{path.name}:{node.lineno}"


def test_a_clause_that_is_another_one_under_a_condition_is_written_once() -> None:
    """Where the condition holds, what breaks the one or puts it to the test does so to the other, and to what is that."""
    twice = promise("TWICE", THIRD, where=("the writer is alone",))
    three = promise("THREE", twice, where=("the writer is alone", "X is looked at"))
    never = promise("NEVER", THIRD, where=("it rains",))

    class Alone(Counts):
        clauses = (THIRD, twice, three, never)
        where = ("the writer is alone",)

    assert [c.id for c in Alone().also(THIRD)] == ["THIRD", "TWICE"]
    assert [c.id for c in Alone().also(THIRD, ("X is looked at",))] == ["THIRD", "TWICE", "THREE"]
    assert [c.id for c in Counts().also(THIRD, ("it rains",))] == ["THIRD"], "only those that the monitor names"

    class Writes(Code):
        def thrice(self, cpu: Cpu) -> None:
            for n in (1, 2, 3):
                cpu.store(X, n)

    made = machine(Writes, devices=(Device("device", "thrice", ()),), monitors=[Alone()])
    found = shortest(made, {"THIRD", "TWICE", "NEVER"})
    assert found.keys() == {"THIRD", "TWICE"}
    assert found["THIRD"].schedule == found["TWICE"].schedule


@pytest.mark.parametrize("name", ["one-sender", "halt-closed", "assign", "vgic-edge", "nested-post"])
def test_what_monitors_have_said_they_say_again(name: str) -> None:
    """To monitors that were told nothing yet, each step is the same: what it reads, writes, shows and finds."""

    def use(machine: Machine) -> None:
        told = [(agent, state) for state, _, met in visits(machine) if met < 400 for agent in machine.agents]
        known = [agent._run(state) for agent, state in told]
        for (agent, state), before in zip(told, known, strict=True):
            machine.performed.clear()
            for met in machine.met.values():
                met.clear()
            assert agent._run(state) == before

    scenario = next(scenario for scenario in SUITE.scenarios if scenario.name == name)
    in_machine(resolve("reference"), scenario, SUITE, use)
