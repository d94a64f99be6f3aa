"""Xen on Intel with VT-d posting (iommu=intpost): no mode word, a harvest with interrupts on, and a softirq for the
gap.

Xen at c447b730, after 607e8494c4 (2014: save harvests), e78c98f727 (2015: the notification handler raises a softirq),
17ee5853e2, 7c00de1756 and 9152b5f8d9 (2017: the hooks that come with the first assigned device). Each routine names its
functions, and `DIFFERENCES` what is not as there.

    sender ── PIR[v]:=1 ── SN or ON? ── full kick: unblock, KICK softirq, event-check IPI if it runs elsewhere
                                     └─ ON:=1: unblock, PINV if it runs elsewhere, KICK softirq if it runs here

    vCPU ── intr_assist (harvest, interrupts on) ── cli ── softirq pending? ── do_resume: NV:=PINV, unlisted ── enter
              ^                                              └─ sti, schedule ──┐
              └─────────────────────────────────────────────────────────────────┘

    block ── BLOCKED, listed, NV:=WAKEUP, harvest: nothing? SCHEDULE softirq ── switch_from: SN:=1 unless BLOCKED
    run   ── switch_to: NDST:=here, then SN:=0

Xen switches vCPUs in its scheduler softirq only, so preemption is off here but just before `vcpu_run`, to which every
softirq leads. put and load are the two halves of context_switch(), and sleeping is being switched out while pause_flags
is not 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.roles.mirrors import Difference, Original, mirrors
from conformance.roles.x86 import (
    KICK,
    PINV,
    WAKEUP,
    Cpu,
    Places,
    Residency,
    RunLoop,
    Sender,
    Shared,
    StateTransfer,
    Then,
    Vcpu,
)

XEN = "Xen c447b730"
VMX = Original(XEN, "xen/arch/x86/hvm/vmx/vmx.c")
INTR = Original(XEN, "xen/arch/x86/hvm/vmx/intr.c")
ENTRY = Original(XEN, "xen/arch/x86/hvm/vmx/entry.S")
HVM = Original(XEN, "xen/arch/x86/hvm/hvm.c")
HVM_IRQ = Original(XEN, "xen/arch/x86/hvm/irq.c")
VLAPIC = Original(XEN, "xen/arch/x86/hvm/vlapic.c")
DOMAIN = Original(XEN, "xen/arch/x86/domain.c")
SCHED = Original(XEN, "xen/common/sched/core.c")
SOFTIRQ = Original(XEN, "xen/common/softirq.c")

DIFFERENCES = (
    Difference(
        "deliver_posted",
        "a changed EOI-exit bitmap has the sender set ON and give a full kick",
        "left out",
        "no interrupt here is emulated by an I/O APIC",
    ),
    Difference(
        "put",
        "the switch to an idle vCPU is lazy: the descriptor may be switched much later",
        "put and load come at once",
        "what posts see meanwhile is what they see of a vCPU that runs",
    ),
    Difference(
        "load",
        "no vCPU is run that is blocked or paused",
        "its thread may come on having decided to leave its pCPU: one that is blocked counts as unblocked by chance, one that "
        "is paused waits",
        "the machine preempts anywhere, Xen in its scheduler softirq",
    ),
    Difference(
        "load",
        "running and processor are written under the scheduler's locks",
        "by locked operations",
        "nothing of them lingers in a store buffer in either",
    ),
    Difference(
        "restore",
        "a restored vCPU is a new one, of a new domain",
        "the same one, its descriptor and VMCS emptied",
        "they start empty either way",
    ),
    Difference(
        "unassign_device",
        "domain_pause() of the whole domain",
        "the one vCPU is paused",
        "no scenario has two vCPUs where devices go",
    ),
    Difference(
        "XenMended",
        "five places where an interrupt can be lost",
        "each is closed",
        "it shows that there is no sixth: docs/alternatives.md",
    ),
)

BLOCKED, PAUSED = 1, 2
"""Bits of pause_flags: _VPF_blocked, and the domain's pause count."""
VCPU_KICK, SCHEDULE = 1, 2
"""Bits of a pCPU's softirq_pending: VCPU_KICK_SOFTIRQ, SCHEDULE_SOFTIRQ."""
ON, SN = 1, 2
UNHOOKED, HOOKED, SWITCH_TO = 0, 1, 2
"""vm.assigned, as pi_ops: no device yet, a device, the hook that stays when the last has gone."""
NOWHERE = 0xFFFFFFFF
"""APIC_INVALID_DEST: NDST until the first device comes."""


