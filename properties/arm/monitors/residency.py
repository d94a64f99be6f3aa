"""GICv4: which redistributor a virtual PE is resident at (Arm IHI 0069, GICR_VPENDBASER; Linux vgic-v4.c, irq-gic-v3-its.c)."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import DIRTY, PENDING_LAST, VALID
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import IHI_0069, KERNEL, LINUX, REGISTERS, RESIDENCY
from properties.arm.monitors.registers import word

VPE = 0xFFFF

GICV4_RES_2 = RESIDENCY.must_not(
    "GICV4-RES-2",
    "A vPE is resident on two redistributors.",
    IHI_0069("GICR_VPENDBASER"),
    observe="All GICR_VPENDBASER at each write.",
)

GICV4_RES_3 = RESIDENCY.must(
    "GICV4-RES-3",
    "Load and put may nest: a vPE that is resident is not made resident again.",
    KERNEL("8e01d9a396e6"),
    kind="discipline",
    profiles=("kvm",),
    authority="linux",
    observe="GICR_VPENDBASER before each write that sets Valid.",
)

GICV4_RES_4 = RESIDENCY.must(
    "GICV4-RES-4",
    "Before a vPE is made resident on another pCPU, the ITS is told (VMOVP), so that its LPIs go there.",
    IHI_0069("VMOVP"),
    LINUX("vgic/vgic-v4.c vgic_v4_load()", "irq_set_affinity() first"),
    observe="Where the ITS takes the vPE to be, at each write that sets Valid.",
)

GICV4_RES_5 = RESIDENCY.must_not(
    "GICV4-RES-5",
    "GICR_VPENDBASER is written while Dirty = 1.",
    IHI_0069("GICR_VPENDBASER, Dirty", "UNPREDICTABLE"),
    KERNEL("686121ebe6fc"),
    observe="Each write by software.",
)

GICV4_RES_6 = RESIDENCY.must(
    "GICV4-RES-6",
    "After Valid := 0, PendingLast is believed only once Dirty = 0, and the vPE is not made resident elsewhere before.",
    REGISTERS("GICR_VPENDBASER, PendingLast"),
    IHI_0069("GICR_VPENDBASER, Dirty"),
    KERNEL("686121ebe6fc", "its_clear_vpend_valid()"),
    observe="The last read of GICR_VPENDBASER before a sleep, and all of them at each write that sets Valid.",
)

GICV4_RES_8 = RESIDENCY.may(
    "GICV4-RES-8",
    "PendingLast = 1 with nothing pending: a hint only.",
    IHI_0069("GICR_VPENDBASER, PendingLast"),
    LINUX("drivers/irqchip/irq-gic-v3-its.c its_vpe_schedule()", "comment"),
    role="its",
    observe="What the redistributor answers after Valid := 0.",
)

GICV4_RES_9 = RESIDENCY.may(
    "GICV4-RES-9",
    "Software takes a Dirty that does not clear for PendingLast = 1.",
    LINUX("drivers/irqchip/irq-gic-v3-its.c its_clear_vpend_valid()"),
    authority="linux",
    unchecked="hardware that never clears Dirty is not modelled",
)


class VpeResidency(Monitor):
    """Looks at each write of a VPENDBASER alone."""

    clauses = (GICV4_RES_2, GICV4_RES_3, GICV4_RES_4, GICV4_RES_5, GICV4_RES_6)
    witnesses = (GICV4_RES_8,)
    events = (ev.Changed, ev.Asked)
    name = "vpendbaser"

    def __init__(self, scenario: Scenario) -> None:
        self.places = {f"cpu{c}.vpendbaser": c for c in range(scenario.cpus)}
        self.vpes = len(scenario.vcpus)

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        match event:
            case ev.Changed(at=at, old=old, new=new, cpu=cpu) if at in self.places:
                if cpu < 0:
                    self._hardware(word(old), word(new), look)
                else:
                    self._software(self.places[at], word(old), word(new), look)
            case _:
                pass

    def _hardware(self, old: int, new: int, look: Look) -> None:
        gone = new & PENDING_LAST and not new & VALID and old & DIRTY and new & VPE < self.vpes
        if gone and not word(look.value(f"vcpu{new & VPE}.vpt")):
            look.witness(GICV4_RES_8, f"vcpu{new & VPE}.vpt", f"vcpu{new & VPE}")

    def _software(self, c: int, old: int, new: int, look: Look) -> None:
        vpe, base = new & VPE, f"cpu{c}.vpendbaser"
        look.witness(GICV4_RES_5)
        if old & DIRTY:
            look.breach(GICV4_RES_5, f"{base} is written while Dirty = 1: UNPREDICTABLE", Subject(base, DIRTY))
        if new & VALID and vpe >= self.vpes:
            look.breach(GICV4_RES_4, f"vPE {vpe} is made resident on cpu{c}, and no vCPU has it", base)
            return
        if new & VALID and old & VALID:
            said = f"vcpu{vpe} is made resident on cpu{c}, where vcpu{old & VPE} is resident already"
            look.breach(GICV4_RES_3, said, base, f"vcpu{vpe}", f"vcpu{old & VPE}")
        if not new & VALID or old & VALID:
            return
        for clause in (GICV4_RES_2, GICV4_RES_3, GICV4_RES_4, GICV4_RES_6):
            look.witness(clause)
        to = word(look.value(f"vcpu{vpe}.vpe_affinity"))
        if to != c:
            said = f"vcpu{vpe} is made resident on cpu{c} while the ITS takes it to be at cpu{to}"
            look.breach(GICV4_RES_4, said, f"vcpu{vpe}.vpe_affinity", base, f"vcpu{vpe}")
        for other, n in self.places.items():
            there = word(look.value(other))
            if n == c or there & VPE != vpe:
                continue
            if there & VALID:
                said = f"vcpu{vpe} is made resident on cpu{c} and is resident on cpu{n}"
                look.breach(GICV4_RES_2, said, other, base, f"vcpu{vpe}")
            elif there & DIRTY:
                said = f"vcpu{vpe} is made resident on cpu{c} before cpu{n} has written its interrupts back"
                look.breach(GICV4_RES_6, said, Subject(other, DIRTY), base, f"vcpu{vpe}")


def monitors(scenario: Scenario) -> list[Monitor]:
    return [VpeResidency(scenario)] if {"gicv4", "gicv4.1"} & set(scenario.facts) else []
