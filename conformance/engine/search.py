"""Exhaustive search over hashed states.

`prove` visits every reachable state once with sleep sets (P. Godefroid, Partial-Order Methods for the Verification of Concurrent
Systems, 1996, ch. 5): a step already taken from an equivalent state is not taken again. All states are kept, only transitions are
saved, so states at rest need no proviso. Two deviations: independence is not declared but read off the measured footprints of the two
steps, and what sleeps is an agent (with all its choices), not a single transition. With `reduce=False` it is plain search: the oracle.

`shortest` is a second, unreduced search over (state, lane of the last step) that finds the least counterexample: fewest switches, then
fewest steps, then the agents in their fixed order. The same on every run and machine.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from conformance.engine.machine import Machine
from conformance.engine.monitor import Finding
from conformance.engine.state import Outcome

Step = tuple[int, tuple[int, ...]]
"""(agent index, choice): one step of a schedule."""

PULSE = 4096


@dataclass(slots=True)
class Explored:
    """What an exhaustive search found. `breached` and `at_rest` map a clause to the first reason seen for it."""

    states: int = 0
    transitions: int = 0
    quiescent: int = 0
    breached: dict[str, str] = field(default_factory=dict)
    at_rest: dict[str, Finding] = field(default_factory=dict)
    witnessed: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    """False: the bound on states was hit."""
    livelock: tuple[int, ...] = ()
    """A state from which no quiescent state can be reached by obligatory steps alone, if there is one."""


def prove(
    machine: Machine,
    *,
    reduce: bool = True,
    most: int = 1_000_000,
    pulse: Callable[[int], None] | None = None,
) -> Explored:
    """Visit every reachable state, at most `most`. Raises Fault where the implementation misbehaves."""
    done = Explored()
    agents = machine.agents
    obligatory = sum(1 << a.index for a in machine.obligatory)
    everyone = (1 << len(agents)) - 1
    numbers: dict[int, int] = {machine.initial: 0}
    asleep: list[int] = [0]
    """By state number: agents that need not step there, because an equivalent order is explored."""
    graph = Graph()
    told: dict[int, Outcome] = {}
    work: list[tuple[int, int]] = [(machine.initial, everyone)]
    waiting = {0}
    while work:
        state, due = work.pop()
        number = numbers[state]
        first = number in waiting
        waiting.discard(number)
        sleeping = asleep[number]
        entries = []
        moving = 0
        for agent in agents:
            table = agent.tables.get(state & agent.pivot.mask)
            entry = table.entries.get(state & table.mask) if table is not None else None
            if entry is None:
                entry = agent.compute(state)
            if entry.outcomes:
                bit = 1 << agent.index
                moving |= bit
                entries.append((bit, entry))
        if first and not moving & obligatory:
            done.quiescent += 1
            graph.rest.append(number)
            for finding in machine.at_rest(state):
                if finding.clause[0] == "?":
                    done.witnessed.setdefault(finding.clause[1:], finding.reason)
                else:
                    done.at_rest.setdefault(finding.clause, finding)
        quiet = [(bit, entry) for bit, entry in entries if bit & sleeping] if reduce else []
        for bit, entry in entries:
            if bit & sleeping or not bit & due:
                continue
            drowsy = 0
            for other_bit, other in quiet:
                if entry.independent(other):
                    drowsy |= other_bit
            if reduce:
                quiet.append((bit, entry))
            for outcome in entry.outcomes:
                done.transitions += 1
                if outcome.breaches and id(outcome) not in told:
                    told[id(outcome)] = outcome
                    for clause, reason in outcome.breaches:
                        if clause[0] == "?":
                            done.witnessed.setdefault(clause[1:], reason)
                        else:
                            done.breached.setdefault(clause, reason)
                target = state & outcome.keep | outcome.add
                known = numbers.get(target)
                if known is None:
                    known = numbers[target] = len(asleep)
                    asleep.append(drowsy)
                    waiting.add(known)
                    work.append((target, everyone))
                    if pulse and not known % PULSE:
                        pulse(known)
                elif asleep[known] & ~drowsy:
                    if known not in waiting:
                        work.append((target, asleep[known] & ~drowsy))
                    asleep[known] &= drowsy
                if bit & obligatory:
                    graph.edge(number, known)
        if len(asleep) > most:
            done.complete = False
            break
    done.states = len(asleep)
    if done.complete:
        stuck = graph.cannot_rest(len(asleep))
        if stuck:
            states = list(numbers)
            done.livelock = next(((states[n],) for n in stuck if not can_rest(machine, states[n])), ())
    return done


class Graph:
    """Obligatory edges between state numbers, to ask which states can come to rest."""

    def __init__(self) -> None:
        self.sources, self.targets = array("I"), array("I")
        self.rest: list[int] = []

    def edge(self, source: int, target: int) -> None:
        self.sources.append(source)
        self.targets.append(target)

    def cannot_rest(self, states: int) -> list[int]:
        """States with no recorded way to rest: candidates for LIVELOCK, to be confirmed without reduction."""
        into: list[list[int]] = [[] for _ in range(states)]
        for source, target in zip(self.sources, self.targets, strict=True):
            into[target].append(source)
        reached = bytearray(states)
        pending = list(self.rest)
        for number in pending:
            reached[number] = 1
        while pending:
            for source in into[pending.pop()]:
                if not reached[source]:
                    reached[source] = 1
                    pending.append(source)
        return [n for n in range(states) if not reached[n]]


def can_rest(machine: Machine, state: int) -> bool:
    """Whether obligatory steps alone can lead from here to a quiescent state."""
    seen = {state}
    pending = [state]
    while pending:
        here = pending.pop()
        moved = False
        for agent in machine.obligatory:
            for outcome in agent.entry(here).outcomes:
                moved = True
                target = here & outcome.keep | outcome.add
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        if not moved:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The least schedule that breaks a clause."""

    clause: str
    reason: str
    schedule: tuple[Step, ...]
    switches: int
    at_rest: bool
    """True: broken in the quiescent state that the schedule ends in; False: by its last step."""

    @property
    def steps(self) -> int:
        return len(self.schedule)


