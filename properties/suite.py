"""The suite: clauses, scenarios, and which monitors watch which scenario, of both architectures."""

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

ASSUMPTIONS = (
    "A notification in flight may be delayed for ever; messages merge per vector and pCPU (Intel SDM vol. 3A, local APIC IRR).",
    "A latched and unmasked interrupt is taken at the next boundary, before the next step of that pCPU.",
    "A host handler runs with interrupts off; handlers do not nest. NMIs and SMIs are not modelled: a sender may be held up "
    "between any two of its steps instead.",
    "An interrupt that exits the guest runs its host handler once interrupts are on (KVM runs it just before, inline).",
    "A context switch runs put with interrupts off, then load with interrupts on; it may happen where interrupts are on, "
    "preemption is not disabled, no spinning lock is held and no handler is on top (Linux scheduler, preempt notifiers).",
    "A wake leaves no token; schedule sleeps only if the announcement still stands (Linux set_current_state and schedule).",
    "Memory is 64-bit words, sequentially consistent or TSO with a bounded store buffer (Owens, Sarkar, Sewell, 2009). Locked "
    "operations, full fences, interrupt entry and return and context switches drain it.",
    "VM entry and VM exit drain the store buffer: not verified in the manual.",
    "Sending an IPI through x2APIC and changing the interrupt flag drain nothing (Intel SDM vol. 3A, 11.12.3).",
    "A guest acknowledges and completes every interrupt it takes; its handler ends with EOI and IRET.",
)


class Suite:
    """What `conformance` needs to know of the properties."""

    scenarios: tuple[Scenario, ...] = SCENARIOS
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def __init__(self) -> None:
        texts = [files("properties.catalogue").joinpath(name).read_text() for name in ("engine.toml", "x86.toml")]
        self.clauses = tuple(msgspec.convert(c, Clause) for text in texts for c in tomllib.loads(text)["clause"])

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return [
            m for part in (end_to_end, processor, devices, sender, entry, residency) for m in part.monitors(scenario)
        ]

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        from properties.sequential import check

        return check(clause, implementation)


SUITE = Suite()
