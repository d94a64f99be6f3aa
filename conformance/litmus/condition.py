"""What a litmus test asks about a final state: a proposition over registers (`0:X1=1`) and memory (`x=1`, `[x]=1`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from conformance.litmus.values import Address, Concrete, Unsupported, same

MOST_NESTED = 100
"""Deciding a condition recurses."""


class Register(NamedTuple):
    thread: int
    name: str

    def __str__(self) -> str:
        return f"{self.thread}:{self.name}"


Term = Register | Address
"""A part of the final state: a register, or a location."""


class Held(NamedTuple):
    """On the right of =: what another part of the final state holds."""

    term: Term


@dataclass(frozen=True, slots=True)
class Condition:
    """`op` is "true", "not", "and", "or", or "=": then `left` is compared with `right`."""

    op: Literal["true", "not", "and", "or", "="]
    parts: tuple[Condition, ...] = ()
    left: Term | None = None
    right: Held | Concrete = 0
    depth: int = 0

    def terms(self) -> Iterator[Term]:
        if self.left is not None:
            yield self.left
            if isinstance(self.right, Held):
                yield self.right.term
        for part in self.parts:
            yield from part.terms()

    def holds(self, final: Callable[[Term], Concrete]) -> bool:
        match self.op:
            case "true":
                return True
            case "not":
                return not self.parts[0].holds(final)
            case "and":
                return all(part.holds(final) for part in self.parts)
            case "or":
                return any(part.holds(final) for part in self.parts)
            case "=":
                assert self.left is not None
                right = final(self.right.term) if isinstance(self.right, Held) else self.right
                return same(final(self.left), right)


TRUE = Condition("true")


def negation(part: Condition) -> Condition:
    return part.parts[0] if part.op == "not" else _joined("not", (part,))


def conjunction(*parts: Condition) -> Condition:
    return parts[0] if len(parts) == 1 else _joined("and", parts)


def disjunction(*parts: Condition) -> Condition:
    return parts[0] if len(parts) == 1 else _joined("or", parts)


def _joined(op: Literal["not", "and", "or"], parts: tuple[Condition, ...]) -> Condition:
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MOST_NESTED:
        raise Unsupported(f"a condition that nests more than {MOST_NESTED} deep")
    return Condition(op, parts, depth=depth)
