"""Records by key, in a folder of the user's cache. Nothing here is an error: what cannot be read is not there, and what
cannot be written is not kept.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from pathlib import Path

MOST_BYTES = 256 << 20
"""Of all records together; the ones used longest ago go."""
HALF_WRITTEN = "new-"


class Store:
    """`folder` need not exist. Any number of processes may use it at once: a record appears as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> bytes | None:
        path = self.folder / key
        try:
            content = zlib.decompress(path.read_bytes())
        except (OSError, zlib.error):
            return None
        with contextlib.suppress(OSError):  # not ours to touch
            os.utime(path)
        return content

    def save(self, key: str, content: bytes) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, new = tempfile.mkstemp(prefix=HALF_WRITTEN, dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(zlib.compress(content, 1))
                os.replace(new, self.folder / key)
            except OSError:
                os.unlink(new)

    def trim(self) -> None:
        """Make room: what was used longest ago goes, and what killed processes left."""
        found: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.folder):
                with contextlib.suppress(OSError):
                    known = entry.stat(follow_symlinks=False)
                    found.append((known.st_mtime, known.st_size, Path(entry.path)))
        found.sort(reverse=True)
        size = 0
        for used, own, path in found:
            size += own
            left = path.name.startswith(HALF_WRITTEN) and found[0][0] - used > 3600
            if size > MOST_BYTES or left:
                with contextlib.suppress(OSError):
                    path.unlink()
