"""KVM's load, put and wakeup: NV, NDST, SN and the wakeup lists (Linux 6.1, posted_intr.c, after d76fb40637fc)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.automaton.meaning import may_change
from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding, Subject, Witness
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.x86.monitors import subjects
from properties.x86.monitors.end_to_end import PINV, word

WAKEUP = 0xF1
ON, SN = 1, 2
SWITCHING = ("load", "put")


def nv(control: int) -> int:
    return control >> 16 & 0xFF


class Switch(NamedTuple):
    """A load or put in progress: SN went to 0, PIR was looked at since, a bit was found, ON was set for it; the
    self-IPI owed; a compare-exchange was lost.
    """

    sn_cleared: bool = False
    looked: bool = False
    found: bool = False
    set_on: bool = False
    owes: bool = False
    lost: bool = False


class DescriptorResidency(Monitor):
    """KVM-PI-1, 2, 4 to 9, 14, 17, 18, 19. Memory: the load or put in progress of one vCPU."""

    clauses = (
        "KVM-PI-1", "KVM-PI-2", "KVM-PI-4", "KVM-PI-5", "KVM-PI-6", "KVM-PI-7", "KVM-PI-8", "KVM-PI-9", "KVM-PI-14",
        "KVM-PI-17", "KVM-PI-18", "KVM-PI-19",
    )  # fmt: skip
    witnesses = ("KVM-PI-11", "KVM-PI-21")
    events = (ev.Asked, ev.Changed, ev.Sent, ev.SwitchedIn, ev.SwitchedOut, ev.Woken)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.scenario, self.vcpu, self.name = scenario, vcpu, f"{vcpu}.residency"
        self.memory = Switch()
        self.control = f"{vcpu}.pid.control"
        self.xapic = "xapic" in scenario.facts
        self.on_bit, self.sn = subjects.on(vcpu), subjects.sn(vcpu)
        self.nv, self.ndst = subjects.nv(vcpu), subjects.ndst(vcpu)
        self.lists = [f"cpu{c}.wakeup_list" for c in range(scenario.cpus)]
        program = scenario.vcpus[int(vcpu.removeprefix("vcpu"))].program
        if ("cli",) in program and ("sti",) not in program:  # it halts with interrupts closed: kept awake for nothing
            self.restless = ("KVM-PI-19",)

    def listed(self, look: Look) -> list[int]:
        """The CPUs whose wakeup list holds this vCPU."""
        lists = {c: f"cpu{c}.wakeup_list" for c in range(self.scenario.cpus)}
        return [c for c, at in lists.items() if look.has(at) and self.vcpu in _names(look.value(at))]

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
                look.breach("KVM-PI-14", said, f"{event.thread}.status", self.vcpu)
            case _:
                pass
        return memory

    def _asked(self, op: ops.Operation, result: ops.Result, routine: str, memory: Switch, look: Look) -> Switch:
        match op:
            case ops.Store(at=self.control):
                said = f"{routine} changes the control word by a plain store"
                look.breach("KVM-PI-1", said, self.control, self.vcpu)
            case ops.Rmw(at=self.control, how=how, value=value, mask=mask, expect=expect):
                look.witness("KVM-PI-1")
                if mask & ON and not value & ON and how in ("and", "swap", "cas") and (expect & ON or how != "cas"):
                    look.breach("KVM-PI-1", f"{routine} clears ON", self.on_bit, self.vcpu)
                if how != "cas" and may_change(op).bit_count() > 1:
                    said = f"{routine} changes several control fields without comparing what it read"
                    look.breach("KVM-PI-1", said, Subject(self.control, may_change(op)), self.vcpu)
                if how == "cas" and isinstance(result, int) and result != expect & mask:
                    return memory._replace(lost=memory.lost or bool((result ^ expect) & ON))
                if how == "or" and value & ON:
                    return memory._replace(set_on=True)
            case ops.Load(at=at) if at.startswith(f"{self.vcpu}.pid.pir[") and memory.sn_cleared:
                return memory._replace(looked=True, found=memory.found or bool(result))
            case _:
                pass
        return memory

    def _control_changed(self, old: int, new: int, routine: str, cpu: int, memory: Switch, look: Look) -> Switch:
        if routine not in SWITCHING:
            return memory
        if nv(old) != WAKEUP and nv(new) == WAKEUP:
            look.witness("KVM-PI-6")
            if cpu not in self.listed(look):
                said = f"NV becomes the wakeup vector before {self.vcpu} is on cpu{cpu}'s wakeup list"
                look.breach("KVM-PI-6", said, self.nv, f"cpu{cpu}.wakeup_list", self.vcpu)
            if new & ON:
                look.witness("KVM-PI-7")
                if memory.lost:
                    look.witness("KVM-PI-8")
                memory = memory._replace(owes=True)
        if nv(old) == WAKEUP and nv(new) == PINV and self.listed(look):
            look.witness("KVM-PI-21", self.nv, *self.lists, self.vcpu)
        if nv(new) == WAKEUP and new & SN:
            look.witness("KVM-PI-11", self.nv, self.sn, self.vcpu)
        if old & SN and not new & SN:
            return memory._replace(sn_cleared=True)
        return memory

    def _out(self, cpu: int, memory: Switch, look: Look) -> None:
        control = word(look.value(self.control))
        listed = self.listed(look)
        look.witness("KVM-PI-14")
        if memory.owes:
            clause = "KVM-PI-8" if memory.lost else "KVM-PI-7"
            said = "put published the wakeup vector with ON = 1 and sent itself no wakeup IPI"
            look.breach(clause, said, self.nv, self.on_bit, self.vcpu)
        if nv(control) == WAKEUP or listed:
            look.witness("KVM-PI-5")
            look.witness("KVM-PI-9")
        if (nv(control) == WAKEUP) != (listed == [cpu]):
            said = f"after put NV is {nv(control):#x} and {self.vcpu} is on the wakeup lists of {_cpus(listed)}"
            look.breach("KVM-PI-5", said, self.nv, *self.lists, self.vcpu)
        if nv(control) == WAKEUP and self.destination(control) not in listed:
            said = f"NDST names cpu{self.destination(control)} while {self.vcpu} is listed on {_cpus(listed)}"
            look.breach("KVM-PI-9", said, self.ndst, *self.lists, self.vcpu)

    def _in(self, cpu: int, memory: Switch, look: Look) -> None:
        control = word(look.value(self.control))
        listed = self.listed(look)
        look.witness("KVM-PI-2")
        toggles = "inhibit-toggles" in self.scenario.facts
        if toggles:
            look.witness("KVM-PI-17")
        if self.destination(control) != cpu or control & SN or nv(control) != PINV:
            reason = (
                f"after load on cpu{cpu} the descriptor says NDST = {control >> 32:#x}, SN = {control >> 1 & 1}, "
                f"NV = {nv(control):#x}"
            )
            about = (self.ndst, self.sn, self.nv, self.vcpu)
            look.breach("KVM-PI-2", reason, *about)
            if toggles:
                look.breach("KVM-PI-17", reason, *about)
        if listed:
            said = f"{self.vcpu} runs on cpu{cpu} and is still on the wakeup list of cpu{listed[0]}"
            look.breach("KVM-PI-5", said, f"cpu{listed[0]}.wakeup_list", self.vcpu)
            if toggles:
                look.breach("KVM-PI-17", said, f"cpu{listed[0]}.wakeup_list", self.vcpu)
        if memory.sn_cleared:
            look.witness("KVM-PI-4")
            if not memory.looked:
                look.breach(
                    "KVM-PI-4", "load cleared SN and did not look at PIR afterwards", *self._posted(), self.vcpu
                )
            elif memory.found and not memory.set_on:
                said = "load found a vector that was posted under SN and did not set ON for it"
                look.breach("KVM-PI-4", said, *self._posted(), self.vcpu)

    def _posted(self) -> tuple[Subject, ...]:
        return (self.sn, *(Subject(f"{self.vcpu}.pid.pir[{w}]") for w in range(4)), self.on_bit)

    def destination(self, control: int) -> int:
        return control >> 40 & 0xFF if self.xapic else control >> 32

    def at_rest(self, memory: Switch, look: Look) -> Iterable[Finding]:
        if look.status(self.vcpu) != "sleeping":
            return
        control = word(look.value(self.control))
        if not look.value(f"{self.vcpu}.rflags_if"):
            yield Witness("KVM-PI-19")
        elif "assignment-changes" in self.scenario.facts and look.has("vm.assigned") and look.value("vm.assigned"):
            yield Witness("KVM-PI-18")
            if nv(control) != WAKEUP:
                said = f"{self.vcpu} blocks, a device may post, and NV is still {nv(control):#x}"
                yield Breach("KVM-PI-18", said, (self.nv, Subject("vm.assigned"), Subject(self.vcpu)))


class WakeupHandler(Monitor):
    """KVM-PI-12. Memory: the vCPUs this CPU's wakeup handler has to wake, or None as ()."""

    clauses = ("KVM-PI-12",)
    witnesses = ("KVM-PI-13",)
    events = (ev.Called, ev.Returned, ev.Woken)

    def __init__(self, scenario: Scenario, cpu: int) -> None:
        self.scenario, self.cpu, self.name = scenario, cpu, f"cpu{cpu}.wakeup"
        self.memory: tuple[str, ...] = ()

    def on(self, event: ev.Event, memory: tuple[str, ...], look: Look) -> tuple[str, ...]:
        at = f"cpu{self.cpu}.wakeup_list"
        match event:
            case ev.Called(routine="wakeup_handler", args=(self.cpu,)) if look.has(at):
                due = tuple(
                    n
                    for n in _names(look.value(at))
                    if word(look.value(f"{n}.pid.control")) & ON and look.status(n) in ("sleeping", "about to sleep")
                )
                look.witness("KVM-PI-12" if due else "KVM-PI-13", at, f"cpu{self.cpu}")
                return due
            case ev.Woken(thread=thread):
                return tuple(n for n in memory if n != thread)
            case ev.Returned(routine="wakeup_handler", args=(self.cpu,)):
                for name in memory:
                    if look.status(name) in ("sleeping", "about to sleep") and name in _names(look.value(at)):
                        said = f"the wakeup handler of cpu{self.cpu} leaves {name} asleep, listed and with ON = 1"
                        look.breach("KVM-PI-12", said, at, subjects.on(name), f"{name}.status", name)
                return ()
            case _:
                return memory


def _cpus(listed: list[int]) -> str:
    return " and ".join(f"cpu{c}" for c in listed) or "no CPU"


def _names(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = [DescriptorResidency(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
    hosts = range(scenario.cpus)
    plain = {t.cpu for t in scenario.threads}
    return made + [WakeupHandler(scenario, c) for c in hosts if c not in plain]
