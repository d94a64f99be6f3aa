"""Results shared by the processes of one run of pytest, each of which judges the clauses that it is given.

A result is a file in a directory that all of them know, guarded by a file lock. Whoever comes first does the item;
whoever finds one taken does another first, and waits last. A lock dies with its holder. So any number of processes
gives the same verdicts, and each item is done once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import msgspec

from conformance.verdict.work import Item, Result, result_type

FOLDER, ALIVE = "intack-{}/{}", "alive"
"""Of the folders, which lie side by side, and of the file in each that its processes hold."""


class Shared:
    """`folder` need not exist yet."""

    def __init__(self, make: Callable[[Item], Result], folder: Path) -> None:
        self.make, self.folder = make, folder
        self.known: dict[Item, Result] = {}
        self.alive: IO[bytes] | None = None

    def do(self, items: Iterable[Item]) -> tuple[Result, ...]:
        """The results of these items, in their order, each done by whoever gets to it first."""
        self.alive = self.alive or self._enter()
        wanted = tuple(items)
        taken = [item for item in wanted if item not in self.known and not self._do(item, wait=False)]
        for item in taken:
            self._do(item, wait=True)
        return tuple(self.known[item] for item in wanted)

    def _enter(self) -> IO[bytes]:
        """For as long as a process has this open, the folder is in use. Those that a killed run has left go."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for alive in self.folder.parent.glob(FOLDER.format("*", ALIVE)):
            with contextlib.suppress(OSError), alive.open("rb") as nobody:
                fcntl.flock(nobody, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(alive.parent, ignore_errors=True)
        while True:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            mine = (self.folder / ALIVE).open("ab")
            fcntl.flock(mine, fcntl.LOCK_SH)
            if (self.folder / ALIVE).exists():
                return mine
            mine.close()  # another took it for dead

    def _do(self, item: Item, wait: bool) -> bool:
        """Fetch or make one result. False if another process is at it and `wait` is not set."""
        name = hashlib.sha256(msgspec.json.encode(item)).hexdigest()[:16]
        result = self.folder / f"{name}.json"
        with (self.folder / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            if result.exists():
                self.known[item] = msgspec.json.decode(result.read_bytes(), type=result_type(item))
            else:
                self.known[item] = self.make(item)
                result.write_bytes(msgspec.json.encode(self.known[item]))
        return True
