"""Wrong changes to the alternative `Bhyve`."""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.alternatives.x86.bhyve import Bhyve


class PendingOnly(Bhyve):
    """bhyve before FreeBSD 2c352feb3bf9 (2019; SmartOS OS-6829, OS-6930): a sender notifies only where it turns
    `pending` from 0 to 1. The guest halts at a high priority; a low vector wakes it, it finds nothing it could take,
    and sleeps with pending=1. The next vector is high enough, and nobody is told.
    """

    def set_intr_ready(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        cpu.test_and_set(vcpu.pid.bit(vector))
        return cpu.cmpxchg(vcpu.pid.on, 0, 1) == 0
