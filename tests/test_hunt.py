"""Scenarios drawn until something is broken: found, made small, shown as a file, and replayed from its string alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace

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


def hunting(cls: type, clauses: set[str]) -> Hunt:
    return Hunt(of_class(cls, cls.__name__, f"{__name__}:{cls.__name__}"), SUITE, frozenset(clauses), 10_000)


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
