"""Monitors: small automata over events, one for a clause or a few that share their memory.

A monitor restates the manual over what is observed; it never calls model code. Its memory is a cell of the state, so it
is part of every state that is stored and of the footprint of every step that changes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding, Subject, Witness, about
from conformance.machine.parts import Parts
from conformance.machine.state import View
from conformance.roles.operations import Value
from conformance.roles.scenario import Action


class Look:
    """What a monitor may see of a state, and where it reports. Everything it looks at joins the step's footprint."""

    def __init__(self, machine: Parts, view: View) -> None:
        self.machine, self.view = machine, view

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

    def buffered(self, cpu: int, prefix: str) -> bool:
        """Whether this CPU's store buffer still hides a store to a location that starts with `prefix`."""
        return any(at.startswith(prefix) for at, *_ in self.view.get(self.machine.cpus[cpu].buffer))

    def kept(self, owner: str) -> tuple[Subject, ...]:
        """All that is kept of an owner such as an interrupt, whoever declared it, less its locks."""
        shared = self.machine.assembly.locations
        return tuple(Subject(at) for at in shared if at.startswith(f"{owner}.") and not shared[at].lock)

    def breach(self, clause: str, reason: str, *subjects: Subject | str) -> None:
        """This step breaks a clause. `subjects`: the locations, with the bits that matter, and the agents it is about."""
        self.view.findings.append(Breach(clause, reason, about(*subjects)))

    def witness(self, clause: str, *subjects: Subject | str) -> None:
        """A MAY clause, or the premise of another one, was seen to hold in this step."""
        self.view.findings.append(Witness(clause, about(*subjects)))


class Monitor:
    """Base of monitors. `clauses` it can find broken, `events` it wants, `memory` its initial state."""

    clauses: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    """MAY clauses it can observe."""
    restless: tuple[str, ...] = ()
    """Clauses that are broken too where the machine can never come to rest (LIVELOCK)."""
    events: ClassVar[tuple[type[Any], ...]] = ()
    name: str = ""
    memory: Any = None

    def on(self, event: ev.Event, memory: Any, look: Look) -> Any:
        """The new memory after an event. Reports through `look.breach`."""
        return memory

    def at_rest(self, memory: Any, look: Look) -> Iterable[Finding]:
        """What is broken, and what is seen to hold, in a quiescent state."""
        return ()
