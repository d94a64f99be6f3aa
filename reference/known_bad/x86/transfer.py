"""Wrong save, restore and device assignment: changes to `Kvm.save`, `Kvm.restore`, `Kvm.purge` and `Kvm.assign_device`."""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.alternatives.x86.kvm_vtd_only import KvmVtdOnly
from reference.x86.kvm import Kvm


class SavesIrrOnly(Kvm):
    """Xen before 607e8494c42 (2014): the saved local APIC is vIRR as it stands. A vector was posted and not yet
    harvested; the image is restored over it, and it is lost.
    """

    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        return tuple(cpu.load(vcpu.virr[word]) for word in self.world.words)


class KeepsStalePir(Kvm):
    """KVM before 967235d32032 (2016): a restore leaves the descriptor alone. A vector posted in the vCPU's former life
    is harvested by the next entry and delivered to a guest that nobody sent it to.
    """

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        pass


class PurgesAfterLoading(Kvm):
    """KVM before 9cfec6d097c6 (2023), with 967235d32032: the descriptor is cleared after the new state was loaded. The
    timer of that state has expired and posts while it is loaded: its vector is cleared away, and the guest waits for
    a tick for ever.
    """

    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...], timer: int | None = None) -> None:
        super().restore(cpu, vcpu, image, timer)
        self.purge(cpu, vcpu)


class AssignsQuietly(KvmVtdOnly):
    """KVM before a2486020a82e (2021): a device is assigned while a vCPU sleeps, and the vCPU is not made to block anew.
    Its NV is still the vector of a running vCPU, whose handler in root mode does nothing: the device posts, and the
    vCPU sleeps on.
    """

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, 1)
