"""An x86 litmus test run on the engine: its threads on CPUs with FIFO store buffers, every interleaving explored.

The third way to the same answer, which knows no axioms: Owens, Sarkar and Sewell's abstract machine as
`conformance.machine` has it, its words of memory accessed under byte masks. Instructions come from the same `x86.step`;
what they share with the axioms ends there.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.litmus import x86
from conformance.litmus.condition import Register
from conformance.litmus.program import Outcome, Program
from conformance.litmus.thread import Access, Runner
from conformance.litmus.values import Address, Unsupported, Value, constant, mask
from conformance.machine.machine import Machine
from conformance.machine.state import LayoutFull
from conformance.roles import operations as ops
from conformance.roles.location import Shared
from conformance.roles.scenario import Scenario, Thread


class _Asked(BaseException):
    """The thread cannot go on without the result of this operation."""

    def __init__(self, operation: ops.AnyOperation) -> None:
        self.operation = operation


class Bytes:
    """Some bytes of a word of the engine's memory, which begins at each eighth byte of a location."""

    def __init__(self, at: Address, size: int) -> None:
        self.word = str(at._replace(offset=at.offset & ~7))
        self.shift = 8 * (at.offset & 7)
        self.mask = mask(size) << self.shift


class _Thread(Runner):
    """A thread that is told what its operations so far answered, and stops at the next one."""

    def __init__(self, number: int, program: Program, results: tuple[ops.Result, ...]) -> None:
        super().__init__(number, program.memory, [])
        self.results = iter(results)
        self.locked: tuple[str, Bytes, int] | None = None
        """(kind, where, expected) of the locked operation whose operand is not known yet."""

    def ask(self, operation: ops.AnyOperation) -> int:
        for result in self.results:
            return cast(int, result)
        raise _Asked(operation)

    def read(self, address: Value, size: int, *order: str) -> tuple[Access, Value]:
        at = self.known(address)
        assert isinstance(at, Address)
        where, access = Bytes(at, size), Access(at, size, ())
        if "locked" not in order:
            return access, constant(self.ask(ops.Load(where.word, where.mask)) >> where.shift)
        for result in self.results:
            return access, constant(cast(int, result) >> where.shift)
        kind, _ = x86.locked_operation(self.lines[self.line])
        expected = cast(int, self.get("rax").constant) & mask(size) if kind == "cas" else 0
        self.locked = kind, where, expected
        return access, constant({"and": mask(size), "cas": expected}.get(kind, 0))  # what makes the operand show

    def write(
        self,
        address: Value,
        size: int,
        data: Value,
        *order: str,
        rmw: Access | None = None,
        picked: Value | None = None,
    ) -> Access:
        at, value = self.known(address), data.constant
        assert isinstance(at, Address)
        if not isinstance(value, int):
            raise Unsupported("addresses in memory, on the engine")
        if self.locked:
            kind, where, expected = self.locked
            how = cast(Literal["swap", "or", "and", "xor", "add", "cas"], kind)
            operand = (value & mask(size)) << where.shift
            raise _Asked(ops.Rmw(where.word, how, operand, where.mask, expected << where.shift))
        where = Bytes(at, size)
        if "locked" not in order:
            self.ask(ops.Store(where.word, (value & mask(size)) << where.shift, where.mask))
        return Access(at, size, ())

    def fence(self, kind: str) -> None:
        self.ask(ops.Fence("full" if kind == "full" else "load"))


class _Source:
    """The threads of a test as routines `P0`, `P1`, ..., which at their end leave their registers where all can see."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.registers = [term for term in program.observed() if isinstance(term, Register)]

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        number = int(routine[1:])
        thread = _Thread(number, self.program, results)
        for register, value in self.program.test.registers.items():
            if register.thread == number:
                thread.registers[x86.register(register.name)] = constant(value)
        try:
            thread.run(x86.step)
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
    if program.memory.endless:
        raise Unsupported("loops, on the engine")
    widths: dict[str, int] = {}
    while True:
        try:
            return _explored(_machine(program, widths), program)
        except LayoutFull as full:
            widths[full.cell] = full.width


def _machine(program: Program, widths: dict[str, int]) -> Machine:
    count = len(program.paths)
    unfolding = Unfolding(_Source(program))
    events = [e for of in program.paths for path in of for e in path.events]
    touched = {e.at._replace(offset=e.at.offset & ~7) for e in events if e.at}
    terms = program.observed()
    touched |= {t._replace(offset=t.offset & ~7) for t in terms if isinstance(t, Address)}
    locations: dict[str, Any] = {}
    for word in sorted(touched):
        if not isinstance(value := program.test.initial(word, 8), int):
            raise Unsupported("addresses in memory, on the engine")
        locations[str(word)] = Shared(value)
    for term in terms:
        if isinstance(term, Register):
            locations[str(term)] = Shared(private_to=f"P{term.thread}")
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
    where: list[Bytes] = []
    for term in program.observed():
        place = Bytes(term, program.memory.size(term)) if isinstance(term, Address) else Bytes(Address(str(term)), 8)
        where.append(place)
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
            words = ((machine.memory[at.word].unpack(state), at) for at in where)
            found.add(tuple((word & at.mask) >> at.shift for word, at in words))
    return found
