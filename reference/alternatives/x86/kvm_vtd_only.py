"""KVM of Linux 6.1 where IPI virtualization is not in use: put touches the descriptor only while a device that can post
is assigned.

    put:   vmx_needs_pi_wakeup() ── no device assigned ──> nothing: NV stays PINV, SN stays 0
    load:  full update on another pCPU, and ON:=1 for what is left in PIR, device or not

The second half announces a vector on behalf of a sender that may be between its two locked operations; without the
first half's self-IPI nobody acts on the announcement. docs/findings.md tells how a vCPU then sleeps for ever.
"""

from __future__ import annotations

from conformance.roles.mirrors import mirrors
from conformance.roles.x86 import Cpu
from reference.x86.kvm import POSTED_INTR, Kvm


class KvmVtdOnly(Kvm):
    """Linux 6.1 without IPI virtualization: put depends on assigned devices."""

    @mirrors(POSTED_INTR, "vmx_can_use_vtd_pi")
    def needs_wakeup(self, cpu: Cpu) -> bool:
        return bool(cpu.load(self.world.vm.assigned))
