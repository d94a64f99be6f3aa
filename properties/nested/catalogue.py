"""The catalogue of nested posted interrupts: its sections, in the order of reports, and the texts that its clauses cite.

Names: PIR12, ON12, vIRR12 and RVI12 are what L1 has for L2, in L1's memory and as vmcs02 has it; PINV12 is the notification
vector that L1 chose, NPINV the one that L0 has in vmcs02, PINV the one in vmcs01. PIR, vIRR, SVI are L1's.
"""

from __future__ import annotations

from conformance.machine.clause import Section, Text

SDM = Text("Intel SDM vol. 3C, ch. 29 edition")
LINUX = Text("Linux 6.1")
KERNEL = Text("Linux git")
KVM_LIST = Text("KVM mailing list")
XEN = Text("Xen git")

NESTED_C = "arch/x86/kvm/vmx/nested.c"
VMX = "arch/x86/kvm/vmx/vmx.c"
REQUESTS = "Documentation/virt/kvm/vcpu-requests.rst"
THREAD = 'thread of "[PATCH v3 11/11] KVM: nVMX: Wake L2 from HLT when nested posted-interrupt pending"'
BONZINI = "P. Bonzini, 24 Nov 2020, Message-ID e140ed23-df91-5da2-965a-e92b4a54e54e@redhat.com"
CHRISTOPHERSON = f"S. Christopherson, 24 Nov 2020, {THREAD}"
CHRISTOPHERSON_2 = "S. Christopherson, 25 Nov 2020, Message-ID 20201125011416.GA282994@google.com"
MATTSON = f"J. Mattson, 24 Nov 2020, {THREAD}"

EVERYBODY = ("strict", "kvm", "generic")

KVM_NESTED = Section(
    title="Nested posted interrupts",
    about="What L0 owes to L1 and L2 when L1 uses posted interrupts for L2, by the manual or as KVM has it.",
    ids=("KVM-NST",),
    architecture="nested",
    role="nested_run_loop",
    authority="architecture",
    profiles=EVERYBODY,
)
MODE = Section(
    title="vcpu->mode",
    about="How KVM's vCPU threads say what they are about, how others ask something of them, and a proposal to count entries.",
    ids=("MODE",),
    architecture="nested",
    role="requester",
    authority="linux",
    profiles=EVERYBODY,
)
NESTED_END_TO_END = Section(
    title="Nested, end to end",
    about="From L1's post to L2's handler, and from an interrupt for L1 to L1's, however L0 is built.",
    ids=("NST-E2E",),
    architecture="nested",
    role="guest-visible",
    authority="end-to-end",
    profiles=EVERYBODY,
)

SECTIONS = (KVM_NESTED, MODE, NESTED_END_TO_END)
