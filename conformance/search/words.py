"""Facts in words: how each is called in tables, reasons, constraints on a schedule and the comments of an export.

Words are made here and read nowhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from conformance.automaton.meaning import may_change
from conformance.machine import facts
from conformance.machine.facts import Happened
from conformance.roles import operations as ops
from conformance.roles.architecture import PLAIN, Architecture
from conformance.roles.operations import WORD
from conformance.search.trace import Change, Held


class Changed(NamedTuple):
    """A location, or one of its fields, and what it held before and after, as printed."""

    name: str
    old: str
    new: str


CPUS = 1 << 16
"""More than any machine has: a destination from here on was never set."""
NO_CPU = ", which is no CPU"


def cpu_called(number: int) -> str:
    return f"cpu{number}" if number < CPUS else f"{number:#x}{NO_CPU}"


@dataclass(frozen=True)
class Words:
    """An architecture's words. Locations of the owners in `left_out` are named without their owner."""

    architecture: Architecture = PLAIN
    left_out: Collection[str] = ()

    def place(self, at: str, mask: int = WORD) -> str:
        """A location as the field's people write it."""
        name = self.architecture.place(at, mask)
        owner, _, rest = name.partition(".")
        return rest if rest and owner in self.left_out else name

    def interrupt(self, vector: int) -> str:
        return self.architecture.host_interrupt(vector)

    def fact(self, fact: Happened) -> str:
        """In a few words, without the routine."""
        match fact:
            case facts.Reads(at=at, value=value, mask=mask):
                return f"{self.asked(ops.Load(at, mask))} = {show(value, mask)}"
            case facts.Writes(at=at, value=value, mask=mask):
                return f"{self.place(at, mask)} := {show(value, mask)}"
            case facts.Modifies(how="cas", mask=mask):
                how = "done" if fact.writes else f"lost, it was {show(fact.was, mask)}"
                return f"{self.asked(fact.operation)}: {how}"
            case facts.Modifies():
                return f"{self.asked(fact.operation)}, was {show(fact.was, self._meant(fact.operation))}"
            case facts.Fences():
                return "fence"
            case facts.SetsInterrupts(on=on, was=was):
                return f"interrupts {'stay ' * (on == was)}{'on' if on else 'off'}"
            case facts.SetsPreemption(on=on):
                return f"preemption {'on' if on else 'off'}"
            case facts.Sends(vector=vector, to=to):
                return f"sends {self.interrupt(vector)} to {'itself' if to is None else cpu_called(to)}"
            case facts.Locks(at=at):
                return f"locks {self.place(at)}"
            case facts.Unlocks(at=at):
                return f"unlocks {self.place(at)}"
            case facts.Announces():
                return "about to sleep"
            case facts.Withdraws():
                return "stays awake"
            case facts.Schedules(sleeps=sleeps):
                return "sleeps" if sleeps else "does not sleep: it was woken"
            case facts.Wakes(thread=thread, woke=woke):
                return f"wakes {thread}{' (it was awake)' * (not woke)}"
            case facts.Waits():
                return "spins on"
            case facts.Enters(vcpu=vcpu):
                return f"enters {vcpu}"
            case facts.Fails(what=what):
                return f"fails its assertion: {what}"
            case facts.Crashes():
                return "fails"
            case facts.Takes(vector=vector):
                interrupt = self.interrupt(vector)
                return f"takes {'interrupt ' * (interrupt[0] == '0')}{interrupt} {self.architecture.in_host}"
            case facts.Acknowledges(vector=vector):
                return f"acknowledges {self.interrupt(vector)} in the guest"
            case facts.Delivers(vcpu=vcpu, vector=vector):
                return f"delivers {self.architecture.guest_interrupt(vector)} to {vcpu}"
            case facts.Exits(vcpu=vcpu, reason=reason):
                return f"{vcpu} exits: {' '.join(map(str, reason))}"
            case facts.GuestDoes(action=action):
                return f"guest: {' '.join(map(str, action))}"
            case facts.GoesOn(vcpu=vcpu):
                return f"{vcpu} goes on"
            case facts.Returns():
                return "returns"
            case facts.SwitchesOut(thread=thread):
                return f"{thread} is off the CPU"
            case facts.SwitchesIn(thread=thread):
                return f"{thread} is back on the CPU"
            case facts.Preempts(thread=thread):
                return f"{thread} is preempted"
            case facts.Migrates(thread=thread, source=source, target=target):
                return f"{thread} moves from cpu{source} to cpu{target}"
            case facts.Arrives(vector=vector, cpu=cpu):
                return f"{self.interrupt(vector)} arrives at cpu{cpu}"
            case facts.Rises(vector=vector, cpu=cpu):
                return f"{self.interrupt(vector)} is on its way to cpu{cpu}"
            case facts.Strays(vector=vector, cpu=cpu):
                return f"spurious {self.interrupt(vector)} at cpu{cpu}"
            case facts.Drains(at=at, value=value, mask=mask):
                return f"store buffer drains: {self.place(at, mask)} := {show(value, mask)}"

    def asked(self, op: ops.AnyOperation) -> str:
        """An operation whose result is not known yet."""
        match op:
            case ops.Load(at=at, mask=mask):
                return f"reads {self.place(at, mask)}"
            case ops.Rmw(at=at, how="cas", value=value, mask=mask, expect=expect):
                return f"cmpxchg {self.place(at, mask)} {show(expect, mask)} -> {show(value, mask)}"
            case ops.Rmw(at=at, how=how, value=value):
                return f"{how} {self.place(at, self._meant(op))} {show(value, self._meant(op))}"
            case ops.Interrupts(on=on):
                return f"interrupts {'on' if on else 'off'}"
            case _ if isinstance(op, facts.QUIET):
                return str(op.__struct_config__.tag).replace("_", " ")
            case _:
                return self.fact(facts.performed(op, True))

    def _meant(self, op: ops.Rmw) -> int:
        """The field that is meant, of a word with fields that is taken whole."""
        word = self.architecture.word(op.at)
        return may_change(op) if word.fields or word.bits else op.mask

    def told(self, fact: Happened) -> str:
        """With the routine that did it."""
        return f"{fact.routine}: {self.fact(fact)}" if fact.routine else self.fact(fact)

    def changed(self, change: Change) -> list[Changed]:
        """A change, of a word with fields or numbered bits one for each of them."""
        at, old, new = change.at, change.old, change.new
        owner, _, part = at.partition(".")
        match part, old, new:
            case ("latched" | "in_flight", tuple(), tuple()):
                return [Changed(f"{owner} {part.replace('_', ' ')}", self._vectors(old), self._vectors(new))]
            case "interrupts", _, _:
                return [Changed(f"{owner} IF", str(old), str(new))]
            case "status", _, _:
                return [Changed(owner, str(old), str(new))]
            case _, int(), int():
                masks = self.parts(at, old ^ new)
                return [Changed(self.place(at, m), show(old, m), show(new, m)) for m in masks]
            case _:
                return [Changed(self.place(at), show(old), show(new))]

    def parts(self, at: str, mask: int) -> list[int]:
        """Which fields, or numbered bits, of a word some bits of it belong to, as masks; else the word."""
        word = self.architecture.word(at)
        if word.bits:
            return [1 << n for n in range(64) if mask >> n & 1]
        return [bits for bits in word.fields.values() if bits & mask] or [WORD]

    def _vectors(self, vectors: tuple[int | str, ...]) -> str:
        return ", ".join(self.interrupt(v) for v in vectors if isinstance(v, int)) or "none"


def show(value: Held, mask: int = WORD) -> str:
    """A value under a mask, shifted down to bit 0; small numbers decimal, large ones hexadecimal."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    if isinstance(value, str):
        return value or "free"
    if mask and mask != WORD:
        value = (value & mask) >> ((mask & -mask).bit_length() - 1)
    return str(value) if value < 10 else hex(value)
