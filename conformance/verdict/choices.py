"""What could have been done at a step of a recorded schedule, and what each choice would have led to."""

from __future__ import annotations

from typing import Literal, NamedTuple

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.machine.facts import Happened
from conformance.machine.finding import Finding
from conformance.machine.machine import Machine
from conformance.search.proof import Step, walk
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
    recorded, found = every_choice(string, implementation, only=number)
    if number not in found:
        raise LookupError(f"there is no step {number}: the schedule fits for {len(found)} steps")
    return recorded, found[number]


def every_choice(
    string: str, implementation: Implementation, *, only: int = 0, most: int = MOST
) -> tuple[Replay, dict[int, list[Choice]]]:
    """By the number of a step, of all that fit; with `only` the others are left empty. Raises ReplayError and Fault."""
    suite = load_suite()
    recorded, _, scenario = fitting(string, suite)

    def of_steps(machine: Machine) -> dict[int, list[Choice]]:
        schedule = follow(machine, recorded.steps)
        future = _Future(machine, recorded, most)
        return {
            n: future.choices(before, schedule[n - 1]) if only in (0, n) else []
            for n, (before, _, _) in enumerate(walk(machine, schedule), 1)
        }

    return recorded, in_machine(implementation, scenario, suite, of_steps)


class _Future:
    """From which states what a schedule shows can still happen."""

    def __init__(self, machine: Machine, recorded: Replay, most: int) -> None:
        self.machine, self.recorded, self.most = machine, recorded, most
        self.cannot: set[int] = set()
        """States from which it cannot."""

    def choices(self, before: int, taken: Step) -> list[Choice]:
        found: list[Choice] = []
        for agent in self.machine.agents:
            for outcome in agent.entry(before).outcomes:
                shown = any(map(self._shows, outcome.findings))
                leads = "can" if shown else self.leads(before & outcome.keep | outcome.add)
                facts = tuple(note.fact for note in outcome.notes)
                found.append(Choice(agent.name, facts, (agent.index, outcome.choice) == taken, leads))
        return found

    def leads(self, state: int) -> Literal["can", "cannot", "unknown"]:
        known, pending = {state} - self.cannot, [state]
        while pending:
            here = pending.pop()
            if here in self.cannot:
                continue
            try:
                if self._ends(here, known, pending):
                    return "can"
            except Fault:
                return "unknown"
            if len(known) > self.most:
                return "unknown"
        self.cannot |= known
        return "cannot"

    def _ends(self, here: int, known: set[int], pending: list[int]) -> bool:
        """Whether it happens here; else what comes next is pending."""
        resting = True
        for agent in self.machine.agents:
            for outcome in agent.entry(here).outcomes:
                resting = resting and not agent.obligatory
                if any(map(self._shows, outcome.findings)):
                    return True
                there = here & outcome.keep | outcome.add
                if there not in known:
                    known.add(there)
                    pending.append(there)
        return resting and any(map(self._shows, self.machine.at_rest(here)))

    def _shows(self, finding: Finding) -> bool:
        return isinstance(finding, self.recorded.kind) and finding.clause == self.recorded.clause
