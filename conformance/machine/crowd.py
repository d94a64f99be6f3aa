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

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

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


def counted(scenario: Scenario) -> Scenario:
    """With those alone whose like are counted: not a device that is there for no vCPU, as a redistributor for its pCPU."""
    vcpus = {f"vcpu{n}" for n in range(len(scenario.vcpus))}
    devices = tuple(device for device in scenario.devices if vcpus & {*device.args})
    return msgspec.structs.replace(scenario, devices=devices)


class Place(NamedTuple):
    """`has`: what a caller has in its slot; `holds`: the locks that it has taken."""

    has: tuple[Any, ...]
    holds: frozenset[Cell[Any]] = frozenset()

    @property
    def over(self) -> bool:
        """A device's frames are gone, or a thread is done."""
        return DONE in self.has or self.has == ((),)


class Callers:
    """All callers of one kind. `slot`: the cells that one has; `counts`: by place, how many are there."""

    def __init__(
        self, machine: Crowded, name: str, slot: Sequence[Cell[Any]], step: Callable[[View], None], most: int
    ) -> None:
        self.machine, self.name, self.slot, self.step = machine, name, tuple(slot), step
        self.start = Place(tuple(cell.initial for cell in slot))
        cpu = next((cell.name.split(".")[0] for cell in slot if cell.name.startswith("cpu")), "")
        self.owned, self.holder = f"{cpu or name}.", cpu or "a device"
        self.places: list[Place] = []
        """Where callers have been met, their first step taken: before it nobody can tell that they are there."""
        self.met: dict[Any, list[Place]] = {}
        """Places by what a caller does next, those that are alike by the first of them."""
        self.taken_for: dict[Place, Place] = {}
        """Places for which another is taken, as long as nothing tells them apart."""
        self.locks = [machine.memory[at] for at, shared in machine.assembly.locations.items() if shared.lock]
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
        if place.over:
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
        here = self.places[n]
        place = self._stepped(view, here)
        if place == here:
            return
        or_more = self.free is None and count == self.machine.cap and not here.holds
        view.set(self.counts[n], count - (1 - view.pick(2) if or_more else 1))
        if not place.over:
            self._join(view, self._number(place))
        elif self.free:
            view.set(self.free, view.get(self.free) + 1)

    def _stepped(self, view: View, place: Place) -> Place:
        """The place of a caller after one step from here."""
        for cell, value in (*zip(self.slot, place.has, strict=True), *dict.fromkeys(place.holds, self.holder).items()):
            view.set(cell, value)
        self.step(view)
        has = tuple(view.take_out(cell) for cell in self.slot)
        after = Place(has, self._held(view, place.holds))
        self._check(view, after)
        return after if after.over else self._like(after)

    def _like(self, place: Place) -> Place:
        """The place, or one met before that nothing has told apart from it."""
        met = self.met.setdefault((*map(_shape, place.has), place.holds), [])
        for one in met:
            if one is place or ((signed(place), signed(one)) not in self.machine.apart_from and alike(place, one)):
                if one != place:
                    self.taken_for[place] = one
                return one
        met.append(place)
        return place

    def mistaken(self) -> set[tuple[Any, Any]]:
        """Places that were taken for others, and are told apart by what has been found since."""
        return {(signed(a), signed(b)) for a, b in self.taken_for.items() if not alike(a, b)}

    def _held(self, view: View, before: frozenset[Cell[Any]]) -> frozenset[Cell[Any]]:
        """The locks it holds now. To all others they are held by one of its kind, and to the rest of its kind, too."""
        now = frozenset(lock for lock in self.locks if view.writes.get(lock) == self.holder)
        for lock in now & before:
            view.take_out(lock)
        for lock in now - before:
            view.set(lock, f"one of {self.name}")
        return now

    def _join(self, view: View, n: int) -> None:
        view.set(self.counts[n], min(view.get(self.counts[n]) + 1, self.machine.cap))

    def _number(self, place: Place) -> int:
        if place not in self.places:
            self.places.append(place)
        if len(self.places) > len(self.counts):
            raise LayoutFull(PLACES, 2 * len(self.counts))
        return self.places.index(place)

    def _check(self, view: View, after: Place) -> None:
        """Callers stay anonymous: what belongs to their CPU stays as it is. Raises Fault UNKNOWN."""
        for cell in view.writes:
            if cell.name.startswith(self.owned):
                raise Fault("UNKNOWN", f"a caller changes {cell.name}: callers that can be told apart are not counted")
        if after.over and after.holds:
            locks = ", ".join(sorted(lock.name for lock in after.holds))
            raise Fault("UNKNOWN", f"a caller never lets go of {locks}")


