"""From an interrupt's cause to the guest's acknowledgement: no edge lost, none invented, and a level only while it lasts.

One monitor an interrupt: an SPI, a vCPU's PPI, an SGI from one source, a virtual LPI. An edge is begun when the routine
that makes it is called and made when it has returned; in between it may have taken effect or not, and nothing is
asserted. Acknowledgements are what GICV_IAR answered; deactivation is the guest's write that ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding, Subject, Witness, about
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI
from conformance.roles.scenario import Scenario
from properties.arm.monitors.linux import SUMMARY
from properties.arm.monitors.registers import ACTIVE, PENDING, list_registers, state_of, takes, word
from properties.arm.monitors.routing import CHANGING, Forwarding, Routing, entered, opened, shut, writes, written

NOBODY = -1
Change: TypeAlias = Callable[[Forwarding], Forwarding]


class Ghost(NamedTuple):
    """`credit`: edges begun and not matched by an acknowledgement; `begun`: callers whose edge is begun, with no
    acknowledgement since; `made`: edges made since the last acknowledgement (2: several). For a level: `credit` counts
    writes that latch it begun since the last exit, which a list register filled before may not stand for; `line` and
    `latch` are 1, 0 or CHANGING; `raising` and `latching`: calls in progress; `lowering`: who lowers its line, or
    clears it; `doubt`: a call that raises it came across that; `unseen`: ended, with no VM exit since.

    `active`: number of the vCPU that acknowledged it and has not deactivated it. `past`: what a loss would be due to.
    """

    routing: Routing
    gates: tuple[Forwarding, ...]
    active: int = NOBODY
    credit: int = 0
    begun: tuple[str, ...] = ()
    made: int = 0
    line: int = 0
    latch: int = 0
    raising: int = 0
    latching: int = 0
    lowering: str = ""
    doubt: bool = False
    unseen: bool = False
    past: frozenset[str] = frozenset()


class Interrupt(Monitor):
    """What edges and levels have in common. `bank` is the vCPU whose private interrupt it is, "" for an SPI."""

    witnesses = ("VGIC-EN-4", "VGIC-RT-4")
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
        self.memory = Ghost(Routing(target=target), tuple(Forwarding() for _ in self.vcpus) if self.watches() else ())

    def _concerned(self) -> tuple[str, ...]:
        """The clauses that the scenario can put to the test."""
        written, gicv4 = writes(self.scenario), {"gicv4", "gicv4.1"} & {*self.scenario.facts}
        software = self.intid < LPI
        return (
            "VGIC-Q-1",
            *(["VGIC-WFI-2"] * any(("wfi",) in v.program for v in self.scenario.vcpus)),
            *(["VGIC-WFI-3"] * bool(software and gicv4)),
            *(["VGIC-SUM-1"] * software),
            *(["VGIC-EN-1", "VGIC-EN-2", "VGIC-EN-3"] * bool(software and "icenabler" in written)),
            *(["VGIC-EN-5"] * bool(software and "ctlr" in written)),
            *(["VGIC-RT-1"] * bool(self.intid >= 32 and software and "itargetsr" in written)),
            *(["VGIC-OVF-1", "VGIC-OVF-3"] * self.crowded()),
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
                return self._quieted(memory)
            case ev.Entered(vcpu=vcpu, cpu=cpu):
                memory = self._settled(memory, vcpu)
                return self._gate(memory, vcpu, lambda g: entered(g, cpu, self.intid, self.source, look))
            case ev.Exited(vcpu=vcpu, cpu=cpu):
                barred, memory = self._barred(memory, vcpu), self._left(memory)
                return self._gate(memory, vcpu, lambda g: shut(g, cpu, self.intid, self.source, barred, look))
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
        """The clause by which it must not be forwarded to a vCPU now."""
        if memory.routing.forwarded == 0:
            return "VGIC-EN-5"
        if memory.routing.enabled == 0:
            return "VGIC-EN-1"
        if memory.routing.target not in (CHANGING, self.vcpus.index(vcpu)) and memory.active == NOBODY:
            return "VGIC-RT-1"
        return ""

    def _configured(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        """A write of the distributor, and what it comes across."""
        if event.routine != "distributor":
            return memory
        if isinstance(event, ev.Called) and event.args[1:3] == ("icactiver", self.intid) and not self.bank:
            return memory._replace(active=NOBODY)
        before, now = memory.routing, written(event, self.intid, self.bank, memory.routing)
        met = (("disabled", now.enabled == 0), ("off", now.forwarded == 0), ("retargeted", now.target != before.target))
        past = {fact for fact, so in met if so} if self._may_be_due(memory) else set[str]()
        if now == before and not past - memory.past:
            return memory
        return memory._replace(routing=now, past=memory.past | past)

    def _caused(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        """A call or return of what makes the interrupt pending, or not."""
        raise NotImplementedError

    def _may_be_due(self, memory: Ghost) -> bool:
        raise NotImplementedError

    def _quieted(self, memory: Ghost) -> Ghost:
        return memory

    def _settled(self, memory: Ghost, vcpu: str) -> Ghost:
        return memory

    def _left(self, memory: Ghost) -> Ghost:
        return memory

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        number = self.vcpus.index(vcpu)
        if memory.routing.enabled == 0:
            look.witness("VGIC-EN-4")
        if memory.routing.target not in (CHANGING, number):
            look.witness("VGIC-RT-4")
        if self.watches():
            wrong = memory.gates[number].wrong
            if wrong:
                said = f"{vcpu} acknowledges {self.what}, which was forwarded to it although {WRONG[wrong]}"
                look.breach(wrong, said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        return memory._replace(active=NOBODY if self.intid >= LPI else number)

    def _deactivated(self, cpu: int, memory: Ghost, look: Look) -> Ghost:
        past = memory.past
        if memory.active == NOBODY:
            return memory
        if memory.routing.enabled == 0:
            past |= {"ended disabled"}
        if not state_of(look, cpu, self.intid, self.source) & ACTIVE:
            past |= {"ended outside"}
        return memory._replace(active=NOBODY, past=past)

    # At rest

    def at_rest(self, memory: Ghost, look: Look) -> Iterable[Finding]:
        routing = memory.routing
        for fact, clauses in EXERCISED.items():
            if fact in memory.past:
                yield from map(Witness, clauses)
        if "caused" not in memory.past:
            return
        vcpu = self.vcpus[routing.target] if routing.target != CHANGING else ""
        if not vcpu or routing.enabled != 1 or routing.forwarded != 1 or memory.active != NOBODY:
            return
        where = takes(look, vcpu, self.intid)
        if not where:
            return
        also = ["VGIC-Q-1"] if "is in its guest" in where else ["VGIC-WFI-2", "VGIC-WFI-3"]
        also += [c for fact, clauses in EXERCISED.items() if fact in memory.past for c in clauses]
        own = [*self.own_clauses(memory), *(c for c in [*also, "VGIC-OVF-1"] if c in self.clauses)]
        due = self._due(memory)
        if look.has(SUMMARY) and self.intid < LPI:
            yield Witness("VGIC-SUM-1")
            if due and not word(look.value(SUMMARY)) >> routing.target & 1:
                said = f"at rest {where}, {due}, and its bit of {SUMMARY} is 0"
                yield Breach("VGIC-SUM-1", said, about(Subject(SUMMARY, 1 << routing.target), vcpu))
        yield from map(Witness, (*own, *self.seen_clauses(memory)))
        if due and not self._stays_elsewhere(vcpu, look):
            said = f"at rest {where}, and {due}; {self._held(look)}"
            subjects = about(*self.held_in(look), *self.kept(look, vcpu), vcpu)
            yield from (Breach(clause, said, subjects) for clause in dict.fromkeys(own))

    def own_clauses(self, memory: Ghost) -> list[str]:
        raise NotImplementedError

    def seen_clauses(self, memory: Ghost) -> list[str]:
        """Clauses that are put to the test elsewhere."""
        return []

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
        return (
            f"{' and '.join(at)} holds it, and it is not taken" if at else "no list register of a running vCPU holds it"
        )


WRONG = {
    "VGIC-EN-1": "it was disabled before that vCPU's last exit",
    "VGIC-EN-5": "the distributor was off before that vCPU's last exit",
    "VGIC-RT-1": "it was retargeted before that vCPU's last exit",
    "VGIC-LVL-3": "its line was low, and nothing was latched, since before that vCPU's last exit",
    "VGIC-LVL-6": "its line was low since before that vCPU's last exit, and what was latched had been acknowledged",
}
EXERCISED = {
    "disabled": ("VGIC-EN-1", "VGIC-EN-2"),
    "off": ("VGIC-EN-5",),
    "retargeted": ("VGIC-RT-1",),
    "ended disabled": ("VGIC-EN-3",),
    "ended outside": ("VGIC-OVF-3",),
}
"""What an interrupt went through, and the clauses that this puts to the test."""
