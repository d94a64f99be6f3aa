"""The architectural state of Arm's virtual GIC: list registers, GICH and GICR registers, interrupts, what a guest has."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.roles.location import Field, Shared
from conformance.roles.role import NOTHING, BaseVcpu, BaseWorld, Places
from conformance.roles.scenario import Scenario

KICK = 1
"""Host SGI that only forces an exit (Linux: IPI_RESCHEDULE)."""
MAINTENANCE = 25
"""The maintenance interrupt: a PPI, and a level."""
DEVICE = 34
"""A device's host interrupt, whose handler injects from hard-interrupt context; another device's is the next one."""
DOORBELL = 48
"""The doorbell of vcpu0's vPE; vcpu1's is the next one. An LPI in hardware; a small number stands for it here."""

SGI, PPI, LEVEL, EDGE, EDGE2, EDGE3, LPI = 3, 27, 40, 41, 42, 43, 8192
"""The interrupts of most scenarios: a software-generated one, private, level-sensitive, edge-triggered (three), an LPI."""
PRIORITIES: Mapping[int, int] = {SGI: 0x0C, EDGE2: 0x10, EDGE3: 0x13}
"""Priorities that are not the 0x14 of all others, in the five bits of a list register."""
SPURIOUS = 1023

PENDING, ACTIVE = 1, 2
"""Bits of LR.State."""


class ListRegister:
    """Fields of GICH_LRn (Arm IHI 0048B, 5.3; number from memory). CPUID and EOI share bits with PhysicalID: HW says."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.virtual_id = Field(at, 0x3FF)
        self.physical_id = Field(at, 0x3FF << 10, 10)
        self.cpuid = Field(at, 7 << 10, 10)
        self.eoi = Field(at, 1 << 19, 19)
        self.priority = Field(at, 0x1F << 23, 23)
        self.state = Field(at, 3 << 28, 28)
        self.group1 = Field(at, 1 << 30, 30)
        self.hw = Field(at, 1 << 31, 31)


def lr_word(
    intid: int,
    state: int,
    *,
    priority: int = 0x14,
    cpuid: int = 0,
    eoi: bool = False,
    group1: bool = False,
    hw: int | None = None,
) -> int:
    """A GICH_LRn word. `priority` has 5 bits; `hw` is the physical interrupt's number where the LR is linked to one."""
    word = intid | (priority & 0x1F) << 23 | state << 28 | group1 << 30
    return word | (1 << 31 | hw << 10 if hw is not None else cpuid << 10 | eoi << 19)  # fmt: skip


class Hcr:
    """Fields of GICH_HCR (IHI 0048B, 5.3). `tdir` is GICv3's, ICH_HCR_EL2.TDIR; on a GICv2 software need not map GICV_DIR."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.en, self.uie, self.lrenpie, self.npie = (Field(at, 1 << n, n) for n in range(4))
        self.vgrp0eie, self.vgrp0die, self.vgrp1eie, self.vgrp1die = (Field(at, 1 << n, n) for n in range(4, 8))
        self.tdir = Field(at, 1 << 14, 14)
        self.eoi_count = Field(at, 0x1F << 27, 27)


HCR_EN, HCR_UIE, HCR_LRENPIE, HCR_NPIE, HCR_TDIR = 1, 2, 4, 8, 1 << 14
MISR_EOI, MISR_U, MISR_LRENP, MISR_NP = 1, 2, 4, 8


class Vmcr:
    """Fields of GICH_VMCR (IHI 0048B, 5.3): what GICV_CTLR, GICV_PMR, GICV_BPR and GICV_ABPR show the guest."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.enable0, self.enable1, self.ack_ctl, self.fiq_en, self.cbpr = (Field(at, 1 << n, n) for n in range(5))
        self.eoi_mode = Field(at, 1 << 9, 9)
        self.abpr = Field(at, 7 << 18, 18)
        self.bpr = Field(at, 7 << 21, 21)
        self.pmr = Field(at, 0x1F << 27, 27)


VMCR_RESET = 1 | 1 << 1 | 2 << 21 | 0x1F << 27
"""Both groups enabled, the whole range of priorities unmasked, 5 bits of group priority: as a guest sets it up."""
VMCR_EOIMODE = 1 << 9


class Vpendbaser:
    """Fields of GICR_VPENDBASER (Arm IHI 0069, 9.11; number from memory), and which vPE it names."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.vpe = Field(at, 0xFFFF)
        self.dirty = Field(at, 1 << 60, 60)
        self.pending_last = Field(at, 1 << 61, 61)
        self.doorbell = Field(at, 1 << 62, 62)
        self.valid = Field(at, 1 << 63, 63)


VALID, DOORBELL_REQUEST, PENDING_LAST, DIRTY = 1 << 63, 1 << 62, 1 << 61, 1 << 60


def vpendbaser_word(vpe: int, valid: bool, doorbell: bool = False) -> int:
    """What GICR_VPENDBASER holds right after a write that changes Valid: hardware sets Dirty in the same step, so the
    store that stands for the write carries it. Write it whole, to `vpendbaser.word`. `doorbell` is GICv4.1's.
    """
    return vpe | DIRTY | (VALID if valid else 0) | (DOORBELL_REQUEST if doorbell else 0)


class Pcpu(Places):
    """A physical CPU: its GICH registers and, with GICv4, its redistributor's VPENDBASER."""

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.name = name
        self.lr = tuple(ListRegister(field.at) for short, field in declared.items() if short.startswith("lr["))
        self.hcr = Hcr(f"{name}.hcr")
        self.vmcr = Vmcr(f"{name}.vmcr")
        self.vpendbaser = Vpendbaser(f"{name}.vpendbaser")


