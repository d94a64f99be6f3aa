"""What a harvest costs, in nanoseconds a descriptor, and how far that is from copying as many bytes. Asserts nothing.

    python -m benchmarks.pir             one table of everything, 1 to 10 million descriptors
    python -m benchmarks.pir 1000        only this many descriptors

sparse: one vector posted and another one pending in each descriptor. dense: every bit as likely set as not. empty: none.
mixed: each register any of the three.
All contenders take turns on the same input, in one process; the table has the median of the rounds, the ratios below it
the median of the ratios within a round. A round restores the input first, and what that takes is `copy`: it reads and
writes as many bytes as a harvest does, 64 a descriptor each, and stands for the memory bandwidth. What is changed in
place need not be fetched twice, and can be faster: `merge alone`, in C, is all that memory has to do for a harvest.
Single descriptors and small arrays are timed by the batch, many arrays one after the other.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.harvests import MERGE, PATTERNS, Batch, contenders
from benchmarks.markdown import table
from conformance.adapters import compiled
from reference.pir import harvest as pir
from reference.pir.harvest import Harvested, Words

SIZES = (1, 1_000, 100_000, 1_000_000, 10_000_000)
JUDGED = 1_000_000
"""The size that the ratios below the table are about: far more than any cache holds."""
ROUNDS = {1: 15, 1_000: 15, 100_000: 15, 1_000_000: 15, 10_000_000: 3}
AT_A_TIME, MOST_ARRAYS = 20_000, 1_000
"""Descriptors in one timing, made of several arrays where one is shorter."""

COPY, ONE = "copy", "Python integer"
COLUMNS = (
    *("naive", ONE, "obvious NumPy", "NumPy", "NumPy, 2 threads"),
    *("KVM older", "KVM newer", "compiled", "compiled, 2 threads", MERGE, COPY),
)


Times = dict[str, list[float]]
"""Nanoseconds a descriptor in each round."""


def measure(pattern: str, n: int) -> Times:
    random = np.random.default_rng(1)
    arrays = max(1, min(AT_A_TIME // n, MOST_ARRAYS))
    given = [tuple(PATTERNS[pattern](n, random) for _ in range(2)) for _ in range(arrays)]
    batch = [(p.copy(), v.copy(), Harvested(np.empty(n, np.int16), np.empty(n, np.int16))) for p, v in given]
    taking_part = [c for c in contenders() if c.least <= n <= c.most]
    times: Times = {}
    for number in range(ROUNDS.get(n, 5)):
        for contender in taking_part:
            part = batch[: max(1, contender.enough // n)]
            if number * n * len(part) >= contender.enough:
                continue
            times.setdefault(COPY, []).append(timed(lambda: restore(batch, given), arrays * n))
            spent = timed(lambda part=part, c=contender: c.run(part), len(part) * n)
            times.setdefault(contender.name, []).append(spent)
        if n == 1:
            times.setdefault(ONE, []).append(one_at_a_time(given))
    return times


def restore(batch: Batch, given: Sequence[tuple[Words, ...]]) -> None:
    for (p, v, _), (p_given, v_given) in zip(batch, given, strict=True):
        np.copyto(p, p_given)
        np.copyto(v, v_given)


def one_at_a_time(given: Sequence[tuple[Words, ...]]) -> float:
    pairs = [tuple(int.from_bytes(words.tobytes(), "little") for words in row) for row in given]
    harvest = pir.harvest

    def run() -> None:
        for p, v in pairs:
            harvest(p, v)

    return timed(run, len(pairs))


def timed(run: Callable[[], None], descriptors: int) -> float:
    before = time.perf_counter()
    run()
    return (time.perf_counter() - before) / descriptors * 1e9


# The report


def cell(times: Times, name: str) -> str:
    """Nanoseconds, and how many times that of the copy."""
    if name not in times:
        return ""
    spent = statistics.median(times[name])
    shown = f"{spent:,.0f}" if spent >= 100 else f"{spent:.1f}"
    ratio = spent / statistics.median(times[COPY])
    return shown if name == COPY else f"{shown} ({ratio:.1f})" if ratio < 100 else f"{shown} ({ratio:,.0f})"


def ratio(times: Times, name: str, others: Sequence[str]) -> float:
    """The median over the rounds of how it compares with the best of the others in the same round."""
    rounds = zip(times[name], *(times[other] for other in others), strict=False)
    return statistics.median(mine / min(theirs) for mine, *theirs in rounds)


def aims(results: dict[tuple[str, int], Times]) -> list[str]:
    """What the scanner is measured by, in sentences."""
    said = []
    for pattern in PATTERNS:
        times = results.get((pattern, JUDGED))
        if not times:
            continue
        parts = [f"two threads {1 / ratio(times, 'NumPy, 2 threads', ['NumPy']):.2f} times as fast as one"]
        if "compiled" in times:
            best = ratio(times, "NumPy", ["KVM older", "KVM newer"])
            limit = ratio(times, "compiled", [MERGE])
            parts.insert(0, f"NumPy takes {best:.2f} times as long as the better kernel algorithm")
            parts.append(f"the compiled path takes {limit:.2f} times as long as the merge alone")
        said.append(f"{pattern}, {JUDGED:,} descriptors: {'; '.join(parts)}.")
    ones = [t[ONE] for (_, n), t in results.items() if n == 1]
    if ones:
        said.append(f"One descriptor as Python integers: at most {max(map(statistics.median, ones)):.0f} ns.")
    return said


def bandwidth(results: dict[tuple[str, int], Times]) -> str:
    times = results.get(("dense", JUDGED))
    return f"; the copy moves {128 / statistics.median(times[COPY]):.0f} GB/s at {JUDGED:,}" if times else ""


def about(results: dict[tuple[str, int], Times]) -> str:
    model = next((x.split(":")[1].strip() for x in _cpuinfo() if x.startswith("model name")), platform.processor())
    return (
        f"{model}, {len(os.sched_getaffinity(0))} CPUs, Python {platform.python_version()}, "
        f"NumPy {np.__version__}{bandwidth(results)}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def rows(results: dict[tuple[str, int], Times]) -> list[list[str]]:
    return [[pattern, f"{n:,}", *(cell(times, name) for name in COLUMNS)] for (pattern, n), times in results.items()]


def markdown(results: dict[tuple[str, int], Times]) -> str:
    """Of the size that is judged; the others are printed."""
    judged = [(row[0], *row[2:]) for row in rows(results) if row[1] == f"{JUDGED:,}"]
    head = ("input", *COLUMNS)
    shown = [n for n in range(len(head)) if any(row[n] for row in judged)]
    lines = [
        f"Nanoseconds a descriptor, median of {JUDGED:,}; in brackets how many times as long as copying as many bytes takes.",
        f"{about(results)}.",
        "",
        table([head[n] for n in shown], [[row[n] for n in shown] for row in judged]),
        "",
        *(f"- {sentence}" for sentence in aims(results)),
    ]
    return "\n".join(lines)


def show(results: dict[tuple[str, int], Times]) -> None:
    shown = Table("input", title="Harvest: ns a descriptor, and how many times the copy", caption=about(results))
    for column in ("descriptors", *COLUMNS):
        shown.add_column(column, justify="right")
    for row in rows(results):
        shown.add_row(*row)
    console = Console()
    console.width = max(console.width, 210)
    console.print(shown)
    for sentence in aims(results):
        console.print(sentence, highlight=False)
    if missing := compiled.unavailable():
        console.print(f"without C: {missing}", highlight=False)


def main(sizes: Sequence[int] = SIZES) -> str:
    """Prints all sizes; answers what the page shows."""
    results = {(p, n): measure(p, n) for p in PATTERNS for n in sizes}
    show(results)
    return markdown(results)


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or SIZES)
