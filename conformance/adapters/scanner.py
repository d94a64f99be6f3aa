"""A PIR scanner of somebody else's: what it must do, how it is found, and how it is called where it can do no harm.

    scan(pir, virr, on) -> (posted, rvi)

pir, virr: (n, 4) uint64, contiguous, a descriptor a row: 256 bits, the lowest word first. on: (n,) bool. A descriptor
whose ON is set is harvested: ON is cleared, then PIR is merged into vIRR and cleared, in place. One whose ON is clear
may be harvested or left alone, as a whole. `posted` and `rvi`, (n,) integers, are the highest vector harvested and the
highest of vIRR afterwards, -1 where there is none.

A SPEC is package.module:function, or the name of a class whose objects can be called, or c:FILE.c:function for a C
function of the form PROTOTYPE, `on` a byte a row.

The scanner runs in a process of its own, on arrays with a margin that must stay as it is, twice on each input.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from conformance.adapters import compiled
from conformance.adapters.registry import AdapterError
from conformance.adapters.source import Fault

PROTOTYPE = "void %s(uint64_t *pir, uint64_t *virr, uint8_t *on, int16_t *posted, int16_t *rvi, size_t n);"
MARGIN = 512
"""Bytes before and after each array. A multiple of 64: what is between is aligned as a cache line is."""
PATTERN, NOT_WRITTEN = 0xA5, -0x5A5B
"""What the margins hold, and the answers of a C function before it is called."""
DUE = "due is a pair (posted, rvi) of integer arrays of shape (n,)"

Array: TypeAlias = np.ndarray[Any, Any]
Scan: TypeAlias = Callable[[Array, Array, Array], Any]


class Descriptors(NamedTuple):
    """Before a scan: (n, 4) uint64, (n, 4) uint64 and (n,) bool."""

    pir: Array
    virr: Array
    on: Array


class Scanned(NamedTuple):
    """After a scan. `posted` and `rvi` are (n,) int64, as the scanner answered them."""

    pir: Array
    virr: Array
    on: Array
    posted: Array
    rvi: Array


def resolve(spec: str) -> Scan:
    """The function that a SPEC names. Raises AdapterError."""
    module, _, name = spec.rpartition(":")
    if not module or not name:
        raise AdapterError(f"{spec!r} names no scanner. Write package.module:function or c:FILE.c:function.")
    if module.startswith("c:"):
        return _from_c(Path(module.removeprefix("c:")), name)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise AdapterError(f"{spec}: importing {module} failed: {error!r}") from error
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            raise AdapterError(f"{spec}: {name}() failed: {error!r}") from error
    if not callable(found):
        raise AdapterError(f"{spec}: {module} has no function {name}")
    return found


def _from_c(source: Path, name: str) -> Scan:
    try:
        function, ffi = compiled.load(source, name, PROTOTYPE)
    except compiled.CompileError as error:
        raise AdapterError(str(error)) from error

    def scan(pir: Array, virr: Array, on: Array) -> tuple[Array, Array]:
        posted, rvi = (_with_margin(np.full(len(pir), NOT_WRITTEN, np.int16)) for _ in range(2))
        types = ("uint64_t[]", "uint64_t[]", "uint8_t[]", "int16_t[]", "int16_t[]")
        arrays = (pir, virr, on, posted.inner, rvi.inner)
        function(*(ffi.from_buffer(t, a) for t, a in zip(types, arrays, strict=True)), len(pir))
        for label, array in (("posted", posted), ("rvi", rvi)):
            array.check(label)
        return posted.inner, rvi.inner

    return scan


class _Margined(NamedTuple):
    inner: Array
    whole: Array

    def check(self, name: str) -> None:
        size = self.inner.nbytes
        before, after = self.whole[:MARGIN], self.whole[MARGIN + size :]
        for where, margin in (("before", before), ("after", after)):
            if (margin != PATTERN).any():
                at = int(np.flatnonzero(margin != PATTERN)[0])
                distance = MARGIN - at if where == "before" else at + 1
                raise Fault("CRASH", f"it writes outside its arrays: byte {distance} {where} `{name}` has changed")


def _with_margin(array: Array) -> _Margined:
    """A copy between two margins."""
    room = np.empty(array.nbytes + 2 * MARGIN + 64, np.uint8)
    start = -room.ctypes.data % 64
    whole = room[start : start + array.nbytes + 2 * MARGIN]
    whole.fill(PATTERN)
    inner = whole[MARGIN : MARGIN + array.nbytes].view(array.dtype).reshape(array.shape)
    inner[...] = array
    return _Margined(inner, whole)


def call(scan: Scan, given: Descriptors) -> Scanned:
    """One call, and what came of it. Raises Fault for whatever breaks the form of the answer."""
    arrays = [_with_margin(array) for array in given]
    try:
        answer = scan(*(array.inner for array in arrays))
    except Fault:
        raise
    except BaseException as error:
        raise Fault("CRASH", f"it raised {error!r}") from error
    for name, array in zip(given._fields, arrays, strict=True):
        array.check(name)
    try:
        posted, rvi = answer
    except (TypeError, ValueError):
        raise Fault("CRASH", f"it returned {_shown(answer)}; {DUE}") from None
    n = len(given.pir)
    numbers = [_numbers(name, value, n) for name, value in (("posted", posted), ("rvi", rvi))]
    flags = arrays[2].inner
    if (odd := flags.view(np.uint8) > 1).any():
        row = int(np.flatnonzero(odd)[0])
        raise Fault("CRASH", f"it left {flags.view(np.uint8)[row]} in `on` of descriptor {row}; due is 0 or 1")
    return Scanned(*(array.inner.copy() for array in arrays), *numbers)


def _numbers(name: str, value: Any, n: int) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise Fault("CRASH", f"{name} is no array: {error!r}; {DUE}") from error
    if array.shape != (n,) or (array.dtype.kind not in "iu" and n):
        raise Fault("CRASH", f"{name} is {_shown(array)} for n = {n}; {DUE}")
    return array.astype(np.int64)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
