"""KVM's virtual distributor: what a guest's write of its registers does.

Linux 6.19. Each routine names its functions, and `DIFFERENCES` what is not as there. What becomes pending, enabled or
active is queued as an injection is (reference.arm.vgic).
"""

from __future__ import annotations

from typing import Any

from conformance.roles.arm import Cpu, Distributor, Then, Vcpu
from conformance.roles.mirrors import Difference, Original, mirrors
from reference.arm.vgic import LINUX, OUT, SLEEP, VGIC, Vgic

ARM = Original(LINUX, "arch/arm64/kvm/arm.c")
VGIC_MMIO = Original(LINUX, "arch/arm64/kvm/vgic/vgic-mmio.c")
VGIC_MMIO_V2 = Original(LINUX, "arch/arm64/kvm/vgic/vgic-mmio-v2.c")

DIFFERENCES = (
    Difference(
        "follow",
        "a retarget is left to the next exit of the vCPU that has the interrupt, for which nobody asks",
        "what no list register has moves at once; else who has it is kicked",
        "docs/findings.md, 5; known-bad:L2",
    ),
    Difference(
        "rescan",
        "vgic_kick_vcpus() kicks those that have something on their lists",
        "every interrupt is looked at again, and queued",
        "what became pending while the distributor was off is on no list: docs/findings.md, 4; known-bad:L1",
    ),
    Difference(
        "change_active",
        "config_lock is a mutex",
        "a spinning lock",
        "two writers wait for each other all the same",
    ),
    Difference(
        "halt",
        "every vCPU of the VM is asked to sleep, the writer too",
        "all others",
        "the writer is out of its guest",
    ),
    Difference(
        "lock_folded",
        "mode = OUTSIDE_GUEST_MODE ends the wait for a vCPU",
        "that no list register has the interrupt does: one has it from flush to fold, and mode = IN is less than that",
        "Linux may see its change overwritten by the fold: docs/findings.md, 2; known-bad:L5",
    ),
)


