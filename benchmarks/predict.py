"""Sampled runs until a known-bad implementation is found, with and without prediction. Asserts nothing.

    python -m benchmarks.predict [ID ...]

Each with its own scenario, which is small; the same plans are run both ways. A run finds it if a guarantee breaks in it,
or in a run that is predicted from it (at most 400 races in all, Predictor's own bound). MOST runs without that are a
miss, and count as MOST where a median is taken. A predicted run is a run as well: the last columns say how many there
were, and what it all takes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from benchmarks.markdown import table
from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.machine.rules import ALWAYS
from conformance.search.predict import Predictor
from conformance.search.sampling import bursts, draw, priorities, run_bursts, run_priorities
from properties.suite import SUITE
from reference.known_bad import KNOWN_BAD, KnownBad

MOST = 200
CHANCE = 1
GUARANTEES = {clause.id for clause in SUITE.clauses if clause.kind == "guarantee"} | set(ALWAYS)
BY_NAME = {s.name: s for s in SUITE.scenarios}


class Found(NamedTuple):
    """`runs`: the sampled run that found it, from 1; 0: none."""

    runs: int
    predicted: int
    dropped: int
    """Predicted orders that the machine could not follow."""
    seconds: float


class Row(NamedTuple):
    id: str
    scenario: str
    without: Found
    having: Found

    def cells(self) -> tuple[str, ...]:
        runs = (str(found.runs or f"none in {MOST}") for found in (self.without, self.having))
        return (
            self.id, self.scenario, *runs, str(self.having.predicted), str(self.having.dropped),
            f"{self.having.seconds / self.without.seconds:.1f}",
        )  # fmt: skip


def search(machine: Machine, predicts: bool) -> Found:
    begin = time.perf_counter()
    predictor = Predictor(machine)
    agents = len(machine.agents)
    either = st.one_of(
        bursts(agents).map(lambda plan: lambda: run_bursts(machine, plan)),
        priorities(agents).map(lambda plan: lambda: run_priorities(machine, plan)),
    )
    for number, run_plan in enumerate(draw(either, MOST, CHANCE), 1):
        run = run_plan()
        found = GUARANTEES & run.broken.keys()
        if not found and predicts:
            found = next((True for p in predictor.predictions(run) if GUARANTEES & p.run.broken.keys()), False)
        if found:
            return Found(number, predictor.replayed, predictor.dropped, time.perf_counter() - begin)
    return Found(0, predictor.replayed, predictor.dropped, time.perf_counter() - begin)


def measure(bad: KnownBad) -> Row:
    implementation, scenario = resolve(f"known-bad:{bad.id}"), BY_NAME[bad.scenario]
    without, having = (in_machine(implementation, scenario, SUITE, lambda m, p=p: search(m, p)) for p in (False, True))
    return Row(bad.id, scenario.name, without, having)


def main(ids: Sequence[str] = ()) -> str:
    """Prints a row for each; answers what they come to."""
    rows = [measure(KNOWN_BAD[i]) for i in ids or KNOWN_BAD if KNOWN_BAD[i].scenario]  # others: by a routine alone
    head = ("", "scenario", "runs without", "with", "predicted", "not followed", "time, ratio")
    print(table(head, [row.cells() for row in rows], texts=2))
    groups = {
        "by the first run": [row for row in rows if row.without.runs == 1],
        "later": [row for row in rows if row.without.runs > 1],
        f"not by {MOST} runs": [row for row in rows if not row.without.runs],
        "all": rows,
    }
    head = (
        "found without prediction", "how many", "found with", "runs without", "with", "predicted", "not followed, in all",
        "time, ratio",
    )  # fmt: skip
    return table(head, [(name, *_medians(group)) for name, group in groups.items() if group])


def _medians(rows: Sequence[Row]) -> tuple[str, ...]:
    middle = statistics.median
    return (
        f"{len(rows)}",
        f"{sum(row.having.runs > 0 for row in rows)}",
        f"{middle(row.without.runs or MOST for row in rows):.0f}",
        f"{middle(row.having.runs or MOST for row in rows):.0f}",
        f"{middle(row.having.predicted for row in rows):.0f}",
        f"{sum(row.having.dropped for row in rows)}",
        f"{middle(row.having.seconds / row.without.seconds for row in rows):.1f}",
    )


if __name__ == "__main__":
    print(f"\n{main(sys.argv[1:])}")
