"""An interrupt that is lost: the clauses that this breaks, by kind of interrupt and by what it went through.

`Interrupt.at_rest` judges them.
"""

from __future__ import annotations

from properties.arm.catalogue import (
    ARM_LIST,
    DOORBELLS,
    IHI_0048,
    IHI_0069,
    KERNEL,
    KVM_LIST,
    LEVELS_AND_EDGES,
    LINUX,
    QUEUEING,
    REGISTERS,
    SGIS,
    VGIC_PATCHES,
    WAITING,
)

IN_GUEST, WAITS = "the vCPU is in its guest", "the vCPU sleeps, or waits in WFI"
CROWDED = "interrupts outnumber list registers"
SOFTWARE_BESIDE_GICV4 = "software makes it, beside GICv4"
CAUSED = "it was made pending"
ACTIVE_THEN = "an edge was made while it was active"
LOWERED = "its line fell"
DISABLED, OFF, RETARGETED = (
    "it was disabled while it may have been pending",
    "the distributor was off while it may have been pending",
    "it was retargeted while it may have been pending",
)
ENDED_DISABLED, ENDED_OUTSIDE = "it was ended while disabled", "it was ended in no list register"
HIGH_AT_END = "its line was high when it was ended"
CLEARED, FELL = "GICD_ICPENDR was written with the line high", "the line fell with a latch set"
SET_BY_REGISTER, OTHERS_CLEARED = "GICD_SPENDSGIR made it pending", "GICD_CPENDSGIR cleared another source of it"
LATCH_USED_UP = "what was latched was acknowledged and ended"
"""Conditions, and what an interrupt went through: under them a clause is another one, too."""

VGIC_LVL_1 = LEVELS_AND_EDGES.must(
    "VGIC-LVL-1",
    "A level-sensitive interrupt is pending while its line is high or a write of GICD_ISPENDR is latched, and "
    "then it is delivered; an edge-triggered one is pending by its latch alone.",
    IHI_0048("4.3"),
    LINUX("vgic/vgic.h irq_is_pending()"),
    LINUX("vgic/vgic.c kvm_vgic_inject_irq()"),
    authority="architecture",
    observe="At rest no vCPU that would take it runs or sleeps while the line is surely high, or a latch surely set.",
)

VGIC_EDGE_1 = LEVELS_AND_EDGES.must_not(
    "VGIC-EDGE-1",
    "An edge is lost: where one was made after the last acknowledgement, there is another acknowledgement, as "
    "long as the interrupt is enabled and its target takes it.",
    LINUX("vgic/vgic.c vgic_queue_irq_unlock()", "comment on an interrupt that is queued already"),
    observe="At rest nobody who would take it runs or sleeps while an edge waits.",
)

VGIC_SGI_1 = SGIS.must(
    "VGIC-SGI-1",
    "The same SGI from several sources is acknowledged once for each, and each acknowledgement names its source.",
    IHI_0048("3.2"),
    ARM_LIST(VGIC_PATCHES, '"SGIs from different sources are different interrupts"'),
    LINUX("vgic/vgic-v2.c vgic_v2_populate_lr()"),
    authority="architecture",
    observe="As VGIC-EDGE-1, of each source.",
)

GICV4_DB_4 = DOORBELLS.must(
    "GICV4-DB-4",
    "A virtual LPI is delivered: to a vCPU that runs at once, to one that waits through a doorbell (4.0: its own "
    "LPI; 4.1: requested at deschedule) or PendingLast.",
    IHI_0069("doorbells"),
    REGISTERS("GICR_VPENDBASER, Doorbell"),
    LINUX("vgic/vgic-v4.c", "header comment"),
    role="guest-visible",
    observe="As VGIC-EDGE-1, of virtual LPIs.",
)

LOST = (VGIC_LVL_1, VGIC_EDGE_1, VGIC_SGI_1, GICV4_DB_4)

VGIC_Q_1 = QUEUEING.must(
    "VGIC-Q-1",
    "No interrupt falls between the filling of list registers and the entry unseen: a vCPU does not rest in its "
    "guest with one due that it was not told of. (Linux: state, request, kick; flush, mode := IN, look at "
    "requests.)",
    KERNEL("325f9c649c8a"),
    LINUX("arm.c kvm_arch_vcpu_ioctl_run()"),
    LINUX("vgic/vgic.c vgic_queue_irq_unlock()"),
    observe="At rest no vCPU is in its guest with a deliverable interrupt that waits.",
    of=LOST,
    where=(IN_GUEST,),
)

VGIC_OVF_1 = QUEUEING.must(
    "VGIC-OVF-1",
    "If more is pending than list registers hold, the guest is made to exit in time: nothing waits for ever while "
    "the guest ends what it has.",
    LINUX("vgic/vgic.c vgic_flush_lr_state()", "comment"),
    ARM_LIST(VGIC_PATCHES, "the overflow flag"),
    premise="interrupts outnumber list registers",
    observe="As VGIC-EDGE-1 and VGIC-LVL-1, where interrupts outnumber list registers.",
    of=LOST,
    where=(CROWDED,),
)

VGIC_OVF_3 = QUEUEING.must(
    "VGIC-OVF-3",
    "What GICH_HCR.EOICount counted ends interrupts that were active in no list register, and no other.",
    KERNEL("6da5e537f5"),
    premise="an interrupt is ended that no list register holds",
    observe=(
        "An edge made after such an end is delivered; what else the guest handles is active in a list register at the next "
        "entry, if one is free and no end outside is waited for (LRENPIE)."
    ),
    of=LOST,
    where=(ENDED_OUTSIDE,),
)

VGIC_WFI_2 = WAITING.must_not(
    "VGIC-WFI-2",
    "A vCPU sleeps, or waits in its guest, for ever with an interrupt pending that its priority mask and group "
    "enables let through.",
    KERNEL("5eeaf10eec39 (2019)"),
    KVM_LIST("M. Zyngier, Sep 2021"),
    premise="a vCPU that waits for an interrupt is made one",
    observe="At rest.",
    of=LOST,
    where=(WAITS,),
)

VGIC_WFI_3 = WAITING.must(
    "VGIC-WFI-3",
    "On a machine with GICv4, an interrupt that software makes wakes a vCPU from WFI too.",
    KVM_LIST("M. Zyngier, Sep 2021", "a non-V{LPI,SGI} can still be the wake-up"),
    premise="GICv4, and an interrupt that is no virtual LPI",
    observe="At rest, in scenarios with GICv4 and a software injector.",
    of=LOST,
    where=(
        WAITS,
        SOFTWARE_BESIDE_GICV4,
    ),
)
