"""The states met so far: a store of columns, which is also the queue of the search, and a hash table of their numbers.

Open addressing with linear probing, half full at most, for whole arrays of states at a time. Where several of them want
the same free slot, each writes its claim and the last one stays; the others look again and find either themselves (the
same state twice) or a stranger, and move on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conformance.engine.packing import Column, Packing, Words, mixed

Numbers = NDArray[np.int32]
FREE = -1


class Visited:
    """`count` states, numbered as they came: state n is row n of `columns`."""

    def __init__(self, packing: Packing, first: Words) -> None:
        self.packing = packing
        self.count = 0
        self.columns: list[Column] = [np.empty(1 << 12, np.uint64) for _ in range(packing.words)]
        self.slots: Numbers = np.full(1 << 13, FREE, np.int32)
        self.number([np.array([word], np.uint64) for word in first])

    @property
    def bytes(self) -> int:
        return self.slots.nbytes + sum(column.nbytes for column in self.columns)

    def rows(self, first: int, last: int) -> list[Column]:
        return [column[first:last] for column in self.columns]

    def number(self, states: list[Column]) -> Numbers:
        """The number of each of these states; new ones get theirs, in order."""
        wanted = len(states[0])
        self._make_room(wanted)
        found = np.empty(wanted, np.int32)
        which = np.arange(wanted, dtype=np.int32)
        at = self._home(states)
        while len(which):
            held = self.slots[at]
            free = held == FREE
            if free.any():
                fresh = np.flatnonzero(free)
                self._claim(at[fresh], [column[fresh] for column in states])
                held = self.slots[at]
            same = self.columns[0][held] == states[0]
            for column, state in zip(self.columns[1:], states[1:], strict=True):
                same &= column[held] == state
            found[which[same]] = held[same]
            left = np.flatnonzero(~same)
            which = which[left]
            at = at[left] + 1 & len(self.slots) - 1
            states = [column[left] for column in states]
        return found

    def repack(self, into: Packing) -> None:
        """The same states, under the same numbers, in other words."""
        kept = self.packing.repack(self.rows(0, self.count), into)
        self.packing = into
        self.columns = [np.empty(len(self.columns[0]), np.uint64) for _ in kept]
        for column, words in zip(self.columns, kept, strict=True):
            column[: self.count] = words
        self._rehash(len(self.slots))

    def _home(self, states: list[Column]) -> NDArray[np.intp]:
        """The slot at which the search for each state begins."""
        return (mixed(states) >> np.uint64(65 - len(self.slots).bit_length())).astype(np.intp)

    def _claim(self, at: NDArray[np.intp], states: list[Column]) -> None:
        """Into each of these free slots one of the states that want it."""
        claims = np.arange(self.count, self.count + len(at), dtype=np.int32)
        self.slots[at] = claims
        won = np.flatnonzero(self.slots[at] == claims)
        numbers = np.arange(self.count, self.count + len(won), dtype=np.int32)
        self.slots[at[won]] = numbers
        for column, state in zip(self.columns, states, strict=True):
            column[self.count : self.count + len(won)] = state[won]
        self.count += len(won)

    def _make_room(self, more: int) -> None:
        needed = self.count + more
        if needed > len(self.columns[0]):
            size = max(needed, len(self.columns[0]) * 3 // 2)
            for n, column in enumerate(self.columns):
                self.columns[n] = np.empty(size, np.uint64)
                self.columns[n][: self.count] = column[: self.count]
        slots = len(self.slots)
        while self.count * 2 + more > slots:  # of those to come, few are new
            slots *= 2
        if slots > len(self.slots):
            self._rehash(slots)

    def _rehash(self, slots: int) -> None:
        """Every state is known to be new, so a taken slot is a stranger's."""
        self.slots = np.full(slots, FREE, np.int32)
        numbers = np.arange(self.count, dtype=np.int32)
        at = self._home(self.rows(0, self.count))
        while len(numbers):
            free = np.flatnonzero(self.slots[at] == FREE)
            self.slots[at[free]] = numbers[free]
            left = np.flatnonzero(self.slots[at] != numbers)
            numbers = numbers[left]
            at = at[left] + 1 & slots - 1
