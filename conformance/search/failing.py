"""The least schedule after which the code under test itself fails: it crashes, say, or gives no answer.

Such a step has no outcome, so a search for breaches never takes it. This one looks for the first state, by (switches,
steps) as `search.proof.shortest` has it, in which somebody's step ends in a Fault.
"""

from __future__ import annotations

import heapq

from conformance.adapters.source import Fault
from conformance.machine.machine import Machine
from conformance.search.results import Step

Cost = tuple[int, int]
Visit = tuple[int, int]
"""A state, and the lane of the step that led there."""

MOST = 200_000
"""Visits."""


class Failing:
    """The steps before it, who fails then, at what cost, and how."""

    def __init__(self, schedule: tuple[Step, ...], agent: int, switches: int, fault: Fault) -> None:
        self.schedule, self.agent, self.switches, self.fault = schedule, agent, switches, fault
        self.notes = fault.notes

    @property
    def cost(self) -> Cost:
        return self.switches, len(self.schedule) + 1


def failing(machine: Machine, status: str, most: int = MOST) -> Failing | None:
    """None where no step that ends in a Fault of this status is met within so many visits."""
    found: Failing | None = None
    came_from: dict[Visit, tuple[Visit, Step] | None] = {}
    queue: dict[Cost, list[tuple[Visit, tuple[Visit, Step] | None]]] = {(0, 0): [((machine.initial, -1), None)]}
    costs: list[Cost] = [(0, 0)]
    while costs and len(came_from) < most:
        cost = switches, steps = heapq.heappop(costs)
        if found and found.cost <= (switches, steps + 1):
            break
        for here, origin in queue.pop(cost):
            if here in came_from:
                continue
            came_from[here] = origin
            state, lane = here
            for agent in machine.agents:
                switched = switches + (lane >> 1 not in (agent.index, -1))
                if found and found.cost <= (switched, steps + 1):
                    continue  # what fails is not asked again and again
                try:
                    outcomes = agent.entry(state).outcomes
                except Fault as fault:
                    if fault.status == status:
                        found = Failing(_schedule(came_from, here), agent.index, switched, fault)
                    continue
                for outcome in outcomes:
                    now = 2 * agent.index + outcome.lane
                    there = (state & outcome.keep | outcome.add, now)
                    dearer = (switches + (lane not in (now, -1)), steps + 1)
                    if there not in came_from:
                        if dearer not in queue:
                            queue[dearer] = []
                            heapq.heappush(costs, dearer)
                        queue[dearer].append((there, (here, (agent.index, outcome.choice))))
    return found


def _schedule(came_from: dict[Visit, tuple[Visit, Step] | None], here: Visit) -> tuple[Step, ...]:
    steps: list[Step] = []
    while (origin := came_from[here]) is not None:
        here, step = origin
        steps.append(step)
    return tuple(reversed(steps))