class Vcpu(BaseVcpu):
    """A virtual CPU. `number` is its CPU interface number, which a GICv2 SGI carries as its source."""

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.number = int(name.removeprefix("vcpu"))


HARDWARE: Mapping[str, Shared] = {
    "hcr": Shared(0, private_to="*"),
    "vmcr": Shared(0, private_to="*"),
    "apr": Shared(0, private_to="*"),
    "physical_active": Shared(0, private_to="*"),
}
"""Per pCPU, beside lr[n]; `physical_active` is the physical distributor's: bit n, interrupt n of this CPU (below 32, an SGI
or a PPI) is active. `World.of_vm` has the SPIs.

With GICv4 also `vpendbaser` and `vlpis`, the vLPIs that the redistributor knows to be pending for the vPE that is
resident (bit n is LPI 8192+n): the ITS touches both.
"""

ARCHITECTURAL: Mapping[str, Shared] = {
    "pstate_i": Shared(0, private_to="*"),
    "halted": Shared(0, private_to="*"),
}
"""Per vCPU: PSTATE.I, and whether the guest waits in a WFI that did not trap. With GICv4 also `vpt`, the virtual pending
table (bit n is LPI 8192+n; a resident vPE's too), `vpe_affinity`, the pCPU whose redistributor the ITS takes the vPE to
be at (VMOVP), and `doorbell_enabled`: in 4.0 the enable of the doorbell's LPI, which software writes, in 4.1 whether
the redistributor was asked for a doorbell, which software does through VPENDBASER.
"""


class World(BaseWorld):
    """What a routine can name in one scenario: vCPUs, CPUs, interrupts, and what is so in it."""

    vcpus: dict[str, Vcpu]
    cpus: list[Pcpu]
    make_vcpu = Vcpu
    make_cpu = Pcpu

    def __init__(
        self,
        scenario: Scenario,
        vcpu_state: Mapping[str, Shared] = NOTHING,
        cpu_state: Mapping[str, Shared] = NOTHING,
        vm_state: Mapping[str, Shared] = NOTHING,
        irq_state: Mapping[str, Shared] = NOTHING,
    ) -> None:
        super().__init__(scenario, vcpu_state, cpu_state, vm_state)
        self.list_registers = len(self.cpus[0].lr)
        self.intids = tuple(sorted(scenario.vectors))
        self._irqs = {owner: Places(owner, self._declare(owner, irq_state)) for owner in self._owners()}

    @property
    def gicv4(self) -> bool:
        return self.fact("gicv4") or self.fact("gicv4.1")

    def of_vcpu(self, n: int) -> Mapping[str, Shared]:
        home = self.scenario.vcpus[n].cpu
        vpe = {"vpt": Shared(0), "vpe_affinity": Shared(home), "doorbell_enabled": Shared(0)}
        return {**ARCHITECTURAL, **(vpe if self.gicv4 else NOTHING)}

    def of_cpu(self, n: int) -> Mapping[str, Shared]:
        list_registers = 1 if self.fact("one-list-register") else 2
        registers = {f"lr[{i}]": Shared(0, private_to="*") for i in range(list_registers)}
        redistributor = {"vpendbaser": Shared(0), "vlpis": Shared(0)}
        return {**HARDWARE, **registers, **(redistributor if self.gicv4 else NOTHING)}

    def of_vm(self) -> Mapping[str, Shared]:
        """The physical distributor's, of SPIs that are linked to this VM's: bit n, interrupt n (32 to 63) is active."""
        return {"physical_active": Shared(0)}

    def _owners(self) -> list[str]:
        """Private interrupts exist once a vCPU, the others once."""
        return [
            *(f"irq{i}" for i in self.intids if i >= 32),
            *(f"{v}.irq{i}" for v in self.vcpus for i in self.intids if i < 32),
        ]

    def irq(self, vcpu: Vcpu, intid: int) -> Places:
        """The state that software keeps of an interrupt: for SGIs and PPIs, the vCPU's own."""
        return self._irqs[f"{vcpu.name}.irq{intid}" if intid < 32 else f"irq{intid}"]

    def level_sensitive(self, intid: int) -> bool:
        """Whether an interrupt is a level: `LEVEL` and PPIs are; SGIs, LPIs and other SPIs are edges."""
        return intid == LEVEL or 16 <= intid < 32

    def priority(self, intid: int) -> int:
        """The five bits of an interrupt's priority that a list register holds; a lower number goes first."""
        return PRIORITIES.get(intid, 0x14)

    def all_vcpus(self) -> tuple[Vcpu, ...]:
        return tuple(self.vcpus.values())
