"""How a process ended, in words."""

from __future__ import annotations

import signal


def by(code: int) -> str:
    """By its exit status; by the signal, where that is negative."""
    return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit status {code}"
