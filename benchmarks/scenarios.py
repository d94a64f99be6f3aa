"""What it costs to exhaust each scenario with the reference: as the suite does it (with sleep sets, and many states at a
time where there are many), and by plain search, one state at a time. Asserts nothing.

    python -m benchmarks.scenarios [scenario ...]

Everything runs in this one process, one exploration after the other, each on a machine of its own: tables and unfolding
start empty, so the time includes asking the implementation. Bytes a state are those of the columns and their hash table,
or for one state at a time arithmetic: `sys.getsizeof` of a packed state and of its number, its share of the hash table,
and its slots in the arrays of the search. What is remembered of steps is not in it; the peak of the whole process at the
end is.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.roles.scenario import Scenario
from conformance.search.frontier import Frontier
from conformance.search.proof import FEW, prove
from conformance.search.results import Proof
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS


class Cost(NamedTuple):
    states: int
    transitions: int
    seconds: float
    bytes: int
    questions: int

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(
            self.states + other.states,
            self.transitions + other.transitions,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            self.questions + other.questions,
        )

    def cells(self) -> tuple[str, ...]:
        speed = self.transitions / self.seconds / 1000
        return (
            f"{self.states:,}",
            f"{self.transitions:,}",
            f"{self.seconds:.2f}",
            f"{speed:,.0f}k",
            f"{self.bytes / self.states:.0f}",
            f"{self.questions:,}",
        )


def measure(machine: Machine, reduce: bool) -> Cost:
    before = time.perf_counter()
    done = prove(machine, reduce=reduce)
    seconds = time.perf_counter() - before
    size = held(done.states, machine.layout.bits)
    if reduce and done.states > FEW:
        frontier = Frontier(machine, Proof())
        frontier.search(done.states, None)
        size = frontier.bytes
    return Cost(done.states, done.transitions, seconds, size, machine.assembly.questions())


def held(states: int, bits: int) -> int:
    """Bytes that the search holds for so many states of so many bits."""
    number, slots = sys.getsizeof(states), 8 + 1 + 1
    return states * (sys.getsizeof(1 << max(bits - 1, 0)) + number + slots) + sys.getsizeof(
        dict.fromkeys(range(states))
    )


def main(names: Sequence[str] = ()) -> None:
    chosen = [s for s in SCENARIOS if not s.samples and (not names or s.name in names)]
    table = Table("scenario", "search", title="The reference, every monitor attached")
    for column in ("states", "transitions", "seconds", "trans./s", "bytes/state", "questions"):
        table.add_column(column, justify="right")
    totals = {reduce: Cost(0, 0, 0.0, 0, 0) for reduce in (True, False)}
    for scenario in chosen:
        for reduce in (True, False):
            cost = run(scenario, reduce)
            totals[reduce] += cost
            table.add_row(scenario.name if reduce else "", NAMES[reduce], *cost.cells())
    for reduce, cost in totals.items():
        table.add_row("total" if reduce else "", NAMES[reduce], *cost.cells(), style="bold")
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    console.print(f"peak memory of the process: {peak} MiB; Python {sys.version.split()[0]}")


NAMES = {True: "as the suite", False: "one by one"}


def run(scenario: Scenario, reduce: bool) -> Cost:
    return in_machine(resolve("reference"), scenario, SUITE, lambda machine: measure(machine, reduce))


if __name__ == "__main__":
    main(sys.argv[1:])
