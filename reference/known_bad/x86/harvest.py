"""Wrong entries and harvests: changes to `Kvm.vcpu_enter_guest`, `Kvm.sync_pir_to_irr` and what they call."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.x86 import PINV, Cpu, Shared, Then, Vcpu
from reference.x86.kvm import IN, Kvm


class InterruptsOnAfterMode(Kvm):
    """KVM before b95234c84004 (2016), first race: mode:=IN and the harvest come before interrupts are off. A sender
    posts after the harvest, reads IN and notifies; the pCPU takes the notification in root mode, where its handler
    does nothing, and enters. The vector waits for the next VM exit.
    """

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.irq_disable()


class HarvestBeforeMode(Kvm):
    """KVM before b95234c84004 (2016), second race: the harvest comes before mode:=IN. A sender posts between the two,
    reads OUTSIDE_GUEST_MODE and relies on an entry whose harvest is over. The vector waits for the next VM exit.
    """

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.store(vcpu.mode, IN)
        cpu.fence()


class NoFenceAfterMode(Kvm):
    """Synthetic: no barrier between mode:=IN and the harvest. The store waits in the buffer while ON is read as 0; a
    sender posts and still reads OUTSIDE_GUEST_MODE. Each misses the other, as in the second race of b95234c84004, on
    TSO only.
    """

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        self.sync_pir_to_irr(cpu, vcpu)


class NoHarvestOnFastPath(Kvm):
    """Synthetic, the case 379a3c8ee444 made possible: re-entry after a fast-path IPI to itself does not harvest. The
    sender saw its own vCPU running here and sent no notification, trusting that harvest: PIR and ON stay set in the
    guest.
    """

    def reenter_guest(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class HarvestBeforeOn(Kvm):
    """Synthetic: PIR is taken before ON is cleared. A vector posted between the two found ON set and sent nothing; then
    its ON is wiped, and no harvest looks at PIR again.
    """

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        if not cpu.load(vcpu.pid.on):
            return False
        arrived = self.harvest(cpu, vcpu)
        cpu.fence()
        cpu.test_and_clear(vcpu.pid.on)
        return arrived


class NoHarvestWhenInhibited(Kvm):
    """KVM before 37c4dbf337c5 and 7e1901f6c86c (2021): entry does not harvest a vCPU whose APICv is inhibited. A device
    posts all the same; its notification only makes the guest exit, the vector stays in PIR, and ON stays set and
    silences all later posts.
    """

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        return super().sync_pir_to_irr(cpu, vcpu) if self.apicv_active() else self.highest(cpu, vcpu)


class InvalidVector(Kvm):
    """KVM before cff540ebef38 and bf672720e83c (2023): with APICv inhibited the harvest fills vIRR and leaves
    irr_pending clear. The event request then searches nothing, gets -1 for "none", and injects it as a byte: vector
    FFH, which nobody posted.
    """

    def note_pending(self, cpu: Cpu, vcpu: Vcpu) -> None:
        pass

    def highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        found = super().highest(cpu, vcpu)
        return found if found or not self.find_highest(cpu, vcpu) else 0xFF


class HarvestsForAnother(Kvm):
    """KVM before 17e433b54393 (2019): a vCPU that spins asks whether another one could run, and the answer harvests the
    other's PIR on this pCPU. Its highest vector goes into RVI of the VMCS loaded here; the other is in its guest,
    finds ON and PIR empty, and never hears of what lies in its vIRR.
    """

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        if reason[0] == "pause":
            for other in self.world.vcpus.values():
                if other is not vcpu:
                    self.runnable(cpu, vcpu, other)
        return super().handle_exit(cpu, vcpu, reason)

    def runnable(self, cpu: Cpu, loaded: Vcpu, other: Vcpu) -> None:
        if cpu.test_and_clear(other.pid.on):
            self.harvest(cpu, other)
        cpu.store(loaded.rvi, self.highest(cpu, other))


class SelfNotifying(Kvm):
    """ACRN's shape, right: entry does not harvest but, where an event is due, sends the notification vector to its own
    pCPU and leaves the rest to the processor. That message may arrive after the next VM exit, so the root-mode
    handler makes the event due again wherever it finds ON. One vCPU a pCPU, as there is no wakeup vector.
    """

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "event": Shared(0)}
    lacks: ClassVar[tuple[str, ...]] = ("apicv-inhibited",)

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        owes = super().post_vector(cpu, vcpu, vector)
        if owes:
            cpu.test_and_set(vcpu.event)
        return owes

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        if cpu.test_and_clear(vcpu.event):
            cpu.send_ipi_self(PINV)
        return False

    def has_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """An event that is due counts: what it stands for is still in PIR."""
        pending = cpu.load(vcpu.event) or self.highest(cpu, vcpu) >> 4 > cpu.load(vcpu.vppr) >> 4
        return bool(pending) and not self.interrupt_blocked(cpu, vcpu)

    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        for vcpu in self.world.vcpus.values():
            if cpu.load(vcpu.pid.on):
                cpu.test_and_set(vcpu.event)
                self.wake_up(cpu, vcpu)

    def needs_wakeup(self, cpu: Cpu) -> bool:
        """There is no wakeup vector: the notification's own handler wakes."""
        return False


class LateSelfNotification(SelfNotifying):
    """ACRN before 0397cb7174 (2020, PR 4978): the root-mode handler does not look at ON. The entry's notification to
    itself is slow, the guest exits first, and the notification is then spent in root mode: the event is gone, the
    vector stays in PIR.
    """

    def posted_intr_ipi(self, cpu: Cpu, where: int) -> None:
        pass
