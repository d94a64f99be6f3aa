"""The catalogue of Arm: its sections, in the order of reports, and the texts that its clauses cite.

A clause stands where it is judged, in monitors/ and sequential/. A citation says whether that place of the text was read.

Names: LR, HCR, VMCR, APR, MISR, EISR, ELRSR are the GICH_ registers of GICv2 (ICH_* of GICv3 has the same shape); IAR,
EOIR, DIR, PMR, BPR are the guest's GICV_ ones. P and A are the bits of LR.State: pending, active. An interrupt is *made*
pending by a call of the injector, a write of the distributor, or an ITS; *acknowledged* when the guest reads its IAR;
*ended* when it deactivates it. What the guest, a device or the architecture's registers show is a guarantee; an order of
lines, or a list of Linux's own, by which it is kept, is a discipline.
"""

from __future__ import annotations

from conformance.machine.clause import Section, Text

REGISTERS = Text("Arm DDI 0601")
"""The register descriptions of the A-profile, of GICv3's memory-mapped interface, which is that of GICv2."""
IHI_0048 = Text("Arm IHI 0048B", read=False)
"""GICv2. Section numbers are from memory."""
IHI_0069 = Text("Arm IHI 0069", read=False)
"""GICv3 and GICv4."""
ARM_ARM = Text("Arm ARM", read=False)
LINUX = Text("Linux of 2025")
LINUX_2015 = Text("Linux of 2015")
KERNEL = Text("Linux git")
KVM_LIST = Text("KVM mailing list")
ARM_LIST = Text("linux-arm-kernel mailing list")
QEMU = Text("QEMU 7.2")
XEN = Text("Xen git")
BAO = Text("bao-hypervisor")
FREEBSD = Text("freebsd-src")
CHERIBSD = Text("CheriBSD")
LIBVMM = Text("au-ts/libvmm")
INTACK = Text("intack")
"""This suite's own reasoning."""

VGIC_PATCHES = "M. Zyngier, KVM VGIC patches of 2012"

EVERYBODY = ("strict", "kvm", "generic")
"""Profiles: guarantees hold in each; Linux's own disciplines are judged in kvm."""

LIST_REGISTERS = Section(
    title="GIC: list registers",
    about="What the virtual CPU interface knows of an interrupt, and how the guest's acknowledge and completion change it.",
    ids=("GICV2-LR", "GICV2-ELR", "GICV2-EIS"),
    architecture="arm",
    role="virtual_interface",
    authority="architecture",
    profiles=EVERYBODY,
)
MAINTENANCE_INTERRUPT = Section(
    title="GIC: the maintenance interrupt",
    about="What the hypervisor is told while its guest runs: GICH_MISR, its causes and their enables, and a level interrupt.",
    ids=("GICV2-MISR", "GICV2-MI", "GICV2-HCR"),
    architecture="arm",
    role="virtual_interface",
    authority="architecture",
    profiles=EVERYBODY,
)
PRIORITY = Section(
    title="GIC: priorities and VMCR",
    about="Which interrupt comes first, which preempts, and the registers that guest and hypervisor both see.",
    ids=("GICV2-PRI", "GICV2-GRP", "GICV2-VMCR"),
    architecture="arm",
    role="virtual_interface",
    authority="architecture",
    profiles=EVERYBODY,
)
LEVELS_AND_EDGES = Section(
    title="vGIC: levels and edges",
    about="When an interrupt is pending, and that neither an edge is lost nor a level delivered that is gone.",
    ids=("VGIC-LVL", "VGIC-EDGE", "VGIC-EOI"),
    architecture="arm",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)
SGIS = Section(
    title="vGIC: SGIs",
    about="Software-generated interrupts carry their source; each source is an interrupt of its own.",
    ids=("VGIC-SGI",),
    architecture="arm",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)
ROUTING = Section(
    title="vGIC: enabling and routing",
    about="What writes of the distributor do to an interrupt that may be pending, active, or in a list register at that moment.",
    ids=("VGIC-EN", "VGIC-RT", "VGIC-ACT"),
    architecture="arm",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)
QUEUEING = Section(
    title="vGIC: queueing and overflow",
    about="Between making an interrupt pending and entering the guest with it; and more interrupts than list registers.",
    ids=("VGIC-Q", "VGIC-OVF", "VGIC-SUM"),
    architecture="arm",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)
WAITING = Section(
    title="vGIC: WFI and directed yield",
    about="What a vCPU may sleep on, and what others may ask of it meanwhile.",
    ids=("VGIC-WFI", "VGIC-DY"),
    architecture="arm",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)
RESIDENCY = Section(
    title="GICv4: residency",
    about="A virtual PE is known to one redistributor at a time: the one of the pCPU that runs its vCPU.",
    ids=("GICV4-RES",),
    architecture="arm",
    role="residency",
    authority="architecture",
    profiles=EVERYBODY,
)
DOORBELLS = Section(
    title="GICv4: doorbells and virtual LPIs",
    about="How a virtual LPI reaches a vCPU that does not run.",
    ids=("GICV4-DB", "GICV4-LPI", "GICV4-SGI"),
    architecture="arm",
    role="residency",
    authority="architecture",
    profiles=EVERYBODY,
)

SECTIONS = (
    LIST_REGISTERS,
    MAINTENANCE_INTERRUPT,
    PRIORITY,
    LEVELS_AND_EDGES,
    SGIS,
    ROUTING,
    QUEUEING,
    WAITING,
    RESIDENCY,
    DOORBELLS,
)
