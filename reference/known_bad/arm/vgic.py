"""Wrong distributors: changes to injection, `queue_irq_unlock`, flush, fold and prune of `Vgic`."""

from __future__ import annotations

from typing import Any

from conformance.roles.arm import HCR_NPIE, HCR_UIE, KICK, PENDING, Cpu, Vcpu
from reference.arm.kvm import KvmArm
from reference.arm.vgic import IN, IRQ_PENDING

EOI = 1 << 19


class NoEoiBit(KvmArm):
    """FreeBSD's vmm (2026): a level in a list register without LR.EOI. Its end causes no exit, so nobody learns of it:
    a device that waits to be told keeps its line high.
    """

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        return word & ~EOI if self.world.level_sensitive(intid) else word


class PendingUntilFolded(KvmArm):
    """libvmm (2026): what goes into a list register stays pending in software too, and what is pending is not made so
    again. An edge that comes after the acknowledge and before the exit is dropped.
    """

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        dropped = cpu.load(irq.on_lr)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        if not dropped:
            super().inject(cpu, vcpu, intid, level)


class DropsWhileDisabled(KvmArm):
    """libvmm (2024): what is injected while the interrupt is disabled is forgotten."""

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        enabled = cpu.load(irq.enabled)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        if enabled:
            super().inject(cpu, vcpu, intid, level)


class DisabledNeverEnds(KvmArm):
    """CheriBSD and FreeBSD (2026): the end of an interrupt that was disabled meanwhile is ignored. It is active for ever."""

    def fold_lr(self, cpu: Cpu, vcpu: Vcpu, word: int) -> None:
        irq = self.world.irq(vcpu, word & 0x3FF)
        cpu.lock(irq.irq_lock)
        ignored = cpu.load(irq.active) and not cpu.load(irq.enabled)
        cpu.unlock(irq.irq_lock)
        if not ignored:
            super().fold_lr(cpu, vcpu, word)


class IgnoresSource(KvmArm):
    """hvisor (2026): an SGI that is pending is not sent again, whoever sends it. Of two senders one is not heard."""

    def send_sgi(self, cpu: Cpu, vcpu: Vcpu, intid: int, targets: int) -> None:
        for to in self.world.all_vcpus():
            irq = self.world.irq(to, intid)
            flag = self.lock_irqsave(cpu, irq.irq_lock)
            pending = cpu.load(irq.latch)
            self.unlock_irqrestore(cpu, irq.irq_lock, flag)
            if not pending:
                super().send_sgi(cpu, vcpu, intid, targets & 1 << to.number)


