"""Sources to a program: each compiled by its own compiler with the hooks, all linked with the runtime.

    *.c --gcc or clang--┐
    *.cc --g++ or clang++--┤ -fsanitize=thread     memcpy renamed
    *.rs --rustc--┘─────────> objects ─────objcopy────┐
    *.o, *.a ─────────────────────────────────────────┴─ld── program
    runtime.c ──> object ─────────────────────────────┘

What was built is kept (cache.py) under a hash of everything that the compilers read (fingerprint.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from conformance.adapters.native import cache, fingerprint
from conformance.adapters.native import tool as tool_run
from conformance.adapters.pipe import PipeError

HERE = Path(__file__).parent

# An access is at most a 64-bit word, since kernels have no vector registers. A volatile access is meant to be atomic, a
# plain one may be a race. And what turns into something else after the hooks are placed would be seen by nobody.
GCC = (
    "-fsanitize=thread",
    "--param=tsan-distinguish-volatile=1",
    "-fno-tree-vectorize",
    "-fno-tree-loop-distribute-patterns",
    "-Wno-tsan",  # it is about fences, which the sanitizer's own library does not understand; ours does
    *("-fno-builtin-memcpy", "-fno-builtin-memmove", "-fno-builtin-memset"),
)
CLANG = (
    "-fsanitize=thread",
    *("-mllvm", "-tsan-distinguish-volatile=1", "-mllvm", "-tsan-instrument-read-before-write=1"),
    *("-fno-vectorize", "-fno-slp-vectorize"),
)
RUST = (
    *("-Zsanitizer=thread", "-Cunsafe-allow-abi-mismatch=sanitizer"),
    *("-Cllvm-args=-tsan-distinguish-volatile=1 -tsan-instrument-read-before-write=1",),
    *("-Cno-vectorize-loops", "-Cno-vectorize-slp"),
)
RUST_SHAPE = (
    *("--edition=2021", "--crate-type=lib", "--cfg=intack", "--check-cfg=cfg(intack,test)"),
    *("-Copt-level=2", "-Cdebuginfo=2", "-Cpanic=abort", "-Ccodegen-units=1", "-Crelocation-model=static"),
)

RUNTIME_FLAGS = ("-std=gnu11", "-O1")
OBJCOPY = "objcopy" if shutil.which("objcopy") else "llvm-objcopy"

RENAMED = ("memcpy", "memmove", "memset")
"""Library functions that compilers call without a hook."""

CXX = (".cc", ".cpp", ".cxx")
RUNTIME = "runtime"
SHOWN = 8000
"""Characters of what a compiler said that an error repeats."""


class NativeError(PipeError):
    """A native program could not be built: what was tried, what happened, what to do."""


class NativeUnavailableError(NativeError):
    """Something has to be installed first."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "build")


def compiler_for(suffix: str, chosen: str) -> str:
    """The compiler of a source, given the one chosen for C: the C++ compiler of the same make, or rustc."""
    if suffix == ".rs":
        cargo = Path("~/.cargo/bin/rustc").expanduser()
        return shutil.which("rustc") or (str(cargo) if cargo.exists() else "rustc")
    chosen = chosen or ("gcc" if shutil.which("gcc") or not shutil.which("clang") else "clang")
    if suffix not in CXX:
        return chosen
    return re.sub(r"gcc(?=[^/]*$)", "g++", re.sub(r"clang(?!\+)(?=[^/]*$)", "clang++", chosen))


def hooks_of(compiler: str) -> tuple[str, ...]:
    """How this compiler is told to call the runtime at each access."""
    return CLANG if "clang" in Path(compiler).name else GCC


