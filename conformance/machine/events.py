"""What monitors see. The suite makes every event from what it observes; an implementation cannot emit one.

`cpu` is the CPU a step ran on (-1 for devices and wires); `routine` the routine whose step it was.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from conformance.roles.operations import Operation, Result, Value


class Asked(NamedTuple):
    """A routine performed an operation, in program order (a store may still sit in a store buffer)."""

    cpu: int
    routine: str
    operation: Operation
    result: Result


class Changed(NamedTuple):
    """A location took a value, visible to all. `old` and `new` are whole words; `set_bits` those the write set to 1."""

    cpu: int
    routine: str
    at: str
    old: Value
    new: Value
    set_bits: int


class Called(NamedTuple):
    cpu: int
    routine: str
    args: tuple[Result, ...]


class Returned(NamedTuple):
    cpu: int
    routine: str
    args: tuple[Result, ...]
    value: Result


class Sent(NamedTuple):
    """An interrupt message left for the CPU `to`. `known` is False if no CPU has that id: the message is lost."""

    cpu: int
    routine: str
    vector: int
    to: int
    known: bool
    args: tuple[Result, ...] = ()
    """Of the routine."""


class Taken(NamedTuple):
    """A latched interrupt was taken: by the host's handler (`guest` empty) or by the processor in non-root mode for
    `guest`.
    """

    cpu: int
    vector: int
    guest: str


class Entered(NamedTuple):
    cpu: int
    vcpu: str


class Exited(NamedTuple):
    cpu: int
    vcpu: str
    reason: tuple[int | str, ...]


class Delivered(NamedTuple):
    """The guest started its handler of `vector`."""

    cpu: int
    vcpu: str
    vector: int


class GuestActed(NamedTuple):
    cpu: int
    vcpu: str
    action: tuple[int | str, ...]


class Slept(NamedTuple):
    cpu: int
    thread: str


class Woken(NamedTuple):
    cpu: int
    thread: str
    routine: str
    was: str


class SwitchedOut(NamedTuple):
    """The thread left the CPU: its `put` is over."""

    cpu: int
    thread: str
    preempted: bool


class SwitchedIn(NamedTuple):
    """The thread runs on the CPU again: its `load` is over."""

    cpu: int
    thread: str


Event: TypeAlias = (
    Asked | Changed | Called | Returned | Sent | Taken | Entered | Exited | Delivered | GuestActed | Slept | Woken
    | SwitchedOut | SwitchedIn
)  # fmt: skip
