"""The catalogue of x86: its sections, in the order of reports, and the texts that its clauses cite.

A clause stands where it is judged, in monitors/ and sequential/. A citation says whether that place of the text was read.

Names: PIR, ON, SN, NV, NDST are fields of the posted-interrupt descriptor; vIRR, vISR, vTPR, vPPR are registers of the
virtual-APIC page; RVI and SVI are the requesting and servicing vector of the guest interrupt status. The class of a
vector is its bits 7:4. Section numbers of the SDM are those of the edition whose chapter 29 is "APIC Virtualization and
Virtual Interrupts"; the names stay, the numbers do not.
"""

from __future__ import annotations

from conformance.machine.clause import Section, Text

SDM = Text("Intel SDM vol. 3C, ch. 29 edition")
SDM_2A = Text("Intel SDM vol. 2A", read=False)
SDM_3A = Text("Intel SDM vol. 3A, 253668-032")
VTD = Text("Intel VT-d specification", read=False)
LINUX = Text("Linux 6.1")
KERNEL = Text("Linux git")
KVM_LIST = Text("KVM mailing list")
XEN = Text("Xen git")
ACRN = Text("ACRN git")
ILLUMOS = Text("illumos git")
BHYVE = Text("FreeBSD bhyve")
BOCHS = Text("Bochs")
KVM_UNIT_TESTS = Text("kvm-unit-tests")

POSTED_INTR = "arch/x86/kvm/vmx/posted_intr.c"
VMX = "arch/x86/kvm/vmx/vmx.c"
X86 = "arch/x86/kvm/x86.c"
LAPIC = "arch/x86/kvm/lapic.c"
REQUESTS = "Documentation/virt/kvm/vcpu-requests.rst"
BONZINI = "P. Bonzini, 24 Nov 2020, Message-ID e140ed23-df91-5da2-965a-e92b4a54e54e@redhat.com"
CHRISTOPHERSON = "S. Christopherson, 25 Nov 2020, Message-ID 20201125011416.GA282994@google.com"

IPI_PSEUDOCODE = SDM("IPI virtualization, in newer editions", read=False)

EVERYBODY = ("strict", "kvm", "generic")
"""Profiles: what hardware and the whole path promise, in each; strict has no more. KVM's own clauses are judged in kvm."""

POSTED_DESCRIPTOR = Section(
    title="Posted-interrupt descriptor",
    about="The 64 bytes that posters, the IOMMU and the processor share: where each field lies and how it may be changed.",
    ids=("PID",),
    architecture="x86",
    role="processor",
    authority="architecture",
    profiles=EVERYBODY,
)
PROCESSING = Section(
    title="Posted-interrupt processing",
    about="What the processor does when the notification vector arrives in non-root operation.",
    ids=("PIP",),
    architecture="x86",
    role="processor",
    authority="architecture",
    profiles=EVERYBODY,
)
DELIVERY = Section(
    title="Virtual-interrupt delivery",
    about="How the processor decides that a vector in vIRR is due, and what delivering and ending it does.",
    ids=("VID",),
    architecture="x86",
    role="processor",
    authority="architecture",
    profiles=EVERYBODY,
)
VTD_POSTING = Section(
    title="Interrupt posting by the IOMMU",
    about="What VT-d does with a device's interrupt whose remapping entry is in posted mode.",
    ids=("VTD",),
    architecture="x86",
    role="iommu",
    authority="architecture",
    profiles=EVERYBODY,
)
IPI_VIRTUALIZATION = Section(
    title="IPI virtualization",
    about="How a processor posts an IPI of its guest to another vCPU without an exit: the sender half.",
    ids=("IPIV",),
    architecture="x86",
    role="processor",
    authority="architecture",
    profiles=EVERYBODY,
)
KVM_SENDER = Section(
    title="KVM: the sender",
    about="How KVM posts an interrupt from software: vmx_deliver_posted_interrupt and kvm_vcpu_trigger_posted_interrupt.",
    ids=("KVM-SND",),
    architecture="x86",
    role="sender",
    authority="linux",
    kind="discipline",
    profiles=("kvm",),
)
KVM_ENTRY = Section(
    title="KVM: entering the guest",
    about="The target's side: vcpu_enter_guest and the harvest in software, vmx_sync_pir_to_irr and __kvm_apic_update_irr.",
    ids=("KVM-ENT",),
    architecture="x86",
    role="run_loop",
    authority="linux",
    kind="discipline",
    profiles=("kvm",),
)
KVM_RESIDENCY = Section(
    title="KVM: load, put and wakeup",
    about="How KVM keeps NV, NDST and SN in step with the scheduler, and how it wakes a blocked vCPU.",
    ids=("KVM-PI",),
    architecture="x86",
    role="residency",
    authority="linux",
    kind="discipline",
    profiles=("kvm",),
)
END_TO_END = Section(
    title="End to end",
    about="What holds from a post to the guest's handler, however an implementation is built.",
    ids=("E2E",),
    architecture="x86",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)

SECTIONS = (
    POSTED_DESCRIPTOR,
    PROCESSING,
    DELIVERY,
    VTD_POSTING,
    IPI_VIRTUALIZATION,
    KVM_SENDER,
    KVM_ENTRY,
    KVM_RESIDENCY,
    END_TO_END,
)
