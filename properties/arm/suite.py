"""Arm's virtual GIC: its clauses, scenarios, monitors and checks, and what the machine assumes of it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from conformance.roles.scenario import Scenario
from conformance.verdict.suite import ArchitectureSuite
from properties.arm.catalogue import SECTIONS
from properties.arm.crowds import CROWDS
from properties.arm.grammar import ARM as GRAMMAR
from properties.arm.monitors import monitors
from properties.arm.scenarios import SCENARIOS
from properties.arm.sequential import CHECKS
from properties.covering import covered
from properties.function import check

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ASSUMPTIONS = (
    "A host SGI or doorbell in flight may be delayed for ever; messages merge per interrupt and pCPU.",
    "The maintenance interrupt is a level: it may be seen late, and is withdrawn if it is not asserted any more when the pCPU "
    "could take it (Arm IHI 0048B, 5.2; section number from memory). The environment late-mi drops the second half.",
    "What a pCPU's GICH registers hold is seen by what runs there alone. Memory is sequentially consistent: what barriers Arm's "
    "own order asks for is not judged.",
    "A guest takes the virtual IRQ and reads GICV_IAR in one step; PSTATE.I is closed until the handler's last write. Where a "
    "scenario says that handlers nest, each opens it next, and one of higher priority comes before its other writes.",
    "A handler of a level-sensitive interrupt quiets its device, through an exit to userspace, before it ends the interrupt.",
    "At a boundary a latched physical interrupt comes before the virtual one: the other order is that of one that arrives later. "
    "No guest takes virtual FIQs.",
    "Which of several list registers with one VirtualID the end of an interrupt takes is UNPREDICTABLE: each is tried.",
    "A write of GICR_VPENDBASER.Valid sets Dirty in the same step; a scan or drain is one step. A doorbell whose LPI is disabled "
    "when its virtual LPI comes is dropped, not kept (GICv4.0); PendingLast may be set with nothing pending.",
    "Virtual LPIs have one priority; the virtual LPI configuration table, and what an ITS does but to vPEs, are not modelled.",
)

COVERED, COVERED_STATES = covered(GRAMMAR)


def draw(states: float) -> SearchStrategy[Scenario]:
    from properties.arm.drawing import scenarios  # with Hypothesis

    return scenarios(states)


ARM = ArchitectureSuite(
    architecture="arm",
    clauses=tuple(clause for section in SECTIONS for clause in section),
    scenarios=(*SCENARIOS, *COVERED),
    watch=monitors,
    check=lambda clause, implementation: check(clause, implementation, CHECKS),
    record=lambda clause, implementation: CHECKS[clause].cases_for(implementation),
    draw=draw,
    rules=ASSUMPTIONS,
    routines={
        n: r.split() for n, r in json.loads(files("properties.arm").joinpath("routines.json").read_text()).items()
    },
    crowds=CROWDS,
    unlimited=json.loads(files("properties.arm").joinpath("unlimited.json").read_text()),
)
