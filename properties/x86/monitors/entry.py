"""KVM's target side: entering the guest and harvesting PIR in software (Linux 6.1, vcpu_enter_guest,
vmx_sync_pir_to_irr).
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import (
    END_TO_END,
    KERNEL,
    KVM_ENTRY,
    KVM_RESIDENCY,
    KVM_SENDER,
    LAPIC,
    LINUX,
    POSTED_DESCRIPTOR,
    REQUESTS,
    SDM,
    VMX,
    X86,
)
from properties.x86.monitors.guest import POSTING
from properties.x86.monitors.registers import HARDWARE, wide, word
from properties.x86.monitors.sender import IN, SENDER
from properties.x86.monitors.subjects import latched, on

EXITING = 2
OTHERS = (SENDER, *HARDWARE)
"""Routines that are not of the vCPU's thread."""
TRANSFERS = ("save_restore", "reset")
"""What these put into vIRR no harvest has found."""

PID_8 = POSTED_DESCRIPTOR.must(
    "PID-8",
    "While a processor or a posted IRTE may be using the descriptor, software changes it by locked "
    "read-modify-write only, never by a plain store.",
    SDM("29.6"),
    role="residency",
    profiles=("strict", "kvm"),
    observe=(
        "Each plain store of software to the descriptor while the vCPU is in its guest, or where anybody but its own thread posts to "
        "it: a device, IPI virtualization or a sender in software."
    ),
)

KVM_SND_6 = KVM_SENDER.may(
    "KVM-SND-6",
    "If vcpu->mode is IN_GUEST_MODE and the target is the vCPU running on this very pCPU, no IPI is needed, "
    "because a sync precedes the next entry.",
    KERNEL("379a3c8ee444"),
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt", "comment"),
    observe="A trace where the sender finds its target to be the vCPU that runs here, in mode IN_GUEST_MODE.",
)

KVM_ENT_1 = KVM_ENTRY.must(
    "KVM-ENT-1",
    "Host interrupts are off before vcpu->mode becomes IN_GUEST_MODE, or a notification sent on the strength of "
    "that mode could be taken in root mode.",
    KERNEL("b95234c84004 (2016)", "first race"),
    LINUX(f"{X86} vcpu_enter_guest", "comment"),
    observe="The interrupt flag of the pCPU at the store of IN_GUEST_MODE.",
)

KVM_ENT_2 = KVM_ENTRY.must(
    "KVM-ENT-2",
    "vcpu->mode becomes IN_GUEST_MODE, followed by a full barrier, before ON and PIR are read.",
    KERNEL("b95234c84004 (2016)", "second race"),
    LINUX(f"{X86} vcpu_enter_guest", "comment 2"),
    observe="The store of mode is drained before the sync reads ON, in every entry.",
)

KVM_ENT_3 = KVM_ENTRY.must(
    "KVM-ENT-3",
    "Host interrupts stay off from there until VM entry takes over, so a notification sent after the sync is "
    "pending at entry and processed by hardware.",
    KERNEL("b95234c84004 (2016)"),
    LINUX(REQUESTS),
    observe=(
        "No notification handler runs in root mode on that pCPU between the store of IN_GUEST_MODE and the VM entry "
        "that follows it. After an exit, from the next look at ON on."
    ),
)

KVM_ENT_4 = KVM_ENTRY.must(
    "KVM-ENT-4",
    "The sync, finding ON set, clears ON, then has a barrier, then scans PIR and exchanges each word with 0 into "
    "vIRR. The barrier matters even with one CPU, because the IOMMU writes ON.",
    LINUX(f"{VMX} vmx_sync_pir_to_irr", "comment"),
    LINUX(f"{LAPIC} __kvm_apic_update_irr"),
    observe="Each take of a PIR word by software, against the clearing of ON before it. That a take is locked, PID-8 says.",
)

KVM_ENT_5 = KVM_ENTRY.may(
    "KVM-ENT-5",
    "With ON=0 the sync may skip the scan. That rests on KVM's invariant that, with SN=0 and no agent in the "
    "midst of posting, harvesting or clearing SN, a non-empty PIR has ON=1.",
    LINUX(f"{VMX} vmx_sync_pir_to_irr"),
    KERNEL("c112b5f50232", "message"),
    observe="A trace where the thread looks, reads ON=0, and enters without having read PIR since.",
)

KVM_ENT_6 = KVM_ENTRY.must(
    "KVM-ENT-6",
    "At VM entry with APICv active, RVI is the highest vector in vIRR, or 0 if it is empty.",
    LINUX(f"{VMX} vmx_sync_pir_to_irr and vmx_set_rvi"),
    kind="guarantee",
    premise="APICv active",
    observe="RVI against vIRR at each VM entry.",
)

