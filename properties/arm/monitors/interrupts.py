"""From an interrupt's cause to the guest's acknowledgement: no edge lost, none invented, and a level only while it lasts.

One monitor an interrupt: an SPI, a vCPU's PPI, an SGI from one source, a virtual LPI. An edge is begun when the routine
that makes it is called and made when it has returned; in between it may have taken effect or not, and nothing is
asserted. Acknowledgements are what GICV_IAR answered; deactivation is the guest's write that ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from conformance.machine import events as ev
from conformance.machine.clause import Clause
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI
from conformance.roles.scenario import Scenario
from properties.arm.monitors.linux import SUMMARY, VGIC_SUM_1
from properties.arm.monitors.lost import (
    CAUSED,
    CROWDED,
    DISABLED,
    ENDED_DISABLED,
    ENDED_OUTSIDE,
    IN_GUEST,
    OFF,
    RETARGETED,
    SOFTWARE_BESIDE_GICV4,
    VGIC_OVF_1,
    VGIC_OVF_3,
    VGIC_Q_1,
    VGIC_WFI_2,
    VGIC_WFI_3,
    WAITS,
)
from properties.arm.monitors.registers import ACTIVE, PENDING, list_registers, state_of, takes, word
from properties.arm.monitors.routing import (
    CHANGING,
    VGIC_ACT_2,
    VGIC_EN_1,
    VGIC_EN_2,
    VGIC_EN_3,
    VGIC_EN_4,
    VGIC_EN_5,
    VGIC_RT_1,
    VGIC_RT_4,
    Forwarding,
    Routing,
    entered,
    opened,
    shut,
    writes,
    written,
)

NOBODY, BY_REGISTER = -1, -2
SURELY = "surely"
Change: TypeAlias = Callable[[Forwarding], Forwarding]


class Ghost(NamedTuple):
    """`credit`: edges begun and not matched by an acknowledgement; `begun`: callers whose edge is begun, with no
    acknowledgement since; `made`: edges made since the last acknowledgement (2: several). For a level: `credit` counts
    writes that latch it begun since the last exit, which a list register filled before may not stand for; `line` and
    `latch` are 1, 0 or CHANGING; `raising` and `latching`: calls in progress; `lowering`: who lowers its line, or
    clears it; `doubt`: a call that raises it came across that; `unseen`: ended, and not raised since;
    `untold`: the vCPU that ended it, and has not left its guest since.

    `active`: number of the vCPU that acknowledged it and has not deactivated it; BY_REGISTER: nobody did, and it may
    be active by a write of GICD_ISACTIVER, or still be while `clearing` writes GICD_ICACTIVER or its write of GICV_DIR has
    trapped. `forced`: the vCPU whose write of GICD_ISACTIVER is under way, or SURELY where it is over. `cleared`: the same of
    GICD_ICPENDR and an edge that nobody made since. `past`: what a loss would be due to.
    """

    routing: Routing
    gates: tuple[Forwarding, ...]
    active: int = NOBODY
    clearing: str = ""
    credit: int = 0
    begun: tuple[str, ...] = ()
    made: int = 0
    line: int = 0
    latch: int = 0
    raising: int = 0
    latching: int = 0
    lowering: str = ""
    doubt: bool = False
    untold: str = ""
    unseen: bool = False
    forced: str = ""
    cleared: str = ""
    past: frozenset[str] = frozenset()


class Interrupt(Monitor):
    """What edges and levels have in common. `bank` is the vCPU whose private interrupt it is, "" for an SPI."""

    lost: Clause
    """What is broken where one that is due is not delivered."""
    wrong: Mapping[str, tuple[Clause, str]] = {
        VGIC_EN_1.id: (VGIC_EN_1, "it was disabled before that vCPU's last exit"),
        VGIC_EN_5.id: (VGIC_EN_5, "the distributor was off before that vCPU's last exit"),
        VGIC_RT_1.id: (VGIC_RT_1, "it was retargeted before that vCPU's last exit"),
    }
    """By the id of the clause, why it should not have been forwarded."""
    witnesses = (VGIC_EN_4, VGIC_RT_4)
    events = (ev.Called, ev.Returned, ev.Delivered, ev.GuestActed, ev.Entered, ev.Exited)

    def __init__(self, scenario: Scenario, intid: int, bank: str = "", source: int = 0) -> None:
        self.scenario, self.intid, self.bank, self.source = scenario, intid, bank, source
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
        self.what = f"interrupt {intid}" if intid >= 16 else f"SGI {intid} of vcpu{source}"
        self.name = f"{bank or 'spi'}.{intid}{f'.{source}' if intid < 16 else ''}"
        self.ends = "deactivate" if "eoi-mode-1" in scenario.facts and intid < LPI else "end_of_interrupt"
        self.iar = intid | source << 10 if intid < 16 else intid
        self.gated = bool(writes(scenario) & {"icenabler", "ctlr", "itargetsr"})
        target = int(bank.removeprefix("vcpu")) if bank else 0
        self.clauses = self._concerned()
        gicv4 = {"gicv4", "gicv4.1"} & {*scenario.facts} and intid < LPI
        conditions = {CROWDED: self.crowded(), SOFTWARE_BESIDE_GICV4: bool(gicv4)}
        self.where = frozenset(condition for condition, holds in conditions.items() if holds)
        self.memory = Ghost(Routing(target=target), tuple(Forwarding() for _ in self.vcpus) if self.watches() else ())

    def _concerned(self) -> tuple[Clause, ...]:
        """The clauses that the scenario can put to the test."""
        written, software = writes(self.scenario), self.intid < LPI
        gicv4 = {"gicv4", "gicv4.1"} & {*self.scenario.facts}
        return (
            VGIC_Q_1,
            *([VGIC_WFI_2] * any(("wfi",) in v.program for v in self.scenario.vcpus)),
            *([VGIC_WFI_3] * bool(software and gicv4)),
            *([VGIC_SUM_1] * software),
            *([VGIC_EN_1, VGIC_EN_2, VGIC_EN_3] * bool(software and "icenabler" in written)),
            *([VGIC_EN_5] * bool(software and "ctlr" in written)),
            *([VGIC_RT_1] * bool(self.intid >= 32 and software and "itargetsr" in written)),
            *([VGIC_ACT_2] * bool(software and "isactiver" in written)),
            *([VGIC_OVF_1, VGIC_OVF_3] * self.crowded()),
        )

    def watches(self) -> bool:
        """Whether there can be a reason not to forward it."""
        return self.gated and self.intid < LPI

    # Events

    def on(self, event: ev.Event, memory: Ghost, look: Look) -> Ghost:
        match event:
            case ev.Called() | ev.Returned():
                memory = self._configured(event, memory)
                memory = self._caused(event, memory)
                return self._reopened(memory)
            case ev.Delivered(vcpu=vcpu, vector=vector) if vector == self.iar and self.bank in ("", vcpu):
                return self._acknowledged(vcpu, memory, look)
            case ev.GuestActed(vcpu=vcpu, action=(self.ends, self.iar), cpu=cpu) if self.bank in ("", vcpu):
                return self._reopened(self._deactivated(cpu, memory, look))
            case ev.GuestActed(vcpu=vcpu, action=("device_quiet", self.intid)) if self.bank in ("", vcpu):
                return self._quieted(memory, vcpu)
            case ev.Entered(vcpu=vcpu, cpu=cpu):
                memory = self._settled(memory, vcpu)
                if memory.forced == vcpu:
                    memory = memory._replace(forced=SURELY)
                if memory.clearing == vcpu:
                    active = NOBODY if memory.active == BY_REGISTER else memory.active
                    memory = self._reopened(memory._replace(active=active, clearing=""))
                return self._gate(memory, vcpu, lambda g: entered(g, cpu, self.intid, self.source, look))
            case ev.Exited(vcpu=vcpu, cpu=cpu, reason=reason):
                if reason == ("deactivate", self.iar) and self.bank in ("", vcpu) and memory.active == NOBODY:
                    memory = memory._replace(active=BY_REGISTER, clearing=vcpu)
                barred, memory = self._barred(memory, vcpu), self._left(memory, vcpu, cpu, look)
                return self._gate(memory, vcpu, lambda _: shut(cpu, self.intid, self.source, barred, look))
            case _:
                return memory

    def _gate(self, memory: Ghost, vcpu: str, change: Change) -> Ghost:
        if not self.watches():
            return memory
        at = self.vcpus.index(vcpu)
        gates = memory.gates
        return memory._replace(gates=(*gates[:at], change(gates[at]), *gates[at + 1 :]))

    def _reopened(self, memory: Ghost) -> Ghost:
        if not self.watches():
            return memory
        return memory._replace(gates=opened(memory.gates, tuple(self._barred(memory, v) for v in self.vcpus)))

    def _barred(self, memory: Ghost, vcpu: str) -> str:
        """The id of the clause by which it must not be forwarded to a vCPU now."""
        if memory.routing.forwarded == 0:
            return VGIC_EN_5.id
        if memory.routing.enabled == 0:
            return VGIC_EN_1.id
        if memory.routing.target not in (CHANGING, self.vcpus.index(vcpu)) and memory.active == NOBODY:
            return VGIC_RT_1.id
        return ""

    def _configured(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        """A write of the distributor, and what it comes across."""
        if event.routine != "distributor":
            return memory
        match event.args:
            case (str(writer), "icactiver", self.intid, _) if self.bank in ("", writer) and isinstance(
                event, ev.Called
            ):
                return memory._replace(active=BY_REGISTER, clearing=writer, forced="")
            case (str(writer), "isactiver", self.intid, _) if self.bank in ("", writer) and memory.active == NOBODY:
                return memory._replace(active=BY_REGISTER, forced=writer)
            case _:
                pass
        before, now = memory.routing, written(event, self.intid, self.bank, memory.routing)
        met = ((DISABLED, now.enabled == 0), (OFF, now.forwarded == 0), (RETARGETED, now.target != before.target))
        past = {fact for fact, so in met if so} if self._may_be_due(memory) else set[str]()
        if now == before and not past - memory.past:
            return memory
        return memory._replace(routing=now, past=memory.past | past)

    def _caused(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        """A call or return of what makes the interrupt pending, or not."""
        raise NotImplementedError

    def _may_be_due(self, memory: Ghost) -> bool:
        raise NotImplementedError

    def _quieted(self, memory: Ghost, vcpu: str) -> Ghost:
        return memory

    def _settled(self, memory: Ghost, vcpu: str) -> Ghost:
        return memory

    def _left(self, memory: Ghost, vcpu: str, cpu: int, look: Look) -> Ghost:
        """At a VM exit."""
        return memory

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        number = self.vcpus.index(vcpu)
        if memory.forced == SURELY:
            said = f"{vcpu} acknowledges {self.what}, which a write of GICD_ISACTIVER has made active, and nobody ended since"
            look.breach(VGIC_ACT_2, said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        if memory.routing.enabled == 0:
            look.witness(VGIC_EN_4)
        if memory.routing.target not in (CHANGING, number):
            look.witness(VGIC_RT_4)
        if self.watches():
            wrong = memory.gates[number].wrong
            if wrong:
                clause, why = self.wrong[wrong]
                said = f"{vcpu} acknowledges {self.what}, which was forwarded to it although {why}"
                look.breach(clause, said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        return memory._replace(active=NOBODY if self.intid >= LPI else number, forced="")

    def _deactivated(self, cpu: int, memory: Ghost, look: Look) -> Ghost:
        past = memory.past
        if memory.active == NOBODY:
            return memory
        if memory.routing.enabled == 0:
            past |= {ENDED_DISABLED}
        if not state_of(look, cpu, self.intid, self.source) & ACTIVE:
            past |= {ENDED_OUTSIDE}
        return memory._replace(active=NOBODY, forced="", past=past)

    # At rest

    def at_rest(self, memory: Ghost, look: Look) -> None:
        routing = memory.routing
        for clause in self.clauses:
            if EXERCISED.get(clause.id) in memory.past:
                look.witness(clause)
        if memory.forced == SURELY and self._may_be_due(memory):
            look.witness(VGIC_ACT_2)
        if CAUSED not in memory.past:
            return
        vcpu = self.vcpus[routing.target] if routing.target != CHANGING else ""
        if not vcpu or routing.enabled != 1 or routing.forwarded != 1 or memory.active != NOBODY:
            return
        where = takes(look, vcpu, self.intid)
        if not where:
            return
        due = self._due(memory)
        if look.has(SUMMARY) and self.intid < LPI:
            look.witness(VGIC_SUM_1)
            if due and not word(look.value(SUMMARY)) >> routing.target & 1:
                said = f"at rest {where}, {due}, and its bit of {SUMMARY} is 0"
                look.breach(VGIC_SUM_1, said, Subject(SUMMARY, 1 << routing.target), vcpu)
        conditions = {*self._went_through(memory), IN_GUEST if "is in its guest" in where else WAITS}
        look.witness(self.lost, where=conditions)
        if due and not self._stays_elsewhere(vcpu, look):
            said = f"at rest {where}, and {due}; {self._held(look)}"
            about = (*self.held_in(look), *self._blocking(look), *self.kept(look, vcpu), vcpu)
            look.breach(self.lost, said, *about, where=conditions)

    def _went_through(self, memory: Ghost) -> Iterable[str]:
        return memory.past

    def _due(self, memory: Ghost) -> str:
        """Why a vCPU should take it, or ""."""
        raise NotImplementedError

    def crowded(self) -> bool:
        """More interrupts than list registers."""
        registers = 1 if "one-list-register" in self.scenario.facts else 2
        return len([i for i in self.scenario.vectors if i < LPI]) > registers

    def _stays_elsewhere(self, vcpu: str, look: Look) -> bool:
        """It waits in the list register of another vCPU, whose guest does not take it yet: VGIC-RT-4."""
        others = [c for v in self.vcpus if v != vcpu and (c := look.in_guest(v)) >= 0]
        return any(state_of(look, c, self.intid, self.source) & PENDING for c in others)

    def held_in(self, look: Look) -> list[str]:
        """The list registers of running vCPUs that hold it."""
        running = [c for v in self.vcpus if (c := look.in_guest(v)) >= 0]
        return [
            f"cpu{c}.lr[{r.number}]"
            for c in running
            for r in list_registers(look, c)
            if (r.intid, r.source) == (self.intid, self.source)
        ]

    def kept(self, look: Look, vcpu: str) -> tuple[Subject, ...]:
        """What software keeps of it, and for a virtual LPI its bit in the pending table."""
        if self.intid >= LPI:
            return (Subject(f"{vcpu}.vpt", 1 << self.intid - LPI),)
        return look.kept(f"irq{self.intid}" if self.intid >= 32 else f"{vcpu}.irq{self.intid}")

    def _held(self, look: Look) -> str:
        at = self.held_in(look)
        if not at:
            return "no list register of a running vCPU holds it"
        holding = f"{' and '.join(at)} hold{'s' * (len(at) == 1)} it, and it is not taken"
        blocking = self._blocking(look)
        if blocking:
            told = ", ".join(f"{apr} = {word(look.value(apr)):#x}" for apr in blocking)
            return f"{holding}: an active priority that is as high blocks it, {told}"
        return holding

    def _blocking(self, look: Look) -> list[str]:
        """The active priorities (GICH_APR) of running vCPUs that keep it from being taken: the lowest bit is the running one."""
        running = [(c, word(look.value(f"cpu{c}.apr"))) for v in self.vcpus if (c := look.in_guest(v)) >= 0]
        return [
            f"cpu{c}.apr"
            for c, apr in running
            for r in list_registers(look, c)
            if (r.intid, r.source, r.state) == (self.intid, self.source, PENDING) and apr & (2 << r.priority) - 1
        ]


EXERCISED = {
    VGIC_EN_1.id: DISABLED,
    VGIC_EN_2.id: DISABLED,
    VGIC_EN_3.id: ENDED_DISABLED,
    VGIC_EN_5.id: OFF,
    VGIC_RT_1.id: RETARGETED,
    VGIC_OVF_3.id: ENDED_OUTSIDE,
}
"""The clauses that are put to the test by what an interrupt went through, wherever it rests."""
