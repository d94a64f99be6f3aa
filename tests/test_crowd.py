"""Any number of callers: counted against enumerated, cutoffs met, breaches confirmed by real callers.

The large searches are marked slow; `intack crowds` runs them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_machine import Code, L, X, Y, fitted, machine, reach
from tiny_programs import Op, perform

from conformance.adapters.python import PythonSource
from conformance.adapters.registry import of_class, resolve
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.commands.main import cli
from conformance.machine.crowd import Crowded
from conformance.machine.machine import Machine
from conformance.roles.arm import Vcpu
from conformance.roles.cpu import Cpu, Then
from conformance.roles.scenario import Budget, Scenario, Thread
from conformance.verdict import again
from conformance.verdict.crowd import callers_of, counted, judged, meet
from properties.suite import SUITE
from reference.arm.kvm import KvmArm

CROWDS = {s.name: s for s in SUITE.crowds}
HALTS = Budget(again=1, unlimited=True)
Words = frozenset[tuple[Any, ...]]


def calm(name: str) -> Scenario:
    """Without preemptions and exits: a smaller one."""
    return msgspec.structs.replace(CROWDS[name], budget=HALTS)


# Tiny callers, drawn


def counts(code: type[Code], cap: int, most: int = 0) -> tuple[Words, Words]:
    """The words that are reached, and those at rest, with counted callers."""
    apart: set[tuple[Any, Any]] = set()

    def made(widths: dict[str, int]) -> tuple[Words, Words]:
        unfolding = Unfolding(PythonSource(code))
        routines = {"once": unfolding, "over_and_over": unfolding}
        where = Scenario(
            name="tiny", about="", architecture="plain", cpus=1, vcpus=(), threads=(Thread("once", "once", (), 0),)
        )
        assembly = Assembly(routines, {}, code.shares, {})
        crowded = Crowded(assembly, where, (), widths, cap=cap, most=most, apart_from=apart)
        states = reach(crowded)
        if mistaken := crowded.mistaken():
            apart.update(mistaken)
            return made(widths)
        return words(crowded, states), words(crowded, [s for s in states if crowded.quiescent(s)])

    return fitted(made)


def words(made: Machine, states: list[int]) -> Words:
    return frozenset((made.memory["x"].unpack(s), made.memory["y"].unpack(s)) for s in states)


def enumerated(code: type[Code], routine: str, callers: int) -> Words:
    """With so many threads, each on its own CPU, by a search that shares nothing with counting."""
    names = [f"{routine}{n}" for n in range(callers)]
    many = type("Many", (code,), {name: getattr(code, routine) for name in names})

    def made(widths: dict[str, int]) -> Words:
        plain = machine(many, *names, widths=widths)
        return words(plain, reach(plain))

    return fitted(made)


def caller(does: tuple[Op, ...], locked: int) -> type[Code]:
    freely, under = does[: len(does) - locked], does[len(does) - locked :] if locked else ()

    class Caller(Code):
        def once(self, cpu: Cpu) -> None:
            perform(cpu, freely, None)
            if locked:
                cpu.lock(L)
                perform(cpu, under, None)
                cpu.unlock(L)

        def over_and_over(self, cpu: Cpu) -> Any:
            self.once(cpu)
            return Then("over_and_over")

    return Caller


OPERATIONS = st.builds(
    Op,
    st.sampled_from(["load", "store", "swap", "add", "choose"]),
    st.sampled_from(["x", "y"]),
    st.integers(0, 1),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(OPERATIONS, min_size=1, max_size=2).map(tuple), st.integers(0, 2))
def test_counting_against_enumeration(does: tuple[Op, ...], locked: int) -> None:
    """Up to four callers that call over and over: counted exactly they reach what threads reach, and never more than is
    reached by any number of them. The last `locked` of their operations are under a lock.
    """
    code = caller(does, locked)
    by_any, rests = counts(code, 1)
    assert counts(code, 2)[0] <= by_any, "a higher cap is no coarser"
    for k in range(1, 5):
        exact, resting = counts(code, k, most=k)
        assert exact <= by_any
        assert resting <= rests
        if k < 4:
            each = type("Each", (code,), {})
            assert exact == enumerated(each, "over_and_over", k) | {(0, 0)}


def test_a_caller_keeps_what_it_has_read() -> None:
    """Ten may have read 0 before one of them writes."""

    class Counts(Code):
        def once(self, cpu: Cpu) -> None:
            cpu.store(X, min(cpu.load(X) + 1, 3))

    assert {x for x, _ in counts(Counts, 1)[0]} == {0, 1, 2, 3}
    assert {x for x, _ in counts(Counts, 1, most=1)[0]} == {0, 1, 2, 3}


def test_a_caller_keeps_what_it_has_chosen() -> None:
    """Two that are about to do the same are at one place only while nothing tells them apart."""

    class Chooses(Code):
        def once(self, cpu: Cpu) -> None:
            chosen = cpu.choose("x", "y")
            cpu.load(Y)
            cpu.store(X, 1)
            if chosen == "y" and cpu.load(X):
                cpu.store(Y, 1)

    assert counts(Chooses, 1) == ({(0, 0), (1, 0), (1, 1)}, {(0, 0), (1, 0), (1, 1)})


def test_one_of_them_holds_a_lock() -> None:
    """So nobody comes between its two writes, however many wait."""

    class Locks(Code):
        def once(self, cpu: Cpu) -> None:
            cpu.lock(L)
            cpu.store(X, 1)
            if cpu.load(X) != 1:
                cpu.store(Y, 1)
            cpu.store(X, 0)
            cpu.unlock(L)

    assert counts(Locks, 1) == ({(0, 0), (1, 0)}, {(0, 0)})


def test_one_does_not_hold_what_another_does() -> None:
    """To let go of it is a mistake of the one, and takes nothing from the other."""

    class Unlocks(Code):
        def once(self, cpu: Cpu) -> None:
            if cpu.load(X):
                cpu.unlock(L)
                return
            cpu.lock(L)
            cpu.store(X, 1)
            if cpu.load(X) != 1:
                cpu.store(Y, 1)
            cpu.store(X, 0)
            cpu.unlock(L)

    assert counts(Unlocks, 1)[0] == {(0, 0), (1, 0)}


def test_who_can_be_told_apart_is_not_counted() -> None:
    class Keeps(Code):
        def once(self, cpu: Cpu) -> None:
            cpu.lock(L)

    with pytest.raises(Fault, match="a caller never lets go of l"):
        counts(Keeps, 1)


# The reference


PINNED = {("any-devices", 1, 0): 68_148, ("any-devices", 1, 1): 2_867, ("any-devices", 1, 2): 4_426}
"""By scenario, cap and callers at a time: states with halts alone."""


@pytest.mark.parametrize(("name", "cap", "most"), PINNED)
def test_states(name: str, cap: int, most: int) -> None:
    _, done = counted(resolve("reference"), calm(name), SUITE, cap=cap, most=most)
    assert done.states == PINNED[name, cap, most]
    assert not done.breached
    assert not done.at_rest


def test_handlers_for_any_number() -> None:
    found = judged(resolve("reference"), CROWDS["any-handlers"], SUITE)
    assert found.states == 44_324
    assert found.clauses == ("E2E-1", "E2E-10", "E2E-11", "E2E-14", "KVM-SND-7")
    assert not (found.broken or found.spurious or found.unknown)


def test_senders_that_take_a_lock() -> None:
    found = judged(resolve("bhyve"), CROWDS["any-senders"], SUITE)
    assert (found.states, found.cap, found.unknown, found.broken, found.spurious) == (131_762, 1, "", {}, ())
    assert {"E2E-1", "E2E-10", "E2E-11"} <= set(found.clauses)


@pytest.mark.parametrize(
    ("name", "states", "clauses"),
    [
        ("any-devices-two-pcpus", 164_256, {"E2E-1", "E2E-11", "PIP-15"}),
        ("any-devices-moved-asleep", 247_662, {"E2E-1", "E2E-10", "E2E-11", "PIP-15"}),
    ],
)
def test_two_pcpus_for_any_number(name: str, states: int, clauses: set[str]) -> None:
    found = judged(resolve("reference"), CROWDS[name], SUITE)
    assert (found.states, found.unknown, found.broken, found.spurious) == (states, "", {}, ())
    assert clauses <= set(found.clauses)
    assert "2 pCPUs" in found.evidence


def test_injecting_handlers_for_any_number() -> None:
    found = judged(resolve("reference"), CROWDS["any-injecting-handlers"], SUITE)
    assert (found.states, found.unknown, found.broken, found.spurious) == (31_912, "", {}, ())
    assert found.clauses == ("VGIC-EDGE-1", "VGIC-EDGE-3", "VGIC-Q-1", "VGIC-WFI-2")


def test_virtual_lpis_for_any_number() -> None:
    """The redistributor is no caller: there is one."""
    found = judged(resolve("reference"), CROWDS["any-virtual-lpis"], SUITE)
    assert found.states == 311_301
    assert found.clauses == ("GICV4-DB-4", "VGIC-Q-1", "VGIC-WFI-2")
    assert not (found.broken or found.spurious or found.unknown)
    assert found.evidence == (
        "for any number of posts, devices, exits, halts, preemptions; 1 vCPU, 1 pCPU, 1 interrupt; "
        "LIVELOCK is judged within bounds, by intack run"
    )


@pytest.mark.slow
def test_injectors_for_any_number() -> None:
    found = judged(resolve("reference"), CROWDS["any-injectors"], SUITE)
    assert (found.states, found.unknown, found.broken, found.spurious) == (6_638_837, "", {}, ())
    assert found.clauses == ("VGIC-EDGE-1", "VGIC-EDGE-3", "VGIC-Q-1", "VGIC-WFI-2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["any-devices", "any-senders", "any-senders-no-device", "any-senders-and-devices"])
def test_the_reference_holds_for_any_number(name: str) -> None:
    found = judged(resolve("reference"), CROWDS[name], SUITE)
    assert {"E2E-1", "E2E-10", "E2E-11"} <= set(found.clauses)
    assert not (found.broken or found.spurious or found.unknown)


# What is broken


FEWEST = {("known-bad:B24", "any-handlers"): 1, ("known-bad:M16", "any-handlers"): 1}


class NeverNotifies(KvmArm):
    def notify(self, cpu: Cpu, vcpu: Vcpu) -> None: ...


def test_an_edge_that_handlers_make_and_nobody_is_told_of() -> None:
    broken = judged(
        of_class(NeverNotifies, "NeverNotifies", "test_crowd:NeverNotifies"), CROWDS["any-injecting-handlers"], SUITE
    )
    assert broken.callers == dict.fromkeys(broken.callers, 1)
    assert {"VGIC-EDGE-1", "VGIC-WFI-2"} <= broken.broken.keys()


BY_DEVICES = {("known-bad:A30", "any-virtual-lpis"): 1}
FEWEST_SLOWLY = {
    ("known-bad:B17", "any-devices"): 2,
    ("known-bad:B18", "any-senders"): 2,
    ("known-bad:B19", "any-devices"): 1,
    ("known-bad:B22a", "any-devices"): 1,
    ("known-bad:B22b", "any-devices"): 1,
    ("known-bad:M1", "any-senders"): 1,
    ("known-bad:M2", "any-devices"): 3,
    ("known-bad:M6", "any-devices"): 3,
}
"""How many callers break it."""


def found_with(spec: str, scenario: Scenario, clause: str = "E2E-1") -> int:
    found = judged(resolve(spec), scenario, SUITE)
    assert found.broken
    assert not found.spurious
    shown = found.broken[clause]
    assert again.replay(shown.replay)[0] == "STILL VIOLATED"
    return found.callers[clause]


@pytest.mark.parametrize(("spec", "name"), FEWEST)
def test_a_breach_is_confirmed_by_callers(spec: str, name: str) -> None:
    assert found_with(spec, CROWDS[name]) == FEWEST[spec, name]


@pytest.mark.parametrize(("spec", "name"), BY_DEVICES)
def test_a_breach_is_confirmed_by_devices_of_an_its(spec: str, name: str) -> None:
    assert found_with(spec, calm(name), "GICV4-DB-4") == BY_DEVICES[spec, name]


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "name"), FEWEST_SLOWLY)
def test_known_bad_implementations_are_found_by_callers(spec: str, name: str) -> None:
    assert found_with(spec, CROWDS[name]) == FEWEST_SLOWLY[spec, name]


def test_what_no_number_of_callers_does_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.verdict.crowd.callers_of", lambda scenario: iter(()))
    found = judged(resolve("known-bad:B24"), CROWDS["any-handlers"], SUITE)
    assert found.cap == 2
    assert not found.broken
    assert "E2E-1" in found.spurious
    assert "E2E-1" not in found.clauses


def test_callers_are_real() -> None:
    two = [s for k, s in callers_of(CROWDS["any-senders"]) if k == 2]
    assert [t.cpu for t in two[0].threads] == [1, 2]
    assert all(not s.budget.unlimited for s in two)


def test_the_command_takes_stories_too() -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["crowds", *arguments], standalone_mode=False)
        return done.return_value, done.output + str(done.exception or "")

    status, said = run("--steps", "-s", "one-sender-unl*")
    assert status == 0
    assert "for any number of exits, preemptions; 1 vCPU, 2 pCPUs, 1 other agent, 1 interrupt" in said
    assert "LIVELOCK" in said
    status, said = run("--steps", "-s", "one-sender-unl*", "-a", "known-bad:B17", "--no-witness")
    assert status == 1
    assert "VIOLATED: E2E-11" in said
    assert "no such scenario: 'one-sender-unl*'" in run("-s", "one-sender-unl*")[1]
    assert "no such architecture: 'amr'. Did you mean arm?" in run("--architecture", "amr")[1]


@pytest.mark.parametrize(("budget", "cap"), [(HALTS, 3), (msgspec.structs.replace(HALTS, exit=1), 2)])
def test_cutoffs_are_met(budget: Budget, cap: int) -> None:
    """Two devices under way at a time reach all that any number do, of what all share: with this cap nothing is abstracted."""
    devices = msgspec.structs.replace(CROWDS["any-devices"], budget=budget)
    assert meet(resolve("reference"), devices, SUITE, cap=cap, most=4) == 2


@pytest.mark.slow
def test_where_no_cutoff_is_met() -> None:
    """With a cap of 1 more is reached than by any number: a sender that stays where it was sends twice."""
    assert not meet(resolve("reference"), calm("any-devices"), SUITE, cap=1, most=2)
