"""Linux's own vGIC: what the suite says of it as it is, that it finds fixes undone in it, and which mends are enough."""

from __future__ import annotations

import re

import msgspec
import pytest
from kernel_lines import functions_named

from conformance.adapters.native import NativeUnavailableError
from conformance.adapters.registry import resolve
from conformance.roles.scenario import Scenario
from conformance.verdict.explore import Explored, explore, least
from properties.suite import SUITE
from reference.linux.arm64 import PARTS
from reference.linux.arm64.mends import MENDS, Mend
from reference.linux.arm64.undone import UNDONE, Undone
from reference.linux.tree import tree_of

RELEASES = ("6.1", "6.12")
SCENARIOS = {scenario.name: scenario for scenario in SUITE.scenarios}


def source(release: str) -> str:
    try:
        return str(tree_of(f"linux-source-{release}").root)
    except NativeUnavailableError as missing:
        pytest.skip(str(missing))


def explored(argument: str, scenario: str | Scenario, *, shorten: bool = False) -> Explored:
    which = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    found = explore(resolve(f"linux-arm64:{argument}"), which, SUITE, profile="strict", shorten=shorten)
    assert not found.fault, found.fault
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_an_edge_is_delivered(release: str) -> None:
    """Nothing is broken, discipline or guarantee."""
    found = explored(source(release), "vgic-edge")
    assert found.complete and not found.counterexamples


@pytest.mark.parametrize("undone", [u for u in UNDONE if u.quick], ids=lambda undone: undone.name)
def test_a_fix_undone_is_found_with_lines_of_the_kernel(undone: Undone) -> None:
    found = explored(f"{source('6.1')}~{undone.name}", undone.scenario, shorten=True)
    told = msgspec.json.encode(found.counterexamples[undone.clause]).decode()
    files = {site.partition(":")[0].rpartition("/")[2] for site in re.findall(r'"site":"([^"]+)"', told)}
    assert {"arm.c", "vgic.c", "kvm_main.c"} <= files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undone", "release"), [(u, r) for u in UNDONE for r in u.releases], ids=lambda x: getattr(x, "name", x)
)
def test_every_fix_undone_is_found(undone: Undone, release: str) -> None:
    argument = f"{source(release)}~{undone.name}"
    assert undone.clause in explored(argument, undone.scenario).counterexamples
    scenario = SCENARIOS[undone.scenario] if isinstance(undone.scenario, str) else undone.scenario
    found = least(resolve(f"linux-arm64:{argument}"), scenario, SUITE, undone.clause)
    assert found and (undone.elsewhere or undone.edit.function) in functions_named(
        tree_of(source(release)), PARTS, found.trace
    )


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    "scenario", {str(u.scenario): u.scenario for u in UNDONE}.values(), ids=lambda x: getattr(x, "name", x)
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
@pytest.mark.parametrize(
    ("mend", "release"), [(m, r) for m in MENDS for r in m.releases], ids=lambda x: getattr(x, "name", x)
)
def test_which_mends_are_enough(mend: Mend, release: str) -> None:
    for scenario in (*mend.enough, *mend.not_enough):
        found = explored(f"{source(release)}~{mend.name}", scenario).counterexamples
        assert (mend.clause in found) == (scenario in mend.not_enough), scenario
        assert found or scenario in mend.enough
