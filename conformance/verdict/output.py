"""Files written for a user: whether one can be is found out beforehand, and then all of it is written or nothing.

A link stays a link, and what it leads to is written; a file is replaced in one step, and keeps its permissions; a pipe or
a device is written to. `-` is standard output.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from pathlib import Path

STANDARD_OUTPUT = Path("-")
ENDINGS = (".json", ".html", ".xml", ".md", ".mail", ".txt")
"""Of reports: the document, a page, JUnit, for a pull request, for a mailing list, as on a terminal."""


def check_writable(path: Path) -> None:
    """Raises OSError, or ValueError for what can be no path."""
    if path == STANDARD_OUTPUT or _special(path) or _standard(path) is not None:
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    if path.exists() and not (os.access(path, os.W_OK) and path.stat().st_mode & 0o222):
        raise PermissionError(errno.EACCES, "it is read-only")
    if _target(path).is_symlink():
        raise OSError(errno.ELOOP, "the link leads in a circle")
    tempfile.TemporaryFile(dir=_target(path).parent).close()


def write(path: Path, content: bytes) -> None:
    """Raises OSError, or ValueError for what can be no path."""
    check_writable(path)
    standard = _standard(path)
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    elif standard is not None:  # replacing the file would lose what else is written there
        with open(os.dup(standard), "wb") as file:
            file.write(content)
    elif _special(path):
        path.write_bytes(content)
    else:
        _replace(_target(path), content)


def _replace(target: Path, content: bytes) -> None:
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
    handle, new = tempfile.mkstemp(prefix=".intack-", dir=target.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(new, mode)
        os.replace(new, target)
    except BaseException:
        os.unlink(new)
        raise


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _standard(path: Path) -> int | None:
    """Standard output or error, if the path leads there."""
    if path.exists():
        for number in (1, 2):
            if os.path.samestat(os.fstat(number), path.stat()):
                return number
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
