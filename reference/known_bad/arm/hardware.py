"""Wrong GICs: changes to the reference's virtual CPU interface and to its ITS. All synthetic."""

from __future__ import annotations

from conformance.roles.arm import (
    ACTIVE,
    DOORBELL,
    HCR_LRENPIE,
    LPI,
    MISR_LRENP,
    MISR_NP,
    MISR_U,
    PENDING,
    SPURIOUS,
    Cpu,
    Pcpu,
    Then,
    Vcpu,
)
from reference.arm.its import ReferenceIts
from reference.arm.virtual_interface import IDLE, SPECIAL, Candidate, ReferenceVirtualInterface, part


class StaysPending(ReferenceVirtualInterface):
    """IAR sets the active bit and leaves the pending one: after its end the interrupt is there once more."""

    def activate(self, cpu: Cpu, vcpu: Vcpu, taken: Candidate) -> None:
        super().activate(cpu, vcpu, taken)
        if taken.at:
            cpu.store(taken.at.state, PENDING | ACTIVE)


class ForgetsSource(ReferenceVirtualInterface):
    """IAR answers an SGI's INTID without its source: the guest takes every sender for CPU 0."""

    def list_registers(self, cpu: Cpu, here: Pcpu) -> list[Candidate]:
        return [c._replace(told=c.told & 0x3FF) for c in super().list_registers(cpu, here)]


class OffersActive(ReferenceVirtualInterface):
    """An interrupt that is pending and active is offered again, before its handler has ended it."""

    def list_registers(self, cpu: Cpu, here: Pcpu) -> list[Candidate]:
        found = super().list_registers(cpu, here)
        for n, lr in enumerate(here.lr):
            word = cpu.load(lr.word)
            if part(word, lr.state) == PENDING | ACTIVE:
                told = part(word, lr.virtual_id)
                found.append(Candidate(f"lr[{n}]", part(word, lr.priority), part(word, lr.group1), told, lr))
        return found


class EndsBoth(ReferenceVirtualInterface):
    """Deactivation makes a list register invalid, whatever was pending in it: an interrupt is lost."""

    def deactivate(self, cpu: Cpu, told: int, counts: bool = True) -> None:
        super().deactivate(cpu, told, counts)
        for lr in self.world.cpus[cpu.id()].lr:
            if cpu.load(lr.virtual_id) == told & 0x3FF:
                cpu.store(lr.state, 0)


class IgnoresEoiMode(ReferenceVirtualInterface):
    """EOIR deactivates with EOImode=1 too."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu, told: int) -> None:
        super().end_of_interrupt(cpu, vcpu, told)
        if cpu.load(self.world.cpus[cpu.id()].vmcr.eoi_mode):
            self.deactivate(cpu, told, counts=False)


class KeepsPhysical(ReferenceVirtualInterface):
    """The guest's deactivation does not reach the physical distributor: the linked interrupt never comes again."""

    def deactivate_physical(self, cpu: Cpu, here: Pcpu, intid: int) -> None:
        pass


class OneBank(ReferenceVirtualInterface):
    """The end of a linked PPI deactivates it on all CPUs: on the others it comes again while its handler runs."""

    def deactivate_physical(self, cpu: Cpu, here: Pcpu, intid: int) -> None:
        for each in self.world.cpus if intid < 32 else [here]:
            super().deactivate_physical(cpu, each, intid)


class ForgetsOnExit(ReferenceVirtualInterface):
    """An exit clears the list register of a pending interrupt."""

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, interrupt: int) -> None:
        lr = self.world.cpus[cpu.id()].lr[0]
        cpu.store(lr.state, cpu.load(lr.state) & ACTIVE)
        super().acknowledge(cpu, vcpu, interrupt)


class InvalidIsEmpty(ReferenceVirtualInterface):
    """ELRSR says empty of a list register whose end nobody has been told of: software overwrites the news."""

    def elrsr(self, cpu: Cpu, where: int) -> int:
        return sum(1 << n for n, _ in self.invalid(cpu, where))


