"""The PIR scanner: harvest of Posted Interrupt Requests (Intel SDM vol. 3C, 29.6, steps 5 and 6; 29.2.1 for RVI).

    PIR   ..1....1....  ──┬── highest bit ──> posted
    vIRR  .......1..1.  ──┴── or ──> vIRR ── highest bit ──> RVI          PIR := 0

A register of 256 bits is one Python integer, or a row of four 64-bit words, lowest first: bit v is vector v. -1 stands
for "no vector": 0 is a bit like any other here. Something moved exactly where `posted` is not -1.

RVI is found anew, as the highest vector of the merged vIRR. That is the larger of its old value and the highest vector
harvested (step 6) wherever the old value was the highest vector of the old vIRR.

One descriptor is arithmetic on integers. Many are arrays that belong to the caller: nobody else may write them
meanwhile. What may come between two accesses to a descriptor that is shared is the model's business
(reference.x86.processor), which takes the words with locked operations and hands them to `harvest`.

How many are scanned: in blocks that fit a cache, with some twenty NumPy operations on each. The highest bit of a row
takes two conversions to floating point, whose exponent is the number of the highest bit: one of eight bytes that tell
which 32-bit words are not 0, one of the word so found. Both are exact where it matters: the first rounds nothing up, for
there are seven zeros between its ones; the second has 53 bits for 32. The time does not depend on the bits, but for one
shortcut: the word need not be found in a block in which every row has a vector in the highest word, from E0H on, where
Linux has those of its timer and its IPIs (arch/x86/include/asm/irq_vectors.h).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

VECTORS, WORDS = 256, 4
NONE = -1
BLOCK = 1 << 15
"""Descriptors scanned at a time. Shorter blocks cost more calls a descriptor, and several threads wait for each other
between any two calls; longer blocks leave the cache.
"""
ALL_BITS, NO_BITS = np.uint64((1 << 64) - 1), np.uint64(0)

Words: TypeAlias = NDArray[np.uint64]
"""(n, 4): a row is a register of 256 bits, its lowest word first."""
Flags: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.int16]


# One descriptor


def harvest(pir: int, virr: int) -> tuple[int, int, int]:
    """The merged vIRR, the highest vector posted and RVI. PIR is 0 afterwards. Raises ValueError.

    A group of the bits, such as a word, is harvested in the same way.
    """
    merged = virr | pir
    if merged >> VECTORS:  # negative numbers too: no shift makes them 0
        raise ValueError(
            f"PIR and vIRR are numbers of {VECTORS} bits, bit v for vector v; given were {pir:#x} and {virr:#x}"
        )
    return merged, pir.bit_length() - 1, merged.bit_length() - 1


def harvest_if_on(on: int, pir: int, virr: int) -> tuple[int, int, int, int]:
    """What software does: a descriptor whose ON is clear is left as it is. ON is 0 afterwards.

    Answers PIR, the merged vIRR, the highest vector posted and RVI. Raises ValueError.
    """
    return (0, *harvest(pir, virr)) if on else (pir, *harvest(0, virr))


# Many


class Harvested(NamedTuple):
    """For each descriptor the highest vector posted and RVI, -1 where there is none. Shape (n,), int16."""

    posted: Numbers
    rvi: Numbers

    @property
    def moved(self) -> Flags:
        """Where anything was harvested."""
        return self.posted != NONE


def harvest_many(
    pir: Words, virr: Words, on: Flags | None = None, *, threads: int = 1, out: Harvested | None = None
) -> Harvested:
    """Harvest every row of `pir` into the same row of `virr`, in place, without a copy.

    With `on`, of shape (n,), only the descriptors whose ON is set are harvested, and their ON is cleared first; the
    others stay as they are, and their RVI is told all the same. `out` is where to put the answer, such as an earlier
    one that is done with. Raises TypeError and ValueError, before anything is changed.
    """
    return share_out(_harvest, pir, virr, on, threads, out)


Harvest: TypeAlias = Callable[[Words, Words, Flags | None, Numbers, Numbers], None]
"""PIR, vIRR, ON, and where posted and RVI go; nothing is checked any more."""


def share_out(
    harvest: Harvest, pir: Words, virr: Words, on: Flags | None, threads: int, out: Harvested | None
) -> Harvested:
    """Check the input, cut the rows into one share a thread, and have each harvested. The caller's thread takes one."""
    check(pir, virr, on, out)
    if threads < 1:
        raise ValueError(f"threads is how many scan at once, at least 1; given was {threads}")
    n = len(pir)
    found = out or Harvested(np.empty(n, np.int16), np.empty(n, np.int16))
    share = max(-(-n // threads), 1)

    def work(start: int) -> None:
        part = slice(start, start + share)
        harvest(pir[part], virr[part], None if on is None else on[part], found.posted[part], found.rvi[part])

    others = range(share, n, share)
    done = threads_beside(len(others)).map(work, others) if others else ()
    work(0)
    list(done)
    return found


@cache
def threads_beside(threads: int) -> ThreadPoolExecutor:
    """Threads beside the caller's, kept for the next time: each has its scratch, and memory that is new is slow."""
    return ThreadPoolExecutor(threads, thread_name_prefix="pir")


def highest_many(registers: Words) -> Numbers:
    """The highest vector of each row, -1 where there is none. Raises TypeError and ValueError."""
    _check_registers("registers", registers)
    found = np.empty(len(registers), np.int16)
    scratch = scratch_of(min(len(registers), BLOCK))
    for start in range(0, len(registers), BLOCK):
        scratch.highest(registers[start : start + BLOCK], out=(found[start : start + BLOCK],))
    return found


def _harvest(pir: Words, virr: Words, on: Flags | None, posted: Numbers, rvi: Numbers) -> None:
    scratch = scratch_of(min(len(pir), BLOCK))
    for start in range(0, len(pir), BLOCK):
        part = slice(start, start + BLOCK)
        p, v = pir[part], virr[part]
        if on is None:
            taken = p
        else:
            mask = np.where(on[part], ALL_BITS, NO_BITS).repeat(WORDS).reshape(-1, WORDS)
            on[part] = False
            taken = np.bitwise_and(p, mask, out=mask)
        np.bitwise_or(v, taken, out=v)
        scratch.highest(taken, v, out=(posted[part], rvi[part]))
        if on is None:
            p.fill(0)
        else:
            np.bitwise_xor(p, taken, out=p)


class _Scratch:
    """Room for the steps of `highest` on up to `size` rows of each of two tables, used over and over."""

    def __init__(self, size: int) -> None:
        self.size, tables = size, 2
        self.set = np.empty((tables * size, 8), np.bool_)
        self.float = np.empty(tables * size, np.float64)
        self.place = np.empty(tables * size, np.int64)
        self.word = np.empty(tables * size, "<u4")
        self.vector = np.empty(tables * size, np.int16)
        self.row = 8 * np.arange(size) - 127
        """What leads from the shifted exponent of the eight bytes, 127 + k, to the place of word k of each row."""
        self.low = (256 * np.arange(size) + 1023).astype(np.int16)
        """What 32 times that place and the second exponent together exceed the vector by, modulo 2^16."""
        self.none = np.full(size, NONE, np.int16)

    def highest(self, *tables: Words, out: tuple[Numbers, ...]) -> None:
        """The highest vector of each row, or -1. The tables have the same length."""
        k, n = len(tables), len(tables[0])
        is_set, word, vector = self.set[: k * n], self.word[: k * n], self.vector[: k * n].reshape(k, n)
        floats, place = self.float[: k * n], self.place[: k * n]
        mask, bits, places = is_set.reshape(-1).view("<i8"), floats.view(np.int64), place.reshape(k, n)
        words = [table.view("<u4") for table in tables]
        parts = [slice(t * n, (t + 1) * n) for t in range(k)]
        for table, part in zip(words, parts, strict=True):
            np.not_equal(table, 0, out=is_set[part])
        if mask[0] >> 56 and mask.min() >> 56:  # word 7 of every row
            for table, part, found in zip(words, parts, out, strict=True):
                np.copyto(floats[part], table[:, 7])
                np.right_shift(bits[part], 52, out=place[part])
                np.subtract(place[part], 1023 - 32 * 7, out=found, casting="unsafe")
            return
        np.copyto(floats, mask, casting="unsafe")
        np.right_shift(bits, 55, out=place)  # the exponent is 1023 + 8 k, and 1023 + 8 k = 8 (127 + k) + 7; or 0
        np.add(places, self.row[:n], out=places)  # of an empty row 127 words too low: so is its vector, below 0
        for table, part in zip(words, parts, strict=True):  # any mode but the default writes into `out` at once
            np.take(table.reshape(-1), place[part], out=word[part], mode="wrap")
        np.copyto(floats, word)
        np.right_shift(bits, 52, out=bits)  # 1023 + b, or 0
        np.left_shift(place, 5, out=place)
        np.add(place, bits, out=place)
        np.copyto(vector.reshape(-1), place, casting="unsafe")
        np.subtract(vector, self.low[:n], out=vector)
        for found, row in zip(out, vector, strict=True):
            np.maximum(row, self.none[:n], out=found)


_kept = threading.local()


def scratch_of(size: int) -> _Scratch:
    """This thread's."""
    found: _Scratch | None = getattr(_kept, "scratch", None)
    if found is None or found.size < size:
        found = _kept.scratch = _Scratch(size)
    return found


# Bad input


def check(pir: Any, virr: Any, on: Any = None, out: Any = None) -> None:
    """Whether these are descriptors that can be harvested in place. Raises TypeError and ValueError."""
    _check_registers("pir", pir)
    _check_registers("virr", virr)
    _check_rows("virr", virr, len(pir))
    _check_writeable("pir", pir)
    _check_writeable("virr", virr)
    if on is not None:
        _check_array("on", on, np.dtype(np.bool_), 1)
        _check_rows("on", on, len(pir))
        _check_writeable("on", on)
    for name, numbers in zip(("out.posted", "out.rvi"), out or (), strict=False):
        _check_array(name, numbers, np.dtype(np.int16), 1)
        _check_rows(name, numbers, len(pir))
        _check_writeable(name, numbers)
    if np.may_share_memory(pir, virr):
        raise ValueError("pir and virr share memory: a harvest would clear what it has just merged. Pass two arrays.")


def _check_registers(name: str, array: Any) -> None:
    _check_array(name, array, np.dtype("<u8"), 2)
    if array.shape[1] != WORDS:
        raise ValueError(f"{name} has the shape {array.shape}; due is (n, {WORDS}), 256 bits a row, lowest word first")


def _check_array(name: str, array: Any, dtype: np.dtype[Any], dimensions: int) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is of type {type(array).__name__}; due is a NumPy array of {dtype}, see np.asarray")
    if array.dtype != dtype:
        raise TypeError(f"{name} holds {array.dtype}; due is {dtype}, little-endian: see its methods astype and view")
    if array.ndim != dimensions:
        due = "(n,)" if dimensions == 1 else f"(n, {WORDS})"
        raise ValueError(f"{name} has the shape {array.shape}; due is {due}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous, and is not copied silently: see np.ascontiguousarray")


def _check_rows(name: str, array: Any, rows: int) -> None:
    if len(array) != rows:
        raise ValueError(f"{name} has {len(array)} rows, and pir has {rows}: a row of each is one descriptor")


def _check_writeable(name: str, array: Any) -> None:
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only, and would be changed in place: pass a copy of your own")
