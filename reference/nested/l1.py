"""L1, as far as it posts to its guest L2 from another vCPU: software that only has to keep to the manual.

Intel SDM vol. 3C, 29.6: set the bit, set ON, and if ON was clear send the notification.
"""

from __future__ import annotations

from typing import Any

from conformance.roles.mirrors import mirrors
from conformance.roles.nested import L1, PINV12, Cpu, Then, Vcpu
from reference.x86.descriptor import SDM


class ReferenceL1(L1):
    @mirrors(SDM, "29.6")
    def l1_posts(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        cpu.test_and_set(vcpu.l2.pid.bit(vector))
        if not cpu.test_and_set(vcpu.l2.pid.on):
            return Then("deliver_interrupt", vcpu, PINV12)
        return None

    @mirrors(SDM, "29.6")
    def l1_prepares(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.test_and_set(vcpu.l2.pid.bit(vector))
        cpu.test_and_set(vcpu.l2.pid.on)

    @mirrors(SDM, "29.6")
    def l1_waits(self, cpu: Cpu, vcpu: Vcpu, first: int, second: int) -> Any:
        while cpu.load(vcpu.l2.pid.bit(first)):
            cpu.relax()
        return Then("l1_prepares", vcpu, second)
