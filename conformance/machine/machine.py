"""The machine: CPUs, threads, devices, wires and store buffers, around whatever implementation fills the roles.

      threads ── run on ──> CPUs ── store buffers ──> memory <── devices
                             ^  │                                   │
                 latched ────┘  └── send_ipi ──> wires (in flight) <┘

Every step is obligatory (code, hardware, messages, drains, a guest that acknowledges and completes) or optional
(preempt, migrate, spontaneous exit, another halt, spurious interrupt: spends a token of the scenario's budget, unless that
is unlimited). A state is
*quiescent* when no obligatory step is enabled. This file says who can step and when, `execute` how far a step
goes, `perform` what an operation does.

Rules, each an assumption that the report lists:
- A host interrupt that is a level is taken only while it is asserted (`levels`).
- An interrupt in flight may be delayed for ever; once latched and unmasked it is taken at the next boundary, before the
  next step of that CPU. Messages merge per (vector, CPU). A handler runs with interrupts off; handlers do not nest.
- A context switch runs put with interrupts off, then, when the thread is next on a CPU, load with interrupts on. It may
  happen where interrupts are on, preemption is not disabled and no handler is on top; spinning locks disable
  preemption.
- A wake makes a thread runnable and leaves no token; `schedule` sleeps only if the announcement still stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from conformance.automaton.assembly import Assembly
from conformance.machine import facts
from conformance.machine.execute import Stepping
from conformance.machine.finding import Breach, Finding, Subject, about
from conformance.machine.levels import rise, takeable
from conformance.machine.monitor import Look, Monitor
from conformance.machine.parts import ABOUT_TO_SLEEP, DONE, RUNNABLE, Frame
from conformance.machine.state import Agent, Cell, Note, NotEnabled, View
from conformance.machine.watched import Watched
from conformance.roles import operations as ops
from conformance.roles.scenario import Device, Scenario


class Machine(Watched):
    """One scenario with one assembled implementation and the monitors that judge it."""

    def __init__(
        self,
        assembly: Assembly,
        scenario: Scenario,
        monitors: Sequence[Monitor] = (),
        widths: dict[str, int] | None = None,
    ) -> None:
        super().__init__(assembly, scenario, monitors, widths)
        self.agents: list[Agent] = []
        self._make_agents()
        self.obligatory = [a for a in self.agents if a.obligatory]
        self.optional = [a for a in self.agents if not a.obligatory]
        self.initial = self._boot()

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
            add(f"level{c}", self.cpus[c].latched, lambda view, c=c: rise(self, view, c))
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
        if budget.again:
            for c in hosts:
                add(f"again cpu{c}", self.cpus[c].run, lambda view, c=c: self._again(view, c), False)
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
        if not self.scenario.loaded:
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
        elif top in ("idle", "thread", "load", "put") and view.get(cpu.flag) and takeable(self, view, c):
            does.take_interrupt()
        elif top == "idle":
            does.switch_in(self.runnable(view, c))
        else:
            does.thread_step(self.senders.get(run.thread))

    def _device_step(self, view: View, device: Device) -> None:
        if device.after and not self._done(view, device.after):
            raise NotEnabled
        Stepping(self, view, -1, self.devices[device.name]).device_step(device)

    def _done(self, view: View, name: str) -> bool:
        """Whether the one call of a thread or device is over."""
        return not view.get(self.devices[name]) if name in self.devices else view.get(self.threads[name].status) == DONE

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
        view.notes.append(Note(facts.Arrives(vector, c)))

    def _drain(self, view: View, c: int) -> None:
        buffer = view.get(self.cpus[c].buffer)
        if not buffer:
            raise NotEnabled
        at, value, mask, routine = buffer[0]
        view.set(self.cpus[c].buffer, buffer[1:])
        Stepping(self, view, c, self.cpus[c].run).write(at, value, mask, routine)
        view.notes.append(Note(facts.Drains(at, value, mask)))

    # Optional steps

    def _spend(self, view: View, budget: str) -> None:
        if self.scenario.budget.unlimited:
            return
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
        view.notes.append(Note(facts.Preempts(run.thread)))
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
        view.notes.append(Note(facts.Migrates(name, here, there)))

    def _exit(self, view: View, c: int) -> None:
        run = view.get(self.cpus[c].run)
        if not run.guest or run.frames[-1].kind == "hardware":
            raise NotEnabled
        self._spend(view, "exit")
        Stepping(self, view, c, self.cpus[c].run).exit_guest(("tick",))

    def _again(self, view: View, c: int) -> None:
        run = view.get(self.cpus[c].run)
        if not run.guest or run.frames[-1].kind == "hardware":
            raise NotEnabled
        position, in_service = view.get(self.guests[run.guest])
        if not position or position < len(self.programs[run.guest]) or in_service:
            raise NotEnabled
        if view.get(self.memory[f"{run.guest}.halted"]):
            raise NotEnabled
        self._spend(view, "again")
        view.set(self.guests[run.guest], (position - 1, in_service))
        view.notes.append(Note(facts.GoesOn(run.guest)))

    def _spurious(self, view: View, token: Cell[bool], vector: int, c: int) -> None:
        if not view.get(token):
            raise NotEnabled
        view.set(token, self.scenario.budget.unlimited)
        view.set(self.cpus[c].latched, view.get(self.cpus[c].latched) | 1 << vector)
        view.notes.append(Note(facts.Strays(vector, c)))

    # Judging

    def quiescent(self, state: int) -> bool:
        return all(not agent.entry(state).outcomes for agent in self.obligatory)

    def at_rest(self, state: int) -> list[Finding]:
        """Everything broken, or seen to hold, in a quiescent state."""
        view = View(state)
        view.findings.extend(self._stuck(view))
        for monitor, cell in self.attached:
            monitor.at_rest(view.get(cell) if cell else None, Look(self, view, monitor))
        return view.findings

    def calls(self, view: View) -> Iterator[tuple[str, tuple[Frame, ...], str]]:
        """Who is in the middle of something: an agent, its frames, and the vCPU whose guest it runs."""
        for c, cpu in enumerate(self.cpus):
            run = view.get(cpu.run)
            yield f"cpu{c}", run.frames, run.guest
        for name, device in self.devices.items():
            yield name, view.get(device), ""

    def _stuck(self, view: View) -> list[Breach]:
        found: list[Breach] = []
        waiting = {d.name for d in self.scenario.devices if d.after} | {
            f"cpu{t.cpu}" for t in self.scenario.threads if t.after
        }
        for who, frames, guest in self.calls(view):
            if not frames or (guest and frames[-1].kind != "hardware") or who in waiting:
                continue
            node = frames[-1].node
            match node.answer:
                case ops.Relax() if who in self.devices:
                    pass  # hardware that waits for work
                case ops.Relax():
                    seen = ", ".join(f"{at} = {value}" for at, _, value in node.reads)
                    said = f"{node.routine} on {who} spins for ever on {seen}"
                    found.append(
                        Breach("LIVELOCK", said, about(*(Subject(at, mask) for at, mask, _ in node.reads), who))
                    )
                case ops.Lock(at=at):
                    holder = view.get(self.memory[at])
                    said = f"{node.routine} on {who} waits for {at}, held by {holder}"
                    found.append(Breach("DEADLOCK", said, about(at, who)))
                case other:
                    found.append(Breach("DEADLOCK", f"{node.routine} on {who} can never do {other}", about(who)))
        return found
