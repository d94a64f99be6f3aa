"""Senders in hardware: VT-d interrupt posting, and the sending half of IPI virtualization.

VT-d specification 5.2.3 to 5.2.5 (interrupt-posting hardware operation; section numbers not re-read). One post is one
coherent read-modify-write of the descriptor; the notification uses NV and NDST as read there, and may travel for ever.

    device ──> [ PIR[v]:=1; if ON=0 and (SN=0 or URG): ON:=1, latch NV and NDST ] ──> message (NV, NDST)

IPI virtualization (SDM vol. 3C) does the same in two operations, with others free to come between.
"""

from __future__ import annotations

from conformance.roles.mirrors import Original, mirrors
from conformance.roles.x86 import Cpu, Iommu, IpiVirtualization, Vcpu
from reference.x86.descriptor import SDM

VTD = Original("Intel VT-d specification")


class ReferenceIommu(Iommu, IpiVirtualization):
    """VT-d posting and IPI virtualization."""

    @mirrors(VTD, "5.2.3", "5.2.4", "5.2.5")
    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        with cpu.atomic():
            cpu.test_and_set(vcpu.pid.bit(vector))
            on, sn = cpu.load(vcpu.pid.on), cpu.load(vcpu.pid.sn)
            latched = self.announce(cpu, vcpu) if not on and (urgent or not sn) else None
        if latched:
            cpu.send_ipi(*latched)

    @mirrors(SDM, "IPI Virtualization")
    def virtual_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        with cpu.atomic():
            announce = not cpu.load(vcpu.pid.on) and not cpu.load(vcpu.pid.sn)
            latched = self.announce(cpu, vcpu) if announce else None
        if latched:
            cpu.send_ipi(*latched)

    @mirrors(VTD, "5.2.3")
    def announce(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, int]:
        """Set ON; answers the vector and APIC id of the notification, as they are in this step."""
        nv, ndst = cpu.load(vcpu.pid.nv), cpu.load(vcpu.pid.ndst)
        cpu.test_and_set(vcpu.pid.on)
        return nv, self.apic_id(ndst)

    @mirrors(VTD, "9.11")
    def apic_id(self, ndst: int) -> int:
        """NDST holds a 32-bit x2APIC id, or in xAPIC mode an 8-bit id in bits 15:8."""
        return ndst >> 8 & 0xFF if self.world.fact("xapic") else ndst
