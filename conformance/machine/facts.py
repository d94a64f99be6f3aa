"""What happens in a step, as data: one fact for each thing that its agent does.

The machine makes them where it does them, a trace keeps them, and the report puts them into words once. They are made of
JSON's types, since they cross processes. A location is a word and the bits of it that are meant; a vector is a host
interrupt's number.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypeAlias

import msgspec

from conformance.automaton.meaning import writes
from conformance.roles import operations as ops
from conformance.roles.operations import WORD, Value


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="fact", tag=str.lower):
    """`routine` did it, "" where none did.

    A trace adds what only that routine can tell: `site`, the line of its code (file:line), where its source knows; `last`,
    whether its call was over then; `decides`, of what read a location, whether it would have gone another way had it found
    what the location held at another time.
    """

    routine: str = ""
    site: str = ""
    last: bool = False
    decides: bool = False

    def __post_init__(self) -> None:
        """msgspec leaves a default out where it is the same object: what was read back from JSON is made it again."""
        for name, default in _large(type(self)):
            if getattr(self, name) == default:
                msgspec.structs.force_setattr(self, name, default)


@cache
def _large(fact: type[Fact]) -> tuple[tuple[str, Any], ...]:
    """Fields with defaults that need not be one object wherever they are equal."""
    fields = msgspec.structs.fields(fact)
    return tuple((f.name, f.default) for f in fields if f.default == WORD or (isinstance(f.default, str) and f.default))


# What routines do


class Reads(Fact, frozen=True):
    """`value`: the word and-ed with `mask`, or the list. With store buffers it may be the CPU's own latest store."""

    at: str
    value: Value
    mask: int = WORD


class Writes(Fact, frozen=True):
    """May wait in a store buffer: `Drains` tells when it is seen."""

    at: str
    value: Value
    mask: int = WORD


class Modifies(Fact, frozen=True):
    """A locked read-modify-write that found `was` under `mask`; `value` and `expect` are its operands."""

    at: str
    how: Literal["swap", "or", "and", "xor", "add", "cas"]
    value: int
    was: int
    mask: int = WORD
    expect: int = 0

    @property
    def operation(self) -> ops.Rmw:
        return ops.Rmw(self.at, self.how, self.value, self.mask, self.expect)

    @property
    def writes(self) -> bool:
        """False where a compare-exchange is lost."""
        return writes(self.operation, self.was)


class Fences(Fact, frozen=True):
    kind: Literal["full", "load", "store", "acquire", "release"] = "full"


class SetsInterrupts(Fact, frozen=True):
    """The CPU's interrupt flag is `on` now; it was `was`."""

    on: bool
    was: bool


class SetsPreemption(Fact, frozen=True):
    on: bool


class Sends(Fact, frozen=True):
    """An interrupt message; None: to its own CPU."""

    vector: int
    to: int | None = None


class Locks(Fact, frozen=True):
    at: str


class Unlocks(Fact, frozen=True):
    at: str


class Announces(Fact, frozen=True):
    """That its thread is about to sleep."""


class Withdraws(Fact, frozen=True):
    """The announcement."""


class Schedules(Fact, frozen=True):
    """Sleeps, if the announcement still stands."""

    sleeps: bool


class Wakes(Fact, frozen=True):
    """`woke` is False where the thread was awake."""

    thread: str
    woke: bool


class Waits(Fact, frozen=True):
    """Spins on, after something that it had read has changed."""


class Enters(Fact, frozen=True):
    vcpu: str


class Fails(Fact, frozen=True):
    """An assertion of the code itself does not hold."""

    what: str


class Crashes(Fact, frozen=True):
    """The code itself ends here: it crashed, say, or gives no answer."""

    what: str


# What CPUs, guests and threads do


class Takes(Fact, frozen=True):
    """The host takes a latched interrupt."""

    vector: int


class Acknowledges(Fact, frozen=True):
    """The processor takes one while it runs a guest."""

    vector: int


