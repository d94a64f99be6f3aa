"""Wrong PIR scanners: each one mistake in a plain scanner. `intack scan` must find every one of them.

    intack scan -a reference.known_bad.scanner.scanners:ForgetsToClear

All synthetic, after what goes wrong where somebody writes such a loop: edges of words, signs, copies, ends of arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Plain:
    """Row by row, word by word. Right; the others change one step of it."""

    words: tuple[int, ...] = (0, 1, 2, 3)

    def __call__(self, pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        n = len(pir)
        posted, rvi = np.full(n, -1, np.int16), np.full(n, -1, np.int16)
        for i in self.rows(n):
            if self.is_due(on[i]):
                self.clear_on(on, i)
                posted[i] = self.harvest(pir[i], self.target(virr, i))
            rvi[i] = self.rvi(virr[i], int(posted[i]))
        return posted, rvi

    def rows(self, n: int) -> range:
        return range(n)

    def is_due(self, on: Any) -> bool:
        return bool(on)

    def clear_on(self, on: Array, row: int) -> None:
        on[row] = False

    def target(self, virr: Array, row: int) -> Array:
        return virr[row]

    def harvest(self, pir: Array, virr: Array) -> int:
        """One descriptor: four words each. Answers the highest vector, or -1."""
        found = -1
        for word in self.words:
            bits = self.take(pir, word)
            if bits:
                self.merge(virr, word, bits)
                found = max(found, 64 * word + self.highest(bits))
        return found

    def take(self, pir: Array, word: int) -> int:
        bits = int(pir[word])
        pir[word] = 0
        return bits

    def merge(self, virr: Array, word: int, bits: int) -> None:
        virr[word] |= np.uint64(bits)

    def highest(self, bits: int) -> int:
        return bits.bit_length() - 1

    def rvi(self, virr: Array, posted: int) -> int:
        return max((64 * word + int(virr[word]).bit_length() - 1 for word in range(4) if virr[word]), default=-1)


class ForgetsToClear(Plain):
    """PIR keeps what was taken: every vector comes again with the next harvest."""

    def take(self, pir: Array, word: int) -> int:
        return int(pir[word])


class ClearsFirst(Plain):
    """Each word is cleared, then read: everything is lost."""

    def take(self, pir: Array, word: int) -> int:
        pir[word] = 0
        return int(pir[word])


class LowestVector(Plain):
    """The lowest bit of a word instead of the highest."""

    def highest(self, bits: int) -> int:
        return (bits & -bits).bit_length() - 1


class StopsAtEmptyWord(Plain):
    """The first word that is 0 ends the harvest."""

    def harvest(self, pir: Array, virr: Array) -> int:
        found = -1
        for word in self.words:
            bits = self.take(pir, word)
            if not bits:
                break
            self.merge(virr, word, bits)
            found = 64 * word + self.highest(bits)
        return found


class StopsAtFirstFound(Plain):
    """From the top down, the first word that is not 0 ends the harvest: lower words stay in PIR."""

    def harvest(self, pir: Array, virr: Array) -> int:
        for word in reversed(self.words):
            bits = self.take(pir, word)
            if bits:
                self.merge(virr, word, bits)
                return 64 * word + self.highest(bits)
        return -1


class LeavesOn(Plain):
    """ON stays set: the next post finds it so and notifies nobody."""

    def clear_on(self, on: Array, row: int) -> None:
        pass


class SignedWord(Plain):
    """A word is taken for a signed number and must be larger than 0: with bit 63 it is cleared and forgotten."""

    def take(self, pir: Array, word: int) -> int:
        bits = super().take(pir, word)
        return bits if bits < 1 << 63 else 0


class HalfAWord(Plain):
    """A word goes through 32 bits: its upper half is lost."""

    def take(self, pir: Array, word: int) -> int:
        return super().take(pir, word) & 0xFFFFFFFF


class MissesLastBit(Plain):
    """Bits 0 to 62 of a word: a loop that ends one too early at every edge of words."""

    def take(self, pir: Array, word: int) -> int:
        return super().take(pir, word) & (1 << 63) - 1


class WorksOnACopy(Plain):
    """PIR is copied, and the copy is cleared."""

    def __call__(self, pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        return super().__call__(pir.copy(), virr, on)


class NextWord(Plain):
    """Merged one word too high: other vectors are pending afterwards than were posted."""

    def merge(self, virr: Array, word: int, bits: int) -> None:
        super().merge(virr, (word + 1) % 4, bits)


class Overwrites(Plain):
    """vIRR becomes what was harvested: what was pending in that word is lost."""

    def merge(self, virr: Array, word: int, bits: int) -> None:
        virr[word] = bits


class Toggles(Plain):
    """Merged with exclusive or: a vector that was pending and is posted again vanishes."""

    def merge(self, virr: Array, word: int, bits: int) -> None:
        virr[word] ^= np.uint64(bits)


class Adds(Plain):
    """Merged with a sum: a vector that was pending and is posted again becomes the next one."""

    def merge(self, virr: Array, word: int, bits: int) -> None:
        virr[word] = (int(virr[word]) + bits) % (1 << 64)


class ForgetsRvi(Plain):
    """RVI is the highest vector harvested, whatever was pending."""

    def rvi(self, virr: Array, posted: int) -> int:
        return posted if posted >= 0 else super().rvi(virr, posted)


class NothingIsZero(Plain):
    """0 stands for no vector."""

    def __call__(self, pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        posted, rvi = super().__call__(pir, virr, on)
        return np.maximum(posted, 0), np.maximum(rvi, 0)


class EightBits(Plain):
    """Vectors are answered as bytes: no vector becomes FFH."""

    def __call__(self, pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        posted, rvi = super().__call__(pir, virr, on)
        return posted.astype(np.uint8), rvi.astype(np.uint8)


class ThroughDouble(Plain):
    """The highest bit through a floating-point logarithm of 64 bits, which rounds: 54 ones are one bit more."""

    def highest(self, bits: int) -> int:
        return int(np.log2(float(bits)))


class MissesLastRow(Plain):
    """A loop that ends one descriptor too early."""

    def rows(self, n: int) -> range:
        return range(n - 1)


class WholeBlocksOnly(Plain):
    """Descriptors are scanned four at a time; those left over, where there are more than four, are not."""

    def rows(self, n: int) -> range:
        return range(n - n % 4 if n > 4 else n)


class ClearsWithoutOn(Plain):
    """Where ON is clear PIR is cleared all the same, and not merged."""

    def __call__(self, pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        pir[~on] = 0
        return super().__call__(pir, virr, on)


class OneRowForAll(Plain):
    """Everything is merged into the first row: vectors reach another vCPU."""

    def target(self, virr: Array, row: int) -> Array:
        return virr[0]


class Downwards(Plain):
    """Right: the words from the top down."""

    words = (3, 2, 1, 0)


class WithoutOn(Plain):
    """Right: every descriptor is harvested, as the processor does, which does not test ON."""

    def is_due(self, on: Any) -> bool:
        return True


KNOWN_BAD: dict[type[Plain], tuple[str, ...]] = {
    ForgetsToClear: ("PIP-5", "PIP-4"),
    ClearsFirst: ("PIP-5",),
    LowestVector: ("PIP-7",),
    StopsAtEmptyWord: ("PIP-5", "PIP-4", "PIP-7"),
    StopsAtFirstFound: ("PIP-5", "PIP-4"),
    LeavesOn: ("PIP-4",),
    SignedWord: ("PIP-5", "PIP-7"),
    HalfAWord: ("PIP-5", "PIP-7"),
    MissesLastBit: ("PIP-5", "PIP-7"),
    WorksOnACopy: ("PIP-5", "PIP-4"),
    NextWord: ("PIP-5", "E2E-2"),
    Overwrites: ("PIP-5",),
    Toggles: ("PIP-5",),
    Adds: ("PIP-5", "E2E-2"),
    ForgetsRvi: ("PIP-7",),
    NothingIsZero: ("E2E-2", "PIP-7"),
    EightBits: ("E2E-2", "PIP-7"),
    ThroughDouble: ("PIP-7",),
    MissesLastRow: ("PIP-4", "PIP-5", "PIP-7"),
    WholeBlocksOnly: ("PIP-4", "PIP-5", "PIP-7"),
    ClearsWithoutOn: ("PIP-5",),
    OneRowForAll: ("PIP-5", "E2E-2"),
}
"""Each wrong scanner with the clauses that it must be found by, the telling one first."""
MUST_PASS = (Plain, Downwards, WithoutOn)


def spec(scanner: type[Plain]) -> str:
    return f"{__name__}:{scanner.__name__}"
