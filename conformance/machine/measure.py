"""Every operation performed in a small machine, and what it was seen to read, write and wait for: the facts of
docs/operations.md.

Two CPUs, each with a vCPU of its own, which does nothing but what is measured; with and without store buffers.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from conformance.adapters.python import PythonSource
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.machine.execute import Stepping
from conformance.machine.facts import Fact
from conformance.machine.machine import Machine
from conformance.machine.perform import Blocked
from conformance.machine.state import NotEnabled, View
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu
from conformance.roles.location import Field, Shared
from conformance.roles.scenario import Budget, Scenario, VcpuSetup

X, LOCK, LIST = Field("x"), Field("lock"), Field("list")
VECTOR = 0x40
DEPTH = 2
NO_BUDGET = Budget()


@dataclass(frozen=True)
class Sample:
    """One way of performing an operation. `given`: cells that hold another value than at the start."""

    name: str
    does: Callable[[Cpu, str, Field], Any]
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    hardware: bool = False
    places: bool = False
    """Whether it names a location, which may be of several kinds."""


def _atomic(cpu: Cpu, other: str, at: Field) -> None:
    with cpu.atomic():
        pass


def _after_reading(cpu: Cpu, other: str, at: Field) -> None:
    cpu.load(at)
    cpu.relax()


SAMPLES: Mapping[str, Sample] = {
    s.name: s
    for s in (
        Sample("load", lambda cpu, other, at: cpu.load(at), places=True),
        Sample("store", lambda cpu, other, at: cpu.store(at, 1), places=True),
        Sample("rmw", lambda cpu, other, at: cpu.fetch_or(at, 1), places=True),
        Sample("fence", lambda cpu, other, at: cpu.fence()),
        Sample("interrupts", lambda cpu, other, at: cpu.irq_disable()),
        Sample("preemption", lambda cpu, other, at: cpu.preempt_disable()),
        Sample("send_ipi", lambda cpu, other, at: cpu.send_ipi(VECTOR, 1)),
        Sample("lock", lambda cpu, other, at: cpu.lock(LOCK)),
        Sample("unlock", lambda cpu, other, at: cpu.unlock(LOCK), {"lock": "{cpu}", "{thread}.unpreemptible": 1}),
        Sample("enter_guest", lambda cpu, other, at: cpu.enter_guest("vcpu1" if other == "vcpu0" else "vcpu0")),
        Sample("prepare_to_block", lambda cpu, other, at: cpu.prepare_to_block()),
        Sample("finish_block", lambda cpu, other, at: cpu.finish_block(), {"{thread}.status": "about to sleep"}),
        Sample("schedule", lambda cpu, other, at: cpu.schedule(), {"{thread}.status": "about to sleep"}),
        Sample("wake", lambda cpu, other, at: cpu.wake(other), {"{other}.status": "sleeping"}),
        Sample("relax", _after_reading, {"x": 1}),
        Sample("choose", lambda cpu, other, at: cpu.choose("this", "that")),
        Sample("cpu_id", lambda cpu, other, at: cpu.id()),
        Sample("assert", lambda cpu, other, at: cpu.assert_held(LOCK)),
        Sample("list_of", lambda cpu, other, at: cpu.list_of(other, LIST)),
        Sample("atomic", _atomic, hardware=True),
        Sample("deliver", lambda cpu, other, at: cpu.deliver(VECTOR), hardware=True),
        Sample("exit_guest", lambda cpu, other, at: cpu.exit_guest("because"), hardware=True),
    )
}
"""Every operation, by its tag."""


class Sampler:
    """An implementation whose vCPU threads, guests, handlers, load and put do nothing but what is measured."""

    shares: ClassVar[Mapping[str, Shared]] = {
        "x": Shared(),
        "y": Shared(),
        "lock": Shared(lock=True),
        "list": Shared(()),
        "private": Shared(private_to="vcpu0"),
        "guarded": Shared(guarded_by="lock"),
        "constant": Shared(constant=True),
        "vcpu0.halted": Shared(private_to="vcpu0"),
        "vcpu1.halted": Shared(private_to="vcpu1"),
    }

    def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
        cpu.store(X, 1)
        cpu.send_ipi_self(VECTOR)
        cpu.enter_guest(vcpu)

    def load(self, cpu: Cpu, vcpu: str, where: int) -> None:
        cpu.load(X)

    def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
        cpu.load(X)

    def vm_entry(self, cpu: Cpu, vcpu: str) -> None:
        cpu.load(X)

    def boundary(self, cpu: Cpu, vcpu: str, pending: tuple[int, ...]) -> Any:
        return ("acknowledge", pending[0]) if pending else None

    def acknowledge(self, cpu: Cpu, vcpu: str, vector: int) -> None:
        cpu.load(X)

    def instruction(self, cpu: Cpu, vcpu: str, *what: str) -> None:
        cpu.load(X)

    def handler(self, cpu: Cpu, where: int) -> None:
        cpu.load(X)

    def sample(self, cpu: Cpu, name: str, vcpu: str, at: str) -> None:
        SAMPLES[name].does(cpu, "vcpu0" if vcpu == "vcpu1" else "vcpu1", Field(at))
        cpu.load(X)


@cache
def small(depth: int = 0, budget: Budget = NO_BUDGET, vcpus: int = 2) -> Machine:
    unfolding = Unfolding(PythonSource(Sampler))
    routines = {name: unfolding for name, member in vars(Sampler).items() if callable(member)}
    guests = tuple(VcpuSetup(n, (("act",),)) for n in range(vcpus))
    scenario = Scenario(
        name="operations", about="", architecture="plain", cpus=2, vcpus=guests, buffer=depth, budget=budget
    )
    return Machine(Assembly(routines, {}, Sampler.shares, {VECTOR: "handler"}), scenario)


class Seen(typing.NamedTuple):
    """The cells that a step read and wrote, by name."""

    reads: frozenset[str]
    writes: frozenset[str]

    @property
    def both(self) -> frozenset[str]:
        return self.reads | self.writes

    def conflicts(self, other: Seen) -> bool:
        return bool(self.writes & other.both or other.writes & self.both)


def names(machine: Machine, mask: int) -> frozenset[str]:
    return frozenset(name for name, cell in machine.layout.cells.items() if mask & cell.mask)


class Attempt:
    """A sample about to be performed by one of the two vCPUs: on its thread, in its guest's hardware, or on a device."""

    def __init__(
        self, machine: Machine, sample: Sample, cpu: int = 0, at: str = "x", hardware: bool | None = None
    ) -> None:
        self.machine, self.sample, self.cpu = machine, sample, cpu
        self.node = machine.assembly.root("sample", (sample.name, f"vcpu{cpu}", at))
        while type(self.node.answer) is not classes()[sample.name]:
            self.node = self.node.child(0)
        self.state = machine.initial
        while (sample.hardware if hardware is None else hardware) and not self._in_hardware():
            moved = next(o for a in (machine.agents[cpu], *machine.obligatory) for o in a.entry(self.state).outcomes)
            self.state = self.state & moved.keep | moved.add
        names = {"cpu": f"cpu{cpu}", "thread": f"vcpu{cpu}", "other": f"vcpu{1 - cpu}"}
        for name, value in sample.given.items():
            self.let(name.format(**names), value.format(**names) if isinstance(value, str) else value)

    def _in_hardware(self) -> bool:
        frames = self.machine.cpus[self.cpu].run.unpack(self.state).frames
        return frames[-1].kind == "hardware"

    def let(self, name: str, value: Any) -> Attempt:
        cell = self.machine.layout.cells[name]
        self.state = self.state & ~cell.mask | cell.pack(value)
        return self

    def buffering(self, stores: int) -> Attempt:
        return self.let(f"cpu{self.cpu}.store_buffer", (("y", 1, ops.WORD, ""),) * stores)

    def execution(self, view: View) -> Stepping:
        return Stepping(self.machine, view, self.cpu, self.machine.cpus[self.cpu].run)

    def perform(self) -> Seen | None:
        """What it read and wrote; None if it has to wait."""
        view = View(self.state)
        answer = self.node.answer
        assert not isinstance(answer, ops.Return)
        try:
            self.execution(view).perform(answer, self.node)
        except (Blocked, NotEnabled):
            return None
        writes = sum(c.mask for c, value in view.writes.items() if c.pack(value) != self.state & c.mask)
        own = {f"cpu{self.cpu}.run"}
        return Seen(names(self.machine, view.reads) - own, names(self.machine, writes) - own)

    def own_step(self) -> bool:
        return self.execution(View(self.state)).noticeable(self.node.answer, "sample")


@cache
def classes() -> Mapping[str, type[ops.Operation]]:
    return {str(c.__struct_config__.tag): c for c in typing.get_args(ops.AnyOperation)}


def other_steps() -> Mapping[type[Fact], Seen]:
    """What a step of CPU 0 that is no operation reads and writes, where it does least, by its first fact."""
    machine = small(DEPTH, Budget(preempt=1, migrate=1, exit=1, spurious=((VECTOR, 0),)), vcpus=1)
    least: dict[type[Fact], Seen] = {}
    seen = {machine.initial}
    pending = [machine.initial]
    while pending:
        state = pending.pop()
        for agent in machine.agents:
            entry = agent.entry(state)
            for outcome in entry.outcomes:
                target = state & outcome.keep | outcome.add
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
                kind = type(outcome.notes[0].fact) if outcome.notes else Fact
                own = frozenset({"cpu0.run"})
                found = Seen(names(machine, entry.reads) - own, names(machine, entry.writes) - own)
                if agent.name.endswith("0") and (kind not in least or len(found.both) < len(least[kind].both)):
                    least[kind] = found
    return least
