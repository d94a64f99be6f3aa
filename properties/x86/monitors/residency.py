"""KVM's load, put and wakeup: NV, NDST, SN and the wakeup lists (Linux 6.1, posted_intr.c, after d76fb40637fc)."""

from __future__ import annotations

from typing import NamedTuple

from conformance.automaton.meaning import may_change
from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.machine.rules import LIVELOCK
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import KERNEL, KVM_LIST, KVM_RESIDENCY, LINUX, POSTED_INTR
from properties.x86.monitors import subjects
from properties.x86.monitors.registers import word
from properties.x86.monitors.wakeup import names

WAKEUP = 0xF1

ON, SN = 1, 2

SWITCHING = ("load", "put")


def nv(control: int) -> int:
    return control >> 16 & 0xFF


class Switch(NamedTuple):
    """A load or put in progress: SN went to 0, the words of PIR looked at since, a bit was found, ON was set for it; the
    self-IPI owed; a compare-exchange was lost; what was read of the control word, with the mask it was read under.
    """

    sn_cleared: bool = False
    looked: frozenset[int] = frozenset()
    found: bool = False
    set_on: bool = False
    owes: bool = False
    lost: bool = False
    read: frozenset[tuple[int, int]] = frozenset()


HALTS_CLOSED = "a vCPU halts with interrupts closed"

TOGGLES = "APICv is inhibited or not between a put and the load after it"

KVM_PI_1 = KVM_RESIDENCY.must(
    "KVM-PI-1",
    "An update of several control fields takes one snapshot of the 64-bit control word, changes it and publishes "
    "it by compare-exchange, again from a fresh snapshot if that fails: ON may change at any time.",
    KERNEL("cfb0e1306a37"),
    LINUX(f"{POSTED_INTR} pi_try_set_control", "comment"),
    observe=(
        "No step of load or put clears ON; other control fields change by a compare-exchange of what this load or put has read in "
        "one piece, or one bit by a locked operation."
    ),
)

KVM_PI_2 = KVM_RESIDENCY.must(
    "KVM-PI-2",
    "After a load, on another pCPU or on the one that it left, the descriptor leads there: NDST is that pCPU, SN is 0 and NV is "
    "the notification vector. (KVM publishes all three in one compare-exchange; only the result is judged.)",
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    kind="guarantee",
    observe="NDST, SN and NV at the end of each load, against the pCPU that ran it.",
)

KVM_PI_4 = KVM_RESIDENCY.must(
    "KVM-PI-4",
    "After clearing SN the load has a full barrier and then sets ON if PIR is not empty, for devices posted "
    "silently while SN was set.",
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    KERNEL("c112b5f50232 (2019)"),
    observe="After each clear of SN by load each word of PIR is read, until a bit is found; then ON is set before the load ends.",
)

