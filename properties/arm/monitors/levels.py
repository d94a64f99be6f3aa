"""Level-sensitive interrupts: pending while the line is high or a write of GICD_ISPENDR is latched (IHI 0048B, 4.3).

A line is surely high once the call that raises it has returned, surely low once what lowers it is over; in between,
nobody can say. What was latched is used up by one acknowledgement and deactivation, unless it was latched after the list
register had been filled: then nobody can tell which came first, and it may be acknowledged once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from conformance.machine import events as ev
from conformance.machine.monitor import Look
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import FREEBSD, IHI_0048, KERNEL, LEVELS_AND_EDGES, LINUX, LINUX_2015, REGISTERS
from properties.arm.monitors.interrupts import NOBODY, Ghost, Interrupt
from properties.arm.monitors.lost import CAUSED, CLEARED, DISABLED, FELL, HIGH_AT_END, LATCH_USED_UP, OFF, VGIC_LVL_1
from properties.arm.monitors.routing import CHANGING

CROSSED = "a write that latches it came across one that clears it"
BY_REGISTER = "GICD_ICPENDR left it pending, or a latch did when the line fell"

VGIC_LVL_2 = LEVELS_AND_EDGES.must(
    "VGIC-LVL-2",
    "After the guest has ended a level-sensitive interrupt its line is looked at again, and a device that waits "
    "to be told is told: if the line is still high, the interrupt is delivered again.",
    LINUX("vgic/vgic-v2.c vgic_v2_fold_lr()"),
    FREEBSD("PR 2437", "the end of a level interrupt was not seen"),
    premise="the line is high at the end of the interrupt",
    observe=(
        "As VGIC-LVL-1, of an interrupt that was ended with its line high. Where a device waits to be told (irqfd's "
        "resampler) its line is high until that vCPU exits, and no acknowledgement follows the end before the line was raised "
        "again."
    ),
    of=(VGIC_LVL_1,),
    where=(HIGH_AT_END,),
)

VGIC_LVL_3 = LEVELS_AND_EDGES.must_not(
    "VGIC-LVL-3",
    "A level-sensitive interrupt is forwarded to a guest, and acknowledged there, although its line was low and "
    "nothing was latched at every moment since that vCPU last left its guest.",
    LINUX("vgic/vgic-v2.c vgic_v2_fold_lr()", '"Edge is the only case where we preserve the pending bit"'),
    observe=(
        "At each acknowledgement: the list register held it pending at the entry, whatever it held at the exit before, and from "
        "that exit to the entry the line was low and nothing was latched."
    ),
)

VGIC_LVL_4 = LEVELS_AND_EDGES.may(
    "VGIC-LVL-4",
    "A level whose line fell after a list register was filled is acknowledged once more.",
    LINUX("vgic/vgic-v2.c vgic_v2_populate_lr()", "the line is looked at no more"),
    KERNEL("16e604a437c8", "discussion"),
    authority="linux",
    observe="An acknowledgement with the line low and nothing latched, from a list register that was filled before.",
)

VGIC_LVL_5 = LEVELS_AND_EDGES.must(
    "VGIC-LVL-5",
    "A write of GICD_ICPENDR does not clear a level-sensitive interrupt whose line is high; what a write of "
    "GICD_ISPENDR latched survives the fall of the line.",
    REGISTERS("GICD_ICPENDR<n>"),
    IHI_0048("4.3.7", "that the latch survives"),
    LINUX_2015("virt/kvm/arm/vgic.c", "header comment"),
    authority="architecture",
    premise="a write of ICPENDR with the line high, or a latch that the line's fall leaves",
    observe="At rest after such a write the interrupt was delivered.",
    of=(VGIC_LVL_1,),
    where=(BY_REGISTER,),
)

VGIC_LVL_6 = LEVELS_AND_EDGES.must(
    "VGIC-LVL-6",
    "What was latched of a level-sensitive interrupt is used up by its acknowledgement and end: it is not "
    "delivered for it again.",
    LINUX("vgic/vgic-v2.c vgic_v2_fold_lr()", "the latch is cleared when the list register is invalid"),
    premise="an interrupt latched by GICD_ISPENDR is ended",
    observe=(
        "As VGIC-LVL-3, of an interrupt whose latch was used up. A write that comes after the list register was "
        "filled may count once more: nobody can tell which came first."
    ),
)


class Level(Interrupt):
    def __init__(self, scenario: Scenario, intid: int, bank: str = "") -> None:
        super().__init__(scenario, intid, bank)
        levels = (VGIC_LVL_1, VGIC_LVL_2, VGIC_LVL_3, VGIC_LVL_5, VGIC_LVL_6)
        self.clauses, self.lost = (*self.clauses, *levels), VGIC_LVL_1
        self.wrong = {
            **Interrupt.wrong,
            VGIC_LVL_3.id: (
                VGIC_LVL_3,
                "its line was low, and nothing was latched, since before that vCPU's last exit",
            ),
            VGIC_LVL_6.id: (
                VGIC_LVL_6,
                "its line was low since before that vCPU's last exit, and what was latched had been acknowledged",
            ),
        }
        self.witnesses = (*Interrupt.witnesses, VGIC_LVL_4)
        self.resampled = "irqfd-resample" in scenario.facts

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
                return self._clearing(memory, writer) if called else self._cleared(memory, writer)
            case _:
                return memory

    # The line

    def _raising(self, memory: Ghost, caller: str) -> Ghost:
        return memory._replace(
            line=memory.line or CHANGING,
            raising=memory.raising + 1,
            begun=memory.begun if memory.lowering else (*memory.begun, caller),
            doubt=memory.doubt or bool(memory.lowering),
            unseen=False,
            untold="",
            past=memory.past | {CAUSED},
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
            begun=tuple(c for c in memory.begun if not c.startswith("cpu")),
            doubt=memory.raising > 0,
            lowering=who,
        )

    def _lowered(self, memory: Ghost, who: str) -> Ghost:
        if memory.lowering != who:
            return memory
        past = memory.past | ({FELL} if memory.latch == 1 else set[str]())
        return memory._replace(line=CHANGING if memory.doubt else 0, doubt=False, lowering="", past=past)

    def _quieted(self, memory: Ghost, vcpu: str) -> Ghost:
        return self._lowering(memory, vcpu)

    def _settled(self, memory: Ghost, vcpu: str) -> Ghost:
        return self._lowered(memory, vcpu)

    # The latch

    def _latching(self, memory: Ghost, writer: str) -> Ghost:
        """One that comes across the handling of the interrupt, or a write that clears it, may be used up by that."""
        clearing = any(c.startswith("clear") for c in memory.begun)
        sure = memory.active == NOBODY and not clearing
        begun = (*memory.begun, *([f"latch {writer}"] * sure), *([CROSSED] * clearing))
        latch = 1 if memory.latch == 1 and memory.active == NOBODY else CHANGING
        past = memory.past | {CAUSED}
        return memory._replace(
            latch=latch, credit=memory.credit + 1, latching=memory.latching + 1, begun=begun, past=past
        )

    def _latched(self, memory: Ghost, writer: str) -> Ghost:
        sure = f"latch {writer}" in memory.begun
        begun = tuple(c for c in memory.begun if c != f"latch {writer}")
        latch = 1 if sure else memory.latch
        past = memory.past | self._shut(memory)
        return memory._replace(latch=latch, latching=memory.latching - 1, begun=begun, past=past)

    def _clearing(self, memory: Ghost, writer: str) -> Ghost:
        past = memory.past | ({CLEARED} if memory.line == 1 else set[str]())
        begun = tuple(c for c in memory.begun if not c.startswith("latch"))
        begun = (*begun, f"clear {writer}", *([CROSSED] * (memory.latching > 0)))
        return memory._replace(latch=CHANGING if memory.latch else 0, begun=begun, past=past)

    def _cleared(self, memory: Ghost, writer: str) -> Ghost:
        begun = tuple(c for c in memory.begun if c not in (f"clear {writer}", CROSSED))
        return memory._replace(latch=CHANGING if CROSSED in memory.begun else 0, begun=begun)

    def _left(self, memory: Ghost, vcpu: str, cpu: int, look: Look) -> Ghost:
        """At a VM exit. What fills list registers from now on knows of all that was latched before."""
        memory = memory._replace(untold="") if memory.untold == vcpu else memory
        return memory._replace(credit=memory.latching) if memory.active == NOBODY else memory

    # What is common

    def _shut(self, memory: Ghost) -> set[str]:
        return {f for f, on in ((DISABLED, memory.routing.enabled), (OFF, memory.routing.forwarded)) if on == 0}

    def _may_be_due(self, memory: Ghost) -> bool:
        return bool(memory.line or memory.latch)

    def _barred(self, memory: Ghost, vcpu: str) -> str:
        if closed := super()._barred(memory, vcpu):
            return closed
        if memory.line or memory.latch:
            return ""
        return VGIC_LVL_6.id if LATCH_USED_UP in memory.past else VGIC_LVL_3.id

    def _acknowledged(self, vcpu: str, memory: Ghost, look: Look) -> Ghost:
        look.witness(VGIC_LVL_3)
        if self.resampled and memory.unseen and not memory.latch:
            said = (
                f"{vcpu} acknowledges {self.what} again, which was ended, and nobody raised its line since: the device that "
                "waits to be told was not"
            )
            look.breach(VGIC_LVL_2, said, *self.held_in(look), *self.kept(look, vcpu), vcpu)
        after = super()._acknowledged(vcpu, memory, look)
        if not memory.line and not memory.latch and not memory.gates[self.vcpus.index(vcpu)].wrong:
            look.witness(VGIC_LVL_4)
        return after._replace(begun=tuple(c for c in after.begun if not c.startswith("latch")))

    def _deactivated(self, cpu: int, memory: Ghost, look: Look) -> Ghost:
        after = super()._deactivated(cpu, memory, look)
        past = after.past
        if memory.latch and memory.active != NOBODY:
            past |= {LATCH_USED_UP}
            after = after._replace(latch=CHANGING if memory.latching or memory.credit else 0, credit=memory.latching)
        if memory.line == 1:
            past |= {HIGH_AT_END}
        if self.resampled and memory.active >= 0:
            ender, unseen = self.vcpus[memory.active], not memory.raising
            after = self._lowering(after, ender)._replace(unseen=unseen, untold=ender if unseen else "")
        return after._replace(past=past)

    def at_rest(self, memory: Ghost, look: Look) -> None:
        """A device that waits to be told of the end (irqfd's resampler) keeps its line until somebody can know."""
        if memory.untold:
            memory = memory._replace(line=1)
        if LATCH_USED_UP in memory.past:
            look.witness(VGIC_LVL_6)
        super().at_rest(memory, look)

    def _went_through(self, memory: Ghost) -> Iterable[str]:
        return {*memory.past, BY_REGISTER} if memory.past & {CLEARED, FELL} else memory.past

    def _due(self, memory: Ghost) -> str:
        if memory.line == 1:
            return f"the line of {self.what} is high"
        return f"{self.what} was latched pending and not acknowledged since" if memory.latch == 1 else ""
