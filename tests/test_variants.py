"""Correct variants: what somebody may write otherwise than KVM does, and nothing is lost by it. None may be VIOLATED.

Each is run in a few scenarios, each in others, and `python tests/test_variants.py [NAME...]` runs them in all.
"""

from __future__ import annotations

import sys
from zlib import crc32

import pytest
import variants_arm
import variants_x86

from conformance.adapters.registry import of_class
from conformance.machine.build import in_machine
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from properties.golden import GOLDEN
from properties.suite import SUITE

FEW, MORE, SMALL = 2, 24, 5_000
"""Scenarios that each is run in, of so many states at most; and those that take longer."""
GUARANTEES = frozenset(c.id for c in SUITE.clauses if c.kind == "guarantee")
VARIANTS: tuple[type[BaseRole], ...] = (*variants_x86.VARIANTS, *variants_arm.VARIANTS)


def broken(variant: type[BaseRole], scenario: Scenario) -> list[str]:
    implementation = of_class(variant, variant.__name__, f"{variant.__module__}:{variant.__name__}")
    found = in_machine(implementation, scenario, SUITE, prove)
    assert found.complete
    clauses = {*found.breached, *found.at_rest, *(("LIVELOCK",) if found.livelock else ())}
    return sorted(clauses & GUARANTEES)


def scenarios(variant: type[BaseRole], most: int = sys.maxsize) -> list[Scenario]:
    """Those that it can take part in, in an order of its own."""
    implementation = of_class(variant, "", "")
    able = [s for s in SUITE.scenarios if GOLDEN.get(s.name, most) < most and implementation.takes_part(s)]
    return sorted(able, key=lambda s: crc32(f"{variant.__name__} {s.name}".encode()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_correct_variant_breaks_nothing(variant: type[BaseRole]) -> None:
    assert {s.name: found for s in scenarios(variant, SMALL)[:FEW] if (found := broken(variant, s))} == {}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_nor_in_more_scenarios(variant: type[BaseRole]) -> None:
    assert {s.name: found for s in scenarios(variant, 4 * SMALL)[FEW:MORE] if (found := broken(variant, s))} == {}


def test_a_design_that_pins_its_vcpus_is_not_asked_what_becomes_of_one_that_moves() -> None:
    """It says so; without the word it would lose what is posted to a pCPU that was left."""
    asked = scenarios(variants_x86.Pinned)
    assert asked and not any(s.placements for s in asked)
    moving = [s for s in SUITE.scenarios if s.architecture == "x86" and "migration" in s.placements]
    assert any(broken(variants_x86.Pinned, s) for s in moving if GOLDEN.get(s.name, SMALL) < SMALL)


if __name__ == "__main__":
    for each in VARIANTS:
        if not sys.argv[1:] or each.__name__ in sys.argv[1:]:
            found = {s.name: bad for s in scenarios(each) if (bad := broken(each, s))}
            print(each.__name__, found or "breaks nothing")
            sys.stdout.flush()
