"""The PIR scanner against the model of the processor, on states by the batch: drawn ones, and ones that schedules reach.

One call of the scanner takes all states of a batch; the model takes them one at a time, as the unfolded routine
`acknowledge` that the search runs; the oracle walks bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conformance.adapters.registry import resolve
from conformance.automaton.alone import run_alone
from conformance.automaton.assembly import Assembly, assemble
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.roles import architectures
from conformance.roles.x86 import PINV
from conformance.search.proof import walk
from conformance.search.sampling import Burst, bursts, run_bursts
from properties.suite import SUITE
from properties.x86.scenarios import SCENARIOS
from properties.x86.sequential.state import State, states
from reference.pir import harvest as pir
from reference.pir import naive as pir_naive
from reference.pir.harvest import Words

Registers = tuple[frozenset[int], frozenset[int], int]
"""PIR, vIRR and RVI of one vCPU."""


def table(registers: list[frozenset[int]]) -> Words:
    raw = b"".join(sum(1 << v for v in vectors).to_bytes(32, "little") for vectors in registers)
    return np.frombuffer(bytearray(raw), "<u8").reshape(-1, 4)


def processed(assembly: Assembly, state: State) -> State:
    return State.of(run_alone(assembly, "acknowledge", ("vcpu0", PINV), state.memory(), interrupts=False).memory)


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    return assemble(resolve("reference"), architectures()["x86"].example)


def agree(assembly: Assembly, batch: list[State]) -> None:
    """Scanner, oracle and model make the same of every state: PIR, vIRR and RVI."""
    tables = [table([s.pir for s in batch]), table([s.virr for s in batch])]
    copies = [t.copy() for t in tables]
    found = pir.harvest_many(tables[0], tables[1])
    due = pir_naive.harvest_many(copies[0], copies[1])
    assert all((a == b).all() for a, b in zip((*tables, *found), (*copies, *due), strict=True))
    old = np.array([s.rvi for s in batch])
    model = [processed(assembly, s) for s in batch]
    assert (tables[0] == table([s.pir for s in model])).all()
    assert (tables[1] == table([s.virr for s in model])).all()
    assert np.maximum(old, found.posted).tolist() == [s.rvi for s in model]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(states(), min_size=1, max_size=20))
def test_drawn_states(assembly: Assembly, batch: list[State]) -> None:
    agree(assembly, batch)


# States that schedules reach

BUSIEST = next(s for s in SCENARIOS if s.samples)


def reached(machine: Machine, runs: int) -> list[dict[str, int]]:
    """What every cell holds in each state of so many sampled schedules."""
    met: dict[int, None] = {}

    @settings(max_examples=runs, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
    @given(bursts(len(machine.agents)))
    def draw(plan: list[Burst]) -> None:
        for _, _, state in walk(machine, run_bursts(machine, plan).schedule):
            met[state] = None

    draw()
    return [machine.layout.show(state) for state in met]


def registers(shown: list[dict[str, int]]) -> Iterator[Registers]:
    """Of each vCPU in each state."""

    def vectors(cells: dict[str, int], register: str) -> frozenset[int]:
        words = [cells[f"{register}[{w}]"] for w in range(4)]
        return frozenset(64 * w + b for w in range(4) for b in range(64) if words[w] >> b & 1)

    for cells in shown:
        for vcpu in (f"vcpu{n}" for n in range(len(BUSIEST.vcpus))):
            yield vectors(cells, f"{vcpu}.pid.pir"), vectors(cells, f"{vcpu}.virr"), cells[f"{vcpu}.rvi"]


def test_states_that_schedules_reach(assembly: Assembly) -> None:
    """Scanner, model and oracle agree on each; and RVI never tells of more than the scanner finds in vIRR: it follows
    vIRR on the way up, and goes with it in one step when a vector is delivered.
    """
    met = in_machine(resolve("reference"), BUSIEST, SUITE, lambda machine: reached(machine, 40))
    columns = list(registers(met))
    highest = pir.highest_many(table([pending for _, pending, _ in columns]))
    rvi = np.array([value for _, _, value in columns])
    assert (rvi <= np.maximum(highest, 0)).all()
    assert ((rvi > 0) & (rvi == highest)).any() and (rvi < highest).any()
    distinct = list(dict.fromkeys(columns))
    assert len(met) > 1000 and len(distinct) > 5
    agree(assembly, [State(pir=posted, virr=pending, rvi=value) for posted, pending, value in distinct])
