"""Wrong implementations that nobody told the scenarios of are found."""

from __future__ import annotations

import pytest
import wrong_apic
import wrong_arm
import wrong_meetings
import wrong_paths
import wrong_x86

from conformance.adapters.registry import of_class
from conformance.machine.build import in_machine
from conformance.roles.role import BaseRole
from conformance.search.proof import prove
from properties.suite import SUITE

SCENARIOS = {s.name: s for s in SUITE.scenarios}
FOUND = {**wrong_x86.FOUND, **wrong_apic.FOUND, **wrong_arm.FOUND, **wrong_paths.FOUND, **wrong_meetings.FOUND}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", FOUND, ids=lambda c: c.__name__)
def test_what_is_wrong_is_found(wrong: type[BaseRole]) -> None:
    scenario, clause = FOUND[wrong]
    implementation = of_class(wrong, wrong.__name__, f"{wrong.__module__}:{wrong.__name__}")
    found = in_machine(implementation, SCENARIOS[scenario], SUITE, prove)
    assert clause in {*found.breached, *found.at_rest}
