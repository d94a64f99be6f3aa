"""Random implementations: two threads and a handler, each a few drawn operations over two words and a lock, on the real
machine.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from hypothesis import strategies as st
from tiny_machine import A, B, Code, L, X, Y, machine, promise

from conformance.machine import events as ev
from conformance.machine.machine import Machine
from conformance.machine.monitor import Look, Monitor
from conformance.roles.cpu import Cpu
from conformance.roles.scenario import DeviceInterrupt

VECTOR = 0x50
WORDS = {"x": X, "y": Y}


class Op(NamedTuple):
    what: str
    at: str
    value: int


class Program(NamedTuple):
    threads: tuple[tuple[Op, ...], ...]
    handler: tuple[Op, ...]
    depth: int
    interrupt: bool
    """Whether one is on its way from the start."""


def programs(operations: int = 3) -> st.SearchStrategy[Program]:
    whats = [
        "load",
        "store",
        "swap",
        "add",
        "fence",
        "send",
        "close",
        "open",
        "choose",
        "both",
        "await",
        "sleep",
        "wake",
    ]
    op = st.builds(Op, st.sampled_from(whats), st.sampled_from(["x", "y"]), st.integers(0, 2))
    routine = st.lists(op, max_size=operations).map(tuple)
    handler = st.lists(op.filter(lambda o: o.what != "sleep"), max_size=2).map(tuple)
    return st.builds(Program, st.tuples(routine, routine), handler, st.sampled_from([0, 0, 1, 2]), st.booleans())


def perform(cpu: Cpu, does: tuple[Op, ...], result: Any) -> None:
    seen = 0
    for what, at, value in does:
        word = WORDS[at]
        match what:
            case "load":
                seen = cpu.load(word)
            case "store":
                cpu.store(word, value)
            case "swap":
                seen = cpu.swap(word, value)
            case "add":
                cpu.store(word, (cpu.load(word) + 1) % 3)
            case "fence":
                cpu.fence()
            case "send":
                cpu.send_ipi(VECTOR, value % 2)
            case "close" | "open":
                cpu.irq_restore(what == "open")
            case "choose":
                cpu.store(word, cpu.choose(*range(value + 1)))
            case "both":
                cpu.lock(L)
                cpu.store(B, cpu.load(B) + 1 & 3)
                cpu.unlock(L)
            case "await":
                while cpu.load(word) != value:
                    cpu.relax()
            case "sleep":
                cpu.irq_enable()
                cpu.prepare_to_block()
                cpu.schedule()
            case _:
                cpu.wake("one" if value else "two")
    if result:
        cpu.store(result, seen)


YX, A1, XY = promise("YX"), promise("A1"), promise("XY")


class Order(Monitor):
    """The last two places that changed: X straight after Y is a breach, Y straight after X is seen."""

    clauses = (YX, A1)
    witnesses = (XY,)
    events = (ev.Changed,)
    name = "order"
    memory: tuple[str, ...] = ()

    def on(self, event: ev.Event, memory: tuple[str, ...], look: Look) -> tuple[str, ...]:
        if not isinstance(event, ev.Changed) or event.at not in WORDS:
            return memory
        if memory[-1:] == ("y",) and event.at == "x" and look.value("a"):
            look.breach(YX, "x after y")
        if memory[-1:] == ("x",) and event.at == "y":
            look.witness(XY)
        return (*memory, event.at)[-2:]

    def at_rest(self, memory: tuple[str, ...], look: Look) -> None:
        if look.value("a") == 1:
            look.breach(A1, "a is 1")
        if memory == ("x", "y"):
            look.breach(YX, "x, then y, then rest")


def made(program: Program, widths: dict[str, int] | None = None) -> Machine:
    class Drawn(Code):
        handlers: ClassVar = {VECTOR: "handle"}

        def one(self, cpu: Cpu) -> None:
            perform(cpu, program.threads[0], A)

        def two(self, cpu: Cpu) -> None:
            perform(cpu, program.threads[1], None)

        def handle(self, cpu: Cpu, where: int = 0) -> None:
            perform(cpu, program.handler, None)

    interrupts = (DeviceInterrupt(VECTOR, 0, "handle", (0,)),) if program.interrupt else ()
    return machine(Drawn, "one", "two", buffer=program.depth, interrupts=interrupts, monitors=[Order()], widths=widths)