class Delivers(Fact, frozen=True):
    """The guest starts its handler."""

    vcpu: str
    vector: int


class Exits(Fact, frozen=True):
    vcpu: str
    reason: tuple[int | str, ...]


class GuestDoes(Fact, frozen=True):
    action: tuple[int | str, ...]


class GoesOn(Fact, frozen=True):
    """The guest is about to do the last instruction of its program once more."""

    vcpu: str


class Returns(Fact, frozen=True):
    """An interrupt handler is over: the CPU takes interrupts again."""


class SwitchesOut(Fact, frozen=True):
    """The context switch is over, and the CPU takes interrupts again."""

    thread: str


class SwitchesIn(Fact, frozen=True):
    thread: str


class Preempts(Fact, frozen=True):
    thread: str


class Migrates(Fact, frozen=True):
    thread: str
    source: int
    target: int


# What happens between CPUs


class Arrives(Fact, frozen=True):
    """An interrupt is latched at a CPU."""

    vector: int
    cpu: int


class Rises(Fact, frozen=True):
    """A level sets out for its CPU."""

    vector: int
    cpu: int


class Strays(Fact, frozen=True):
    """A spurious interrupt is latched at a CPU."""

    vector: int
    cpu: int


class Drains(Fact, frozen=True):
    """A store leaves its store buffer: all see it now. Of a lock that is free again the value is ""."""

    at: str
    value: Value | str
    mask: int = WORD


Happened: TypeAlias = (
    Reads | Writes | Modifies | Fences | SetsInterrupts | SetsPreemption | Sends | Locks | Unlocks | Announces
    | Withdraws | Schedules | Wakes | Waits | Enters | Fails | Crashes
    | Takes | Acknowledges | Delivers | Exits | GuestDoes | GoesOn | Returns
    | SwitchesOut | SwitchesIn | Preempts | Migrates | Arrives | Rises | Strays | Drains
)  # fmt: skip
"""Any fact."""

QUIET = ops.Choose | ops.CpuId | ops.Assert | ops.ListOf | ops.Atomic | ops.ExitGuest | ops.Deliver
"""Operations that are no facts: nobody else could tell, or what they cause is one (`Exits`, `Delivers`, `Fails`)."""


def performed(op: ops.Operation, result: Any, routine: str = "") -> Happened:
    """The fact that a routine asked for this operation; `result` is what it was told, of `Schedule` whether it slept.
    Raises TypeError for a quiet one.
    """
    match op:
        case ops.Load(at=at, mask=mask):
            return Reads(at, result, mask, routine=routine)
        case ops.Store(at=at, value=value, mask=mask):
            return Writes(at, value, mask, routine=routine)
        case ops.Rmw(at=at, how=how, value=value, mask=mask, expect=expect):
            return Modifies(at, how, value, result, mask, expect, routine=routine)
        case ops.Fence(kind=kind):
            return Fences(kind, routine=routine)
        case ops.Interrupts(on=on):
            return SetsInterrupts(on, result, routine=routine)
        case ops.Preemption(on=on):
            return SetsPreemption(on, routine=routine)
        case ops.SendIpi(vector=vector, to=to):
            return Sends(vector, to, routine=routine)
        case ops.Lock(at=at):
            return Locks(at, routine=routine)
        case ops.Unlock(at=at):
            return Unlocks(at, routine=routine)
        case ops.PrepareToBlock():
            return Announces(routine=routine)
        case ops.FinishBlock():
            return Withdraws(routine=routine)
        case ops.Schedule():
            return Schedules(result, routine=routine)
        case ops.Wake(thread=thread):
            return Wakes(thread, result, routine=routine)
        case ops.Relax():
            return Waits(routine=routine)
        case ops.EnterGuest(vcpu=vcpu):
            return Enters(vcpu, routine=routine)
        case _:
            raise TypeError(f"{op} is no fact")
