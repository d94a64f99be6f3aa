"""KVM's first vGIC: pending bitmaps, a summary bit for each vCPU, one list register for each source of an SGI.

M. Zyngier's "KVM/ARM vGIC support", version 4 (kvmarm list, November and December 2012). Each routine names its functions,
and `DIFFERENCES` what is not as there. What those messages do not quote is filled in after Linux 3.9, from memory.

    inject ──> irq_state ──> irq_pending_on_cpu ── sync_to_cpu ──> LR[n] ── guest ──> sync_from_cpu: ELRSR, bit again?
                  ^                                                   └── EOI ──> maintenance handler: active := 0
                  └──────── a level that is still high goes back in here ──────────┘

The distributor's lock covers all but what the maintenance handler does, which takes none. GICH_HCR stays enabled after an
exit, so that the maintenance interrupt reaches the host; put switches it off, and what it had to tell stays in the list
register for the next entry. `Vgic2012Mended` closes the gaps that would hide others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from conformance.roles.arm import (
    ACTIVE,
    HCR_EN,
    HCR_UIE,
    KICK,
    MAINTENANCE,
    MISR_EOI,
    MISR_U,
    PENDING,
    VMCR_RESET,
    Cpu,
    Distributor,
    Field,
    Injector,
    Residency,
    RunLoop,
    Shared,
    Then,
    Vcpu,
    lr_word,
)
from conformance.roles.mirrors import Difference, Original, mirrors
from reference.arm.vgic import EXITING, IN, OUT

POSTED = Original('M. Zyngier, "KVM/ARM vGIC support", version 4', "arch/arm/kvm")
KVM_MAIN = Original("Linux 3.9", "virt/kvm/kvm_main.c")

DIFFERENCES = (
    Difference(
        "compute_pending",
        "bitmaps of any number of vCPUs and interrupts",
        "two vCPUs, the SPIs 32 to 95",
        "no scenario has more",
    ),
    Difference(
        "vcpu_enter_guest",
        "signals and the VMID are looked at once interrupts are off",
        "left out",
        "neither has to do with interrupts",
    ),
    Difference(
        "write_sgi_pending",
        "GICD_SPENDSGIR and CPENDSGIR are not emulated",
        "they set and clear what GICD_SGIR sets",
        "a guest may write them",
    ),
    Difference(
        "Vgic2012Mended",
        "several sources of an SGI at once, no look after mode:=IN, interrupts on while the lock is held, an ended list register "
        "that stays in use, GICD_ICPENDR clears a level",
        "one source at a time (16ca6a607d84, 2018), a look (325f9c649c8a, 2017), and the others closed",
        "the gaps hide what else could go wrong: docs/alternatives.md",
    ),
)

EOI = 1 << 19
EVERY = (1 << 64) - 1
NO_AP_LIST = "there are no lists and no requests: what is pending is in bitmaps, computed before each entry"


class Vgic2012(Injector, Distributor, RunLoop, Residency):
    """The 2012 design, as posted."""

    profile: ClassVar[str] = "kvm"
    lacks: ClassVar[tuple[str, ...]] = (
        "gicv4",
        "gicv4.1",
        "irqfd-resample",
        "one-list-register",
        "injects-from-handler",
    )
    not_applicable: ClassVar = {
        "VGIC-Q-2": NO_AP_LIST,
        "GICV2-LR-9": "links no list register to a physical interrupt",
        "VGIC-WFI-1": "every exit saves GICH_VMCR, and whether to sleep is asked of the summary bit alone",
        "GICV2-VMCR-2": "every exit saves GICH_VMCR",
        "VGIC-OVF-3": "never arms LRENPIE, nor looks at EOICount: what is active keeps its list register",
    }
    vm_state: ClassVar = {
        "lock": Shared(lock=True),
        "enabled": Shared(1, guarded_by="lock"),
        "spi_enabled": Shared(EVERY, guarded_by="lock"),
        "private_enabled": Shared(EVERY, guarded_by="lock"),
        "spi_target": Shared(0, guarded_by="lock"),  # a bit for each SPI: the number of its vCPU
        "sgi_sources": Shared(0, guarded_by="lock"),
        "spi_state": Shared(0),  # irq_state and irq_active: the maintenance handler touches them without the lock
        "private_state": Shared(0),
        "spi_active": Shared(0),
        "private_active": Shared(0),
        "irq_pending_on_cpu": Shared(0),
    }
    vcpu_state: ClassVar = {
        "mode": Shared(OUT),
        "cpu": Shared(0),
        "vgic_lr0": Shared(0),
        "vgic_lr1": Shared(0),
        "vgic_hcr": Shared(HCR_EN),
        "vgic_misr": Shared(0),
        "vgic_eisr": Shared(0),
        "vgic_elrsr": Shared(3),
        "lr_used": Shared(0, private_to="*"),
        "irq_lr_map": Shared((), private_to="*"),  # "interrupt:list register", the last one it was given
        "vmcr_sw": Shared(VMCR_RESET, private_to="*"),
        "apr_sw": Shared(0, private_to="*"),
    }
    cpu_state: ClassVar = {"running_vcpu": Shared((), private_to="*")}
    handlers: ClassVar = {MAINTENANCE: "maintenance_handler", KICK: "reschedule_ipi"}

    # Bitmaps

    def bit(self, what: str, vcpu: Vcpu, intid: int) -> Field:
        """An interrupt's bit of a bitmap of the distributor: a word for the SPIs, one for both vCPUs' private ones."""
        n = intid - 32 if intid >= 32 else 32 * vcpu.number + intid
        return Field(f"vm.{'spi' if intid >= 32 else 'private'}_{what}", 1 << n, n)

    def source(self, vcpu: Vcpu, sgi: int, source: int) -> Field:
        n = 32 * vcpu.number + 2 * sgi + source
        return Field("vm.sgi_sources", 1 << n, n)

    def summary(self, vcpu: Vcpu) -> Field:
        return Field("vm.irq_pending_on_cpu", 1 << vcpu.number, vcpu.number)

    def vgic_lr(self, vcpu: Vcpu) -> tuple[Field, ...]:
        return (vcpu.vgic_lr0, vcpu.vgic_lr1)[: self.world.list_registers]

    @mirrors(POSTED, "compute_pending_for_cpu")
    def compute_pending(self, cpu: Cpu, vcpu: Vcpu) -> list[int]:
        """Pending, enabled, and for SPIs, targeting this vCPU."""
        vm = self.world.vm
        if not cpu.load(vm.enabled):
            return []
        none = self.world.abridged(min(self.world.intids) >= 32, "the scenario has no private interrupt")
        private = 0 if none else cpu.load(vm.private_state) & cpu.load(vm.private_enabled)
        targets = cpu.load(vm.spi_target)
        spis = cpu.load(vm.spi_state) & cpu.load(vm.spi_enabled) & (targets if vcpu.number else ~targets)
        return [i for i in self.world.intids if (spis >> i - 32 if i >= 32 else private >> 32 * vcpu.number + i) & 1]

    @mirrors(POSTED, "vgic_update_state")
    def update_state(self, cpu: Cpu) -> list[Vcpu]:
        """Answers who has something pending now."""
        found = [vcpu for vcpu in self.world.all_vcpus() if self.compute_pending(cpu, vcpu)]
        for vcpu in found:
            cpu.test_and_set(self.summary(vcpu))
        return found

    # Injection

    @mirrors(POSTED, "vgic_update_irq_state", "kvm_vgic_inject_irq")
    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        vm, is_level = self.world.vm, self.world.level_sensitive(intid)
        state = self.bit("state", vcpu, intid)
        flag = self.lock_irqsave(cpu, vm.lock)
        if intid >= 32:
            vcpu = self.world.all_vcpus()[cpu.load(Field(vm.spi_target.at, 1 << intid - 32, intid - 32))]
        changes = cpu.load(state) != level if is_level else level
        if changes:
            cpu.fetch_or(state, 1) if level else cpu.test_and_clear(state)
        due = changes and level and cpu.load(self.bit("enabled", vcpu, intid)) and cpu.load(vm.enabled)
        due = due and not (is_level and cpu.load(self.bit("active", vcpu, intid)))  # picked up when it is completed
        if due:
            cpu.test_and_set(self.summary(vcpu))
        self.unlock_irqrestore(cpu, vm.lock, flag)
        if due:
            self.kick(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_kick")
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """There is no request: an entry past its look at the bitmaps hears nothing of it."""
        if not cpu.wake(vcpu) and cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))

    @mirrors(POSTED, "vgic_handle_mmio")
    def distributor(self, cpu: Cpu, vcpu: Vcpu, register: str, intid: int, value: int) -> Any:
        """Under the lock, then whoever has something pending is kicked. Active registers are RAZ/WI."""
        vm = self.world.vm
        flag = self.lock_irqsave(cpu, vm.lock)
        match register:
            case "sgir":
                for to in self.world.all_vcpus():
                    if value >> to.number & 1:
                        cpu.test_and_set(self.bit("state", to, intid))
                        cpu.store(self.source(to, intid, vcpu.number), 1)
            case "spendsgir" | "cpendsgir":
                self.write_sgi_pending(cpu, vcpu, intid, value, int(register == "spendsgir"))
            case "isenabler" | "icenabler":
                cpu.store(self.bit("enabled", vcpu, intid), int(register == "isenabler"))
            case "ispendr" if intid >= 16:
                cpu.test_and_set(self.bit("state", vcpu, intid))
            case "icpendr" if intid >= 16 and self.clearable(intid):
                cpu.test_and_clear(self.bit("state", vcpu, intid))
            case "itargetsr":
                cpu.store(Field(vm.spi_target.at, 1 << intid - 32, intid - 32), value)
            case "ctlr":
                cpu.store(vm.enabled, value)
            case _:
                pass
        pending = self.update_state(cpu)
        self.unlock_irqrestore(cpu, vm.lock, flag)
        for other in pending:
            self.kick(cpu, other)
        return Then("vcpu_run", vcpu)

    @mirrors(POSTED, "vgic_handle_mmio")
    def write_sgi_pending(self, cpu: Cpu, vcpu: Vcpu, sgi: int, sources: int, value: int) -> None:
        """GICD_SPENDSGIR and CPENDSGIR. It is pending as long as it is from any source, or in a list register."""
        all_sources = range(len(self.world.vcpus))
        for source in all_sources:
            if sources >> source & 1:
                cpu.store(self.source(vcpu, sgi, source), value)
        for lr in () if value else self.vgic_lr(vcpu):
            word = cpu.load(lr)
            if word & 0x3FF == sgi and sources >> (word >> 10 & 7) & 1:
                cpu.store(lr, word & ~(PENDING << 28))
        pending = self.bit("state", vcpu, sgi)
        if value:
            cpu.test_and_set(pending)
        elif not any(cpu.load(self.source(vcpu, sgi, source)) for source in all_sources):
            cpu.test_and_clear(pending)

    def clearable(self, intid: int) -> bool:
        """A level's bit is its line: GICD_ICPENDR clears it, and nothing raises it again until the line does."""
        return True

    # List registers

    @mirrors(POSTED, "__kvm_vgic_sync_to_cpu")
    def sync_to_cpu(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """All pending interrupts into list registers; then this vCPU is said to have nothing pending."""
        lock = self.world.vm.lock
        flag = self.lock_irqsave(cpu, lock)
        fits = True
        if cpu.load(self.summary(vcpu)):
            for intid in self.compute_pending(cpu, vcpu):
                fits = self.queue(cpu, vcpu, intid) and fits
        cpu.store(vcpu.vgic_hcr, HCR_EN if fits else HCR_EN | HCR_UIE)
        if fits:
            cpu.test_and_clear(self.summary(vcpu))
        self.unlock_irqrestore(cpu, lock, flag)

    @mirrors(POSTED, "kvm_vgic_inject_irq", "kvm_vgic_sync_to_cpu")
    def lock_irqsave(self, cpu: Cpu, lock: Field) -> bool:
        """Only spin_lock(): the maintenance handler may come in between. "I think I'll use spin_lock_irqsave"."""
        cpu.lock(lock)
        return True

    @mirrors(POSTED, "kvm_vgic_inject_irq", "kvm_vgic_sync_to_cpu")
    def unlock_irqrestore(self, cpu: Cpu, lock: Field, flag: bool) -> None:
        cpu.unlock(lock)

    @mirrors(POSTED, "vgic_queue_hwirq")
    def queue(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """Whether all of an interrupt fits. An edge's pending bit goes; a level's stays, and the interrupt is active."""
        if intid < 16:
            return self.queue_sgi(cpu, vcpu, intid)
        if self.world.level_sensitive(intid) and cpu.load(self.bit("active", vcpu, intid)):
            return True
        if not self.queue_irq(cpu, vcpu, 0, intid):
            return False
        if self.world.level_sensitive(intid):
            cpu.test_and_set(self.bit("active", vcpu, intid))
        else:
            cpu.test_and_clear(self.bit("state", vcpu, intid))
        return True

    @mirrors(POSTED, "vgic_queue_sgi")
    def queue_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """ "SGIs from different sources are different interrupts": a list register for each."""
        left = 0
        for source in range(len(self.world.vcpus)):
            if cpu.load(self.source(vcpu, intid, source)):
                if self.queue_irq(cpu, vcpu, source, intid):
                    cpu.store(self.source(vcpu, intid, source), 0)
                else:
                    left += 1
        if not left:
            cpu.test_and_clear(self.bit("state", vcpu, intid))
        return not left

    @mirrors(POSTED, "vgic_queue_irq")
    def queue_irq(self, cpu: Cpu, vcpu: Vcpu, source: int, intid: int) -> bool:
        """One that is in a list register already gets its pending bit there (piggyback); else any free register."""
        eoi = EOI if self.world.level_sensitive(intid) else 0
        for known, n in self.irq_lr_map(cpu, vcpu):
            word = cpu.load(self.vgic_lr(vcpu)[n]) if known == intid else 0
            if word and word >> 10 & 7 == source:
                cpu.store(self.vgic_lr(vcpu)[n], word | PENDING << 28 | eoi)
                return True
        return self.allocate(
            cpu, vcpu, lr_word(intid, PENDING, priority=self.world.priority(intid), cpuid=source) | eoi
        )

    @mirrors(POSTED, "vgic_queue_irq")
    def allocate(self, cpu: Cpu, vcpu: Vcpu, word: int) -> bool:
        """Into the first list register that ELRSR says is free."""
        elrsr = cpu.load(vcpu.vgic_elrsr)
        if not elrsr:
            return False
        n = (elrsr & -elrsr).bit_length() - 1
        cpu.store(self.vgic_lr(vcpu)[n], word)
        known = [f"{i}:{m}" for i, m in self.irq_lr_map(cpu, vcpu) if i != word & 0x3FF]
        cpu.store(vcpu.irq_lr_map, (*known, f"{word & 0x3FF}:{n}"))
        cpu.store(vcpu.vgic_elrsr, elrsr & ~(1 << n))
        cpu.store(vcpu.lr_used, cpu.load(vcpu.lr_used) | 1 << n)
        return True

    @mirrors(POSTED, "vgic_queue_irq")
    def irq_lr_map(self, cpu: Cpu, vcpu: Vcpu) -> Iterator[tuple[int, int]]:
        for entry in cpu.load(vcpu.irq_lr_map):
            intid, _, n = entry.partition(":")
            yield int(intid), int(n)

    @mirrors(POSTED, "__kvm_vgic_sync_from_cpu")
    def sync_from_cpu(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Empty list registers lose their mapping; one that is not empty counts as pending. No lock is taken."""
        elrsr, used = cpu.load(vcpu.vgic_elrsr), cpu.load(vcpu.lr_used)
        freed = elrsr & used
        if freed:
            cpu.store(vcpu.lr_used, used & ~freed)
            kept = tuple(f"{i}:{n}" for i, n in self.irq_lr_map(cpu, vcpu) if not freed >> n & 1)
            cpu.store(vcpu.irq_lr_map, kept)
        if ~elrsr & (1 << self.world.list_registers) - 1:
            cpu.test_and_set(self.summary(vcpu))
            self.barrier(cpu)

    @mirrors(POSTED, "__kvm_vgic_sync_from_cpu")
    def barrier(self, cpu: Cpu) -> None:
        """smp_mb(), "strategically placed to entertain the reviewer"."""
        cpu.fence()

    # The maintenance interrupt

    @mirrors(POSTED, "vgic_maintenance_handler")
    def maintenance_handler(self, cpu: Cpu, where: int) -> None:
        """Completed levels are not active any more, and pending again if their line is high.

        It goes by what the last exit of the vCPU that is loaded here saved, whichever the interrupt was about.
        """
        here = self.world.cpus[where]
        for name in cpu.load(here.running_vcpu):
            vcpu = self.world.vcpus[name]
            misr = cpu.load(vcpu.vgic_misr)
            if misr & MISR_EOI:
                self.completed(cpu, vcpu, here.lr)
            if misr & MISR_U:
                cpu.store(vcpu.vgic_hcr, cpu.load(vcpu.vgic_hcr) & ~HCR_UIE)
                cpu.store(here.hcr.uie, 0)

    @mirrors(POSTED, "vgic_maintenance_handler")
    def completed(self, cpu: Cpu, vcpu: Vcpu, registers: Any) -> None:
        eisr = cpu.load(vcpu.vgic_eisr)
        for n, lr in enumerate(self.vgic_lr(vcpu)):
            if eisr >> n & 1:
                word = cpu.load(lr)
                cpu.test_and_clear(self.bit("active", vcpu, word & 0x3FF))
                cpu.store(lr, word & ~EOI)
                cpu.store(registers[n].word, word & ~EOI)
                self.freed(cpu, vcpu, n)
                if cpu.load(self.bit("state", vcpu, word & 0x3FF)):
                    cpu.test_and_set(self.summary(vcpu))

    @mirrors(POSTED, "vgic_maintenance_handler")
    def freed(self, cpu: Cpu, vcpu: Vcpu, n: int) -> None:
        """The saved ELRSR says that the list register is in use until the next exit."""

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run")
    def reschedule_ipi(self, cpu: Cpu, where: int) -> None:
        """Only the exit it forces matters."""

    # Run loop, and the world switch's save and restore of the virtual interface

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run", "kvm_vgic_sync_to_cpu")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        self.sync_to_cpu(cpu, vcpu)
        return Then("vcpu_enter_guest", vcpu)

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run", "__kvm_vcpu_run")
    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        if self.exit_request(cpu, vcpu):
            cpu.store(vcpu.mode, OUT)
            cpu.irq_enable()
            return Then("vcpu_run", vcpu)
        here = self.world.cpus[cpu.id()]
        for lr, saved in zip(here.lr, self.vgic_lr(vcpu), strict=True):
            cpu.store(lr.word, cpu.load(saved))
        cpu.store(here.vmcr.word, cpu.load(vcpu.vmcr_sw))
        cpu.store(here.apr, cpu.load(vcpu.apr_sw))
        cpu.store(here.hcr.word, cpu.load(vcpu.vgic_hcr))
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run")
    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Nobody asks again what is pending once mode = IN is seen (Linux before 325f9c649c8a, 2017)."""
        return False

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run", "kvm_vgic_sync_from_cpu")
    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        self.save(cpu, vcpu)
        cpu.store(vcpu.mode, OUT)
        cpu.irq_enable()
        self.sync_from_cpu(cpu, vcpu)
        return self.handle_exit(cpu, vcpu, reason)

    @mirrors(POSTED, "__kvm_vcpu_run")
    def save(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        words = [cpu.load(lr.word) for lr in here.lr]
        eisr = sum(1 << n for n, word in enumerate(words) if word & EOI and not word >> 28 & (ACTIVE | PENDING))
        elrsr = sum(1 << n for n, word in enumerate(words) if not word & EOI and not word >> 28 & (ACTIVE | PENDING))
        few = cpu.load(here.hcr.uie) and sum(word >> 28 & 3 != 0 for word in words) <= 1
        for saved, word in zip(self.vgic_lr(vcpu), words, strict=True):
            cpu.store(saved, word)
        cpu.store(vcpu.vgic_elrsr, elrsr)
        cpu.store(vcpu.vgic_eisr, eisr)
        cpu.store(vcpu.vgic_misr, (MISR_EOI if eisr else 0) | (MISR_U if few else 0))
        cpu.store(vcpu.vmcr_sw, cpu.load(here.vmcr.word))
        cpu.store(vcpu.apr_sw, cpu.load(here.apr))

    @mirrors(POSTED, "handle_exit")
    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        match reason:
            case ("wfi",):
                return Then("vcpu_block", vcpu)
            case ("mmio", register, intid, value):
                return Then("distributor", vcpu, register, intid, value)
            case ("device_quiet", intid):
                return Then("device_quiet", vcpu, intid)
            case ("pause",):
                for other in self.world.all_vcpus():
                    cpu.load(self.summary(other))
            case _:
                pass
        return Then("vcpu_run", vcpu)

    @mirrors(POSTED, "kvm_vgic_inject_irq")
    def device_quiet(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Any:
        self.inject(cpu, vcpu, intid, 0)
        return Then("vcpu_run", vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_block")
    @mirrors(POSTED, "kvm_vgic_vcpu_pending_irq")
    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """kvm_vcpu_block(); kvm_vgic_vcpu_pending_irq() is the summary bit."""
        cpu.prepare_to_block()
        cpu.fence()
        if cpu.load(self.summary(vcpu)):
            cpu.finish_block()
            return Then("vcpu_run", vcpu)
        cpu.schedule()
        return Then("vcpu_block", vcpu)

    @mirrors(POSTED, "kvm_arch_vcpu_load")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        cpu.store(vcpu.cpu, where)
        cpu.store(self.world.cpus[where].running_vcpu, (vcpu.name,))

    @mirrors(POSTED, "kvm_arch_vcpu_put")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        here = self.world.cpus[cpu.id()]
        cpu.store(here.hcr.word, 0)
        cpu.store(here.running_vcpu, ())


class Vgic2012Mended(Vgic2012):
    """The 2012 design with what was mended later: one source of an SGI at a time (16ca6a607d84, 2018), a look again
    after mode:=IN (325f9c649c8a, 2017), interrupts off while the distributor's lock is held, a list register that is
    free when its end was told, and a level that GICD_ICPENDR leaves alone.
    """

    @mirrors(POSTED, "kvm_vgic_inject_irq", "kvm_vgic_sync_to_cpu")
    def lock_irqsave(self, cpu: Cpu, lock: Field) -> bool:
        flag = cpu.irq_disable()
        cpu.lock(lock)
        return flag

    @mirrors(POSTED, "kvm_vgic_inject_irq", "kvm_vgic_sync_to_cpu")
    def unlock_irqrestore(self, cpu: Cpu, lock: Field, flag: bool) -> None:
        cpu.unlock(lock)
        cpu.irq_restore(flag)

    @mirrors(POSTED, "vgic_maintenance_handler")
    def freed(self, cpu: Cpu, vcpu: Vcpu, n: int) -> None:
        cpu.fetch_or(vcpu.vgic_elrsr, 1 << n)

    def clearable(self, intid: int) -> bool:
        return not self.world.level_sensitive(intid)

    @mirrors(POSTED, "kvm_arch_vcpu_ioctl_run")
    def exit_request(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """What came after sync_to_cpu has set the summary bit again."""
        return bool(cpu.load(self.summary(vcpu))) and not cpu.load(vcpu.vgic_hcr) & HCR_UIE

    @mirrors(POSTED, "vgic_queue_sgi")
    def queue_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """The lowest source; what of others is left comes with the maintenance interrupt of its end."""
        sources = [n for n in range(len(self.world.vcpus)) if cpu.load(self.source(vcpu, intid, n))]
        for known, n in self.irq_lr_map(cpu, vcpu):
            lr = self.vgic_lr(vcpu)[n]
            word = cpu.load(lr) if known == intid else 0
            if word >> 28 & (ACTIVE | PENDING):
                cpu.store(lr, word | EOI)
                return True
        word = lr_word(intid, PENDING, priority=self.world.priority(intid), cpuid=sources[0], eoi=len(sources) > 1)
        if not self.allocate(cpu, vcpu, word):
            return False
        cpu.store(self.source(vcpu, intid, sources[0]), 0)
        if len(sources) == 1:
            cpu.test_and_clear(self.bit("state", vcpu, intid))
        return True