class TellsOfLinked(ReferenceVirtualInterface):
    """Bit 19 is taken for LR.EOI where it belongs to PhysicalID."""

    def tells(self, where: int, word: int) -> bool:
        return bool(part(word, self.world.cpus[where].lr[0].eoi))


class TellsOfHalfEnded(ReferenceVirtualInterface):
    """EISR counts an interrupt as ended when it stops being active, though it is pending still."""

    def eisr(self, cpu: Cpu, where: int) -> int:
        words = [cpu.load(lr.word) for lr in self.world.cpus[where].lr]
        state = self.world.cpus[where].lr[0].state
        return sum(1 << n for n, w in enumerate(words) if not part(w, state) & ACTIVE and self.tells(where, w))


class NeverTellsOfEnd(ReferenceVirtualInterface):
    """MISR.EOI stays 0: software that waits for the end of a level-sensitive interrupt is not told."""

    def misr(self, cpu: Cpu, where: int) -> int:
        return super().misr(cpu, where) & ~1


class UnderflowOfPending(ReferenceVirtualInterface):
    """MISR.U counts pending list registers, not valid ones."""

    def misr(self, cpu: Cpu, where: int) -> int:
        there = self.world.cpus[where]
        pending = sum(bool(cpu.load(lr.state) & PENDING) for lr in there.lr)
        underflow = MISR_U if pending <= 1 and cpu.load(there.hcr.uie) else 0
        return super().misr(cpu, where) & ~MISR_U | underflow


class ActiveCountsAsPending(ReferenceVirtualInterface):
    """MISR.NP takes pending and active for pending: nobody is told that nothing can be signalled."""

    def misr(self, cpu: Cpu, where: int) -> int:
        pending = any(cpu.load(lr.state) & PENDING for lr in self.world.cpus[where].lr)
        return super().misr(cpu, where) & (~MISR_NP if pending else ~0)


class NotPresentAlways(ReferenceVirtualInterface):
    """MISR.LRENP is asserted without a count: the maintenance interrupt never goes away."""

    def misr(self, cpu: Cpu, where: int) -> int:
        enabled = cpu.load(self.world.cpus[where].hcr.word) & HCR_LRENPIE
        return super().misr(cpu, where) | (MISR_LRENP if enabled else 0)


class DisabledGroupUnheard(ReferenceVirtualInterface):
    """MISR knows of groups that are enabled only."""

    def misr(self, cpu: Cpu, where: int) -> int:
        return super().misr(cpu, where) & ~(1 << 5 | 1 << 7)


class MaintenanceWhileOff(ReferenceVirtualInterface):
    """HCR.En=0 does not withdraw the maintenance interrupt: the host takes it for ever."""

    def maintenance(self, cpu: Cpu, where: int) -> bool:
        return self.misr(cpu, where) != 0


class SignalsWhileOff(ReferenceVirtualInterface):
    """HCR.En=0 holds nothing back."""

    def signalled(self, cpu: Cpu, vcpu: Vcpu) -> list[Candidate]:
        en = self.world.cpus[cpu.id()].hcr.en
        was = cpu.load(en)
        cpu.store(en, 1)
        found = super().signalled(cpu, vcpu)
        cpu.store(en, was)
        return found


class CountsEveryEnd(ReferenceVirtualInterface):
    """EOICount goes up with an EOIR that found no active priority."""

    def deactivate(self, cpu: Cpu, told: int, counts: bool = True) -> None:
        super().deactivate(cpu, told)


class EndsSpecials(ReferenceVirtualInterface):
    """GICV_EOIR drops the running priority whatever is written to it."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu, told: int) -> None:
        here = self.world.cpus[cpu.id()]
        apr = cpu.load(here.apr)
        super().end_of_interrupt(cpu, vcpu, told)
        if told in SPECIAL:
            cpu.store(here.apr, apr & apr - 1 if apr else 0)


class NeverCloses(ReferenceVirtualInterface):
    """The guest's own mask of interrupts, PSTATE.I, does nothing."""

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> int | None:
        return None if what == "mask" else super().instruction(cpu, vcpu, what, *operands)


