"""Wrong senders in hardware: changes to the reference's VT-d posting. All synthetic."""

from __future__ import annotations

from conformance.roles.x86 import Cpu, Vcpu
from reference.x86.iommu import ReferenceIommu


class IgnoresSn(ReferenceIommu):
    """A post under SN=1 sets ON and notifies: interrupts reach a pCPU that asked for silence."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, vector, urgent=True)


class SetsOnUnderSn(ReferenceIommu):
    """A post under SN=1 sets ON and does not notify. Whoever looks at ON believes in a notification that nobody sent."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        with cpu.atomic():
            cpu.test_and_set(vcpu.pid.bit(vector))
            sn = cpu.load(vcpu.pid.sn)
            notify = not cpu.test_and_set(vcpu.pid.on) and (urgent or not sn)
            nv, ndst = cpu.load(vcpu.pid.nv), cpu.load(vcpu.pid.ndst)
        if notify:
            cpu.send_ipi(nv, self.apic_id(ndst))


class LatchesLate(ReferenceIommu):
    """NV and NDST are read when the notification leaves, not in the atomic operation that decided to send it: software
    that changed them in between, and looked at ON after that, sees its notification redirected.
    """

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        with cpu.atomic():
            cpu.test_and_set(vcpu.pid.bit(vector))
            sn = cpu.load(vcpu.pid.sn)
            notify = (urgent or not sn) and not cpu.test_and_set(vcpu.pid.on)
        if notify:
            nv, ndst = cpu.load(vcpu.pid.nv), cpu.load(vcpu.pid.ndst)
            cpu.send_ipi(nv, self.apic_id(ndst))


class IgnoresUrgent(ReferenceIommu):
    """An urgent entry is treated as a plain one: under SN=1 it notifies nobody."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, vector, urgent=False)
