"""Machines of a few lines: routines are methods of a plain class, a thread is named after its routine and has a CPU of
its own.

`reach` and `rests` are plain searches that share nothing with the engine's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from conformance.adapters.python import PythonSource
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.machine.clause import Citation, Clause
from conformance.machine.machine import Machine
from conformance.machine.monitor import Monitor
from conformance.machine.state import Agent, LayoutFull, Outcome
from conformance.roles.cpu import Cpu
from conformance.roles.location import Field, Shared
from conformance.roles.scenario import DeviceInterrupt, Scenario, Thread
from conformance.search.proof import Proof, prove

T = TypeVar("T")

X, Y, A, B, L = (Field(name) for name in ("x", "y", "a", "b", "l"))
"""Shared words, words to record results in, and a lock."""
V, W = 0x50, 0x60
"""Host interrupt vectors."""


def promise(name: str, *of: Clause, where: tuple[str, ...] = ()) -> Clause:
    """A clause that has a name and little more."""
    return Clause(
        id=name,
        section="tiny",
        architecture="any",
        kind="guarantee",
        modality="MUST",
        role="guest-visible",
        authority="end-to-end",
        statement="So it is.",
        sources=(Citation("a test"),),
        profiles=("strict",),
        check="interleaving",
        of=tuple(base.id for base in of),
        where=where,
    )


class Code:
    """Base of implementations: what they share, and a vCPU that does nothing."""

    shares: ClassVar[Mapping[str, Shared]] = {
        "x": Shared(),
        "y": Shared(),
        "a": Shared(),
        "b": Shared(),
        "l": Shared(lock=True),
    }
    handlers: ClassVar[Mapping[int, str]] = {}

    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        """The vCPU's thread ends at once."""

    def load(self, cpu: Cpu, vcpu: str, where: int) -> None: ...

    def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None: ...


class InGuest(Code):
    """A vCPU whose thread enters its guest; the processor turns every interrupt into a VM exit."""

    shares: ClassVar[Mapping[str, Shared]] = {**Code.shares, "vcpu0.halted": Shared(private_to="vcpu0")}

    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.enter_guest(vcpu)

    def vm_entry(self, cpu: Cpu, vcpu: str) -> None: ...

    def boundary(self, cpu: Cpu, vcpu: str, pending: tuple[int, ...]) -> Any:
        return ("acknowledge", max(pending)) if pending else None

    def acknowledge(self, cpu: Cpu, vcpu: str, vector: int) -> None:
        cpu.exit_guest("interrupt", vector)

    def instruction(self, cpu: Cpu, vcpu: str, what: str, *operands: int) -> None:
        cpu.exit_guest(what, *operands)


def machine(
    code: type[Code],
    *threads: str,
    cpus: int = 0,
    monitors: Sequence[Monitor] = (),
    widths: dict[str, int] | None = None,
    **scenario: Any,
) -> Machine:
    """A thread for each routine named; vCPUs, devices, interrupts, budget and buffer as in a scenario."""
    first = len(scenario.setdefault("vcpus", ()))
    made = Scenario(
        name="tiny",
        about="",
        architecture="plain",
        cpus=cpus or max(1, first + len(threads)),
        threads=tuple(Thread(name, name, (), first + n) for n, name in enumerate(threads)),
        **scenario,
    )
    unfolding = Unfolding(PythonSource(code))
    routines = {name: unfolding for name in dir(code) if not name.startswith("_") and callable(getattr(code, name))}
    return Machine(Assembly(routines, {}, code.shares, code.handlers), made, monitors, widths)


def fitted(use: Callable[[dict[str, int]], T]) -> T:
    """Use a machine of some widths; again, with more, whenever a cell meets more values than fit."""
    widths: dict[str, int] = {}
    while True:
        try:
            return use(widths)
        except LayoutFull as full:
            widths[full.cell] = full.width


def moves(machine: Machine, state: int, agents: Sequence[Agent] | None = None) -> Iterator[tuple[Agent, Outcome, int]]:
    """(agent, outcome, next state) of everything that can happen."""
    for agent in machine.agents if agents is None else agents:
        for outcome in agent.entry(state).outcomes:
            yield agent, outcome, state & outcome.keep | outcome.add


def reach(machine: Machine) -> list[int]:
    """Every reachable state."""
    seen = {machine.initial: None}
    pending = [machine.initial]
    while pending:
        for _, _, target in moves(machine, pending.pop()):
            if target not in seen:
                seen[target] = None
                pending.append(target)
    return list(seen)


def value(machine: Machine, state: int, cell: str) -> Any:
    return machine.layout.cells[cell].unpack(state)


def rests(machine: Machine, *cells: str) -> set[Any]:
    """What these cells hold in the states at rest: a value, or a tuple of several."""
    found: set[Any] = set()
    for state in reach(machine):
        if machine.quiescent(state):
            values = tuple(value(machine, state, cell) for cell in cells)
            found.add(values if len(cells) > 1 else values[0])
    return found


def broken(machine: Machine) -> set[str]:
    """The clauses an exhaustive search finds broken."""
    return clauses(prove(machine))


def clauses(done: Proof) -> set[str]:
    return {*done.breached, *done.at_rest, *(("LIVELOCK",) if done.livelock else ())}


def agent(machine: Machine, name: str) -> Agent:
    return next(a for a in machine.agents if a.name == name)


def interrupt(routine: str, vector: int = V, cpu: int = 0) -> DeviceInterrupt:
    return DeviceInterrupt(vector, cpu, routine, ())


def top(machine: Machine, state: int, cpu: int = 0) -> Any:
    """The frame on top of a CPU, or None."""
    frames = value(machine, state, f"cpu{cpu}.run").frames
    return frames[-1] if frames else None
