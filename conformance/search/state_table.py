"""Numbers for rows of 64-bit words, whole arrays of them at a time: a hash table of what was met so far.

Open addressing with linear probing, a third full at most. Where several rows want the same free slot, each writes its
claim and the last one stays; the others look again and find either themselves (the same row twice) or a stranger, and
move on. So the numbers depend on the order of the rows alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.uint64]
"""One word of many rows."""
Rows = NDArray[np.int64]
"""Which rows."""
Numbers = NDArray[np.int32]
FREE = -1

MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd, their bits without a pattern; word n is multiplied with the n-th, from the first again when they run out."""


class Numbering:
    """`count` rows, numbered as they came: number n is row n of `words`, its words side by side, one reach into memory."""

    def __init__(self, width: int, sparse: int = 3) -> None:
        """`width`: words a row. `sparse`: slots a row, at least."""
        self.count, self.sparse = 0, sparse
        self.words = np.empty((1 << 10, width), np.uint64)
        self.slots: Numbers = np.full(1 << 12, FREE, np.int32)

    @property
    def bytes(self) -> int:
        return self.slots.nbytes + self.words.nbytes

    def columns(self, which: slice | Rows) -> list[Column]:
        return list(np.ascontiguousarray(self.words[which].T))

    def number(self, rows: list[Column]) -> Numbers:
        """The number of each row, given as columns; new ones get theirs, in order."""
        self._make_room(len(rows[0]))
        at = self._home(rows)
        found, left = self._look(at, rows)
        which = left
        while len(left):
            at, rows = at.take(left) + 1 & len(self.slots) - 1, [column.take(left) for column in rows]
            found[which], left = self._look(at, rows)
            which = which.take(left)
        return found

    def renew(self, rows: list[Column]) -> None:
        """Other rows, all different, under the numbers that are taken."""
        self.words = np.empty((len(self.words), len(rows)), np.uint64)
        for n, column in enumerate(rows):
            self.words[: self.count, n] = column
        self._rehash(len(self.slots))

    def _look(self, at: Rows, rows: list[Column]) -> tuple[Numbers, Rows]:
        """Who is in these slots, where free now the rows that asked; and which of them found a stranger."""
        held = self.slots.take(at)
        free = np.flatnonzero(held == FREE)
        if len(free):
            held[free] = self._claim(at.take(free), [column.take(free) for column in rows])
        words = self.words.take(held, axis=0)
        strange = words[:, 0] != rows[0]
        for n in range(1, len(rows)):
            strange |= words[:, n] != rows[n]
        return held, np.flatnonzero(strange)

    def _claim(self, at: Rows, rows: list[Column]) -> Numbers:
        """Into each of these free slots one of the rows that want it. Answers who is in them then."""
        claims = np.arange(len(at), dtype=np.int32)
        self.slots[at] = claims
        winner = self.slots.take(at)
        won = np.flatnonzero(winner == claims)
        claims[won] = np.arange(self.count, self.count + len(won), dtype=np.int32)
        self.slots[at.take(won)] = claims.take(won)
        for n, column in enumerate(rows):
            self.words[self.count : self.count + len(won), n] = column.take(won)
        self.count += len(won)
        return claims.take(winner)

    def _home(self, rows: list[Column]) -> Rows:
        """The slot at which the search for each row begins: multiply-shift (M. Dietzfelbinger et al., A Reliable Randomized
        Algorithm for the Closest-Pair Problem, J. Algorithms 1997), folded once, since bits high in a word reach few bits.
        """
        mixed = rows[0] * np.uint64(MULTIPLIERS[0])
        for n, column in enumerate(rows[1:], 1):
            mixed += column * np.uint64(MULTIPLIERS[n % len(MULTIPLIERS)])
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(MULTIPLIERS[1])
        mixed >>= np.uint64(65 - len(self.slots).bit_length())
        return mixed.view(np.int64)

    def _make_room(self, more: int) -> None:
        needed = self.count + more
        if needed > len(self.words):
            words = np.empty((max(needed, len(self.words) * 3 // 2), self.words.shape[1]), np.uint64)
            words[: self.count] = self.words[: self.count]
            self.words = words
        slots = len(self.slots)
        while self.count * self.sparse + more > slots:  # of those to come, few are new
            slots *= 2
        if slots > len(self.slots):
            self._rehash(slots)

    def _rehash(self, slots: int) -> None:
        """All rows are different, so whoever else is in a slot is a stranger."""
        self.slots = np.full(slots, FREE, np.int32)
        numbers = np.arange(self.count, dtype=np.int32)
        at = self._home(self.columns(slice(self.count)))
        while len(numbers):
            free = np.flatnonzero(self.slots.take(at) == FREE)
            self.slots[at[free]] = numbers[free]
            left = np.flatnonzero(self.slots.take(at) != numbers)
            numbers, at = numbers[left], at[left] + 1 & slots - 1
