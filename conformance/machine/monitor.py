"""Monitors: small automata over events, one for a clause or a few that share their memory.

A monitor restates the manual over what is observed; it never calls model code. Its memory is a cell of the state, so it
is part of every state that is stored and of the footprint of every step that changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any, ClassVar

from conformance.machine import events as ev
from conformance.machine.clause import Clause
from conformance.machine.finding import Breach, Subject, Witness, about
from conformance.machine.parts import Parts
from conformance.machine.state import View
from conformance.roles.operations import Value
from conformance.roles.scenario import Action


class Look:
    """What a monitor may see of a state, and where it reports. Everything it looks at joins the step's footprint."""

    def __init__(self, machine: Parts, view: View, monitor: Monitor) -> None:
        self.machine, self.view, self.monitor = machine, view, monitor

    def value(self, at: str) -> Value:
        """The word at a declared location (what memory holds: not what store buffers still hide)."""
        return self.view.get(self.machine.memory[at])

    @property
    def cpus(self) -> range:
        return range(len(self.machine.cpus))

    def has(self, at: str) -> bool:
        return at in self.machine.memory

    def interrupts_on(self, cpu: int) -> bool:
        return self.view.get(self.machine.cpus[cpu].flag)

    def latched(self, cpu: int) -> int:
        """The vectors latched on a CPU, as a bit mask."""
        return self.view.get(self.machine.cpus[cpu].latched)

    def in_flight(self, cpu: int) -> int:
        """The vectors on their way to a CPU, as a bit mask."""
        return self.view.get(self.machine.cpus[cpu].flight)

    def status(self, thread: str) -> str:
        return self.view.get(self.machine.threads[thread].status)

    def place(self, thread: str) -> int:
        return self.view.get(self.machine.threads[thread].place)

    def on_cpu(self, cpu: int) -> str:
        """The thread whose frames are on this CPU, or ""."""
        return self.view.get(self.machine.cpus[cpu].run).thread

    def in_guest(self, vcpu: str) -> int:
        """The CPU that runs this vCPU in non-root mode, or -1."""
        for number, cpu in enumerate(self.machine.cpus):
            if self.view.get(cpu.run).guest == vcpu:
                return number
        return -1

    def executed(self, vcpu: str) -> tuple[Action, ...]:
        """The instructions of its program that this vCPU's guest has begun."""
        position, _ = self.view.get(self.machine.guests[vcpu])
        return self.machine.programs[vcpu][:position]

    def in_service(self, vcpu: str) -> tuple[int, ...]:
        """What this vCPU's guest handles and has not completed, the innermost last, as the architecture's `completion` has
        it.
        """
        _, in_service = self.view.get(self.machine.guests[vcpu])
        return in_service

    def buffered(self, cpu: int, prefix: str) -> bool:
        """Whether this CPU's store buffer still hides a store to a location that starts with `prefix`."""
        return any(at.startswith(prefix) for at, *_ in self.view.get(self.machine.cpus[cpu].buffer))

    def kept(self, owner: str) -> tuple[Subject, ...]:
        """All that is kept of an owner such as an interrupt, whoever declared it, less its locks."""
        shared = self.machine.assembly.locations
        return tuple(Subject(at) for at in shared if at.startswith(f"{owner}.") and not shared[at].lock)

    def breach(self, clause: Clause, reason: str, *subjects: Subject | str, where: Collection[str] = ()) -> None:
        """A clause is broken, and so is each that it is under the conditions `where`, or those of the monitor.

        `subjects`: the locations, with the bits that matter, and the agents it is about.
        """
        for broken in self.monitor.also(clause, where):
            self.view.findings.append(Breach(broken.id, reason, about(*subjects)))

    def witness(self, clause: Clause, *subjects: Subject | str, where: Collection[str] = ()) -> None:
        """A MAY clause, or the premise of another one, was seen to hold."""
        for seen in self.monitor.also(clause, where):
            self.view.findings.append(Witness(seen.id, about(*subjects)))


class Monitor:
    """Base of monitors. `clauses` it can find broken, `events` it wants, `memory` its initial state."""

    clauses: tuple[Clause, ...] = ()
    witnesses: tuple[Clause, ...] = ()
    """MAY clauses it can observe."""
    where: Collection[str] = ()
    """Conditions that hold of all it watches: under them its clauses are others, too."""
    events: ClassVar[tuple[type[Any], ...]] = ()
    name: str = ""
    memory: Any = None

    def for_any_number(self) -> Monitor | None:
        """What watches the same clauses, or some of them, with a memory that stays finite however many agents post and however
        often; None if there is no such thing, as where posts are counted.
        """
        return None

    def on(self, event: ev.Event, memory: Any, look: Look) -> Any:
        """The new memory after an event. Reports through `look.breach`."""
        return memory

    def at_rest(self, memory: Any, look: Look) -> None:
        """What is broken, and what is seen to hold, in a quiescent state. Reports as `on` does."""

    def also(self, clause: Clause, where: Collection[str] = ()) -> Iterator[Clause]:
        """The clause, and those of this monitor that it is under these conditions."""
        yield clause
        for derived, needed in self._derived.get(clause.id, ()):
            if needed <= {*where, *self.where}:
                yield from self.also(derived, where)

    @cached_property
    def _derived(self) -> dict[str, list[tuple[Clause, frozenset[str]]]]:
        """Of each clause, those that are declared to be this one, and where."""
        made: dict[str, list[tuple[Clause, frozenset[str]]]] = {}
        for clause in self.clauses:
            for base in clause.of:
                made.setdefault(base, []).append((clause, frozenset(clause.where)))
        return made
