"""What a machine is made of: the cells of its memory, CPUs, threads, guests and devices, as a scenario begins."""

from __future__ import annotations

from typing import Any, NamedTuple

from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node
from conformance.machine.state import Cell, Layout
from conformance.roles.location import Shared
from conformance.roles.scenario import Scenario

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


class Parts:
    """The cells of one scenario with one assembled implementation."""

    def __init__(self, assembly: Assembly, scenario: Scenario, widths: dict[str, int] | None = None) -> None:
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
        tokens = {what: getattr(scenario.budget, what) for what in ("preempt", "migrate", "exit", "again")}
        self.budgets = {what: layout.cell(f"budget.{what}", n, n.bit_length()) for what, n in tokens.items()}

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
            name: cell(f"{name}.guest", (0, ()), 6) for name in self.vcpus
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
            cell(f"{name}.unpreemptible", 0, 3),
        )


def _width(shared: Shared) -> int:
    """Bits for a location's values: a first guess, for a layout that proves too small is made again."""
    if shared.constant:
        return 0
    return 3 if shared.lock else 5
