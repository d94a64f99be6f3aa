"""What a compiler reads: the key under which a built program is kept.

A list of headers, checked again, is not enough: a header that appears earlier on the search path is on no list. So a C or
C++ source is preprocessed each time and its text is the key, with every header, macro and -I in effect (the idea of
ccache's preprocessor mode). For Rust it is what rustc names in its dependency information. Beside them: the flags, the
files that flags name, and the compiler, assembler and linker themselves.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from conformance.adapters.native.cache import hash_of

Run = Callable[..., tuple[bytes, str]]
"""Runs a tool for a purpose; answers its standard output and standard error, or raises NativeError."""

ENVIRONMENT = ("LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "LD_LIBRARY_PATH", "SOURCE_DATE_EPOCH")
"""Variables that compilers and linkers obey; CPATH and its like show in the preprocessed text."""


def preprocessed(run: Run, compiler: str, flags: Sequence[str], source: Path, folder: Path) -> Iterator[bytes]:
    """A C or C++ source as the compiler proper sees it, and all that this compiler runs."""
    text, _ = run(f"compile {source}", compiler, *flags, "-E", source)
    yield text
    for name in re.findall(rb'\.incbin[\s\\]*"([^"\\]+)', text):  # read by the assembler
        for path in (folder, *(folder / flag[2:] for flag in flags if flag.startswith("-I"))):
            yield from content(path / os.fsdecode(name))
    _, commands = run("ask for its tools", compiler, *flags, "-###", "-c", source)
    for tool in sorted(set(re.findall(r'^ "?([^\s"()]+)', commands, re.MULTILINE))):
        yield from identity(tool)


def rust_inputs(
    run: Run, compiler: str, flags: Sequence[str], source: Path, folder: Path, made: Path
) -> Iterator[bytes]:
    """Every file that rustc reads for this crate, and the variables that it looks at; its own library goes by version."""
    run(f"compile {source}", compiler, *flags, "-Zbinary-dep-depinfo", f"--emit=dep-info={made}", source)
    rules = made.read_text()
    _, _, names = rules.partition("\n")[0].partition(": ")
    for name in re.split(r"(?<!\\)\s+", names.strip()):
        if "/rustlib/" not in name:
            yield from content(folder / name.replace("\\ ", " "))
    yield "".join(re.findall(r"^# env-dep:.*\n", rules, re.MULTILINE)).encode()


def identity(tool: str) -> Iterator[bytes]:
    """Of an executable: where it is, how large, and from when."""
    path = Path(shutil.which(tool) or tool).resolve()
    yield str(path).encode()
    if path.exists():
        found = path.stat()
        yield f"{found.st_size} {found.st_mtime_ns}".encode()


def named_by(flags: Sequence[str], folder: Path) -> Iterator[bytes]:
    """The files that flags name: @options, -specs=FILE, -fprofile-use=FILE, --extern name=FILE, a plugin."""
    for flag in flags:
        for name in re.split(r"[=,@]", flag):
            if name:
                yield from content(folder / name)


def content(path: Path) -> Iterator[bytes]:
    """Of a file, if it is one."""
    if path.is_file():
        yield bytes(path)
        yield hash_of(path).encode()
