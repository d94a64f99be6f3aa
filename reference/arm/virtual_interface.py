"""The virtual CPU interface: list registers, priorities, preemption, and the maintenance interrupt.

Arm IHI 0048B (GICv2), chapter 5, and 3.3 for priorities; GICv3's ICH_* and ICV_* have the same shape (IHI 0069, whose
pseudocode of HighestPriorityVirtualInterrupt and VirtualWriteEOIR decides what IHI 0048B leaves open). Section numbers
are from memory.

    list registers ─┐ pending, group enabled
    vLPIs of the ───┴─> highest priority ── < PMR, < running ──> vIRQ ── PSTATE.I ──> deliver (IAR): P -> A, APR
    resident vPE                                                                       EOIR: APR; DIR: A -> invalid
                                                                                              └──> EISR, EOICount, MISR

State of a pCPU: LR[n], HCR, VMCR (which is also GICV_CTLR, PMR, BPR and ABPR), APR, and of the physical distributor
what is active. State of a vCPU: PSTATE.I, `halted`. A virtual FIQ is signalled to a guest that does not take it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from conformance.roles.arm import (
    ACTIVE,
    LPI,
    MISR_EOI,
    MISR_LRENP,
    MISR_NP,
    MISR_U,
    PENDING,
    SPURIOUS,
    Cpu,
    Field,
    ListRegister,
    Pcpu,
    Vcpu,
    VirtualInterface,
)
from conformance.roles.mirrors import Difference, Original, mirrors

GICV2, GICV3, ARMARM = Original("Arm IHI 0048B"), Original("Arm IHI 0069"), Original("Arm ARM")

DIFFERENCES = (
    Difference(
        "vlpis",
        "each vLPI has the priority of the virtual LPI configuration table",
        "all have LPI_PRIORITY",
        "that table is not modelled",
    ),
    Difference(
        "signalled",
        "an interrupt of group 0 may be signalled as a virtual FIQ, and taken",
        "it is signalled, and no guest takes it",
        "no guest here uses FIQs",
    ),
    Difference(
        "deliver",
        "the guest takes the exception, and reads GICV_IAR some instructions later, or not at all",
        "both in one step",
        "PSTATE.I is 1 in between; what comes or goes meanwhile is as if it had before",
    ),
    Difference(
        "end_of_interrupt",
        "the handler writes EOIR, and returns by ERET some instructions later",
        "both in one step, with EOImode=1 the ERET in that of DIR",
        "PSTATE.I is 1 until then, so nothing is taken in between",
    ),
)

IDLE = 32
"""Running priority, in units of the five bits implemented, where no interrupt is active."""
OF_GROUP_1 = 1022
"""Read from GICV_IAR or GICV_HPPIR where the interrupt is of group 1, which AckCtl=0 keeps to GICV_AIAR and GICV_AHPPIR."""
SPECIAL = range(1020, 1024)
"""No interrupts: GICV_EOIR and GICV_DIR ignore them."""
LPI_PRIORITY = 0x14
"""Of every vLPI: the virtual LPI configuration table is not modelled."""


def part(word: int, field: Field) -> int:
    """A field of a word that was read whole."""
    return (word & field.mask) >> field.shift


class Candidate(NamedTuple):
    """A pending virtual interrupt. `told` is what GICV_IAR answers for it; `at` is its list register, None for a vLPI."""

    name: str
    priority: int
    group1: int
    told: int
    at: ListRegister | None

    def __str__(self) -> str:
        return self.name


class ReferenceVirtualInterface(VirtualInterface):
    """One virtual CPU interface, as the manual writes it."""

    @mirrors(GICV2, "chapter 5")
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Nothing is computed or loaded at entry: the interface is what its registers hold."""

    # What is signalled

    @mirrors(GICV2, "chapter 5")
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """A physical interrupt goes to the hypervisor whatever PSTATE.I is. WFI completes for a masked virtual one too."""
        if pending:
            return ("acknowledge", max(pending))
        if cpu.load(vcpu.pstate_i) and not cpu.load(vcpu.halted):
            return None
        return ("deliver",) if self.signalled(cpu, vcpu) else None

    @mirrors(GICV2, "chapter 5")
    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, interrupt: int) -> None:
        cpu.store(vcpu.halted, 0)
        cpu.exit_guest("interrupt", interrupt)

    @mirrors(GICV2, "3.3")
    @mirrors(GICV3, "HighestPriorityVirtualInterrupt")
    def signalled(self, cpu: Cpu, vcpu: Vcpu) -> list[Candidate]:
        """Why the virtual IRQ is asserted: empty if it is not, and more than one interrupt where priorities are equal.

        3.3: among the enabled groups the pending interrupt of highest priority, if PMR admits it and its group priority
        is higher than the running one.
        """
        here = self.world.cpus[cpu.id()]
        vmcr, found = self.sufficient(cpu, here, vcpu)
        return [c for c in found if c.group1 or not part(vmcr, here.vmcr.fiq_en)]

    @mirrors(GICV2, "3.3")
    def sufficient(self, cpu: Cpu, here: Pcpu, vcpu: Vcpu) -> tuple[int, list[Candidate]]:
        """GICH_VMCR, and of the pending interrupts of highest priority those that may be acknowledged."""
        vmcr, found = self.highest_pending(cpu, here, vcpu)
        if not found or found[0].priority >= part(vmcr, here.vmcr.pmr):
            return vmcr, []
        running = self.running_priority(cpu, here)
        return vmcr, [c for c in found if self.group_priority(here, vmcr, c) < running]

    @mirrors(GICV2, "3.3")
    @mirrors(GICV3, "HighestPriorityVirtualInterrupt")
    def highest_pending(self, cpu: Cpu, here: Pcpu, vcpu: Vcpu) -> tuple[int, list[Candidate]]:
        """GICH_VMCR, and the pending interrupts of highest priority among the enabled groups."""
        if not cpu.load(here.hcr.en):
            return 0, []
        vmcr = cpu.load(here.vmcr.word)
        enabled = part(vmcr, here.vmcr.enable0), part(vmcr, here.vmcr.enable1)
        pending = [c for c in self.list_registers(cpu, here) + self.vlpis(cpu, here, vcpu) if enabled[c.group1]]
        highest = min((c.priority for c in pending), default=IDLE)
        return vmcr, [c for c in pending if c.priority == highest]

    @mirrors(GICV2, "GICH_LRn")
    def list_registers(self, cpu: Cpu, here: Pcpu) -> list[Candidate]:
        """Those in state pending: an active one is no candidate, nor one that is pending and active."""
        found: list[Candidate] = []
        for n, lr in enumerate(here.lr):
            word = cpu.load(lr.word)
            if part(word, lr.state) == PENDING:
                intid = part(word, lr.virtual_id)
                source = part(word, lr.cpuid) if intid < 16 and not part(word, lr.hw) else 0
                told = source << 10 | intid
                found.append(Candidate(f"lr[{n}]", part(word, lr.priority), part(word, lr.group1), told, lr))
        return found

    @mirrors(GICV3, "HighestPriorityVirtualInterrupt")
    def vlpis(self, cpu: Cpu, here: Pcpu, vcpu: Vcpu) -> list[Candidate]:
        """GICv4: what the redistributor knows to be pending for the vPE that is resident here."""
        if not self.world.gicv4:
            return []
        base = here.vpendbaser
        word = cpu.load(base.word)
        if not part(word, base.valid) or part(word, base.dirty) or part(word, base.vpe) != vcpu.number:
            return []
        bits = cpu.load(here.vlpis)
        lpis = (LPI + n for n in range(bits.bit_length()) if bits >> n & 1)
        return [Candidate(f"vLPI {lpi}", LPI_PRIORITY, 1, lpi, None) for lpi in lpis]

    @mirrors(GICV2, "3.3.3")
    def group_priority(self, here: Pcpu, vmcr: int, candidate: Candidate) -> int:
        """By GICV_BPR and GICV_ABPR, the bits that decide preemption. Group 1 has its own binary point, one higher,
        unless CBPR is set.
        """
        own = candidate.group1 and not part(vmcr, here.vmcr.cbpr)
        point = max(part(vmcr, here.vmcr.abpr), 3) - 1 if own else max(part(vmcr, here.vmcr.bpr), 2)
        return candidate.priority & ~0 << point - 2

    @mirrors(GICV2, "GICV_RPR")
    def running_priority(self, cpu: Cpu, here: Pcpu) -> int:
        """GICV_RPR: the lowest bit that is set in GICH_APR."""
        apr = cpu.load(here.apr)
        return (apr & -apr).bit_length() - 1 if apr else IDLE

    # What the guest does

    @mirrors(GICV2, "GICV_IAR", "GICV_AIAR")
    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """GICV_IAR (for group 1 GICV_AIAR), read by the handler's first instructions."""
        with cpu.atomic():
            cpu.store(vcpu.halted, 0)
            if cpu.load(vcpu.pstate_i):
                return
            cpu.store(vcpu.pstate_i, 1)
            found = self.signalled(cpu, vcpu)
            if not found:
                cpu.deliver(SPURIOUS)
                return
            taken = cpu.choose(*found) if len(found) > 1 else found[0]
            self.activate(cpu, vcpu, taken)
            cpu.deliver(taken.told)

    @mirrors(GICV2, "GICV_IAR", "GICH_APR")
    def activate(self, cpu: Cpu, vcpu: Vcpu, taken: Candidate) -> None:
        """P -> A, and its group priority is the running one. A vLPI has no active state: it only stops pending."""
        here = self.world.cpus[cpu.id()]
        priority = self.group_priority(here, cpu.load(here.vmcr.word), taken)
        cpu.store(here.apr, cpu.load(here.apr) | 1 << priority)
        if taken.at:
            cpu.store(taken.at.state, ACTIVE)
            return
        bit = 1 << taken.told - LPI
        cpu.store(here.vlpis, cpu.load(here.vlpis) & ~bit)
        cpu.store(vcpu.vpt, cpu.load(vcpu.vpt) & ~bit)

    @mirrors(GICV2, "GICV_IAR", "GICV_AIAR", "GICV_HPPIR", "GICV_AHPPIR", "GICV_CTLR.AckCtl")
    def read(self, cpu: Cpu, vcpu: Vcpu, aliased: bool, acknowledges: bool) -> int:
        """GICV_IAR and HPPIR tell of group 1 with AckCtl alone, AIAR and AHPPIR only of group 1."""
        with cpu.atomic():
            here = self.world.cpus[cpu.id()]
            vmcr, found = (self.sufficient if acknowledges else self.highest_pending)(cpu, here, vcpu)
            if not found:
                return SPURIOUS
            taken = cpu.choose(*found) if len(found) > 1 else found[0]
            if aliased and not taken.group1:
                return SPURIOUS
            if not aliased and taken.group1 and not part(vmcr, here.vmcr.ack_ctl):
                return OF_GROUP_1
            if acknowledges:
                self.activate(cpu, vcpu, taken)
            return taken.told

    @mirrors(GICV2, "chapter 5")
    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> int | None:
        match what:
            case "read_iar" | "read_aiar" | "read_hppir" | "read_ahppir":
                return self.read(cpu, vcpu, aliased="_a" in what, acknowledges=what.endswith("iar"))
            case "end_of_interrupt":
                self.end_of_interrupt(cpu, vcpu, *operands)
            case "deactivate":
                cpu.store(vcpu.pstate_i, 0)
                self.write_dir(cpu, operands[0])
            case "write_pmr":
                cpu.store(
                    self.world.cpus[cpu.id()].vmcr.pmr, operands[0] >> 3
                )  # five bits of the eight are implemented
            case "write_ctlr":
                cpu.store(Field(self.world.cpus[cpu.id()].vmcr.word.at, 0x21F), operands[0])
            case "mask" | "unmask":
                cpu.store(vcpu.pstate_i, int(what == "mask"))
            case "wfi":
                self.wait_for_interrupt(cpu, vcpu)
            case _:
                cpu.exit_guest(what, *operands)
        return None

    @mirrors(GICV2, "GICV_EOIR", "GICV_AEOIR")
    @mirrors(GICV3, "VirtualWriteEOIR")
    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu, told: int) -> None:
        """GICV_EOIR: drops the running priority and, with EOImode=0, deactivates. The handler's return (ERET) unmasks.

        For group 1 with AckCtl=0 it is GICV_AEOIR that the guest writes, with the same effect.
        """
        here = self.world.cpus[cpu.id()]
        apr = cpu.load(here.apr)
        special = told in SPECIAL
        if not special:
            cpu.store(here.apr, apr & apr - 1 if apr else 0)
        if not cpu.load(here.vmcr.eoi_mode):
            self.deactivate(cpu, told, counts=apr != 0 and not special)
            cpu.store(vcpu.pstate_i, 0)

    @mirrors(GICV2, "GICV_DIR")
    @mirrors(GICV3, "ICH_HCR_EL2.TDIR")
    def write_dir(self, cpu: Cpu, told: int) -> None:
        if cpu.load(self.world.cpus[cpu.id()].hcr.tdir):
            cpu.exit_guest("deactivate", told)
        else:
            self.deactivate(cpu, told)

    @mirrors(GICV2, "GICV_DIR", "GICH_HCR.EOICount")
    def deactivate(self, cpu: Cpu, told: int, counts: bool = True) -> None:
        """GICV_DIR: A -> invalid, P+A -> P; where no list register has it, EOICount goes up. vLPIs are never active.

        Which one of several that hold the same VirtualID is UNPREDICTABLE.
        """
        here = self.world.cpus[cpu.id()]
        held: list[tuple[ListRegister, int]] = []
        for lr in here.lr:
            word = cpu.load(lr.word)
            if part(word, lr.virtual_id) == told & 0x3FF and part(word, lr.state) & ACTIVE and told < LPI:
                held.append((lr, word))
        if held:
            lr, word = held[cpu.choose(*range(len(held)))] if len(held) > 1 else held[0]
            cpu.store(lr.state, part(word, lr.state) & PENDING)
            if part(word, lr.hw):
                self.deactivate_physical(cpu, here, part(word, lr.physical_id))
        elif counts and told < LPI and told not in SPECIAL:
            cpu.store(here.hcr.eoi_count, cpu.load(here.hcr.eoi_count) + 1 & 0x1F)

    @mirrors(GICV2, "GICD_ICACTIVERn")
    def deactivate_physical(self, cpu: Cpu, here: Pcpu, intid: int) -> None:
        """The active state of a PPI is each CPU's own, that of an SPI one for all, whoever acknowledged it."""
        bit = 1 << intid
        if intid < 32:
            cpu.store(here.physical_active, cpu.load(here.physical_active) & ~bit)
        elif intid < 64:
            cpu.fetch_and(self.world.vm.physical_active, ~bit)

    @mirrors(ARMARM, "WFI")
    def wait_for_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Does nothing where the virtual IRQ is asserted, masked or not: then it neither waits nor traps."""
        if self.signalled(cpu, vcpu):
            return
        if self.world.fact("wfi-not-trapped"):
            cpu.store(vcpu.halted, 1)
        else:
            cpu.exit_guest("wfi")

    # What the hypervisor reads, and is interrupted by

    @mirrors(GICV2, "GICH_HCR.En", "GICH_MISR")
    def maintenance(self, cpu: Cpu, where: int) -> bool:
        return bool(cpu.load(self.world.cpus[where].hcr.en)) and self.misr(cpu, where) != 0

    @mirrors(GICV2, "GICH_MISR")
    def misr(self, cpu: Cpu, where: int) -> int:
        """GICH_MISR: a bit for each cause that is enabled and there."""
        there = self.world.cpus[where]
        hcr, vmcr = cpu.load(there.hcr.word), cpu.load(there.vmcr.word)
        states = [cpu.load(lr.state) for lr in there.lr]
        causes = MISR_EOI if self.eisr(cpu, where) else 0
        if part(hcr, there.hcr.uie) and sum(map(bool, states)) <= 1:
            causes |= MISR_U
        if part(hcr, there.hcr.lrenpie) and part(hcr, there.hcr.eoi_count):
            causes |= MISR_LRENP
        if part(hcr, there.hcr.npie) and PENDING not in states:
            causes |= MISR_NP
        for group, enabled in enumerate((there.vmcr.enable0, there.vmcr.enable1)):
            bit = 1 << 4 + 2 * group << (0 if part(vmcr, enabled) else 1)
            causes |= hcr & bit
        return causes

    @mirrors(GICV2, "GICH_EISR0")
    def eisr(self, cpu: Cpu, where: int) -> int:
        """GICH_EISR: list registers whose interrupt ended and that asked to be told."""
        return sum(1 << n for n, word in self.invalid(cpu, where) if self.tells(where, word))

    @mirrors(GICV2, "GICH_ELRSR0")
    def elrsr(self, cpu: Cpu, where: int) -> int:
        """GICH_ELRSR: list registers that can be filled without losing an interrupt or the news of its end."""
        return sum(1 << n for n, word in self.invalid(cpu, where) if not self.tells(where, word))

    @mirrors(GICV2, "GICH_LRn.State")
    def invalid(self, cpu: Cpu, where: int) -> list[tuple[int, int]]:
        words = [(n, cpu.load(lr.word)) for n, lr in enumerate(self.world.cpus[where].lr)]
        return [(n, word) for n, word in words if not part(word, self.world.cpus[where].lr[n].state)]

    @mirrors(GICV2, "GICH_LRn.EOI")
    def tells(self, where: int, word: int) -> bool:
        """LR.EOI, which with HW=1 is a bit of PhysicalID."""
        lr = self.world.cpus[where].lr[0]
        return bool(part(word, lr.eoi)) and not part(word, lr.hw)
