"""What an implementation answers, looked at where it enters: from Python, through a pipe and from native code alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from conformance.roles import operations as ops
from conformance.roles.location import Shared

IDS = 1 << 32
"""Of CPUs there are fewer: an x2APIC id has 32 bits."""
SHOWN = 300


@dataclass(frozen=True)
class Allowed:
    """What answers may hold: interrupts below `interrupts`; in each of `locations` what it was declared with."""

    interrupts: int = 1 << 16
    locations: Mapping[str, Shared] = field(default_factory=dict)

    def wrong(self, answer: object) -> str:
        """What makes no sense in it, in words; empty if nothing."""
        if isinstance(answer, ops.Return):
            return wrong_value(answer.then) or wrong_value(answer.value)
        if not isinstance(answer, ops.AnyOperation):
            return "it is no operation"
        try:
            msgspec.convert(msgspec.to_builtins(answer), type(answer))
        except (msgspec.ValidationError, TypeError, OverflowError) as error:
            return str(error)
        return wrong_words(answer) or self._wrong_number(answer) or self._wrong_kind(answer)

    def _wrong_number(self, op: ops.AnyOperation) -> str:
        match op:
            case ops.SendIpi(vector=vector) | ops.Deliver(vector=vector) if not 0 <= vector < self.interrupts:
                return f"{vector:#x} is no interrupt: they are numbered from 0 to {self.interrupts - 1}"
            case ops.SendIpi(to=int(to)) if not 0 <= to < IDS:
                return f"{to:#x} is no CPU"
            case ops.Choose(options=()):
                return "there is nothing to choose from"
            case _:
                return ""

    def _wrong_kind(self, op: ops.AnyOperation) -> str:
        if not isinstance(op, ops.Store) or (declared := self.locations.get(op.at)) is None or declared.lock:
            return ""
        kinds = ["list" if isinstance(value, tuple) else "word" for value in (op.value, declared.initial)]
        return f"a {kinds[0]} is stored, and {op.at} holds a {kinds[1]}" if kinds[0] != kinds[1] else ""


ANYTHING = Allowed()
"""Whatever is of the right types, where nothing is known of an architecture."""


def wrong_words(answer: object) -> str:
    """What is wrong with the words of an operation."""
    mask = getattr(answer, "mask", ops.WORD)
    for name in ("mask", "value", "expect"):
        word = getattr(answer, name, 0)
        if isinstance(word, int) and not 0 <= word <= ops.WORD:
            return f"{name} is {shown(word)}, not a word of 64 bits"
        if isinstance(word, int) and word & ~mask:
            return f"{name} is {word:#x}: it has bits outside of the mask {mask:#x}"
    return ""


def wrong_value(value: object, depth: int = 0) -> str:
    """What is wrong with an argument or the value of a call."""
    if isinstance(value, tuple):
        return (
            "it is nested too deeply"
            if depth > 8
            else next(filter(None, (wrong_value(v, depth + 1) for v in value)), "")
        )
    if isinstance(value, int):
        return "" if -(1 << 63) <= value <= ops.WORD else f"{shown(value)} does not fit into 64 bits"
    return (
        "" if value is None or isinstance(value, str) else f"{shown(value)} is no integer, name, truth value or tuple"
    )


def shown(value: object) -> str:
    """Whatever it is, on a line: also what cannot be written, or is longer than anybody reads."""
    try:
        text = repr(value)
    except Exception:  # a huge integer; an object that raises
        text = hex(value) if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