class RegisterForEachSource(KvmArm):
    """KVM, 2012 to 16ca6a607d84 (2018): one list register for each source of an SGI, all with the same VirtualID."""

    def populate_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> list[int]:
        words: list[int] = []
        while more := super().populate_lr(cpu, vcpu, intid):
            words += [word & ~EOI if intid < 16 else word for word in more]
            if intid >= 16 or len(words) == self.world.list_registers or not self.sources(cpu, vcpu, intid):
                break
        return words

    def sources(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        irq = self.world.irq(vcpu, intid)
        cpu.lock(irq.irq_lock)
        left = cpu.load(irq.source)
        cpu.unlock(irq.irq_lock)
        return left


class PendingAndActiveLevel(KvmArm):
    """KVM before 67b5b673ad4d (2018): a level may be pending and active at once. The first end makes it pending, not
    invalid, so that the device is not told, keeps its line high, and the guest is interrupted for ever.
    """

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        level = self.world.level_sensitive(intid)
        return word | PENDING << 28 if level and self.pending(cpu, vcpu, intid) else word


class NoHalt(KvmArm):
    """KVM, abd7229626b9 to its fix (2020): the first SPI's active bit is written while the vCPU that has it in a list
    register runs. Its next exit writes the old one back.
    """

    def halt(self, cpu: Cpu, vcpus: list[Vcpu]) -> None:
        """Off by one: nobody is halted."""

    def lock_folded(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        return self.lock_irqsave(cpu, self.world.irq(vcpu, intid).irq_lock)


class ActiveFirst(KvmArm):
    """bao (2026): what is active stays in the list registers, what is pending waits, and asks for a maintenance interrupt
    as soon as nothing pending is there: at once, at every entry.
    """

    def order(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> tuple[bool, int]:
        waits, priority = super().order(cpu, vcpu, intid)
        return (not waits, priority)

    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        waiting, hcr = super().summarize(cpu, vcpu, listed)
        return waiting, hcr | HCR_NPIE if len(listed) > self.world.list_registers else hcr


class DropsInFlight(KvmArm):
    """Xen before db453468d923: an edge whose predecessor is in flight is dropped, and nobody looks again at the end of it."""

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, irq.irq_lock)
        in_flight = cpu.load(irq.owner)
        self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        if not in_flight:
            super().inject(cpu, vcpu, intid, level)


class MovesQuietly(KvmArm):
    """KVM before its 2018 fix: an interrupt moves to another vCPU's list, and that vCPU is not kicked."""

    def migrate(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        return self.move(cpu, vcpu, intid, target)


# An equivalent that is right, and what Linux does today, where the reference does not


class StaysInOldRegister(KvmArm):
    """What is in a list register of the old target stays there until that vCPU's next exit, for which nobody asks."""

    def follow(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> None:
        if vcpu is not target:
            self.migrate(cpu, vcpu, intid, target)


class KicksTarget(StaysInOldRegister):
    """Linux: who still has an old entry of an interrupt on its list is not kicked, but the new target, which has nothing."""

    def listed_already(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> None:
        self.notify(cpu, target)


class EnablingOnlyKicks(KvmArm):
    """Linux: enabling the distributor kicks who has something on its list. What became pending meanwhile is on none."""

    def rescan(self, cpu: Cpu) -> None:
        for vcpu in self.world.all_vcpus():
            if self.runnable(cpu, vcpu):
                self.notify(cpu, vcpu)


class RetargetOnlyWrites(KvmArm):
    """Linux: a write of GICD_ITARGETSR kicks nobody. The old target may have looked at its list just before."""

    def follow(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> None:
        pass


class ClearsLatchAtEnd(KvmArm):
    """Linux: a level's latch is cleared when its list register is found invalid, with what GICD_ISPENDR wrote since."""

    def take_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        if not self.world.level_sensitive(intid):
            super().take_latch(cpu, vcpu, intid)

    def fold_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int, state: int) -> None:
        if not state:
            cpu.store(self.world.irq(vcpu, intid).latch, 0)


class MovesInFlight(ClearsLatchAtEnd):
    """Xen before 31bc6a93a096: an interrupt that is in a list register moves to the new target at once, so that both
    vCPUs' list registers may hold it. Seen where what is latched stays so in software while a list register holds it.
    """

    def movable(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        return cpu.load(self.world.irq(vcpu, intid).owner) == (vcpu.name,)


class HaltTrustsMode(KvmArm):
    """Linux: mode = OUT ends the wait for a vCPU that is to leave its guest. But flush comes before mode:=IN, and fold
    after mode:=OUT, and writes back the active bit that flush had read.
    """

    def lock_folded(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> bool:
        return self.lock_irqsave(cpu, self.world.irq(vcpu, intid).irq_lock)


# Synthetic


class NoRecheck(KvmArm):
    """Synthetic: what was decided before irq_lock was dropped is not looked at again. Two injectors list it twice."""

    def unchanged(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        return True


class ForgetsPending(KvmArm):
    """Synthetic: an edge that comes back unacknowledged is not pending any more."""

    def fold_lr(self, cpu: Cpu, vcpu: Vcpu, word: int) -> None:
        super().fold_lr(cpu, vcpu, word if self.world.level_sensitive(word & 0x3FF) else word & ~(PENDING << 28))


class ForgetsActive(KvmArm):
    """Synthetic: an interrupt that comes back active is not active any more. It is delivered again before its end."""

    def fold_lr(self, cpu: Cpu, vcpu: Vcpu, word: int) -> None:
        super().fold_lr(cpu, vcpu, word & ~(2 << 28))


class ClearsLine(KvmArm):
    """Synthetic: GICD_ICPENDR clears a level whose line is high."""

    def write(self, cpu: Cpu, vcpu: Vcpu, intid: int, what: str, value: int, *more: str) -> None:
        extra = ("line",) if what == "latch" and self.world.level_sensitive(intid) else ()
        super().write(cpu, vcpu, intid, what, value, *more, *extra)


class FallsToo(KvmArm):
    """Synthetic: an edge-triggered interrupt is injected by either edge."""

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        super().inject(cpu, vcpu, intid, level if self.world.level_sensitive(intid) else 1)


class EnablesQuietly(KvmArm):
    """Synthetic: enabling an interrupt does not look whether it is pending."""

    def write_and_queue(self, cpu: Cpu, vcpu: Vcpu, intid: int, what: str, value: int) -> None:
        if what == "enabled":
            self.write(cpu, vcpu, intid, what, value)
        else:
            super().write_and_queue(cpu, vcpu, intid, what, value)


class ForwardsDisabled(KvmArm):
    """Synthetic: a disabled interrupt is put into a list register."""

    def oracle(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Vcpu | None:
        found = super().oracle(cpu, vcpu, intid)
        if found is None and self.pending(cpu, vcpu, intid) and self.forwards(cpu):
            return self.target(cpu, vcpu, intid)
        return found


class DropsActiveWhenDisabled(KvmArm):
    """Synthetic: a disabled interrupt leaves its list even while it is active, and its list register with it."""

    def oracle(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Vcpu | None:
        return super().oracle(cpu, vcpu, intid) if cpu.load(self.world.irq(vcpu, intid).enabled) else None


class ForwardsWhileOff(KvmArm):
    """Synthetic: GICD_CTLR is not looked at."""

    def forwards(self, cpu: Cpu) -> bool:
        return True


class MovesActive(KvmArm):
    """Synthetic: an active interrupt follows its target, away from the vCPU that has to complete it."""

    def oracle(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Vcpu | None:
        found = super().oracle(cpu, vcpu, intid)
        return self.target(cpu, vcpu, intid) if found else None


class LastSourceLost(KvmArm):
    """Synthetic: the first source of an SGI that goes into a list register takes the latch along."""

    def take_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        super().take_latch(cpu, vcpu, intid)
        if intid < 16:
            cpu.store(self.world.irq(vcpu, intid).latch, 0)


class NoEndOfSource(KvmArm):
    """Synthetic: the end of one source of an SGI causes no exit that would bring the next."""

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        return word & ~EOI if intid < 16 else word


class ForgetsActiveSource(KvmArm):
    """Synthetic: an SGI that comes back active is active from vcpu0 at the next entry."""

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        return word & ~(7 << 10) if intid < 16 and word >> 29 & 1 else word


class MergesSources(KvmArm):
    """Synthetic: every source of an SGI is forgotten when the first is put into a list register."""

    def take_latch(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        super().take_latch(cpu, vcpu, intid)
        if intid < 16:
            cpu.store(self.world.irq(vcpu, intid).source, 0)
            cpu.store(self.world.irq(vcpu, intid).latch, 0)


class NoOverflowInterrupt(KvmArm):
    """Synthetic: nothing asks for an exit when the list registers did not suffice."""

    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        waiting, _ = super().summarize(cpu, vcpu, listed)
        return waiting, 1


class UnderflowWithOne(KvmArm):
    """Synthetic: UIE with a single list register, where one valid list register or none is always."""

    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        waiting, hcr = super().summarize(cpu, vcpu, listed)
        return waiting, hcr | HCR_UIE if len(listed) > self.world.list_registers else hcr


class UnsortedList(KvmArm):
    """Synthetic: when the list registers do not suffice, whoever came first has them."""

    def order(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> tuple[bool, int]:
        return (super().order(cpu, vcpu, intid)[0], 0)


class IgnoresEoiCount(KvmArm):
    """Synthetic: what ends outside the list registers is active for ever."""

    def fold_outside(self, cpu: Cpu, vcpu: Vcpu, inside: set[int], ended: int) -> None:
        pass


class KicksWithoutWaking(KvmArm):
    """Synthetic: a vCPU that sleeps is kicked, not woken."""

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.cmpxchg(vcpu.mode, IN, 2) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))


class WakesWithoutKicking(KvmArm):
    """Synthetic: a vCPU that runs in its guest is left alone."""

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.wake(vcpu)


class KicksBeforeRequest(KvmArm):
    """Synthetic: the kick comes before the request. Neither is seen by an entry in between."""

    def notify(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.kick(cpu, vcpu)
        cpu.fetch_or(vcpu.requests, IRQ_PENDING)


class QueuedIsEnough(KvmArm):
    """Synthetic: who has the interrupt on its list already is not told of another edge."""

    def queue_irq_unlock(self, cpu: Cpu, vcpu: Vcpu, intid: int, flag: bool) -> Any:
        irq = self.world.irq(vcpu, intid)
        if cpu.load(irq.owner):
            self.unlock_irqrestore(cpu, irq.irq_lock, flag)
        else:
            super().queue_irq_unlock(cpu, vcpu, intid, flag)


# Equivalents that are right


class NeverPendingAndActive(KvmArm):
    """No edge is pending and active at once either: the end of the active one is asked for, and brings the next."""

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        if word >> 28 & 3 != 3:
            return word
        return word & ~(PENDING << 28) | EOI


class LevelPendingAndActive(KvmArm):
    """A level may be pending and active at once, where every line is lowered by the guest's handler: it is resampled at
    every exit, and that handler exits.
    """

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        word = super().compute_lr(cpu, vcpu, intid)
        again = self.world.level_sensitive(intid) and self.pending(cpu, vcpu, intid)
        return word | PENDING << 28 if again and not self.world.fact("irqfd-resample") else word


class AlwaysSorts(KvmArm):
    """The list is sorted before every entry, whether the list registers suffice or not."""

    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        waiting, hcr = super().summarize(cpu, vcpu, listed)
        return sorted(waiting, key=self.world.priority) if hcr == 1 else waiting, hcr


class KicksTwice(KvmArm):
    """Every kick twice."""

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().kick(cpu, vcpu)
        super().kick(cpu, vcpu)


class TellsEveryEnd(KvmArm):
    """LR.EOI in every list register: the end of every interrupt causes an exit."""

    def compute_lr(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> int:
        return super().compute_lr(cpu, vcpu, intid) | EOI
