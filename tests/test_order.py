"""Directed schedules: each told race is one line, red on the implementation that has it and green on what it changes."""

from __future__ import annotations

import pytest
import races_arm
from click.testing import CliRunner
from turns import every_other

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.ordering.directed import searched
from conformance.ordering.names import BadConstraint, Before, Reached, parse
from conformance.ordering.order import order, schedules
from conformance.ordering.vocabulary import misspelt
from conformance.roles import architectures
from conformance.roles.scenario import Scenario
from conformance.search.proof import walk
from conformance.search.words import Words
from conformance.verdict.clause import Status
from properties.suite import SUITE
from reference.known_bad import KNOWN_BAD

pytest_plugins = "pytester"

RACES = {
    "B11": "put.or SN < unassign_paused.vm.assigned := 2 < deliver_interrupt.or PIR < cpu0.enters",
    "B12": "cpu1.vm.assigned := 1 < cpu0.sleeps < device.sends",
    "B15": "cpu2.vm.inhibited := 1 < cpu0.sleeps < device.or PIR",
    "B16": "put.reads vm.assigned = 0 < assign_device.vm.assigned := 1 < device.or PIR",
    "B17": "cpu0.mode := 1 < deliver_interrupt.reads mode = 1 < cpu0.takes interrupt 0xf2 < cpu0.interrupts off",
    "B18": "cpu0.reads ON = 0 < deliver_interrupt.or PIR < deliver_interrupt.reads mode = 0 < cpu0.mode := 1",
    "B19": "put.or SN < device.or PIR < load.and SN",
    "B21": "pre_block.cmpxchg control < migrate vcpu0.vcpu0 moves < cpu1.sleeps < device.or PIR",
    "B22a": "put.reads blocking = 1 < device.sends 0xf2 < put.cmpxchg control",
    "B22b": "put.unlocks cpu0.wakeup_lock < device.sends 0xf2 < put.cmpxchg control",
    "B24": "block_once.about to sleep < deliver_interrupt.or ON < block_once.sleeps",
    "B25": "deliver_interrupt.or PIR < cpu0.takes interrupt 0xf2 < cpu0.enters",
    "B26": "cpu0.sleeps < device.sends 0xf2 < cpu0.takes interrupt 0xf2",
    "B27": "cpu1.enters < cpu2.or PIR < leave_guest.and ON",
    "M1": "deliver_interrupt.or ON < cpu0.and ON < deliver_interrupt.or PIR < cpu0.sleeps",
    "M2": "cpu0.reads PIR word 3 = 0 < device.or PIR < cpu0.and ON",
    "M9": "cpu0.or SN < migrate vcpu0.vcpu0 moves < cpu1.cpu := 1",
    "M15": "reenter_guest.or PIR < reenter_guest.enters",
    "M16": "block_once.reads ON = 0 < deliver_interrupt.wakes vcpu0 < block_once.sleeps",
    "F1": "cpu0.reads ON = 0 < cpu1.reads mode = 0 < buffer0.store buffer drains: mode := 1 < cpu0.enters",
    "F2": "block_once.reads ON = 0 < cpu1.reads blocking = 0 < buffer0.store buffer drains: blocking := 1 < cpu0.sleeps",
    "F3": "cpu1.reads mode = 0 < cpu0.reads ON = 0 < buffer1.store buffer drains: ON := 1",
    **races_arm.RACES,
}
"""By bug of docs/known-bad.md, in its scenario: the order that it is told as. B13 and B14 never rest, which no line
tells.
"""


def scenario(name: str) -> Scenario:
    return next(s for s in SUITE.scenarios if s.name == name)


@pytest.mark.parametrize("bug", RACES)
def test_a_race_is_one_line(bug: str) -> None:
    bad = KNOWN_BAD[bug]
    answer = order(resolve(f"known-bad:{bug}"), scenario(bad.scenario), SUITE, parse([RACES[bug]]))
    status, about = (Status.VIOLATED, bad.breaks[0]) if bad.breaks else (Status.DEVIATES, bad.deviates[0])
    assert about in {v.clause.id for v in answer.verdicts if v.status is status}
    for verdict in answer.verdicts:
        assert verdict.counterexample
        assert verdict.counterexample.trace


