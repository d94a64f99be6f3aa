"""Values of a litmus thread: numbers, addresses, and functions of what its reads return.

A value remembers beside it which reads it was computed from, because the Armv8 model orders events by such
dependencies: `dep` through registers, `pick` also through what only selected it (Arm ARM B2.3, "Pick dependency").
`EOR X2,X1,X1` is always 0 and still depends on X1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple


class Unsupported(Exception):
    """Well-formed, but outside what is modelled; the message says what."""


class Address(NamedTuple):
    symbol: str
    offset: int = 0

    def __str__(self) -> str:
        return self.symbol if not self.offset else f"{self.symbol}+{self.offset}"


Concrete = int | Address
Read = tuple[int, int]
"""(thread, index of the event)."""
Domains = Mapping[Read, tuple[Concrete, ...]]
NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """`of` maps what the reads of `support` return, in that order, to the value."""

    support: tuple[Read, ...]
    of: Callable[..., Concrete]
    dep: frozenset[int] = NONE
    pick: frozenset[int] = NONE

    @property
    def constant(self) -> Concrete:
        return self.of()

    def given(self, returned: Mapping[Read, Concrete]) -> Concrete:
        return self.of(*(returned[read] for read in self.support))

    def cases(self, domains: Domains) -> Iterator[tuple[tuple[Concrete, ...], Concrete]]:
        """Every tuple of values its reads may return, with the value it then has."""
        for returned in product(*(domains[read] for read in self.support)):
            yield returned, self.of(*returned)


def constant(value: Concrete) -> Value:
    return Value((), lambda: value)


def apply(function: Callable[..., Concrete], *values: Value) -> Value:
    """The value of a function of values; it depends on all of them."""
    support = tuple(sorted({read for value in values for read in value.support}))
    dep = NONE.union(*(value.dep for value in values))
    pick = NONE.union(*(value.pick for value in values))
    if not support:
        known = function(*(value.of() for value in values))
        return Value((), lambda: known, dep, pick)
    places = [[support.index(read) for read in value.support] for value in values]

    def of(*returned: Concrete) -> Concrete:
        return function(*(v.of(*(returned[n] for n in place)) for v, place in zip(values, places, strict=True)))

    return Value(support, of, dep, pick)


def mask(size: int) -> int:
    """The bits of that many bytes."""
    return (1 << 8 * size) - 1


def number(text: str) -> int:
    """A number as C writes it; decimal in spite of zeros before it, as in herd."""
    if len(text) > 80:
        raise Unsupported(f"a number of {len(text)} digits")
    return int(text, 16 if "x" in text.lower() else 10)


def same(left: Concrete, right: Concrete) -> bool:
    """Equal as words: -1 is 0xffffffff in a 32-bit register, and 0xffffffffffffffff in a 64-bit one."""
    if isinstance(left, int) and isinstance(right, int):
        small, large = sorted((left, right))
        return small == large or (small < 0 and large in (small & (1 << 32) - 1, small & (1 << 64) - 1))
    return left == right
