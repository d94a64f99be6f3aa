"""Three of the smallest scenarios and a few clauses as a suite of its own, so that tests can run everything end to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from conformance.adapters.registry import Implementation, of_classes
from conformance.machine.monitor import Monitor
from conformance.roles.scenario import Scenario
from conformance.verdict.suite import Checked
from properties.suite import SUITE as X86
from reference.x86.iommu import ReferenceIommu
from reference.x86.kvm import Kvm
from reference.x86.processor import ReferenceProcessor

HELD, HALT, ALONE, UNSEEN, UNCHECKED = "KVM-ENT-13", "KVM-PI-19", "PID-2", "KVM-PI-18", "E2E-7"
"""With the reference and these scenarios: two guarantees that hold, one of a routine alone, one not exercised, one not
checked.
"""
SCENARIOS = ("save-restore", "reset", "halt-closed")


class TinySuite:
    clauses = tuple(c for c in X86.clauses if c.id in (HELD, HALT, ALONE, UNSEEN, UNCHECKED))
    scenarios = tuple(s for s in X86.scenarios if s.name in SCENARIOS)
    assumptions = X86.assumptions
    routines = X86.routines

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return X86.monitors(scenario)

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        return X86.sequential(clause, implementation)

    def cases(self, clause: str, implementation: Implementation) -> None:
        """Nothing."""

    def drawn(self, implementation: Implementation, states: float) -> None:
        """Nothing."""


SUITE = TinySuite()

ENTRY_POINTS = """\
[intack.suites]
intack = tiny_suite:SUITE
[intack.adapters]
reference = tiny_suite:reference
"""


def reference(_: str) -> Implementation:
    """The reference for x86 alone: what it declares of Arm's clauses would mean nothing in this suite."""
    return of_classes("reference", "reference", ReferenceProcessor, ReferenceIommu, Kvm)


def installed(folder: Path) -> dict[str, str]:
    """Variables of an environment in which this stands for intack's own suite, and modules beside this one can be imported."""
    metadata = folder / "tiny-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
