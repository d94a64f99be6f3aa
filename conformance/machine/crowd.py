"""Any number of callers: how many are at each place of their routine, not who.

A device that posts, or a software sender, comes to the machine as one agent with cells of its own. Here these cells are a
*slot*: a caller is no more than what it has in them, its *place*, and the state counts how many are at each place. A step of
one of them puts its place into the slot, runs the agent's own step, and takes the new place out again; what the step
does depends on the place and the measured footprint alone, so it is the step of any caller there.

Counted up to `cap`, which then stands for that many or more: counter abstraction (A. Pnueli, J. Xu, L. Zuck, "Liveness with
(0,1,infinity)-counter abstraction", CAV 2002), a cap of 1 being theirs. Ours keeps memory, CPUs, wires, guests and monitors
exactly, raises the cap where a breach turns out spurious, and finds places as the search comes to them. With `most` the
counts are exact and at most so many callers are in progress at a time: the concrete machine up to who is who, from which
cutoffs are told (A. Kaiser, D. Kroening, T. Wahl, "Dynamic cutoff detection in parameterized concurrent programs", CAV 2010).
What it rests on is in docs/unbounded.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node
from conformance.machine.machine import Machine
from conformance.machine.monitor import Monitor
from conformance.machine.parts import DONE, Frame, Running
from conformance.machine.state import Agent, Cell, LayoutFull, NotEnabled, View
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario

FEW_PLACES = 16
MOST_AGENTS = 250
PLACES = "places of callers"
UNANSWERED = ops.SendIpi | ops.Store | ops.Fence
"""Operations that always answer None."""
Place = tuple[Any, ...]


class Callers:
    """All callers of one kind. `slot`: the cells that one has; `counts`: by place, how many are there."""

    def __init__(
        self, machine: Crowded, name: str, slot: Sequence[Cell[Any]], step: Callable[[View], None], most: int
    ) -> None:
        self.machine, self.name, self.slot, self.step = machine, name, tuple(slot), step
        self.start: Place = tuple(cell.initial for cell in slot)
        self.places: list[Place] = []
        """Where callers have been met, their first step taken: before it nobody can tell that they are there."""
        self.same: dict[Any, Place] = {}
        many = machine.layout.widths.get(PLACES, FEW_PLACES)
        width = machine.cap.bit_length()
        self.counts = [machine.layout.cell(f"{name} at {n}", 0, width) for n in range(many)]
        self.free = machine.layout.cell(f"{name} to come", most, most.bit_length()) if most else None
        self.lane = 0

    def begin(self, view: View) -> None:
        """One more caller takes its first step; it may, any number of times."""
        free = view.get(self.free) if self.free else 1
        if not free:
            raise NotEnabled
        place = self._stepped(view, self.start)
        if self._over(place):
            return
        if self.free:
            view.set(self.free, free - 1)
        self._join(view, self._number(place))

    def go_on(self, view: View, n: int) -> None:
        """One of those at place `n` takes a step."""
        if n >= len(self.places):
            raise NotEnabled
        count = view.get(self.counts[n])
        if not count:
            raise NotEnabled
        place = self._stepped(view, self.places[n])
        if place == self.places[n]:
            return
        or_more = self.free is None and count == self.machine.cap
        view.set(self.counts[n], count - (1 - view.pick(2) if or_more else 1))
        if not self._over(place):
            self._join(view, self._number(place))
        elif self.free:
            view.set(self.free, view.get(self.free) + 1)

    def _stepped(self, view: View, place: Place) -> Place:
        """The place of a caller after one step from here."""
        view.writes.update(zip(self.slot, place, strict=True))
        self.step(view)
        after = tuple(view.writes.pop(cell) for cell in self.slot)
        self._check(view)
        return after if self._over(after) else self.same.setdefault(tuple(map(_ahead, after)), after)

    def _join(self, view: View, n: int) -> None:
        view.set(self.counts[n], min(view.get(self.counts[n]) + 1, self.machine.cap))

    def _number(self, place: Place) -> int:
        if place not in self.places:
            self.places.append(place)
        if len(self.places) > len(self.counts):
            raise LayoutFull(PLACES, 2 * len(self.counts))
        return self.places.index(place)

    def _over(self, place: Place) -> bool:
        """A device's frames are gone, or a thread is done."""
        return DONE in place or place == ((),)

    def _check(self, view: View) -> None:
        """Callers stay anonymous: none holds a lock, nor changes what belongs to its CPU. Raises Fault UNKNOWN."""
        for cell in view.writes:
            if cell.name.startswith(self.owned) or (cell in self.locks and view.writes[cell]):
                raise Fault("UNKNOWN", f"a caller changes {cell.name}: callers that can be told apart are not counted")

    @property
    def owned(self) -> tuple[str, ...]:
        return tuple({f"{cell.name.split('.')[0]}." for cell in self.slot if cell.name.startswith("cpu")})

    @property
    def locks(self) -> list[Cell[Any]]:
        return [self.machine.memory[at] for at, shared in self.machine.assembly.locations.items() if shared.lock]


