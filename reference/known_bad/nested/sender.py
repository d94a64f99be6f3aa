"""Wrong senders and requesters: changes to `NestedKvm.deliver_interrupt`, `Requests` and what they call."""

from __future__ import annotations

from conformance.roles.nested import NPINV, Cpu, Vcpu
from conformance.roles.x86 import PINV
from reference.alternatives.nested.generation_count import MASK, GenerationCount
from reference.nested.kvm import NestedKvm
from reference.nested.mode import REPORT
from reference.x86.kvm import EVENT, EXITING, IN


class RequestsPlainly(NestedKvm):
    """KVM on a machine that orders less, before the barrier of Dec 2021: what the sender leaves behind waits in its store
    buffer while it reads mode, which is not IN yet; the vCPU enters, and sees no request.
    """

    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if not (cpu.load(vcpu.guest_mode) and vector == cpu.load(vcpu.posted_intr_nv)):
            return False
        cpu.store(vcpu.pi_pending, 1)
        cpu.store(vcpu.requests, cpu.load(vcpu.requests) | EVENT)
        self.trigger(cpu, vcpu, NPINV)
        return True


class NotesTooLate(NestedKvm):
    """Synthetic: the sender reads mode before it notes that the notification is pending. It sees a vCPU out of its guest and
    wakes nobody; the vCPU enters before the note is there.
    """

    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if not (cpu.load(vcpu.guest_mode) and vector == cpu.load(vcpu.posted_intr_nv)):
            return False
        self.trigger(cpu, vcpu, NPINV)
        self.note_pending(cpu, vcpu)
        return True


class OneVector(NestedKvm):
    """Synthetic, what 705699a13994 avoids: L2's notification has the vector of L1's own. In vmcs02 it is none, so each is an exit."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        super().trigger(cpu, vcpu, PINV)


class ReliesOnKick(NestedKvm):
    """Synthetic: a sender that reads EXITING takes the vCPU to be in its guest, sends NPINV, and notes nothing. The kick that
    is under way brings the vCPU out, and NPINV is taken in root mode.
    """

    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if cpu.load(vcpu.guest_mode) and cpu.load(vcpu.mode) == EXITING:
            cpu.send_ipi(NPINV, cpu.load(vcpu.cpu))
            return True
        return super().deliver_nested(cpu, vcpu, vector)


class KicksFirst(NestedKvm):
    """Synthetic: the requester looks at mode before it makes its request."""

    def make_request(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.kick(cpu, vcpu)
        cpu.fetch_or(vcpu.requests, REPORT)


class WritesMode(NestedKvm):
    """Synthetic: the requester reads mode, and then writes it: the vCPU may have left its guest in between."""

    def exiting(self, cpu: Cpu, vcpu: Vcpu) -> int:
        mode = cpu.load(vcpu.mode)
        if mode == IN:
            cpu.store(vcpu.mode, EXITING)
        return mode


class WaitsForGuestsOnly(NestedKvm):
    """Synthetic: whoever frees a page waits for a vCPU in its guest, and not for one that reads the tables."""

    def needs_answer(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return self.exiting(cpu, vcpu) == IN


class LooksOnce(GenerationCount):
    """Synthetic: mode counts, and the sender does not look at it again."""

    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if not (cpu.load(vcpu.guest_mode) and vector == cpu.load(vcpu.posted_intr_nv)):
            return False
        if cpu.load(vcpu.mode) & MASK != IN:
            return False
        cpu.send_ipi(NPINV, cpu.load(vcpu.cpu))
        return True
