"""GICv4: who asks for a virtual PE's doorbell, and what a vCPU sleeps on (Linux vgic-v4.c, irq-gic-v3-its.c)."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.arm import DIRTY, DOORBELL, DOORBELL_REQUEST, LPI, PENDING_LAST, VALID
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import DOORBELLS, IHI_0069, KERNEL, KVM_LIST, LINUX, RESIDENCY, WAITING
from properties.arm.monitors.registers import takes, word
from properties.arm.monitors.residency import GICV4_RES_6, VPE

VGIC_WFI_6 = WAITING.must(
    "VGIC-WFI-6",
    "If GICR_VPENDBASER.PendingLast was 1 when the vPE came off, the vCPU does not sleep.",
    LINUX("vgic/vgic.c kvm_vgic_vcpu_pending_irq()"),
    LINUX("vgic/vgic-v4.c vgic_v4_put()"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    premise="GICv4",
    observe="What the thread read, and its sleep.",
)

GICV4_RES_1 = RESIDENCY.must(
    "GICV4-RES-1",
    "A vCPU enters its guest with its vPE resident on that pCPU. (Entering with doorbells instead would be legal.)",
    KVM_LIST("M. Zyngier, Sep 2021"),
    LINUX("vgic/vgic-v4.c vgic_v4_load()"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    observe="GICR_VPENDBASER at each entry.",
)

GICV4_RES_7 = RESIDENCY.must(
    "GICV4-RES-7",
    "Where GICR_TYPER.Dirty says that it can be seen, the guest is not entered before the scan of its pending "
    "table is over; else a WFI and a doorbell may chase each other.",
    KERNEL("96806229ca03 and 57e3cebd022f"),
    LINUX("vgic/vgic-v4.c vgic_v4_commit()"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    premise="GICR_TYPER.Dirty = 1",
    observe="Dirty at each entry.",
)

GICV4_RES_10 = RESIDENCY.must_not(
    "GICV4-RES-10",
    "A vPE is made resident while its vCPU is on its way to sleep in WFI: its doorbell request would be gone.",
    KERNEL("b321c31c9b7b"),
    LINUX("vgic/vgic-v4.c vgic_v4_load()"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    observe="At each sleep, writes that have set Valid since the vPE was taken off for this WFI.",
)

GICV4_DB_1 = DOORBELLS.must(
    "GICV4-DB-1",
    "The doorbell is requested when a vPE is taken off for a WFI, also if the thread is preempted on the way, and "
    "not otherwise.",
    LINUX("vgic/vgic-v4.c vgic_v4_put()"),
    KERNEL("b321c31c9b7b"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    premise="GICv4.1: the request at deschedule exists only there",
    observe="What is written with Valid := 0, and what is requested at the sleep.",
)

GICV4_DB_2 = DOORBELLS.must_not(
    "GICV4-DB-2",
    "A doorbell rings for a virtual LPI that came while its vPE was resident.",
    IHI_0069("doorbells"),
    KVM_LIST("M. Zyngier, Sep 2021"),
    role="its",
    observe="Doorbells sent, against virtual LPIs that came while the vPE was not resident, or its scan not over.",
)

GICV4_DB_3 = DOORBELLS.may(
    "GICV4-DB-3",
    "A doorbell is late, or rings for nothing.",
    LINUX("vgic/vgic-v4.c vgic_v4_doorbell_handler()"),
    role="its",
    authority="linux",
    observe="A doorbell taken while its vCPU does not sleep, or has nothing pending.",
)

GICV4_DB_5 = DOORBELLS.must(
    "GICV4-DB-5",
    "What a doorbell said is not overwritten by what is read at the deschedule: a vCPU does not sleep on a "
    "virtual LPI whose doorbell was taken.",
    KERNEL("a3f574cd6548"),
    authority="end-to-end",
    premise="a doorbell is taken between the deschedule and the sleep",
    observe="At rest.",
)

GICV4_DB_6 = DOORBELLS.must(
    "GICV4-DB-6",
    "GICv4.0: the doorbell is enabled whenever its vCPU sleeps, unless it was taken since the last entry, or its handler, "
    "which disables it and then wakes the vCPU, is still at work.",
    LINUX("vgic/vgic-v4.c vgic_v4_doorbell_handler()"),
    KERNEL("df9ba95993b9"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    premise="GICv4.0",
    observe="The doorbell's enable at each sleep. That its handler disables it is not looked at: one too many is GICV4-DB-3.",
)

GICV4_DB_7 = DOORBELLS.may(
    "GICV4-DB-7",
    "A virtual LPI that comes while the vPE is off without a doorbell is recorded, and delivered when it is "
    "resident again.",
    LINUX("vgic/vgic-v4.c vgic_v4_put()"),
    role="its",
    authority="linux",
    observe="A virtual LPI recorded with no doorbell asked for.",
)

GICV4_LPI_1 = DOORBELLS.must(
    "GICV4-LPI-1",
    "What is pending of an LPI moves along when it changes between software and hardware forwarding.",
    LINUX("vgic/vgic-v4.c kvm_vgic_v4_set_forwarding()"),
    role="distributor",
    authority="linux",
    unchecked="changing an LPI's forwarding is not modelled",
)

GICV4_LPI_2 = DOORBELLS.must_not(
    "GICV4-LPI-2",
    "VMOVP is issued for a vPE that is being unmapped.",
    KERNEL("1442ee001198 and e6c24e2d05bb"),
    authority="linux",
    unchecked="mapping and unmapping of vPEs is not modelled",
)

GICV4_SGI_1 = DOORBELLS.must(
    "GICV4-SGI-1",
    "The pending state of a virtual SGI that userspace restores, or that a change of nASSGIreq moves, reaches the "
    "hardware.",
    KERNEL("7b95382f9653"),
    LINUX("vgic/vgic-v4.c vgic_v4_enable_vsgis()"),
    role="distributor",
    authority="linux",
    unchecked="direct injection of SGIs (GICv4.1) is not modelled",
)


class Vpe(NamedTuple):
    """Of one vCPU's thread: the reason it exited for, the pCPU it last took the vPE off, whether it asked for a doorbell
    then, what VPENDBASER answered last since; its doorbell taken since its last entry, or before and its handler still at
    work, and on which pCPU that is; and how many virtual LPIs that came while it was not resident may ring.
    """

    reason: str = ""
    off: int = -1
    for_wfi: bool = False
    """It was taken off for the WFI: with a request, or by the thread and not by the scheduler's put."""
    again: bool = False
    """And made resident since."""
    asked: bool = False
    read: int = DIRTY
    rung: bool = False
    handler: int = -1
    may_ring: int = 0


