"""Stories without budgets: what is reached is the union over all budgets, pinned where it comes to an end."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.ordering.directed import searched
from conformance.roles.scenario import Budget, Scenario
from conformance.search.proof import visits
from conformance.verdict.clause import Counterexample, Status
from conformance.verdict.explore import Explored
from conformance.verdict.judge import concluded
from conformance.verdict.session import BadInput, Session
from conformance.verdict.unlimited import CHEAP, ENDING, allowed, twins, unlimited
from conformance.verdict.work import Explore, Item
from properties.arm.suite import ARM
from properties.suite import SUITE
from properties.unlimited import counted
from properties.x86.suite import X86

STORIES = {s.name: s for s in SUITE.scenarios}
SMALL, LARGE = 6_000, 60_000
SUITES = {name: suite for suite in (X86, ARM) for name in suite.unlimited}


def pinned(least: int, most: int) -> list[str]:
    return [name for suite in (X86, ARM) for name, n in suite.unlimited.items() if least <= n < most]


@pytest.mark.parametrize("name", pinned(0, SMALL))
def test_states_without_budgets(name: str) -> None:
    assert counted(SUITES[name], STORIES[name]) == SUITES[name].unlimited[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", pinned(SMALL, LARGE))
def test_states_without_budgets_of_larger_stories(name: str) -> None:
    assert counted(SUITES[name], STORIES[name]) == SUITES[name].unlimited[name]


def seen(scenario: Scenario) -> set[object]:
    """What is reached, without the tokens that are left."""

    def shown(machine: Machine) -> set[object]:
        names = [name for name in machine.layout.cells if not name.startswith("budget.")]
        return {
            tuple(repr(machine.layout.cells[name].unpack(state)) for name in names) for state, _, _ in visits(machine)
        }

    return in_machine(resolve("reference"), scenario, SUITE, shown)


@pytest.mark.parametrize("name", ["one-sender", "unassign-running", "save-restore"])
def test_every_budget_is_part_of_none(name: str) -> None:
    """And the union over budgets comes to just that: nothing is reached that no budget reaches."""
    twin = unlimited(STORIES[name])
    whole = seen(twin)
    reached: set[object] = set()
    for most in range(1, 8):
        spent = {what: most for what in ("preempt", "migrate", "exit", "again") if getattr(twin.budget, what)}
        bounded = msgspec.structs.replace(twin, budget=msgspec.structs.replace(twin.budget, **spent, unlimited=False))
        now = seen(bounded)
        assert reached <= now <= whole
        reached = now
        if now == whole:
            return
    pytest.fail(f"{len(whole - reached)} states are reached by no budget")


def test_a_guest_halts_again() -> None:
    """Only what ends with a halt; what it did before stays done."""
    twin = unlimited(STORIES["one-device"])
    assert twin.budget == Budget(preempt=1, exit=1, again=1, unlimited=True)
    assert not unlimited(STORIES["save-restore"]).budget.again

    machine, _ = searched(resolve("reference"), twin, SUITE, (), (), CHEAP)
    assert "vcpu0 goes on" in {label.text for label in machine.labels()}


def test_which_are_explored_unasked() -> None:
    cheap = {s.name for s in twins(SUITE, CHEAP)}
    assert "one-sender-unlimited" in cheap
    assert "core-unlimited" not in cheap
    assert "core-unlimited" in {s.name for s in twins(SUITE, 4_000_000)}
    assert all(s.name.endswith(ENDING) and not s.story for s in twins(SUITE, CHEAP))
    assert allowed(SUITE, unlimited(STORIES["core"])) == 4_000_000
    assert not allowed(SUITE, unlimited(STORIES["one-sender"]))
    assert not allowed(SUITE, STORIES["core"])
    with pytest.raises(BadInput, match="no scenario matches"):
        Session(scenario=["one-sender-unlimited"])


def test_evidence_says_for_any_number() -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["run", "-n", "0", "--no-cache", "-v", *arguments], standalone_mode=False)
        return " ".join(done.output.split())

    one = run("--clause", "E2E-11", "--scenario", "one-sender*")
    assert "for any number of exits, preemptions in each story" in one
    assert "one each of exit; with store buffers" in one
    both = run("--clause", "E2E-11", "--scenario", "one-sender", "--scenario", "one-sender-unlimited")
    assert "1 interrupt; for any number of exits, preemptions in each story" in both
    both = run("--clause", "E2E-11", "--scenario", "one-sender*", "--scenario", "core")
    assert "for any number of exits, preemptions in 1 of 2 stories" in both
    assert "one each of" in both
    alone = run("--clause", "E2E-11", "--scenario", "one-sender")
    assert "one each of exit" in alone
    assert "any number" not in alone


@pytest.mark.parametrize("form", ["json", "html"])
def test_every_form_says_for_any_number(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"report.{form}"
    CliRunner().invoke(
        cli,
        ["run", "-n", "0", "--no-cache", "--clause", "E2E-11", "--scenario", "one-sender*", "--report", str(path)],
        standalone_mode=False,
    )
    assert "for any number of exits, preemptions in each story" in " ".join(path.read_text().split())


def test_what_is_broken_without_budgets_replays() -> None:
    """The string holds the twin itself."""
    from conformance.verdict import again

    judge = Session(adapter="known-bad:B17", scenario=["one-sender-unlimited"], unbounded=False).judge
    found = judge.verdict(next(c for c in SUITE.clauses if c.id == "E2E-11")).counterexample
    assert found
    assert found.scenario == "one-sender-unlimited"
    assert again.replay(found.replay)[0] == "STILL VIOLATED"


def test_a_twin_without_an_end_leaves_open_nothing_that_it_does_not_break() -> None:
    """It may be large because the code is wrong in another way; of this clause the story tells."""
    judge = Session(adapter="reference", scenario=["one-sender*"], clause=["E2E-11"], unbounded=False).judge
    elsewhere = Counterexample(
        scenario="one-sender-unlimited", switches=0, steps=1, at_rest=True, reason="", architecture="x86"
    )

    def do(items: tuple[Item, ...]) -> tuple[Explored, ...]:
        return tuple(
            Explored(scenario=name, bounds="", complete=False, counterexamples={"E2E-10": elsewhere})
            if name.endswith("unlimited")
            else Explored(scenario=name, bounds="", witnessed=("E2E-11",))
            for name in (item.scenario for item in items if isinstance(item, Explore))
        )

    clause = next(c for c in SUITE.clauses if c.id == "E2E-11")
    assert concluded(judge.judging(clause), do).status is Status.HELD