KVM_PI_5 = KVM_RESIDENCY.must(
    "KVM-PI-5",
    "If NV was the wakeup vector the load takes the vCPU off the wakeup list of the pCPU where it blocked, the "
    "previous vcpu->cpu, under that list's lock and with interrupts off.",
    KERNEL("d76fb40637fc (2021)"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    premise="device posting or IPI virtualization",
    observe="After put and after load, that a vCPU is on a wakeup list exactly if its NV is the wakeup vector. The lock is RACE's.",
)

KVM_PI_6 = KVM_RESIDENCY.must(
    "KVM-PI-6",
    "A put of a vCPU that blocks with guest interrupts open (and, in newer kernels, is not preempted) joins this "
    "pCPU's wakeup list first and only then sets NV to the wakeup vector.",
    LINUX(f"{POSTED_INTR} pi_enable_wakeup_handler"),
    KERNEL("d76fb40637fc (2021)"),
    premise="device posting or IPI virtualization",
    observe="At the step that sets NV to the wakeup vector, the vCPU is on the list of this pCPU.",
)

KVM_PI_7 = KVM_RESIDENCY.must(
    "KVM-PI-7",
    "If ON was set in the value that switched NV to the wakeup vector, the put sends the wakeup vector to its own "
    "pCPU: the earlier notification went to a handler that does nothing in root mode.",
    KERNEL("d76fb40637fc (2021)"),
    LINUX(f"{POSTED_INTR} pi_enable_wakeup_handler"),
    premise="device posting or IPI virtualization",
    observe="A put whose compare-exchange published ON=1 with the wakeup vector is followed by that self-IPI.",
)

KVM_PI_8 = KVM_RESIDENCY.must(
    "KVM-PI-8",
    "That test of ON uses the value the compare-exchange published, not the first snapshot.",
    LINUX(f"{POSTED_INTR} pi_enable_wakeup_handler"),
    premise="device posting or IPI virtualization",
    observe="With ON set by another agent between the first snapshot and a retry, the self-IPI is sent.",
)

KVM_PI_9 = KVM_RESIDENCY.must_not(
    "KVM-PI-9",
    "NDST is not stale while NV is the wakeup vector: the list the vCPU is on belongs to the pCPU in NDST.",
    KERNEL("d76fb40637fc (2021)"),
    KVM_LIST("J. Martins, 6 Nov 2019, patch 2 of 3, Message-ID 20191106175602.4515-3"),
    premise="device posting or IPI virtualization",
    observe="NDST against the pCPU of the list, after each put that leaves the wakeup vector in NV.",
)

KVM_PI_11 = KVM_RESIDENCY.may(
    "KVM-PI-11",
    "Under the older rule a vCPU that is both blocking and preempted gets the wakeup vector and SN=1 together. "
    "The newer rule excludes that state.",
    KERNEL("d76fb40637fc (2021)", "comment"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_put"),
    premise="put rule: SN only if preempted",
    observe="A trace that reaches NV = wakeup vector with SN=1.",
)

KVM_PI_14 = KVM_RESIDENCY.must_not(
    "KVM-PI-14",
    "The put does not wake the task itself, because the scheduler holds its lock there; hence the self-IPI.",
    KERNEL("d76fb40637fc (2021)"),
    LINUX(f"{POSTED_INTR} pi_enable_wakeup_handler", "comment"),
    premise="device posting or IPI virtualization",
    observe="No wake among the steps of a put.",
)

KVM_PI_17 = KVM_RESIDENCY.must(
    "KVM-PI-17",
    "What decides between the actions of put and load stays the same for the life of the VM, unlike the "
    "apicv_active flag that may toggle between the two.",
    KERNEL("53b7ca1a3593 (2021)"),
    premise="device posting or IPI virtualization",
    observe=(
        "With APICv toggled between put and load: after the load the vCPU is on no list and NV is the notification "
        "vector."
    ),
    of=(
        KVM_PI_2,
        KVM_PI_5,
    ),
    where=(TOGGLES,),
)

KVM_PI_18 = KVM_RESIDENCY.must(
    "KVM-PI-18",
    "When a device is assigned while vCPUs are already blocked, each is made to unblock once, so that blocking "
    "again gives it the wakeup vector.",
    KERNEL("a2486020a82e (2021)"),
    LINUX(f"{POSTED_INTR} vmx_pi_start_assignment"),
    kind="guarantee",
    premise="device assigned later",
    observe=(
        "At quiescence after an assignment no vCPU is blocked with guest interrupts open and the plain notification "
        "vector in NV."
    ),
)

KVM_PI_19 = KVM_RESIDENCY.must_not(
    "KVM-PI-19",
    "A vCPU that blocks with guest interrupts closed is not kept awake just because ON is set.",
    KERNEL("1831fa44df74 (2021)"),
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_put"),
    kind="guarantee",
    premise="device posting or IPI virtualization",
    observe=(
        "With interrupts closed and a device's post outstanding the vCPU comes to rest asleep; a cycle without rest "
        "is a LIVELOCK."
    ),
    of=(LIVELOCK,),
    where=(HALTS_CLOSED,),
)

KVM_PI_21 = KVM_RESIDENCY.may(
    "KVM-PI-21",
    "Taking the vCPU off the wakeup list and restoring NV may come in either order in a load.",
    KERNEL("baed82c8e489", "message"),
    premise="device posting or IPI virtualization",
    observe="A trace where NV is restored while the vCPU is still on the list. The usual order is equally right.",
)


class DescriptorResidency(Monitor):
    """Memory: the load or put in progress of one vCPU."""

    clauses = (
        KVM_PI_1, KVM_PI_2, KVM_PI_4, KVM_PI_5, KVM_PI_6, KVM_PI_7, KVM_PI_8, KVM_PI_9, KVM_PI_14,
        KVM_PI_17, KVM_PI_18, KVM_PI_19,
    )  # fmt: skip
    witnesses = (KVM_PI_11, KVM_PI_21)
    events = (ev.Asked, ev.Changed, ev.Sent, ev.SwitchedIn, ev.SwitchedOut, ev.Woken)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.scenario, self.vcpu, self.name = scenario, vcpu, f"{vcpu}.residency"
        self.memory = Switch()
        self.control = f"{vcpu}.pid.control"
        self.xapic = "xapic" in scenario.facts
        self.on_bit, self.sn = subjects.on(vcpu), subjects.sn(vcpu)
        self.nv, self.ndst = subjects.nv(vcpu), subjects.ndst(vcpu)
        self.lists = [f"cpu{c}.wakeup_list" for c in range(scenario.cpus)]
        self.words = frozenset(v // 64 for v in scenario.vectors)
        self.assigned = comes_to_be_assigned(scenario)
        program = scenario.vcpus[int(vcpu.removeprefix("vcpu"))].program
        self.where = (HALTS_CLOSED,) if ("cli",) in program and ("sti",) not in program else ()

    def lists_are_seen(self, look: Look) -> bool:
        """Lists with other names are not."""
        return any(look.has(at) for at in self.lists)

    def listed(self, look: Look) -> list[int]:
        """The CPUs whose wakeup list holds this vCPU."""
        lists = {c: f"cpu{c}.wakeup_list" for c in range(self.scenario.cpus)}
        return [c for c, at in lists.items() if look.has(at) and self.vcpu in names(look.value(at))]

    def on(self, event: ev.Event, memory: Switch, look: Look) -> Switch:
        match event:
            case ev.Asked(cpu=cpu) if cpu >= 0 and event.routine in SWITCHING and look.on_cpu(cpu) == self.vcpu:
                return self._asked(event.operation, event.result, event.routine, memory, look)
            case ev.Changed(at=self.control, old=old, new=new, routine=routine, cpu=cpu):
                return self._control_changed(word(old), word(new), routine, cpu, memory, look)
            case ev.Sent(vector=vector, to=to, cpu=cpu) if vector == WAKEUP and to == cpu:
                return memory._replace(owes=False)
            case ev.SwitchedOut(thread=self.vcpu, cpu=cpu):
                self._out(cpu, memory, look)
                return Switch()
            case ev.SwitchedIn(thread=self.vcpu, cpu=cpu):
                self._in(cpu, memory, look)
                return Switch()
            case ev.Woken(routine="put"):
                said = "put wakes a thread: the scheduler is in the middle of switching"
                look.breach(KVM_PI_14, said, f"{event.thread}.status", self.vcpu)
            case _:
                pass
        return memory

    def _asked(self, op: ops.Operation, result: ops.Result, routine: str, memory: Switch, look: Look) -> Switch:
        match op:
            case ops.Store(at=self.control):
                said = f"{routine} changes the control word by a plain store"
                look.breach(KVM_PI_1, said, self.control, self.vcpu)
            case ops.Rmw(at=self.control, how=how, value=value, mask=mask, expect=expect):
                look.witness(KVM_PI_1)
                if mask & ON and not value & ON and how in ("and", "swap", "cas") and (expect & ON or how != "cas"):
                    look.breach(KVM_PI_1, f"{routine} clears ON", self.on_bit, self.vcpu)
                if how != "cas" and may_change(op).bit_count() > 1:
                    said = f"{routine} changes several control fields without comparing what it read"
                    look.breach(KVM_PI_1, said, Subject(self.control, may_change(op)), self.vcpu)
                read = memory.read | {(mask, result)} if isinstance(result, int) else memory.read
                if how == "cas" and isinstance(result, int) and result != expect & mask:
                    return memory._replace(lost=memory.lost or bool((result ^ expect) & ON), read=read)
                if how == "cas" and may_change(op).bit_count() > 1 and not self._was_read(expect, mask, memory):
                    said = f"{routine} changes several control fields, and compares with what it has not read"
                    look.breach(KVM_PI_1, said, Subject(self.control, mask), self.vcpu)
                return memory._replace(set_on=memory.set_on or sets_on(op), read=read)
            case ops.Load(at=self.control, mask=mask) if isinstance(result, int):
                return memory._replace(read=memory.read | {(mask, result)})
            case ops.Load(at=at) if at.startswith(f"{self.vcpu}.pid.pir[") and memory.sn_cleared:
                found = memory.found or bool(result)
                return memory._replace(looked=self.words if found else memory.looked | {int(at[-2])}, found=found)
            case _:
                pass
        return memory

    @staticmethod
    def _was_read(expect: int, mask: int, memory: Switch) -> bool:
        return any(mask & ~under == 0 and (value ^ expect) & mask == 0 for under, value in memory.read)

    def _control_changed(self, old: int, new: int, routine: str, cpu: int, memory: Switch, look: Look) -> Switch:
        if routine not in SWITCHING:
            return memory
        if nv(old) != WAKEUP and nv(new) == WAKEUP:
            if self.lists_are_seen(look):
                look.witness(KVM_PI_6)
            if self.lists_are_seen(look) and cpu not in self.listed(look):
                said = f"NV becomes the wakeup vector before {self.vcpu} is on cpu{cpu}'s wakeup list"
                look.breach(KVM_PI_6, said, self.nv, f"cpu{cpu}.wakeup_list", self.vcpu)
            if new & ON:
                look.witness(KVM_PI_7)
                if memory.lost:
                    look.witness(KVM_PI_8)
                memory = memory._replace(owes=True)
        if nv(old) == WAKEUP and nv(new) == PINV and self.listed(look):
            look.witness(KVM_PI_21, self.nv, *self.lists, self.vcpu)
        if nv(new) == WAKEUP and new & SN:
            look.witness(KVM_PI_11, self.nv, self.sn, self.vcpu)
        if old & SN and not new & SN:
            return memory._replace(sn_cleared=True)
        return memory

    def _out(self, cpu: int, memory: Switch, look: Look) -> None:
        control = word(look.value(self.control))
        listed = self.listed(look)
        look.witness(KVM_PI_14)
        if memory.owes:
            clause = KVM_PI_8 if memory.lost else KVM_PI_7
            said = "put published the wakeup vector with ON = 1 and sent itself no wakeup IPI"
            look.breach(clause, said, self.nv, self.on_bit, self.vcpu)
        if not self.lists_are_seen(look):
            return
        if nv(control) == WAKEUP or listed:
            look.witness(KVM_PI_5)
            look.witness(KVM_PI_9)
        if (nv(control) == WAKEUP) != (listed == [cpu]):
            said = f"after put NV is {nv(control):#x} and {self.vcpu} is on the wakeup lists of {_cpus(listed)}"
            look.breach(KVM_PI_5, said, self.nv, *self.lists, self.vcpu)
        if nv(control) == WAKEUP and self.destination(control) not in listed:
            said = f"NDST names cpu{self.destination(control)} while {self.vcpu} is listed on {_cpus(listed)}"
            look.breach(KVM_PI_9, said, self.ndst, *self.lists, self.vcpu)

    def _in(self, cpu: int, memory: Switch, look: Look) -> None:
        control = word(look.value(self.control))
        listed = self.listed(look)
        loaded = (TOGGLES,) if "inhibit-toggles" in self.scenario.facts else ()
        look.witness(KVM_PI_2, where=loaded)
        if self.destination(control) != cpu or control & SN or nv(control) != PINV:
            reason = (
                f"after load on cpu{cpu} the descriptor says NDST = {control >> 32:#x}, SN = {control >> 1 & 1}, "
                f"NV = {nv(control):#x}"
            )
            look.breach(KVM_PI_2, reason, self.ndst, self.sn, self.nv, self.vcpu, where=loaded)
        if listed:
            said = f"{self.vcpu} runs on cpu{cpu} and is still on the wakeup list of cpu{listed[0]}"
            look.breach(KVM_PI_5, said, f"cpu{listed[0]}.wakeup_list", self.vcpu, where=loaded)
        if memory.sn_cleared:
            look.witness(KVM_PI_4)
            if not memory.looked >= self.words:
                said = "load cleared SN and did not look at all of PIR afterwards"
                look.breach(KVM_PI_4, said, *self._posted(), self.vcpu)
            elif memory.found and not memory.set_on:
                said = "load found a vector that was posted under SN and did not set ON for it"
                look.breach(KVM_PI_4, said, *self._posted(), self.vcpu)

    def _posted(self) -> tuple[Subject, ...]:
        return (self.sn, *(Subject(f"{self.vcpu}.pid.pir[{w}]") for w in range(4)), self.on_bit)

    def destination(self, control: int) -> int:
        return control >> 40 & 0xFF if self.xapic else control >> 32

    def at_rest(self, memory: Switch, look: Look) -> None:
        if look.status(self.vcpu) != "sleeping":
            return
        control = word(look.value(self.control))
        if not look.value(f"{self.vcpu}.rflags_if"):
            if control & ON:
                look.witness(KVM_PI_19)
        elif self.assigned:
            look.witness(KVM_PI_18)
            if nv(control) != WAKEUP:
                said = f"{self.vcpu} blocks, a device may post, and NV is still {nv(control):#x}"
                assigned = ("vm.assigned",) if look.has("vm.assigned") else ()
                look.breach(KVM_PI_18, said, self.nv, *assigned, self.vcpu)


def sets_on(op: ops.Rmw) -> bool:
    """Whether ON is 1 when it is done, be it what it was."""
    return op.how in ("or", "swap", "cas") and bool(op.value & op.mask & ON)


def comes_to_be_assigned(scenario: Scenario) -> bool:
    """Whether the last call that assigns a device, or takes the last one away, assigns one."""
    calls = [t for t in scenario.threads if t.routine in ("assign_device", "unassign_device")]
    last = {t.routine for t in calls if t.name not in {other.after for other in calls}}
    return last == {"assign_device"}


def _cpus(listed: list[int]) -> str:
    return " and ".join(f"cpu{c}" for c in listed) or "no CPU"


def monitors(scenario: Scenario) -> list[Monitor]:
    return [DescriptorResidency(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
