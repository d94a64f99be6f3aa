"""Seconds by the clock on the wall, of a machine that has other things to do."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(act: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of several times: the machine has other things to do."""
    seconds: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