KVM_ENT_7 = KVM_ENTRY.must(
    "KVM-ENT-7",
    "With APICv inhibited (or while a nested guest runs) an interrupt newly found by the sync is announced by an "
    "event request instead of RVI.",
    LINUX(f"{VMX} vmx_sync_pir_to_irr", "comment at the end"),
    KERNEL("f27a85c4988d, 37c4dbf337c5 and 7e1901f6c86c"),
    premise="APICv inhibited",
    observe="A sync that moved a vector into vIRR of such a vCPU is followed by a write that sets bits of its requests, then the entry.",
)

KVM_ENT_8 = KVM_ENTRY.must(
    "KVM-ENT-8",
    "Requests, signals and reschedules are checked after the sync. If there is one, mode goes back to "
    "OUTSIDE_GUEST_MODE, interrupts are enabled and the entry is tried again.",
    LINUX(f"{X86} vcpu_enter_guest and kvm_vcpu_exit_request"),
    observe="Each VM entry, against a look at the requests, since mode := IN_GUEST_MODE and the last look at ON, that found none.",
)

KVM_ENT_9 = KVM_ENTRY.must(
    "KVM-ENT-9",
    "Before each re-entry on the fast path the sync runs again.",
    LINUX(f"{X86} vcpu_enter_guest", "loop around the run"),
    KERNEL("379a3c8ee444"),
    observe="Between a VM exit and the next VM entry of the same vCPU there is a sync.",
)

KVM_ENT_12 = KVM_ENTRY.must_not(
    "KVM-ENT-12",
    "The sync does not run for a vCPU whose VMCS is not the one loaded on this pCPU: it would write RVI into "
    "another vCPU's VMCS.",
    KERNEL("17e433b54393 (2019)"),
    kind="guarantee",
    observe="Each take of a PIR word by software is made where that vCPU is loaded.",
)

KVM_PI_15 = KVM_RESIDENCY.may(
    "KVM-PI-15",
    "While halt-polling the descriptor need not change: NV stays the notification vector, its handler does "
    "nothing in root mode, and the poll finds the vector in PIR.",
    KERNEL("d76fb40637fc (2021)"),
    role="run_loop",
    observe="A trace where the look that ends a halt clears ON.",
)

KVM_PI_16 = KVM_RESIDENCY.must(
    "KVM-PI-16",
    "After announcing that it will sleep the vCPU looks for pending interrupts again, sync included, before it "
    "schedules out, unless its guest has interrupts closed.",
    LINUX("virt/kvm/kvm_main.c kvm_vcpu_block"),
    LINUX("arch/x86/kvm/x86.c kvm_vcpu_has_events"),
    role="run_loop",
    observe=(
        "Between the announcement and the schedule that sleeps ON is looked at, or the guest's interrupt flag read as 0; whether "
        "PIR is harvested, E2E-10 tells."
    ),
)

E2E_12 = END_TO_END.may(
    "E2E-12",
    "A VM exit or a turn of the entry loop that was not needed costs time and nothing else.",
    KERNEL("b95234c84004 (2016)", "on masking by KVM_REQ_EVENT"),
    observe="A trace with a VM exit or an aborted entry caused by a notification or kick that brings no new vector.",
)


class Entry(NamedTuple):
    """What this vCPU's thread has done since its last exit: mode stored and visible as IN, ON read after that, requests
    read, a look between announcing and sleeping, and the routine that cleared ON if its call is still in progress,
    (APICv inhibited) whether it moved a vector into vIRR and has not requested an event for it, and whether ON was 0 at its last
    look and it has not read PIR since.
    """

    inside: bool = False
    looked: bool = False
    requests: bool = False
    announced: bool = False
    checked: bool = False
    cleared: str = ""
    exited: bool = False
    moved: bool = False
    skips: bool = False


