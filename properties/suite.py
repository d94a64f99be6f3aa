"""The suite: clauses, scenarios, and which monitors watch which scenario, of both architectures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec

from conformance.adapters.registry import Implementation
from conformance.machine.monitor import Monitor
from conformance.roles.scenario import Scenario
from conformance.verdict.clause import Clause
from conformance.verdict.explore import Checked
from properties.arm import monitors as arm
from properties.arm import scenarios as arm_scenarios
from properties.x86 import scenarios
from properties.x86.monitors import devices, end_to_end, entry, processor, residency, sender

CATALOGUE = ("engine.toml", "x86.toml", "gic.toml", "arm.toml")

ASSUMPTIONS: Mapping[str, tuple[str, ...]] = {
    "any": (
        "A latched and unmasked interrupt is taken at the next boundary, before the next step of that pCPU.",
        "A host handler runs with interrupts off; handlers do not nest. NMIs and SMIs are not modelled: a sender may be held up "
        "between any two of its steps instead.",
        "A context switch runs put with interrupts off, then load with interrupts on; it may happen where interrupts are on, "
        "preemption is not disabled, no spinning lock is held and no handler is on top (Linux scheduler, preempt notifiers).",
        "A wake leaves no token; schedule sleeps only if the announcement still stands (Linux set_current_state and schedule).",
        "A guest acknowledges and completes every interrupt it takes.",
    ),
    "x86": (
        "A notification in flight may be delayed for ever; messages merge per vector and pCPU (Intel SDM vol. 3A, local APIC IRR).",
        "An interrupt that exits the guest runs its host handler once interrupts are on (KVM runs it just before, inline).",
        "Memory is 64-bit words, sequentially consistent or TSO with a bounded store buffer (Owens, Sarkar, Sewell, 2009). Locked "
        "operations, full fences, interrupt entry and return and context switches drain it.",
        "VM entry and VM exit drain the store buffer: not verified in the manual.",
        "Sending an IPI through x2APIC and changing the interrupt flag drain nothing (Intel SDM vol. 3A, 11.12.3).",
        "A guest's interrupt handler ends with EOI and IRET.",
    ),
    "arm": (
        "A host SGI or doorbell in flight may be delayed for ever; messages merge per interrupt and pCPU.",
        "The maintenance interrupt is a level: it may be seen late, and is withdrawn if it is not asserted any more when the pCPU "
        "could take it (Arm IHI 0048B, 5.2; section number from memory). The environment late-mi drops the second half.",
        "What a pCPU's GICH registers hold is seen by what runs there alone. Memory is sequentially consistent: what barriers Arm's "
        "own order asks for is not judged.",
        "A guest takes the virtual IRQ and reads GICV_IAR in one step; PSTATE.I is closed until the handler's last write, so handlers "
        "nest only in the sequential checks.",
        "A handler of a level-sensitive interrupt quiets its device, through an exit to userspace, before it ends the interrupt.",
        "At a boundary a latched physical interrupt comes before the virtual one: the other order is that of one that arrives later. "
        "No guest takes virtual FIQs.",
        "Which of several list registers with one VirtualID the end of an interrupt takes is UNPREDICTABLE: each is tried.",
        "A write of GICR_VPENDBASER.Valid sets Dirty in the same step; a scan or drain is one step. A doorbell whose LPI is disabled "
        "when its virtual LPI comes is dropped, not kept (GICv4.0); PendingLast may be set with nothing pending.",
        "Virtual LPIs have one priority; the virtual LPI configuration table, and what an ITS does but to vPEs, are not modelled.",
    ),
}
"""By architecture, and what holds of any."""


class Suite:
    """What `conformance` needs to know of the properties."""

    scenarios: tuple[Scenario, ...] = (*scenarios.SCENARIOS, *arm_scenarios.SCENARIOS)
    assumptions: Mapping[str, tuple[str, ...]] = ASSUMPTIONS

    def __init__(self) -> None:
        texts = [files("properties.catalogue").joinpath(name).read_text() for name in CATALOGUE]
        self.clauses = tuple(msgspec.convert(c, Clause) for text in texts for c in tomllib.loads(text)["clause"])

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        if scenario.architecture == "arm":
            return arm.monitors(scenario)
        return [
            m for part in (end_to_end, processor, devices, sender, entry, residency) for m in part.monitors(scenario)
        ]

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        from properties.arm import sequential as arm_sequential
        from properties.x86 import sequential

        return sequential.check(clause, implementation, {**sequential.CHECKS, **arm_sequential.CHECKS})


SUITE = Suite()
