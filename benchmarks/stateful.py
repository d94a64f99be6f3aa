"""Every known-bad implementation found by plain Hypothesis and by intack. Asserts nothing.

    python -m benchmarks.stateful [ID ...]

Hypothesis runs a RuleBasedStateMachine over the same machine and monitors: a rule for each agent, enabled where the agent
can step; a schedule is up to a hundred rules, then obligatory steps in order until rest. It stops at the first schedule
that breaks a guarantee and need not shrink it; MOST schedules without one are a miss.

An exhaustive search runs no schedules. Its steps, divided by the steps of Hypothesis's average schedule in that scenario, are
what it costs in schedules: until the first breach in plain depth-first order (livelocks: to the end), and for the whole
proof. Its seconds are for all of it: every state, the least counterexample to every clause, the recheck in a fresh
process.
"""

from __future__ import annotations

import contextlib
import io
import math
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from benchmarks.clock import best
from benchmarks.markdown import table
from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.machine.rules import ALWAYS
from conformance.machine.state import Agent, Outcome
from conformance.search.proof import prove
from conformance.search.sampling import CHECKS_OFF
from conformance.verdict.explore import explore
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS
from reference.known_bad import KNOWN_BAD, KnownBad

MOST = 300
LONGEST = 100
TO_REST = 2_000
GUARANTEES = {clause.id for clause in SUITE.clauses if clause.kind == "guarantee"} | set(ALWAYS)
BY_NAME = {s.name: s for s in SCENARIOS}


class Broken(Exception):
    """A guarantee is."""


class Drawn(NamedTuple):
    """`found`: the schedule that broke a guarantee, from 1; 0: none."""

    found: int
    begun: int
    steps: int
    seconds: float


