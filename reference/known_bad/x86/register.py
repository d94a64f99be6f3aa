"""The x86 part of the register: B numbers are bugs that were shipped, each with its fix; M are mutants, F missing fences, E
equivalents that are right.
"""

from __future__ import annotations

from reference.alternatives.x86.kvm_put_sn import KvmPutSn
from reference.known_bad.entries import SYNTHETIC, KnownBad, MustPass
from reference.known_bad.x86 import (
    bhyve,
    block,
    harvest,
    iommu,
    pre_block,
    processor,
    residency,
    sender,
    transfer,
    variants,
    xen,
)
from reference.x86.kvm import Kvm

VTD_ONLY, PRE_BLOCK = "kvm-vtd-only", "kvm-pre-block"
XEN_MENDED = "reference.alternatives.x86.xen:XenMended"
"""Base of changes that Xen's own gaps would hide."""


KNOWN_BAD: tuple[KnownBad, ...] = (
    KnownBad(
        "B01", "save leaves out what is still in PIR", transfer.SavesIrrOnly,
        ("KVM-ENT-13", "E2E-1"), (), "save-restore", "Xen 607e8494c42 (2014)",
    ),
    KnownBad(
        "B02", "restore keeps a stale PIR", transfer.KeepsStalePir,
        ("KVM-ENT-13", "E2E-3"), (), "reset", "KVM 967235d32032 (2016)",
    ),
    KnownBad(
        "B03", "restore clears PIR after loading an expired timer", transfer.PurgesAfterLoading,
        ("KVM-ENT-13", "E2E-1"), (), "reset", "KVM 9cfec6d097c6 (2023)",
    ),
    KnownBad(
        "B06", "a halted guest with interrupts closed is kept awake by ON", block.RefusesToBlock,
        ("KVM-PI-19", "LIVELOCK"), (), "halt-closed", "KVM 1831fa44df74 (2021)",
    ),
    KnownBad(
        "B07", "with APICv inhibited, 'none' is injected as vector FFH", harvest.InvalidVector,
        ("E2E-2",), (), "apicv-inhibited", "KVM cff540ebef38, bf672720e83c (2023)",
    ),
    KnownBad(
        "B08", "no harvest while APICv is inhibited", harvest.NoHarvestWhenInhibited,
        ("KVM-ENT-10", "E2E-1"), ("KVM-ENT-2",), "apicv-inhibited", "KVM 37c4dbf337c5, 7e1901f6c86c (2021)",
    ),
    KnownBad(
        "B10", "a masked vector's pending silences a higher one", bhyve.PendingOnly,
        ("E2E-10", "E2E-1", "E2E-14"), (), "masked-senders", "FreeBSD 2c352feb3bf9 (2019)", base="bhyve",
    ),
    KnownBad(
        "B11", "the last device takes the switch_to hook along", xen.DropsSwitchTo,
        ("E2E-1", "E2E-14"), (), "unassign-running", "Xen 7c00de1756 (2017)", base=XEN_MENDED,
    ),
    KnownBad(
        "B12", "NDST is not set before the vCPU blocks", xen.NoDestination,
        ("E2E-10", "E2E-1"), (), "assign", "Xen 17ee5853e2 (2017)", base=XEN_MENDED,
    ),
    KnownBad(
        "B13", "the last device leaves a blocked vCPU on its list", xen.StaysListed,
        ("LIVELOCK",), (), "replug", "Xen 9152b5f8d9 (2017)", base=XEN_MENDED,
    ),
    KnownBad(
        "B14", "post_block leaves the list only while a device is assigned", pre_block.StaysListed,
        ("LIVELOCK",), (), "replug", "KVM 8b306e2f3c41, 31afb2ea2b10 (2017)", base=PRE_BLOCK,
    ),
    KnownBad(
        "B15", "put and load follow a flag that toggles between them", residency.TogglingGuard,
        ("E2E-10", "KVM-PI-2", "E2E-1"), ("KVM-PI-17", "KVM-PI-5"), "inhibit-toggles", "KVM 53b7ca1a3593 (2021)",
    ),
    KnownBad(
        "B16", "assigning a device leaves a blocked vCPU asleep", transfer.AssignsQuietly,
        ("KVM-PI-18", "E2E-10", "E2E-1"), (), "assign", "KVM a2486020a82e (2021)", base=VTD_ONLY,
    ),
    KnownBad(
        "B17", "interrupts are on after mode:=IN", harvest.InterruptsOnAfterMode,
        ("E2E-11", "E2E-1"), ("KVM-ENT-1", "KVM-ENT-3"), "one-sender", "KVM b95234c84004 (2016)",
    ),
    KnownBad(
        "B18", "the harvest comes before mode:=IN", harvest.HarvestBeforeMode,
        ("E2E-11", "E2E-1", "E2E-14"), ("KVM-ENT-2",), "one-sender", "KVM b95234c84004 (2016)",
    ),
    KnownBad(
        "B19", "load does not look at PIR after it clears SN", residency.IgnoresLeftOver,
        ("E2E-11", "E2E-1"), ("KVM-PI-4",), "preempt-running", "KVM c112b5f50232 (2019)",
    ),
    KnownBad(
        "B20", "has-pending looks at ON alone", residency.PendingMeansOn,
        (), ("KVM-PI-20",), "", "J. Martins, KVM list, 6 Nov 2019, Message-ID 20191106175602.4515-2",
    ),
    KnownBad(
        "B21", "a blocked vCPU's NDST moves and its list does not", pre_block.MovesDestination,
        ("E2E-10", "E2E-13", "E2E-1"), (), "block-preempt",
        "J. Martins, KVM list, 6 Nov 2019, Message-ID 20191106175602.4515-3", base=PRE_BLOCK,
    ),
    KnownBad(
        "B22a", "put sends itself no wakeup", residency.NoSelfIpi,
        ("E2E-10", "E2E-1"), ("KVM-PI-7", "KVM-PI-8"), "one-device", "KVM d76fb40637fc (2021), without its self-IPI",
    ),
    KnownBad(
        "B22b", "put sends itself a wakeup by a stale ON", residency.TrustsStaleOn,
        ("E2E-10", "E2E-1"), ("KVM-PI-8",), "one-device", "KVM d76fb40637fc (2021), testing another value",
    ),
    KnownBad(
        "B24", "a sender on the vCPU's own pCPU wakes nobody", sender.NoWakeFromHandler,
        ("KVM-SND-7", "E2E-10", "E2E-1"), (), "on-the-target", "KVM fdba608f15e2 (2021)", base=VTD_ONLY,
    ),
    KnownBad(
        "B25", "the notification's root-mode handler does nothing", xen.HandlerDoesNothing,
        ("E2E-11", "E2E-1"), (), "one-sender", "Xen e78c98f727 (2015)", base="xen",
    ),
    KnownBad(
        "B26", "a late notification to oneself is spent in root mode", harvest.LateSelfNotification,
        ("E2E-10", "E2E-1"), (), "core", "ACRN 0397cb7174 (2020)",
        base="reference.known_bad.x86.harvest:SelfNotifying",
    ),
    KnownBad(
        "B27", "asking whether another vCPU can run harvests it", harvest.HarvestsForAnother,
        ("KVM-ENT-12", "E2E-1", "RACE"), (), "spin", "KVM 17e433b54393 (2019)",
    ),
    KnownBad(
        "M1", "ON before PIR", sender.OnBeforePir,
        ("E2E-1", "E2E-10", "E2E-14"), ("KVM-SND-1",), "core", SYNTHETIC,
    ),
    KnownBad(
        "M2", "PIR is taken before ON is cleared", harvest.HarvestBeforeOn,
        ("E2E-11", "E2E-1"), ("KVM-ENT-4",), "running", SYNTHETIC,
    ),
    KnownBad(
        "M4", "RVI forgets what was pending", processor.ForgetsRvi,
        ("VID-13", "PIP-7"), (), "masked", SYNTHETIC,
    ),
    KnownBad(
        "M5a", "a vector of vPPR's own class is recognized", processor.AdmitsEqualClass,
        ("VID-12", "VID-1"), (), "masked", SYNTHETIC,
    ),
    KnownBad(
        "M5b", "all eight bits of RVI and vPPR are compared", processor.ComparesWholeVector,
        ("VID-12", "VID-1"), (), "masked", SYNTHETIC,
    ),
    KnownBad(
        "M6", "posted-interrupt processing leaves ON set", processor.LeavesOn,
        ("PIP-4", "E2E-11", "E2E-1", "PIP-2"), (), "two-posts", SYNTHETIC,
    ),
    KnownBad(
        "M7", "delivery leaves the vector in vIRR", processor.LeavesIrr,
        ("E2E-3", "LIVELOCK", "VID-4"), (), "one-device", SYNTHETIC,
    ),
    KnownBad(
        "M8a", "EOI takes the next SVI from vIRR", processor.WrongSvi,
        ("E2E-1", "VID-6"), (), "running", SYNTHETIC,
    ),
    KnownBad(
        "M8b", "EOI does not evaluate", processor.EoiWithoutEvaluation,
        ("E2E-1", "VID-6"), (), "running", SYNTHETIC,
    ),
    KnownBad(
        "M9", "load leaves NDST alone", residency.KeepsDestination,
        ("KVM-PI-2", "E2E-11", "E2E-1", "E2E-13"), (), "preempt-running", SYNTHETIC,
    ),
    KnownBad(
        "M10", "load leaves NV alone", residency.KeepsVector,
        ("KVM-PI-2",), (), "core", SYNTHETIC,
    ),
    KnownBad(
        "M12a", "a device notifies under SN", iommu.IgnoresSn,
        ("VTD-3", "VTD-2"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "M12b", "a device sets ON under SN", iommu.SetsOnUnderSn,
        ("VTD-3",), (), "", SYNTHETIC,
    ),
    KnownBad(
        "M13", "a device reads NV and NDST late", iommu.LatchesLate,
        ("VTD-5",), (), "one-device", SYNTHETIC,
    ),
    KnownBad(
        "M15", "no harvest on the fast path", harvest.NoHarvestOnFastPath,
        ("E2E-11", "E2E-1"), (), "self-ipi", SYNTHETIC,
    ),
    KnownBad(
        "M16", "the vCPU looks before it announces its sleep, and not after", block.LookBeforeAnnouncing,
        ("E2E-10", "KVM-SND-7", "E2E-1"), ("KVM-PI-16",), "on-the-target", SYNTHETIC, base=VTD_ONLY,
    ),
    KnownBad(
        "M17", "a write of the TPR does not evaluate", processor.TprWithoutEvaluation,
        ("E2E-1", "VID-8"), (), "masked", SYNTHETIC,
    ),
    KnownBad(
        "M19", "a device ignores URG", iommu.IgnoresUrgent,
        ("VTD-4", "VTD-2"), (), "", SYNTHETIC,
    ),
    KnownBad(
        "M20", "an xAPIC id is written unshifted", residency.UnshiftedXapicId,
        ("KVM-PI-2", "E2E-1", "E2E-13", "PID-6"), (), "xapic", SYNTHETIC,
    ),
    KnownBad(
        "F1", "no fence between mode:=IN and the harvest", harvest.NoFenceAfterMode,
        ("E2E-11", "E2E-1"), ("KVM-ENT-2",), "tso-running", SYNTHETIC, memory="tso",
    ),
    KnownBad(
        "F2", "no fence between announcing a sleep and the last look", block.NoFenceBeforeLook,
        ("E2E-10", "KVM-SND-7", "E2E-1"), (), "tso-block", SYNTHETIC, base=VTD_ONLY, memory="tso",
    ),
    KnownBad(
        "F3", "ON is set by a plain store", sender.PlainSetOn,
        ("E2E-11", "E2E-1", "PID-8"), ("KVM-SND-4",), "tso-running", SYNTHETIC, memory="tso",
    ),
)  # fmt: skip

MUST_PASS: tuple[MustPass, ...] = (
    MustPass("E1", "load leaves the list after it restores NV", variants.LeavesListLast, "KVM baed82c8e489"),
    MustPass("E2", "load sets NDST and clears SN in two steps", variants.LoadsInTwoSteps, "as Xen's switch_to"),
    MustPass("E3", "every notification twice", variants.NotifiesTwice, SYNTHETIC),
    MustPass("E4", "every harvest twice", variants.HarvestsTwice, SYNTHETIC),
    MustPass("E5", "a wake with every post", variants.WakesAlways, SYNTHETIC),
    MustPass("E6a", "PIR words upwards", variants.ScansUpwards, SYNTHETIC),
    MustPass("E6b", "PIR words downwards", variants.ScansDownwards, SYNTHETIC),
    MustPass("E6c", "the whole PIR at once", variants.ScansAtOnce, SYNTHETIC),
    MustPass("E7a", "put sets SN only if preempted", Kvm, "Linux 6.1"),
    MustPass("E7b", "put sets SN unless it sets the wakeup vector", KvmPutSn, "KVM 6737557442e5 (2025)"),
    MustPass("E8", "no notification is suppressed", variants.AlwaysNotifies, SYNTHETIC),
    MustPass(
        "B47", "SN=1 after a sender read mode=IN, once warned about", Kvm, "KVM 5753743fa510 (2017)", "block-preempt-software"
    ),
)  # fmt: skip

NOT_MODELLED: dict[str, str] = {
    "B39": "remapping entries are not modelled: a device posts to one vCPU for the whole scenario (VTD-9, VTD-10)",
    "B40": "remapping entries and the lifetime of descriptors are not modelled (VTD-10)",
    "B46": "PREEMPT_RT's sleeping locks are not modelled: every lock spins",
}
"""Historical bugs that no class here stands for, each with its reason."""
