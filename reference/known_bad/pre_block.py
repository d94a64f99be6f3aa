"""Wrong changes to the alternative `KvmPreBlock`."""

from __future__ import annotations

from typing import Any

from conformance.roles.x86 import Cpu, Then, Vcpu
from reference.alternatives.kvm_pre_block import NOWHERE, KvmPreBlock


class StaysListed(KvmPreBlock):
    """KVM before 8b306e2f3c41 and 31afb2ea2b10 (2017): post_block does nothing once the last device is gone. The vCPU blocked, the device
    was unplugged, another is plugged in: the next pre_block lists it a second time. Then the kernel's list names itself as its own
    successor, and the wakeup handler walks it for ever, lock held.
    """

    def post_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.needs_wakeup(cpu) and cpu.load(vcpu.pre_pcpu) != NOWHERE:
            return super().post_block(cpu, vcpu)
        return Then("vcpu_run", vcpu)

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        walk(cpu, self.world.cpus[where])
        super().wakeup_handler(cpu, where)


class MovesDestination(KvmPreBlock):
    """KVM before J. Martins' patch 2 of 3 (2019, Message-ID 20191106175602.4515-3): load on another pCPU moves NDST of a vCPU that
    blocks, while it stays on the list of the pCPU it blocked on. The device's wakeup goes to the new pCPU, whose list is empty.
    """

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if cpu.load(vcpu.cpu) == where:
            super().pi_load(cpu, vcpu, where)
            return
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0)
        self.announce_left_over(cpu, vcpu)


def walk(cpu: Cpu, here: Any) -> None:
    """A walk along a list of the kernel's kind: it does not end if an entry was added twice."""
    cpu.lock(here.wakeup_lock)
    names = cpu.load(here.wakeup_list)
    while len(set(names)) < len(names):
        cpu.relax()
        names = cpu.load(here.wakeup_list)
    cpu.unlock(here.wakeup_lock)
