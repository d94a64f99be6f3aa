"""Level-sensitive interrupts: pending while the line is high or a write of GICD_ISPENDR is latched (IHI 0048B, 4.3).

A line is surely high once the call that raises it has returned, surely low once what lowers it is over; in between,
nobody can say. What was latched is used up by one acknowledgement and deactivation, unless it was latched after the list
register had been filled: then nobody can tell which came first, and it may be acknowledged once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from conformance.machine import events as ev
from conformance.machine.finding import Finding
from conformance.machine.monitor import Look
from conformance.roles.scenario import Scenario
from properties.arm.monitors.interrupts import NOBODY, Ghost, Interrupt
from properties.arm.monitors.registers import word
from properties.arm.monitors.routing import CHANGING


class Level(Interrupt):
    """VGIC-LVL-1 to 6."""

    def __init__(self, scenario: Scenario, intid: int, bank: str = "") -> None:
        super().__init__(scenario, intid, bank)
        levels = ("VGIC-LVL-1", "VGIC-LVL-2", "VGIC-LVL-3", "VGIC-LVL-5", "VGIC-LVL-6")
        self.clauses = (*self.clauses, *levels)
        self.witnesses = (*Interrupt.witnesses, "VGIC-LVL-4")
        self.resampled = f"irq{intid}.line" if "irqfd-resample" in scenario.facts else ""

    def watches(self) -> bool:
        return True

    def _caused(self, event: ev.Called | ev.Returned, memory: Ghost) -> Ghost:
        called = isinstance(event, ev.Called)
        match event.routine, event.args:
            case "inject", (str(vcpu), self.intid, 1) if self.bank in ("", vcpu):
                return self._raising(memory, f"cpu{event.cpu}") if called else self._raised(memory, f"cpu{event.cpu}")
            case "inject", (str(vcpu), self.intid, 0) if self.bank in ("", vcpu):
                caller = f"cpu{event.cpu}"
                return self._lowering(memory, caller) if called else self._lowered(memory, caller)
            case "distributor", (str(writer), "ispendr", self.intid, _) if self.bank in ("", writer):
                return self._latching(memory, writer) if called else self._latched(memory, writer)
            case "distributor", (str(writer), "icpendr", self.intid, _) if self.bank in ("", writer):
                return self._clearing(memory) if called else self._cleared(memory)
            case _:
                return memory

    # The line

    def _raising(self, memory: Ghost, caller: str) -> Ghost:
        return memory._replace(
            line=memory.line or CHANGING,
            raising=memory.raising + 1,
            begun=memory.begun if memory.lowering else (*memory.begun, caller),
            doubt=memory.doubt or bool(memory.lowering),
            past=memory.past | {"caused"},
        )

    def _raised(self, memory: Ghost, caller: str) -> Ghost:
        line = 1 if caller in memory.begun and not memory.doubt else memory.line
        begun = tuple(c for c in memory.begun if c != caller)
        past = memory.past | self._shut(memory)
        return memory._replace(line=line, raising=memory.raising - 1, begun=begun, past=past)

    def _lowering(self, memory: Ghost, who: str) -> Ghost:
        """Calls that raise it and are in progress may take effect before or after."""
        return memory._replace(
            line=CHANGING if memory.line else 0,
            begun=tuple(c for c in memory.begun if c.startswith("latch")),
            doubt=memory.raising > 0,
            lowering=who,
        )

    def _lowered(self, memory: Ghost, who: str) -> Ghost:
        if memory.lowering != who:
            return memory
        past = memory.past | ({"fell"} if memory.latch == 1 else set[str]())
        return memory._replace(line=CHANGING if memory.doubt else 0, doubt=False, lowering="", past=past)

    def _quieted(self, memory: Ghost) -> Ghost:
        if memory.active == NOBODY:
            return memory
        return self._lowering(memory, f"vcpu{memory.active}")

    def _settled(self, memory: Ghost, vcpu: str) -> Ghost:
        return self._lowered(memory, vcpu)

    # The latch

    def _latching(self, memory: Ghost, writer: str) -> Ghost:
        begun = memory.begun if memory.active != NOBODY else (*memory.begun, f"latch {writer}")
        latch = 1 if memory.latch == 1 and memory.active == NOBODY else CHANGING
        past = memory.past | {"caused"}
        return memory._replace(
            latch=latch, credit=memory.credit + 1, latching=memory.latching + 1, begun=begun, past=past
        )

    def _latched(self, memory: Ghost, writer: str) -> Ghost:
        sure = f"latch {writer}" in memory.begun
        begun = tuple(c for c in memory.begun if c != f"latch {writer}")
        latch = 1 if sure else memory.latch
        past = memory.past | self._shut(memory)
        return memory._replace(latch=latch, latching=memory.latching - 1, begun=begun, past=past)

    def _clearing(self, memory: Ghost) -> Ghost:
        past = memory.past | ({"cleared"} if memory.line == 1 else set[str]())
        begun = tuple(c for c in memory.begun if not c.startswith("latch"))
        return memory._replace(latch=CHANGING if memory.latch else 0, begun=begun, past=past)

    def _cleared(self, memory: Ghost) -> Ghost:
        return memory._replace(latch=0)

    def _left(self, memory: Ghost) -> Ghost:
        """At a VM exit. What fills list registers from now on knows of all that was latched before."""
        memory = memory._replace(unseen=False) if self.resampled else memory
        return memory._replace(credit=memory.latching) if memory.active == NOBODY else memory

    # What is common

    def _shut(self, memory: Ghost) -> set[str]:
        return {f for f, on in (("disabled", memory.routing.enabled), ("off", memory.routing.forwarded)) if on == 0}

    def _may_be_due(self, memory: Ghost) -> bool:
        return bool(memory.line or memory.latch)

    def _barred(self, memory: Ghost, vcpu: str) -> str:
        if closed := super()._barred(memory, vcpu):
            return closed
        if memory.line or memory.latch:
            return ""
        return "VGIC-LVL-6" if "latch used up" in memory.past else "VGIC-LVL-3"

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        look.witness("VGIC-LVL-3")
        if self.resampled and memory.unseen:
            said = (
                f"{vcpu} acknowledges {self.what} again, which it ended, and has not left its guest since: the device that "
                "waits to be told so was not"
            )
            look.breach("VGIC-LVL-2", said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        after = super()._acknowledged(vcpu, memory, look)
        if not memory.line and not memory.latch and not memory.gates[self.vcpus.index(vcpu)].wrong:
            look.witness("VGIC-LVL-4")
        return after._replace(begun=tuple(c for c in after.begun if not c.startswith("latch")))

    def _deactivated(self, cpu: int, memory: Ghost, look: Look) -> Ghost:
        after = super()._deactivated(cpu, memory, look)
        past = after.past
        if memory.latch and memory.active != NOBODY:
            past |= {"latch used up"}
            after = after._replace(latch=CHANGING if memory.latching or memory.credit else 0, credit=memory.latching)
        if memory.line == 1:
            past |= {"high at its end"}
        if self.resampled:
            after = after._replace(line=CHANGING, unseen=True)
        return after._replace(past=past)

    def at_rest(self, memory: Ghost, look: Look) -> Iterable[Finding]:
        """A device that waits to be told of the end (irqfd's resampler) lowers its line then: where it is is software's."""
        if self.resampled and look.has(self.resampled) and "caused" in memory.past:
            memory = memory._replace(line=word(look.value(self.resampled)))
        yield from super().at_rest(memory, look)

    def own_clauses(self, memory: Ghost) -> list[str]:
        own = ["VGIC-LVL-1"]
        own += ["VGIC-LVL-2"] * ("high at its end" in memory.past)
        return own + ["VGIC-LVL-5"] * ("cleared" in memory.past or "fell" in memory.past)

    def seen_clauses(self, memory: Ghost) -> list[str]:
        return ["VGIC-LVL-6"] * ("latch used up" in memory.past)

    def _due(self, memory: Ghost) -> str:
        if memory.line == 1:
            return f"the line of {self.what} is high"
        return f"{self.what} was latched pending and not acknowledged since" if memory.latch == 1 else ""
