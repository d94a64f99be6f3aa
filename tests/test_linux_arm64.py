"""Linux's own vGIC: what the suite says of it as it is, that it finds fixes undone in it, and which mends are enough."""

from __future__ import annotations

import pytest
from kernel_lines import functions_named
from msgspec.structs import replace

from conformance.adapters.native import NativeUnavailableError
from conformance.adapters.registry import resolve
from conformance.roles.scenario import Budget, Scenario
from conformance.verdict.explore import Explored, explore, least
from properties.suite import SUITE
from reference.linux.arm64 import PARTS
from reference.linux.arm64.mends import MENDS, Mend
from reference.linux.arm64.undone import MOVED_BETWEEN_WAITS, UNDONE, Undone
from reference.linux.tree import tree_of

RELEASES = ("6.1", "6.12")
SCENARIOS = {scenario.name: scenario for scenario in SUITE.scenarios}
EDGE_ONCE = replace(SCENARIOS["vgic-edge"], name="edge-once", budget=Budget())
"""The smallest that there is: an edge for a vCPU that is on its way into its guest, and no exit but by a kick."""


def source(release: str) -> str:
    try:
        return str(tree_of(f"linux-source-{release}").root)
    except NativeUnavailableError as missing:
        pytest.skip(str(missing))


def explored(argument: str, scenario: str | Scenario) -> Explored:
    which = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    found = explore(resolve(f"linux-arm64:{argument}"), which, SUITE, profile="strict", shorten=False)
    assert not found.fault, found.fault
    return found


@pytest.mark.parametrize("release", [pytest.param("6.1", marks=pytest.mark.slow), "6.12"])
def test_an_edge_is_delivered(release: str) -> None:
    """Nothing is broken, discipline or guarantee."""
    found = explored(source(release), "vgic-edge")
    assert found.complete and not found.counterexamples


@pytest.mark.parametrize("release", [pytest.param("6.1", marks=pytest.mark.slow), "6.12"])
def test_a_doorbell_wakes_whoever_waits_for_it(release: str) -> None:
    """A host with GICv4.1, vgic-v4.c and what is behind it: nothing is broken."""
    found = explored(source(release), "gicv4.1-two-waits")
    assert found.complete and not found.counterexamples


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("gicv4")])
def test_nothing_is_broken_with_gicv4(scenario: str, release: str) -> None:
    found = explored(source(release), scenario)
    assert found.complete and not found.counterexamples


def test_of_a_gicv3_no_distributor_is_taken() -> None:
    """A host with GICv4 is one; guests that write it are left out, those of a GICv2 are not."""
    linux = resolve(f"linux-arm64:{source('6.12')}")
    assert not linux.takes_part(SCENARIOS["vgic-crowd"])
    assert linux.takes_part(SCENARIOS["vgic-retarget"]) and linux.takes_part(SCENARIOS["gicv4-two-waits"])


def names_its_function(undone: Undone, release: str, scenario: Scenario) -> None:
    """The least schedule that breaks the clause names lines of the function that was edited."""
    argument = f"{source(release)}~{undone.name}"
    found = least(resolve(f"linux-arm64:{argument}"), scenario, SUITE, undone.clause)
    assert found
    named = functions_named(tree_of(source(release)), PARTS, found.trace)
    assert (undone.elsewhere or undone.edit.function) in named


@pytest.mark.parametrize("undone", [u for u in UNDONE if u.quick], ids=lambda undone: undone.name)
def test_a_fix_undone_is_found(undone: Undone) -> None:
    names_its_function(undone, "6.12", EDGE_ONCE)


def test_a_doorbell_that_is_forgotten_is_found() -> None:
    (undone,) = (u for u in UNDONE if u.name == "doorbell-forgotten")
    names_its_function(undone, "6.12", SCENARIOS["gicv4.1-two-waits"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undone", "release"), [(u, r) for u in UNDONE for r in u.releases], ids=lambda x: getattr(x, "name", x)
)
def test_every_fix_undone_is_found(undone: Undone, release: str) -> None:
    scenario = SCENARIOS[undone.scenario] if isinstance(undone.scenario, str) else undone.scenario
    assert undone.clause in explored(f"{source(release)}~{undone.name}", scenario).counterexamples
    names_its_function(undone, release, scenario)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "release"),
    {(str(u.scenario), r): (u.scenario, r) for u in UNDONE for r in u.releases}.values(),
    ids=lambda x: getattr(x, "name", x),
)
def test_and_nothing_is_found_there_while_it_stands(scenario: str | Scenario, release: str) -> None:
    assert not explored(source(release), scenario).counterexamples


KNOWN = {
    "vgic-deactivate": "VGIC-ACT-1",
    "vgic-distributor-off-wfi": "VGIC-EN-5",
    "vgic-retarget": "VGIC-RT-1",
    "vgic-latch": "VGIC-LVL-5",
    "vgic-overflow": "VGIC-OVF-2",
}
"""What docs/findings says of the source as it is."""


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("scenario", KNOWN)
def test_what_the_source_as_it_is_breaks(scenario: str, release: str) -> None:
    assert KNOWN[scenario] in explored(source(release), scenario).counterexamples


@pytest.mark.slow
def test_a_doorbell_whose_handler_runs_elsewhere_is_lost_in_6_1() -> None:
    """9c15eeb5362c is in 6.12, and not in Debian's 6.1."""
    assert "VGIC-WFI-2" in explored(source("6.1"), MOVED_BETWEEN_WAITS).counterexamples


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mend", "release"), [(m, r) for m in MENDS for r in m.releases], ids=lambda x: getattr(x, "name", x)
)
def test_which_mends_are_enough(mend: Mend, release: str) -> None:
    for scenario in (*mend.enough, *mend.not_enough):
        found = explored(f"{source(release)}~{mend.name}", scenario).counterexamples
        assert (mend.clause in found) == (scenario in mend.not_enough), scenario
        assert found or scenario in mend.enough
