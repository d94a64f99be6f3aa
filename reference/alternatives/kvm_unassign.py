"""KVM's put rule of Linux 6.1: the wakeup handler is used only while a device that can post is assigned.

vmx_needs_pi_wakeup() asks kvm_arch_has_assigned_device() at every put, so put's decision can change between two puts of one vCPU. The
reference keeps deciding as it did; docs/findings.md has the interleaving in which 6.1's rule leaves a vCPU asleep for ever.
"""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.kvm import Kvm


class KvmUnassign(Kvm):
    """Linux 6.1's put, which stops using the wakeup handler when the last device goes."""

    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, 0)
