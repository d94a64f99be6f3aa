"""The x86 suite: clauses, scenarios, and which monitors watch which scenario."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from conformance.adapters.registry import Implementation
from conformance.engine.monitor import Monitor
from conformance.engine.scenario import Scenario
from conformance.explore import Checked
from conformance.report.verdict import Clause
from properties.monitors import devices, end_to_end, entry, processor, residency, sender
from properties.scenarios import SCENARIOS


class X86Suite:
    """What `conformance` needs to know of the properties."""

    scenarios: tuple[Scenario, ...] = SCENARIOS

    def __init__(self) -> None:
        texts = [files("properties.catalogue").joinpath(name).read_text() for name in ("engine.toml", "x86.toml")]
        self.clauses = tuple(msgspec.convert(c, Clause) for text in texts for c in tomllib.loads(text)["clause"])

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return [m for part in (end_to_end, processor, devices, sender, entry, residency) for m in part.monitors(scenario)]


    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        from properties.sequential import check

        return check(clause, implementation)


SUITE = X86Suite()
