"""Wrong implementations whose mistake shows only where two ordinary things meet that have little to do with each other: a wait and
a preemption, an EOI that exits and a handler that opens interrupts, an interrupt window and a move, two waits and a move.
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.x86 import PINV, Shared
from reference.arm.kvm import KvmArm
from reference.x86.kvm import EVENT, EXITING, IN, KICK, Kvm


class PreemptedIsAwake(Kvm):
    """A thread that is preempted does not wait, so it takes back that it blocks; nobody announces it again."""

    def put(self, cpu: Cpu, vcpu: Any, preempted: bool) -> None:
        super().put(cpu, vcpu, preempted)
        if preempted:
            cpu.store(vcpu.blocking, 0)


class StaysListed(Kvm):
    """A vCPU that wakes where it fell asleep stays on the wakeup list, and joins it again at its next halt."""

    def leave_wakeup_list(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        if cpu.id() != where:
            super().leave_wakeup_list(cpu, vcpu, where)


class ExitEndsAllService(Kvm):
    """After an EOI that exits nothing is in service, it believes: an outer handler is."""

    def handle_exit(self, cpu: Cpu, vcpu: Any, reason: tuple[Any, ...]) -> Any:
        if reason[0] == "eoi":
            cpu.store(vcpu.svi, 0)
        return super().handle_exit(cpu, vcpu, reason)


class InhibitedIsKicked(Kvm):
    """Once APICv is to be inhibited a sender kicks, and leaves it to the kick to wake."""

    def trigger(self, cpu: Cpu, vcpu: Any) -> None:
        if not cpu.load(self.world.vm.inhibited):
            super().trigger(cpu, vcpu)
        elif cpu.cmpxchg(vcpu.mode, IN, EXITING) == IN:
            cpu.send_ipi(KICK, cpu.load(vcpu.cpu))


class PollSeesMasked(Kvm):
    """Polling ends with whatever is posted, be it masked."""

    def vcpu_halt(self, cpu: Cpu, vcpu: Any) -> Any:
        polls = self.world.fact("halt-polling") and cpu.choose("poll", "block") == "poll"
        return Then("vcpu_run" if polls and self.has_pending(cpu, vcpu) else "vcpu_block", vcpu)


class WindowStaysBehind(Kvm):
    """The VMCS is loaded elsewhere without the interrupt window that was asked for."""

    def load(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        if cpu.load(vcpu.cpu) != where:
            cpu.store(vcpu.interrupt_window, 0)
        super().load(cpu, vcpu, where)


class AsksWhenAllIsEnded(Kvm):
    """An emulated EOI looks for the next interrupt when nothing is in service any more."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Any) -> None:
        requests = cpu.load(vcpu.requests)
        super().end_of_interrupt(cpu, vcpu)
        if self.highest_in_service(cpu, vcpu):
            cpu.store(vcpu.requests, requests)


class NoDeviceNoWakeup(Kvm):
    """When the last device goes the wakeup vector goes, too: who posts with IPI virtualization needs it."""

    def unassign_device(self, cpu: Cpu, vcpu: Any) -> None:
        super().unassign_device(cpu, vcpu)
        self.update_control(cpu, vcpu, nv=PINV)


class FastpathWindow(Kvm):
    """The fast path lets host interrupts in between its harvest and the entry."""

    def reenter_guest(self, cpu: Cpu, vcpu: Any, vector: int) -> Any:
        self.deliver_interrupt(cpu, vcpu, vector)
        self.sync_pir_to_irr(cpu, vcpu)
        cpu.irq_enable()
        cpu.irq_disable()
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class RequestedAlready(Kvm):
    """With APICv inhibited who finds an event requested already leaves the kick to who requested it."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Any, vector: int) -> None:
        if self.apicv_active():
            super().deliver_interrupt(cpu, vcpu, vector)
            return
        self.set_irr(cpu, vcpu, vector)
        if not cpu.fetch_or(vcpu.requests, EVENT) & EVENT:
            self.kick(cpu, vcpu)


class ListedSomewhere(Kvm):
    """A vCPU that comes back to its pCPU stays on the wakeup list, and says that it is on one wherever it sleeps next."""

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "listed": Shared(0)}

    def leave_wakeup_list(self, cpu: Cpu, vcpu: Any, where: int) -> None:
        if cpu.id() != where:
            super().leave_wakeup_list(cpu, vcpu, where)
            cpu.store(vcpu.listed, 0)

    def join_wakeup_list(self, cpu: Cpu, vcpu: Any) -> None:
        if not cpu.load(vcpu.listed):
            super().join_wakeup_list(cpu, vcpu)
            cpu.store(vcpu.listed, 1)


class WakesUnasked(KvmArm):
    """A vCPU whose wait is over clears what was requested of it until then: that it stays out of its guest, too."""

    def vcpu_unblock(self, cpu: Cpu, vcpu: Any) -> Any:
        cpu.store(vcpu.requests, 0)
        return super().vcpu_unblock(cpu, vcpu)


class TurnsOnForItself(KvmArm):
    """Who turns GICD_CTLR on looks at private interrupts of the first vCPU alone."""

    def write_ctlr(self, cpu: Cpu, value: int) -> None:
        was = cpu.swap(self.world.vm.enabled, value)
        for intid in self.world.intids if value and not was else ():
            vcpu = self.world.all_vcpus()[0]
            flag = self.lock_irqsave(cpu, self.world.irq(vcpu, intid).irq_lock)
            self.queue_irq_unlock(cpu, vcpu, intid, flag)


FOUND: dict[type[BaseRole], tuple[str, str]] = {
    PreemptedIsAwake: ("block-preempt-software", "E2E-10"),
    StaysListed: ("tso-block", "ASSERTION"),
    ExitEndsAllService: ("handlers-nest", "E2E-16"),
    InhibitedIsKicked: ("handler/halts/toggled/no-device", "E2E-10"),
    PollSeesMasked: ("handler/halts-closed/toggled/polling/no-device", "E2E-18"),
    WindowStaysBehind: ("inhibited-moves", "E2E-1"),
    AsksWhenAllIsEnded: ("inhibited-handlers-nest", "E2E-24"),
    NoDeviceNoWakeup: ("replug", "ASSERTION"),
    FastpathWindow: ("self-ipi", "E2E-11"),
    RequestedAlready: ("inhibited-masked-senders", "E2E-1"),
    ListedSomewhere: ("sleeps-twice", "E2E-10"),
    WakesUnasked: ("vgic-halt-waking", "LIVELOCK"),
    TurnsOnForItself: ("vgic-distributor-off-private", "VGIC-EN-5"),
}
"""Each with a scenario that finds it, and a guarantee that is broken there."""
