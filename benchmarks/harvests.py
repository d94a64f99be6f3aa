"""Ways to harvest many descriptors, and inputs: what benchmarks/pir.py times, and tests/test_pir.py compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from conformance.adapters import compiled
from conformance.adapters.scanner import PROTOTYPE
from reference.pir import compiled as pir_compiled
from reference.pir import harvest as pir
from reference.pir import naive as pir_naive
from reference.pir.harvest import Harvested, Words

MANY = 10_000_000
MERGE = "merge alone"
Batch = Sequence[tuple[Words, Words, Harvested]]


class Contender(NamedTuple):
    name: str
    run: Callable[[Batch], None]
    least: int = 1
    most: int = MANY
    """Array lengths at which it takes part: threads need work for two, a loop in Python is slow."""
    enough: int = 1_000_000_000
    """Descriptors in all after which no more is to be learnt from it."""


def each(harvest: Callable[..., object], **more: int) -> Callable[[Batch], None]:
    def run(batch: Batch) -> None:
        for p, v, out in batch:
            harvest(p, v, out=out, **more)

    return run


def naive(batch: Batch) -> None:
    for p, v, _ in batch:
        pir_naive.harvest_many(p, v)


def obvious(batch: Batch) -> None:
    """As one would write it: word by word, the highest bit through the exponent of a double."""
    for p, v, out in batch:
        v |= p
        for table, found in ((p, out.posted), (v, out.rvi)):
            found.fill(-1)
            for word in range(8):
                column = table.view("<u4")[:, word]
                _, exponent = np.frexp(column.astype(np.float64))
                np.copyto(found, 32 * word + exponent - 1, where=column != 0, casting="unsafe")
        p.fill(0)


def in_c(source: Path, name: str) -> Callable[[Batch], None]:
    scan, ffi = compiled.load(source, name, PROTOTYPE)

    def run(batch: Batch) -> None:
        for p, v, out in batch:
            words = [ffi.from_buffer("uint64_t[]", array) for array in (p, v)]
            scan(*words, ffi.NULL, *(ffi.from_buffer("int16_t[]", array) for array in out), len(p))

    return run


def contenders() -> list[Contender]:
    made = [
        Contender("naive", naive, most=1_000, enough=3_000),
        Contender("obvious NumPy", obvious),
        Contender("NumPy", each(pir.harvest_many)),
        Contender("NumPy, 2 threads", each(pir.harvest_many, threads=2), least=100_000),
    ]
    if not compiled.unavailable():
        kernel = Path(__file__).with_name("kernel.c")
        made += [
            Contender("KVM older", in_c(kernel, "older")),
            Contender("KVM newer", in_c(kernel, "newer")),
            Contender("compiled", each(pir_compiled.harvest_many)),
            Contender("compiled, 2 threads", each(pir_compiled.harvest_many, threads=2), least=100_000),
            Contender(MERGE, in_c(kernel, "merge")),
        ]
    return made


# Inputs


def sparse(n: int, random: np.random.Generator) -> Words:
    table = np.zeros((n, 4), np.uint64)
    vectors = random.integers(0, 256, n)
    table[np.arange(n), vectors >> 6] = np.uint64(1) << (vectors & 63).astype(np.uint64)
    return table


def dense(n: int, random: np.random.Generator) -> Words:
    return random.integers(0, 1 << 64, (n, 4), np.uint64)


def empty(n: int, random: np.random.Generator) -> Words:
    return np.zeros((n, 4), np.uint64)


def mixed(n: int, random: np.random.Generator) -> Words:
    kind = random.integers(0, 3, (n, 1))
    return np.where(kind == 0, sparse(n, random), np.where(kind == 1, dense(n, random), empty(n, random)))


PATTERNS: dict[str, Callable[[int, np.random.Generator], Words]] = {
    "sparse": sparse,
    "dense": dense,
    "mixed": mixed,
    "empty": empty,
}