class Xen(Sender, RunLoop, Residency, StateTransfer):
    """Xen on Intel with VT-d posting."""

    profile: ClassVar[str] = "generic"
    lacks: ClassVar[tuple[str, ...]] = ("ipi-virtualization", "apicv-inhibited")
    vcpu_state: ClassVar = {
        "pid.control": Shared(NOWHERE << 32 | PINV << 16),
        "pause_flags": Shared(0),
        "running": Shared(0),
        "processor": Shared(0),
        "listed_on": Shared(0),  # pi_blocking.lock: whose list, as a CPU number plus 1; 0 is NULL
    }
    cpu_state: ClassVar = {
        "softirq": Shared(0),
        "wakeup_lock": Shared(lock=True),
        "wakeup_list": Shared((), guarded_by="wakeup_lock"),
    }
    vm_state: ClassVar = {"assigned": Shared(HOOKED)}
    handlers: ClassVar = {PINV: "notification_handler", WAKEUP: "wakeup_handler"}

    # Sender

    @mirrors(VMX, "vmx_deliver_posted_intr")
    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.deliver_posted(cpu, vcpu, vector, current=False)

    @mirrors(VMX, "vmx_deliver_posted_intr")
    def deliver_posted(self, cpu: Cpu, vcpu: Vcpu, vector: int, current: bool) -> None:
        """`current`: it is the vCPU's own thread that posts, and not a handler on top of it."""
        if cpu.test_and_set(vcpu.pid.bit(vector)):
            return
        seen = cpu.load(vcpu.pid.control)
        while not seen & (ON | SN):
            before, seen = seen, cpu.cmpxchg(vcpu.pid.control, seen, seen | ON)
            if seen == before:
                self.notify(cpu, vcpu, current)
                return
        self.kick(cpu, vcpu, current)

    @mirrors(VMX, "__vmx_deliver_posted_interrupt")
    def notify(self, cpu: Cpu, vcpu: Vcpu, current: bool) -> None:
        """Whether it runs is sampled before it is unblocked: one that was asleep will harvest anyway."""
        running = cpu.load(vcpu.running)
        self.unblock(cpu, vcpu)
        if running and not current:
            where = cpu.load(vcpu.processor)
            if where != cpu.id():
                cpu.send_ipi(PINV, where)
            else:
                self.raise_softirq(cpu, VCPU_KICK)

    @mirrors(DOMAIN, "vcpu_kick")
    def kick(self, cpu: Cpu, vcpu: Vcpu, current: bool) -> None:
        running = cpu.load(vcpu.running)
        self.unblock(cpu, vcpu)
        if running and not current:
            self.raise_softirq_on(cpu, cpu.load(vcpu.processor), VCPU_KICK)

    @mirrors(SCHED, "vcpu_unblock", "vcpu_wake")
    def unblock(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """vcpu_unblock(), vcpu_wake()."""
        if cpu.fetch_and(vcpu.pause_flags, ~BLOCKED) == BLOCKED:
            cpu.wake(vcpu)

    @mirrors(SOFTIRQ, "raise_softirq")
    def raise_softirq(self, cpu: Cpu, bit: int) -> None:
        cpu.fetch_or(self.here(cpu).softirq, bit)

    @mirrors(SOFTIRQ, "cpu_raise_softirq")
    def raise_softirq_on(self, cpu: Cpu, where: int, bit: int) -> None:
        """cpu_raise_softirq(): the event-check IPI is there for the VM exit only."""
        if not cpu.fetch_or(self.world.cpus[where].softirq, bit) & bit and where != cpu.id():
            cpu.send_ipi(KICK, where)

    @mirrors(SOFTIRQ, "raise_softirq")
    def here(self, cpu: Cpu) -> Places:
        return self.world.cpus[cpu.id()]

    # Run loop

    @mirrors(ENTRY, ".Lvmx_do_vmentry")
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        return Then("do_vmentry", vcpu)

    @mirrors(ENTRY, ".Lvmx_do_vmentry")
    @mirrors(INTR, "vmx_intr_assist")
    def do_vmentry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """vmx_intr_assist(), interrupts on: an empty vIRR leaves RVI alone."""
        highest = self.sync_pir_to_irr(cpu, vcpu)
        if highest:
            cpu.store(vcpu.rvi, highest)
        return Then("check_softirqs", vcpu)

    @mirrors(ENTRY, ".Lvmx_do_vmentry")
    def check_softirqs(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.irq_disable()
        if not cpu.load(self.here(cpu).softirq):
            return Then("vmenter", vcpu)
        cpu.irq_enable()
        return Then("do_softirq", vcpu)

    @mirrors(SOFTIRQ, "do_softirq")
    def do_softirq(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if cpu.swap(self.here(cpu).softirq, 0) & SCHEDULE:
            return Then("schedule", vcpu)
        return self.vmexit_done(cpu, vcpu)

    @mirrors(VMX, "vmx_vmenter_helper", "vmx_pi_do_resume")
    def vmenter(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.hooked(cpu):
            self.pi_unblock(cpu, vcpu)
        return Then("enter", vcpu)

    @mirrors(ENTRY, ".Lvmx_do_vmentry")
    def enter(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return Then("vmexit", vcpu, *cpu.enter_guest(vcpu))

    @mirrors(VMX, "vmx_vmexit_handler")
    def vmexit(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.irq_enable()
        match reason[0]:
            case "hlt":
                return Then("block" if cpu.load(vcpu.rflags_if) else "down", vcpu)
            case "save_restore" | "reset":
                return Then(reason[0], vcpu, *reason[1:])
            case "self_ipi" | "fastpath_ipi":
                self.deliver_posted(cpu, vcpu, reason[1], current=True)
            case _:
                pass
        return self.vmexit_done(cpu, vcpu)

    @mirrors(ENTRY, "vmx_asm_vmexit_handler")
    def vmexit_done(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_enable()
        return Then("vcpu_run", vcpu)

    @mirrors(VMX, "pi_notification_interrupt")
    def notification_handler(self, cpu: Cpu, where: int) -> None:
        """pi_notification_interrupt(): in root mode nothing was harvested, so intr_assist has to run once more."""
        self.raise_softirq(cpu, VCPU_KICK)

    # Harvest

    @mirrors(VMX, "vmx_sync_pir_to_irr")
    @mirrors(VLAPIC, "vlapic_find_highest_irr")
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        """Answers the highest vector pending in vIRR, or 0."""
        if cpu.load(vcpu.pid.on) and cpu.test_and_clear(vcpu.pid.on):
            for word in self.world.words:
                cpu.fetch_or(vcpu.virr[word], cpu.swap(vcpu.pid.pir[word], 0))
        for word in reversed(self.world.words):
            bits = cpu.load(vcpu.virr[word])
            if bits:
                return 64 * word + bits.bit_length() - 1
        return 0

    @mirrors(HVM_IRQ, "hvm_local_events_need_delivery")
    def events_need_delivery(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        """hvm_local_events_need_delivery(): what is in service does not count, for virtual delivery sees to it."""
        highest = self.sync_pir_to_irr(cpu, vcpu)
        return highest >> 4 > cpu.load(vcpu.vtpr) >> 4 and bool(cpu.load(vcpu.rflags_if))

    # Block

    @mirrors(SCHED, "vcpu_block")
    def block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.fetch_or(vcpu.pause_flags, BLOCKED)
        if self.hooked(cpu):
            self.pi_block(cpu, vcpu)
        return Then("block_unless_events", vcpu)

    @mirrors(VMX, "vmx_vcpu_block")
    def pi_block(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """On the list first, then NV; nobody looks at ON here."""
        flag = cpu.irq_disable()
        here = self.here(cpu)
        cpu.lock(here.wakeup_lock)
        cpu.store(vcpu.listed_on, cpu.id() + 1)
        cpu.store(here.wakeup_list, (*cpu.load(here.wakeup_list), vcpu.name))
        cpu.unlock(here.wakeup_lock)
        cpu.irq_restore(flag)
        cpu.store(vcpu.pid.nv, WAKEUP)

    @mirrors(SCHED, "vcpu_block")
    def block_unless_events(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Events are looked for after blocking. The way out leads through intr_assist, blocked or not."""
        if self.events_need_delivery(cpu, vcpu):
            cpu.fetch_and(vcpu.pause_flags, ~BLOCKED)
        else:
            self.raise_softirq(cpu, SCHEDULE)
        return Then("do_vmentry", vcpu)

    @mirrors(SCHED, "schedule")
    def schedule(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """A vCPU that is blocked or paused leaves its pCPU, any other goes on."""
        cpu.prepare_to_block()
        if not cpu.load(vcpu.pause_flags):
            cpu.finish_block()
            return self.vmexit_done(cpu, vcpu)
        return Then("switch", vcpu)

    @mirrors(SCHED, "schedule")
    def switch(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """A late vcpu_wake() finds the vCPU paused by now and leaves it alone."""
        cpu.preempt_enable()
        cpu.schedule()
        never = self.world.abridged(not self.world.fact("assignment-changes"), "only a device that goes pauses a vCPU")
        if not never and cpu.load(vcpu.pause_flags) & PAUSED:
            cpu.preempt_disable()
            return Then("schedule", vcpu)
        return Then("vcpu_run", vcpu)

    @mirrors(HVM, "hvm_vcpu_down")
    def down(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """hvm_vcpu_down(): a halt with interrupts closed takes the vCPU offline."""
        cpu.preempt_enable()
        return Then("offline", vcpu)

    @mirrors(HVM, "hvm_vcpu_down")
    def offline(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.prepare_to_block()
        cpu.schedule()
        return Then("offline", vcpu)

    @mirrors(VMX, "vmx_pi_unblock_vcpu")
    def pi_unblock(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The wakeup handler may have taken the vCPU off the list, before or while the lock is waited for."""
        cpu.store(vcpu.pid.nv, PINV)
        listed = cpu.load(vcpu.listed_on)
        if not listed:
            return
        there = self.world.cpus[listed - 1]
        cpu.lock(there.wakeup_lock)
        if cpu.load(vcpu.listed_on):
            cpu.store(there.wakeup_list, tuple(n for n in cpu.load(there.wakeup_list) if n != vcpu.name))
            cpu.store(vcpu.listed_on, 0)
        cpu.unlock(there.wakeup_lock)

    @mirrors(VMX, "pi_wakeup_interrupt")
    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        """pi_wakeup_interrupt(): a listed vCPU with ON=1 leaves the list and is unblocked. It restores NV itself."""
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.wakeup_list):
            vcpu = self.world.vcpus[name]
            if cpu.load(vcpu.pid.on):
                cpu.store(here.wakeup_list, tuple(n for n in cpu.load(here.wakeup_list) if n != name))
                cpu.store(vcpu.listed_on, 0)
                self.unblock(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)

    # Residency

    @mirrors(DOMAIN, "context_switch")
    @mirrors(VMX, "vmx_pi_switch_from")
    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        if self.hooked(cpu) and not cpu.load(vcpu.pause_flags) & BLOCKED:
            cpu.test_and_set(vcpu.pid.sn)
        cpu.store(vcpu.running, 0)

    @mirrors(DOMAIN, "context_switch")
    @mirrors(VMX, "vmx_pi_switch_to")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """NDST before SN, whose locked operation lets it not linger in a store buffer."""
        cpu.swap(vcpu.processor, where)
        cpu.swap(vcpu.running, 1)
        flags = cpu.load(vcpu.pause_flags)
        if flags & BLOCKED:
            cpu.fetch_and(vcpu.pause_flags, ~BLOCKED)
            cpu.finish_block()
        if flags & PAUSED:
            cpu.store(vcpu.running, 0)
            return Then("wait_for_unpause", vcpu, where)
        if self.switch_to_hooked(cpu):
            cpu.swap(vcpu.pid.ndst, self.destination(where))
            cpu.test_and_clear(vcpu.pid.sn)
        return None

    @mirrors(DOMAIN, "context_switch")
    def wait_for_unpause(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        while cpu.load(vcpu.pause_flags) & PAUSED:
            cpu.relax()
        return Then("load", vcpu, where)

    @mirrors(VMX, "vmx_pi_switch_to")
    def destination(self, where: int) -> int:
        """NDST of a pCPU: its x2APIC id, or its xAPIC id in bits 15:8."""
        return where << 8 & 0xFF00 if self.world.fact("xapic") else where

    # State transfer

    @mirrors(VLAPIC, "lapic_save_regs", "lapic_load_regs")
    def save_restore(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """lapic_save_regs(): harvest first, for what is still in PIR belongs to the image."""
        self.deliver_posted(cpu, vcpu, vector, current=True)
        self.sync_pir_to_irr(cpu, vcpu)
        self.restore(cpu, vcpu, tuple(cpu.load(vcpu.virr[word]) for word in self.world.words))
        return self.vmexit_done(cpu, vcpu)

    @mirrors(VLAPIC, "lapic_load_regs")
    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...]) -> None:
        cpu.test_and_clear(vcpu.pid.on)
        for word, bits in zip(self.world.words, image, strict=True):
            cpu.swap(vcpu.pid.pir[word], 0)
            cpu.store(vcpu.virr[word], bits)
        cpu.store(vcpu.rvi, 0)

    @mirrors(VLAPIC, "lapic_load_regs")
    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        self.deliver_posted(cpu, vcpu, old, current=True)
        self.restore(cpu, vcpu, (0,) * len(self.world.words))
        if timer:
            self.deliver_posted(cpu, vcpu, timer, current=True)
        return self.vmexit_done(cpu, vcpu)

    @mirrors(VMX, "vmx_pi_hooks_assign")
    def hooked(self, cpu: Cpu) -> bool:
        """pi_ops.vcpu_block and PI_CSW_FROM: there while a device is assigned."""
        return cpu.load(self.world.vm.assigned) == HOOKED

    @mirrors(VMX, "vmx_pi_hooks_deassign")
    def switch_to_hooked(self, cpu: Cpu) -> bool:
        """PI_CSW_TO: stays after the last device went, or a vCPU that was off its pCPU then would keep SN=1."""
        return cpu.load(self.world.vm.assigned) != UNHOOKED

    @mirrors(VMX, "vmx_pi_hooks_assign")
    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """The hook of the context switch first, then NDST unless that has set it, then the hooks of block and resume."""
        cpu.store(self.world.vm.assigned, SWITCH_TO)
        cpu.cmpxchg(vcpu.pid.ndst, NOWHERE, self.destination(cpu.load(vcpu.processor)))
        cpu.store(self.world.vm.assigned, HOOKED)

    @mirrors(VMX, "vmx_pi_hooks_deassign")
    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """domain_pause(): so that no vCPU is half way through a hook."""
        cpu.fetch_or(vcpu.pause_flags, PAUSED)
        if cpu.load(vcpu.running):
            self.raise_softirq_on(cpu, cpu.load(vcpu.processor), SCHEDULE)
        return Then("wait_for_pause", vcpu)

    @mirrors(DOMAIN, "domain_pause")
    def wait_for_pause(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        while cpu.load(vcpu.running):
            cpu.relax()
        return Then("unassign_paused", vcpu)

    @mirrors(VMX, "vmx_pi_hooks_deassign")
    def unassign_paused(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(self.world.vm.assigned, SWITCH_TO)
        self.pi_unblock(cpu, vcpu)
        if cpu.fetch_and(vcpu.pause_flags, ~PAUSED) == PAUSED:
            cpu.wake(vcpu)

    @mirrors(VMX, "vmx_vlapic_msr_changed")
    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """Xen takes virtual-interrupt delivery from no vCPU that has it."""


class XenMended(Xen):
    """Xen with the five places closed where it can lose an interrupt. Not Xen's code: it shows that there is no sixth."""

    @mirrors(VMX, "vmx_vcpu_block")
    def pi_block(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """NV is visible before ON is looked at, or a post takes the old vector and is not seen either."""
        super().pi_block(cpu, vcpu)
        cpu.fence()

    @mirrors(INTR, "vmx_intr_assist")
    def do_vmentry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """A vCPU on its way to sleep leaves ON for the wakeup handler to see."""
        if cpu.load(vcpu.pause_flags) & BLOCKED:
            return Then("check_softirqs", vcpu)
        return super().do_vmentry(cpu, vcpu)

    @mirrors(VMX, "pi_wakeup_interrupt")
    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        """The vCPU that runs here may be past its harvest with NV still WAKEUP."""
        self.raise_softirq(cpu, VCPU_KICK)
        super().wakeup_handler(cpu, where)

    @mirrors(VMX, "vmx_pi_switch_to")
    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """What was posted under SN set no ON."""
        after = super().load(cpu, vcpu, where)
        if after is None and any(cpu.load(vcpu.pid.pir[word]) for word in self.world.words):
            cpu.test_and_set(vcpu.pid.on)
        return after

    @mirrors(VMX, "vmx_pi_hooks_assign")
    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        """A vCPU that blocks already is on no list."""
        super().assign_device(cpu, vcpu)
        self.unblock(cpu, vcpu)
