"""The suite: what holds of any architecture, and each architecture's own."""

from __future__ import annotations

from conformance.machine import rules
from conformance.verdict.suite import ArchitectureSuite, JoinedSuite
from properties.arm import catalogue as arm
from properties.arm.suite import ARM
from properties.nested import catalogue as nested
from properties.nested.suite import NESTED
from properties.x86 import catalogue as x86
from properties.x86.suite import X86

ASSUMPTIONS = (
    "A latched and unmasked interrupt is taken at the next boundary, before the next step of that pCPU.",
    "A host handler runs with interrupts off; handlers do not nest. NMIs and SMIs are not modelled: a sender may be held up "
    "between any two of its steps instead.",
    "A context switch runs put with interrupts off, then load with interrupts on; it may happen where interrupts are on, "
    "preemption is not disabled, no spinning lock is held and no handler is on top (Linux scheduler, preempt notifiers).",
    "A wake leaves no token; schedule sleeps only if the announcement still stands (Linux set_current_state and schedule).",
    "A guest acknowledges and completes every interrupt it takes.",
    "A retry loop that has gone round four times on the same values, and would do so for 400 operations, does so for ever.",
)

ANY = ArchitectureSuite(
    architecture="any", clauses=tuple(rules.ANY), scenarios=(), watch=lambda _: (), rules=ASSUMPTIONS
)

SECTIONS = (rules.ANY, *x86.SECTIONS, *nested.SECTIONS, *arm.SECTIONS)
"""The catalogue, in the order of reports."""

SUITE = JoinedSuite((ANY, X86, NESTED, ARM))
