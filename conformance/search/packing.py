"""How cells lie in columns of 64-bit words, so that many states are a few NumPy arrays.

The engine's own packed state gives every cell the bits it may come to need, some four hundred in all; here a cell has
the bits of the values met so far and one to spare, mostly fewer than 128 in all. Where a cell outgrows its field, the
packing is made anew. A cell never straddles two words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from conformance.machine.state import Cell, Layout
from conformance.search.state_table import Column

Words = tuple[int, ...]
"""One state, or a mask over states, word by word."""

SPARE = 8
"""The highest bits of the first word, left for whoever tags states."""


class Outgrown(Exception):
    """A cell met a value that its field is too narrow for."""


class PackedField(NamedTuple):
    """Where a cell lies: bits `shift` up to `shift + width` of a word."""

    cell: Cell[Any]
    word: int
    shift: int
    width: int

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.shift

    def of(self, columns: list[Column]) -> Column:
        """The cell's number in each state."""
        return columns[self.word] >> np.uint64(self.shift) & np.uint64((1 << self.width) - 1)


class Packing:
    """Fields for all cells that have more than one value by now."""

    def __init__(self, layout: Layout) -> None:
        free = [64 - SPARE]
        self.fields: list[PackedField] = []
        varied = [cell for cell in layout.cells.values() if len(cell.values) > 1]
        wanted = [(min((len(cell.values) - 1).bit_length() + 1, cell.width), cell) for cell in varied]
        for width, cell in sorted(wanted, key=lambda pair: -pair[0]):  # widest first, so that words fill up
            word = next((n for n, left in enumerate(free) if left >= width), len(free))
            if word == len(free):
                free.append(64)
            free[word] -= width
            self.fields.append(PackedField(cell, word, free[word], width))
        self.words = len(free)
        self.by_cell = {id(field.cell): field for field in self.fields}
        self.layout = layout
        self._bytes: list[dict[int, int]] = [{} for _ in range(8 * self.words)]
        self._masks: dict[int, Words] = {}
        self._fields_of: dict[int, list[tuple[Cell[Any], PackedField | None]]] = {}

    def touched(self, mask: int) -> list[tuple[Cell[Any], PackedField | None]]:
        """The cells of an engine's mask, each with its field if it has one."""
        found = self._fields_of.get(mask)
        if found is None:
            cells = [c for c in self.layout.cells.values() if c.mask & mask]
            found = self._fields_of[mask] = [(c, self.by_cell.get(id(c))) for c in cells]
        return found

    def mask(self, mask: int) -> Words:
        """An engine's mask, over words."""
        found = self._masks.get(mask)
        if found is None:
            words = [0] * self.words
            for _, field in self.touched(mask):
                if field:
                    words[field.word] |= field.mask
            found = self._masks[mask] = tuple(words)
        return found

    def pack(self, state: int, mask: int = -1) -> Words:
        """The cells of `mask`. Raises Outgrown."""
        words = [0] * self.words
        for cell, field in self.touched(mask):
            number = (state & cell.mask) >> cell.shift
            if field and number < 1 << field.width:
                words[field.word] |= number << field.shift
            elif number:
                raise Outgrown
        return tuple(words)

    def columns(self, states: Sequence[int]) -> list[Column]:
        """As `pack`, many states at once, all of whose values this packing knows."""
        wide = -(-self.layout.bits // 64)
        held = np.frombuffer(b"".join(state.to_bytes(8 * wide, "little") for state in states), "<u8").reshape(-1, wide)
        packed = [np.zeros(len(states), np.uint64) for _ in range(self.words)]
        for field in self.fields:
            at, shift = divmod(field.cell.shift, 64)
            number = held[:, at] >> np.uint64(shift)
            if shift + field.cell.width > 64:
                number |= held[:, at + 1] << np.uint64(64 - shift)
            packed[field.word] |= (number & np.uint64(field.cell.full - 1)) << np.uint64(field.shift)
        return packed

    def unpack(self, columns: list[Column]) -> list[int]:
        """As the engine packs them: each bit has one place there, so each byte has the same bits there wherever it is met."""
        rows = np.stack(columns, axis=1).astype("<u8").view(np.uint8)
        states = [0] * len(rows)
        for at in np.flatnonzero(rows.any(axis=0)).tolist():
            known = self._bytes[at]
            for row, byte in enumerate(rows[:, at].tolist()):
                if byte:
                    states[row] |= known[byte] if byte in known else known.setdefault(byte, self._placed(at, byte))
        return states

    def _placed(self, at: int, byte: int) -> int:
        """Where the engine has the bits of the byte number `at` of a row."""
        word, low = divmod(at, 8)
        bits = byte << 8 * low
        return sum((bits & f.mask) >> f.shift << f.cell.shift for f in self.fields if f.word == word)

    def repack(self, columns: list[Column], into: Packing) -> list[Column]:
        """The same states under another packing, none of whose fields is narrower."""
        packed = [np.zeros(len(columns[0]), np.uint64) for _ in range(into.words)]
        for field in self.fields:
            there = into.by_cell[id(field.cell)]
            packed[there.word] |= field.of(columns) << np.uint64(there.shift)
        return packed
