"""An ITS and its redistributors, as far as they deliver to virtual PEs: residency, scan, drain, doorbells (GICv4).

Arm IHI 0069, chapters on GICv4 and GICv4.1 and 9.11 (GICR_VPENDBASER); section numbers from memory.

    device ── vLPI ──> redistributor that the ITS takes the vPE to be at ── resident? ──> vIRQ
                                    └──> virtual pending table              └─ no ──> doorbell, if one is asked for
    software ── Valid:=1, Dirty ──> scan of the table ── Dirty:=0
             ── Valid:=0, Dirty ──> drain into it ────── Dirty:=0, PendingLast

`vpt` holds all that is pending for a vPE; `vlpis` of a pCPU is what its redistributor knows of the resident one. A
doorbell is a host interrupt, DOORBELL + the vPE's number, and may travel for ever.
"""

from __future__ import annotations

from conformance.roles.arm import DOORBELL, LPI, Cpu, Its, Then, Vcpu
from conformance.roles.mirrors import Difference, Original, mirrors

GICV4 = Original("Arm IHI 0069")

DIFFERENCES = (
    Difference(
        "rings",
        "a doorbell that is not enabled when the vLPI comes is kept, and rings when it is enabled",
        "it is dropped",
        "a doorbell that rings later is spurious, for who enables it looks at the table: budgets have spurious interrupts",
    ),
    Difference(
        "redistributor",
        "the table is read and written while vLPIs come",
        "scan and drain are one step each, some time after the write of VPENDBASER",
        "a vLPI that comes meanwhile is as if it had come before or after",
    ),
)


class ReferenceIts(Its):
    """GICv4.0 where the scenario says `gicv4`, GICv4.1 where it says `gicv4.1`."""

    @mirrors(GICV4, "virtual LPIs", "vPE residency")
    def vlpi(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        """It is recorded and, where the vPE is resident, known at once; else a doorbell rings, a step later."""
        with cpu.atomic():
            cpu.fetch_or(vcpu.vpt, 1 << intid - LPI)
            where = cpu.load(vcpu.vpe_affinity)
            base = self.world.cpus[where].vpendbaser
            named = cpu.load(base.vpe) == vcpu.number
            valid, dirty = cpu.load(base.valid), cpu.load(base.dirty)
            if named and valid and not dirty:
                self.tell(cpu, where, intid)
            rings = self.rings(cpu, vcpu, bool(named and (valid or dirty)))
        if rings:
            cpu.send_ipi(DOORBELL + vcpu.number, where)

    @mirrors(GICV4, "vPE residency")
    def tell(self, cpu: Cpu, where: int, intid: int) -> None:
        """The redistributor of a resident vPE signals it without another look at the table."""
        cpu.fetch_or(self.world.cpus[where].vlpis, 1 << intid - LPI)

    @mirrors(GICV4, "doorbells")
    def rings(self, cpu: Cpu, vcpu: Vcpu, resident: bool) -> bool:
        """Not while the vPE is resident, or its scan or drain goes on. 4.0: if the doorbell's LPI is enabled, which is
        software's doing. 4.1: once for each request at a deschedule.
        """
        enabled = not resident and bool(cpu.load(vcpu.doorbell_enabled))
        if enabled and self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 0)
        return enabled

    @mirrors(GICV4, "GICR_VPENDBASER")
    def redistributor(self, cpu: Cpu, where: int) -> Then:
        """Waits until a write of VPENDBASER sets Dirty, then scans or drains, in one step."""
        there = self.world.cpus[where]
        if not cpu.load(there.vpendbaser.dirty):
            cpu.relax()
            return Then("redistributor", where)
        with cpu.atomic():
            vcpu = self.world.vcpus.get(f"vcpu{cpu.load(there.vpendbaser.vpe)}")
            if vcpu is None:  # UNPREDICTABLE: nothing is known here
                cpu.store(there.vlpis, 0)
            elif cpu.load(there.vpendbaser.valid):
                self.scan(cpu, vcpu, where)
            else:
                self.drain(cpu, vcpu, where)
            cpu.store(there.vpendbaser.dirty, 0)
        return Then("redistributor", where)

    @mirrors(GICV4, "GICR_VPENDBASER.Valid")
    def scan(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        """After Valid:=1 what is pending is known here; 4.1: a resident vPE has no doorbell."""
        cpu.store(self.world.cpus[where].vlpis, cpu.load(vcpu.vpt))
        if self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 0)

    @mirrors(GICV4, "GICR_VPENDBASER.Valid", "GICR_VPENDBASER.PendingLast")
    def drain(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        """After Valid:=0 nothing is known here any more. PendingLast is a hint: it may be set where nothing is pending."""
        there = self.world.cpus[where]
        cpu.store(there.vlpis, 0)
        cpu.store(there.vpendbaser.pending_last, int(cpu.load(vcpu.vpt) != 0 or self.hints(cpu)))
        if self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, cpu.load(there.vpendbaser.doorbell))

    @mirrors(GICV4, "GICR_VPENDBASER.PendingLast")
    def hints(self, cpu: Cpu) -> bool:
        """PendingLast without anything pending."""
        return cpu.choose("nothing pending", "PendingLast all the same") != "nothing pending"
