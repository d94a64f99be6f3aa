"""KVM's vGIC when WFI went through the generic hooks around blocking: kvm_arch_vcpu_blocking(), _unblocking().

Linux 5.15: before 6109c5a6ab7f (2021), which moved what the hooks did into kvm_vcpu_wfi(), and after 5eeaf10eec39 (2019:
VMCR is synchronized there) and 8e01d9a396e6 (2019: the vPE is put with a doorbell). What put and load do depended on the
hooks' order alone: there was no IN_WFI. What is not told here is as in `reference.arm.kvm`.

    wfi ── block: hook: VMCR out of hardware, vPE off with a doorbell ── announce, look, sleep ... ── hook: vPE back
              └── preempted in here: put finds the vPE off; load puts it back on; the sleep then takes it off quietly
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.arm import Cpu, Then, Vcpu
from conformance.roles.mirrors import Original, mirrors
from reference.arm.kvm import KvmArm

LINUX = "Linux 5.15"
ARM = Original(LINUX, "arch/arm64/kvm/arm.c")
VGIC = Original(LINUX, "arch/arm64/kvm/vgic/vgic.c")
VGIC_V4 = Original(LINUX, "arch/arm64/kvm/vgic/vgic-v4.c")
KVM_MAIN = Original(LINUX, "virt/kvm/kvm_main.c")


class VgicHooks(KvmArm):
    """Linux 5.15: blocking hooks where there is kvm_vcpu_wfi() now; a preemption on the way loses the doorbell."""

    not_applicable: ClassVar = {
        **KvmArm.not_applicable,
        "GICV4-RES-10": "load knew of no WFI: that it makes the vPE resident on the way into one is what was found in 2023",
        "VGIC-WFI-1": "there was no IN_WFI; the order of the rest is the hook's",
    }

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def vcpu_wfi(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """All that is Arm's is in the two hooks."""
        self.blocking(cpu, vcpu)
        return Then("vcpu_block", vcpu)

    @mirrors(ARM, "kvm_arch_vcpu_blocking")
    def blocking(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.preempt_disable()
        self.vmcr_sync(cpu, vcpu)
        self.vpe_off(cpu, vcpu, doorbell=True)
        cpu.preempt_enable()

    @mirrors(ARM, "kvm_arch_vcpu_unblocking")
    def vcpu_unblock(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        self.v4_load(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu)

    @mirrors(VGIC, "kvm_vgic_put")
    def v4_put(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The scheduler's put asks for no doorbell, why ever the vCPU leaves."""
        self.vpe_off(cpu, vcpu, doorbell=False)

    @mirrors(VGIC_V4, "vgic_v4_put")
    def vpe_off(self, cpu: Cpu, vcpu: Vcpu, doorbell: bool) -> None:
        if self.world.gicv4 and cpu.load(vcpu.resident):
            self.make_non_resident(cpu, vcpu, doorbell)
