"""Edge-triggered interrupts: SPIs, SGIs (one for each source) and virtual LPIs.

One edge after the last acknowledgement is enough for one acknowledgement more; several may be one.
"""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look
from conformance.roles.arm import LPI
from conformance.roles.scenario import Scenario
from properties.arm.monitors.interrupts import NOBODY, Ghost, Interrupt


class EdgeTriggered(Interrupt):
    """VGIC-EDGE-1 to 5; of an SGI VGIC-SGI-1, 2 and 4; of a virtual LPI GICV4-DB-4."""

    def __init__(self, scenario: Scenario, intid: int, bank: str = "", source: int = 0) -> None:
        super().__init__(scenario, intid, bank, source)
        self.sgi, self.lpi = intid < 16, intid >= LPI
        self.lost = "VGIC-SGI-1" if self.sgi else "GICV4-DB-4" if self.lpi else "VGIC-EDGE-1"
        self.invented = "VGIC-SGI-4" if self.sgi else "VGIC-EDGE-5"
        self.merged = "VGIC-SGI-2" if self.sgi else "VGIC-EDGE-2"
        also = () if self.sgi or self.lpi else ("VGIC-EDGE-3", "VGIC-EDGE-4")
        self.clauses = (*self.clauses, self.lost, self.invented, *also)
        self.witnesses = (*Interrupt.witnesses, self.merged)

    def _caused(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        caller = self._makes(event)
        if caller:
            return self._begun(memory, caller) if isinstance(event, ev.Called) else self._made(memory, caller)
        match event:
            case ev.Called(routine="inject", args=(_, self.intid, 0)):
                return memory._replace(past=memory.past | {"lowered"})
            case ev.Called(routine="distributor", args=(str(writer), "icpendr", self.intid, _)) if not self.bank:
                return memory._replace(begun=(), made=0, lowering=writer)
            case ev.Returned(routine="distributor", args=(_, "icpendr", self.intid, _)) if not self.bank:
                return memory._replace(lowering="")
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
            case "distributor", (str(writer), "ispendr", self.intid, _) if not self.bank:
                return writer
            case _:
                return ""

    def _begun(self, memory: Ghost, caller: str) -> Ghost:
        past = memory.past | {"caused"} | ({"while active"} if memory.active != NOBODY else set[str]())
        begun = memory.begun if memory.lowering else (*memory.begun, caller)
        return memory._replace(credit=memory.credit + 1, begun=begun, past=past)

    def _made(self, memory: Ghost, caller: str) -> Ghost:
        if caller not in memory.begun:
            return memory
        at = memory.begun.index(caller)
        begun = (*memory.begun[:at], *memory.begun[at + 1 :])
        past = memory.past
        if memory.routing.enabled == 0:
            past |= {"disabled"}
        if memory.routing.forwarded == 0:
            past |= {"off"}
        return memory._replace(begun=begun, made=min(memory.made + 1, 2), past=past)

    def _may_be_due(self, memory: Ghost) -> bool:
        return bool(memory.made or memory.begun)

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        look.witness(self.invented)
        if not memory.credit:
            said = "nobody made it pending" if "caused" not in memory.past else "more often than it was made pending"
            about = (*self.held_in(look), *self.kept(look, vcpu), vcpu)
            look.breach(self.invented, f"{vcpu} acknowledges {self.what}, {said}", *about)
            if "lowered" in memory.past:
                look.breach("VGIC-EDGE-4", f"{vcpu} acknowledges {self.what}, {said}: its line only fell", *about)
        if "lowered" in memory.past:
            look.witness("VGIC-EDGE-4")
        if memory.active != NOBODY and not self.sgi:
            said = f"{vcpu} acknowledges {self.what}, which vcpu{memory.active} acknowledged and did not deactivate"
            look.breach("VGIC-EDGE-3", said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        if memory.made > 1:
            look.witness(self.merged, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        after = super()._acknowledged(vcpu, memory, look)
        return after._replace(credit=max(memory.credit - 1, 0), begun=(), made=0)

    def own_clauses(self, memory: Ghost) -> list[str]:
        own = [self.lost]
        if not self.sgi and not self.lpi:
            own += ["VGIC-EDGE-3"] * ("while active" in memory.past) + ["VGIC-EDGE-4"] * ("lowered" in memory.past)
        return own

    def _due(self, memory: Ghost) -> str:
        where = f" in {self.bank}.vpt" if self.lpi else ""
        return f"{self.what} was made pending{where} and not acknowledged since" if memory.made else ""
