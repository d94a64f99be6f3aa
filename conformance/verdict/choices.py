"""What could have been done at a step of a recorded schedule, and what each choice would have led to."""

from __future__ import annotations

from typing import Literal, NamedTuple

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.facts import Happened
from conformance.machine.finding import Finding
from conformance.machine.machine import Machine
from conformance.search.proof import walk
from conformance.search.replay import Replay, follow
from conformance.verdict.again import fitting
from conformance.verdict.suite import load_suite

MOST = 100_000
"""States that are looked at for each choice."""


class Choice(NamedTuple):
    """A step that is enabled. `leads`: whether what the schedule shows can still happen after it."""

    agent: str
    facts: tuple[Happened, ...]
    taken: bool
    leads: Literal["can", "cannot", "unknown"]


def choices(string: str, number: int, implementation: Implementation) -> tuple[Replay, list[Choice]]:
    """Of the step of that number, counted from 1. Raises ReplayError, Fault, and LookupError where there is no such step."""
    suite = load_suite()
    recorded, _, scenario = fitting(string, suite)
    return recorded, in_machine(implementation, scenario, suite, lambda m: _choices(m, recorded, number))


def _choices(machine: Machine, recorded: Replay, number: int) -> list[Choice]:
    schedule = follow(machine, recorded.steps)
    if not 1 <= number <= len(schedule):
        raise LookupError(f"there is no step {number}: the schedule fits for {len(schedule)} steps")
    before = next(before for n, (before, _, _) in enumerate(walk(machine, schedule), 1) if n == number)
    found: list[Choice] = []
    for agent in machine.agents:
        for outcome in agent.entry(before).outcomes:
            taken = (agent.index, outcome.choice) == schedule[number - 1]
            after = before & outcome.keep | outcome.add
            shown = any(_shows(f, recorded) for f in outcome.findings)
            leads = "can" if shown else _leads(machine, after, recorded)
            found.append(Choice(agent.name, tuple(note.fact for note in outcome.notes), taken, leads))
    return found


def _leads(machine: Machine, state: int, recorded: Replay) -> Literal["can", "cannot", "unknown"]:
    known, pending = {state}, [state]
    while pending:
        here = pending.pop()
        resting = True
        try:
            for agent in machine.agents:
                for outcome in agent.entry(here).outcomes:
                    resting = resting and not agent.obligatory
                    if any(_shows(f, recorded) for f in outcome.findings):
                        return "can"
                    there = here & outcome.keep | outcome.add
                    if there not in known:
                        known.add(there)
                        pending.append(there)
        except Fault:
            return "unknown"
        if resting and any(_shows(f, recorded) for f in machine.at_rest(here)):
            return "can"
        if len(known) > MOST:
            return "unknown"
    return "cannot"


def _shows(finding: Finding, recorded: Replay) -> bool:
    return isinstance(finding, recorded.kind) and finding.clause == recorded.clause
