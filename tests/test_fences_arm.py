"""The fence audit of Arm's software, by the Armv8 axioms: the barriers of the run loop and of WFI."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.litmus.axioms import Model
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.ordering.axiomatic import audit, outcomes, windows_with_something_held
from conformance.ordering.routines import window
from conformance.ordering.weaken import sites
from properties.suite import SUITE

MODELS: tuple[Model, ...] = ("sc", "armv8")
EDGE = [s for s in SUITE.scenarios if s.name == "vgic-edge"]
SLEEP = [s for s in SUITE.scenarios if s.name == "vgic-edge-wfi"]
MENDED = "reference.alternatives.arm.vgic_2012:Vgic2012Mended"
ENTRY = "vcpu_enter_guest: fence after writing vcpu0.mode"
BLOCK = "vcpu_block: fence after announcing a sleep"


def needed(spec: str, scenarios: list) -> dict[str, tuple[str, ...]]:
    return {
        str(j.site): j.breaks for j in audit(resolve(spec), SUITE, scenarios, "armv8").judged if j.status == "needed"
    }


@pytest.mark.parametrize("spec", ["reference", pytest.param(MENDED, marks=pytest.mark.slow)])
def test_the_barrier_before_the_last_look_is_needed(spec: str) -> None:
    """mode := IN before the request, or the summary bit, is looked at again. Locks are no substitute."""
    assert needed(spec, EDGE) == {ENTRY: ("VGIC-EDGE-1", "VGIC-Q-1")}


def test_where_nothing_is_looked_at_again_it_is_not() -> None:
    """The 2012 design as posted enters whatever came: its barrier there orders nothing that is read."""
    assert needed("vgic-2012", SLEEP) == {BLOCK: ("VGIC-EDGE-1", "VGIC-WFI-2")}


def test_the_barrier_after_the_summary_bit_is_not_needed() -> None:
    """ "Strategically placed to entertain the reviewer": where a list register is full at an exit, and another edge comes,
    no outcome appears without it.
    """
    two_edges = next(s for s in SUITE.scenarios if s.name == "vgic-two-edges")

    def new(machine: Machine) -> list[int]:
        starts = list(windows_with_something_held(machine))
        for name, state in starts:
            window(machine, state, name, "armv8", None)
        (site,) = [s for s in sites(machine.assembly) if str(s).startswith("leave_guest: fence")]
        found: list[int] = []
        for name, state in starts:
            without = window(machine, state, name, "armv8", site)
            if any(course.weakened for of in without.courses for course in of):
                known = {key for m in MODELS for key, _, _ in outcomes(window(machine, state, name, "armv8", None), m)}
                found.append(len({key for key, _, _ in outcomes(without, "armv8")} - known))
        return found

    assert in_machine(resolve("vgic-2012"), two_edges, SUITE, new) == [0, 0]


def test_the_command() -> None:
    result = CliRunner().invoke(
        cli, ["fences", "-a", "vgic-2012", "--scenario", "vgic-edge", "--no-witness"], standalone_mode=False
    )
    assert result.return_value == 0
    assert "unlock                      STLR" in result.output
    assert "armv8, by axioms, in windows of: vgic-edge" in result.output
    result = CliRunner().invoke(cli, ["fences", "-a", "vgic-2012", "--scenario", "tso-running"])
    assert "tso-running is a scenario of x86" in " ".join(result.output.split())
