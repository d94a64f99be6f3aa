"""Schedules beyond the exhaustive budget, drawn and shrunk by Hypothesis.

A schedule is a list of (steps to go on, agent to switch to): the current agent goes on for that many steps, then
another one takes over. Fewest items is fewest switches, so Hypothesis's own order of shrinking is the order of the
search. Two ways to draw: uniformly, and PCT (Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of
Finding Bugs, ASPLOS 2010): agents have priorities, the highest that can move moves, and at d - 1 random steps the
running agent falls to the bottom. Ours differs in that priorities and change points are one permutation and one sorted
list that Hypothesis draws, so they shrink; and that choices of hardware are drawn too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, TypeVar

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.machine.state import Outcome
from conformance.search.proof import BreakingSchedule, Step, walk

T = TypeVar("T")

CHECKS_OFF = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
"""A schedule is long, and drawing one costs nothing beside running it."""


class Burst(NamedTuple):
    """Go on for `steps` steps of agent number `agent` (modulo those that can move); `choice` picks among its outcomes."""

    agent: int
    steps: int
    choice: int = 0


class SampledRun(NamedTuple):
    """One sampled run, to rest. `broken` maps a clause to (step number, breach); a step number past the end means at
    rest.
    """

    schedule: tuple[Step, ...]
    broken: dict[str, tuple[int, Breach]]
    rested: bool


def bursts(agents: int, longest: int = 40) -> st.SearchStrategy[list[Burst]]:
    """Uniform schedules of up to `longest` switches."""
    burst = st.builds(Burst, st.integers(0, agents - 1), st.integers(1, 30), st.integers(0, 3))
    return st.lists(burst, max_size=longest)


def priorities(agents: int, steps: int = 200, depth: int = 3) -> st.SearchStrategy[tuple[list[int], list[int]]]:
    """PCT: a permutation of the agents, and at most `depth` - 1 steps at which the running agent falls to the bottom."""
    changes = st.lists(st.integers(0, steps), max_size=depth - 1, unique=True).map(sorted)
    return st.tuples(st.permutations(range(agents)), changes)


def run_bursts(machine: Machine, plan: list[Burst], most: int = 2_000) -> SampledRun:
    """Follow a plan, then obligatory agents in order until rest."""
    return run_to_rest(machine, _burst_choices(machine, plan), most)


def run_priorities(machine: Machine, plan: tuple[list[int], list[int]], most: int = 2_000) -> SampledRun:
    """Follow priorities to rest."""
    return run_to_rest(machine, _priority_choices(machine, plan), most)


Moving = list[tuple[int, tuple[Outcome, ...]]]


Chooser = Generator[tuple[int, Outcome] | None, Moving, None]
"""Sent the agents that can move, answers the (agent, outcome) to take."""


def run_to_rest(machine: Machine, choose: Chooser, most: int = 2_000) -> SampledRun:
    """Let `choose` choose until nothing obligatory can move, for `most` steps at most."""
    state = machine.initial
    schedule: list[Step] = []
    broken: dict[str, tuple[int, Breach]] = {}
    next(choose)
    for number in range(1, most + 1):
        moving: Moving = [(a.index, e.outcomes) for a in machine.agents if (e := a.entry(state)).outcomes]
        if not any(machine.agents[index].obligatory for index, _ in moving):
            for finding in machine.at_rest(state):
                if isinstance(finding, Breach):
                    broken.setdefault(finding.clause, (number, finding))
            return SampledRun(tuple(schedule), broken, True)
        taken = choose.send(moving)
        assert taken
        index, outcome = taken
        schedule.append((index, outcome.choice))
        for breach in outcome.breaches:
            broken.setdefault(breach.clause, (number, breach))
        state = state & outcome.keep | outcome.add
    return SampledRun(tuple(schedule), broken, False)


def _burst_choices(machine: Machine, plan: list[Burst]) -> Chooser:
    moving = yield None
    for burst in plan:
        index = moving[burst.agent % len(moving)][0]
        for _ in range(burst.steps):
            outcomes = dict(moving).get(index)
            if not outcomes:
                break
            moving = yield index, outcomes[burst.choice % len(outcomes)]
    while True:
        index, outcomes = next((i, o) for i, o in moving if machine.agents[i].obligatory)
        moving = yield index, outcomes[0]


def _priority_choices(machine: Machine, plan: tuple[list[int], list[int]]) -> Chooser:
    order, changes = list(plan[0]), set(plan[1])
    moving = yield None
    step = 0
    while True:
        able = dict(moving)
        index = next(i for i in order if i in able)
        if step in changes:
            order.remove(index)
            order.append(index)
            index = next(i for i in order if i in able)
        moving = yield index, able[index][step % len(able[index])]
        step += 1


def draw(strategy: st.SearchStrategy[T], count: int, chance: int | None = None) -> list[T]:
    """Plans, the same each time. They are drawn before any is run: Hypothesis takes no exception of a run for its own.

    `chance` seeds them in another way.
    """
    plans: list[T] = []
    limits = settings(
        max_examples=count, database=None, derandomize=chance is None, deadline=None, phases=[Phase.generate],
        suppress_health_check=CHECKS_OFF,
    )  # fmt: skip
    drawn = limits(given(strategy)(lambda plan: plans.append(plan)))
    (drawn if chance is None else seed(chance)(drawn))()
    return plans


def sample(
    machine: Machine, runs: int, predict: Callable[[SampledRun], Iterable[SampledRun]] = lambda _: ()
) -> tuple[int, dict[str, BreakingSchedule]]:
    """Draw `runs` schedules, half each way, and from each run that breaks nothing new `predict` others. Answers the steps
    taken, and for each broken clause the first run that broke it.
    """
    agents = len(machine.agents)
    first: dict[str, SampledRun] = {}
    steps = 0

    def note(run: SampledRun) -> bool:
        """Whether it breaks nothing new."""
        nonlocal steps
        steps += len(run.schedule)
        known = run.broken.keys() <= first.keys()
        for clause in run.broken:
            first.setdefault(clause, run)
        return known

    drawn = [run_bursts(machine, plan) for plan in draw(bursts(agents), runs // 2)]
    drawn += [run_priorities(machine, plan) for plan in draw(priorities(agents), runs // 2)]
    for run in [run for run in drawn if note(run)]:
        for predicted in predict(run):
            note(predicted)
    return steps, {clause: _cut(machine, run, clause) for clause, run in sorted(first.items())}


def shrink(machine: Machine, clause: str) -> BreakingSchedule:
    """The least plan that breaks the clause, as Hypothesis finds it. Slow: only where no exhausted scenario breaks it."""
    return _cut(machine, _shrink(machine, clause), clause)


def _shrink(machine: Machine, clause: str) -> SampledRun:
    """The least plan that breaks the clause, as Hypothesis finds it; PCT's plan where only that one does."""
    limits = settings(
        max_examples=400, database=None, derandomize=True, deadline=None, suppress_health_check=CHECKS_OFF
    )
    agents = len(machine.agents)
    try:
        return run_bursts(
            machine, find(bursts(agents), lambda p: clause in run_bursts(machine, p).broken, settings=limits)
        )
    except NoSuchExample:
        plan = find(priorities(agents), lambda p: clause in run_priorities(machine, p).broken, settings=limits)
        return run_priorities(machine, plan)


def _cut(machine: Machine, run: SampledRun, clause: str) -> BreakingSchedule:
    """The part of a run up to where it breaks the clause."""
    number, breach = run.broken[clause]
    schedule = run.schedule[:number]
    return BreakingSchedule(breach, schedule, switches(machine, schedule), number > len(run.schedule))


def switches(machine: Machine, schedule: tuple[Step, ...]) -> int:
    """How often a schedule changes lanes."""
    count, lane = 0, -1
    for (index, _), (_, outcome, _) in zip(schedule, walk(machine, schedule), strict=True):
        now = 2 * index + outcome.lane
        count += lane not in (now, -1)
        lane = now
    return count