class Crowded(Machine):
    """The machine of a scenario whose devices and software senders each stand for any number of their like.

    `most`: no more of each kind in progress at a time, counted exactly; 0: any number, counted up to `cap`. Places that do
    the same from there on are one; `apart_from`: those of which a search has shown that they do not.
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
        apart_from: Collection[tuple[Any, Any]] = (),
    ) -> None:
        if scenario.buffer or any(agent.after for agent in (*scenario.threads, *scenario.devices)):
            raise ValueError(
                f"scenario {scenario.name}: callers are counted without store buffers, and wait for nobody"
            )
        self.cap, self.most = most or cap, most
        self.many, self.apart_from = counted(scenario), apart_from
        self.callers: list[Callers] = []
        super().__init__(assembly, scenario, monitors, widths)

    def _make_agents(self) -> None:
        super()._make_agents()
        plain = {agent.name: agent for agent in self.agents}
        own = {f"{kind}{thread.cpu}" for thread in self.many.threads for kind in ("cpu", "wire", "level")}
        own |= {device.name for device in self.many.devices}
        self.agents = [agent for agent in self.agents if agent.name not in own]
        for device in self.many.devices:
            self._add(device.name, [self.devices[device.name]], plain[device.name].step)
        for thread in self.many.threads:
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
        slots = {*(d.name for d in self.many.devices), *(f"cpu{thread.cpu}" for thread in self.many.threads)}
        yield from (call for call in super().calls(view) if call[0] not in slots)
        for callers in self.callers:
            for place, count in zip(callers.places, callers.counts, strict=False):
                if view.get(count):
                    yield callers.name, frames(place.has), ""

    def mistaken(self) -> set[tuple[Any, Any]]:
        """Places that were one and are not; where there are any, what was found does not count."""
        return {pair for callers in self.callers for pair in callers.mistaken()}

    def counts(self, cell: Cell[Any]) -> bool:
        """Whether the cell tells of callers, and not of what all share."""
        return any(cell in callers.counts or cell is callers.free for callers in self.callers)

    def apart(self, state: int) -> int:
        """The state without the callers: what all share."""
        return state & ~sum(cell.mask for cell in self.layout.cells.values() if self.counts(cell))


def _shape(part: Any) -> Any:
    """Of a part of a place, all but what a call has done so far."""
    if isinstance(part, Running):
        return part.thread, part.guest, _shape(part.frames)
    if isinstance(part, tuple) and part and isinstance(part[0], Frame):
        return tuple((frame.kind, frame.node.routine, frame.node.args, frame.node.answer) for frame in part)
    return part


def alike(a: Place, b: Place) -> bool:
    """Whether callers at two places of one shape do the same from here on, whatever has been answered at `b` so far."""
    asked: set[tuple[Node, Node]] = set()
    try:
        return all(
            _goes_on_alike(one.node, other.node, asked) for one, other in zip(frames(a.has), frames(b.has), strict=True)
        )
    except Fault:  # of an answer that cannot come at `a`
        return False


def _goes_on_alike(a: Node, b: Node, asked: set[tuple[Node, Node]]) -> bool:
    if a is b or (a, b) in asked:
        return True
    asked.add((a, b))
    if (a.routine, a.args, a.answer) != (b.routine, b.args, b.answer):
        return False
    if isinstance(a.answer, ops.Relax) and a.reads != b.reads:  # what it waits for
        return False
    return all(_goes_on_alike(a.child(result), then, asked) for result, then in list(b.edges.items()))


def signed(value: Any) -> Any:
    """A value that says the same in another machine: a node by its history."""
    match value:
        case Node():
            return value.routine, value.args, value.results
        case Cell():
            return value.name
        case frozenset():
            return frozenset(map(signed, value))
        case tuple():
            return tuple(map(signed, value))
        case _:
            return value


def frames(has: tuple[Any, ...]) -> tuple[Frame, ...]:
    """A device's are all that it has; a thread's are what its CPU runs, or what is saved."""
    return has[0].frames if isinstance(has[0], Running) else has[0]
