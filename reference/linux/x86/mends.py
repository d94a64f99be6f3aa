"""Ways to mend what docs/findings/1.md tells of, as edits of the real source: which are enough, the suite says."""

from __future__ import annotations

from typing import NamedTuple

from reference.linux.program import Edit


class Mend(NamedTuple):
    name: str
    about: str
    edits: tuple[Edit, ...]
    enough: tuple[str, ...]
    """The scenarios, of no-device and unassign, in which nothing is lost then."""


LOAD, PUT = "vmx_vcpu_pi_load", "vmx_vcpu_pi_put"

MENDS = (
    Mend(
        "wake-in-load",
        "load wakes the vCPU where it sets ON; a thread that is about to sleep then looks once more",
        (Edit(LOAD, "pi_set_on(pi_desc);", "{ pi_set_on(pi_desc); kvm_vcpu_wake_up(vcpu); }"),),
        ("no-device", "unassign"),
    ),
    Mend(
        "put-looks-at-on",
        "put returns early only if ON is clear; else it readies the wakeup handler, and notifies itself",
        (Edit(PUT, "!vmx_needs_pi_wakeup(vcpu)", "!vmx_needs_pi_wakeup(vcpu) && !pi_test_on(pi_desc)"),),
        ("no-device", "unassign"),
    ),
    Mend(
        "on-only-after-sn",
        "load sets ON only if SN was set, since only then a post may have left ON alone",
        (
            Edit(LOAD, "unsigned int dest;", "unsigned int dest; bool suppressed = pi_test_sn(pi_desc);"),
            Edit(LOAD, "!pi_is_pir_empty(pi_desc)", "suppressed && !pi_is_pir_empty(pi_desc)"),
        ),
        ("no-device",),
    ),
)
