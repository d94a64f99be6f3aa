"""Which processes there are, for tests that see to it that none is left. Linux."""

from __future__ import annotations

import time
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [*found, *(grandchild for child in found for grandchild in descendants(child))]


def left(pids: list[int], seconds: float = 20.0) -> list[int]:
    """Those that do not end, however long one waits. Zombies are left to whoever inherits them."""
    deadline = time.monotonic() + seconds
    while (alive := [p for p in pids if _state(p) not in ("", "Z")]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
