"""A tool that is run for a user: a compiler, a build. It ends, whatever it does, and so does what it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 900.0
"""For one tool; containment, never an oracle."""


class HangsError(Exception):
    """It did not end in time. The message says so."""


def run(
    command: str | Sequence[str], folder: Path | None, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """What it came to; a string is a line for the shell. Raises OSError, ValueError, HangsError."""
    process = subprocess.Popen(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise HangsError(f"it did not end within {SECONDS:g} s, and was ended") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out, err)
