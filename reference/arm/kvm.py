"""KVM's vCPU on Arm: run loop, WFI, load and put, and with GICv4 the vPE's residency and doorbell.

Mirrors arch/arm64/kvm/arm.c, handle_exit.c and vgic/vgic-v4.c, drivers/irqchip/irq-gic-v3-its.c and virt/kvm/kvm_main.c
of Linux 6.19, after commits 325f9c649c8a (2017: a request, looked at after mode:=IN), a3f574cd6548 (2020: vpe_lock) and
b321c31c9b7b (2023: IN_WFI keys load and put). Each routine names its function.

    injector: request := 1 ── mode = IN? ── kick        WFI: IN_WFI:=1, VMCR out of hardware, vPE off with a doorbell
    vCPU: flush, mode := IN, fence, request? ── enter        asked for ── announce ── runnable? ── no ──> sleep

Interrupts are off from flush to fold. VMCR and APR stay in hardware while the vCPU is loaded.
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.arm import (
    DOORBELL,
    DOORBELL_REQUEST,
    KICK,
    MAINTENANCE,
    PENDING_LAST,
    VMCR_RESET,
    Cpu,
    Field,
    Residency,
    RunLoop,
    Shared,
    Then,
    Vcpu,
    vpendbaser_word,
)
from reference.arm.vgic import IN, OUT, SLEEP, Vgic
from reference.arm.vgic_mmio import VgicMmio

PMR = Field("", 0x1F << 27, 27)


class KvmArm(VgicMmio, RunLoop, Residency):
    """Linux 6.19 on GICv2, or on the part of GICv3 that has the same shape, with GICv4 where the scenario has it."""

    profile: ClassVar[str] = "kvm"
    not_applicable: ClassVar = {
        **dict.fromkeys(("VGIC-SUM-1", "VGIC-SUM-3"), "keeps no summary bit"),
        "GICV2-LR-9": "links no list register to a physical interrupt",
    }
    vcpu_state: ClassVar = {
        **Vgic.vcpu_state,
        "vmcr_sw": Shared(VMCR_RESET),
        "apr_sw": Shared(0, private_to="*"),
        "in_wfi": Shared(0, private_to="*"),
        "resident": Shared(0, private_to="*"),
        "ready": Shared(0, private_to="*"),
        "vpe_lock": Shared(lock=True),
        "pending_last": Shared(0),
    }
    handlers: ClassVar = {
        KICK: "reschedule_ipi",
        MAINTENANCE: "maintenance_interrupt",
        DOORBELL: "doorbell_of_vcpu0",
        DOORBELL + 1: "doorbell_of_vcpu1",
    }

    # Run loop: arm.c, kvm_arch_vcpu_ioctl_run()

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """check_vcpu_requests()."""
        if cpu.load(vcpu.requests) and cpu.swap(vcpu.requests, 0) & SLEEP:
            return Then("vcpu_sleep", vcpu)
        return Then("vcpu_enter_guest", vcpu)

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """What comes after the flush is seen as a request, or finds mode = IN and sends the kick."""
        cpu.preempt_disable()
        cpu.irq_disable()
        self.flush(cpu, vcpu)
        self.v4_commit(cpu, vcpu)
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        if self.exit_request(cpu, vcpu):
            return Then("leave_guest", vcpu, "request")
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))

    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """kvm_vcpu_exit_request()."""
        return cpu.load(vcpu.requests) != 0

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        """kvm_vgic_sync_hwstate() after an entry that was called off, too: flush took latches along."""
        cpu.store(vcpu.mode, OUT)
        self.fold(cpu, vcpu)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        match reason:
            case ("wfi",):
                return Then("vcpu_wfi", vcpu)
            case ("mmio", register, intid, value):
                return Then("distributor", vcpu, register, intid, value)
            case ("device_quiet", intid):
                return Then("device_quiet", vcpu, intid)
            case ("pause",):
                self.directed_yield(cpu, vcpu)
            case _:
                pass
        return Then("vcpu_run", vcpu)

    def device_quiet(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Any:
        """The device, in userspace, lowers its line."""
        self.inject(cpu, vcpu, intid, 0)
        return Then("vcpu_run", vcpu)

    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_vcpu_on_spin(): ask which other vCPU could use the pCPU. It may run by now: look, and touch nothing."""
        for other in self.world.all_vcpus():
            if other is not vcpu:
                self.runnable(cpu, other)

    def vcpu_sleep(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """kvm_vcpu_sleep(): out of the guest until it is resumed."""
        cpu.prepare_to_block()
        if not cpu.load(vcpu.paused):
            cpu.finish_block()
            return Then("vcpu_run", vcpu)
        cpu.schedule()
        return Then("vcpu_sleep", vcpu)

    # Host handlers

    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the exit it forces matters."""

    def maintenance_interrupt(self, cpu: Cpu, where: int) -> None:
        """vgic_maintenance_handler(): it may be late, so it only forces an exit; fold does what there is to do."""

    # WFI: arm.c, kvm_vcpu_wfi(); kvm_main.c, kvm_vcpu_block()

    def vcpu_wfi(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Whether to sleep is decided by the priority mask as the guest left it, and by what the vPE has pending."""
        cpu.preempt_disable()
        cpu.store(vcpu.in_wfi, 1)
        self.vmcr_sync(cpu, vcpu)
        self.v4_put(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_block", vcpu)

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """One round: announce, look, sleep."""
        cpu.prepare_to_block()
        cpu.fence()
        if self.runnable(cpu, vcpu):
            cpu.finish_block()
            return Then("vcpu_unblock", vcpu)
        cpu.schedule()
        return Then("vcpu_block", vcpu)

    def vcpu_unblock(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.store(vcpu.in_wfi, 0)
        self.v4_load(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu)

    def runnable(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """kvm_vgic_vcpu_pending_irq(): not what is masked, disabled or active. PSTATE.I does not count."""
        if not self.forwards(cpu):
            return False
        if self.world.gicv4 and cpu.load(vcpu.pending_last):
            return True
        pmr = (cpu.load(vcpu.vmcr_sw) & PMR.mask) >> PMR.shift
        found = False
        flag = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        for name in cpu.load(vcpu.ap_list):
            irq = self.world.irq(vcpu, int(name))
            cpu.lock(irq.irq_lock)
            ready, priority = self.order(cpu, vcpu, int(name))
            found = found or (not ready and priority < pmr)
            cpu.unlock(irq.irq_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, flag)
        return found

    # Residency: vgic.c, kvm_vgic_load(), kvm_vgic_put()

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        cpu.store(vcpu.cpu, where)
        here = self.world.cpus[where]
        cpu.store(here.vmcr.word, cpu.load(vcpu.vmcr_sw))
        cpu.store(here.apr, cpu.load(vcpu.apr_sw))
        self.v4_load(cpu, vcpu)

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        self.vmcr_sync(cpu, vcpu)
        cpu.store(vcpu.apr_sw, cpu.load(self.world.cpus[cpu.id()].apr))
        self.v4_put(cpu, vcpu)

    def vmcr_sync(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vgic_v2_vmcr_sync(): GICH_VMCR goes stale in memory while the guest runs."""
        cpu.store(vcpu.vmcr_sw, cpu.load(self.world.cpus[cpu.id()].vmcr.word))

    # GICv4: vgic-v4.c; irq-gic-v3-its.c, its_vpe_schedule(), its_vpe_deschedule() and their 4.1 counterparts

    def v4_load(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vgic_v4_load(): the ITS hears of the pCPU first (VMOVP). Not on the way into a WFI, whose doorbell would go."""
        if not self.world.gicv4 or cpu.load(vcpu.resident) or cpu.load(vcpu.in_wfi):
            return
        where = cpu.id()
        cpu.store(vcpu.vpe_affinity, where)
        self.disable_doorbell(cpu, vcpu)
        cpu.store(self.world.cpus[where].vpendbaser.word, vpendbaser_word(vcpu.number, valid=True) | PENDING_LAST)
        cpu.store(vcpu.resident, 1)

    def v4_put(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vgic_v4_put(): a doorbell is wanted if the vCPU is on its way to sleep."""
        if self.world.gicv4 and cpu.load(vcpu.resident):
            self.make_non_resident(cpu, vcpu, doorbell=bool(cpu.load(vcpu.in_wfi)))

    def make_non_resident(self, cpu: Cpu, vcpu: Vcpu, doorbell: bool) -> None:
        """its_make_vpe_non_resident(). Without a doorbell nobody asks what is pending: say that something may be."""
        if doorbell:
            self.block_vpe(cpu, vcpu)
        else:
            self.clear_valid(cpu, vcpu, PENDING_LAST)
            cpu.store(vcpu.pending_last, 1)
        cpu.store(vcpu.resident, 0)
        cpu.store(vcpu.ready, 0)

    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The doorbell can ring before pending_last is written: vpe_lock makes its handler wait.

        Linux takes the lock with 4.1 only, where the redistributor keeps the doorbell: docs/findings.md.
        """
        flag = self.lock_irqsave(cpu, vcpu.vpe_lock)
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 1)
        cpu.store(vcpu.pending_last, self.clear_valid(cpu, vcpu, DOORBELL_REQUEST))
        self.unlock_irqrestore(cpu, vcpu.vpe_lock, flag)

    def clear_valid(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> int:
        """its_clear_vpend_valid(): not before the scan is done, and PendingLast is not read before the drain is."""
        base = self.world.cpus[cpu.id()].vpendbaser
        self.wait_while_dirty(cpu, base.dirty)
        cpu.store(base.word, vpendbaser_word(vcpu.number, valid=False) | bits)
        self.wait_while_dirty(cpu, base.dirty)
        return cpu.load(base.pending_last)

    def v4_commit(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vgic_v4_commit(): where GICR_TYPER.Dirty says that it can be seen, wait for the scan."""
        if self.world.gicv4 and self.world.fact("typer-dirty") and not cpu.load(vcpu.ready):
            self.wait_while_dirty(cpu, self.world.cpus[cpu.id()].vpendbaser.dirty)
            cpu.store(vcpu.ready, 1)

    def wait_while_dirty(self, cpu: Cpu, dirty: Field) -> None:
        while cpu.load(dirty):
            cpu.relax()

    def disable_doorbell(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """4.0: software's to do, as an LPI; 4.1: the redistributor's."""
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 0)

    def doorbell_of_vcpu0(self, cpu: Cpu, where: int) -> None:
        self.doorbell_handler(cpu, self.world.all_vcpus()[0])

    def doorbell_of_vcpu1(self, cpu: Cpu, where: int) -> None:
        self.doorbell_handler(cpu, self.world.all_vcpus()[1])

    def doorbell_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vgic_v4_doorbell_handler(): it can ring before the vPE is off, so pending_last waits for the lock."""
        self.disable_doorbell(cpu, vcpu)
        cpu.lock(vcpu.vpe_lock)
        cpu.store(vcpu.pending_last, 1)
        cpu.unlock(vcpu.vpe_lock)
        self.notify(cpu, vcpu)
