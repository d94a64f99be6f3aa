"""Right implementations that look different. The suite must pass each: what it flags here it would flag in a correct
patch.
"""

from __future__ import annotations

from conformance.roles.x86 import PINV, WAKEUP, Cpu, Vcpu
from reference.x86.kvm import Kvm
from reference.x86.processor import ReferenceProcessor


class LeavesListLast(Kvm):
    """KVM baed82c8e489: load restores NV first and takes the vCPU off the wakeup list afterwards. A wakeup that still
    comes finds it listed, and wakes a thread that runs.
    """

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        before, listed = cpu.load(vcpu.cpu), cpu.load(vcpu.pid.nv) == WAKEUP
        flag = cpu.irq_disable()
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        if listed:
            self.leave_wakeup_list(cpu, vcpu, before)
        cpu.irq_restore(flag)
        self.announce_left_over(cpu, vcpu)


class LoadsInTwoSteps(Kvm):
    """NDST and NV in one step, SN in another, and the look at PIR after both."""

    def update_control(self, cpu: Cpu, vcpu: Vcpu, **fields: int) -> int:
        clears_sn = fields.pop("sn", 1) == 0
        new = super().update_control(cpu, vcpu, **fields)
        if clears_sn:
            cpu.test_and_clear(vcpu.pid.sn)
        return new


class NotifiesTwice(Kvm):
    """The sender sends every notification twice."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().trigger(cpu, vcpu)
        super().trigger(cpu, vcpu)


class HarvestsTwice(Kvm):
    """Every harvest is followed by another."""

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        super().sync_pir_to_irr(cpu, vcpu)
        return super().sync_pir_to_irr(cpu, vcpu)


class WakesAlways(Kvm):
    """The sender wakes the vCPU whatever it reads."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().trigger(cpu, vcpu)
        cpu.wake(vcpu)


class ScansUpwards(ReferenceProcessor):
    """Posted-interrupt processing takes the PIR words from the lowest to the highest."""

    def order(self, cpu: Cpu) -> tuple[int, ...]:
        return self.world.words


class ScansDownwards(ReferenceProcessor):
    """Posted-interrupt processing takes the PIR words from the highest to the lowest."""

    def order(self, cpu: Cpu) -> tuple[int, ...]:
        return self.world.words[::-1]


class ScansAtOnce(ReferenceProcessor):
    """Posted-interrupt processing takes the whole PIR in one step."""

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if vector != PINV or not self.apicv():
            cpu.exit_guest("interrupt", vector)
            return
        self.clear_on(cpu, vcpu)
        with cpu.atomic():
            found = max(self.harvest_word(cpu, vcpu, word) for word in self.world.words)
        self.raise_rvi(cpu, vcpu, found)
        self.evaluate(cpu, vcpu)


class AlwaysNotifies(Kvm):
    """The sender suppresses nothing: whether PIR or ON was set before, or the target is in its guest or running right
    here, it sends the notification, and wakes.
    """

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        cpu.test_and_set(vcpu.pid.bit(vector))
        cpu.test_and_set(vcpu.pid.on)
        return True

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.send_ipi(PINV, cpu.load(vcpu.cpu))
        self.wake_up(cpu, vcpu)
