"""Programs that were built, and their objects, in the user's cache: each in a folder named by its key, beside what the linker
read for it.

<cache>/intack/native/<key>/program        key: fingerprint.py, everything that the compilers read
                           /linked.json    what only the linker knows: libraries, and a hash of each and of the program
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from conformance.adapters.user_cache import user_cache

PROGRAM = "program"
OBJECT = "object-"
"""What the key of a compiled source begins with, which is kept like a program."""
KEPT, OBJECTS = 100, 1_000
"""In the cache; the ones used longest ago go."""

_own: Path | None = None


def folder() -> Path:
    """Where programs are kept: for this process only, if no home can be written."""
    global _own
    if _own is None:
        home = user_cache() / "native"
        try:
            home.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=home).close()
        except OSError:
            home = Path(tempfile.mkdtemp(prefix="intack-native-"))
            atexit.register(shutil.rmtree, home, True)
        _own = home
    return _own


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory to build in. It lies in the cache, where the next build clears what a killed one left."""
    return tempfile.TemporaryDirectory(prefix="scratch-", dir=folder())


def kept(key: str) -> Path | None:
    """The program of this key, if there is one, and it and every library it was linked with is as it was."""
    home = folder() / key
    try:
        linked = msgspec.json.decode((home / "linked.json").read_bytes(), type=dict[str, str])
        if PROGRAM not in linked or any(hash_of(home / path) != known for path, known in linked.items()):
            return None
        if not key.startswith(OBJECT) and not os.access(home / PROGRAM, os.X_OK):
            return None
    except (OSError, msgspec.MsgspecError):
        return None
    with contextlib.suppress(OSError):  # not ours to touch
        os.utime(home)
    return home / PROGRAM


def keep(key: str, program: Path, linked: Iterable[Path]) -> Path:
    """Into the cache in one step, so that another process sees all or nothing; if it was first, its copy is as good."""
    home = folder() / key
    new = Path(tempfile.mkdtemp(prefix="scratch-", dir=home.parent))
    shutil.copy2(program, new / PROGRAM)
    hashes = {PROGRAM: hash_of(program), **{str(path): hash_of(path) for path in linked}}
    (new / "linked.json").write_bytes(msgspec.json.encode(hashes))
    if home.exists() and kept(key) is None:
        shutil.rmtree(home, ignore_errors=True)
    try:
        os.rename(new, home)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
    _clear(home.parent)
    return home / PROGRAM


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    objects = [path for _, path in by_age if path.name.startswith(OBJECT)]
    programs = [path for _, path in by_age if not path.name.startswith(("scratch-", OBJECT))]
    left = [path for age, path in by_age if path.name.startswith("scratch-") and newest - age > 3600]
    for path in (*programs[KEPT:], *objects[OBJECTS:], *left):
        shutil.rmtree(path, ignore_errors=True)