class EntryOrder(Monitor):
    """Memory: what the thread has done since its last exit."""

    clauses = (
        KVM_ENT_1, KVM_ENT_2, KVM_ENT_3, KVM_ENT_4, KVM_ENT_6, KVM_ENT_7, KVM_ENT_8, KVM_ENT_9,
        KVM_ENT_12, KVM_PI_16, PID_8,
    )  # fmt: skip
    witnesses = (KVM_ENT_5, KVM_PI_15, KVM_SND_6, E2E_12)
    events = (ev.Asked, ev.Changed, ev.Entered, ev.Exited, ev.Taken, ev.Slept, ev.Returned)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.entry"
        self.memory = Entry()
        self.inhibited = "apicv-inhibited" in scenario.facts
        posters = (*scenario.devices, *scenario.threads, *scenario.interrupts)
        self.posted_to = any(a.routine in POSTING and a.args[:1] == (vcpu,) for a in posters)
        self.control, self.mode, self.requests = f"{vcpu}.pid.control", f"{vcpu}.mode", f"{vcpu}.requests"
        self.pir = [f"{vcpu}.pid.pir[{w}]" for w in range(4)]
        self.virr = [f"{vcpu}.virr[{w}]" for w in range(4)]

    def on(self, event: ev.Event, memory: Entry, look: Look) -> Entry:
        match event:
            case ev.Asked(cpu=cpu) if cpu >= 0 and isinstance(
                event.operation, ops.Load | ops.Store | ops.Rmw | ops.PrepareToBlock
            ):
                return self._asked(event, memory, look)
            case ev.Changed(at=self.mode, new=new) if new != EXITING:
                return memory._replace(inside=new == IN, looked=False, requests=False)
            case ev.Changed(at=at, routine=routine, cpu=cpu) if self.inhibited and at.startswith(f"{self.vcpu}.virr["):
                if routine not in (*OTHERS, *TRANSFERS) and look.on_cpu(cpu) == self.vcpu and event.set_bits:
                    return memory._replace(moved=True)
            case ev.Entered(vcpu=self.vcpu):
                self._entered(memory, look)
                return memory._replace(looked=False, requests=False, exited=False, skips=False)
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                if reason[0] == "interrupt" and not any(
                    word(look.value(f"{self.vcpu}.pid.pir[{w}]")) for w in range(4)
                ):
                    look.witness(E2E_12, *self.pir, self.vcpu)
                return memory._replace(looked=False, requests=False, exited=True)
            case ev.Taken(vector=vector, guest="", cpu=cpu) if vector == PINV and look.on_cpu(cpu) == self.vcpu:
                look.witness(KVM_ENT_3)
                before = memory.looked or not memory.exited
                if before and look.has(self.mode) and look.value(self.mode) == IN and memory.inside:
                    said = f"cpu{cpu} takes the notification in root mode between mode := IN and the VM entry"
                    look.breach(KVM_ENT_3, said, self.mode, latched(cpu, vector), self.vcpu)
            case ev.Slept(thread=self.vcpu):
                look.witness(KVM_PI_16)
                if not memory.checked:
                    said = f"{self.vcpu} sleeps without having looked for an interrupt since it announced it would"
                    look.breach(KVM_PI_16, said, on(self.vcpu), f"{self.vcpu}.status", self.vcpu)
                return memory._replace(announced=False, checked=False)
            case ev.Returned(routine=routine, args=(self.vcpu, *_)) if routine == memory.cleared:
                return memory._replace(cleared="")
            case _:
                pass
        return memory

    def _asked(self, event: ev.Asked, memory: Entry, look: Look) -> Entry:
        op, result, routine = event.operation, event.result, event.routine
        if isinstance(op, ops.Store | ops.Rmw) and op.at.startswith(f"{self.vcpu}.pid.") and routine not in HARDWARE:
            self._changes_descriptor(event, op, look)
        if isinstance(op, ops.Rmw) and op.at.startswith(f"{self.vcpu}.pid.pir[") and takes(op, result):
            self._harvests(event, memory, look)
        asks_running = isinstance(op, ops.Load) and op.at.endswith(".running_vcpu") and result == (self.vcpu,)
        if asks_running and look.has(self.mode) and look.value(self.mode) == IN:
            look.witness(KVM_SND_6, self.mode, self.vcpu)
        if routine in OTHERS or look.on_cpu(event.cpu) != self.vcpu:
            return memory
        match op:
            case ops.Store(at=self.mode, value=value) | ops.Rmw(at=self.mode, value=value) if value == IN:
                look.witness(KVM_ENT_1)
                if look.interrupts_on(event.cpu):
                    said = f"mode := IN on cpu{event.cpu} with interrupts on"
                    look.breach(KVM_ENT_1, said, self.mode, f"cpu{event.cpu}.interrupts", self.vcpu)
            case ops.Load(at=self.control, mask=mask) | ops.Rmw(at=self.control, mask=mask) if mask & 1 and not sets_on(
                op
            ):
                skips = not word(result if isinstance(result, int) else 0) & 1
                cleared = routine if isinstance(op, ops.Rmw) and clears_on(op, result) else memory.cleared
                if cleared and routine == "vcpu_halt":
                    look.witness(KVM_PI_15, on(self.vcpu), self.vcpu)
                return memory._replace(
                    looked=memory.inside, requests=False, checked=memory.announced, cleared=cleared, skips=skips
                )
            case ops.Load(at=at) | ops.Rmw(at=at) if at in self.pir:
                return memory._replace(skips=False)
            case ops.Load(at=at) if at == f"{self.vcpu}.rflags_if" and not result and memory.announced:
                return memory._replace(checked=True)
            case ops.Load(at=self.requests):
                return memory._replace(requests=memory.inside and not result)
            case ops.Rmw(at=self.requests, value=value) | ops.Store(at=self.requests, value=value) if memory.moved:
                if not value or (isinstance(op, ops.Rmw) and op.how == "and"):
                    return memory
                look.witness(KVM_ENT_7)
                return memory._replace(moved=False)
            case ops.PrepareToBlock():
                return memory._replace(announced=True, checked=False)
            case _:
                pass
        return memory

    def _changes_descriptor(self, event: ev.Asked, op: ops.Store | ops.Rmw, look: Look) -> None:
        if isinstance(op, ops.Rmw):
            if self.posted_to:
                look.witness(PID_8)
        elif self.posted_to or look.in_guest(self.vcpu) >= 0:
            said = f"{event.routine} changes {op.at} by a plain store; others may change it at the same time"
            look.breach(PID_8, said, Subject(op.at, op.mask), self.vcpu)

    def _harvests(self, event: ev.Asked, memory: Entry, look: Look) -> None:
        if event.routine in HARDWARE:
            return
        for clause in (KVM_ENT_4, KVM_ENT_12):
            look.witness(clause)
        if look.on_cpu(event.cpu) != self.vcpu:
            said = f"{event.routine} harvests {self.vcpu}'s PIR on cpu{event.cpu}, where another vCPU is loaded"
            look.breach(KVM_ENT_12, said, *self.pir, self.vcpu, f"cpu{event.cpu}")
        elif not memory.cleared:
            said = f"{event.routine} takes PIR before it has cleared ON"
            look.breach(KVM_ENT_4, said, on(self.vcpu), *self.pir, self.vcpu)

    def _entered(self, memory: Entry, look: Look) -> None:
        if memory.skips:
            look.witness(KVM_ENT_5, on(self.vcpu), self.vcpu)
        if not self.inhibited:
            look.witness(KVM_ENT_6)
            irr = wide(look, f"{self.vcpu}.virr")
            highest, rvi = max(irr.bit_length() - 1, 0), word(look.value(f"{self.vcpu}.rvi"))
            if highest != rvi:
                said = f"VM entry of {self.vcpu} with RVI = {rvi}, while the highest vector in vIRR is {highest}"
                look.breach(KVM_ENT_6, said, f"{self.vcpu}.rvi", *self.virr, self.vcpu)
        elif memory.moved:
            said = f"VM entry of {self.vcpu} after a harvest that moved a vector, without an event request for it"
            look.breach(KVM_ENT_7, said, *self.virr, self.requests, self.vcpu)
        if not look.has(self.mode):
            return
        look.witness(KVM_ENT_2)
        if memory.exited:
            look.witness(KVM_ENT_9)
        if not memory.looked:
            clause = KVM_ENT_9 if memory.exited and memory.inside else KVM_ENT_2
            said = f"VM entry of {self.vcpu} without a look at ON since mode := IN became visible"
            look.breach(clause, said, on(self.vcpu), self.mode, self.vcpu)
        if not look.has(self.requests):
            return
        look.witness(KVM_ENT_8)
        if not memory.requests and not (memory.exited and memory.inside):
            said = f"VM entry of {self.vcpu} without a look at requests since the sync"
            look.breach(KVM_ENT_8, said, self.requests, self.mode, self.vcpu)


def clears_on(op: ops.Rmw, result: ops.Result) -> bool:
    """Whether it makes ON 0, or would. A compare-exchange that finds ON 0 is about other fields, as that of a put in between."""
    if not op.mask & 1 or op.value & 1:
        return False
    return op.how in ("and", "swap") or (op.how == "cas" and bool(op.expect & 1) and result == op.expect & op.mask)


def takes(op: ops.Rmw, result: ops.Result) -> bool:
    """Whether it is made to clear bits: a compare-exchange only if it holds."""
    return op.how in ("and", "swap") or (
        op.how == "cas" and result == op.expect & op.mask and bool(op.expect & op.mask & ~op.value)
    )


def sets_on(op: ops.Operation) -> bool:
    """A post of the thread's own: it tells the sender whether to notify, and is no look before an entry."""
    return isinstance(op, ops.Rmw) and op.how == "or" and bool(op.value & 1)


def monitors(scenario: Scenario) -> list[Monitor]:
    return [EntryOrder(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
