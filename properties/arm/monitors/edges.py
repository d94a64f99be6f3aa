"""Edge-triggered interrupts: SPIs, SGIs (one for each source) and virtual LPIs.

One edge after the last acknowledgement is enough for one acknowledgement more; several may be one.
"""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import LPI
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import (
    ARM_LIST,
    IHI_0048,
    IHI_0069,
    INTACK,
    LEVELS_AND_EDGES,
    LINUX,
    REGISTERS,
    SGIS,
    VGIC_PATCHES,
)
from properties.arm.monitors.interrupts import NOBODY, SURELY, Ghost, Interrupt
from properties.arm.monitors.lost import (
    ACTIVE_THEN,
    CAUSED,
    DISABLED,
    GICV4_DB_4,
    LOWERED,
    OFF,
    OTHERS_CLEARED,
    SET_BY_REGISTER,
    VGIC_EDGE_1,
    VGIC_SGI_1,
)
from properties.arm.monitors.registers import PENDING, state_of
from properties.arm.monitors.routing import Forwarding, writes

VGIC_EDGE_2 = LEVELS_AND_EDGES.may(
    "VGIC-EDGE-2",
    "Several edges before an acknowledgement are one.",
    IHI_0048("4.3", "one pending bit"),
    authority="architecture",
    observe="An acknowledgement after which nothing is due, of two edges.",
)

VGIC_EDGE_3 = LEVELS_AND_EDGES.must(
    "VGIC-EDGE-3",
    "An edge made while the interrupt is active is delivered after it is ended: neither lost nor acknowledged before.",
    ARM_LIST(VGIC_PATCHES, "piggyback"),
    LINUX("vgic/vgic-v2.c vgic_v2_fold_lr()"),
    premise="an edge is made while the interrupt is active",
    observe=(
        "As VGIC-EDGE-1 and VGIC-SGI-1, of an edge made, or an SGI sent again by its source, while active; and no acknowledgement "
        "of what is active."
    ),
    of=(VGIC_EDGE_1, VGIC_SGI_1),
    where=(ACTIVE_THEN,),
)

VGIC_EDGE_5 = LEVELS_AND_EDGES.must_not(
    "VGIC-EDGE-5",
    "An edge-triggered interrupt is acknowledged more often than it was made pending.",
    INTACK("from VGIC-EDGE-2", "one to n acknowledgements for n edges"),
    observe="Acknowledgements against calls begun.",
)

VGIC_EDGE_4 = LEVELS_AND_EDGES.must(
    "VGIC-EDGE-4",
    "Only the rising edge counts: lowering the line of an edge-triggered interrupt makes nothing pending and "
    "takes nothing back.",
    LINUX("vgic/vgic.c vgic_validate_injection()"),
    premise="an edge-triggered line falls",
    observe="Acknowledgements of an interrupt whose line rises and falls.",
    of=(VGIC_EDGE_1, VGIC_EDGE_5),
    where=(LOWERED,),
)

VGIC_EDGE_6 = LEVELS_AND_EDGES.must_not(
    "VGIC-EDGE-6",
    "An edge that a write of GICD_ICPENDR has cleared is forwarded to a guest, and acknowledged, although no list register "
    "held it and no edge was made since.",
    REGISTERS("GICD_ICPENDR<n>"),
    LINUX("vgic/vgic-mmio.c vgic_mmio_write_cpending()"),
    role="distributor",
    authority="architecture",
    premise="an edge that may be pending is cleared",
    observe=(
        "At each acknowledgement: the list register held it pending at the entry and not at the exit before, and the write was "
        "over before that exit, or was that vCPU's own. Not judged where interrupts are retargeted."
    ),
)

VGIC_SGI_2 = SGIS.may(
    "VGIC-SGI-2",
    "The same SGI sent again by the same source before it is acknowledged is one.",
    IHI_0048("3.2"),
    authority="architecture",
    observe="An acknowledgement of two sends.",
)

VGIC_SGI_4 = SGIS.must_not(
    "VGIC-SGI-4",
    "An SGI is acknowledged from a source that did not send it, or more often than it was sent.",
    ARM_LIST("W. Deacon, on the KVM VGIC patches of 2012", '"An SGI without a source sounds pretty weird"'),
    LINUX("vgic/vgic-v2.c vgic_v2_populate_lr()", "WARN_RATELIMIT"),
    observe="Acknowledgements against writes of GICD_SGIR.",
)

VGIC_SGI_6 = SGIS.may(
    "VGIC-SGI-6",
    "A guest of GICv3 has SGIs without sources, which may be collapsed.",
    IHI_0069("SGIs"),
    authority="architecture",
    unchecked="guests of GICv3 are not modelled: SGIs are GICv2's, with a source each",
)


