"""KVM's vCPU on Arm: run loop, WFI, load and put, and with GICv4 the vPE's residency and doorbell.

Linux 6.19, after commits 325f9c649c8a (2017: a request, looked at after mode:=IN), a3f574cd6548 (2020: vpe_lock) and
b321c31c9b7b (2023: IN_WFI keys load and put). Each routine names its functions, and `DIFFERENCES` what is not as there.

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
from conformance.roles.mirrors import Difference, Original, mirrors
from reference.arm.vgic import IN, KVM_MAIN, LINUX, OUT, SLEEP, VGIC, VGIC_V2, Vgic
from reference.arm.vgic_mmio import VgicMmio

ARM = Original(LINUX, "arch/arm64/kvm/arm.c")
HANDLE_EXIT = Original(LINUX, "arch/arm64/kvm/handle_exit.c")
SMP = Original(LINUX, "arch/arm64/kernel/smp.c")
VGIC_INIT = Original(LINUX, "arch/arm64/kvm/vgic/vgic-init.c")
VGIC_V4 = Original(LINUX, "arch/arm64/kvm/vgic/vgic-v4.c")
ITS = Original(LINUX, "drivers/irqchip/irq-gic-v3-its.c")
GIC_V4 = Original(LINUX, "drivers/irqchip/irq-gic-v4.c")

DIFFERENCES = (
    Difference(
        "vcpu_run",
        "each request is tested and cleared by itself, and the loop goes on after a sleep",
        "all requests are taken at once",
        "only IRQ_PENDING and SLEEP exist here",
    ),
    Difference(
        "vcpu_sleep",
        "a signal ends the sleep too, and has the request made anew",
        "only the resume ends it",
        "there are no signals",
    ),
    Difference(
        "vcpu_wfi",
        "kvm_vgic_put() and, at the end, kvm_vgic_load(): VMCR, APR and the vPE",
        "VMCR and the vPE, as in 6.1 (kvm_vgic_vmcr_sync(), vgic_v4_put()), after IN_WFI",
        "APR stays where it is while the thread is loaded, and put takes it along when the thread sleeps",
    ),
    Difference(
        "vcpu_block",
        "kvm_vcpu_halt() polls first; rcuwait names who waits, and only that is woken",
        "it blocks at once; a wake of a thread that announced nothing does nothing",
        "the look before sleeping is the one that counts",
    ),
    Difference(
        "runnable",
        "the list is left at the first interrupt that is found",
        "it is looked through",
        "nobody can tell: ap_list_lock is held throughout",
    ),
    Difference(
        "block_vpe",
        "vpe_lock with GICv4.1 only, where the redistributor keeps the doorbell",
        "vpe_lock with GICv4.0 too",
        "docs/findings.md, 3; known-bad:L6",
    ),
    Difference(
        "v4_load",
        "GICv4.0: a doorbell that is still pending is taken back after the vPE is resident",
        "it may come",
        "a doorbell may come late in any case",
    ),
)

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

    # Run loop

    @mirrors(ARM, "kvm_arch_vcpu_ioctl_run", "check_vcpu_requests")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if cpu.load(vcpu.requests) and cpu.swap(vcpu.requests, 0) & SLEEP:
            return Then("vcpu_sleep", vcpu)
        return Then("vcpu_enter_guest", vcpu)

    @mirrors(ARM, "kvm_arch_vcpu_ioctl_run")
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

    @mirrors(ARM, "kvm_vcpu_exit_request")
    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return cpu.load(vcpu.requests) != 0

    @mirrors(ARM, "kvm_arch_vcpu_ioctl_run")
    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        """kvm_vgic_sync_hwstate() after an entry that was called off, too: flush took latches along."""
        cpu.store(vcpu.mode, OUT)
        self.fold(cpu, vcpu)
        cpu.irq_enable()
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)

    @mirrors(HANDLE_EXIT, "handle_exit")
    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        match reason:
            case ("wfi",):
                return Then("vcpu_wfi", vcpu)
            case ("mmio", register, intid, value):
                return Then("distributor", vcpu, register, intid, value)
            case ("device_quiet", intid):
                return Then("device_quiet", vcpu, intid)
            case ("deactivate", told):
                self.deactivated(cpu, vcpu, told)
            case ("pause",):
                self.directed_yield(cpu, vcpu)
            case _:
                pass
        return Then("vcpu_run", vcpu)

    @mirrors(ARM, "kvm_vm_ioctl_irq_line")
    def device_quiet(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Any:
        """The device, in userspace, lowers its line."""
        self.inject(cpu, vcpu, intid, 0)
        return Then("vcpu_run", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_on_spin")
    def directed_yield(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Ask which other vCPU could use the pCPU. It may run by now: look, and touch nothing."""
        for other in self.world.all_vcpus():
            if other is not vcpu:
                self.runnable(cpu, other)

    @mirrors(ARM, "kvm_vcpu_sleep")
    def vcpu_sleep(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Out of the guest until it is resumed."""
        cpu.prepare_to_block()
        if not cpu.load(vcpu.paused):
            cpu.finish_block()
            return Then("vcpu_run", vcpu)
        cpu.schedule()
        return Then("vcpu_sleep", vcpu)

    # Host handlers

    @mirrors(SMP, "do_handle_IPI")
    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the exit it forces matters."""

    @mirrors(VGIC_INIT, "vgic_maintenance_handler")
    def maintenance_interrupt(self, cpu: Cpu, where: int) -> None:
        """It may be late, so it only forces an exit; fold does what there is to do."""

    # WFI

    @mirrors(ARM, "kvm_vcpu_wfi")
    def vcpu_wfi(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Whether to sleep is decided by the priority mask as the guest left it, and by what the vPE has pending."""
        cpu.preempt_disable()
        cpu.store(vcpu.in_wfi, 1)
        self.vmcr_sync(cpu, vcpu)
        self.v4_put(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_block", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """One round: announce, look, sleep."""
        cpu.prepare_to_block()
        cpu.fence()
        if self.runnable(cpu, vcpu):
            cpu.finish_block()
            return Then("vcpu_unblock", vcpu)
        cpu.schedule()
        return Then("vcpu_block", vcpu)

    @mirrors(ARM, "kvm_vcpu_wfi")
    def vcpu_unblock(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.store(vcpu.in_wfi, 0)
        self.v4_load(cpu, vcpu)
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu)

    @mirrors(ARM, "kvm_arch_vcpu_runnable")
    @mirrors(VGIC, "kvm_vgic_vcpu_pending_irq")
    def runnable(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Not what is masked, disabled or active. PSTATE.I does not count."""
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

    # Residency

    @mirrors(ARM, "kvm_arch_vcpu_load")
    @mirrors(VGIC_V2, "vgic_v2_load")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        cpu.store(vcpu.cpu, where)
        here = self.world.cpus[where]
        cpu.store(here.vmcr.word, cpu.load(vcpu.vmcr_sw))
        cpu.store(here.apr, cpu.load(vcpu.apr_sw))
        self.v4_load(cpu, vcpu)

    @mirrors(ARM, "kvm_arch_vcpu_put")
    @mirrors(VGIC_V2, "vgic_v2_put")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        self.vmcr_sync(cpu, vcpu)
        cpu.store(vcpu.apr_sw, cpu.load(self.world.cpus[cpu.id()].apr))
        self.v4_put(cpu, vcpu)

    @mirrors(VGIC_V2, "vgic_v2_put")
    def vmcr_sync(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """GICH_VMCR goes stale in memory while the guest runs. In 6.1 it is vgic_v2_vmcr_sync()."""
        cpu.store(vcpu.vmcr_sw, cpu.load(self.world.cpus[cpu.id()].vmcr.word))

    # GICv4

    @mirrors(VGIC_V4, "vgic_v4_load")
    @mirrors(GIC_V4, "its_make_vpe_resident")
    @mirrors(ITS, "its_vpe_schedule", "its_vpe_4_1_schedule")
    def v4_load(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The ITS hears of the pCPU first (VMOVP). Not on the way into a WFI, whose doorbell would go."""
        if not self.world.gicv4 or cpu.load(vcpu.resident) or cpu.load(vcpu.in_wfi):
            return
        where = cpu.id()
        cpu.store(vcpu.vpe_affinity, where)
        self.disable_doorbell(cpu, vcpu)
        cpu.store(self.world.cpus[where].vpendbaser.word, vpendbaser_word(vcpu.number, valid=True) | PENDING_LAST)
        cpu.store(vcpu.resident, 1)

    @mirrors(VGIC_V4, "vgic_v4_put")
    def v4_put(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """A doorbell is wanted if the vCPU is on its way to sleep."""
        if self.world.gicv4 and cpu.load(vcpu.resident):
            self.make_non_resident(cpu, vcpu, doorbell=bool(cpu.load(vcpu.in_wfi)))

    @mirrors(GIC_V4, "its_make_vpe_non_resident")
    @mirrors(ITS, "its_vpe_4_1_deschedule")
    def make_non_resident(self, cpu: Cpu, vcpu: Vcpu, doorbell: bool) -> None:
        """Without a doorbell nobody asks what is pending: say that something may be."""
        if doorbell:
            self.block_vpe(cpu, vcpu)
        else:
            self.clear_valid(cpu, vcpu, PENDING_LAST)
            cpu.store(vcpu.pending_last, 1)
        cpu.store(vcpu.resident, 0)
        cpu.store(vcpu.ready, 0)

    @mirrors(ITS, "its_vpe_deschedule", "its_vpe_4_1_deschedule")
    def block_vpe(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The doorbell can ring before pending_last is written: vpe_lock makes its handler wait."""
        flag = self.lock_irqsave(cpu, vcpu.vpe_lock)
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 1)
        cpu.store(vcpu.pending_last, self.clear_valid(cpu, vcpu, DOORBELL_REQUEST))
        self.unlock_irqrestore(cpu, vcpu.vpe_lock, flag)

    @mirrors(ITS, "its_clear_vpend_valid")
    def clear_valid(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> int:
        """Not before the scan is done, and PendingLast is not read before the drain is."""
        base = self.world.cpus[cpu.id()].vpendbaser
        self.wait_while_dirty(cpu, base.dirty)
        cpu.store(base.word, vpendbaser_word(vcpu.number, valid=False) | bits)
        self.wait_while_dirty(cpu, base.dirty)
        return cpu.load(base.pending_last)

    @mirrors(VGIC_V4, "vgic_v4_commit")
    @mirrors(GIC_V4, "its_commit_vpe")
    def v4_commit(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Where GICR_TYPER.Dirty says that it can be seen, wait for the scan."""
        if self.world.gicv4 and self.world.fact("typer-dirty") and not cpu.load(vcpu.ready):
            self.wait_while_dirty(cpu, self.world.cpus[cpu.id()].vpendbaser.dirty)
            cpu.store(vcpu.ready, 1)

    @mirrors(ITS, "its_wait_vpt_parse_complete", "its_clear_vpend_valid")
    def wait_while_dirty(self, cpu: Cpu, dirty: Field) -> None:
        while cpu.load(dirty):
            cpu.relax()

    @mirrors(GIC_V4, "its_make_vpe_resident")
    @mirrors(VGIC_V4, "vgic_v4_doorbell_handler")
    def disable_doorbell(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """4.0: software's to do, as an LPI; 4.1: the redistributor's."""
        if not self.world.fact("gicv4.1"):
            cpu.store(vcpu.doorbell_enabled, 0)

    @mirrors(VGIC_V4, "vgic_v4_doorbell_handler")
    def doorbell_of_vcpu0(self, cpu: Cpu, where: int) -> None:
        self.doorbell_handler(cpu, self.world.all_vcpus()[0])

    @mirrors(VGIC_V4, "vgic_v4_doorbell_handler")
    def doorbell_of_vcpu1(self, cpu: Cpu, where: int) -> None:
        self.doorbell_handler(cpu, self.world.all_vcpus()[1])

    @mirrors(VGIC_V4, "vgic_v4_doorbell_handler")
    def doorbell_handler(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """It can ring before the vPE is off, so pending_last waits for the lock."""
        self.disable_doorbell(cpu, vcpu)
        cpu.lock(vcpu.vpe_lock)
        cpu.store(vcpu.pending_last, 1)
        cpu.unlock(vcpu.vpe_lock)
        self.notify(cpu, vcpu)
