"""Wrong scheduler hooks: changes to `Kvm.pi_load`, `Kvm.pi_put`, the wakeup handler and what they call."""

from __future__ import annotations

from conformance.roles.x86 import PINV, WAKEUP, Cpu, Vcpu
from reference.x86.kvm import Kvm


class IgnoresLeftOver(Kvm):
    """KVM before c112b5f50232 (2019): load clears SN and does not look at PIR. While SN was set a device posted without
    setting ON; entry reads ON=0, skips its harvest and enters. The vector waits for another post.
    """

    def announce_left_over(self, cpu: Cpu, vcpu: Vcpu) -> None:
        pass


class NoSelfIpi(Kvm):
    """d76fb40637fc (2021) without its self-IPI: put joins the list and reads the control word; a device posts, and its
    notification goes to the vector of a running vCPU, whose handler does nothing. The compare-exchange publishes
    ON=1 with the wakeup vector, no post notifies any more, and the vCPU sleeps on.
    """

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        self.update_control(cpu, vcpu, nv=WAKEUP)
        cpu.irq_restore(flag)


class TrustsStaleOn(Kvm):
    """d76fb40637fc (2021), testing the wrong value: put sends its self-IPI by the ON of its first snapshot. A device
    posts between that and the compare-exchange, whose retry publishes ON=1 unnoticed: the vCPU sleeps on.
    """

    def enable_wakeup_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        flag = cpu.irq_disable()
        self.join_wakeup_list(cpu, vcpu)
        outstanding = cpu.load(vcpu.pid.on)
        self.update_control(cpu, vcpu, nv=WAKEUP)
        if outstanding:
            cpu.send_ipi_self(WAKEUP)
        cpu.irq_restore(flag)


class TogglingGuard(Kvm):
    """KVM before 53b7ca1a3593 (2021): put and load act only while APICv is active, which another vCPU may change
    between the two. put joined the list and set the wakeup vector; load undoes neither, and leaves NDST behind: the
    vCPU runs on listed, and its notifications go to a pCPU it has left.
    """

    def needs_wakeup(self, cpu: Cpu) -> bool:
        return not cpu.load(self.world.vm.inhibited)

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if self.needs_wakeup(cpu):
            super().pi_load(cpu, vcpu, where)


class KeepsDestination(Kvm):
    """Synthetic: load leaves NDST alone. The vCPU was moved to another pCPU, and devices go on notifying the old one."""

    def update_control(self, cpu: Cpu, vcpu: Vcpu, **fields: int) -> int:
        fields.pop("ndst", None)
        return super().update_control(cpu, vcpu, **fields)


class KeepsVector(Kvm):
    """Synthetic: load leaves NV alone. A vCPU that was blocked runs with the wakeup vector: the processor does not know
    it, and every device interrupt is a VM exit where posting should have saved one.
    """

    def update_control(self, cpu: Cpu, vcpu: Vcpu, **fields: int) -> int:
        if fields.get("nv") == PINV:
            del fields["nv"]
        return super().update_control(cpu, vcpu, **fields)


class UnshiftedXapicId(Kvm):
    """Synthetic: NDST gets the xAPIC id in its low bits, where xAPIC mode has it in bits 15:8. The IOMMU reads id 0,
    and a vCPU on any other pCPU is never notified.
    """

    def destination(self, where: int) -> int:
        return where


class PendingMeansOn(Kvm):
    """KVM before J. Martins' patch 1 of 3 (2019, Message-ID 20191106175602.4515-2): whether a preempted vCPU has
    something pending is asked of ON alone. Under SN a device posts without ON, so a spinning vCPU does not yield to
    the one that has work.
    """

    def has_pending(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return bool(cpu.load(vcpu.pid.on))
