"""Litmus tests a second, against herd7 in the same run where it is installed; and how large a test may be.

    python -m benchmarks.litmus [DIRECTORY...]

Without directories it takes the suite's own tests. The family grown for size is a ring: each thread writes its location
and reads the next one's, three times over, with and without fences; the largest that is decided within one second and
within ten is printed. It is a sparse family: a location has one writer.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from conformance.litmus.grammar import Damaged
from conformance.litmus.observe import observe
from conformance.litmus.parse import parse
from conformance.litmus.program import build

OWN = Path(__file__).parents[1] / "tests" / "litmus"


def files(directories: list[Path]) -> Iterator[str]:
    paths = sorted(path for directory in directories for path in directory.rglob("*.litmus"))
    texts = [path.read_text() for path in paths]
    observe(texts[0])  # z3 is loaded once
    times: list[float] = []
    for text in texts:
        start = time.perf_counter()
        try:
            observe(text)
        except Damaged:
            continue
        times.append(time.perf_counter() - start)
    ours = sum(times)
    yield (
        f"{len(times)} tests, {len(times) / ours:.0f} a second; "
        f"median {1e3 * statistics.median(times):.1f} ms, largest {1e3 * max(times):.0f} ms"
    )
    if herd := shutil.which("herd7"):
        start = time.perf_counter()
        subprocess.run([herd, *map(str, paths)], capture_output=True, check=False)
        yield f"herd7 on the same files took {(time.perf_counter() - start) / ours:.2f} times as long"
    else:
        yield "herd7 is not installed: no comparison"


def ring(threads: int, rounds: int, fence: bool) -> str:
    """Thread n writes location n and reads location n + 1, round after round; can every last read miss every write?"""
    columns: list[list[str]] = []
    for n in range(threads):
        column = [f"P{n}"]
        for r in range(rounds):
            column += [f"movl ${r + 1},(x{n})", *["mfence"] * fence, f"movl (x{(n + 1) % threads}),%eax"]
        columns.append(column)
    table = "\n".join(" | ".join(row) + " ;" for row in zip(*columns, strict=True))
    question = " /\\ ".join(f"{n}:rax={rounds - 1}" for n in range(threads))
    return f"X86_64 ring\n{{ }}\n{table}\nexists ({question})\n"


def largest(seconds: float, fence: bool) -> str:
    """How many events are still decided, growing by a fifth."""
    best, threads = 0, 8
    while True:
        text = ring(threads, 3, fence)
        start = time.perf_counter()
        seen = observe(text, seconds=seconds)
        took = time.perf_counter() - start
        if seen.verdict == "UNKNOWN" or took > seconds:
            return f"{best} events"
        best = build(parse(text)).events
        threads += threads // 5 + 1


def main(arguments: Sequence[str] = ()) -> str:
    """What it comes to, as a list."""
    lines = [*files([Path(a) for a in arguments] or [OWN])]
    for seconds in (1, 10):
        lines.append(f"within {seconds} s: {largest(seconds, False)} without fences, {largest(seconds, True)} with")
    return "\n".join(f"- {line}" for line in lines)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
