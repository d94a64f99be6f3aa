"""The monitors of a machine: each event is told to those that want it.

Told first with its memory veiled: a monitor that hands the veil back does not depend on its memory for this event, and
neither does the step. One that looks at nothing of the state either has nothing to say to that event, ever, and is not told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from conformance.automaton.assembly import Assembly
from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.machine.parts import Parts
from conformance.machine.state import Cell, View
from conformance.roles.scenario import Scenario


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
            Attached(m, self.layout.cell(f"monitor.{m.name}", m.memory) if m.memory is not None else None)
            for m in monitors
        ]
        self.listeners: dict[type[Any], list[Attached]] = {}
        for attached in self.attached:
            for kind in attached.monitor.events:
                self.listeners.setdefault(kind, []).append(attached)
        self.concerned: dict[type[Any], dict[ev.Event, tuple[Attached, ...]]] = {kind: {} for kind in self.listeners}
        """Of each event that was met those listeners who look at anything for it."""

    def emit(self, view: View, event: ev.Event) -> None:
        """Tell the monitors. One that does not look at its memory for this event does not depend on it."""
        met = self.concerned.get(type(event))
        if met is None:
            return
        concerned = met.get(event)
        if concerned is None:
            concerned = met[event] = tuple(a for a in self.listeners[type(event)] if not self._unconcerned(a, event))
        for monitor, cell in concerned:
            look = Look(self, view, monitor)
            if cell is None:
                monitor.on(event, None, look)
            elif not _indifferent(monitor, event, look):
                before = view.get(cell)
                after = monitor.on(event, before, look)
                if after != before:
                    view.set(cell, after)

    def _unconcerned(self, attached: Attached, event: ev.Event) -> bool:
        """Whether the monitor neither looks at its memory or the state for this event nor reports anything."""
        monitor, cell = attached
        memory = VEIL if cell else None
        blind = Blind(0)
        try:
            return monitor.on(event, memory, Look(self, blind, monitor)) is memory and not blind.findings
        except Exception:  # of the veil, the blind view, or the monitor's own: then it is told
            return False


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


def _indifferent(monitor: Monitor, event: ev.Event, look: Look) -> bool:
    """Whether the monitor hands its memory back without having looked at it."""
    told = len(look.view.findings)
    try:
        if monitor.on(event, VEIL, look) is VEIL:
            return True
    except Exception:  # of the veil, or the monitor's own: then it comes again
        pass
    del look.view.findings[told:]
    return False
