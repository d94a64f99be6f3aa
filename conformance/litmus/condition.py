"""What a litmus test asks about a final state: a proposition over registers (`0:X1=1`) and memory (`x=1`, `[x]=1`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from conformance.litmus.values import Address, Concrete, Unsupported, number, same


class Register(NamedTuple):
    thread: int
    name: str

    def __str__(self) -> str:
        return f"{self.thread}:{self.name}"


Term = Register | Address
"""A part of the final state: a register, or a location."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`op` is "true", "not", "and", "or", or "=": then `left` is compared with `right`, a term or a value."""

    op: Literal["true", "not", "and", "or", "="]
    parts: tuple[Condition, ...] = ()
    left: Term | None = None
    right: Term | Concrete = 0

    def terms(self) -> Iterator[Term]:
        if self.left is not None:
            yield self.left
            if isinstance(self.right, Register):
                yield self.right
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
                right = final(self.right) if isinstance(self.right, Register) else self.right
                return same(final(self.left), right)


_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>/\\|\\/|=>|<>|!=|~|\(|\)|=|\[|\])|(?P<register>\d+\s*:\s*%?[A-Za-z_][\w.]*)
    |(?P<number>-?\d\w*)|(?P<name>[A-Za-z_][\w.]*(?:\s*\+\s*\d+)?))""",
    re.VERBOSE,
)


MOST_NESTED = 150
"""Reading and deciding a condition recurses."""


def parse_condition(text: str) -> tuple[Condition, str]:
    """A condition at the start of `text`, and what follows it. Raises ValueError with what was expected."""
    if len(re.findall(r"\(|~|not|=>", text)) > MOST_NESTED:
        raise ValueError(f"condition: more than {MOST_NESTED} of ( ~ not =>, which may nest")
    reader = _Reader(text)
    return reader.implication(), text[reader.at :]


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        return "".join(found[0].split()) if found else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            seen = self.text[self.at :].strip()[:30]
            raise ValueError(f"condition: expected {expected or 'a register, a location or a value'}, found {seen!r}")
        found = _TOKEN.match(self.text, self.at)
        assert found
        self.at = found.end()
        return token

    def implication(self) -> Condition:
        left = self.disjunction()
        if self.peek() == "=>":
            self.take()
            return Condition("or", (Condition("not", (left,)), self.implication()))
        return left

    def disjunction(self) -> Condition:
        parts = [self.conjunction()]
        while self.peek() == "\\/":
            self.take()
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else Condition("or", tuple(parts))

    def conjunction(self) -> Condition:
        parts = [self.unary()]
        while self.peek() == "/\\":
            self.take()
            parts.append(self.unary())
        return parts[0] if len(parts) == 1 else Condition("and", tuple(parts))

    def unary(self) -> Condition:
        match self.peek():
            case "~" | "not":
                self.take()
                return Condition("not", (self.unary(),))
            case "(":
                self.take()
                inner = self.implication()
                self.take(")")
                return inner
            case "true":
                self.take()
                return Condition("true")
            case "false":
                self.take()
                return Condition("not", (Condition("true"),))
            case "fault" | "Fault":
                raise Unsupported("a condition about faults")
            case _:
                return self.atom()

    def atom(self) -> Condition:
        left = self.term()
        if not isinstance(left, Register | Address):
            raise ValueError(f"condition: {left} on the left of =; expected a register or a location")
        sign = self.take()
        if sign not in ("=", "!=", "<>"):
            raise ValueError(f"condition: expected = after {left}, found {sign!r}")
        right = self.term()
        atom = Condition("=", left=left, right=right)
        return atom if sign == "=" else Condition("not", (atom,))

    def term(self) -> Term | Concrete:
        token = self.take()
        if token == "[":
            inner = self.term()
            self.take("]")
            if not isinstance(inner, Address):
                raise ValueError("condition: expected a location between [ ]")
            return inner
        if (known := number(token)) is not None:
            return known
        if found := re.fullmatch(r"(\d+):%?(.+)", token):
            return Register(int(found[1]), found[2])
        if found := re.fullmatch(r"([A-Za-z_][\w.]*)(?:\+(\d+))?", token):
            return Address(found[1], int(found[2] or 0))
        raise ValueError(f"condition: expected a register, a location or a value, found {token!r}")