VGIC_SGI_7 = SGIS.must(
    "VGIC-SGI-7",
    "A write of GICD_SPENDSGIR makes the SGI pending at the vCPU that wrote, from each source that it names, as if that one had "
    "sent it.",
    IHI_0048("4.3, GICD_SPENDSGIRn"),
    REGISTERS("GICD_SPENDSGIR<n>", read=False),
    LINUX("vgic/vgic-mmio-v2.c vgic_mmio_write_sgipends()"),
    role="distributor",
    authority="architecture",
    premise="a guest writes GICD_SPENDSGIR",
    observe="As VGIC-SGI-1, of a source that was named.",
    of=(VGIC_SGI_1,),
    where=(SET_BY_REGISTER,),
)

VGIC_SGI_8 = SGIS.must(
    "VGIC-SGI-8",
    "A write of GICD_CPENDSGIR takes back what is pending at the vCPU that wrote from the sources that it names, and not what is "
    "pending from others.",
    IHI_0048("4.3, GICD_CPENDSGIRn"),
    REGISTERS("GICD_CPENDSGIR<n>", read=False),
    LINUX("vgic/vgic-mmio-v2.c vgic_mmio_write_sgipendc()"),
    role="distributor",
    authority="architecture",
    premise="a guest writes GICD_CPENDSGIR",
    observe=(
        "No acknowledgement from a source that was cleared, and not sent since, in a list register that was filled after the "
        "write; and as VGIC-SGI-1, of a source that was not named."
    ),
    of=(VGIC_SGI_1,),
    where=(OTHERS_CLEARED,),
)