@pytest.mark.parametrize("bug", every_other(RACES))
def test_and_harms_nobody_else(bug: str) -> None:
    """Where the change is not made no run fits, or runs fit and break nothing; a name it does not have fits nowhere."""
    bad = KNOWN_BAD[bug]
    try:
        answer = order(resolve(bad.base), scenario(bad.scenario), SUITE, parse([RACES[bug]]))
    except BadConstraint:
        assert bug in NEW_WORDS
        return
    assert bug not in NEW_WORDS
    assert not answer.violated
    assert not answer.undecided
    assert bool(answer.fits) != bool(answer.why_not)
    assert bool(answer.why_not) == (bug in EXCLUDED)


NEW_WORDS = {"F3", "B27"}
"""Told with an operation that only the bug has: a plain store to ON, a harvest of another vCPU."""
EXCLUDED = {"M1", "F2", "B24", "M16", *races_arm.EXCLUDED}
"""Where the change is not made, no run at all fits."""


# Answers


def test_the_shown_schedule_is_one_that_fits() -> None:
    """Followed on a plain machine step by step, the named operations come in their order."""
    constraints = parse(["cpu1.or ON < cpu0.mode := 1 < cpu1.reads mode = 1 < cpu0.enters"])
    chain = [constraints[0].first, *(c.then for c in constraints)]  # type: ignore[union-attr]
    answer = order(resolve("reference"), scenario("one-sender"), SUITE, constraints)
    assert answer.fits
    at = 0
    words = Words(architectures()["x86"], ["vcpu0"])
    for step in answer.fits.trace:
        for fact in step.facts:
            does = words.fact(fact).lower()
            at += at < len(chain) and step.agent == chain[at].who and does.startswith(chain[at].words)
    assert at == len(chain)


def test_why_no_schedule_fits() -> None:
    def why(*texts: str) -> str:
        return order(resolve("reference"), scenario("one-sender"), SUITE, parse(texts)).why_not

    assert why("cpu1.or ON < cpu1.or PIR < cpu0.enters", "cpu1.reads mode < cpu0.mode := 1") == (
        "you ask for cpu1.or ON < cpu1.or PIR; in no run that comes to rest does cpu1.or ON come before cpu1.or PIR."
    )
    assert why("cpu1.or ON < cpu0.enters < cpu1.sends; cpu1.sends < cpu1.or ON") == (
        "you ask for cpu1.or ON < cpu0.enters; you ask for cpu0.enters < cpu1.sends; you ask for cpu1.sends < cpu1.or ON."
    )
    assert why("cpu1.or ON < cpu0.enters; not reached cpu0.interrupts off") == (
        "every run that comes to rest has cpu0.interrupts off; you ask for not reached cpu0.interrupts off."
    )
    assert why("exit cpu0.vcpu0 exits < cpu1.or ON; not reached cpu0.enters #2") == (
        "you ask for exit cpu0.vcpu0 exits < cpu1.or ON; in no run that comes to rest without cpu0.enters #2 does "
        "exit cpu0.vcpu0 exits come before cpu1.or ON; "
        "you ask for not reached cpu0.enters #2."
    )


def test_occurrences_are_told_apart() -> None:
    """The vCPU of one-sender enters once, or twice if it exits; and a second entry does not come before the first."""

    def fits(text: str) -> bool:
        return bool(order(resolve("reference"), scenario("one-sender"), SUITE, parse([text])).fits)

    assert fits("cpu0.enters #1 < cpu0.enters #2")
    assert not fits("cpu0.enters #2 < cpu0.enters #1")
    assert not fits("cpu0.enters #3 < cpu1.or ON")
    assert fits("cpu0.enters #2 < cpu1.or PIR")
    assert not fits("cpu0.enters #2 < cpu1.or PIR < cpu0.enters #1")
    assert fits("not reached exit cpu0.vcpu0 exits")
    assert fits("reached cpu0.enters #1; not reached cpu0.enters #2")
    assert fits("cpu0.enters #1 < cpu1.or ON; not reached cpu0.enters #2")
    assert not fits("cpu0.enters #1 < cpu0.enters #2; not reached cpu0.enters #2")


