"""Linux's own posted_intr.c alone, behind the residency role: of `linux-x86` what that file does, and the reference for the rest;
IPI virtualization is in use, as there.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.adapters.registry import Implementation
from conformance.roles.x86 import Residency
from reference.linux.x86 import IPIV, SEAMS, implementation
from reference.x86.kvm import Kvm

ROUTINES = ("load", "put", "wakeup_handler", "has_pending", "directed_yield")


def adapter(argument: str) -> Implementation:
    """Linux's own posted_intr.c: load, put, wakeup handler, pending. After a colon what linux-x86 takes: tree, patch, ~NAME."""
    whole = implementation(argument, (IPIV,))
    name = "linux-posted-intr"
    return replace(
        whole,
        name=name,
        spec=f"{name}:{argument}" if argument else name,
        roles={Residency: Kvm},
        replaces={routine: whole.replaces[routine] for routine in ROUTINES},
        assumptions=tuple(seam for seam in SEAMS if "vmx_vcpu_load/put()" in seam),
        base="",
    )
