"""A kernel source tree that the user has: a folder, a commit of a git repository, or the archive that Debian's package
linux-source-* installs.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from conformance.adapters import git
from conformance.adapters.native import NativeError, NativeUnavailableError
from conformance.adapters.user_cache import user_cache
from reference.linux.patch import patched

PACKAGES = Path("/usr/src")
"""Where Debian's linux-source packages put their archives."""
VARIABLE = "INTACK_LINUX_SOURCE"
"""Environment variable that names the tree to take where none is named."""
DEFAULT = "linux-source-6.1"

KEPT = (
    "Makefile",
    "arch/arm64/kvm/",
    "arch/x86/include/asm/posted_intr.h",
    "arch/x86/kvm/",
    "drivers/irqchip/irq-gic-v3-its.c",
    "drivers/irqchip/irq-gic-v4.c",
    "include/kvm/",
    "include/linux/irqchip/",
    "include/linux/kvm_host.h",
    "kernel/exit.c",
    "kernel/irq/",
    "virt/kvm/",
)
"""What is unpacked of an archive: for every architecture at once, since reading it takes seconds."""


@dataclass(frozen=True)
class Tree:
    """A folder with the files of KEPT, or those of them that are needed, or a commit of it; and what a patch makes of some."""

    root: Path
    patched: Mapping[str, str] = field(default_factory=dict)
    """File to its text."""
    commit: str = ""
    """The hash of one; empty: the files as they lie in the folder."""

    @cached_property
    def release(self) -> str:
        """As its Makefile says: 6.1.192. Without one it is unknown, which is no error."""
        text = self.read("Makefile") if self.has("Makefile") else ""
        parts = [re.search(rf"^{key} *= *(\S*)", text, re.MULTILINE) for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
        return ".".join(found[1] for found in parts if found and found[1]) or "unknown"

    def has(self, file: str) -> bool:
        if self.commit and file not in self.patched:
            return git.text(self.root, self.commit, file) is not None
        return file in self.patched or (self.root / file).is_file()

    def read(self, file: str) -> str:
        """The text of a file, named from the top of the tree. Raises NativeError."""
        if file in self.patched:
            return self.patched[file]
        if self.commit:
            return self._of_commit(file)
        try:
            return (self.root / file).read_text(errors="surrogateescape")
        except OSError as error:
            raise NativeError(
                f"{self.root / file} is not readable ({error.strerror}): name the top directory of a Linux source tree, "
                f"as an option or in {VARIABLE}.",
                "build",
            ) from None

    def _of_commit(self, file: str) -> str:
        if (text := git.text(self.root, self.commit, file)) is None:
            raise NativeError(f"commit {self.commit[:12]} of {self.root} has no {file}", "build")
        return text


def tree_of(name: str = "") -> Tree:
    """The tree at a folder, in an archive, or of Debian's package of this name; after an at sign a commit of a git repository,
    after a plus sign a patch to do to it. Raises NativeError.
    """
    before = unpatched(name)
    if before != name:
        tree = tree_of(before)
        return replace(tree, patched=patched(Path(name.removeprefix(f"{before}+")), tree.read))
    name = name or os.environ.get(VARIABLE, "") or DEFAULT
    archive = Path(name)
    folder, at, revision = name.rpartition("@")
    if at and Path(folder).is_dir() and not archive.exists():
        try:
            return Tree(Path(folder).absolute(), commit=git.commit(Path(folder), revision).id)
        except git.GitError as error:
            raise NativeError(str(error), "build") from None
    if re.fullmatch(r"linux-source-[\d.]+", name) and not archive.exists():
        archive = PACKAGES / f"{name}.tar.xz"
        if not archive.exists():
            raise NativeUnavailableError(
                f"no Linux source: neither {VARIABLE} names a source tree nor does {archive} exist. On Debian: "
                f"apt-get install {name}; elsewhere unpack a Linux source and name its top directory."
            )
    if archive.is_file():
        return Tree(_unpacked(archive))
    if not archive.is_dir():
        raise NativeError(f"{name} is no folder: name the top directory of a Linux source tree.", "build")
    return Tree(archive.absolute())


def unpatched(name: str) -> str:
    """What stands before the plus sign, if a patch comes after it."""
    before, plus, patch = name.rpartition("+")
    return before if plus and Path(patch).is_file() else name


def _unpacked(archive: Path) -> Path:
    """It is kept in the user's cache, where that can be written; else it lies in a temporary folder of this process."""
    found = archive.stat()
    kept = zlib.crc32("\n".join(KEPT).encode())
    folder = user_cache() / f"{archive.name.partition('.tar')[0]}-tree-{kept:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one unpacks it
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as new:
                    _unpack(archive, Path(new))
                    os.rename(new, folder)  # in one step: a process that is killed leaves nothing that looks whole
        return folder
    except OSError:
        new = tempfile.mkdtemp(prefix="intack-linux-")
        _unpack(archive, Path(new))
        return Path(new)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive, "r|*") as package:
            for member in package:
                _, _, name = member.name.partition("/")
                content = package.extractfile(member) if name.startswith(KEPT) and member.isfile() else None
                if content:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(content.read())
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise NativeError(f"{archive} cannot be read ({error}). Install it again.", "build") from None
    if not (folder / "virt/kvm").is_dir():
        raise NativeError(f"{archive} is no Linux source: it has no virt/kvm.", "build")
