"""What a replay string may run unasked. It is pasted from a bug report, and names the implementation to run: a command, or
a module that runs as it is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from conformance.adapters.registry import DEFAULT, GROUP
from conformance.adapters.user_cache import user_cache
from conformance.roles.registered import registered
from conformance.verdict.clause import OWN

KEPT = 200
"""Folders in which something was judged."""


def unasked(spec: str) -> bool:
    """Whether it is installed, or what was judged last in this folder."""
    name, colon, _ = spec.partition(":")
    installed = name in registered(GROUP) and (not colon or name in OWN)
    return installed or spec == _last()


def remember(spec: str) -> None:
    """It is being judged, by its user's word."""
    with contextlib.suppress(OSError):  # then it is asked about again
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(spec or DEFAULT)
        for old in sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            old.unlink()


def _last() -> str:
    try:
        return _file().read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _file() -> Path:
    return user_cache() / "judged" / hashlib.sha256(os.fsencode(os.getcwd())).hexdigest()[:16]
