"""x86: its clauses, scenarios, monitors and checks, and what the machine assumes of it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from conformance.machine.monitor import Monitor
from conformance.roles.scenario import Scenario
from conformance.verdict.suite import ArchitectureSuite
from properties.buffered import twins
from properties.covering import covered
from properties.function import check
from properties.x86.catalogue import SECTIONS
from properties.x86.crowds import CROWDS
from properties.x86.grammar import X86 as GRAMMAR
from properties.x86.monitors import (
    delivery,
    devices,
    end_to_end,
    entry,
    guest,
    order,
    processing,
    residency,
    sender,
    wakeup,
)
from properties.x86.scenarios import GOLDEN, SCENARIOS
from properties.x86.sequential import CHECKS

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ASSUMPTIONS = (
    "A notification in flight may be delayed for ever; messages merge per vector and pCPU (Intel SDM vol. 3A, local APIC IRR).",
    "An interrupt that exits the guest runs its host handler once interrupts are on (KVM runs it just before, inline).",
    "Memory is 64-bit words, sequentially consistent or TSO with a bounded store buffer (Owens, Sarkar, Sewell, 2009). Locked "
    "operations, full fences, interrupt entry and return and context switches drain it.",
    "VM entry and VM exit drain the store buffer: not verified in the manual.",
    "Sending an IPI through x2APIC and changing the interrupt flag drain nothing (Intel SDM vol. 3A, 11.12.3).",
    "A guest's interrupt handler ends with EOI and IRET.",
)

COVERED, COVERED_STATES = covered(GRAMMAR)
MOST_TWICE = 5_000
"""States of a story that is there with store buffers, too: what larger ones find, smaller ones have found."""


def draw(states: float) -> SearchStrategy[Scenario]:
    from properties.x86.drawing import scenarios  # with Hypothesis

    return scenarios(states)


def monitors(scenario: Scenario) -> list[Monitor]:
    parts = (end_to_end, guest, order, processing, delivery, devices, sender, entry, residency, wakeup)
    return [m for part in parts for m in part.monitors(scenario)]


X86 = ArchitectureSuite(
    architecture="x86",
    clauses=tuple(clause for section in SECTIONS for clause in section),
    scenarios=(*SCENARIOS, *twins(SCENARIOS, GOLDEN, MOST_TWICE), *COVERED),
    watch=monitors,
    check=lambda clause, implementation: check(clause, implementation, CHECKS),
    record=lambda clause, implementation: CHECKS[clause].cases_for(implementation),
    draw=draw,
    rules=ASSUMPTIONS,
    routines={
        n: r.split() for n, r in json.loads(files("properties.x86").joinpath("routines.json").read_text()).items()
    },
    crowds=CROWDS,
    unlimited=json.loads(files("properties.x86").joinpath("unlimited.json").read_text()),
)
