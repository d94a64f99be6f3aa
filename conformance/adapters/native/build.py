"""Sources to a program: each compiled by its own compiler with the hooks, all linked with the runtime.

    *.c --gcc or clang--┐
    *.cc --g++ or clang++--┤ -fsanitize=thread     memcpy renamed
    *.rs --rustc--┘─────────> objects ─────objcopy────┐
    *.o, *.a ─────────────────────────────────────────┴─ld── program
    runtime.c ──> object ─────────────────────────────┘

What was built is kept in the user's cache, under a hash of everything it was made from, headers included.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

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

RENAMED = ("memcpy", "memmove", "memset")
"""Library functions that compilers call without a hook."""

CXX = (".cc", ".cpp", ".cxx")
KEPT = 100
"""Programs in the cache; the ones used longest ago go."""


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
    """One program to be made from `sources`. `roots` are symbols that must not be left out of archives."""

    def __init__(
        self, sources: Sequence[Path], cflags: Sequence[str], compiler: str, roots: Iterable[str] = ()
    ) -> None:
        self.sources, self.cflags, self.compiler = tuple(sources), tuple(cflags), compiler
        self.roots = tuple(sorted(roots))
        self.cc = compiler_for(".c", compiler)

    def program(self, scratch: Path) -> Path:
        """The executable: from the cache, or made in `scratch`. Raises NativeError."""
        home = _cache() / self.key(scratch)
        if _current(home):
            with contextlib.suppress(OSError):  # not ours to touch
                os.utime(home)
            return home / "program"
        made = self.make(scratch)
        return _keep(home, made, self.inputs(scratch))

    def key(self, scratch: Path) -> str:
        """A hash of all but the headers."""
        tools = sorted({compiler_for(s.suffix, self.compiler) for s in self.sources} | {self.cc})
        own = [(HERE / name).read_bytes().hex() for name in ("runtime.c", "intack.h", "build.py")]
        texts = [(str(s).replace(str(scratch), ""), s.read_bytes().hex() if s.exists() else "") for s in self.sources]
        flags = [flag.replace(str(scratch), "") for flag in self.cflags]
        parts = (texts, flags, self.roots, [(tool, _version(tool)) for tool in tools], own)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def make(self, scratch: Path) -> Path:
        runtime = scratch / "intack-runtime.o"
        _run("compile the runtime", self.cc, "-std=gnu11", "-O1", "-c", HERE / "runtime.c", "-o", runtime)
        objects = [self.compiled(number, source, scratch) for number, source in enumerate(self.sources)]
        rust = any(source.suffix == ".rs" for source in self.sources)
        libraries = _rust_library(compiler_for(".rs", ""), scratch) if rust else ()
        suffixes = {source.suffix for source in self.sources}
        linker = compiler_for(".cc" if suffixes & set(CXX) else ".c", self.compiler)
        program = scratch / "intack-program"
        # Not position-independent: static data have the same addresses in every process. Static: it forks faster.
        link = ("-no-pie", *(f"-Wl,-u,{root}" for root in self.roots), runtime, *objects, *libraries, "-o", program)
        try:
            _run("link the program", linker, "-static", *link)
        except NativeError:
            _run("link the program", linker, *link)
        return program

    def compiled(self, number: int, source: Path, scratch: Path) -> Path:
        if source.suffix == ".a":
            return source
        made = scratch / f"intack-{number}-{source.stem}.o"
        if source.suffix == ".o":
            made.write_bytes(_bytes(source))
        elif source.suffix == ".rs":
            rustc = compiler_for(".rs", "")
            emit = f"--emit=obj={made},dep-info={made.with_suffix('.d')}"
            _run(f"compile {source}", rustc, *RUST, *RUST_SHAPE, emit, *self.cflags, source, RUSTC_BOOTSTRAP="1")
        else:
            compiler = compiler_for(source.suffix, self.compiler)
            flags = ("-O2", "-g", *hooks_of(compiler), f"-I{HERE}", "-MMD", "-MF", made.with_suffix(".d"), *self.cflags)
            _run(f"compile {source}", compiler, *flags, "-c", source, "-o", made)
        renamed = (f"--redefine-sym={name}=__tsan_{name}" for name in RENAMED)
        objcopy = "objcopy" if shutil.which("objcopy") else "llvm-objcopy"
        _run(f"give {source} the runtime's memcpy", objcopy, *renamed, made)
        return made

    def inputs(self, scratch: Path) -> Mapping[str, str]:
        """Hash of each file that the compilers have read, beside what was made for them."""
        found: dict[str, str] = {}
        for rules in scratch.glob("intack-*.d"):
            text = rules.read_text().replace("\\\n", " ")
            _, _, names = text.partition("\n")[0].partition(": ")
            for name in re.split(r"(?<!\\)\s+", names.strip()):
                path = Path(name.replace("\\ ", " "))
                if path.exists() and scratch not in path.parents:
                    found[str(path.absolute())] = _hash(path)
        return found


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory to build in. It lies in the cache, where the next build clears what a killed one left."""
    return tempfile.TemporaryDirectory(prefix="scratch-", dir=_cache())