def test_what_never_happens_is_told_as_it_is() -> None:
    """Nothing is said of all runs that holds only of those without what was not wanted."""

    def why(*texts: str) -> str:
        return order(resolve("reference"), scenario("one-sender"), SUITE, parse(texts)).why_not

    takes = "cpu0.takes interrupt 0xf2"
    assert why(f"reached {takes}", f"not reached {takes}") == (
        f"in no run that comes to rest without {takes} is there {takes}; you ask for not reached {takes}."
    )
    assert why("not reached cpu0.mode := 1") == (
        "every run that comes to rest has cpu0.mode := 1; you ask for not reached cpu0.mode := 1."
    )
    assert why("cpu1.or ON < cpu0.enters", "not reached cpu0.mode := 1").startswith("every run that comes to rest has")


def test_search_and_reduction_agree() -> None:
    """What fits does not depend on the sleep sets: the watched cell is in the footprint of the steps that move it."""
    from conformance.search.proof import prove

    for text in (
        "cpu1.or PIR < cpu0.mode := 1 < cpu1.or ON",
        "cpu1.reads mode = 0 < cpu0.enters",
        "cpu0.enters < cpu1.sends",
    ):
        chain = [n for c in parse([text]) if isinstance(c, Before) for n in (c.first, c.then)]
        machine, reduced = searched(
            resolve("known-bad:B18"), scenario("one-sender"), SUITE, list(dict.fromkeys(chain)), (), 100_000
        )
        plain = prove(machine, reduce=False)
        assert plain.states == reduced.states
        assert plain.at_rest.keys() == reduced.at_rest.keys()
        assert plain.breached.keys() == reduced.breached.keys()
        assert plain.witnessed.keys() == reduced.witnessed.keys()


def test_same_input_same_answer() -> None:
    line = RACES["B18"]
    answers = [order(resolve("known-bad:B18"), scenario("one-sender"), SUITE, parse([line])) for _ in range(2)]
    assert answers[0] == answers[1]
    first = answers[0].verdicts[0].counterexample
    assert first
    assert (first.switches, first.steps) == (2, 10)


def test_a_violation_replays() -> None:
    from conformance.verdict import again

    found = schedules("known-bad:B18", RACES["B18"], scenarios=["one-sender"])[0].verdicts[0].counterexample
    assert found
    assert again.replay(found.replay)[0] == "STILL VIOLATED"
    recorded = again.decode(found.replay)

    def steps(machine: Machine) -> int:
        return len(list(walk(machine, again.follow(machine, recorded.steps))))

    assert in_machine(resolve("known-bad:B18"), scenario("one-sender"), SUITE, steps) == found.steps


