"""Linux's own bookkeeping, where an implementation declares it: the ap_lists, and the summary bits of the 2012 design."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import list_registers, word

SUMMARY = "vm.irq_pending_on_cpu"


class Lists(Monitor):
    """VGIC-Q-2: whenever an ap_list_lock is released, no interrupt is on a list twice, no SPI on two lists."""

    clauses = ("VGIC-Q-2",)
    events = (ev.Asked,)
    name = "ap_lists"

    def __init__(self, scenario: Scenario) -> None:
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        match event:
            case ev.Asked(operation=ops.Unlock(at=at), routine=routine) if at.endswith(".ap_list_lock"):
                owner = at.partition(".")[0]
            case _:
                return
        lists = {v: look.value(f"{v}.ap_list") for v in self.vcpus if look.has(f"{v}.ap_list")}
        mine = lists.get(owner, ())
        look.witness("VGIC-Q-2")
        for name in mine if isinstance(mine, tuple) else ():
            on = [v for v, names in lists.items() if isinstance(names, tuple) and name in names]
            twice = isinstance(mine, tuple) and mine.count(name) > 1
            if twice or (len(on) > 1 and int(name) >= 32):
                said = (
                    f"{routine} leaves interrupt {name} on the ap_lists of {' and '.join(on)}{', twice on one' * twice}"
                )
                look.breach("VGIC-Q-2", said, *(f"{v}.ap_list" for v in on), *on)


class Scan(NamedTuple):
    """`set_since`: somebody else set this vCPU's bit since its thread last took a lock; `owed`: the routine that set a
    bit and has executed no barrier since.
    """

    set_since: bool = False
    owed: str = ""


class Summary(Monitor):
    """VGIC-SUM-3, and SUM-2 and 4 are observed. Memory: the vCPU's scan in progress."""

    clauses = ("VGIC-SUM-3",)
    witnesses = ("VGIC-SUM-2", "VGIC-SUM-4")
    events = (ev.Asked, ev.Changed, ev.Entered, ev.Returned)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.summary"
        self.bit = 1 << int(vcpu.removeprefix("vcpu"))
        self.memory = Scan()

    def on(self, event: ev.Event, memory: Scan, look: Look) -> Scan:
        if not look.has(SUMMARY):
            return memory
        match event:
            case ev.Asked(operation=ops.Lock(), cpu=cpu) if look.on_cpu(cpu) == self.vcpu:
                return memory._replace(set_since=False)
            case ev.Asked(operation=ops.Fence(), routine=routine) if routine == memory.owed:
                return memory._replace(owed="")
            case ev.Asked(operation=ops.Rmw(at=at, how="or", value=value), cpu=cpu, routine=routine) if (
                at == SUMMARY and value & self.bit
            ):
                others = look.on_cpu(cpu) != self.vcpu or "maintenance" in routine
                return Scan(memory.set_since or others, routine)
            case ev.Changed(at=at, old=old, new=new) if at == SUMMARY and word(old) & ~word(new) & self.bit:
                look.witness("VGIC-SUM-3")
                if memory.set_since:
                    said = f"{event.routine} clears {self.vcpu}'s bit of {SUMMARY}, set while it looked for what is pending"
                    look.breach("VGIC-SUM-3", said, Subject(SUMMARY, self.bit), self.vcpu)
            case ev.Returned(routine=routine) if routine == memory.owed:
                look.witness("VGIC-SUM-4", Subject(SUMMARY, self.bit), self.vcpu)
                return memory._replace(owed="")
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                if word(look.value(SUMMARY)) & self.bit and not list_registers(look, cpu):
                    look.witness("VGIC-SUM-2", Subject(SUMMARY, self.bit), self.vcpu)
            case _:
                pass
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    return [Lists(scenario), *(Summary(f"vcpu{n}") for n in range(len(scenario.vcpus)))]
