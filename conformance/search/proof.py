"""Exhaustive search over hashed states.

`prove` visits every reachable state once with sleep sets (P. Godefroid, Partial-Order Methods for the Verification of
Concurrent Systems, 1996, ch. 5): a step already taken from an equivalent state is not taken again. All states are kept,
only transitions are saved, so states at rest need no proviso. Two deviations: independence is not declared but read off
the measured footprints of the two steps, and what sleeps is an agent (with all its choices), not a single transition.
Beyond a few thousand states `frontier` takes over, which visits many at a time, all orders of them. With `reduce=False`
it is plain search, one state at a time: the oracle of both.

`shortest` is a second, unreduced search over (state, lane of the last step) that finds the least counterexample: fewest
switches, then fewest steps, then the agents in their fixed order. The same on every run and machine. Beyond `FEW_VISITS`
visits `least` does it, many at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from conformance.adapters.source import Fault
from conformance.machine.finding import Breach, Finding
from conformance.machine.machine import Machine
from conformance.machine.state import NextSteps, Outcome
from conformance.search.frontier import Frontier
from conformance.search.least import least
from conformance.search.results import BreakingSchedule, Proof, Step

PULSE = 4096
FEW = 2_000
"""States up to which one at a time is as fast."""
FEW_VISITS = 20_000
"""And visits: costs are many, and each has few of them."""
MOST_FAULTS = 100
"""Crashes of the code under test that the search for the least schedule goes around."""


def prove(
    machine: Machine,
    *,
    reduce: bool = True,
    most: int = 1_000_000,
    pulse: Callable[[int], None] | None = None,
    done: Proof | None = None,
) -> Proof:
    """Visit every reachable state, at most `most`. Raises Fault where the implementation misbehaves; what was found
    until then is in `done`, if that is given.

    With `reduce`, more than `FEW` states are visited many at a time, by `frontier`, without reduction.
    """
    done = Proof() if done is None else done
    few = min(FEW, most) if reduce else most
    met = _one_by_one(machine, reduce, few, pulse, done)
    if not done.complete and few < most:
        done.begin_again()
        Frontier(machine, done, met).search(most, pulse)
    return done


def visits(machine: Machine) -> Iterator[tuple[int, bool, int]]:
    """Every reachable state once, plainly: the state, whether it is at rest, and how many were met so far."""
    seen, pending = {machine.initial}, [machine.initial]
    while pending:
        state = pending.pop()
        resting = True
        for agent in machine.agents:
            for outcome in agent.entry(state).outcomes:
                resting = resting and not agent.obligatory
                target = state & outcome.keep | outcome.add
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        yield state, resting, len(seen)


def _one_by_one(
    machine: Machine, reduce: bool, most: int, pulse: Callable[[int], None] | None, done: Proof
) -> list[int]:
    """Sleep sets, or with `reduce` off plain search: the oracle. Answers the states that it met, in order."""
    agents = [(1 << a.index, a.pivot.mask, a.tables, a) for a in machine.agents]
    obligatory = sum(1 << a.index for a in machine.obligatory)
    everyone = (1 << len(agents)) - 1
    numbers: dict[int, int] = {machine.initial: 0}
    asleep: list[int] = [0]
    """By state number: agents that need not step there, because an equivalent order is explored."""
    resting = bytearray(1)
    told: dict[int, Outcome] = {}
    work: list[tuple[int, int, int]] = [(machine.initial, 0, 0)]
    """(state, its number, agents that are due though they slept before; 0: none has stepped yet)"""
    fresh = bytearray(b"\1")
    while work:
        state, number, due = work.pop()
        sleeping = asleep[number]
        entries: list[tuple[int, NextSteps]] = []
        moving = 0
        for bit, pivot, tables, agent in agents:
            table = tables.get(state & pivot)
            entry = table.entries.get(state & table.mask) if table is not None else None
            if entry is None:
                entry = agent.compute(state)
            if entry.outcomes:
                moving |= bit
                entries.append((bit, entry))
        if not due:
            due = everyone
            fresh[number] = 0
            if not moving & obligatory:
                resting[number] = 1
                done.judge(machine.at_rest(state))
        due &= ~sleeping
        quiet = [pair for pair in entries if pair[0] & sleeping] if reduce else []
        for bit, entry in entries:
            if not bit & due:
                continue
            drowsy = 0
            if reduce:
                writes, touches = entry.writes, entry.touches
                for other_bit, other in quiet:
                    if not (writes & other.touches or other.writes & touches):
                        drowsy |= other_bit
                quiet.append((bit, entry))
            outcomes = entry.outcomes
            done.transitions += len(outcomes)
            for outcome in outcomes:
                target = state & outcome.keep | outcome.add
                known = numbers.get(target)
                if known is None:
                    known = numbers[target] = len(asleep)
                    asleep.append(drowsy)
                    resting.append(0)
                    fresh.append(1)
                    work.append((target, known, 0))
                    if pulse and not known % PULSE:
                        pulse(known)
                elif woken := asleep[known] & ~drowsy:
                    if not fresh[known]:
                        work.append((target, known, woken))
                    asleep[known] &= drowsy
                if outcome.findings and id(outcome) not in told:
                    told[id(outcome)] = outcome
                    done.tell(outcome)
        if len(asleep) > most:
            done.complete = False
            break
    done.states = len(asleep)
    if done.complete:
        done.livelock = _livelock(machine, numbers, resting)
    return list(numbers)


def _livelock(machine: Machine, numbers: dict[int, int], resting: bytearray) -> tuple[int, ...]:
    """A state that cannot come to rest, if there is one. Most are cleared by taking the first obligatory step again and
    again.
    """
    round_and_round = 2
    for state, number in numbers.items():
        path: list[int] = []
        while not resting[number]:
            resting[number] = round_and_round
            path.append(number)
            moved = next(outcomes[0] for a in machine.obligatory if (outcomes := a.entry(state).outcomes))
            state = state & moved.keep | moved.add
            number = numbers[state]
        for passed in path:
            resting[passed] = resting[number]
    if round_and_round not in resting:
        return ()
    known = {state for state, number in numbers.items() if resting[number] == 1}
    return next(((s,) for s, number in numbers.items() if resting[number] != 1 and not can_rest(machine, s, known)), ())


def can_rest(machine: Machine, state: int, known: set[int] | None = None) -> bool:
    """Whether obligatory steps alone can lead from here to a quiescent state. `known`: states that can; found ones are
    added.
    """
    known = set() if known is None else known
    origin = {state: state}
    pending = [state]
    while pending:
        here = pending.pop()
        moves = [] if here in known else [o for a in machine.obligatory for o in a.entry(here).outcomes]
        if not moves:
            known.add(here)
            while here != state:
                here = origin[here]
                known.add(here)
            return True
        for outcome in moves:
            target = here & outcome.keep | outcome.add
            if target not in origin:
                origin[target] = here
                pending.append(target)
    return False


def shortest(
    machine: Machine,
    clauses: frozenset[str] | set[str],
    most: int = 3_000_000,
    kind: type[Finding] = Breach,
    below: Cost | None = None,
) -> dict[str, BreakingSchedule]:
    """The least counterexample to each of `clauses` (`kind` Witness: the least witness) that has one within `most`
    visits and at a lower cost than `below`: what costs as much is not looked at.

    What takes more than `FEW_VISITS` is left to `least`, which makes many at a time and answers the same; but LIVELOCK,
    for which each state has to be looked at, is searched for one visit at a time.
    """
    found, over = _one_visit_at_a_time(machine, clauses, min(FEW_VISITS, most), kind, below)
    if not over and most > FEW_VISITS:
        many = set(clauses) - {"LIVELOCK"}
        found = least(machine, many, most, kind, below) if many else {}
        if many != clauses:
            found |= _one_visit_at_a_time(machine, {"LIVELOCK"}, most, kind, below)[0]
    return {c: f for c, f in found.items() if below is None or (f.switches, f.steps) < below}


def _one_visit_at_a_time(
    machine: Machine,
    clauses: frozenset[str] | set[str],
    most: int,
    kind: type[Finding] = Breach,
    below: Cost | None = None,
) -> tuple[dict[str, BreakingSchedule], bool]:
    """What was found, and whether there is nothing more to find. A step in which the code crashes leads nowhere."""
    faults = 0
    wanted = set(clauses)
    found: dict[str, BreakingSchedule] = {}
    came_from: dict[Visit, tuple[Visit, Step] | None] = {}
    queue: dict[Cost, list[tuple[Visit, tuple[Visit, Step] | None]]] = {(0, 0): [((machine.initial, -1), None)]}
    """By cost, in the order found; emptied in order of cost."""
    costs: list[Cost] = [(0, 0)]
    rested: set[int] = set()
    restful: set[int] = set()
    while costs and wanted and len(came_from) < most:
        switches, steps = heapq.heappop(costs)
        for here, origin in queue.pop((switches, steps)):
            if here in came_from:
                continue
            came_from[here] = origin
            state, lane = here
            resting = True
            for agent in machine.agents:
                try:
                    outcomes = agent.entry(state).outcomes
                except Fault as fault:
                    faults += 1
                    if fault.status != "CRASH" or faults > MOST_FAULTS:
                        raise
                    resting = False
                    continue
                for outcome in outcomes:
                    resting = resting and not agent.obligatory
                    step = (agent.index, outcome.choice)
                    now = 2 * agent.index + outcome.lane
                    cost = (switches + (lane not in (now, -1)), steps + 1)
                    for finding in outcome.findings:
                        if not isinstance(finding, kind) or (clause := finding.clause) not in wanted:
                            continue
                        if clause not in found or found[clause].worse_than(*cost):
                            schedule = (*_schedule(came_from, here), step)
                            found[clause] = BreakingSchedule(finding, schedule, cost[0], False)
                    there = (state & outcome.keep | outcome.add, now)
                    if there not in came_from and (below is None or cost < below):
                        if cost not in queue:
                            queue[cost] = []
                            heapq.heappush(costs, cost)
                        queue[cost].append((there, (here, step)))
            if state in rested:
                continue
            rested.add(state)
            if resting:
                for finding in machine.at_rest(state):
                    if not isinstance(finding, kind) or (clause := finding.clause) not in wanted:
                        continue
                    if clause not in found or found[clause].worse_than(switches, steps):
                        found[clause] = BreakingSchedule(finding, _schedule(came_from, here), switches, True)
            elif "LIVELOCK" in wanted - found.keys() and not can_rest(machine, state, restful):
                found["LIVELOCK"] = BreakingSchedule(LIVELOCK, _schedule(came_from, here), switches, True)
        wanted -= {c for c, e in found.items() if (e.switches, e.steps) <= (switches, steps)}
    return found, not (wanted and costs)


Visit = tuple[int, int]
"""A state and the lane of the step that led there."""


Cost = tuple[int, int]
"""Switches and steps."""


LIVELOCK_REASON = "from here obligatory steps go round for ever: no order of them ever comes to rest"
LIVELOCK = Breach("LIVELOCK", LIVELOCK_REASON)


def _schedule(came_from: dict[Visit, tuple[Visit, Step] | None], here: Visit) -> tuple[Step, ...]:
    steps: list[Step] = []
    while (origin := came_from[here]) is not None:
        here, step = origin
        steps.append(step)
    return tuple(reversed(steps))


def walk(machine: Machine, schedule: tuple[Step, ...]) -> Iterator[tuple[int, Outcome, int]]:
    """(state before, outcome, state after) of each step. Raises KeyError where the schedule does not fit."""
    state = machine.initial
    for index, choice in schedule:
        entry = machine.agents[index].entry(state)
        outcome = next((o for o in entry.outcomes if o.choice == choice), None)
        if outcome is None:
            raise KeyError(f"{machine.agents[index].name} cannot take choice {choice} here")
        after = state & outcome.keep | outcome.add
        yield state, outcome, after
        state = after
