"""Wrong changes to the alternative `Xen`; where Xen itself can lose an interrupt nearby, to `XenMended`."""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.alternatives.x86.xen import HOOKED, PAUSED, SWITCH_TO, Xen, XenMended
from reference.known_bad.x86.pre_block import stop_if_listed


class HandlerDoesNothing(Xen):
    """Xen before e78c98f727 (2015): the notification's root-mode handler raises no softirq. A vector is posted and its
    notification taken between the harvest and the interrupts going off; the look for softirqs finds none, and the
    guest is entered without it.
    """

    def notification_handler(self, cpu: Cpu, where: int) -> None:
        pass


class DropsSwitchTo(XenMended):
    """Xen before 7c00de1756 (2017): the last device takes the switch_to hook along. A vCPU that was preempted then,
    with SN=1, comes back and keeps it: every sender finds SN, leaves ON alone and only kicks, and no harvest looks
    at PIR again.
    """

    def switch_to_hooked(self, cpu: Cpu) -> bool:
        return self.hooked(cpu)


class NoDestination(XenMended):
    """Xen before 17ee5853e2 (2017): assigning the first device leaves NDST to the next switch_to. The vCPU blocks
    before there is one, and its wakeup goes to no pCPU at all.
    """

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, HOOKED)
        self.unblock(cpu, vcpu)


class StaysListed(XenMended):
    """Xen before 9152b5f8d9 (2017): the last device goes and leaves a blocked vCPU on its list, with no hook left to
    take it off. Another device comes, the vCPU blocks again and is listed a second time, which is where an assertion
    stops the pCPU; without it, the wakeup handler walks a list whose entry follows itself.
    """

    def unassign_paused(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while cpu.load(vcpu.running):
            cpu.relax()
        cpu.store(self.world.vm.assigned, SWITCH_TO)
        if cpu.fetch_and(vcpu.pause_flags, ~PAUSED) == PAUSED:
            cpu.wake(vcpu)

    def pi_block(self, cpu: Cpu, vcpu: Vcpu) -> None:
        stop_if_listed(cpu, self.here(cpu), vcpu)
        super().pi_block(cpu, vcpu)