class EdgeTriggered(Interrupt):
    def __init__(self, scenario: Scenario, intid: int, bank: str = "", source: int = 0) -> None:
        self.given = (scenario, intid, bank, source)
        spi = 32 <= intid < LPI
        written = writes(scenario)
        self.clears = (
            "cpendsgir" in written if intid < 16 else spi and "icpendr" in written and "itargetsr" not in written
        )
        self.taken_back = VGIC_SGI_8 if intid < 16 else VGIC_EDGE_6
        super().__init__(scenario, intid, bank, source)
        self.sgi, self.lpi = intid < 16, intid >= LPI
        self.lost = VGIC_SGI_1 if self.sgi else GICV4_DB_4 if self.lpi else VGIC_EDGE_1
        self.invented = VGIC_SGI_4 if self.sgi else VGIC_EDGE_5
        self.merged = VGIC_SGI_2 if self.sgi else VGIC_EDGE_2
        sent = (VGIC_EDGE_3, *((VGIC_SGI_7,) if "spendsgir" in written else ())) if self.sgi else ()
        also = (VGIC_EDGE_3, VGIC_EDGE_4) if spi else sent
        self.clauses = (*self.clauses, self.lost, self.invented, *also, *([self.taken_back] * self.clears))
        clearing = (
            "GICD_CPENDSGIR had cleared it, and it was not sent"
            if self.sgi
            else "GICD_ICPENDR had cleared it, and no edge was made"
        )
        self.wrong = {**Interrupt.wrong, self.taken_back.id: (self.taken_back, f"{clearing} since")}
        self.witnesses = (*Interrupt.witnesses, self.merged)

    def for_any_number(self) -> Monitor:
        return InTable(self.scenario, self.intid, self.bank) if self.lpi else SinceAcknowledged(*self.given)

    def _caused(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        caller = self._makes(event)
        if caller:
            if event.args[1] == "spendsgir":
                memory = memory._replace(past=memory.past | {SET_BY_REGISTER})
            return self._begun(memory, caller) if isinstance(event, ev.Called) else self._made(memory, caller)
        match event:
            case ev.Called(routine="inject", args=(_, self.intid, 0)):
                return memory._replace(past=memory.past | {LOWERED})
            case ev.Called(routine="distributor", args=(self.bank, "cpendsgir", self.intid, int(sources))):
                if not sources >> self.source & 1:
                    return memory._replace(past=memory.past | {OTHERS_CLEARED})
                return self._clearing(memory, self.bank)
            case ev.Called(routine="distributor", args=(str(writer), "icpendr", self.intid, _)) if not self.bank:
                return self._clearing(memory, writer)
            case ev.Returned(routine="distributor", args=(str(writer), "icpendr" | "cpendsgir", self.intid, _)):
                if memory.lowering != writer:
                    return memory
                memory = memory._replace(lowering="")
                return self._cleared(memory, writer) if memory.cleared == writer else memory
            case _:
                return memory

    def _makes(self, event: ev.Called | ev.Returned) -> str:
        """Who makes an edge by this call, or ""."""
        match event.routine, event.args:
            case "inject", (str(vcpu), self.intid, 1) if self.bank in ("", vcpu):
                return f"cpu{event.cpu}"
            case "vlpi", (self.bank, self.intid):
                return "its"
            case "distributor", (str(writer), "sgir", self.intid, int(targets)) if writer == f"vcpu{self.source}":
                return writer if targets >> int(self.bank.removeprefix("vcpu")) & 1 else ""
            case "distributor", (self.bank, "spendsgir", self.intid, int(sources)):
                return self.bank if sources >> self.source & 1 else ""
            case "distributor", (str(writer), "ispendr", self.intid, _) if not self.bank:
                return writer
            case _:
                return ""

    def _begun(self, memory: Ghost, caller: str) -> Ghost:
        past = memory.past | {CAUSED} | ({ACTIVE_THEN} if memory.active != NOBODY else set[str]())
        begun = memory.begun if memory.lowering else (*memory.begun, caller)
        making = memory.raising + self.clears
        return memory._replace(credit=memory.credit + 1, begun=begun, raising=making, cleared="", past=past)

    def _made(self, memory: Ghost, caller: str) -> Ghost:
        memory = memory._replace(raising=memory.raising - self.clears)
        if caller not in memory.begun:
            return memory
        at = memory.begun.index(caller)
        begun = (*memory.begun[:at], *memory.begun[at + 1 :])
        past = memory.past
        if memory.routing.enabled == 0:
            past |= {DISABLED}
        if memory.routing.forwarded == 0:
            past |= {OFF}
        return memory._replace(begun=begun, made=min(memory.made + 1, 2), past=past)

    def _clearing(self, memory: Ghost, writer: str) -> Ghost:
        cleared = writer if self.clears and not memory.raising else ""
        return memory._replace(begun=(), made=0, lowering=writer, cleared=cleared)

    def _cleared(self, memory: Ghost, writer: str) -> Ghost:
        """The writer is out of its guest, and looks at what is pending before it goes on."""
        memory = memory._replace(cleared=SURELY)
        return self._gate(memory, writer, lambda _: Forwarding(barred=self._barred(memory, writer)))

    def _left(self, memory: Ghost, vcpu: str, cpu: int, look: Look) -> Ghost:
        """What a list register held when it was cleared comes back, if it was not wrong there."""
        held = memory.cleared and self.bank in ("", vcpu) and state_of(look, cpu, self.intid, self.source) & PENDING
        wrong = held and memory.gates[self.vcpus.index(vcpu)].wrong
        return memory._replace(cleared="") if held and not wrong else memory

    def watches(self) -> bool:
        return super().watches() or self.clears

    def _barred(self, memory: Ghost, vcpu: str) -> str:
        return super()._barred(memory, vcpu) or (self.taken_back.id if memory.cleared == SURELY else "")

    def at_rest(self, memory: Ghost, look: Look) -> None:
        if memory.cleared == SURELY and CAUSED in memory.past:
            look.witness(self.taken_back)
        super().at_rest(memory, look)

    def _may_be_due(self, memory: Ghost) -> bool:
        return bool(memory.made or memory.begun)

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        look.witness(self.invented, where=memory.past)
        if not memory.credit:
            said = "nobody made it pending" if CAUSED not in memory.past else "more often than it was made pending"
            about = (*self.held_in(look), *self.kept(look, vcpu), vcpu)
            look.breach(self.invented, f"{vcpu} acknowledges {self.what}, {said}", *about, where=memory.past)
        if memory.active >= 0:
            said = f"{vcpu} acknowledges {self.what}, which vcpu{memory.active} acknowledged and did not deactivate"
            look.breach(VGIC_EDGE_3, said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        if memory.made > 1:
            look.witness(self.merged, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        after = super()._acknowledged(vcpu, memory, look)
        return after._replace(credit=max(memory.credit - 1, 0), begun=(), made=0)

    def _due(self, memory: Ghost) -> str:
        where = f" in {self.bank}.vpt" if self.lpi else ""
        return f"{self.what} was made pending{where} and not acknowledged since" if memory.made else ""


class SinceAcknowledged(EdgeTriggered):
    """For any number of callers: at rest every call has returned, so an edge is due if and only if a call has begun since the
    last acknowledgement. Finite; that no more is acknowledged than was made is not judged (VGIC-EDGE-5).
    """

    def __init__(self, scenario: Scenario, intid: int, bank: str = "", source: int = 0) -> None:
        super().__init__(scenario, intid, bank, source)
        self.clauses = tuple(clause for clause in self.clauses if clause is not self.invented)
        self.memory = self.memory._replace(credit=1)

    def _begun(self, memory: Ghost, caller: str) -> Ghost:
        begun = super()._begun(memory._replace(credit=0, begun=(), raising=0), "")
        return begun._replace(begun=(), made=0 if memory.lowering else 1, raising=memory.raising)

    def _made(self, memory: Ghost, caller: str) -> Ghost:
        return memory

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        return super()._acknowledged(vcpu, memory, look)._replace(credit=1)


class InTable(SinceAcknowledged):
    """A virtual LPI, which is made where its bit in the virtual pending table is set, whoever does it."""

    events = (*EdgeTriggered.events, ev.Changed)

    def __init__(self, scenario: Scenario, intid: int, bank: str) -> None:
        super().__init__(scenario, intid, bank)
        self.table, self.bit = f"{bank}.vpt", 1 << intid - LPI

    def on(self, event: ev.Event, memory: Ghost, look: Look) -> Ghost:
        match event:
            case ev.Changed(at=self.table, set_bits=bits):
                return memory._replace(made=1, past=memory.past | {CAUSED}) if bits & self.bit else memory
            case _:
                return super().on(event, memory, look)

    def _makes(self, event: ev.Called | ev.Returned) -> str:
        return ""
