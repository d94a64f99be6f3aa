"""Least counterexamples, thousands of visits at a time.

The search of `search.shortest`: over visits, which are a state and the lane of the step that led there, in order of
(switches, steps). All visits of one cost are a few columns, in the order in which they were found; so of equal
schedules the same one comes first. The lane is a tag on the state's first word.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conformance.machine.finding import Breach, Finding
from conformance.machine.machine import Machine
from conformance.search.packing import SPARE, Outgrown, Packing
from conformance.search.results import BreakingSchedule, Step
from conformance.search.state_table import Column, Numbering, Numbers, Rows
from conformance.search.transition_table import Recall, lengthened

START = (1 << SPARE) - 1
"""The lane of no step."""
SHIFT = np.uint64(64 - SPARE)

Cost = tuple[int, int]
"""Switches and steps."""


class Visits(NamedTuple):
    """Where (with the lane), from which visit, by which agent and outcome."""

    where: list[Column]
    origin: Numbers
    agent: Numbers
    outcome: Numbers

    def take(self, which: Rows) -> Visits:
        return Visits([column.take(which) for column in self.where], *(column.take(which) for column in self[1:]))


def least(
    machine: Machine,
    clauses: set[str],
    most: int,
    kind: type[Finding] = Breach,
    below: Cost | None = None,
) -> dict[str, BreakingSchedule]:
    """The least counterexample (`kind` Witness: witness) to each of `clauses` that has one within `most` visits. Where
    visits cost as much as `below`, none is made. LIVELOCK is not looked for.
    """
    while True:
        try:
            return _Search(machine, clauses, kind, below).search(most)
        except Outgrown:
            pass  # by now the cells have met the values that did not fit


class _Search:
    def __init__(self, machine: Machine, clauses: set[str], kind: type[Finding], below: Cost | None) -> None:
        assert 2 * len(machine.agents) < START
        self.machine, self.wanted, self.kind, self.below = machine, set(clauses), kind, below
        self.packing = Packing(machine.layout)
        self.recall = Recall(machine, self.packing)
        self.found: dict[str, BreakingSchedule] = {}
        self.rested: set[int] = set()
        self.queue: dict[Cost, list[Visits]] = {}
        self.costs: list[Cost] = []

        self.visited = Numbering(self.packing.words)
        self.first: list[int] = []
        self.came: list[Visits] = []
        """By cost, as they were met: the first number given, and the visits in the order of their numbers."""

        self.noticed = 0
        """Outcomes."""
        self.lanes = np.zeros(0, np.int32)
        self.breaks = {clause: np.zeros(0, np.bool_) for clause in clauses}
        """By outcome."""

    def search(self, most: int) -> dict[str, BreakingSchedule]:
        initial = [np.array([word], np.uint64) for word in self.packing.pack(self.machine.initial)]
        initial[0] |= np.uint64(START) << SHIFT
        nobody = np.full(1, -1, np.int32)
        self._put((0, 0), Visits(initial, nobody, nobody, nobody))
        while self.costs and self.wanted and self.visited.count < most:
            cost = heapq.heappop(self.costs)
            visits, numbers = self._new(self.queue.pop(cost))
            if len(numbers):
                self._expand(cost, visits.where, numbers)
            self.wanted -= {c for c, e in self.found.items() if not e.worse_than(*cost)}
        return self.found

    def _put(self, cost: Cost, visits: Visits) -> None:
        if self.below is not None and cost >= self.below:
            return
        if cost not in self.queue:
            self.queue[cost] = []
            heapq.heappush(self.costs, cost)
        self.queue[cost].append(visits)

    def _new(self, queued: list[Visits]) -> tuple[Visits, Numbers]:
        """Those not made before at a lower cost, nor earlier at this one, in order; and their numbers."""
        wheres = [list(parts) for parts in zip(*(visits.where for visits in queued), strict=True)]
        rest = (np.concatenate(parts) for parts in zip(*(visits[1:] for visits in queued), strict=True))
        visits = Visits([np.concatenate(parts) for parts in wheres], *rest)
        before = self.visited.count
        numbers = self.visited.number(visits.where)
        new = np.flatnonzero(numbers >= before)
        _, firsts = np.unique(numbers.take(new), return_index=True)
        by_number = new.take(firsts)
        self.first.append(before)
        self.came.append(visits.take(by_number)._replace(where=[]))
        in_order = np.sort(by_number)
        return visits.take(in_order), numbers.take(in_order)

    def _expand(self, cost: Cost, where: list[Column], numbers: Numbers) -> None:
        switches, length = cost
        lane = (where[0] >> SHIFT).astype(np.int32)
        states = [where[0] & np.uint64((1 << 64 - SPARE) - 1), *where[1:]]
        steps = self.recall.steps(states)
        self._notice_outcomes()
        order = np.argsort(steps.source, kind="stable")  # by state; each state's by agent
        source, outcome = steps.source.take(order), steps.outcome.take(order)
        agent = self.recall.number.take(steps.file.take(order))
        now = 2 * agent + self.lanes.take(outcome)
        was = lane.take(source)
        switched = (was != now) & (was != START)
        targets = [column.take(order) for column in steps.targets]
        targets[0] |= now.astype(np.uint64) << SHIFT
        visits = Visits(targets, numbers.take(source), agent, outcome)
        self._judge_steps(cost, visits, switched)
        self._judge_rests(cost, states, numbers, steps.source[self.recall.must.take(steps.file)])
        for more, which in ((0, ~switched), (1, switched)):
            if which.any():
                self._put((switches + more, length + 1), visits.take(np.flatnonzero(which)))

    def _notice_outcomes(self) -> None:
        """Outcomes that were remembered since the last time."""
        new = self.recall.outcomes[self.noticed :]
        if new:
            before, self.noticed = self.noticed, len(self.recall.outcomes)
            self.lanes = lengthened(self.lanes, self.noticed, 0)
            self.lanes[before : self.noticed] = [outcome.lane for outcome in new]
            for clause in self.wanted:
                breaks = [any(f.clause == clause for f in self._sought(o.findings)) for o in new]
                self.breaks[clause] = lengthened(self.breaks[clause], self.noticed, False)
                self.breaks[clause][before : self.noticed] = breaks

    def _judge_steps(self, cost: Cost, visits: Visits, switched: NDArray[np.bool_]) -> None:
        for clause in sorted(self.wanted):
            rows = np.flatnonzero(self.breaks[clause].take(visits.outcome))
            if len(rows):
                row = int(rows[np.argmin(switched.take(rows))])  # the first without a switch, or the first
                reached = (cost[0] + int(switched[row]), cost[1] + 1)
                if clause not in self.found or self.found[clause].worse_than(*reached):
                    outcome = self.recall.outcomes[visits.outcome[row]]
                    finding = next(f for f in self._sought(outcome.findings) if f.clause == clause)
                    schedule = (*self._schedule(int(visits.origin[row])), (int(visits.agent[row]), outcome.choice))
                    self.found[clause] = BreakingSchedule(finding, schedule, reached[0], False)

    def _judge_rests(self, cost: Cost, states: list[Column], numbers: Numbers, moving: Rows) -> None:
        """States that no obligatory step leaves."""
        resting = np.ones(len(numbers), np.bool_)
        resting[moving] = False
        rows = np.flatnonzero(resting)
        whole = self.packing.unpack([column.take(rows) for column in states])
        for state, number in zip(whole, numbers.take(rows).tolist(), strict=True):
            if state in self.rested:
                continue
            self.rested.add(state)
            for finding in self._sought(self.machine.at_rest(state)):
                clause = finding.clause
                if clause in self.wanted and (clause not in self.found or self.found[clause].worse_than(*cost)):
                    self.found[clause] = BreakingSchedule(finding, self._schedule(number), cost[0], True)

    def _sought(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        return (f for f in findings if isinstance(f, self.kind))

    def _schedule(self, number: int) -> tuple[Step, ...]:
        steps: list[Step] = []
        while number > 0:
            at = bisect(self.first, number) - 1
            origin, agent, outcome = (int(column[number - self.first[at]]) for column in self.came[at][1:])
            steps.append((agent, self.recall.outcomes[outcome].choice))
            number = origin
        return tuple(reversed(steps))
