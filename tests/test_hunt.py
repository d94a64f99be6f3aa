"""Scenarios drawn until something is broken: found, made small, shown as a file, and replayed from its string alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace
from wrong_paths import EoiWindow, MaskedFastpath, PurgeWhole, ServiceCache, UnblockTakesAll

from conformance.adapters.registry import of_class
from conformance.commands.main import cli
from conformance.roles.cpu import Cpu
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import Vcpu
from conformance.verdict import own_scenarios
from conformance.verdict.hunt import Found, Hunt, hunted, sample, simpler
from conformance.verdict.pool import Here
from properties.arm import suite as arm
from properties.nested import suite as nested
from properties.suite import SUITE
from properties.x86 import suite as x86
from reference.x86.kvm import Kvm


class Overwrites(Kvm):
    """A sender that sets its bit by a load and a store: a bit of the same word that comes between is lost."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        word = vcpu.pid.pir[vector // 64]
        cpu.store(word, cpu.load(word) | 1 << vector % 64)
        return not cpu.test_and_set(vcpu.pid.on)


class Raises(Kvm):
    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        raise ValueError("not written yet")


SPEC = f"{__name__}:Overwrites"


def hunting(cls: type, clauses: set[str], most: int = 10_000) -> Hunt:
    return Hunt(of_class(cls, cls.__name__, f"{cls.__module__}:{cls.__name__}"), SUITE, frozenset(clauses), most)


def found(hunt: Hunt) -> Found | None:
    drawn = SUITE.drawn(hunt.implementation, hunt.most)
    assert drawn is not None
    return hunted(Here(lambda number: hunt.turn(drawn, 1 + number)), 120).found


@pytest.mark.slow
def test_a_post_that_is_lost_in_a_word_is_found_and_made_small() -> None:
    """It takes two that post in one word, and nothing else."""
    it = found(hunting(Overwrites, {"E2E-1", "E2E-10", "E2E-14"}))
    assert it is not None
    scenario = it.scenario
    assert len(scenario.vectors) == 2 and len({v // 64 for v in scenario.vectors}) == 1
    assert (len(scenario.vcpus), scenario.buffer, scenario.budget.preempt) == (1, 0, 0)


@pytest.mark.parametrize(
    ("draw", "states"), [(x86.draw, 2_000), (nested.draw, 20_000), (arm.draw, 2_000)], ids=["x86", "nested", "arm"]
)
def test_drawn_scenarios_differ_and_make_sense(
    draw: Callable[[float], SearchStrategy[Scenario]], states: float
) -> None:
    drawn = sample(draw(states), 6)
    assert len({replace(s, name="") for s in drawn}) == 6
    assert len({(s.vcpus, s.calls, s.facts, s.budget) for s in drawn}) > 3


def classes(scenario: Scenario) -> set[int]:
    """Of the vectors that devices and senders post."""
    return {int(a.args[1]) >> 4 for a in (*scenario.threads, *scenario.devices) if len(a.args) > 1 and a.args[1]}


MEETINGS: dict[str, Callable[[Scenario], bool]] = {
    "a transfer and a move": lambda s: bool(s.calls & {"save_restore", "reset"} and s.budget.migrate),
    "a transfer and a halt": lambda s: {"save_restore", "hlt"} <= s.calls,
    "a device that comes and APICv inhibited": lambda s: "assign_device" in s.calls and "apicv-inhibited" in s.facts,
    "a device that goes and APICv inhibited": lambda s: "unassign_device" in s.calls and "apicv-inhibited" in s.facts,
    "a device that comes and APICv toggled": lambda s: {"assign_device", "inhibit_apicv"} <= s.calls,
    "handlers three deep": lambda s: "handlers-nest" in s.facts and len(classes(s)) > 2,
    "handlers that nest and EOIs that exit": lambda s: {"handlers-nest", "eoi-exit"} <= set(s.facts),
    "more than three agents": lambda s: s.agents > 3,
    "a fast path that is masked": lambda s: {"fastpath_ipi", "write_tpr"} <= s.calls,
    "a halt that comes again": lambda s: s.budget.again > 0 and "hlt" in s.calls,
}
"""Each was a place where a wrong implementation could hide."""


@pytest.mark.parametrize("what", MEETINGS)
def test_what_has_to_meet_is_drawn_on_x86(what: str) -> None:
    slow = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    quick = settings(max_examples=3_000, database=None, phases=(Phase.generate,), suppress_health_check=slow)
    assert find(x86.draw(40_000), MEETINGS[what], settings=quick, random=Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [PurgeWhole, MaskedFastpath, UnblockTakesAll, ServiceCache, EoiWindow])
def test_what_hides_where_two_paths_meet_is_drawn(wrong: type) -> None:
    hunt = hunting(wrong, {c.id for c in SUITE.clauses if c.kind == "guarantee"}, 40_000)
    drawn = x86.draw(hunt.most)
    assert hunted(Here(lambda number: hunt.turn(drawn, 1 + number)), 600).found


def test_what_the_reference_breaks_too_is_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the scenario's, or ours."""
    hunt = hunting(Overwrites, {"PID-8"})
    scenario = next(s for s in SUITE.scenarios if s.name == "core")
    assert hunt.breaks(scenario).clauses == {"PID-8"}
    monkeypatch.setattr("conformance.verdict.hunt.reference_of", lambda _: hunt.implementation)
    hunt.known.clear()
    assert not hunt.breaks(scenario).clauses


def test_simpler_scenarios_have_one_part_less() -> None:
    core = next(s for s in SUITE.scenarios if s.name == "core")
    parts: list[Scenario] = list(simpler(core))
    assert [(len(s.threads), len(s.devices), len(s.vcpus[0].program), s.vectors) for s in parts] == [
        (0, 1, 1, (200,)),
        (1, 0, 1, (100,)),
        (1, 1, 0, (100, 200)),
    ]


def test_a_find_is_shown_as_a_file_and_its_string_replays_without_it(tmp_path: Path) -> None:
    out = tmp_path / "found.toml"
    told = CliRunner().invoke(
        cli, ["hunt", "-a", SPEC, "--minutes", "2", "--states", "5000", "--out", str(out)], standalone_mode=False
    )
    assert told.return_value == 1, told.output
    (scenario,) = own_scenarios.read(out)
    assert f"found in scenario {scenario.name}: " in re.sub(r"\s+", " ", told.output)
    string = re.search(r"intack replay (\S+)", told.output)
    assert string
    again = CliRunner().invoke(cli, ["replay", string[1]], standalone_mode=False)
    assert again.return_value == 1 and "STILL VIOLATED" in again.output


def test_code_that_fails_by_itself_is_a_find_and_no_success() -> None:
    told = CliRunner().invoke(
        cli, ["hunt", "-a", f"{__name__}:Raises", "--minutes", "2", "--states", "5000"], standalone_mode=False
    )
    assert told.return_value == 2, told.output
    assert "CRASH  Raises.deliver_interrupt raised ValueError('not written yet')" in re.sub(
        r" +", " ", told.output
    ).replace("CRASH ", "CRASH  ")
