"""The oracle of the PIR scanner: all 256 bits, one at a time, written to be obviously right and nothing else.

The same entry points as reference.pir.harvest, with the same results.
"""

from __future__ import annotations

import numpy as np

from reference.pir.harvest import Flags, Harvested, Words


def harvest(pir: int, virr: int) -> tuple[int, int, int]:
    posted = rvi = -1
    for vector in range(256):
        if pir >> vector & 1:
            virr |= 1 << vector
            posted = vector
        if virr >> vector & 1:
            rvi = vector
    return virr, posted, rvi


def harvest_if_on(on: int, pir: int, virr: int) -> tuple[int, int, int, int]:
    if not on:
        _, _, rvi = harvest(0, virr)
        return pir, virr, -1, rvi
    return 0, *harvest(pir, virr)


def harvest_many(pir: Words, virr: Words, on: Flags | None = None) -> Harvested:
    found = Harvested(np.full(len(pir), -1, np.int16), np.full(len(pir), -1, np.int16))
    for row in range(len(pir)):
        harvested = on is None or bool(on[row])
        if on is not None:
            on[row] = False
        for vector in range(256):
            word, bit = vector // 64, np.uint64(1 << vector % 64)
            if harvested and pir[row, word] & bit:
                pir[row, word] &= ~bit
                virr[row, word] |= bit
                found.posted[row] = vector
            if virr[row, word] & bit:
                found.rvi[row] = vector
    return found


def highest_many(registers: Words) -> np.ndarray:
    found = np.full(len(registers), -1, np.int16)
    for row, words in enumerate(registers):
        for vector in range(256):
            if words[vector // 64] & np.uint64(1 << vector % 64):
                found[row] = vector
    return found