class Doorbell(Monitor):
    """One vCPU's virtual PE: at its entries, its sleeps, and where its doorbell rings."""

    witnesses = (GICV4_DB_3, GICV4_DB_7)
    events = (ev.Asked, ev.Changed, ev.Entered, ev.Exited, ev.Slept, ev.Sent, ev.Taken, ev.Returned)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.vpe"
        self.number = int(vcpu.removeprefix("vcpu"))
        self.cpus = range(scenario.cpus)
        self.bases = [f"cpu{c}.vpendbaser" for c in self.cpus]
        self.requested = "gicv4.1" in scenario.facts
        self.dirty_is_seen = "typer-dirty" in scenario.facts
        self.waits = ("wfi",) in scenario.vcpus[self.number].program
        clauses = [GICV4_RES_1, GICV4_DB_2, *([GICV4_DB_1] if self.requested else [])]
        if self.waits:
            clauses += [GICV4_RES_6, GICV4_RES_10, GICV4_DB_5, VGIC_WFI_6, *([] if self.requested else [GICV4_DB_6])]
        if self.dirty_is_seen:
            clauses.append(GICV4_RES_7)
        self.clauses = tuple(clauses)
        self.memory = Vpe()

    def resident(self, look: Look) -> int:
        """The pCPU it is resident on, or -1."""
        bases = {c: word(look.value(f"cpu{c}.vpendbaser")) for c in self.cpus}
        return next((c for c, w in bases.items() if w & VALID and w & VPE == self.number), -1)

    def on(self, event: ev.Event, memory: Vpe, look: Look) -> Vpe:
        match event:
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._enters(cpu, look)
                late = memory.handler >= 0
                return Vpe(may_ring=memory.may_ring, rung=late, handler=memory.handler)
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return memory._replace(reason=str(reason[0]))
            case ev.Changed(at=at, old=old, new=new, cpu=cpu, routine=routine) if at == f"cpu{cpu}.vpendbaser":
                if word(new) & VPE != self.number:
                    return memory
                return self._written(cpu, routine, word(old), word(new), memory, look)
            case ev.Asked(cpu=cpu, operation=ops.Load(at=at, mask=mask), result=int(result)) if (
                at == f"cpu{cpu}.vpendbaser" and look.on_cpu(cpu) == self.vcpu
            ):
                seen = memory.read & ~mask | result
                return memory._replace(read=seen) if memory.off == cpu else memory
            case ev.Changed(at=at, set_bits=bits) if at == f"{self.vcpu}.vpt" and bits:
                where = self.resident(look)
                if where < 0 and not look.value(f"{self.vcpu}.doorbell_enabled"):
                    look.witness(GICV4_DB_7, Subject(at, bits), f"{self.vcpu}.doorbell_enabled", self.vcpu)
                if where < 0 or word(look.value(f"cpu{where}.vpendbaser")) & DIRTY:
                    return memory._replace(may_ring=min(memory.may_ring + 1, 3))
            case ev.Sent(cpu=-1, vector=vector) if vector == DOORBELL + self.number:  # software repeats some
                look.witness(GICV4_DB_2)
                if not memory.may_ring:
                    said = f"the doorbell of {self.vcpu} rings for what came while it was resident"
                    look.breach(GICV4_DB_2, said, f"{self.vcpu}.vpt", *self.bases, self.vcpu)
                return memory._replace(may_ring=max(memory.may_ring - 1, 0))
            case ev.Taken(cpu=cpu, vector=vector) if vector == DOORBELL + self.number:
                if look.status(self.vcpu) != "sleeping" or not word(look.value(f"{self.vcpu}.vpt")):
                    look.witness(GICV4_DB_3, f"{self.vcpu}.vpt", self.vcpu)
                return memory._replace(rung=True, handler=cpu)
            case ev.Returned(cpu=cpu) if cpu >= 0 and cpu == memory.handler:
                return memory._replace(handler=-1)
            case ev.Slept(thread=self.vcpu):
                self._sleeps(memory, look)
            case _:
                pass
        return memory

    def _enters(self, cpu: int, look: Look) -> None:
        look.witness(GICV4_RES_1)
        where = self.resident(look)
        if where != cpu:
            at = f"resident on cpu{where}" if where >= 0 else "resident nowhere"
            said = f"{self.vcpu} enters its guest on cpu{cpu}, and its vPE is {at}"
            look.breach(GICV4_RES_1, said, *self.bases, self.vcpu)
        elif self.dirty_is_seen:
            look.witness(GICV4_RES_7)
            if word(look.value(f"cpu{cpu}.vpendbaser")) & DIRTY:
                said = f"{self.vcpu} enters its guest before cpu{cpu} has scanned its pending table"
                look.breach(GICV4_RES_7, said, Subject(f"cpu{cpu}.vpendbaser", DIRTY), self.vcpu)

    def _written(self, cpu: int, routine: str, old: int, new: int, memory: Vpe, look: Look) -> Vpe:
        if new & VALID and not old & VALID:
            return memory._replace(off=-1, again=memory.for_wfi, asked=False, read=DIRTY)
        if old & VALID and not new & VALID:
            if new & DOORBELL_REQUEST and self.requested and memory.reason != "wfi":
                said = f"a doorbell is asked for {self.vcpu}, which is not on its way to sleep"
                look.breach(GICV4_DB_1, said, Subject(f"cpu{cpu}.vpendbaser", DOORBELL_REQUEST), self.vcpu)
            asked = bool(new & DOORBELL_REQUEST)
            for_wfi = memory.for_wfi or (memory.reason == "wfi" and (asked or routine != "put"))
            return memory._replace(off=cpu, for_wfi=for_wfi, asked=asked, read=DIRTY)
        return memory

    def _sleeps(self, memory: Vpe, look: Look) -> None:
        look.witness(GICV4_RES_10)
        if memory.again:
            said = f"{self.vcpu} sleeps, and its vPE was made resident on its way there, after it was taken off for the WFI"
            look.breach(GICV4_RES_10, said, *self.bases, self.vcpu)
        look.witness(GICV4_RES_6)
        if memory.off >= 0 and memory.read & DIRTY:
            said = f"{self.vcpu} sleeps without having read cpu{memory.off}.vpendbaser with Dirty = 0"
            look.breach(GICV4_RES_6, said, Subject(f"cpu{memory.off}.vpendbaser", DIRTY), self.vcpu)
        look.witness(VGIC_WFI_6)
        if memory.off >= 0 and memory.read & PENDING_LAST:
            said = f"{self.vcpu} sleeps, and PendingLast was 1 when its vPE came off cpu{memory.off}"
            last = Subject(f"cpu{memory.off}.vpendbaser", PENDING_LAST)
            look.breach(VGIC_WFI_6, said, last, f"{self.vcpu}.vpt", self.vcpu)
        if self.requested:
            look.witness(GICV4_DB_1)
            if not memory.asked:
                said = f"{self.vcpu} sleeps, and nobody asked for its doorbell"
                asked = [Subject(at, DOORBELL_REQUEST) for at in self.bases]
                look.breach(GICV4_DB_1, said, *asked, f"{self.vcpu}.doorbell_enabled", self.vcpu)
        else:
            look.witness(GICV4_DB_6)
            if not word(look.value(f"{self.vcpu}.doorbell_enabled")) and not memory.rung:
                said = f"{self.vcpu} sleeps with its doorbell disabled"
                look.breach(GICV4_DB_6, said, f"{self.vcpu}.doorbell_enabled", self.vcpu)

    def at_rest(self, memory: Vpe, look: Look) -> None:
        if not self.waits or not memory.rung:
            return
        look.witness(GICV4_DB_5)
        pending = word(look.value(f"{self.vcpu}.vpt"))
        taken = any(takes(look, self.vcpu, LPI + n) for n in range(pending.bit_length()) if pending >> n & 1)
        if look.status(self.vcpu) == "sleeping" and taken:
            said = f"at rest {self.vcpu} sleeps with {self.vcpu}.vpt = {pending:#x}, though its doorbell was taken"
            look.breach(GICV4_DB_5, said, f"{self.vcpu}.vpt", self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    if not {"gicv4", "gicv4.1"} & set(scenario.facts):
        return []
    return [Doorbell(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