def shortest(machine: Machine, clauses: frozenset[str] | set[str], most: int = 3_000_000) -> dict[str, Counterexample]:
    """The least counterexample to each of `clauses` (`?CLAUSE` asks for a witness) that has one within `most` visits."""
    wanted = set(clauses)
    found: dict[str, Counterexample] = {}
    came_from: dict[Visit, tuple[Visit, Step] | None] = {}
    queue: list[tuple[int, int, int, int, Visit, tuple[Visit, Step] | None]] = [(0, 0, 0, 0, (machine.initial, -1), None)]
    rested: set[int] = set()
    while queue and wanted and len(came_from) < most:
        switches, steps, _, _, here, origin = heapq.heappop(queue)
        if here in came_from:
            continue
        came_from[here] = origin
        state, lane = here
        resting = True
        order = 0
        for agent in machine.agents:
            for outcome in agent.entry(state).outcomes:
                resting = resting and not agent.obligatory
                step = (agent.index, outcome.choice)
                now = 2 * agent.index + outcome.lane
                cost = switches + (lane not in (now, -1))
                for clause, reason in outcome.breaches:
                    if clause in wanted:
                        order += 1
                        broken = Counterexample(clause, reason, (*_schedule(came_from, here), step), cost, False)
                        _keep_least(found, broken)
                there = (state & outcome.keep | outcome.add, now)
                if there not in came_from:
                    order += 1
                    heapq.heappush(queue, (cost, steps + 1, len(came_from), order, there, (here, step)))
        if state not in rested:
            rested.add(state)
            if resting:
                for finding in machine.at_rest(state):
                    if finding.clause in wanted:
                        schedule = _schedule(came_from, here)
                        _keep_least(found, Counterexample(finding.clause, finding.reason, schedule, switches, True))
            elif "LIVELOCK" in wanted and not can_rest(machine, state):
                found["LIVELOCK"] = Counterexample("LIVELOCK", LIVELOCK_REASON, _schedule(came_from, here), switches, True)
        wanted -= {c for c, e in found.items() if (e.switches, e.steps) <= (switches, steps + 1)}
    return found


Visit = tuple[int, int]
"""A state and the lane of the step that led there."""


def _keep_least(found: dict[str, Counterexample], new: Counterexample) -> None:
    old = found.get(new.clause)
    if old is None or (new.switches, new.steps) < (old.switches, old.steps):
        found[new.clause] = new


LIVELOCK_REASON = "from here obligatory steps go round for ever: no order of them ever comes to rest"


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
