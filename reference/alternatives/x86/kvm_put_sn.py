"""KVM's load and put with the newer put rule, in Linux from 2025 on.

After commit 6737557442e5. What is not told here is as in `reference.x86.kvm`.

    put ── blocks, not preempted, guest's interrupts open ──> listed on this pCPU, NV:=WAKEUP, SN stays 0
        └─ anything else ───────────────────────────────────> SN:=1: a post sets its PIR bit and stays silent

So a thread that comes back was either listed with SN=0, or finds SN=1 and perhaps vectors for which nobody set ON.
`load` need not change, but its look at PIR after clearing SN now matters on every return, not after preemption only.
"""

from __future__ import annotations

from conformance.roles.mirrors import Original, mirrors
from conformance.roles.x86 import Cpu, Vcpu
from reference.x86.kvm import Kvm

POSTED_INTR = Original("Linux 6737557442e5", "arch/x86/kvm/vmx/posted_intr.c")


class KvmPutSn(Kvm):
    """KVM from 2025 on: put suppresses notifications unless it enables the wakeup handler."""

    @mirrors(POSTED_INTR, "vmx_vcpu_pi_put")
    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        """A preempted thread is runnable and needs nobody to wake it, so NV=WAKEUP and SN=1 never meet."""
        if not preempted and cpu.load(vcpu.blocking) and not self.interrupt_blocked(cpu, vcpu):
            self.enable_wakeup_handler(cpu, vcpu)
        else:
            cpu.test_and_set(vcpu.pid.sn)
