"""Arm's part of the register: A numbers are bugs that were shipped, H wrong hardware, E equivalents that are right."""

from __future__ import annotations

from reference.known_bad import arm_hardware as hardware
from reference.known_bad.entries import SYNTHETIC, KnownBad, MustPass

KNOWN_BAD: tuple[KnownBad, ...] = (
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
        ("GICV2-LR-7", "GICV2-LR-1"), (), "", SYNTHETIC,
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
        "H25", "the guest's PMR is not in VMCR", hardware.OwnPmr,
        ("GICV2-VMCR-1",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "H34", "a virtual IRQ that PSTATE.I masks does not end a WFI", hardware.MaskedStaysAsleep,
        ("GICV4-DB-4", "VGIC-Q-1"), (), "gicv4.1-closed-wfi", SYNTHETIC,
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
        "E20", "PendingLast is 1 after every deschedule", hardware.AlwaysPendingLast, "Arm IHI 0069: a hint", "gicv4.1-wfi"
    ),
    MustPass(
        "E21", "a doorbell rings that nobody asked for", hardware.RingsUnasked, "KVM: doorbells may be spurious", "gicv4.1-running"
    ),
)  # fmt: skip

NOT_MODELLED: dict[str, str] = {}
