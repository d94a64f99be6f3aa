"""Wrong senders: changes to `Kvm.deliver_interrupt` and what it calls."""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.alternatives.x86.kvm_vtd_only import KvmVtdOnly
from reference.x86.kvm import Kvm


class NoWakeFromHandler(KvmVtdOnly):
    """KVM before fdba608f15e2 (2021): a sender that finds the vCPU running on its own pCPU does nothing at all. A
    device's hard interrupt lands on the vCPU's thread between its last look and `schedule`, posts to that very vCPU,
    and wakes nobody.

    With no device that can post, put does not look at ON either: the vCPU sleeps on its vector.
    """

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if not self.is_running_here(cpu, vcpu):
            super().trigger(cpu, vcpu)


class OnBeforePir(Kvm):
    """Synthetic: ON first, then the PIR bit. The target takes ON and finds PIR empty; then the bit is set, ON stays 0,
    and neither the sender's notification nor the next harvest looks at it.
    """

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        owes = not cpu.test_and_set(vcpu.pid.on)
        return not cpu.test_and_set(vcpu.pid.bit(vector)) and owes


class PlainSetOn(Kvm):
    """Synthetic: ON is read and then set by a plain store, which waits in the store buffer while mode is read. The
    sender sees the target outside its guest, the target sees ON=0 and enters: each misses the other.

    A notification can overtake the store too. ON then comes up behind the harvest and silences every later post.
    """

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if cpu.test_and_set(vcpu.pid.bit(vector)) or cpu.load(vcpu.pid.on):
            return False
        cpu.store(vcpu.pid.on, 1)
        return True
