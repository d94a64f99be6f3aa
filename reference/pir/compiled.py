"""The PIR scanner's fast path: harvest.c, compiled on the spot. The same results as reference.pir.harvest; never required.

It needs the extra `compiled` and a C compiler; conformance.adapters.compiled.unavailable() says what is missing.
"""

from __future__ import annotations

from pathlib import Path

from conformance.adapters import compiled
from conformance.adapters.scanner import PROTOTYPE
from reference.pir.harvest import Flags, Harvested, Numbers, Words, share_out

SOURCE = Path(__file__).with_name("harvest.c")


def harvest_many(
    pir: Words, virr: Words, on: Flags | None = None, *, threads: int = 1, out: Harvested | None = None
) -> Harvested:
    """As reference.pir.harvest.harvest_many. Raises CompileError too."""
    scan, ffi = compiled.load(SOURCE, "harvest", PROTOTYPE)

    def harvest(pir: Words, virr: Words, on: Flags | None, posted: Numbers, rvi: Numbers) -> None:
        """cffi lets other threads run meanwhile."""
        words = [ffi.from_buffer("uint64_t[]", array) for array in (pir, virr)]
        flags = ffi.NULL if on is None else ffi.from_buffer("uint8_t[]", on)
        scan(*words, flags, *(ffi.from_buffer("int16_t[]", array) for array in (posted, rvi)), len(pir))

    return share_out(harvest, pir, virr, on, threads, out)
