"""The monitors of a machine: each event is told to those that want it.

Told first with its memory veiled: a monitor that hands the veil back does not depend on its memory for this event, and
neither does the step. One that looks at nothing of the state either has nothing to say to that event, ever, and is not told again.
What it makes of an event, its memory and what it looks at, it makes of them every time, so each is asked once: that, too, is unfolded.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node
from conformance.machine import events as ev
from conformance.machine.finding import Finding
from conformance.machine.monitor import Look, Monitor
from conformance.machine.parts import Parts
from conformance.machine.state import Cell, Note, View
from conformance.roles.operations import Result
from conformance.roles.scenario import Scenario

T = TypeVar("T", bound=Hashable)


class Attached(NamedTuple):
    monitor: Monitor
    cell: Cell[Any] | None


class Watched(Parts):
    """The parts of a machine, and the monitors that watch them."""

    def __init__(
        self, assembly: Assembly, scenario: Scenario, monitors: Sequence[Monitor], widths: dict[str, int] | None
    ) -> None:
        super().__init__(assembly, scenario, widths)
        self.attached = [
            Attached(m, self.layout.cell(f"monitor.{m.name}", m.memory, 8) if m.memory is not None else None)
            for m in monitors
        ]
        self.listeners: dict[type[Any], list[Attached]] = {}
        for attached in self.attached:
            for kind in attached.monitor.events:
                self.listeners.setdefault(kind, []).append(attached)
        self.met: dict[type[Any], dict[ev.Event, tuple[Hearing, ...]]] = {kind: {} for kind in self.listeners}
        """Of each event those listeners who look at anything for it."""

        self.performed: dict[tuple[int, Node, Result, bool], tuple[Note | None, tuple[Hearing, ...]]] = {}
        """Of an operation on a CPU, its result, and whether that switched: its account, and who is to be told."""

    def emit(self, view: View, event: ev.Event) -> None:
        """Tell the monitors."""
        for hearing in self.concerned(event):
            hearing.tell(view)

    def concerned(self, event: ev.Event) -> tuple[Hearing, ...]:
        """Who is to be told."""
        met = self.met.get(type(event))
        if met is None:
            return ()
        known = met.get(event)
        if known is None:
            listening = [a for a in self.listeners[type(event)] if not self._unconcerned(a, event)]
            known = met[event] = tuple(Hearing(self, event, attached) for attached in listening)
        return known

    def _unconcerned(self, attached: Attached, event: ev.Event) -> bool:
        """Whether the monitor neither looks at its memory or the state for this event nor reports anything."""
        monitor, cell = attached
        memory = VEIL if cell else None
        blind = Blind(0)
        try:
            return monitor.on(event, memory, Look(self, blind, monitor)) is memory and not blind.findings
        except Exception:  # of the veil, the blind view, or the monitor's own: then it is told
            return False


class Hearing:
    """A monitor and an event. One that does not look at its memory for this event does not depend on it."""

    __slots__ = ("cell", "event", "machine", "monitor", "said")

    def __init__(self, machine: Watched, event: ev.Event, attached: Attached) -> None:
        self.machine, self.event = machine, event
        self.monitor, self.cell = attached
        self.said: dict[Any, Looks | Said] = {}
        """By its memory, or UNASKED for the veil."""

    def tell(self, view: View) -> None:
        if self.cell is None:
            view.findings += self._says(view, None, None).findings
            return
        said = self._says(view, UNASKED, VEIL)
        if said.memory is not VEIL:
            before = view.get(self.cell)
            said = self._says(view, before, before)
            if said.memory != before:
                view.set(self.cell, said.memory)
        view.findings += said.findings

    def _says(self, view: View, key: Any, memory: Any) -> Said:
        """What it makes of the event, this memory and what it looks at: known, or found out."""
        known = self.said.get(key)
        while known is not None:
            if isinstance(known, Said):
                return known
            known = known.then.get(view.get(known.cell))
        glance = Glance(view)
        try:
            said = Said(self.monitor.on(self.event, memory, Look(self.machine, glance, self.monitor)), glance.findings)
        except Exception:  # of the veil, or the monitor's own: then it comes again
            if memory is not VEIL:
                raise
            said = Said(None, [])
        if memory is VEIL and said.memory is not VEIL:
            said = Said(None, [])  # what it finds it will find again
        then = self.said
        for cell, value in glance.looked:
            looks = then.setdefault(key, Looks(cell, {}))
            assert isinstance(looks, Looks) and looks.cell is cell, (
                f"{self.monitor.name} is not a function of what it is told"
            )
            then, key = looks.then, value
        then[key] = said
        return said


class Said(NamedTuple):
    """What a monitor's memory becomes, or not the veil where it cannot do without; and what it finds."""

    memory: Any
    findings: list[Finding]


class Looks(NamedTuple):
    """What a monitor looks at next, and by what it sees there what follows."""

    cell: Cell[Any]
    then: dict[Any, Looks | Said]


UNASKED = object()


class Glance(View):
    """A view through another one. Records what is looked at."""

    __slots__ = ("findings", "looked", "through")

    def __init__(self, through: View) -> None:
        self.through = through
        self.looked: list[tuple[Cell[Any], Any]] = []
        self.findings: list[Finding] = []

    def get(self, cell: Cell[T]) -> T:
        value = self.through.get(cell)
        self.looked.append((cell, value))
        return value


class Blind(View):
    """A view that shows nothing."""

    def get(self, cell: Cell[Any]) -> Any:
        raise TypeError("blind")


class Veil(Sequence[Any]):
    """Stands for a monitor's memory and cannot be looked at: whatever is done with it raises, except handing it back.

    What Python would answer for any object is refused here, what it refuses for most raises TypeError; it is a sequence
    so that a sequence pattern asks for its length. Only `is` sees no difference, so a monitor must not use it on its
    memory.
    """

    def __getattribute__(self, name: str) -> Any:
        raise TypeError("veiled")

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("veiled")

    __eq__ = __ne__ = __bool__ = __repr__ = __format__ = __len__ = __getitem__ = _refuse
    __hash__ = _refuse


VEIL = Veil()