class Build:
    """One program to be made from `sources`. `roots` are symbols that must not be left out of archives; `folder` is what
    relative paths in flags are relative to.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        cflags: Sequence[str],
        compiler: str,
        roots: Iterable[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.sources, self.cflags, self.compiler = tuple(sources), tuple(cflags), compiler
        self.roots = tuple(sorted(roots))
        self.folder = (folder or Path()).absolute()
        self.cc = compiler_for(".c", compiler)
        self.runtime = HERE / "runtime.c"
        self.objects: dict[str, str] = {}
        """By part of the program: a hash of all that was read for it, as of `key`."""

    def program(self, scratch: Path) -> Path:
        """The executable: from the cache, or made in `scratch`. Raises NativeError."""
        key = self.key(scratch)
        while (known := cache.kept(key)) is None:
            made, linked = self.make(scratch)
            if key == (now := self.key(scratch)):
                return cache.keep(key, made, linked)
            key = now  # something changed while it was compiled
        return known

    def key(self, scratch: Path) -> str:
        """A hash of everything that the compilers read, and of the compilers. Raises NativeError."""
        return _hash(self._parts(scratch), scratch)

    def _parts(self, scratch: Path) -> Iterator[bytes]:
        shared = [*self._shared()]
        yield from shared
        yield repr(self.roots).encode()
        yield from fingerprint.identity("ld")
        self.objects = {}
        for part, source in [(RUNTIME, self.runtime), *((str(n), source) for n, source in enumerate(self.sources))]:
            read = [*self._read(source, scratch)]
            yield from read
            self.objects[part] = _hash((*shared, *read), scratch)

    def _shared(self) -> Iterator[bytes]:
        """What decides about each object."""
        yield repr((self.cflags, [os.environ.get(name) for name in fingerprint.ENVIRONMENT])).encode()
        yield Path(__file__).read_bytes()
        yield from fingerprint.named_by(self.cflags, self.folder)
        yield from fingerprint.identity(OBJCOPY)

    def _read(self, source: Path, scratch: Path) -> Iterator[bytes]:
        """What is read for the object of this source."""
        yield source.name.encode()
        compiler, flags = self.command(source)
        if source.suffix in (".o", ".a"):
            yield _bytes(source)
            return
        yield repr(flags).encode()
        yield self._run("ask for its version", compiler, "--version")[0]
        if source.suffix == ".rs":
            made = scratch / "intack-read.d"
            yield from fingerprint.rust_inputs(self._run, compiler, flags, source, self.folder, made)
        else:
            yield from fingerprint.preprocessed(self._run, compiler, flags, source, self.folder)

    def command(self, source: Path) -> tuple[str, tuple[str, ...]]:
        """The compiler of a source, and the flags that it is given."""
        if source == self.runtime:
            return self.cc, RUNTIME_FLAGS
        compiler = compiler_for(source.suffix, self.compiler)
        if source.suffix == ".rs":
            return compiler, (*RUST, *RUST_SHAPE, *self.cflags)
        return compiler, ("-O2", "-g", *hooks_of(compiler), f"-I{HERE}", *self.cflags)

    def make(self, scratch: Path) -> tuple[Path, list[Path]]:
        """The program, and what the linker read for it beside what lies in `scratch`."""
        runtime = self.kept(RUNTIME, self.runtime, scratch)
        objects = [self.kept(str(number), source, scratch) for number, source in enumerate(self.sources)]
        rust = any(source.suffix == ".rs" for source in self.sources)
        libraries = self._rust_library(scratch) if rust else ()
        suffixes = {source.suffix for source in self.sources}
        linker = compiler_for(".cc" if suffixes & set(CXX) else ".c", self.compiler)
        program = scratch / "intack-program"
        # Not position-independent: static data have the same addresses in every process. Static: it forks faster.
        kept = tuple(f"-Wl,-u,{root}" for root in self.roots)
        link = ("-no-pie", "-Wl,--trace", *kept, runtime, *objects, *libraries, "-o", program)
        try:
            read, _ = self._run("link the program", linker, "-static", *link)
        except NativeError:
            read, _ = self._run("link the program", linker, *link)
        names = dict.fromkeys(re.sub(r"^\(|[()].*", "", line) for line in read.decode(errors="replace").splitlines())
        paths = (self.folder / name for name in names)
        ours = {scratch, cache.folder()}
        return program, [path for path in paths if path.is_file() and not ours & set(path.parents)]

    def kept(self, part: str, source: Path, scratch: Path) -> Path:
        """The object of a source: from the cache, or made in `scratch`. One that was given is not kept."""
        if source.suffix in (".a", ".o"):
            return self.compiled(part, source, scratch)
        known = cache.kept(f"{cache.OBJECT}{self.objects[part]}")
        return known or cache.keep(f"{cache.OBJECT}{self.objects[part]}", self.compiled(part, source, scratch), ())

    def compiled(self, part: str, source: Path, scratch: Path) -> Path:
        if source.suffix == ".a":
            return source
        made = scratch / f"intack-{part}-{source.stem}.o"
        compiler, flags = self.command(source)
        if source.suffix == ".o":
            made.write_bytes(_bytes(source))
        elif source.suffix == ".rs":
            self._run(f"compile {source}", compiler, *flags, f"--emit=obj={made}", source)
        else:
            self._run(f"compile {source}", compiler, *flags, "-c", source, "-o", made)
        if source == self.runtime:
            return made
        renamed = (f"--redefine-sym={name}=__tsan_{name}" for name in RENAMED)
        self._run(f"give {source} the runtime's memcpy", OBJCOPY, *renamed, made)
        return made

    def _rust_library(self, scratch: Path) -> tuple[str | Path, ...]:
        """The standard library that came with the compiler, its allocator and panic handler included: what rustc packs
        into a library that is nothing else.
        """
        empty, library = scratch / "intack-empty.rs", scratch / "libintack-rust.a"
        empty.write_text("")
        shape = ("--crate-type=staticlib", "--edition=2021", "-Cpanic=abort")
        self._run("pack Rust's library", compiler_for(".rs", ""), *shape, empty, "-o", library)
        return "-Wl,--gc-sections", library, "-lgcc_eh", "-lc"

    def _run(self, purpose: str, tool: str, *arguments: str | Path) -> tuple[bytes, str]:
        """Standard output and standard error of a tool. Raises NativeError."""
        command = [tool, *map(str, arguments)]
        try:
            done = tool_run.run(command, self.folder, {**os.environ, "RUSTC_BOOTSTRAP": "1"})
        except (tool_run.HangsError, ValueError) as error:
            raise NativeError(f"could not {purpose}: {' '.join(command)}: {error}", "build") from None
        except OSError as error:
            raise NativeUnavailableError(
                f"to {purpose}, the compiler {tool!r} cannot be started ({error.strerror}). {_install(tool)}"
            ) from None
        said = done.stderr.decode(errors="replace")
        if done.returncode:
            raise NativeError(f"could not {purpose}: {' '.join(command)}\n{from_first_error(said)}", "build")
        return done.stdout, said


def _hash(parts: Iterable[bytes], scratch: Path) -> str:
    """Of what was read, wherever it was built."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8) + part.replace(bytes(scratch), b""))
    return whole.hexdigest()[:24]


def from_first_error(said: str) -> str:
    """What a compiler said, from its first error on; warnings before it only as far as there is room."""
    said = said.strip()
    first = re.search(r"^.*(?:\berror(?:\[\w+\])?:|undefined reference)", said, re.MULTILINE)
    if len(said) <= SHOWN or not first:
        return said[:SHOWN]
    before = said[: first.start()].splitlines()[-3:]  # which function and which include it is in
    return "\n".join((*before, said[first.start() :]))[:SHOWN]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NativeError(
            f"the object {path} cannot be read: {error.strerror}. Has it been compiled?", "build"
        ) from None


def _install(tool: str) -> str:
    if "rustc" in tool:
        return "Install Rust (https://rustup.rs); 1.95 is known to work."
    package = "clang" if "clang" in tool else "g++" if "++" in tool else "binutils" if "objcopy" in tool else "gcc"
    return f"Install it (Debian: apt-get install {package} libc6-dev), or name another one."
