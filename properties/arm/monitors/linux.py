"""Linux's own bookkeeping, where an implementation declares it: the ap_lists, and the summary bits of the 2012 design."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import ARM_LIST, KERNEL, LINUX, LINUX_2015, QUEUEING, VGIC_PATCHES
from properties.arm.monitors.registers import list_registers, word

SUMMARY = "vm.irq_pending_on_cpu"

VGIC_Q_2 = QUEUEING.must(
    "VGIC-Q-2",
    "Who dropped irq_lock to take an ap_list_lock looks again at who has the interrupt and who should: it is on "
    "one list, once.",
    LINUX("vgic/vgic.c vgic_queue_irq_unlock()"),
    kind="discipline",
    role="injector",
    profiles=("kvm",),
    authority="linux",
    observe="The ap_lists whenever one of their locks is released.",
)

VGIC_Q_3 = QUEUEING.must(
    "VGIC-Q-3",
    "What is folded after an exit, or after an entry that was called off, was read out of the hardware since that "
    "entry.",
    KERNEL("ae705930fca6"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    unchecked=(
        "which copy of a list register software folds is its own; what a stale one leads to is judged by VGIC-EDGE-1, "
        "VGIC-EDGE-5 and VGIC-LVL-3, with entries that are called off in most scenarios"
    ),
)


class Lists(Monitor):
    """Whenever an ap_list_lock is released, no interrupt is on a list twice, no SPI on two lists."""

    clauses = (VGIC_Q_2,)
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
        look.witness(VGIC_Q_2)
        for name in mine if isinstance(mine, tuple) else ():
            on = [v for v, names in lists.items() if isinstance(names, tuple) and name in names]
            twice = isinstance(mine, tuple) and mine.count(name) > 1
            private = name.isdecimal() and int(name) < 32  # each vCPU has its own, of this number
            if twice or (len(on) > 1 and not private):
                said = (
                    f"{routine} leaves interrupt {name} on the ap_lists of {' and '.join(on)}{', twice on one' * twice}"
                )
                look.breach(VGIC_Q_2, said, *(f"{v}.ap_list" for v in on), *on)


VGIC_SUM_1 = QUEUEING.must(
    "VGIC-SUM-1",
    "If a vCPU's bit of irq_pending_on_cpu is 0, nothing is deliverable to it.",
    ARM_LIST(VGIC_PATCHES),
    LINUX_2015("virt/kvm/arm/vgic.c", "header comment"),
    kind="discipline",
    role="injector",
    profiles=("kvm",),
    authority="linux",
    premise="the implementation keeps a summary bit",
    observe="The bit, at rest with something due.",
)

VGIC_SUM_2 = QUEUEING.may(
    "VGIC-SUM-2",
    "The bit is set, and nothing is pending.",
    ARM_LIST(VGIC_PATCHES, '"safe to set"'),
    kind="discipline",
    role="injector",
    profiles=("kvm",),
    authority="linux",
    observe="An entry with the bit set and no list register valid.",
)

VGIC_SUM_3 = QUEUEING.must_not(
    "VGIC-SUM-3",
    "A bit is cleared by who looked for what is pending before it was set.",
    ARM_LIST(VGIC_PATCHES, '"The maintenance interrupt could fire just before the clear_bit"'),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    premise="the implementation keeps a summary bit",
    observe="Setting and clearing of a bit, and locks taken in between.",
)

VGIC_SUM_4 = QUEUEING.may(
    "VGIC-SUM-4",
    'No barrier follows the setting of the bit: the one that did was "strategically placed to entertain the reviewer".',
    ARM_LIST(VGIC_PATCHES),
    kind="discipline",
    role="injector",
    profiles=("kvm",),
    authority="linux",
    observe="A routine that sets the bit and returns without a barrier.",
)


class Scan(NamedTuple):
    """`set_since`: somebody else set this vCPU's bit since its thread last took a lock; `owed`: the routine that set a
    bit and has executed no barrier since.
    """

    set_since: bool = False
    owed: str = ""


class Summary(Monitor):
    """Memory: the vCPU's scan in progress."""

    clauses = (VGIC_SUM_3,)
    witnesses = (VGIC_SUM_2, VGIC_SUM_4)
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
                look.witness(VGIC_SUM_3)
                if memory.set_since:
                    said = f"{event.routine} clears {self.vcpu}'s bit of {SUMMARY}, set while it looked for what is pending"
                    look.breach(VGIC_SUM_3, said, Subject(SUMMARY, self.bit), self.vcpu)
            case ev.Returned(routine=routine) if routine == memory.owed:
                look.witness(VGIC_SUM_4, Subject(SUMMARY, self.bit), self.vcpu)
                return memory._replace(owed="")
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                if word(look.value(SUMMARY)) & self.bit and not list_registers(look, cpu):
                    look.witness(VGIC_SUM_2, Subject(SUMMARY, self.bit), self.vcpu)
            case _:
                pass
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    return [Lists(scenario), *(Summary(f"vcpu{n}") for n in range(len(scenario.vcpus)))]
