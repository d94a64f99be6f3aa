"""An x86 litmus test run on the engine: its threads on CPUs with FIFO store buffers, every interleaving explored.

The third way to the same answer, which knows no axioms: Owens, Sarkar and Sewell's abstract machine as
`conformance.machine` has it. Instructions come from the same `x86.step`; what they share with the axioms ends there.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.litmus import x86
from conformance.litmus.condition import Register
from conformance.litmus.program import Outcome, Program
from conformance.litmus.thread import MemoryEvent, Runner
from conformance.litmus.values import Address, Unsupported, Value, constant
from conformance.machine.machine import Machine
from conformance.machine.state import LayoutFull
from conformance.roles import operations as ops
from conformance.roles.location import Shared
from conformance.roles.scenario import Scenario, Thread


class _Asked(BaseException):
    """The thread cannot go on without the result of this operation."""

    def __init__(self, operation: ops.AnyOperation) -> None:
        self.operation = operation


class _Thread(Runner):
    """A thread that is told what its operations so far answered, and stops at the next one."""

    def __init__(self, number: int, program: Program, results: tuple[ops.Result, ...]) -> None:
        super().__init__(number, program.test.threads[number], program.test, program.written, [])
        self.results = iter(results)
        self.locked: tuple[str, int, int] | None = None
        """(kind, mask, expected) of the locked operation whose operand is not known yet."""

    def ask(self, operation: ops.AnyOperation) -> int:
        for result in self.results:
            return cast(int, result)
        raise _Asked(operation)

    def read(self, address: Value, *order: str) -> tuple[MemoryEvent, Value]:
        at = self.known(address)
        event = MemoryEvent(self.number, 0, self.line, "", "R", cast(Address, at))
        if "locked" not in order:
            return event, constant(self.ask(ops.Load(str(at))))
        kind, mask = x86.locked_operation(self.lines[self.line].text)
        for result in self.results:
            return event, constant(cast(int, result))
        expected = cast(int, self.get("rax").constant) & mask if kind == "cas" else 0
        self.locked = kind, mask, expected
        return event, constant({"and": mask, "cas": expected}.get(kind, 0))  # what makes the operand show

    def write(
        self, address: Value, data: Value, *order: str, rmw: MemoryEvent | None = None, picked: Value | None = None
    ) -> MemoryEvent:
        at, value = str(self.known(address)), data.constant
        if not isinstance(value, int):
            raise Unsupported("addresses in memory, on the engine")
        if self.locked:
            kind, mask, expected = self.locked
            how = cast(Literal["swap", "or", "and", "xor", "add", "cas"], kind)
            raise _Asked(ops.Rmw(at, how, value, mask, expected))
        if "locked" not in order:
            self.ask(ops.Store(at, value & ops.WORD))
        return MemoryEvent(self.number, 0, self.line, "", "W")

    def fence(self, kind: str) -> None:
        self.ask(ops.Fence("full" if kind == "full" else "load"))


class _Source:
    """The threads of a test as routines `P0`, `P1`, ..., which at their end leave their registers where all can see."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.registers = [term for term in program.observed() if isinstance(term, Register)]

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        test, number = self.program.test, int(routine[1:])
        thread = _Thread(number, self.program, results)
        for register, value in test.registers.items():
            if register.thread == number:
                thread.registers[x86.register(register.name)] = constant(value)
        try:
            while thread.line < len(thread.lines):
                x86.step(thread, thread.lines[thread.line].text)
                thread.line += 1
            for register in self.registers:
                if register.thread == number:
                    thread.ask(ops.Store(str(register), _word(thread.get(register.name))))
        except _Asked as asked:
            return asked.operation
        return ops.Return()

    def fresh(self) -> _Source:
        return _Source(self.program)


def _word(value: Value) -> int:
    if not isinstance(known := value.constant, int):
        raise Unsupported("addresses in registers, on the engine")
    return known & ops.WORD


def outcomes(program: Program) -> set[Outcome]:
    """Every outcome of the test under store buffers that never fill up. Raises Unsupported."""
    if program.test.arch == "AArch64":
        raise Unsupported("store buffers are x86's")
    widths: dict[str, int] = {}
    while True:
        try:
            return _explored(_machine(program, widths), program)
        except LayoutFull as full:
            widths[full.cell] = full.width


def _machine(program: Program, widths: dict[str, int]) -> Machine:
    count = len(program.paths)
    unfolding = Unfolding(_Source(program))
    initial: dict[str, Any] = {str(at): program.initial(at) for at in program.written}
    if any(not isinstance(value, int) for value in initial.values()):
        raise Unsupported("addresses in memory, on the engine")
    locations = {at: Shared(value & ops.WORD) for at, value in initial.items()}
    for term in program.observed():
        if isinstance(term, Register):
            locations[str(term)] = Shared(private_to=f"P{term.thread}")
        else:
            locations.setdefault(str(term), Shared())
    stores = max(sum(e.kind == "W" for e in path.events) for of in program.paths for path in of)
    scenario = Scenario(
        name=program.test.name,
        about="a litmus test",
        architecture="plain",
        cpus=count,
        vcpus=(),
        threads=tuple(Thread(f"P{n}", f"P{n}", (), n) for n in range(count)),
        buffer=max(1, stores),
    )
    routines = {f"P{n}": unfolding for n in range(count)}
    return Machine(Assembly(routines, dict.fromkeys(routines, "litmus"), locations, {}), scenario, (), widths)


def _explored(machine: Machine, program: Program) -> set[Outcome]:
    """Plain search, without reduction."""
    terms = list(map(str, program.observed()))
    found: set[Outcome] = set()
    seen, pending = {machine.initial}, [machine.initial]
    while pending:
        state = pending.pop()
        resting = True
        for agent in machine.agents:
            for outcome in agent.entry(state).outcomes:
                resting = False
                after = state & outcome.keep | outcome.add
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
        if resting:
            found.add(tuple(machine.memory[term].unpack(state) for term in terms))
    return found
