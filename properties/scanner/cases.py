"""Batches of descriptors: how Hypothesis draws them, and what a scan made of one, as 256 flags a register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from hypothesis import strategies as st

from conformance.adapters.scanner import Descriptors, Scanned
from properties.function import BrokenError
from properties.x86.sequential.state import Below, one_of

Bits: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
"""(n, 256): whether a vector's bit is set."""
Scanner: TypeAlias = Callable[[Descriptors], Scanned]


# Before

EDGES = (0x20, 0x40, 0x3F, 0x80, 0x7F, 0xC0, 0xBF, 0x1F, 0x5F, 0x60, 0x9F, 0xA0, 0xDF, 0xE0, 0xFF, 0)
"""The first vector for a guest's devices, and both sides of every edge of a word."""
VECTORS = (*EDGES, *sorted(set(range(256)) - set(EDGES)))
LENGTHS = (1, 1, 1, 1, 2, 3, 4, 5, 8, 9, 17, 33, 65, 1025)
"""Rows: edges of what a loop may take at a time."""
ALL = (1 << 256) - 1

few = st.lists(one_of(VECTORS), max_size=3, unique=True).map(lambda vectors: sum(1 << v for v in vectors))
dense = st.one_of(one_of((ALL, *((2**64 - 1) << 64 * word for word in range(4)))), Below(1 << 256))
register = one_of((few,) * 6 + (dense,)).flatmap(lambda kind: kind)
row = st.tuples(st.booleans().map(lambda off: not off), register, register)


def descriptors(rows: list[tuple[bool, int, int]], length: int) -> Descriptors:
    """So many rows, these over and over."""
    chosen = [rows[i % len(rows)] for i in range(length)]
    pir, virr = (
        np.frombuffer(b"".join(r[part].to_bytes(32, "little") for r in chosen), "<u8").reshape(length, 4)
        for part in (1, 2)
    )
    return Descriptors(pir, virr, np.array([r[0] for r in chosen], np.bool_))


cases = st.builds(descriptors, st.lists(row, min_size=1, max_size=4), one_of(LENGTHS))


# After


class Case(NamedTuple):
    """One scan, and its registers as flags."""

    given: Descriptors
    found: Scanned
    pir: Bits
    virr: Bits
    pir_after: Bits
    virr_after: Bits

    @property
    def harvested(self) -> Any:
        """(n,): rows that must be harvested as a whole, since ON is set or something has changed."""
        changed = (self.pir != self.pir_after) | (self.virr != self.virr_after)
        return self.given.on | changed.any(axis=1)

    def broken(self, row: int, what: str) -> BrokenError:
        """The breach, and the descriptor where it is; how many there are only if it takes more than one."""
        n = len(self.given.on)
        where = f"descriptor {row + 1} of {n}: " if n > 1 else ""
        on, pir, virr = int(self.given.on[row]), vectors(self.pir[row]), vectors(self.virr[row])
        return BrokenError(f"{where}ON={on}, PIR={pir}, vIRR={virr}: {what}")


def case_of(scanner: Scanner, given: Descriptors) -> Case:
    found = scanner(given)
    return Case(given, found, *(flags(words) for words in (given.pir, given.virr, found.pir, found.virr)))


def flags(words: Any) -> Bits:
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").astype(np.bool_)


# In words


def vectors(bits: Any) -> str:
    known = np.flatnonzero(bits)
    shown = [f"{v:#x}" for v in known[:8]] + ([f"... {len(known)} in all"] if len(known) > 8 else [])
    return "{" + ", ".join(shown) + "}"