def _cache() -> Path:
    global _own_cache
    if _own_cache is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "intack" / "native"
        try:
            home.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=home).close()
        except OSError:  # no home that can be written: for this process only
            home = Path(tempfile.mkdtemp(prefix="intack-native-"))
            atexit.register(shutil.rmtree, home, True)
        _own_cache = home
    return _own_cache


_own_cache: Path | None = None


def _current(home: Path) -> bool:
    try:
        inputs = msgspec.json.decode((home / "inputs.json").read_bytes(), type=dict[str, str])
        return all(_hash(Path(path)) == known for path, known in inputs.items())
    except (OSError, msgspec.MsgspecError):
        return False


def _keep(home: Path, program: Path, inputs: Mapping[str, str]) -> Path:
    """Into the cache in one step, so that another process sees all or nothing; if it was first, its copy is as good."""
    new = Path(tempfile.mkdtemp(prefix="scratch-", dir=home.parent))
    shutil.copy2(program, new / "program")
    (new / "inputs.json").write_bytes(msgspec.json.encode(inputs))
    if home.exists() and not _current(home):
        shutil.rmtree(home, ignore_errors=True)
    try:
        os.rename(new, home)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
    _clear(home.parent)
    return home / "program"


def _clear(cache: Path) -> None:
    """Programs used longest ago, and what killed builds left."""
    by_age: list[tuple[float, Path]] = []
    for path in cache.iterdir():
        try:
            by_age.append((path.stat().st_mtime, path))
        except OSError:
            continue
    by_age.sort(reverse=True)
    newest = by_age[0][0] if by_age else 0.0
    programs = [path for _, path in by_age if not path.name.startswith("scratch-")]
    left = [path for age, path in by_age if path.name.startswith("scratch-") and newest - age > 3600]
    for path in (*programs[KEPT:], *left):
        shutil.rmtree(path, ignore_errors=True)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NativeError(
            f"the object {path} cannot be read: {error.strerror}. Has it been compiled?", "build"
        ) from None


def _version(tool: str) -> str:
    try:
        return subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout.partition("\n")[
            0
        ]
    except OSError:
        return ""


def _rust_library(rustc: str, scratch: Path) -> tuple[str | Path, ...]:
    """The standard library that came with the compiler, its allocator and panic handler included: what rustc packs into
    a library that is nothing else.
    """
    empty, library = scratch / "intack-empty.rs", scratch / "libintack-rust.a"
    empty.write_text("")
    _run(
        "pack Rust's library", rustc, "--crate-type=staticlib", "--edition=2021", "-Cpanic=abort", empty, "-o", library
    )
    return "-Wl,--gc-sections", library, "-lgcc_eh", "-lc"


def _run(purpose: str, tool: str, *arguments: str | Path, **environment: str) -> None:
    command = [tool, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise NativeUnavailableError(
            f"to {purpose}, the compiler {tool!r} cannot be started ({error.strerror}). {_install(tool)}"
        ) from None
    if done.returncode:
        raise NativeError(f"could not {purpose}: {' '.join(command)}\n{done.stderr.strip()[-8000:]}", "build")


def _install(tool: str) -> str:
    if "rustc" in tool:
        return "Install Rust (https://rustup.rs); 1.95 is known to work."
    package = "clang" if "clang" in tool else "g++" if "++" in tool else "binutils" if "objcopy" in tool else "gcc"
    return f"Install it (Debian: apt-get install {package} libc6-dev), or name another one."