class VgicMmio(Vgic, Distributor):
    """GICD_*, one interrupt at a time."""

    @mirrors(VGIC_MMIO, "dispatch_mmio_write")
    def distributor(self, cpu: Cpu, vcpu: Vcpu, register: str, intid: int, value: int) -> Any:
        match register:
            case "sgir":
                self.send_sgi(cpu, vcpu, intid, value)
            case "spendsgir":
                self.set_pending_sgi(cpu, vcpu, intid, value)
            case "cpendsgir":
                self.clear_pending_sgi(cpu, vcpu, intid, value)
            case "ctlr":
                self.write_ctlr(cpu, value)
            case "isactiver" | "icactiver" if intid >= 32:
                return Then("change_active", vcpu, intid, int(register == "isactiver"))
            case "isenabler":
                self.write_and_queue(cpu, vcpu, intid, "enabled", 1)
            case "icenabler":
                self.write(cpu, vcpu, intid, "enabled", 0)
            case "ispendr" if intid >= 16:
                self.write_and_queue(cpu, vcpu, intid, "latch", 1)
            case "icpendr" if intid >= 16:
                self.write(cpu, vcpu, intid, "latch", 0, "taken")
            case "isactiver":
                self.write_and_queue(cpu, vcpu, intid, "active", 1)
            case "icactiver":
                self.write(cpu, vcpu, intid, "active", 0)
            case "itargetsr":
                self.retarget(cpu, vcpu, intid, value)
            case _:
                """GICD_ISPENDR and ICPENDR do nothing to a GICv2's SGIs: SPENDSGIR and CPENDSGIR are for them."""
        return Then("vcpu_run", vcpu)

    @mirrors(VGIC_MMIO, "vgic_mmio_write_cenable", "vgic_mmio_write_cpending", "vgic_mmio_write_cactive")
    def write(self, cpu: Cpu, vcpu: Vcpu, intid: int, what: str, value: int, *more: str) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        for name in (what, *more):
            cpu.store(getattr(irq, name), value)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_target")
    def retarget(self, cpu: Cpu, vcpu: Vcpu, intid: int, number: int) -> None:
        """A pending interrupt moves at once, or if it is in a list register, when that vCPU exits, which is kicked."""
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        cpu.store(irq.target, number)
        owner = cpu.load(irq.owner)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        for name in owner:
            self.follow(cpu, self.world.vcpus[name], intid, self.world.vcpus[f"vcpu{number}"])

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_target")
    def follow(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> None:
        if vcpu is not target:
            self.listed_already(cpu, vcpu, intid, target)

    @mirrors(VGIC_MMIO, "vgic_mmio_write_senable", "vgic_mmio_write_spending", "vgic_mmio_write_sactive")
    def write_and_queue(self, cpu: Cpu, vcpu: Vcpu, intid: int, what: str, value: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        cpu.store(getattr(irq, what), value)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_sgir")
    def send_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int, targets: int) -> None:
        """Pending at each target, from this source."""
        for to in self.world.all_vcpus():
            if targets >> to.number & 1:
                irq = self.world.irq(to, intid)
                flag = self.lock_irqsave(cpu, irq.irq_lock)
                cpu.store(irq.latch, 1)
                cpu.store(irq.source, cpu.load(irq.source) | 1 << vcpu.number)
                self.queue_irq_unlock(cpu, to, intid, flag)

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_sgipends")
    def set_pending_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int, sources: int) -> None:
        """Pending at the writer, from each of these sources."""
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        cpu.store(irq.source, cpu.load(irq.source) | sources)
        cpu.store(irq.latch, 1)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_sgipendc")
    def clear_pending_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int, sources: int) -> None:
        """Of these sources. What another one has sent stays pending."""
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        left = cpu.load(irq.source) & ~sources
        cpu.store(irq.source, left)
        if not left:
            cpu.store(irq.latch, 0)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)

    @mirrors(VGIC_MMIO_V2, "vgic_mmio_write_v2_misc")
    def write_ctlr(self, cpu: Cpu, value: int) -> None:
        """What became pending while the distributor was off is on no list: all are looked at again."""
        was = cpu.swap(self.world.vm.enabled, value)
        if value and not was:
            self.rescan(cpu)

    @mirrors(VGIC, "vgic_kick_vcpus")
    def rescan(self, cpu: Cpu) -> None:
        for intid in self.world.intids:
            for vcpu in self.world.all_vcpus() if intid < 32 else self.world.all_vcpus()[:1]:
                irq = self.world.irq(vcpu, intid)
                flag = self.lock_irqsave(cpu, irq.irq_lock)
                self.queue_irq_unlock(cpu, vcpu, intid, flag)

    @mirrors(VGIC_MMIO, "vgic_mmio_change_active")
    def change_active(self, cpu: Cpu, vcpu: Vcpu, intid: int, active: int) -> Any:
        """It may be in a list register, so every other vCPU leaves its guest first."""
        irq = self.world.irq(vcpu, intid)
        others = [v for v in self.world.all_vcpus() if v is not vcpu]
        cpu.lock(self.world.vm.config_lock)
        self.halt(cpu, others)
        flag = self.lock_folded(cpu, vcpu, intid)
        cpu.store(irq.active, active)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)
        for other in others:
            cpu.store(other.paused, 0)
            cpu.wake(other)
        cpu.unlock(self.world.vm.config_lock)
        return Then("vcpu_run", vcpu)

    @mirrors(ARM, "kvm_arm_halt_guest")
    def halt(self, cpu: Cpu, vcpus: list[Vcpu]) -> None:
        """Each vCPU is out of its guest, and does not go back before the resume."""
        for vcpu in vcpus:
            cpu.store(vcpu.paused, 1)
            cpu.fetch_or(vcpu.requests, SLEEP)
            self.kick(cpu, vcpu)
            while cpu.load(vcpu.mode) != OUT:
                cpu.relax()

    @mirrors(VGIC_MMIO, "vgic_mmio_change_active")
    def lock_folded(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """irq_lock, once no list register holds the interrupt."""
        irq = self.world.irq(vcpu, intid)
        while True:
            flag = self.lock_irqsave(cpu, irq.irq_lock)
            if not cpu.load(irq.on_lr):
                return flag
            self.unlock_irqrestore(cpu, irq.irq_lock, flag)
            cpu.relax()
