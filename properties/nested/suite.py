"""Nested posted interrupts: clauses, scenarios, monitors, and what the machine assumes."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from conformance.roles.scenario import Scenario
from conformance.verdict.suite import ArchitectureSuite
from properties.buffered import twins
from properties.covering import covered
from properties.nested.catalogue import SECTIONS
from properties.nested.grammar import NESTED as GRAMMAR
from properties.nested.monitors import monitors
from properties.nested.scenarios import GOLDEN, SCENARIOS

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ASSUMPTIONS = (
    "L1 posts as the manual has it: the bit, ON, and the notification if ON was clear. It does not look at PIR12 itself: what "
    "it takes out, or leaves when it takes the notification, L2 is not owed.",
    "L1 wants to exit on external interrupts, acknowledged, and goes back to L2 when its handler ends.",
    "A notification in flight may be delayed for ever, and a sender held up between any two of its steps by an NMI or SMI.",
    "Each level has state of its own; an exit from L2 to L1 leaves L2's where it is.",
)

COVERED, COVERED_STATES = covered(GRAMMAR)


def draw(states: float) -> SearchStrategy[Scenario]:
    from properties.nested.drawing import scenarios  # with Hypothesis

    return scenarios(states)


NESTED = ArchitectureSuite(
    architecture="nested",
    clauses=tuple(clause for section in SECTIONS for clause in section),
    scenarios=(*SCENARIOS, *twins(SCENARIOS, GOLDEN), *COVERED),
    watch=monitors,
    draw=draw,
    rules=ASSUMPTIONS,
    routines={
        n: r.split() for n, r in json.loads(files("properties.nested").joinpath("routines.json").read_text()).items()
    },
)