def schedules(machine: Machine) -> Drawn:
    """By Hypothesis."""
    found = begun = steps = 0
    over = 0.0

    class Schedules(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            nonlocal begun
            begun += 1
            self.state = machine.initial

        def go(self, outcome: Outcome) -> None:
            nonlocal steps
            steps += 1
            self.state = self.state & outcome.keep | outcome.add
            self.judge({breach.clause for breach in outcome.breaches})

        def judge(self, clauses: set[str]) -> None:
            nonlocal found, over
            if clauses & GUARANTEES:
                if not found:
                    found, over = begun, time.perf_counter()
                raise Broken

        @precondition(lambda self: not any(can(agent, self.state) for agent in machine.agents))
        @rule()
        def rest(self) -> None:
            """Hypothesis wants something to do in every state."""

        def teardown(self) -> None:
            for _ in range(TO_REST):
                able = next((o for agent in machine.obligatory for o in can(agent, self.state)), None)
                if able is None:
                    self.judge({f.clause for f in machine.at_rest(self.state) if isinstance(f, Breach)})
                    break
                self.go(able)

    for agent in machine.agents:
        setattr(Schedules, f"agent{agent.index}", _rule(agent))
    limits = settings(
        max_examples=MOST, stateful_step_count=LONGEST, phases=[Phase.generate], database=None, derandomize=True,
        deadline=None, suppress_health_check=CHECKS_OFF, report_multiple_bugs=False,
    )  # fmt: skip
    begin = time.perf_counter()
    with contextlib.suppress(Broken), contextlib.redirect_stdout(io.StringIO()):
        run_state_machine_as_test(Schedules, settings=limits)
    return Drawn(found, begun, steps, (over or time.perf_counter()) - begin)


def _rule(agent: Agent) -> Any:
    def step(self: Any, data: st.DataObject) -> None:
        outcomes = can(agent, self.state)
        self.go(outcomes[data.draw(st.integers(0, len(outcomes) - 1))] if len(outcomes) > 1 else outcomes[0])

    return precondition(lambda self: bool(can(agent, self.state)))(rule(data=st.data())(step))


def can(agent: Agent, state: int) -> Sequence[Outcome]:
    return agent.entry(state).outcomes


def steps_until_found(machine: Machine) -> int:
    """Of depth-first search, to the first broken guarantee; 0 if no step and no state at rest breaks one."""
    seen = {machine.initial}
    pending = [machine.initial]
    steps = 0
    while pending:
        state = pending.pop()
        moves = [(agent, outcome) for agent in machine.agents for outcome in can(agent, state)]
        resting = not any(agent.obligatory for agent, _ in moves)
        if resting and {f.clause for f in machine.at_rest(state) if isinstance(f, Breach)} & GUARANTEES:
            return max(1, steps)
        for _, outcome in moves:
            steps += 1
            if {breach.clause for breach in outcome.breaches} & GUARANTEES:
                return steps
            target = state & outcome.keep | outcome.add
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return 0


class Row(NamedTuple):
    id: str
    scenario: str
    drawn: Drawn
    until: int
    """Steps of ours, to the first breach."""
    whole: int
    """Steps of the whole proof."""
    seconds: float

    def schedules(self, steps: int) -> int:
        return math.ceil(steps * self.drawn.begun / self.drawn.steps)

    @property
    def fewer(self) -> float:
        return (self.drawn.found or self.drawn.begun) / self.schedules(self.until)

    def cells(self) -> tuple[str, ...]:
        found = f"{self.drawn.found}" if self.drawn.found else f"none in {self.drawn.begun:,}"
        ours = (f"{self.schedules(self.until):,}", f"{self.schedules(self.whole):,}", f"{self.seconds:.2f}")
        return self.id, self.scenario, found, f"{self.drawn.seconds:.2f}", *ours, f"{self.fewer:.1f}"


def measure(bad: KnownBad) -> Row:
    implementation, scenario = resolve(f"known-bad:{bad.id}"), BY_NAME[bad.scenario]
    drawn = in_machine(implementation, scenario, SUITE, schedules)
    whole = in_machine(implementation, scenario, SUITE, lambda m: prove(m, reduce=False).transitions)
    until = in_machine(implementation, scenario, SUITE, steps_until_found) or whole
    assert GUARANTEES & set(explore(implementation, scenario, SUITE).counterexamples), bad.id
    seconds = best(lambda: explore(implementation, scenario, SUITE), 2)
    return Row(bad.id, scenario.name, drawn, until, whole, seconds)


def main(ids: Sequence[str] = ()) -> str:
    """Prints a row for each; answers what they come to."""
    rows = [measure(KNOWN_BAD[i]) for i in ids or KNOWN_BAD if KNOWN_BAD[i].scenario]  # others: by a routine alone
    head = ("", "scenario", "Hypothesis: schedules", "s", "intack: as schedules", "whole proof", "s", "times fewer")
    print(table(head, [row.cells() for row in rows], texts=2))
    groups = {
        "with its first schedule": [row for row in rows if row.drawn.found == 1],
        "later": [row for row in rows if row.drawn.found > 1],
        f"not within {MOST} valid schedules": [row for row in rows if not row.drawn.found],
        "all": rows,
    }
    head = ("found by Hypothesis", "how many", *head[2:-2], "s, the slowest", "times fewer, at least")
    return table(head, [(name, *_medians(group)) for name, group in groups.items() if group])


def _medians(rows: list[Row]) -> tuple[str, ...]:
    """Of all columns, but for our seconds, of which it is the largest."""
    middle = statistics.median
    return (
        f"{len(rows)}",
        f"{middle(row.drawn.found or row.drawn.begun for row in rows):.0f}",
        f"{middle(row.drawn.seconds for row in rows):.2f}",
        f"{middle(row.schedules(row.until) for row in rows):.0f}",
        f"{middle(row.schedules(row.whole) for row in rows):.0f}",
        f"{max(row.seconds for row in rows):.2f}",
        f"{middle(row.fewer for row in rows):.1f}",
    )


if __name__ == "__main__":
    print(f"\n{main(sys.argv[1:])}")
