"""The machine: CPUs, threads, devices, wires and store buffers, around whatever implementation fills the roles.

      threads ── run on ──> CPUs ── store buffers ──> memory <── devices
                             ^  │                                   │
                 latched ────┘  └── send_ipi ──> wires (in flight) <┘

Every step is obligatory (code, hardware, messages, drains, a guest that acknowledges and completes) or optional
(preempt, migrate, spontaneous exit, spurious interrupt: spends a token of the scenario's budget). A state is
*quiescent* when no obligatory step is enabled. This file says who can step and when, `execute` how far a step
goes, `perform` what an operation does.

Rules, each an assumption that the report lists:
- A host interrupt that is a level is taken only while it is asserted; with the fact `late-mi` it travels like a message, and
  is taken whenever it comes.
- An interrupt in flight may be delayed for ever; once latched and unmasked it is taken at the next boundary, before the
  next step of that CPU. Messages merge per (vector, CPU). A handler runs with interrupts off; handlers do not nest.
- A context switch runs put with interrupts off, then, when the thread is next on a CPU, load with interrupts on. It may
  happen where interrupts are on, preemption is not disabled and no handler is on top; spinning locks disable
  preemption.
- A wake makes a thread runnable and leaves no token; `schedule` sleeps only if the announcement still stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node
from conformance.machine import events as ev
from conformance.machine.execute import Stepping
from conformance.machine.monitor import Attached, Finding, Look, Monitor
from conformance.machine.state import Agent, Cell, Layout, NotEnabled, View
from conformance.roles import operations as ops
from conformance.roles.location import Shared
from conformance.roles.scenario import Device, Scenario

RUNNABLE, ABOUT_TO_SLEEP, SLEEPING, DONE = "runnable", "about to sleep", "sleeping", "done"


class Frame(NamedTuple):
    """A call in progress. `kind`: thread, handler, hardware, put or load."""

    kind: str
    node: Node


class Running(NamedTuple):
    """What a CPU runs: whose thread, its frames (bottom first), and the vCPU whose guest it is in ("" in root mode)."""

    thread: str = ""
    frames: tuple[Frame, ...] = ()
    guest: str = ""


class CpuCells(NamedTuple):
    run: Cell[Running]
    flag: Cell[bool]
    latched: Cell[int]
    flight: Cell[int]
    buffer: Cell[tuple[tuple[str, Any, int, str], ...]]


class ThreadCells(NamedTuple):
    status: Cell[str]
    place: Cell[int]
    saved: Cell[tuple[Frame, ...]]
    """Frames while off its CPU; empty while on it."""
    unpreemptible: Cell[int]


class Machine:
    """One scenario with one assembled implementation and the monitors that judge it."""

    def __init__(
        self,
        assembly: Assembly,
        scenario: Scenario,
        monitors: Sequence[Monitor] = (),
        widths: dict[str, int] | None = None,
    ) -> None:
        self.assembly, self.scenario = assembly, scenario
        self.layout = layout = Layout(widths)
        initial = dict(scenario.initial)
        self.memory: dict[str, Cell[Any]] = {
            name: layout.cell(name, "" if shared.lock else initial.pop(name, shared.initial), _width(shared))
            for name, shared in assembly.locations.items()
        }
        if initial:
            raise ValueError(f"scenario {scenario.name} sets {', '.join(initial)}, which nobody declares")
        self._refuse_own_names()
        self.depth = scenario.buffer
        self.vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
        self.senders = {t.name: t for t in scenario.threads}
        self.awaited = {t.name: t.after for t in scenario.threads if t.after}
        self.interrupt_calls = {(i.vector, i.cpu): (i.routine, i.args) for i in scenario.interrupts}
        self._declare_cpus()
        self._declare_threads()
        self.budgets = {
            "preempt": layout.cell("budget.preempt", scenario.budget.preempt, scenario.budget.preempt.bit_length()),
            "migrate": layout.cell("budget.migrate", scenario.budget.migrate, scenario.budget.migrate.bit_length()),
            "exit": layout.cell("budget.exit", scenario.budget.exit, scenario.budget.exit.bit_length()),
        }
        self.attached = [
            Attached(m, layout.cell(f"monitor.{m.name}", m.memory) if m.memory is not None else None) for m in monitors
        ]
        self.listeners: dict[type[Any], list[Attached]] = {}
        for attached in self.attached:
            for kind in attached.monitor.events:
                self.listeners.setdefault(kind, []).append(attached)
        self.agents: list[Agent] = []
        self._make_agents()
        self.obligatory = [a for a in self.agents if a.obligatory]
        self.optional = [a for a in self.agents if not a.obligatory]
        self.initial = self._boot()

    # Cells

    def _refuse_own_names(self) -> None:
        """A location must not be called as what the machine keeps of its owner."""
        owners = {t.name for t in self.scenario.threads} | {f"vcpu{n}" for n in range(len(self.scenario.vcpus))}
        own = {f"{o}.{kept}" for o in owners for kept in ("status", "place", "saved", "unpreemptible", "guest")}
        kept = ("run", "interrupts", "latched", "in_flight", "store_buffer")
        own |= {f"cpu{c}.{k}" for c in range(self.scenario.cpus) for k in kept}
        for at in self.memory:
            if at in own:
                raise Fault(
                    "CRASH", f"{at} is what the machine calls something of its own: give the location another name"
                )

    def _declare_cpus(self) -> None:
        cell = self.layout.cell
        self.cpus: list[CpuCells] = []
        homes = {f"thread.{t.name}": t for t in self.scenario.threads}
        for c in range(self.scenario.cpus):
            here = [t for t in homes.values() if t.cpu == c]
            run = Running()
            if here:
                if len(here) > 1:
                    raise ValueError(f"scenario {self.scenario.name}: cpu{c} is home to two threads")
                run = Running(here[0].name, (Frame("thread", self.assembly.root(here[0].routine, here[0].args)),))
            flight = sum(1 << i.vector for i in self.scenario.interrupts if i.cpu == c)
            self.cpus.append(
                CpuCells(
                    cell(f"cpu{c}.run", run, 12),
                    cell(f"cpu{c}.interrupts", True, 1),
                    cell(f"cpu{c}.latched", 0, 4),
                    cell(f"cpu{c}.in_flight", flight, 4),
                    cell(f"cpu{c}.store_buffer", (), 8 if self.depth else 0),
                )
            )

    def _declare_threads(self) -> None:
        cell = self.layout.cell
        self.threads: dict[str, ThreadCells] = {}
        for name, vcpu in zip(self.vcpus, self.scenario.vcpus, strict=True):
            start = (Frame("thread", self.assembly.root("vcpu_run", (name,))),)
            self.threads[name] = self._thread(name, vcpu.cpu, start)
        self.guests: dict[str, Cell[tuple[int, tuple[int, ...]]]] = {
            name: cell(f"{name}.guest", (0, ()), 5) for name in self.vcpus
        }
        self.programs = {n: v.program for n, v in zip(self.vcpus, self.scenario.vcpus, strict=True)}
        for t in self.scenario.threads:
            self.threads[t.name] = self._thread(t.name, t.cpu, ())
        self.devices = {
            d.name: cell(f"{d.name}.run", (Frame("thread", self.assembly.root(d.routine, d.args)),), 5)
            for d in self.scenario.devices
        }

    def _thread(self, name: str, cpu: int, start: tuple[Frame, ...]) -> ThreadCells:
        cell = self.layout.cell
        return ThreadCells(
            cell(f"{name}.status", RUNNABLE, 2),
            cell(f"{name}.place", cpu, 2),
            cell(f"{name}.saved", start, 6 if start else 3),
            cell(f"{name}.unpreemptible", 0, 2),
        )

    # Agents

    def _make_agents(self) -> None:
        def add(name: str, pivot: Cell[Any], step: Any, obligatory: bool = True) -> None:
            self.agents.append(Agent(name, len(self.agents), pivot, step, obligatory))

        plain = {t.cpu for t in self.scenario.threads}
        hosts = [c for c in range(len(self.cpus)) if c not in plain]
        for c, cpu in enumerate(self.cpus):
            add(f"cpu{c}", cpu.run, lambda view, c=c: self._cpu_step(view, c))
        for device in self.scenario.devices:
            add(device.name, self.devices[device.name], lambda view, d=device: self._device_step(view, d))
        for c, cpu in enumerate(self.cpus):
            add(f"wire{c}", cpu.flight, lambda view, c=c: self._arrive(view, c))
        levels = self.assembly.architecture.levels
        for c in hosts if levels else ():
            add(f"level{c}", self.cpus[c].latched, lambda view, c=c: self._rise(view, c))
        if self.depth:
            for c, cpu in enumerate(self.cpus):
                add(f"buffer{c}", cpu.buffer, lambda view, c=c: self._drain(view, c))
        budget = self.scenario.budget
        if budget.preempt:
            for c in hosts:
                add(f"preempt cpu{c}", self.cpus[c].run, lambda view, c=c: self._preempt(view, c), False)
        if budget.migrate:
            for name in self.vcpus:
                saved = self.threads[name].saved
                add(f"migrate {name}", saved, lambda view, name=name: self._migrate(view, name, hosts), False)
        if budget.exit:
            for c in hosts:
                add(f"exit cpu{c}", self.cpus[c].run, lambda view, c=c: self._exit(view, c), False)
        for vector, c in budget.spurious:
            token = self.layout.cell(f"budget.spurious.{vector:#x}.cpu{c}", True, 1)
            add(
                f"spurious {vector:#x} cpu{c}",
                token,
                lambda v, t=token, n=vector, c=c: self._spurious(v, t, n, c),
                False,
            )

    def _boot(self) -> int:
        """The state in which every vCPU's thread is loaded on its CPU, load having run undisturbed."""
        state = 0
        if "starts-unloaded" in self.scenario.facts:
            return state
        buffers = [a for a in self.agents if a.name.startswith("buffer")]
        for name in self.vcpus:
            home = self.threads[name].place.unpack(state)
            for _ in range(200):
                run = self.cpus[home].run.unpack(state)
                loaded = run.thread == name and len(run.frames) == 1 and not run.guest
                movers = buffers if loaded else [self.agents[home], *buffers]
                moved = next((o for a in movers for o in a.entry(state).outcomes[:1]), None)
                if moved is None:
                    if loaded:
                        break
                    raise ValueError(f"scenario {self.scenario.name}: {name} cannot be loaded on cpu{home}")
                state = state & moved.keep | moved.add
        return state

    # Steps of CPUs and wires

    def _cpu_step(self, view: View, c: int) -> None:
        cpu = self.cpus[c]
        run = view.get(cpu.run)
        awaited = self.awaited.get(run.thread)
        if awaited and view.get(self.threads[awaited].status) != DONE:
            raise NotEnabled
        does = Stepping(self, view, c, cpu.run)
        top = run.frames[-1].kind if run.frames else "idle"
        if run.guest and top != "hardware":
            does.guest_step()
        elif top in ("idle", "thread", "load") and view.get(cpu.flag) and self.takeable(view, c):
            does.take_interrupt()
        elif top == "idle":
            does.switch_in(self.runnable(view, c))
        else:
            does.thread_step(self.senders.get(run.thread))

    def _device_step(self, view: View, device: Device) -> None:
        if device.after and view.get(self.threads[device.after].status) != DONE:
            raise NotEnabled
        Stepping(self, view, -1, self.devices[device.name]).device_step(device)

    def runnable(self, view: View, c: int) -> list[str]:
        """Threads queued on a CPU."""
        return [
            name
            for name, t in self.threads.items()
            if view.get(t.saved) and view.get(t.place) == c and view.get(t.status) in (RUNNABLE, ABOUT_TO_SLEEP)
        ]

    def _arrive(self, view: View, c: int) -> None:
        flight = view.get(self.cpus[c].flight)
        vectors = [v for v in range(flight.bit_length()) if flight >> v & 1]
        if not vectors:
            raise NotEnabled
        vector = vectors[view.pick(len(vectors))]
        view.set(self.cpus[c].flight, flight & ~(1 << vector))
        view.set(self.cpus[c].latched, view.get(self.cpus[c].latched) | 1 << vector)
        view.notes.append(("arrives", vector, c))

    def _rise(self, view: View, c: int) -> None:
        """A level that is asserted is seen by the interrupt controller, now or later; where it may be late, as a message."""
        late = "late-mi" in self.scenario.facts
        latched, flight = view.get(self.cpus[c].latched), view.get(self.cpus[c].flight) if late else 0
        for vector, routine in self.assembly.architecture.levels.items():
            if not (latched | flight) >> vector & 1 and self.asserted(view, c, routine):
                if late:
                    view.set(self.cpus[c].flight, flight | 1 << vector)
                else:
                    view.set(self.cpus[c].latched, latched | 1 << vector)
                view.notes.append(("rises" if late else "arrives", vector, c))
                return
        raise NotEnabled

    def takeable(self, view: View, c: int) -> int:
        """The latched vectors as a bit mask, less levels that were withdrawn: those are forgotten."""
        cell = self.cpus[c].latched
        latched = view.get(cell)
        if latched and "late-mi" not in self.scenario.facts:
            for vector, routine in self.assembly.architecture.levels.items():
                if latched >> vector & 1 and not self.asserted(view, c, routine):
                    latched &= ~(1 << vector)
                    view.set(cell, latched)
        return latched

    def asserted(self, view: View, c: int, routine: str) -> bool:
        """Whether a level is asserted at CPU `c`: what the routine answers, which may only load."""
        node = self.assembly.root(routine, (c,))
        while isinstance(node.answer, ops.Load):
            word = view.get(self.memory[self.assembly.shared(node.answer.at, routine) and node.answer.at])
            node = node.child(word & node.answer.mask if isinstance(word, int) else word)
        if not isinstance(node.answer, ops.Return):
            raise Fault("CRASH", f"{routine} may only load and return, not do {node.answer}", routine)
        return bool(node.answer.value)

    def _drain(self, view: View, c: int) -> None:
        buffer = view.get(self.cpus[c].buffer)
        if not buffer:
            raise NotEnabled
        at, value, mask, routine = buffer[0]
        view.set(self.cpus[c].buffer, buffer[1:])
        Stepping(self, view, c, self.cpus[c].run).write(at, value, mask, routine)
        view.notes.append(("drains", at, value, mask))

    # Optional steps

    def _spend(self, view: View, budget: str) -> None:
        left = view.get(self.budgets[budget])
        if not left:
            raise NotEnabled
        view.set(self.budgets[budget], left - 1)

    def _preempt(self, view: View, c: int) -> None:
        cpu = self.cpus[c]
        run = view.get(cpu.run)
        if run.thread not in self.guests or run.guest or len(run.frames) != 1 or not view.get(cpu.flag):
            raise NotEnabled
        if view.get(self.threads[run.thread].unpreemptible) or (self.depth and view.get(cpu.buffer)):
            raise NotEnabled
        self._spend(view, "preempt")
        view.notes.append(("preempts", run.thread))
        Stepping(self, view, c, cpu.run).switch_out(preempted=True)

    def _migrate(self, view: View, name: str, hosts: list[int]) -> None:
        thread = self.threads[name]
        if not view.get(thread.saved) or view.get(thread.status) == DONE:
            raise NotEnabled
        here = view.get(thread.place)
        others = [c for c in hosts if c != here]
        if not others:
            raise NotEnabled
        self._spend(view, "migrate")
        there = others[view.pick(len(others))]
        view.set(thread.place, there)
        view.notes.append(("migrates", name, here, there))

    def _exit(self, view: View, c: int) -> None:
        run = view.get(self.cpus[c].run)
        if not run.guest or run.frames[-1].kind == "hardware":
            raise NotEnabled
        self._spend(view, "exit")
        Stepping(self, view, c, self.cpus[c].run).exit_guest(("tick",))

    def _spurious(self, view: View, token: Cell[bool], vector: int, c: int) -> None:
        if not view.get(token):
            raise NotEnabled
        view.set(token, False)
        view.set(self.cpus[c].latched, view.get(self.cpus[c].latched) | 1 << vector)
        view.notes.append(("spurious", vector, c))

    # Judging

    def emit(self, view: View, event: ev.Event) -> None:
        """Tell the monitors. One that does not look at its memory for this event does not depend on it."""
        for monitor, cell in self.listeners.get(type(event), ()):
            look = Look(self, view)
            if cell is None:
                monitor.on(event, None, look)
            elif not _indifferent(monitor, event, look):
                before = view.get(cell)
                after = monitor.on(event, before, look)
                if after != before:
                    view.set(cell, after)

    def quiescent(self, state: int) -> bool:
        return all(not agent.entry(state).outcomes for agent in self.obligatory)

    def at_rest(self, state: int) -> list[Finding]:
        """Everything broken in a quiescent state."""
        view = View(state)
        look = Look(self, view)
        found = self._stuck(view)
        for monitor, cell in self.attached:
            found.extend(monitor.at_rest(view.get(cell) if cell else None, look))
        return found

    def _stuck(self, view: View) -> list[Finding]:
        found: list[Finding] = []
        waiting = {d.name for d in self.scenario.devices if d.after} | {
            f"cpu{t.cpu}" for t in self.scenario.threads if t.after
        }
        runs = [(f"cpu{c}", view.get(cpu.run).frames, view.get(cpu.run).guest) for c, cpu in enumerate(self.cpus)]
        runs += [(name, view.get(run), "") for name, run in self.devices.items()]
        for who, frames, guest in runs:
            if not frames or (guest and frames[-1].kind != "hardware") or who in waiting:
                continue
            node = frames[-1].node
            match node.answer:
                case ops.Relax() if who in self.devices:
                    pass  # hardware that waits for work
                case ops.Relax():
                    seen = ", ".join(f"{at} = {value}" for at, _, value in node.reads)
                    found.append(Finding("LIVELOCK", f"{node.routine} on {who} spins for ever on {seen}", who))
                case ops.Lock(at=at):
                    holder = view.get(self.memory[at])
                    found.append(Finding("DEADLOCK", f"{node.routine} on {who} waits for {at}, held by {holder}", who))
                case other:
                    found.append(Finding("DEADLOCK", f"{node.routine} on {who} can never do {other}", who))
        return found


def _width(shared: Shared) -> int:
    """Bits for a location's values: a first guess, for a layout that proves too small is made again."""
    if shared.constant:
        return 0
    return 3 if shared.private_to or shared.lock else 5


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
    told = len(look.view.breaches)
    try:
        if monitor.on(event, VEIL, look) is VEIL:
            return True
    except Exception:  # of the veil, or the monitor's own: then it comes again
        pass
    del look.view.breaches[told:]
    return False
