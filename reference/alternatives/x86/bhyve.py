"""bhyve on Intel: a pending word for ON, priorities beside it, and the vCPU's state under a lock instead of a mode
word.

FreeBSD at 00134568, after 2c352feb3bf9 (2019: pending_prio). Each routine names its functions, and `DIFFERENCES` what is
not as there.

    sender ── PIR[v]:=1, pending 0->1, or v's class above all noted in pending_prio ──┐
                                                                                      v       lock: RUNNING ── PINV
    thread ── RUNNING ── interrupts off, pending 1->0, harvest, enter ── FROZEN     notify          SLEEPING ─ wake
                              └── HLT: lock, nothing above PPR? ── SLEEPING                         else nothing

The descriptor is bhyve's own: `pending` is the word that begins with ON. SN, NV and NDST stay 0, for no device and no
guest's processor posts.
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.x86 import PINV, Cpu, Residency, RunLoop, Sender, Shared, Then, Vcpu

VMX = Original("FreeBSD 00134568", "sys/amd64/vmm/intel/vmx.c")
VMM = Original("FreeBSD 00134568", "sys/amd64/vmm/vmm.c")

DIFFERENCES = (
    Difference(
        "handle_hlt",
        "a sleeper looks again after a second; rendezvous, suspension and a debugger end the sleep too",
        "only a wake does",
        "what waits for the second is late, which is what the clauses are about",
    ),
    Difference(
        "vmx_run",
        "ExtINT, NMIs, exceptions and pending events of the virtual local APIC are injected",
        "left out",
        "with virtual-interrupt delivery fixed interrupts come by vIRR alone",
    ),
)

FROZEN, RUNNING, SLEEPING = 0, 1, 2
"""vcpu->state: VCPU_FROZEN, VCPU_RUNNING, VCPU_SLEEPING."""

NO_DEVICES = "bhyve posts from software only: no device, and no other guest's processor, uses SN, NV and NDST"


class Bhyve(Sender, RunLoop, Residency):
    """bhyve (FreeBSD) on Intel."""

    profile: ClassVar[str] = "generic"
    lacks: ClassVar[tuple[str, ...]] = ("device-posting", "ipi-virtualization", "apicv-inhibited")
    not_applicable: ClassVar = {
        **{f"VTD-{n}": NO_DEVICES for n in range(1, 11)},
        **{f"IPIV-{n}": NO_DEVICES for n in range(1, 4)},
        "PID-6": NO_DEVICES,
    }
    vcpu_state: ClassVar = {
        "pid.control": Shared(0),
        "pending_prio": Shared(0),
        "lock": Shared(lock=True),
        "state": Shared(FROZEN, guarded_by="lock"),
        "host_cpu": Shared(0, guarded_by="lock"),
    }
    vm_state: ClassVar = {"assigned": Shared(0, constant=True)}

    # Sender

    @mirrors(VMX, "vmx_set_intr_ready")
    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if self.set_intr_ready(cpu, vcpu, vector):
            self.notify(cpu, vcpu)

    @mirrors(VMX, "vmx_set_intr_ready")
    def set_intr_ready(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        """Answers whether a notification is due: pending was 0, or this class is above all that were noted since."""
        cpu.test_and_set(vcpu.pid.bit(vector))
        if cpu.cmpxchg(vcpu.pid.on, 0, 1) == 0:
            cpu.store(vcpu.pending_prio, 0)
            return True
        if priority_bit(vector) <= cpu.load(vcpu.pending_prio):
            return False
        cpu.fetch_or(vcpu.pending_prio, priority_bit(vector))
        return True

    @mirrors(VMM, "vcpu_notify_event_locked")
    def notify(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """A vCPU that runs on this very pCPU looks again before it enters; a frozen one has yet to look."""
        flag = self.lock(cpu, vcpu)
        state, where = cpu.load(vcpu.state), cpu.load(vcpu.host_cpu)
        if state == RUNNING and where != cpu.id():
            cpu.send_ipi(PINV, where)
        elif state == SLEEPING:
            cpu.wake(vcpu)
        self.unlock(cpu, vcpu, flag)

    @mirrors(VMM, "vcpu_lock")
    def lock(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """A spin mutex: interrupts are off while it is held."""
        flag = True if self.flag_is_moot() else cpu.irq_disable()
        cpu.lock(vcpu.lock)
        return flag

    def flag_is_moot(self) -> bool:
        return self.world.abridged(not self.world.scenario.interrupts, "no handler of the scenario posts")

    @mirrors(VMM, "vcpu_unlock")
    def unlock(self, cpu: Cpu, vcpu: Vcpu, flag: bool) -> None:
        cpu.unlock(vcpu.lock)
        if not self.flag_is_moot():
            cpu.irq_restore(flag)

    # Run loop

    @mirrors(VMM, "vm_run")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """A critical section around vmx_run()."""
        cpu.preempt_disable()
        self.set_state(cpu, vcpu, RUNNING)
        return Then("vmx_run", vcpu)

    @mirrors(VMM, "vcpu_require_state")
    def set_state(self, cpu: Cpu, vcpu: Vcpu, state: int) -> None:
        flag = self.lock(cpu, vcpu)
        cpu.store(vcpu.state, state)
        cpu.store(vcpu.host_cpu, cpu.id())
        self.unlock(cpu, vcpu, flag)

    @mirrors(VMX, "vmx_run")
    def vmx_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.irq_disable()
        self.inject_pir(cpu, vcpu)
        return Then("vmx_enter_guest", vcpu)

    @mirrors(VMX, "vmx_inject_pir")
    def inject_pir(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """RVI is raised to the highest vector found, never lowered."""
        if cpu.cmpxchg(vcpu.pid.on, 1, 0) == 0:
            return
        found = 0
        for word in self.world.words:
            bits = cpu.swap(vcpu.pid.pir[word], 0)
            if bits:
                cpu.store(vcpu.virr[word], cpu.load(vcpu.virr[word]) | bits)
                found = 64 * word + bits.bit_length() - 1
        if found > cpu.load(vcpu.rvi):
            cpu.store(vcpu.rvi, found)

    @mirrors(VMX, "vmx_run")
    def vmx_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        reason = cpu.enter_guest(vcpu)
        cpu.irq_enable()
        return Then("exit_process", vcpu, *reason)

    @mirrors(VMX, "vmx_exit_process")
    def exit_process(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        """An interrupt or an ICR write goes straight round again; a tick is an AST, and leaves."""
        match reason[0]:
            case "self_ipi" | "fastpath_ipi":
                self.deliver_interrupt(cpu, vcpu, reason[1])
                return Then("vmx_run", vcpu)
            case "interrupt":
                return Then("vmx_run", vcpu)
            case _:
                self.set_state(cpu, vcpu, FROZEN)
                cpu.preempt_enable()
                return Then("handle_hlt" if reason[0] == "hlt" else "vcpu_run", vcpu)

    # Halt

    @mirrors(VMM, "vm_handle_hlt")
    def handle_hlt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """One round: look under the lock, sleep on it. msleep_spin() queues the thread before it lets the lock go."""
        flag = self.lock(cpu, vcpu)
        cpu.store(vcpu.state, FROZEN)
        if cpu.load(vcpu.rflags_if) and self.pending_intr(cpu, vcpu):
            self.unlock(cpu, vcpu, flag)
            return Then("vcpu_run", vcpu)
        cpu.store(vcpu.state, SLEEPING)
        cpu.prepare_to_block()
        self.unlock(cpu, vcpu, flag)
        return Then("sleep", vcpu)

    @mirrors(VMM, "vm_handle_hlt")
    def sleep(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.schedule()
        return Then("handle_hlt", vcpu)

    @mirrors(VMX, "vmx_pending_intr")
    def pending_intr(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """Whether a vector would be recognized. PIR is looked at where it lies: pending stays 1."""
        ppr = cpu.load(vcpu.vppr) >> 4
        if not cpu.load(vcpu.pid.on):
            return cpu.load(vcpu.rvi) >> 4 > ppr
        return ppr == 0 or self.above(cpu, vcpu, ppr)

    @mirrors(VMX, "vmx_pending_intr")
    def above(self, cpu: Cpu, vcpu: Vcpu, ppr: int) -> bool:
        """If not, priorities noted above what is there are stale: they would silence the vector that is above PPR."""
        highest = self.highest_posted(cpu, vcpu)
        if highest >> 4 > ppr:
            return True
        noted, bit = cpu.load(vcpu.pending_prio), priority_bit(highest)
        if noted > bit and not noted & bit:
            cpu.store(vcpu.pending_prio, bit)
        return False

    @mirrors(VMX, "vmx_pending_intr")
    def highest_posted(self, cpu: Cpu, vcpu: Vcpu) -> int:
        for word in reversed(self.world.words):
            bits = cpu.load(vcpu.pid.pir[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0

    # Residency: nothing to do, for neither PIR nor pending says where the vCPU is

    @mirrors(VMM, "vcpu_set_state_locked")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        """The host CPU is set with RUNNING, in vcpu_run."""

    @mirrors(VMM, "vcpu_set_state_locked")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        """The state has left RUNNING before the thread can be switched out."""


def priority_bit(vector: int) -> int:
    """VPR_PRIO_BIT(): one bit for each class."""
    return 1 << (vector >> 4)
