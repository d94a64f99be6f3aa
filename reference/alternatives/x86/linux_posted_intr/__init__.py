"""Linux's own posted_intr.c, unmodified, behind the residency role's load, put and wakeup handler.

    kernel source (a tree, or Debian's linux-source-6.1) ── posted_intr.c, posted_intr.h ──┐
    stub/ (stands in for the kernel's headers), harness.c ─────────────────────────────────┴── NativeProgram

None of the kernel's text is here: it is taken from where it is installed, at build time. The version is Linux 6.1;
later ones moved the descriptor to another header and would need other stubs.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.adapters import protocol
from conformance.adapters.declared import world_of
from conformance.adapters.native import NativeError, NativeProgram, NativeUnavailableError
from conformance.adapters.registry import AdapterError, Implementation
from conformance.adapters.source import Source
from conformance.adapters.user_cache import user_cache
from conformance.roles.x86 import Residency, World
from reference.x86.kvm import Kvm

HERE = Path(__file__).parent

PACKAGE = Path("/usr/src/linux-source-6.1.tar.xz")
"""What Debian's package linux-source-6.1 installs."""
VARIABLE = "INTACK_LINUX_SOURCE"
"""Environment variable that names a kernel source tree to use instead."""
FOLDER = "arch/x86/kvm/vmx"
FILES = ("posted_intr.c", "posted_intr.h")

Replacements = Sequence[tuple[str, str]]

WITHOUT_SELF_IPI: Replacements = (("pi_test_on(&new)", "0"),)
"""Undoes the self-IPI of commit d76fb40637fc: put no longer looks whether a notification is outstanding."""


class LinuxPostedIntr(NativeProgram):
    """Routines `load(vcpu, cpu)`, `put(vcpu, preempted)`, `wakeup_handler(cpu)`, `has_pending(vcpu)`, and
    `directed_yield(vcpu)`, which asks has_pending of all others.

    There are as many vCPUs and CPUs as the world says. `tree` is a kernel source tree. `replacements` are
    (old text, new text) done in the source before it is compiled, to see whether the suite notices; each old text must
    occur once.
    """

    glue = (HERE,)

    def __init__(
        self,
        tree: Path | str | None = None,
        *,
        replacements: Replacements = (),
        compiler: str = "",
        world: protocol.WorldMessage | None = None,
    ) -> None:
        flags = ("-std=gnu11", "-fno-strict-aliasing", f"-I{HERE / 'stub'}")
        super().__init__((HERE / "harness.c",), cflags=flags, compiler=compiler, world=world)
        self.tree = tree
        self.replacements = tuple(replacements)

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        """Copy the kernel's files, replacements done, to where their includes find our stubs, not their neighbours."""
        for name, text in replaced(kernel_files(self.tree), self.replacements).items():
            (folder / name).write_text(text)
        return (*self.sources, folder / FILES[0]), (*self.cflags, f"-I{folder}")


def adapter(argument: str) -> Implementation:
    """Linux 6.1's own posted_intr.c: load, put, wakeup handler, pending. After a colon, the kernel source tree to take."""
    return implementation(argument or None)


def implementation(
    tree: Path | str | None = None, *, replacements: Replacements = (), name: str = "linux-posted-intr"
) -> Implementation:
    """The residency role as Linux fills it, over the locations that the reference's KVM declares."""
    program = LinuxPostedIntr(tree, replacements=replacements)
    try:
        program.build()
    except NativeError as error:
        raise AdapterError(f"{name}: {error}") from error

    def source(world: World) -> Source:
        return program.in_world(world_of(world))

    spec = f"{name}:{tree}" if tree else name
    routines: tuple[str, ...] = ("load", "put", "wakeup_handler", "directed_yield", "has_pending")
    return Implementation(name, spec, {Residency: Kvm}, Kvm.profile, replaces=dict.fromkeys(routines, source))


def kernel_files(tree: Path | str | None = None) -> Mapping[str, str]:
    """The text of FILES by name: from `tree`, else from the tree that VARIABLE names, else from Debian's package."""
    tree = tree or os.environ.get(VARIABLE)
    if tree:
        folder = Path(tree) / FOLDER
        advice = f"name the top directory of a Linux 6.1 source tree, as an option or in {VARIABLE}"
        return _read(folder, f"{folder} is not readable: {advice}")
    if not PACKAGE.exists():
        raise NativeUnavailableError(
            f"no Linux source: neither {VARIABLE} names a source tree nor does {PACKAGE} exist. "
            "On Debian 12: apt-get install linux-source-6.1; elsewhere unpack Linux 6.1 and name its top directory."
        )
    return _from_package()


def replaced(files: Mapping[str, str], replacements: Replacements) -> Mapping[str, str]:
    """The files with each old text, which must occur once in all of them, replaced by the new one."""
    changed = dict(files)
    for old, new in replacements:
        found = {name: text.count(old) for name, text in changed.items()}
        if sum(found.values()) != 1:
            counts = ", ".join(f"{count} times in {name}" for name, count in found.items())
            raise NativeError(
                f"the replacement of {old!r} by {new!r} does not fit this Linux source: the text occurs {counts}, "
                "not once. Is it another version than 6.1, or has an earlier replacement changed it?",
                "build",
            )
        changed = {name: text.replace(old, new) for name, text in changed.items()}
    return changed


def _read(folder: Path, missing: str) -> Mapping[str, str]:
    try:
        return {name: (folder / name).read_text() for name in FILES}
    except OSError as error:
        raise NativeError(f"{missing} ({error.strerror}: {error.filename}).", "build") from None


def _from_package() -> Mapping[str, str]:
    """Unpacking takes seconds, so what it gives is kept in the user's cache, where that can be written."""
    package = PACKAGE.stat()
    folder = user_cache() / f"linux-source-6.1-{package.st_mtime_ns:x}-{package.st_size:x}"
    if folder.exists():
        return _read(folder, f"{folder} is damaged: remove it")
    files = _unpack()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as new:
            for name, text in files.items():
                (Path(new) / name).write_text(text)
            # In one step, so that another process sees all or nothing; if it was first, its copy is as good.
            os.rename(new, folder)
    except OSError:
        pass
    return files


def _unpack() -> Mapping[str, str]:
    files: dict[str, str] = {}
    try:
        with tarfile.open(PACKAGE, "r|xz") as package:
            for member in package:
                folder, _, name = member.name.rpartition("/")
                content = package.extractfile(member) if folder.endswith(FOLDER) and name in FILES else None
                if content:
                    files[name] = content.read().decode()
                if len(files) == len(FILES):
                    return files
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise NativeError(f"{PACKAGE} cannot be read ({error}). Install linux-source-6.1 again.", "build") from None
    raise NativeError(f"{PACKAGE} does not contain {', '.join(FILES)} in {FOLDER}.", "build")
