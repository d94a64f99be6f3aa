"""Arm's part of the register: A numbers are bugs that were shipped, L what Linux does today where the reference does
otherwise, V mutants of the software, H wrong hardware, E equivalents that are right.
"""

from __future__ import annotations

from reference.alternatives.arm.vgic_hooks import VgicHooks
from reference.known_bad.arm import hardware, vcpu, vgic
from reference.known_bad.entries import SYNTHETIC, KnownBad, MustPass

MENDED = "reference.alternatives.arm.vgic_2012:Vgic2012Mended"
"""Base of changes that the 2012 design's own gaps would hide."""
LATCH = "reference.known_bad.arm.vgic:ClearsLatchAtEnd"
STAYS = "reference.known_bad.arm.vgic:StaysInOldRegister"

KNOWN_BAD: tuple[KnownBad, ...] = (
    KnownBad(
        "A01", "a level goes into a list register without LR.EOI", vgic.NoEoiBit,
        ("VGIC-LVL-2", "VGIC-LVL-1"), ("VGIC-EOI-1",), "vgic-level-resample", "FreeBSD, freebsd-src PR 2437 (2026)",
    ),
    KnownBad(
        "A02", "what is in a list register is not made pending again", vgic.PendingUntilFolded,
        ("VGIC-EDGE-3", "VGIC-EDGE-1"), (), "vgic-clear-pending", "libvmm PR 257 (2026)",
    ),
    KnownBad(
        "A03", "an injection while disabled is dropped", vgic.DropsWhileDisabled,
        ("VGIC-EN-2", "VGIC-EDGE-1"), (), "vgic-disable", "libvmm issue 56 (2024)",
    ),
    KnownBad(
        "A04", "the end of a disabled interrupt is ignored", vgic.DisabledNeverEnds,
        ("VGIC-EN-3",), (), "vgic-disable-active", "CheriBSD PR 2692 (2026)",
    ),
    KnownBad(
        "A06", "an SGI that is pending is not sent again, whoever sends it", vgic.IgnoresSource,
        ("VGIC-SGI-1",), (), "vgic-sgi", "hvisor issue 282 (2026)",
    ),
    KnownBad(
        "A07", "a list register for each source of an SGI", vgic.RegisterForEachSource,
        ("GICV2-LR-UNIQ",), (), "vgic-sgi", "KVM 16ca6a607d84 (2018)",
    ),
    KnownBad(
        "A09", "a level may be pending and active at once", vgic.PendingAndActiveLevel,
        ("VGIC-LVL-2",), (), "vgic-level-resample", "KVM 67b5b673ad4d (2018)",
    ),
    KnownBad(
        "A10", "an active bit is written while the vCPU runs", vgic.NoHalt,
        ("VGIC-ACT-1",), (), "vgic-deactivate", "KVM abd7229626b9, fixed in 2020",
    ),
    KnownBad(
        "A11", "what is active stays in the list registers, what is pending waits", vgic.ActiveFirst,
        ("VGIC-OVF-2",), ("GICV2-PRI-5",), "vgic-overflow-active", "bao issues 334 and 398 (2026)",
    ),
    KnownBad(
        "A14", "whether to sleep is decided by a stale priority mask", vcpu.StaleVmcr,
        ("VGIC-WFI-2",), ("GICV2-VMCR-2",), "vgic-mask-wfi", "KVM 5eeaf10eec39 (2019)",
    ),
    KnownBad(
        "A16", "a kick without a request", vcpu.NoRequestCheck,
        ("VGIC-Q-1", "VGIC-EDGE-1"), (), "vgic-edge", "KVM 325f9c649c8a (2017)",
    ),
    KnownBad(
        "A18", "the summary bit is cleared after the maintenance handler set it", vcpu.InterruptsOnUnderLock,
        (), ("VGIC-SUM-3",), "vgic-sgi", "the 2012 design's review", base=MENDED,
    ),
    KnownBad(
        "A19", "a late maintenance interrupt is taken for the doing of the vCPU loaded by then", vcpu.GoesByHardware,
        ("GICV2-MI-3",), (), "vgic-late-maintenance", "the 2012 design's review", base=MENDED,
    ),
    KnownBad(
        "A20", "an edge is dropped while its predecessor is in flight", vgic.DropsInFlight,
        ("VGIC-EDGE-3", "VGIC-EDGE-1"), (), "vgic-eoi-mode", "Xen db453468d923",
    ),
    KnownBad(
        "A21", "an interrupt in a list register moves to its new target", vgic.MovesInFlight,
        ("VGIC-RT-3",), (), "vgic-retarget-level", "Xen 31bc6a93a096", base=LATCH,
    ),
    KnownBad(
        "A23", "an interrupt moves to another vCPU's list without a kick", vgic.MovesQuietly,
        ("VGIC-RT-1",), (), "vgic-retarget", "KVM, vgic_prune_ap_list (2018)",
    ),
    KnownBad(
        "A28", "the guest is entered before the virtual pending table is read", vcpu.EntersBeforeScan,
        (), ("GICV4-RES-7",), "gicv4.1-wfi", "KVM 96806229ca03, 57e3cebd022f (2020)",
    ),
    KnownBad(
        "A30", "the doorbell's pending_last is overwritten", vcpu.UnlockedPendingLast,
        ("GICV4-DB-5", "VGIC-WFI-2"), (), "gicv4.1-wfi", "KVM a3f574cd6548 (2020)",
    ),
    KnownBad(
        "A31", "a preemption on the way into WFI loses the doorbell", VgicHooks,
        ("GICV4-DB-4", "VGIC-WFI-2"), ("GICV4-DB-1",), "gicv4.1-shared-pcpu", "KVM b321c31c9b7b (2023)",
    ),
    KnownBad(
        "A32", "the guest is entered with its vPE off", vcpu.LeavesVpeOff,
        ("GICV4-DB-4",), ("GICV4-RES-1",), "gicv4.1-two-waits", "S. Christopherson, KVM list, September 2021",
    ),
    KnownBad(
        "A33", "a directed yield synchronizes a vCPU that may run", vcpu.YieldSynchronizes,
        ("VGIC-DY-1",), (), "vgic-spin", "S. Christopherson, KVM list, September 2021",
    ),
    # Linux today, where the reference does otherwise: docs/findings.md.
    KnownBad(
        "L1", "enabling the distributor only kicks", vgic.EnablingOnlyKicks,
        ("VGIC-EN-5", "VGIC-EDGE-1"), (), "vgic-distributor-off", "Linux, vgic_kick_vcpus()",
    ),
    KnownBad(
        "L2", "a retarget kicks nobody", vgic.RetargetOnlyWrites,
        ("VGIC-RT-1", "VGIC-EDGE-1"), (), "vgic-retarget", "Linux, vgic_mmio_write_target()",
    ),
    KnownBad(
        "L3", "a kick goes to the target, which does not have it", vgic.KicksTarget,
        ("VGIC-RT-1", "VGIC-EDGE-1"), (), "vgic-retarget-active", "Linux, vgic_queue_irq_unlock()", base=STAYS,
    ),
    KnownBad(
        "L4", "the end of a level clears a latch that was written after it", vgic.ClearsLatchAtEnd,
        ("VGIC-LVL-5", "VGIC-LVL-1"), (), "vgic-latch", "Linux, vgic_v2_fold_lr()",
    ),
    KnownBad(
        "L5", "mode = OUT ends the wait for a vCPU to leave its guest", vgic.HaltTrustsMode,
        ("VGIC-ACT-1",), (), "vgic-deactivate", "Linux, kvm_request_needs_ipi()",
    ),
    KnownBad(
        "L6", "pending_last is overwritten with GICv4.0", vcpu.UnlockedWith40,
        ("GICV4-DB-5", "VGIC-WFI-2"), (), "gicv4-wfi", "Linux, its_make_vpe_non_resident()",
    ),
    # Mutants nobody shipped.
    KnownBad(
        "V01", "the decision is not looked at again under both locks", vgic.NoRecheck,
        ("VGIC-RT-1", "VGIC-EDGE-1"), (), "vgic-retarget", SYNTHETIC,
    ),
    KnownBad(
        "V02", "an edge that comes back unacknowledged is forgotten", vgic.ForgetsPending,
        ("VGIC-EDGE-1",), (), "vgic-edge", SYNTHETIC,
    ),
    KnownBad(
        "V03", "GICD_ICPENDR clears a level whose line is high", vgic.ClearsLine,
        ("VGIC-LVL-5",), (), "vgic-clear-level", SYNTHETIC,
    ),
    KnownBad(
        "V04", "a falling edge injects too", vgic.FallsToo,
        ("VGIC-EDGE-4",), (), "vgic-edge-falls", SYNTHETIC,
    ),
    KnownBad(
        "V05", "enabling does not look whether it is pending", vgic.EnablesQuietly,
        ("VGIC-EN-2", "VGIC-EDGE-1"), (), "vgic-disable", SYNTHETIC,
    ),
    KnownBad(
        "V06", "a disabled interrupt is forwarded", vgic.ForwardsDisabled,
        ("VGIC-EN-1",), (), "vgic-disable", SYNTHETIC,
    ),
    KnownBad(
        "V07", "a disabled interrupt leaves its list while it is active", vgic.DropsActiveWhenDisabled,
        ("VGIC-EN-3",), (), "vgic-disable-active", SYNTHETIC,
    ),
    KnownBad(
        "V08", "GICD_CTLR is not looked at", vgic.ForwardsWhileOff,
        ("VGIC-EN-5",), (), "vgic-distributor-off", SYNTHETIC,
    ),
    KnownBad(
        "V09", "an active interrupt follows its target", vgic.MovesActive,
        ("VGIC-RT-2",), (), "vgic-retarget-active", SYNTHETIC,
    ),
    KnownBad(
        "V10", "the first source of an SGI takes the latch along", vgic.LastSourceLost,
        ("VGIC-SGI-1",), (), "vgic-sgi", SYNTHETIC,
    ),
    KnownBad(
        "V11", "the end of one source does not bring the next", vgic.NoEndOfSource,
        ("VGIC-SGI-1",), ("VGIC-SGI-3",), "vgic-sgi", SYNTHETIC,
    ),
    KnownBad(
        "V12", "an active SGI's source is forgotten", vgic.ForgetsActiveSource,
        ("VGIC-SGI-5",), (), "vgic-sgi", SYNTHETIC,
    ),
    KnownBad(
        "V13", "all sources of an SGI become one", vgic.MergesSources,
        ("VGIC-SGI-1",), (), "vgic-sgi", SYNTHETIC,
    ),
    KnownBad(
        "V14", "nothing asks for an exit when the list registers did not suffice", vgic.NoOverflowInterrupt,
        ("VGIC-OVF-1", "VGIC-EDGE-1"), (), "vgic-overflow-active", SYNTHETIC,
    ),
    KnownBad(
        "V15", "UIE with a single list register", vgic.UnderflowWithOne,
        ("VGIC-OVF-2",), (), "vgic-overflow-active", SYNTHETIC,
    ),
    KnownBad(
        "V16", "whoever came first has the list registers", vgic.UnsortedList,
        (), ("GICV2-PRI-5",), "vgic-overflow", SYNTHETIC,
    ),
    KnownBad(
        "V17", "EOICount is not looked at", vgic.IgnoresEoiCount,
        ("VGIC-OVF-3", "VGIC-EDGE-1"), (), "vgic-overflow-active", SYNTHETIC,
    ),
    KnownBad(
        "V18", "a vCPU that sleeps is not woken", vgic.KicksWithoutWaking,
        ("VGIC-WFI-2",), (), "vgic-edge-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V19", "a vCPU in its guest is not kicked", vgic.WakesWithoutKicking,
        ("VGIC-Q-1", "VGIC-EDGE-1"), (), "vgic-edge", SYNTHETIC,
    ),
    KnownBad(
        "V20", "the kick comes before the request", vgic.KicksBeforeRequest,
        ("VGIC-Q-1", "VGIC-EDGE-1"), (), "vgic-edge", SYNTHETIC,
    ),
    KnownBad(
        "V21", "what is queued is not told of another edge", vgic.QueuedIsEnough,
        ("VGIC-EDGE-3", "VGIC-EDGE-1"), (), "vgic-eoi-mode", SYNTHETIC,
    ),
    KnownBad(
        "V22", "an entry that is called off does not fold", vcpu.AbortDropsRegisters,
        ("VGIC-EDGE-1", "VGIC-Q-1"), (), "vgic-edge", SYNTHETIC,
    ),
    KnownBad(
        "V23", "the request is looked at before interrupts are off for good", vcpu.InterruptsOnAfterFlush,
        ("VGIC-Q-1", "VGIC-EDGE-1"), (), "vgic-edge", SYNTHETIC,
    ),
    KnownBad(
        "V24", "GICH_APR stays behind", vcpu.ForgetsApr,
        ("GICV2-PRI-4",), (), "vgic-preempt", SYNTHETIC,
    ),
    KnownBad(
        "V25", "what is masked keeps a vCPU awake", vcpu.RunnableIgnoresMask,
        (), ("VGIC-WFI-5",), "vgic-masked-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V26", "the vCPU looks before it announces its sleep, and not after", vcpu.LooksBeforeAnnouncing,
        ("VGIC-WFI-2",), (), "vgic-edge-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V27", "PendingLast is not looked at", vcpu.IgnoresPendingLast,
        ("GICV4-DB-5", "VGIC-WFI-2"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V28", "no doorbell is asked for", vcpu.NoDoorbell,
        ("GICV4-DB-4", "VGIC-WFI-2"), ("GICV4-DB-1",), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V29", "put leaves the vPE on", vcpu.StaysResident,
        ("GICV4-RES-2",), ("GICV4-RES-3",), "gicv4.1-running", SYNTHETIC,
    ),
    KnownBad(
        "V30", "the ITS is not told that the vPE moved", vcpu.KeepsAffinity,
        ("GICV4-DB-4",), (), "gicv4.1-running", SYNTHETIC,
    ),
    KnownBad(
        "V31", "PendingLast is read before the drain is done", vcpu.ReadsBeforeDrain,
        ("GICV4-RES-6", "VGIC-WFI-2"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V32", "VPENDBASER is written while Dirty is set", vcpu.WritesWhileDirty,
        ("GICV4-RES-5",), (), "gicv4-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V33", "the doorbell wakes nobody", vcpu.DoorbellOnly,
        ("GICV4-DB-4", "VGIC-WFI-2"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "V34", "an interrupt that comes back active is forgotten", vgic.ForgetsActive,
        ("VGIC-EN-3",), (), "vgic-disable-active", SYNTHETIC,
    ),
    # Hardware: the virtual CPU interface.
    KnownBad(
        "H01", "IAR leaves the interrupt pending", hardware.StaysPending,
        ("GICV2-LR-2",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H02", "IAR answers an SGI without its source", hardware.ForgetsSource,
        ("GICV2-LR-2", "GICV2-LR-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H03", "what is pending and active is offered again", hardware.OffersActive,
        ("GICV2-LR-5",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H04", "the end of an active interrupt takes the pending one along", hardware.EndsBoth,
        ("GICV2-LR-3", "GICV2-LR-4"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H05", "EOIR deactivates with EOImode=1 too", hardware.IgnoresEoiMode,
        ("GICV2-LR-4",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H06", "the physical interrupt of a linked one stays active", hardware.KeepsPhysical,
        ("GICV2-LR-7", "GICV2-LR-1", "GICV2-LR-14"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H37", "the end of a linked PPI deactivates it on every CPU", hardware.OneBank,
        ("GICV2-LR-14",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H07", "an exit clears a pending list register", hardware.ForgetsOnExit,
        ("GICV2-LR-6",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H08", "ELRSR says empty before the end was told", hardware.InvalidIsEmpty,
        ("GICV2-ELR-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H09", "a bit of PhysicalID is taken for LR.EOI", hardware.TellsOfLinked,
        ("GICV2-EIS-1", "GICV2-ELR-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H10", "EISR tells of an end while the interrupt is pending", hardware.TellsOfHalfEnded,
        ("GICV2-EIS-2", "GICV2-EIS-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H11", "MISR.EOI stays 0", hardware.NeverTellsOfEnd,
        ("GICV2-MISR-1", "GICV2-MI-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H12", "MISR.U counts pending list registers", hardware.UnderflowOfPending,
        ("GICV2-MISR-2",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H13", "MISR.NP takes pending and active for pending", hardware.ActiveCountsAsPending,
        ("GICV2-MISR-3",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H14", "MISR.LRENP does not look at EOICount", hardware.NotPresentAlways,
        ("GICV2-MISR-4",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H15", "MISR does not know of disabled groups", hardware.DisabledGroupUnheard,
        ("GICV2-MISR-5",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H16", "HCR.En=0 does not withdraw the maintenance interrupt", hardware.MaintenanceWhileOff,
        ("GICV2-MI-1", "GICV2-HCR-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H17", "HCR.En=0 holds no virtual interrupt back", hardware.SignalsWhileOff,
        ("GICV2-HCR-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H18", "EOICount counts an EOIR without an active priority", hardware.CountsEveryEnd,
        ("GICV2-HCR-2",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H35", "a special interrupt number written to EOIR ends the running priority", hardware.EndsSpecials,
        ("GICV2-HCR-4",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H36", "the guest's mask of interrupts does nothing", hardware.NeverCloses,
        ("GICV2-PRI-10",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H19", "EOICount counts vLPIs", hardware.CountsLpis,
        ("GICV2-HCR-3",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H20", "PMR admits an interrupt of its own priority", hardware.AdmitsMasked,
        ("GICV2-PRI-2", "GICV2-LR-1"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H21", "the first list register goes first", hardware.LowestIndexFirst,
        ("GICV2-PRI-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H22", "EOIR clears the highest bit of APR", hardware.DropsLowest,
        ("GICV2-PRI-3",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H23", "group 1 preempts by group 0's binary point", hardware.OnePoint,
        ("GICV2-PRI-2",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H24", "a disabled group's interrupt hides the others", hardware.DisabledHides,
        ("GICV2-GRP-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H38", "GICV_IAR acknowledges group 1 whatever AckCtl is", hardware.AckCtlIgnored,
        ("GICV2-GRP-2", "GICV2-GRP-3"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H39", "a read of GICV_HPPIR acknowledges", hardware.LookAcknowledges,
        ("GICV2-GRP-3",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H40", "GICV_AIAR acknowledges group 0", hardware.AliasIsTheSame,
        ("GICV2-GRP-2",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H25", "the guest's PMR is not in VMCR", hardware.OwnPmr,
        ("GICV2-VMCR-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H34", "a virtual IRQ that PSTATE.I masks does not end a WFI", hardware.MaskedStaysAsleep,
        ("GICV4-DB-4", "VGIC-WFI-2"), (), "gicv4.1-closed-wfi", SYNTHETIC,
    ),
    # Hardware: the ITS and its redistributors.
    KnownBad(
        "H26", "a vLPI for a resident vPE goes to the table alone", hardware.KnowsLate,
        ("GICV4-DB-4", "VGIC-Q-1"), (), "gicv4.1-running", SYNTHETIC,
    ),
    KnownBad(
        "H27", "a vPE that becomes resident is not told what its table holds", hardware.ScansNothing,
        ("GICV4-DB-4", "VGIC-Q-1"), (), "gicv4.1-running", SYNTHETIC,
    ),
    KnownBad(
        "H28", "what was pending when a vPE stopped being resident is dropped", hardware.DrainsToNowhere,
        ("GICV4-DB-4", "VGIC-Q-1"), (), "gicv4.1-running", SYNTHETIC,
    ),
    KnownBad(
        "H29", "PendingLast is always 0", hardware.NothingPendingLast,
        ("GICV4-DB-4", "VGIC-WFI-2"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "H30", "no doorbell rings", hardware.NeverRings,
        ("GICV4-DB-4", "VGIC-WFI-2"), (), "gicv4-wfi", SYNTHETIC,
    ),
    KnownBad(
        "H31", "the doorbell rings before the vLPI is in the table", hardware.RingsFirst,
        ("GICV4-DB-4", "VGIC-Q-1"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "H32", "PendingLast is what the table held a step before Dirty is cleared", hardware.LooksTooSoon,
        ("GICV4-DB-4", "VGIC-WFI-2"), (), "gicv4.1-wfi", SYNTHETIC,
    ),
    KnownBad(
        "H33", "a doorbell rings for a resident vPE", hardware.RingsForResident,
        ("GICV4-DB-2",), (), "gicv4-wfi", SYNTHETIC,
    ),
)  # fmt: skip

MUST_PASS: tuple[MustPass, ...] = (
    MustPass(
        "E22", "what is in the old target's list register stays until its next exit", vgic.StaysInOldRegister,
        "KVM, vgic_mmio_write_target()",
    ),
    MustPass("E23", "no edge is pending and active at once", vgic.NeverPendingAndActive, SYNTHETIC),
    MustPass("E24", "a level is, where every handler quiets its device", vgic.LevelPendingAndActive, "KVM before 67b5b673ad4d"),
    MustPass("E25", "the list is always sorted", vgic.AlwaysSorts, SYNTHETIC),
    MustPass("E26", "every kick twice", vgic.KicksTwice, SYNTHETIC),
    MustPass("E27", "every end causes an exit", vgic.TellsEveryEnd, SYNTHETIC),
    MustPass("E28", "every doorbell twice", vcpu.RingsTwice, SYNTHETIC),
    MustPass("E29", "PendingLast is taken to be set", vcpu.PendingLastAlways, "IHI 0069: a hint"),
    MustPass("E30", "a preempted vCPU's vPE is put with a doorbell", vcpu.PreemptedAsks, SYNTHETIC),
    MustPass(
        "E20", "PendingLast is 1 after every deschedule", hardware.AlwaysPendingLast, "Arm IHI 0069: a hint", "gicv4.1-wfi"
    ),
    MustPass(
        "E21", "a doorbell rings that nobody asked for", hardware.RingsUnasked, "KVM: doorbells may be spurious", "gicv4.1-running"
    ),
)  # fmt: skip

_LIFETIME = "the lifetime of LPIs and of what is mapped to them is not modelled"
NOT_MODELLED: dict[str, str] = {
    "A13": "interrupts mapped to a physical one (LR.HW) are the sequential checks' alone: no software here maps any",
    "A24": _LIFETIME,
    "A26": "GICv4.1's virtual SGIs are not modelled",
    "A27": "the range of a redistributor's LPI numbers (VPROPBASER.IDbits) is not modelled",
    "A34": "a vPE is mapped for the whole scenario",
    "A35": _LIFETIME,
}
