"""What it costs to plug in native code or a pipe, compared with Python. Asserts nothing.

    python -m benchmarks.native [--run]

Questions a second: the same questions, those of one exploration, to the Python reference, to the fork server of the C
example and to the JavaScript example over the pipe, one by one and in batches. With --run also the whole conformance run,
`intack run -n 1`, on the reference and on the C example, in this order and twice, as a ratio of the faster ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from conformance.adapters.registry import Implementation, resolve
from conformance.adapters.source import Source, answers_of
from conformance.machine.build import in_machine
from conformance.search.proof import prove
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS

EXAMPLES = Path(__file__).parent.parent / "examples"
SPECS = {
    "Python reference": "reference",
    "C, fork server": f"native:{EXAMPLES / 'c/posted.toml'}",
    "JavaScript, pipe": f"exec:node {EXAMPLES / 'pipe/posted.mjs'}",
}
ROUTINE = "deliver_interrupt"
SECONDS = 1.0

Questions = list[tuple[str, tuple, tuple]]


def questions_of(implementation: Implementation) -> tuple[Source, Questions]:
    """A source that is running, and what it is asked about its sender in one exploration."""
    (scenario,) = (s for s in SCENARIOS if s.name == "two-senders")

    def explored(machine):
        prove(machine)
        unfolding = machine.assembly.routines[ROUTINE]
        asked = [(n.routine, n.args, n.results) for n in unfolding.nodes() if n.routine == ROUTINE]
        return unfolding.source, asked

    return in_machine(implementation, scenario, SUITE, explored)


def speed(source: Source, questions: Questions, batched: bool) -> float:
    """Questions a second."""
    asked, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        if batched:
            list(answers_of(source, questions))
            asked += len(questions)
        else:
            for question in questions:
                source.next(*question)
            asked += len(questions)
    return asked / (time.perf_counter() - start)


def whole_run(spec: str) -> float:
    """Seconds of `intack run` on one core."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "conformance", "run", "-n", "0", "-a", spec], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    table = Table("implementation", title="Questions a second, and as a part of the reference's")
    for column in ("one by one", "", "in batches", ""):
        table.add_column(column, justify="right")
    first: list[float] = []
    for name, spec in SPECS.items():
        source, questions = questions_of(resolve(spec))
        speeds = [speed(source, questions, batched) for batched in (False, True)]
        first = first or speeds
        cells = [cell for s, f in zip(speeds, first, strict=True) for cell in (f"{s:,.0f}", f"{s / f:.3f}")]
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    if "--run" in sys.argv[1:]:
        specs = [SPECS["Python reference"], SPECS["C, fork server"]]
        times = [[whole_run(spec) for spec in specs] for _ in range(2)]
        reference, native = (min(t[n] for t in times) for n in range(2))
        console.print(
            f"whole run: reference {reference:.1f} s, C example {native:.1f} s, ratio {native / reference:.2f}"
        )


if __name__ == "__main__":
    main()
