"""Software with one barrier or locked operation less than it needs, each on a store buffer's or Armv8's account alone."""

from __future__ import annotations

from typing import Any

from conformance.roles import arm, x86
from conformance.roles.x86 import Then
from reference.alternatives.x86.kvm_vtd_only import KvmVtdOnly
from reference.arm.kvm import IN, KvmArm
from reference.arm.vgic import EXITING, IRQ_PENDING, KICK
from reference.x86 import kvm


class EntryWithout(kvm.Kvm):
    """mode := IN, and at once the look at ON: the smp_mb() between them is gone."""

    def ready(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> None:
        cpu.irq_disable()
        cpu.store(vcpu.mode, kvm.IN)
        self.sync_pir_to_irr(cpu, vcpu)


class EntryInTwo(kvm.Kvm):
    """The same, the look at ON in a routine of its own."""

    def vcpu_enter_guest(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.irq_disable()
        cpu.store(vcpu.mode, kvm.IN)
        return Then("look_and_enter", vcpu)

    def look_and_enter(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> Any:
        self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class SleepWithout(KvmVtdOnly):
    """The sleep is announced, and at once ON is looked at: set_current_state() without its barrier."""

    def block_once(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> Any:
        cpu.prepare_to_block()
        if self.check_block(cpu, vcpu):
            cpu.finish_block()
            cpu.store(vcpu.blocking, 0)
            return Then("unblocked", vcpu)
        cpu.schedule()
        return Then("block_once", vcpu)


class PostsPlainly(kvm.Kvm):
    """ON by a load and a store, and then the look at mode."""

    def post_vector(self, cpu: x86.Cpu, vcpu: x86.Vcpu, vector: int) -> bool:
        if cpu.test_and_set(vcpu.pid.bit(vector)) or cpu.load(vcpu.pid.on):
            return False
        cpu.store(vcpu.pid.on, 1)
        return True


class HarvestsPlainly(kvm.Kvm):
    """ON := 0 by a store, and then the look at PIR: what is posted in between finds ON still set."""

    def take(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> bool:
        if not cpu.load(vcpu.pid.on):
            return False
        cpu.store(vcpu.pid.on, 0)
        return self.harvest(cpu, vcpu)


class KicksPlainly(kvm.Kvm):
    """The request by a load and a store, mode by a load: smp_mb__after_atomic() and the exchange are gone."""

    def request(self, cpu: x86.Cpu, vcpu: x86.Vcpu, bit: int) -> None:
        cpu.store(vcpu.requests, cpu.load(vcpu.requests) | bit)

    def kick(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> None:
        self.wake_up(cpu, vcpu)
        if cpu.load(vcpu.mode) == kvm.IN:
            cpu.send_ipi(x86.KICK, cpu.load(vcpu.cpu))


class BlocksPlainly(kvm.Kvm):
    """NV := wakeup by a store, and then ON is tested: the compare-exchange of the control word is gone."""

    def enable_wakeup_handler(self, cpu: x86.Cpu, vcpu: x86.Vcpu) -> None:
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        cpu.store(vcpu.pid.nv, x86.WAKEUP)
        if cpu.load(vcpu.pid.on):
            cpu.send_ipi_self(x86.WAKEUP)
        cpu.irq_restore(flag)


class LoadsPlainly(kvm.Kvm):
    """SN := 0 by a store, without a barrier before PIR is looked at."""

    def pi_load(self, cpu: x86.Cpu, vcpu: x86.Vcpu, where: int) -> None:
        before = cpu.load(vcpu.cpu)
        flag = cpu.irq_disable()
        if cpu.load(vcpu.pid.nv) == x86.WAKEUP:
            self.leave_wakeup_list(cpu, vcpu, before)
        cpu.store(vcpu.pid.ndst, self.destination(where))
        cpu.store(vcpu.pid.nv, x86.PINV)
        cpu.store(vcpu.pid.sn, 0)
        cpu.irq_restore(flag)
        if self.any_posted(cpu, vcpu):
            cpu.test_and_set(vcpu.pid.on)


class ArmEntryWithout(KvmArm):
    """mode := IN, and at once the look at the requests."""

    def vcpu_enter_guest(self, cpu: arm.Cpu, vcpu: arm.Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.irq_disable()
        self.flush(cpu, vcpu)
        self.v4_commit(cpu, vcpu)
        cpu.store(vcpu.mode, IN)
        if self.exit_request(cpu, vcpu):
            return arm.Then("leave_guest", vcpu, "request")
        return arm.Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class ArmNotifiesPlainly(KvmArm):
    """The request by a load and a store, and then the look at mode."""

    def notify(self, cpu: arm.Cpu, vcpu: arm.Vcpu) -> None:
        cpu.store(vcpu.requests, cpu.load(vcpu.requests) | IRQ_PENDING)
        if cpu.load(vcpu.mode) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))
        else:
            cpu.wake(vcpu)


class ArmSleepWithout(KvmArm):
    """The sleep is announced, and at once it is asked whether there is something to run for."""

    def vcpu_block(self, cpu: arm.Cpu, vcpu: arm.Vcpu) -> Any:
        cpu.prepare_to_block()
        if self.runnable(cpu, vcpu):
            cpu.finish_block()
            return arm.Then("vcpu_unblock", vcpu)
        cpu.schedule()
        return arm.Then("vcpu_block", vcpu)


class ArmKicksPlainly(KvmArm):
    """mode is read, not exchanged, behind the locked operation on the requests."""

    def kick(self, cpu: arm.Cpu, vcpu: arm.Vcpu) -> None:
        if not cpu.wake(vcpu) and cpu.load(vcpu.mode) == IN:
            cpu.store(vcpu.mode, EXITING)
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))
