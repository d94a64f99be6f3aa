"""DELAYED or LOST: what happens to a violation at rest when every CPU gets one free exit."""

from __future__ import annotations

from typing import Literal

from conformance.machine.execute import Stepping
from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.machine.state import Agent, NotEnabled, View
from conformance.search.proof import BreakingSchedule, walk

LONGEST = 20_000


def recovery(machine: Machine, found: BreakingSchedule) -> Literal["DELAYED", "LOST"]:
    """LOST if the clause is still broken after one exit on each CPU and rest again; DELAYED if that mends it."""
    state = machine.initial
    for _, _, state in walk(machine, found.schedule):
        pass
    for c, cpu in enumerate(machine.cpus):

        def leave(view: View, c: int = c) -> None:
            run = view.get(machine.cpus[c].run)
            if not run.guest or run.frames[-1].kind == "hardware":
                raise NotEnabled
            Stepping(machine, view, c, machine.cpus[c].run).exit_guest(("tick",))

        outcomes = Agent(f"free exit cpu{c}", 0, cpu.run, leave).entry(state).outcomes
        if outcomes:
            state = settle(machine, state & outcomes[0].keep | outcomes[0].add)
    return (
        "LOST" if any(isinstance(f, Breach) and f.clause == found.clause for f in machine.at_rest(state)) else "DELAYED"
    )


def settle(machine: Machine, state: int) -> int:
    """The rest that obligatory steps lead to, agents in order."""
    for _ in range(LONGEST):
        moved = next((o for a in machine.obligatory for o in a.entry(state).outcomes[:1]), None)
        if moved is None:
            return state
        state = state & moved.keep | moved.add
    return state