# What users write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no constraint was given"),
        ("cpu0", "'cpu0' is no name: write LANE.OPERATION"),
        ("cpu0.enters <", "on one side of a < in 'cpu0.enters <' stands no name"),
        ("cpu0.enters < < cpu1.sends", "stands no name"),
        ("cpu0.enters < cpu0.enters", "of two times write 'cpu0.enters #1 < cpu0.enters #2'"),
        ("cpu0.enters #2 < cpu0.enters #2", "nothing comes before itself"),
        ("cpu0.enters <= cpu1.sends", "there is only <, not <= as in"),
        ("cpu0.enters < cpu1.sends > cpu1.or PIR", "there is only <, not > as in"),
        ("not cpu0.enters", "write 'not reached cpu0.enters' for 'not cpu0.enters'"),
        ("not reached cpu1.sends < cpu0.enters", "a chain is a constraint of its own, behind a semicolon"),
        ("reached", "behind reached stands one name"),
        ("cpu0.enters and cpu1.sends", "that are to hold together stands a semicolon"),
        ("cpu0.enters, cpu1.sends", "that are to hold together stands a semicolon"),
        ("cpu0.enters #-1", "a whole number from 1, not -1"),
        ("cpu0.enters #1.5", "a whole number from 1, not 1.5"),
        ("deliver_interrupt.enters", "or deliver_interrupt.reads mode = 1"),
        ("NOT reached cpu0.sleeps", "nothing is called cpu0.sleeps"),
        ("cpu1.read_mode < cpu0.enters", "no operation there has 'read' in its name. Did you mean reads"),
        ("cpu1.sends 0xf1 < cpu0.enters", "Did you mean cpu1.sends 0xf2 to cpu0"),
        ("cpu7.enters < cpu0.enters", "Did you mean cpu1, or cpu0"),
        ("nobody.frobs < cpu0.enters", "The lanes are cpu0, cpu1, exit cpu0, wire0"),
        ("cpu0.enters > cpu1.or PIR", "write 'cpu1.or PIR < cpu0.enters' for 'cpu0.enters > cpu1.or PIR'"),
        ("cpu0.enters#0 < cpu1.or PIR", "'cpu0.enters#0': the first time is #1"),
        ("--names", "--names takes scenarios and no constraint"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    where = [] if text == "--names" else ["--scenario", "one-sender"]
    result = CliRunner().invoke(cli, ["order", *where, text])
    assert result.exit_code == 2, result.output  # click's own; `intack` makes it 3
    assert message in " ".join(result.output.split())


def test_a_misspelt_name_is_refused_before_any_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.ordering.order.searched", lambda *_: pytest.fail("searched"))
    with pytest.raises(BadConstraint, match="no operation there has 'onn' in its name"):
        schedules("reference", "cpu0.reads ONN < cpu1.or PIR")


@pytest.mark.parametrize("name", ["tso-running", "block-preempt", "vgic-edge-wfi", "nested-hlt"])
def test_whatever_happens_can_be_named(name: str) -> None:
    """The words known before a search are all that a search finds."""
    where = scenario(name)
    machine, _ = searched(resolve("reference"), where, SUITE, (), (), 100_000)
    for label in {f"{did.agent}.{did.brief}" for did in machine.labels()}:
        (constraint,) = parse([f"reached {label}"])
        assert isinstance(constraint, Reached)
        assert not misspelt(constraint.name, machine)
    listed = CliRunner().invoke(cli, ["order", "--names", "-s", name]).output.splitlines()
    assert "cpu0.enters vcpu0" in listed
    assert listed == sorted(set(listed))


def test_the_command() -> None:
    def run(*arguments: str) -> tuple[object, str]:
        result = CliRunner().invoke(cli, ["order", "--scenario", "one-sender", *arguments], standalone_mode=False)
        return result.return_value, result.output

    status, output = run("-a", "known-bad:B17", RACES["B17"])
    assert status == 1
    assert output.startswith("VIOLATED (DELAYED)  E2E-1  MUST")
    assert "VIOLATED too, in schedules that fit: E2E-11, E2E-14" in output
    assert "Replay  intack replay intack2." in output
    status, output = run(RACES["B18"])
    assert status == 0
    assert output.startswith("A schedule fits, in scenario one-sender; none that fits breaks a clause.")
    status, output = run("cpu1.or ON < cpu1.or PIR")
    assert status == 2
    assert output.startswith("no schedule fits in scenario one-sender: you ask for")


def test_only_where_the_implementation_takes_part() -> None:
    """Arm's software has no run of an x86 scenario, and hardware beyond the architecture is asked for by name."""
    with pytest.raises(BadConstraint, match=r"vgic-2012 fills arm: .*; it takes part in no scenario of one-sender"):
        schedules("vgic-2012", "cpu0.enters", scenarios=["one-sender"])
    late = "load.cpu0.running_vcpu := [vcpu1] < maintenance_handler.vcpu1.vgic_eisr :="
    with pytest.raises(BadConstraint, match="in scenario vgic-edge nothing is called load"):
        schedules("known-bad:A19", late, scenarios=["vgic-edge"])
    assert schedules("known-bad:A19", late, scenarios=["vgic-late-maintenance"])[0].violated


def test_the_marker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("of", [0])
        @pytest.mark.intack_order({RACES["B18"]!r}, adapter="known-bad:B18", scenario="one-sender")
        def test_race(directed, of):
            assert not directed.violated

        @pytest.mark.intack_order({RACES["B18"]!r}, scenario="one-sender")
        def test_no_race(directed):
            assert directed.fits and not directed.violated
        """
    )
    result = pytester.runpytest_subprocess("-q", "-o", "strict_markers=true")
    result.assert_outcomes(passed=1, failed=1)
