"""KVM's virtual distributor: what is pending for whom, and how it gets into list registers and back.

Linux 6.19, after its rework for more interrupts than list registers (2025). Each routine names its functions,
`DIFFERENCES` what is not as there, and `SINCE_6_1` where 6.1 has it. The registers are in reference.arm.vgic_mmio, the run
loop in reference.arm.kvm.

    inject, distributor ──> irq: line, latch, active ── oracle: whose? ──> ap_list of that vCPU, request, kick
    before entry   flush:  ap_list, sorted if it is longer than the list registers ── one each ──> LR[n], HCR
    after an exit  fold:   LR[n], EOICount ──> active, latch;  prune: off the list, or onto another vCPU's

Locks: a vCPU's ap_list_lock, then an interrupt's irq_lock; two ap_list_locks in the order of the vCPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from conformance.roles.arm import (
    ACTIVE,
    HCR_EN,
    HCR_LRENPIE,
    HCR_NPIE,
    HCR_TDIR,
    HCR_UIE,
    KICK,
    PENDING,
    Cpu,
    Field,
    Injector,
    Shared,
    Vcpu,
    lr_word,
)
from conformance.roles.mirrors import Difference, Original, mirrors

LINUX = "Linux 6.19"
VGIC = Original(LINUX, "arch/arm64/kvm/vgic/vgic.c")
VGIC_H = Original(LINUX, "arch/arm64/kvm/vgic/vgic.h")
VGIC_V2 = Original(LINUX, "arch/arm64/kvm/vgic/vgic-v2.c")
KVM_MAIN = Original(LINUX, "virt/kvm/kvm_main.c")
EVENTFD = Original(LINUX, "virt/kvm/eventfd.c")
SPINLOCK = Original(LINUX, "include/linux/spinlock.h")

SINCE_6_1: Mapping[str, str] = {
    "summarize_ap_list": "compute_ap_list_depth()",
    "vgic_v2_configure_hcr": "vgic_v2_set_underflow(), from vgic_flush_lr_state(): UIE alone",
    "vgic_v2_compute_lr": "vgic_v2_populate_lr()",
    "vgic_v2_fold_lr": "vgic_v2_fold_lr_state(), which knows no EOICount",
    "vgic_v2_deactivate": "vgic_v2_fold_lr_state(): a GICV_DIR does not trap",
}
"""Functions that Linux 6.1 does not have, and where it does what they do."""

DIFFERENCES = (
    Difference(
        "listed_already",
        "an interrupt that is on a list already: its target is kicked, which after a retarget does not have it",
        "it moves to its target, or who has it in a list register is kicked",
        "docs/findings.md, 5; known-bad:L3",
    ),
    Difference(
        "kick",
        "where the vCPU runs on this pCPU nothing is sent",
        "an interrupt to itself",
        "it is harmless, and who runs where is not kept",
    ),
    Difference(
        "summarize",
        "counts what this vCPU should have, and sorts if that is more than the list registers",
        "counts and sorts if the list is longer than that",
        "an entry that is no longer wanted costs a sort that changes nothing",
    ),
    Difference(
        "fold_latch",
        "a level's latch stays through an entry, and is cleared when the list register is found invalid",
        "it goes along into the list register (`taken`), and comes back if it was not acknowledged",
        "Linux clears what was written since with it: docs/findings.md, 6; known-bad:L4",
    ),
    Difference(
        "deactivated",
        "a GICv2's GICV_DIR always traps; GICv3's (vgic_v3_configure_hcr()) where something active is in no list register, or "
        "an SPI is active anywhere",
        "it traps where something active is in no list register",
        "no guest here deactivates what another vCPU acknowledged",
    ),
    Difference(
        "prune",
        "one walk, which starts anew after each interrupt that moves",
        "one walk, and then the moves",
        "each move decides anew under both locks, and one that finds things changed has the walk start anew",
    ),
    Difference(
        "movable",
        "only the vCPU that has it moves an interrupt, after its fold",
        "whoever retargets it, or makes it pending or enables it after that, does too, if no list register has it",
        "docs/findings.md, 5: what is pending moves at once",
    ),
    Difference(
        "inject",
        "interrupts that are mapped to a physical one; reference counts of LPIs; owners of lines",
        "left out",
        "the sequential properties check LR.HW; lifetimes are not modelled",
    ),
)

OUT, IN, EXITING = 0, 1, 2
"""vcpu->mode: OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE."""
IRQ_PENDING, SLEEP = 1, 2
"""Bits of vcpu->requests: KVM_REQ_IRQ_PENDING, KVM_REQ_SLEEP."""


class Vgic(Injector):
    """Interrupts, lists and list registers."""

    irq_state: ClassVar = {
        "irq_lock": Shared(lock=True),
        "enabled": Shared(1, guarded_by="irq_lock"),
        "line": Shared(0, guarded_by="irq_lock"),
        "latch": Shared(0, guarded_by="irq_lock"),
        "active": Shared(0, guarded_by="irq_lock"),
        "source": Shared(0, guarded_by="irq_lock"),  # of an SGI: the CPU interfaces it is pending from
        "active_source": Shared(0, guarded_by="irq_lock"),
        "target": Shared(0, guarded_by="irq_lock"),  # number of a vCPU; a private interrupt's own is not asked for
        "owner": Shared((), guarded_by="irq_lock"),  # irq->vcpu: on whose ap_list it is
        "on_lr": Shared(0, guarded_by="irq_lock"),
        "taken": Shared(0, guarded_by="irq_lock"),  # of a level: its latch went into the list register
    }
    vcpu_state: ClassVar = {
        "ap_list_lock": Shared(lock=True),
        "ap_list": Shared((), guarded_by="ap_list_lock"),
        "requests": Shared(0),
        "mode": Shared(OUT),
        "cpu": Shared(0),
        "paused": Shared(0),
    }
    vm_state: ClassVar = {
        "enabled": Shared(1, changed_by=(("mmio", "ctlr"),)),
        "config_lock": Shared(lock=True),
    }

    # Injection

    @mirrors(VGIC, "kvm_vgic_inject_irq", "vgic_validate_injection")
    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        """What changes nothing is left (vgic_validate_injection()): the same level again, or an edge that falls."""
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        if self.world.level_sensitive(intid):
            if cpu.load(irq.line) == level:
                self.unlock_irqrestore(cpu, irq.irq_lock, flag)
                return
            cpu.store(irq.line, level)
        elif level:
            cpu.store(irq.latch, 1)
        self.queue_irq_unlock(cpu, vcpu, intid, flag)

    @mirrors(VGIC, "vgic_target_oracle")
    def oracle(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Vcpu | None:
        """Who should have it. Where it is active it stays; what is disabled waits."""
        irq = self.world.irq(vcpu, intid)
        if cpu.load(irq.active):
            owner = cpu.load(irq.owner)
            return self.world.vcpus[owner[0]] if owner else self.target(cpu, vcpu, intid)
        if cpu.load(irq.enabled) and self.pending(cpu, vcpu, intid) and self.forwards(cpu):
            return self.target(cpu, vcpu, intid)
        return None

    @mirrors(VGIC, "vgic_target_oracle")
    def target(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Vcpu:
        return vcpu if intid < 32 else self.world.vcpus[f"vcpu{cpu.load(self.world.irq(vcpu, intid).target)}"]

    @mirrors(VGIC_H, "irq_is_pending")
    def pending(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """A level is pending while its line is high, or latched by a write of GICD_ISPENDR."""
        irq = self.world.irq(vcpu, intid)
        return bool(cpu.load(irq.latch) or (self.world.level_sensitive(intid) and cpu.load(irq.line)))

    @mirrors(VGIC, "vgic_target_oracle")
    def forwards(self, cpu: Cpu) -> bool:
        """GICD_CTLR."""
        return bool(cpu.load(self.world.vm.enabled))

    @mirrors(VGIC, "vgic_queue_irq_unlock")
    def queue_irq_unlock(self, cpu: Cpu, vcpu: Vcpu, intid: int, flag: bool) -> None:
        """Onto the list of whoever should have it, unless it is on one.

        The locks' order asks that irq_lock is dropped in between: what was decided is looked at again. Whoever has it
        already is kicked too, for an edge may come after the guest completed the one before.
        """
        irq = self.world.irq(vcpu, intid)
        while True:
            target = self.oracle(cpu, vcpu, intid)
            owner = cpu.load(irq.owner)
            self.unlock_irqrestore(cpu, irq.irq_lock, flag)
            if target is None:
                return
            if owner:
                self.listed_already(cpu, self.world.vcpus[owner[0]], intid, target)
                return
            flag = self.lock_irqsave(cpu, target.ap_list_lock)
            cpu.lock(irq.irq_lock)
            listed = self.unchanged(cpu, vcpu, intid, target)
            if listed:
                cpu.store(target.ap_list, (*cpu.load(target.ap_list), str(intid)))
                cpu.store(irq.owner, (target.name,))
            cpu.unlock(irq.irq_lock)
            self.unlock_irqrestore(cpu, target.ap_list_lock, flag)
            if listed:
                self.notify(cpu, target)
                return
            flag = self.lock_irqsave(cpu, irq.irq_lock)

    @mirrors(VGIC, "vgic_queue_irq_unlock")
    def listed_already(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> None:
        """On this vCPU's list. If it has become another's it moves at once, or when this vCPU exits, which is kicked."""
        if vcpu is target or not self.migrate(cpu, vcpu, intid, target):
            self.notify(cpu, vcpu)

    @mirrors(VGIC, "vgic_queue_irq_unlock")
    def unchanged(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        """Whether it still is on no list, and still for `target`."""
        return not cpu.load(self.world.irq(vcpu, intid).owner) and self.oracle(cpu, vcpu, intid) is target

    @mirrors(VGIC, "vgic_queue_irq_unlock")
    def notify(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """kvm_make_request(KVM_REQ_IRQ_PENDING), kvm_vcpu_kick(): the request is what an entry that goes on sees."""
        cpu.fetch_or(vcpu.requests, IRQ_PENDING)
        self.kick(cpu, vcpu)

    @mirrors(KVM_MAIN, "kvm_vcpu_kick")
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Wake it, or force an exit if it is in the guest."""
        if not cpu.wake(vcpu) and cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))

    @mirrors(SPINLOCK, "raw_spin_lock_irqsave")
    def lock_irqsave(self, cpu: Cpu, lock: Field) -> bool:
        flag = True if self.flag_is_moot() else cpu.irq_disable()
        cpu.lock(lock)
        return flag

    @mirrors(SPINLOCK, "raw_spin_unlock_irqrestore")
    def unlock_irqrestore(self, cpu: Cpu, lock: Field, flag: bool) -> None:
        cpu.unlock(lock)
        if not self.flag_is_moot():
            cpu.irq_restore(flag)

    def flag_is_moot(self) -> bool:
        none = not (self.world.scenario.interrupts or self.world.gicv4)
        return self.world.abridged(none, "no handler of the scenario takes a lock")

    # Before an entry

    @mirrors(VGIC, "kvm_vgic_flush_hwstate", "vgic_flush_lr_state")
    @mirrors(VGIC_V2, "vgic_v2_restore_state")
    def flush(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """One pass over the list. What does not fit waits for the maintenance interrupt that `summarize` asks for."""
        here = self.world.cpus[cpu.id()]
        cpu.lock(vcpu.ap_list_lock)
        listed, hcr = self.summarize(cpu, vcpu, [int(i) for i in cpu.load(vcpu.ap_list)])
        words: list[int] = []
        for intid in listed:
            if len(words) == self.world.list_registers:
                break
            words += self.populate_lr(cpu, vcpu, intid)
        cpu.unlock(vcpu.ap_list_lock)
        for lr, word in zip(here.lr, (*words, *[0] * len(here.lr)), strict=False):
            cpu.store(lr.word, word)
        cpu.store(here.hcr.word, hcr)

    @mirrors(VGIC, "summarize_ap_list", "vgic_sort_ap_list")
    @mirrors(VGIC_V2, "vgic_v2_configure_hcr")
    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        """The list as it is to be tried, and GICH_HCR.

        NPIE: something pending is left out. LRENPIE and TDIR: something active is; with EOImode=1 a count does not tell
        which of them ended. UIE: refill early; with a single list register it would be asserted whatever that holds, and
        the guest never run.
        """
        room = self.world.list_registers
        if len(listed) <= room:
            return listed, HCR_EN
        pending, active, keys = 0, 0, {}
        for intid in listed:
            irq = self.world.irq(vcpu, intid)
            cpu.lock(irq.irq_lock)
            keys[intid] = self.order(cpu, vcpu, intid)
            if self.oracle(cpu, vcpu, intid) is vcpu:
                is_active = cpu.load(irq.active)
                active, pending = active + is_active, pending + 1 - is_active
            cpu.unlock(irq.irq_lock)
        listed = sorted(listed, key=lambda intid: keys[intid])
        cpu.store(vcpu.ap_list, tuple(map(str, listed)))
        hcr = HCR_EN
        if pending > room:
            hcr |= HCR_NPIE
        if pending + active > room:
            hcr |= (HCR_LRENPIE | HCR_TDIR if active else 0) | (HCR_UIE if room > 1 else 0)
        return listed, hcr

    @mirrors(VGIC, "vgic_irq_cmp")
    def order(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> tuple[bool, int]:
        """What can be acknowledged first, then by priority."""
        irq = self.world.irq(vcpu, intid)
        ready = cpu.load(irq.enabled) and not cpu.load(irq.active) and self.pending(cpu, vcpu, intid)
        return (not ready, self.world.priority(intid))

    @mirrors(VGIC_V2, "vgic_v2_populate_lr")
    def populate_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> list[int]:
        """The list register for one interrupt, if this vCPU should have it. Its latch moves along."""
        irq = self.world.irq(vcpu, intid)
        words: list[int] = []
        cpu.lock(irq.irq_lock)
        if self.oracle(cpu, vcpu, intid) is vcpu:
            words.append(self.compute_lr(cpu, vcpu, intid))
            cpu.store(irq.on_lr, 1)
            if words[0] >> 28 & PENDING:
                self.take_latch(cpu, vcpu, intid)
        cpu.unlock(irq.irq_lock)
        return words

    @mirrors(VGIC_V2, "vgic_v2_populate_lr")
    def take_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        """An SGI stays latched while it is pending from another source too."""
        irq = self.world.irq(vcpu, intid)
        if self.world.level_sensitive(intid):
            cpu.store(irq.taken, cpu.load(irq.latch))
        left = 0
        if intid < 16:
            sources = cpu.load(irq.source)
            left = sources & sources - 1
            cpu.store(irq.source, left)
        cpu.store(irq.latch, int(left != 0))

    @mirrors(VGIC_V2, "vgic_v2_compute_lr")
    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        """One source of an SGI at a time, the lowest; the end of it brings the next. Of a level,
        the end of each is to be seen, so it is never pending and active at once.
        """
        irq = self.world.irq(vcpu, intid)
        level, active = self.world.level_sensitive(intid), cpu.load(irq.active)
        sources = cpu.load(irq.source) if intid < 16 else 0
        source, eoi = 0, level
        allow_pending = not (active and (level or sources))
        state = (ACTIVE if active else 0) | (PENDING if allow_pending and self.pending(cpu, vcpu, intid) else 0)
        if intid < 16 and active:
            source, eoi = cpu.load(irq.active_source), sources != 0
        elif sources:
            source, eoi = (sources & -sources).bit_length() - 1, sources & sources - 1 != 0
        return lr_word(intid, state, priority=self.world.priority(intid), cpuid=source, eoi=eoi)

    # After an exit

    @mirrors(VGIC, "kvm_vgic_sync_hwstate")
    @mirrors(VGIC_V2, "vgic_v2_save_state", "vgic_v2_fold_lr_state")
    def fold(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        words = [word for lr in here.lr if (word := cpu.load(lr.word))]
        ended = cpu.load(here.hcr.eoi_count)
        for lr in here.lr:
            cpu.store(lr.word, 0)
        cpu.store(here.hcr.word, 0)
        for word in words:
            self.fold_lr(cpu, vcpu, word)
        if ended:
            self.fold_outside(cpu, vcpu, {word & 0x3FF for word in words}, ended)
        self.prune(cpu, vcpu)

    @mirrors(VGIC_V2, "vgic_v2_fold_lr")
    def fold_lr(self, cpu: Cpu, vcpu: Vcpu, word: int) -> None:
        """Active as it is; only an edge is still pending, for a level's line is asked again."""
        intid, source, state, eoi = word & 0x3FF, word >> 10 & 7, word >> 28 & 3, word >> 19 & 1
        irq = self.world.irq(vcpu, intid)
        if eoi and not state and intid >= 32:
            self.notify_acked(cpu, vcpu, intid)
        cpu.lock(irq.irq_lock)
        cpu.store(irq.on_lr, 0)
        cpu.store(irq.active, state >> 1)
        if intid < 16 and state & ACTIVE:
            cpu.store(irq.active_source, source)
        if self.world.level_sensitive(intid):
            self.fold_latch(cpu, vcpu, intid, state)
        elif state & PENDING:
            cpu.store(irq.latch, 1)
            if intid < 16:
                cpu.store(irq.source, cpu.load(irq.source) | 1 << source)
        cpu.unlock(irq.irq_lock)

    @mirrors(VGIC_V2, "vgic_v2_fold_lr")
    def fold_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int, state: int) -> None:
        """A level that GICD_ISPENDR made pending is so again if it was not acknowledged."""
        irq = self.world.irq(vcpu, intid)
        if state & PENDING and cpu.load(irq.taken):
            cpu.store(irq.latch, 1)
        cpu.store(irq.taken, 0)

    @mirrors(VGIC_V2, "vgic_v2_deactivate")
    def deactivated(self, cpu: Cpu, vcpu: Vcpu, told: int) -> None:
        """A write of GICV_DIR that trapped. Whatever list register it was in has been folded."""
        intid = told & 0x3FF
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        active = cpu.load(irq.active)
        cpu.unlock(irq.irq_lock)
        if active:
            self.fold_lr(cpu, vcpu, lr_word(intid, 0, eoi=self.world.level_sensitive(intid)))
            self.prune(cpu, vcpu)
        if not self.flag_is_moot():
            cpu.irq_restore(flag)

    @mirrors(VGIC_V2, "vgic_v2_fold_lr_state")
    def fold_outside(self, cpu: Cpu, vcpu: Vcpu, inside: set[int], ended: int) -> None:
        """EOICount: so many of what was active and in no list register has ended, in the order that it is listed in."""
        cpu.lock(vcpu.ap_list_lock)
        listed = [int(i) for i in cpu.load(vcpu.ap_list)]
        cpu.unlock(vcpu.ap_list_lock)
        for intid in listed:
            irq = self.world.irq(vcpu, intid)
            if not ended or intid in inside:
                continue
            cpu.lock(irq.irq_lock)
            active = cpu.load(irq.active)
            cpu.unlock(irq.irq_lock)
            if active:
                self.fold_lr(cpu, vcpu, lr_word(intid, 0, eoi=self.world.level_sensitive(intid)))
                ended -= 1

    @mirrors(EVENTFD, "kvm_notify_acked_irq", "irqfd_resampler_ack")
    def notify_acked(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        """The line goes down, and the device is asked to look again."""
        if self.world.fact("irqfd-resample"):
            irq = self.world.irq(vcpu, intid)
            cpu.lock(irq.irq_lock)
            cpu.store(irq.line, 0)
            cpu.unlock(irq.irq_lock)

    @mirrors(VGIC, "vgic_prune_ap_list")
    def prune(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """What is nobody's leaves the list, what is another vCPU's moves, which is kicked."""
        cpu.lock(vcpu.ap_list_lock)
        kept: list[str] = []
        moves: list[tuple[int, Vcpu]] = []
        for name in cpu.load(vcpu.ap_list):
            irq = self.world.irq(vcpu, int(name))
            cpu.lock(irq.irq_lock)
            target = self.oracle(cpu, vcpu, int(name))
            if target is None:
                cpu.store(irq.owner, ())
            else:
                kept.append(name)
            if target not in (None, vcpu):
                moves.append((int(name), target))
            cpu.unlock(irq.irq_lock)
        cpu.store(vcpu.ap_list, tuple(kept))
        cpu.unlock(vcpu.ap_list_lock)
        if not all(self.migrate(cpu, vcpu, intid, target) for intid, target in moves):
            self.prune(cpu, vcpu)

    @mirrors(VGIC, "vgic_prune_ap_list")
    def migrate(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        moved = self.move(cpu, vcpu, intid, target)
        if moved:
            self.notify(cpu, target)
        return moved

    @mirrors(VGIC, "vgic_prune_ap_list")
    def move(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        """Both lists locked, and the decision looked at again. Answers whether it holds, and so was carried out."""
        irq = self.world.irq(vcpu, intid)
        first, second = sorted((vcpu, target), key=lambda v: v.number)
        flag = self.lock_irqsave(cpu, first.ap_list_lock)
        cpu.lock(second.ap_list_lock)
        cpu.lock(irq.irq_lock)
        moves = self.movable(cpu, vcpu, intid) and self.oracle(cpu, vcpu, intid) is target
        if moves:
            cpu.store(vcpu.ap_list, tuple(i for i in cpu.load(vcpu.ap_list) if i != str(intid)))
            cpu.store(target.ap_list, (*cpu.load(target.ap_list), str(intid)))
            cpu.store(irq.owner, (target.name,))
        cpu.unlock(irq.irq_lock)
        cpu.unlock(second.ap_list_lock)
        self.unlock_irqrestore(cpu, first.ap_list_lock, flag)
        return moves

    @mirrors(VGIC, "vgic_prune_ap_list")
    def movable(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        """Whether it still is on this vCPU's list, and in none of its list registers."""
        irq = self.world.irq(vcpu, intid)
        return cpu.load(irq.owner) == (vcpu.name,) and not cpu.load(irq.on_lr)