class CountsLpis(ReferenceVirtualInterface):
    """EOICount counts the end of a vLPI, which no list register ever had."""

    def deactivate(self, cpu: Cpu, told: int, counts: bool = True) -> None:
        super().deactivate(cpu, told if told < LPI else 1019, counts)


class AdmitsMasked(ReferenceVirtualInterface):
    """PMR admits an interrupt of its own priority."""

    def signalled(self, cpu: Cpu, vcpu: Vcpu) -> list[Candidate]:
        pmr = self.world.cpus[cpu.id()].vmcr.pmr
        was = cpu.load(pmr)
        cpu.store(pmr, min(was + 1, 0x1F))
        found = super().signalled(cpu, vcpu)
        cpu.store(pmr, was)
        return found


class LowestIndexFirst(ReferenceVirtualInterface):
    """The first list register goes first, whatever its priority."""

    def list_registers(self, cpu: Cpu, here: Pcpu) -> list[Candidate]:
        return super().list_registers(cpu, here)[:1]


class DropsLowest(ReferenceVirtualInterface):
    """EOIR clears the highest bit of APR: the interrupted handler's priority goes, the ended one's stays."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu, told: int) -> None:
        here = self.world.cpus[cpu.id()]
        before = cpu.load(here.apr)
        super().end_of_interrupt(cpu, vcpu, told)
        if before:
            cpu.store(here.apr, before & ~(1 << before.bit_length() - 1))


class OnePoint(ReferenceVirtualInterface):
    """Group 1 preempts by group 0's binary point."""

    def group_priority(self, here: Pcpu, vmcr: int, candidate: Candidate) -> int:
        return super().group_priority(here, vmcr, candidate._replace(group1=0))


class DisabledHides(ReferenceVirtualInterface):
    """The highest pending interrupt is chosen before groups are looked at: one that is disabled hides the others."""

    def list_registers(self, cpu: Cpu, here: Pcpu) -> list[Candidate]:
        found = super().list_registers(cpu, here)
        highest = min((c.priority for c in found), default=IDLE)
        return [c for c in found if c.priority == highest]


class AckCtlIgnored(ReferenceVirtualInterface):
    """GICV_IAR acknowledges group 1 with AckCtl=0: what the guest's other handler is for."""

    def read(self, cpu: Cpu, vcpu: Vcpu, aliased: bool, acknowledges: bool) -> int:
        ack_ctl = self.world.cpus[cpu.id()].vmcr.ack_ctl
        was = cpu.load(ack_ctl)
        cpu.store(ack_ctl, 1)
        told = super().read(cpu, vcpu, aliased, acknowledges)
        cpu.store(ack_ctl, was)
        return told


class LookAcknowledges(ReferenceVirtualInterface):
    """A read of GICV_HPPIR acknowledges what it answers, as one of GICV_IAR does."""

    def read(self, cpu: Cpu, vcpu: Vcpu, aliased: bool, acknowledges: bool) -> int:
        return super().read(cpu, vcpu, aliased, True)


class AliasIsTheSame(ReferenceVirtualInterface):
    """GICV_AIAR acknowledges group 0 too."""

    def read(self, cpu: Cpu, vcpu: Vcpu, aliased: bool, acknowledges: bool) -> int:
        told = super().read(cpu, vcpu, aliased, acknowledges)
        return super().read(cpu, vcpu, False, True) if aliased and acknowledges and told == SPURIOUS else told


class MaskedStaysAsleep(ReferenceVirtualInterface):
    """A virtual IRQ that PSTATE.I masks does not end a WFI: the guest that would open interrupts next never does."""

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> object:
        if not pending and cpu.load(vcpu.pstate_i):
            return None
        return super().boundary(cpu, vcpu, pending)


