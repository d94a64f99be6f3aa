"""Fixes of KVM's posted-interrupt code, each undone by an edit of the real source: the suite has to notice.

Beside each commit what it mended, a scenario that shows it (none: a check of one routine does), and the clauses of which one
at least is broken there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from conformance.adapters.native import NativeError
from reference.linux.program import Edit
from reference.linux.x86.mends import MENDS


class Undone(NamedTuple):
    commits: str
    about: str
    edits: tuple[Edit, ...]
    scenario: str
    clauses: tuple[str, ...]
    since: str = "6.1"
    """The oldest of the releases tried that has the fix."""
    elsewhere: str = ""
    """Whose lines its schedule names, where those of the edited function do nothing that others notice any more."""
    quick: bool = False
    """Tried whenever the tests are."""

    @property
    def name(self) -> str:
        """What it is called after a tree and a tilde: the first commit's hash, or who mended it."""
        return re.findall(r"[0-9a-f]{12}|\w{4,}", self.commits)[0]


DELIVER, LOAD, PUT = "vmx_deliver_posted_interrupt", "vmx_vcpu_pi_load", "vmx_vcpu_pi_put"
ENABLE = "pi_enable_wakeup_handler"
SYNC, MERGE = "vmx_sync_pir_to_irr", "__kvm_apic_update_irr"

UNDONE = (
    Undone(
        "d76fb40637fc (2021)",
        "put no longer looks whether a notification is outstanding as it changes the vector",
        (Edit(ENABLE, "pi_test_on(&new)", "0"),),
        "block-preempt",
        ("E2E-10", "E2E-1"),
        quick=True,
    ),
    Undone(
        "c112b5f50232 (2019)",
        "load does not look at what was posted under SN",
        (Edit(LOAD, "!pi_is_pir_empty(pi_desc)", "0"),),
        "preempt-running",
        ("E2E-11", "E2E-1"),
    ),
    Undone(
        "8b306e2f3c41, 31afb2ea2b10 (2017)",
        "load leaves the wakeup list only while a device is assigned",
        (Edit(LOAD, "!enable_apicv || !lapic_in_kernel(vcpu)", "!kvm_arch_has_assigned_device(vcpu->kvm)"),),
        "replug",
        ("ASSERTION", "E2E-1", "E2E-10"),
        elsewhere="kvm_arch_has_assigned_device",
    ),
    Undone(
        "J. Martins, KVM list, 6 Nov 2019",
        "has-pending looks at ON alone; what is posted under SN sets no ON",
        (Edit("pi_has_pending_interrupt", "(pi_test_sn(pi_desc) && !pi_is_pir_empty(pi_desc))", "0"),),
        "",
        ("KVM-PI-20",),
        quick=True,
    ),
    Undone(
        "7e1901f6c86c (2021)",
        "what is harvested with APICv inhibited requests no event",
        (Edit(SYNC, "kvm_make_request(KVM_REQ_EVENT, vcpu);", ";"),),
        "apicv-inhibited",
        ("KVM-ENT-10", "KVM-ENT-7", "E2E-1"),
    ),
    Undone(
        "cff540ebef38 (2023)",
        "a harvest with APICv inhibited does not say that something is pending",
        (Edit("kvm_apic_update_irr", "apic->irr_pending = true;", ";"),),
        "inhibited-closed",
        ("E2E-1",),
        since="6.12",
        elsewhere="__kvm_apic_update_irr",
        quick=True,
    ),
    Undone(
        "514946d14363 (2023)",
        "the harvest writes vIRR back plainly, over what a sender sets meanwhile",
        (Edit(MERGE, "!try_cmpxchg(p_irr, &prev_irr_val, irr_val)", "(*p_irr = irr_val, 0)"),),
        "one-register",
        ("KVM-ENT-11", "E2E-1"),
        since="6.12",
    ),
    Undone(
        "fdba608f15e2 (2021)",
        "a sender on the vCPU's own pCPU notifies and wakes nobody",
        (
            Edit(
                DELIVER,
                "kvm_vcpu_trigger_posted_interrupt(vcpu, POSTED_INTR_VECTOR);",
                "if (vcpu != kvm_get_running_vcpu()) kvm_vcpu_trigger_posted_interrupt(vcpu, POSTED_INTR_VECTOR);",
            ),
        ),
        "on-the-target",
        ("E2E-10", "E2E-1", "KVM-SND-7"),
        quick=True,
    ),
    Undone(
        "17e433b54393 (2019)",
        "asking whether another vCPU could run harvests its descriptor",
        (Edit("pi_has_pending_interrupt", "return pi_test_on(pi_desc) ||", "return harness_sync(vcpu) > 0 ||"),),
        "spin",
        ("KVM-ENT-12", "E2E-1", "RACE"),
        elsewhere="__kvm_apic_update_irr",
    ),
    Undone(
        "53b7ca1a3593 (2021)",
        "load goes by whether APICv is inhibited, which may have changed since put",
        (Edit(LOAD, "!enable_apicv", "READ_ONCE(vcpu->kvm->arch.inhibited)"),),
        "inhibit-toggles",
        ("ASSERTION", "KVM-PI-17", "E2E-1", "E2E-10"),
    ),
    Undone(
        "f210f7572bed (2014)",
        "irr_pending is set before the vector, so that an injection in between clears it",
        (
            Edit("kvm_lapic_set_irr", "kvm_lapic_set_vector(vec, apic->regs + APIC_IRR);", "apic->irr_pending = true;"),
            Edit(
                "kvm_lapic_set_irr",
                "*/ apic->irr_pending = true;",
                "*/ kvm_lapic_set_vector(vec, apic->regs + APIC_IRR);",
            ),
        ),
        "apicv-inhibited",
        ("E2E-1",),
        elsewhere="vmx_deliver_interrupt",  # whose line is shown for what a header's function does
    ),
    Undone(
        "5753743fa510 (2017)",
        "a WARN that SN is clear while the vCPU is IN_GUEST_MODE: it need not be",
        (
            Edit(
                "kvm_vcpu_trigger_posted_interrupt",
                "if (vcpu->mode == IN_GUEST_MODE) {",
                "if (vcpu->mode == IN_GUEST_MODE) { WARN_ON_ONCE(pi_test_sn(&to_vmx(vcpu)->pi_desc));",
            ),
        ),
        "block-preempt-software",
        ("ASSERTION",),
    ),
    Undone(
        "cfb0e1306a37 (2021)",
        "the control word is read twice in a round: what put writes is of the first, what it compares with of the second",
        (
            Edit(
                ENABLE,
                "new.control = old.control;",
                "new.control = old.control; old.control = READ_ONCE(pi_desc->control);",
            ),
        ),
        "block-preempt",
        ("E2E-10", "E2E-1"),
    ),
    Undone(
        "vmx_set_rvi()",
        "no vector is pending, and that is a number: -1",
        (Edit("vmx_set_rvi", "vector == -1", "0"),),
        "one-sender",
        ("E2E-2",),
    ),
)


def edits_of(name: str) -> tuple[Edit, ...]:
    """The edits that undo a commit, named by its hash, or that are a mend of this name. Raises NativeError."""
    known = {one.name: one.edits for one in (*UNDONE, *MENDS)}
    if name not in known:
        raise NativeError(f"no edit is called {name or 'so'}; there are {', '.join(known)}", "build")
    return known[name]
