"""The same scenarios exhausted by intack and by Spin, with the reference and every monitor attached. Asserts nothing.

    python -m benchmarks.spin

*Whole* is what a user waits for the verdict: for us a process that imports the suite, asks the implementation and
searches; for Spin generating, compiling with -O2 and running what `intack export` wrote (writing it is not counted).
*Search alone* has every step known before: for us a second search in the same machine, for Spin the run of pan by the
clock on the wall, its hash table and stack fitted to the scenario. *Bytes a state* are the store and its hash table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.clock import best
from benchmarks.markdown import table
from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.roles.scenario import Budget, Scenario
from conformance.search.frontier import Frontier
from conformance.search.promela import promela
from conformance.search.proof import Proof, prove
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS

MOST = 4_000_000
COMPILER = next((c for c in ("gcc", "cc", "clang") if shutil.which(c)), "")


def larger(name: str, exits: int = 0, preemptions: int = 0) -> Scenario:
    """A scenario of the suite with these optional steps."""
    plain = next(s for s in SCENARIOS if s.name == name)
    wanted = (("exit", exits), ("preemption", preemptions))
    called = ", ".join([name, *(f"{n} {what}{'s' * (n > 1)}" for what, n in wanted if n)])
    return msgspec.structs.replace(plain, name=called, budget=Budget(exit=exits, preempt=preemptions))


LADDER = (
    larger("core"),
    larger("two-senders", exits=2),
    larger("apicv-inhibited", exits=3, preemptions=2),
    larger("two-senders", exits=3, preemptions=1),
)
"""About 10^4, 10^5 and twice 10^6 states."""


class Cost(NamedTuple):
    states: int
    transitions: int
    whole: float
    alone: float
    bytes: float

    def cells(self) -> tuple[str, ...]:
        return f"{self.whole:.2f}", f"{self.transitions / self.alone / 1e6:.2f}", f"{self.bytes:.0f}"


def by_intack(scenario: Scenario) -> Cost:
    command = [sys.executable, "-m", "benchmarks.spin", scenario.name]
    whole = best(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), 3)

    def measure(machine: Machine) -> Cost:
        frontier = Frontier(machine, Proof())
        frontier.search(MOST, None)
        done = prove(machine, most=MOST)
        alone = best(lambda: prove(machine, most=MOST), 5)
        return Cost(done.states, done.transitions, whole, alone, frontier.bytes / done.states)

    return in_machine(resolve("reference"), scenario, SUITE, measure)


def by_spin(scenario: Scenario, ours: Cost) -> Cost:
    text = in_machine(resolve("reference"), scenario, SUITE, lambda m: promela(m, scenario.name, MOST))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.pml").write_text(text)

        def run(*command: str) -> str:
            return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

        generate = best(lambda: run("spin", "-a", "model.pml"), 2)
        compile_it = best(lambda: run(COMPILER, "-O2", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"), 2)
        pan = ("./pan", "-n", "-c0", "-m100000", f"-w{ours.states.bit_length()}")
        alone = best(lambda: run(*pan), 5)
        output = run(*pan)
    counts = {what: float(n) for n, what in re.findall(r"([\d.]+) +(states, stored|transitions)", output)}
    memory = re.findall(r"([\d.]+)\s+(?:actual memory usage for states|memory used for hash table)", output)
    states = int(counts["states, stored"])
    if (states, int(counts["transitions"]) - 1) != (ours.states, ours.transitions) or "too small" in output:
        sys.exit(f"{scenario.name}: Spin searched something else:\n{output}\nwhere intack found {ours}")
    held = sum(map(float, memory)) * 2**20 / states
    return Cost(states, ours.transitions, generate + compile_it + alone, alone, held)


def main() -> str:
    """The table."""
    if not (shutil.which("spin") and COMPILER):
        return "Spin: not measured, for spin or a C compiler is not installed."
    rows: list[tuple[str, ...]] = []
    for scenario in LADDER:
        ours = by_intack(scenario)
        spin = by_spin(scenario, ours)
        share, speed = ours.whole / spin.whole, spin.alone / ours.alone
        name = (scenario.name, f"{ours.states:,}", f"{ours.transitions:,}")
        rows.append((*name, "intack", *ours.cells()))
        rows.append(("", "", "", "Spin", *spin.cells()))
        rows.append(("", "", "", "ratio", f"1/{1 / share:.0f}", f"{speed:.1f}", f"{ours.bytes / spin.bytes:.2f}"))
    return table(
        ("scenario", "states", "transitions", "", "whole, s", "search alone, million transitions/s", "bytes a state"),
        rows,
    )


if __name__ == "__main__":
    if sys.argv[1:]:  # one scenario, in a process of its own
        chosen = next(s for s in LADDER if s.name == sys.argv[1])
        print(in_machine(resolve("reference"), chosen, SUITE, lambda m: prove(m, most=MOST).states))
    else:
        print(main())