class OwnPmr(ReferenceVirtualInterface):
    """GICV_PMR and GICH_VMCR.VMPriMask are two registers: what the guest writes is not what the hypervisor reads."""

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> None:
        if what != "write_pmr":
            super().instruction(cpu, vcpu, what, *operands)


# The ITS and its redistributors


class KnowsLate(ReferenceIts):
    """A vLPI for a resident vPE goes to the table alone: it is delivered when the vPE is next made resident."""

    def tell(self, cpu: Cpu, where: int, intid: int) -> None:
        pass


class ScansNothing(ReferenceIts):
    """What the table holds when a vPE becomes resident is not looked at."""

    def scan(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        super().scan(cpu, vcpu, where)
        cpu.store(self.world.cpus[where].vlpis, 0)


class DrainsToNowhere(ReferenceIts):
    """What was pending when a vPE stops being resident is dropped."""

    def drain(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        super().drain(cpu, vcpu, where)
        cpu.store(vcpu.vpt, 0)


class NothingPendingLast(ReferenceIts):
    """PendingLast is always 0: a vCPU that blocks with a vLPI pending is told that it may."""

    def drain(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        super().drain(cpu, vcpu, where)
        cpu.store(self.world.cpus[where].vpendbaser.pending_last, 0)


class NeverRings(ReferenceIts):
    """No doorbell, whatever was asked for."""

    def rings(self, cpu: Cpu, vcpu: Vcpu, resident: bool) -> bool:
        return False


class RingsFirst(ReferenceIts):
    """The doorbell rings before the vLPI is in the table: who answers it at once finds nothing pending."""

    def vlpi(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> None:
        with cpu.atomic():
            where = cpu.load(vcpu.vpe_affinity)
            base = self.world.cpus[where].vpendbaser
            resident = cpu.load(base.vpe) == vcpu.number and bool(cpu.load(base.valid) or cpu.load(base.dirty))
            rings = self.rings(cpu, vcpu, resident)
        if rings:
            cpu.send_ipi(DOORBELL + vcpu.number, where)
            cpu.fetch_or(vcpu.vpt, 1 << intid - LPI)
        else:
            super().vlpi(cpu, vcpu, intid)


class LooksTooSoon(ReferenceIts):
    """PendingLast is what the table held a step before Dirty is cleared: a vLPI that comes in between is told to no one."""

    def redistributor(self, cpu: Cpu, where: int) -> Then:
        there = self.world.cpus[where]
        word = cpu.load(there.vpendbaser.word)
        if not part(word, there.vpendbaser.dirty) or part(word, there.vpendbaser.valid):
            return super().redistributor(cpu, where)
        vcpu = self.world.vcpus[f"vcpu{part(word, there.vpendbaser.vpe)}"]
        pending = cpu.load(vcpu.vpt) != 0
        with cpu.atomic():
            self.drain(cpu, vcpu, where)
            cpu.store(there.vpendbaser.pending_last, int(pending))
            cpu.store(there.vpendbaser.dirty, 0)
        return Then("redistributor", where)


class RingsForResident(ReferenceIts):
    """Every vLPI rings, for a resident vPE too: a doorbell asks to schedule the vCPU that runs."""

    def rings(self, cpu: Cpu, vcpu: Vcpu, resident: bool) -> bool:
        return super().rings(cpu, vcpu, False)


# Right, though different


class AlwaysPendingLast(ReferenceIts):
    """PendingLast is 1 after every deschedule: it is a hint."""

    def hints(self, cpu: Cpu) -> bool:
        return True


class RingsUnasked(ReferenceIts):
    """GICv4.1: a vLPI for a vPE that is not resident rings, whether a doorbell was asked for or not."""

    def rings(self, cpu: Cpu, vcpu: Vcpu, resident: bool) -> bool:
        enabled = super().rings(cpu, vcpu, resident)
        return enabled or (not resident and self.world.fact("gicv4.1"))
