"""C functions compiled on the spot and called through cffi, which the extra `compiled` brings.

FILE.c ──cc -O3 -shared──> library ──cffi──> function
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-w")
"""For this machine alone: what is built is used here and now, and removed when the process ends."""


class CompileError(Exception):
    """A C function cannot be had. The message says why, and what to do."""


def unavailable() -> str:
    """What is missing for C to be compiled and called here; empty if nothing is."""
    try:
        import cffi  # noqa: F401
    except ImportError:
        return "cffi is not installed: pip install 'intack[compiled]'"
    return "" if _compiler() else "there is no C compiler: install gcc or clang, or name one in CC"


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))), None)


@cache
def load(source: Path, name: str, prototype: str) -> tuple[Callable[..., Any], Any]:
    """The function `name` of a C file, and the cffi.FFI that makes its arguments. Raises CompileError.

    `prototype` declares it, `%s` standing for the name. A file that defines the function otherwise does not compile.
    """
    if missing := unavailable():
        raise CompileError(f"{source} cannot be compiled: {missing}")
    if not source.is_file():
        raise CompileError(f"there is no C file {source}")
    from cffi import FFI

    declared = prototype % name
    ffi = FFI()
    ffi.cdef(declared)
    library = ffi.dlopen(str(_build(source, declared)))
    try:
        return getattr(library, name), ffi
    except AttributeError:
        raise CompileError(f"{source} defines no function {name} that is not static; due is: {declared}") from None


def _build(source: Path, declared: str) -> Path:
    """Kept in a directory that goes when the process ends."""
    folder = Path(_folder())
    library = folder / f"{len(list(folder.iterdir()))}.so"
    text = f'#include <stddef.h>\n#include <stdint.h>\n{declared}\n#include "{source.resolve()}"\n'
    compiler = _compiler()
    assert compiler
    done = subprocess.run(
        [compiler, *FLAGS, "-x", "c", "-", "-o", str(library)], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileError(f"{source} does not compile as a definition of {declared}\n{done.stderr.strip()}")
    return library


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _folder() -> str:
    if not _kept:
        _kept.append(tempfile.TemporaryDirectory(prefix="intack-", ignore_cleanup_errors=True))
    return _kept[0].name
