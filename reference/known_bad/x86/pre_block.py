"""Wrong changes to the alternative `KvmPreBlock`."""

from __future__ import annotations

from typing import Any

from conformance.roles.x86 import Cpu, Places, Then, Vcpu
from reference.alternatives.x86.kvm_pre_block import KvmPreBlock


class StaysListed(KvmPreBlock):
    """KVM before 8b306e2f3c41 and 31afb2ea2b10 (2017): post_block does nothing once the last device is gone. The vCPU
    blocked, the device was unplugged, another is plugged in: the next pre_block lists it a second time. A kernel
    that checks its lists stops there; one that does not walks a list whose entry follows itself.
    """

    def post_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return super().post_block(cpu, vcpu) if self.needs_wakeup(cpu) else Then("unblocked", vcpu)

    def join_wakeup_list(self, cpu: Cpu, vcpu: Vcpu) -> None:
        stop_if_listed(cpu, self.world.cpus[cpu.id()], vcpu)
        super().join_wakeup_list(cpu, vcpu)


class MovesDestination(KvmPreBlock):
    """KVM before J. Martins' patch 2 of 3 (2019, Message-ID 20191106175602.4515-3): load on another pCPU moves NDST of
    a vCPU that blocks, while it stays on the list of the pCPU it blocked on. The device's wakeup goes to the new
    pCPU, whose list is empty.
    """

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if cpu.load(vcpu.cpu) == where:
            super().pi_load(cpu, vcpu, where)
            return
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0)
        self.announce_left_over(cpu, vcpu)


def stop_if_listed(cpu: Cpu, here: Places, vcpu: Vcpu) -> None:
    """list_add() of an entry that is on the list: this pCPU goes no further."""
    cpu.lock(here.wakeup_lock)
    while vcpu.name in cpu.load(here.wakeup_list):
        cpu.relax()
    cpu.unlock(here.wakeup_lock)