class Crowded(Machine):
    """The machine of a scenario whose devices and software senders each stand for any number of their like.

    `most`: no more of each kind in progress at a time, counted exactly; 0: any number, counted up to `cap`.
    """

    def __init__(
        self,
        assembly: Assembly,
        scenario: Scenario,
        monitors: Sequence[Monitor] = (),
        widths: dict[str, int] | None = None,
        *,
        cap: int = 1,
        most: int = 0,
    ) -> None:
        if scenario.buffer or any(agent.after for agent in (*scenario.threads, *scenario.devices)):
            raise ValueError(
                f"scenario {scenario.name}: callers are counted without store buffers, and wait for nobody"
            )
        self.cap, self.most = most or cap, most
        self.callers: list[Callers] = []
        super().__init__(assembly, scenario, monitors, widths)

    def _make_agents(self) -> None:
        super()._make_agents()
        plain = {agent.name: agent for agent in self.agents}
        own = {f"{kind}{thread.cpu}" for thread in self.scenario.threads for kind in ("cpu", "wire", "level")}
        own |= set(self.devices)
        self.agents = [agent for agent in self.agents if agent.name not in own]
        for device in self.scenario.devices:
            self._add(device.name, [self.devices[device.name]], plain[device.name].step)
        for thread in self.scenario.threads:
            slot = [*self.cpus[thread.cpu][:4], *self.threads[thread.name]]
            self._add(thread.name, slot, plain[f"cpu{thread.cpu}"].step)
        if len(self.agents) > MOST_AGENTS:
            raise Fault(
                "UNKNOWN", f"callers have more than {MOST_AGENTS} places: does a retry loop unfold without end?"
            )
        for index, agent in enumerate(self.agents):
            agent.index = index

    def _add(self, name: str, slot: Sequence[Cell[Any]], step: Callable[[View], None]) -> None:
        callers = Callers(self, name, slot, step, self.most)
        self.callers.append(callers)
        self.agents.append(Agent(f"{name} begins", 0, slot[0], callers.begin, False))
        for n, count in enumerate(callers.counts):
            self.agents.append(Agent(f"{name} at {n}", 0, count, lambda view, n=n: callers.go_on(view, n)))

    def calls(self, view: View) -> Iterator[tuple[str, tuple[Frame, ...], str]]:
        slots = {*self.devices, *(f"cpu{thread.cpu}" for thread in self.scenario.threads)}
        yield from (call for call in super().calls(view) if call[0] not in slots)
        for callers in self.callers:
            for place, count in zip(callers.places, callers.counts, strict=False):
                if view.get(count):
                    yield callers.name, frames(place), ""

    def counts(self, cell: Cell[Any]) -> bool:
        """Whether the cell tells of callers, and not of what all share."""
        return any(cell in callers.counts or cell is callers.free for callers in self.callers)

    def apart(self, state: int) -> int:
        """The state without the callers: what all share."""
        return state & ~sum(cell.mask for cell in self.layout.cells.values() if self.counts(cell))


def _ahead(value: Any) -> Any:
    """What a part of a place comes to: of calls what they will do, where no answer decides it, whatever they have done."""
    if isinstance(value, Running):
        return value._replace(frames=_ahead(value.frames))
    if isinstance(value, tuple) and value and isinstance(value[0], Frame):
        return tuple((frame.kind, *_future(frame.node)) for frame in value)
    return value


def _future(node: Node) -> Iterator[Any]:
    yield node.routine, node.args
    while isinstance(node.answer, UNANSWERED):
        yield node.answer
        node = node.child(None)
    yield node.answer if isinstance(node.answer, ops.Return) else node


def frames(place: Place) -> tuple[Frame, ...]:
    """A device's are all that it has; a thread's are what its CPU runs, or what is saved."""
    return place[0].frames if isinstance(place[0], Running) else place[0]
