"""What x86 instructions of a litmus test do: loads, stores, fences and locked operations of 8 to 64 bits.

Syntax as herd takes it: Intel's for X86 (`MOV [x],$1`), AT&T's for X86_64 (`movl $1,(x)`), where the source comes first.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from conformance.litmus import flags
from conformance.litmus.instruction import Instruction, Memory, Name, Number, Operand, Shift
from conformance.litmus.thread import Runner, arithmetic, narrow
from conformance.litmus.values import Address, Concrete, Unsupported, Value, apply, constant, mask


class Register(NamedTuple):
    whole: str
    size: int


def _registers() -> dict[str, Register]:
    made: dict[str, Register] = {}
    for stem in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP"):
        names = f"R{stem}", f"E{stem}", stem, f"{stem.removesuffix('X')}L"
        made |= {name: Register(f"r{stem.lower()}", size) for name, size in zip(names, (8, 4, 2, 1), strict=True)}
    for n in range(8, 16):
        made |= {f"R{n}{suffix}": Register(f"r{n}", size) for suffix, size in (("", 8), ("D", 4), ("W", 2), ("B", 1))}
    return made


REGISTERS = _registers()
FENCES = {"MFENCE": "full", "LFENCE": "none", "SFENCE": "none"}
"""LFENCE and SFENCE order nothing more for write-back memory (Intel SDM vol. 3A, 9.2.2)."""
ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "AND": operator.and_,
    "OR": operator.or_,
    "XOR": operator.xor,
}
KINDS = {"XCHG": "swap", "CMPXCHG": "cas", "OR": "or", "AND": "and", "XOR": "xor"}
"""What a locked instruction is as an `operations.Rmw`; the others add."""
SIZES = {"B": 1, "W": 2, "L": 4, "Q": 8}
STEMS = ("MOV", "XCHG", "CMPXCHG", "XADD", "INC", "DEC", "NEG", "NOT", "CMP", "TEST", *ARITHMETIC)
EXTENDED = re.compile(r"MOV([SZ])([BW])([WLQ])$")


def register(name: str) -> str:
    """The name of the whole register, as conditions have it."""
    return _register(name).whole


def _register(name: str) -> Register:
    known = REGISTERS.get(name.removeprefix("%").upper())
    if known is None and name.startswith("%"):
        return Register(name, 0)  # symbolic: as large as the instruction says
    if known is None:
        raise Unsupported(f"the register {name}")
    return known


def _is_register(operand: Operand) -> bool:
    return isinstance(operand, Name) and (operand.text.startswith("%") or operand.text.upper() in REGISTERS)


def step(run: Runner, instruction: Instruction) -> None:
    name, locked = instruction.name, instruction.locked
    operands = _in_intel_order(run.test.arch, instruction)
    if name in ("NOP", "PAUSE") and not operands:
        return
    if name in FENCES and not operands:
        run.fence(FENCES[name])
    elif name == "JMP" and len(operands) == 1 and isinstance(operands[0], Name):
        run.jump(operands[0].text)
    elif name[0] == "J" and name[1:] in flags.X86 and len(operands) == 1 and isinstance(operands[0], Name):
        if run.branch(apply(flags.condition(flags.X86, name[1:]), run.get("flags"))):
            run.jump(operands[0].text)
    elif locked and (name in FENCES or name[0] == "J" or name[:3] in ("SET", "CMO")):
        raise instruction.unsupported
    elif name.startswith("SET") and name[3:] in flags.X86 and len(operands) == 1:
        do = _Operands(run, 1, instruction)
        do.put(operands[0], apply(flags.condition(flags.X86, name[3:]), run.get("flags")))
    elif name.startswith("CMOV") and (found := _conditional(name[4:])) and len(operands) == 2:
        _conditional_move(_Operands(run, _size(found[1], operands), instruction), found[0], operands)
    elif (found := EXTENDED.fullmatch(name)) and len(operands) == 2:
        _extend(run, instruction, operands, signed=found[1] == "S", sizes=(SIZES[found[2]], SIZES[found[3]]))
    else:
        stem, size = _sized(instruction, operands)
        _plain(_Operands(run, size, instruction), stem, operands, locked)


def _in_intel_order(arch: str, instruction: Instruction) -> list[Operand]:
    return list(reversed(instruction.operands)) if arch == "X86_64" else list(instruction.operands)


def _conditional(text: str) -> tuple[str, str] | None:
    """A condition, and the suffix of a size after it."""
    if text in flags.X86:
        return text, ""
    return (text[:-1], text[-1]) if text[:-1] in flags.X86 and text[-1] in SIZES else None


def _size(suffix: str, operands: list[Operand]) -> int:
    """Of its suffix, else of its registers, else an int."""
    sizes = [size for o in operands if isinstance(o, Name) and _is_register(o) if (size := _register(o.text).size)]
    return SIZES[suffix] if suffix else min(sizes, default=4)


def _sized(instruction: Instruction, operands: list[Operand]) -> tuple[str, int]:
    """The instruction without its suffix, and its size in bytes."""
    for stem in STEMS:
        if instruction.name == stem:
            return stem, _size("", operands)
        if instruction.name[:-1] == stem and instruction.name[-1] in SIZES:
            return stem, SIZES[instruction.name[-1]]
    raise instruction.unsupported


def locked_operation(instruction: Instruction) -> tuple[str, int]:
    """Of a locked instruction: the kind of `operations.Rmw` that it is, and its size in bytes."""
    stem, size = _sized(instruction, list(instruction.operands))
    return KINDS.get(stem, "add"), size


def _plain(do: _Operands, stem: str, operands: list[Operand], locked: bool) -> None:
    match stem, operands:
        case "MOV", [to, source] if not locked:
            do.put(to, do.get(source))
        case "XCHG", [first, second]:
            _exchange(do, *do.memory_first(first, second))
        case "CMPXCHG", [first, second]:
            _compare_exchange(do, *do.memory_first(first, second), locked=locked)
        case "XADD", [first, second]:
            _exchange_add(do, *do.memory_first(first, second), locked=locked)
        case (("INC" | "DEC"), [to]):
            do.change(to, "ADD" if stem == "INC" else "SUB", constant(1), locked, keep=flags.C)
        case "NOT", [to]:
            before = do.run.get("flags")
            do.change(to, "XOR", constant(mask(do.size)), locked)
            do.run.set("flags", before)
        case "NEG", [to] if not locked and _is_register(to):
            value = do.get(to)
            do.put(to, arithmetic(operator.sub, do.bits, constant(0), value))
            do.flags("SUB", constant(0), value)
        case (("CMP" | "TEST"), [left, right]) if not locked:
            do.flags("SUB" if stem == "CMP" else "AND", do.get(left), do.get(right))
        case _, [to, by] if stem in ARITHMETIC:
            do.change(to, stem, do.get(by), locked)
        case _:
            raise do.unsupported


class _Operands:
    """Operands of one instruction of `size` bytes."""

    def __init__(self, run: Runner, size: int, instruction: Instruction) -> None:
        self.run, self.size, self.bits = run, size, mask(size)
        self.unsupported = instruction.unsupported

    def address(self, operand: Operand) -> Value | None:
        """Of a memory operand, `[x]`, `(x)`, `8(%rax)` or `x(%rip)`; None for anything else."""
        if not isinstance(operand, Memory):
            return None
        base, *rest = operand.parts
        if rest or operand.write_back or isinstance(base, Shift | Memory | Number):
            raise self.unsupported
        if isinstance(operand.before, Address):
            if not isinstance(base, Name) or base.text.lower() != "%rip":
                raise self.unsupported
            return constant(operand.before)
        if isinstance(base, Address):
            where = constant(base)
        else:
            where = self.run.get(register(base.text)) if _is_register(base) else constant(Address(base.text))
        offset = operand.before.value if operand.before else 0
        return arithmetic(operator.add, mask(8), where, constant(offset & mask(8))) if offset else where

    def memory_first(self, first: Operand, second: Operand) -> tuple[Operand, Operand]:
        """herd also takes `lock cmpxchgl (x),%ebx`, which an assembler does not."""
        return (second, first) if isinstance(second, Memory) else (first, second)

    def get(self, operand: Operand) -> Value:
        if (address := self.address(operand)) is not None:
            return self.run.read(address, self.size)[1]
        match operand:
            case Name(text) if _is_register(operand):
                return apply(lambda v: narrow(v, self.bits), self.run.get(register(text)))
            case Number(value):
                return constant(value & self.bits)
            case Address():
                return constant(operand)
        raise self.unsupported

    def put(self, operand: Operand, value: Value) -> None:
        if (address := self.address(operand)) is not None:
            self.run.write(address, self.size, value)
        elif isinstance(operand, Name) and _is_register(operand):
            whole = register(operand.text)
            if self.size < 4:  # the rest of the register stays; of a larger operation it is zeroed
                value = apply(lambda new, old: _under(new, old, self.bits), value, self.run.get(whole))
            self.run.set(whole, value)
        else:
            raise self.unsupported

    def flags(self, how: str, left: Value, right: Value, keep: int = 0) -> None:
        """Of a result; `keep` are those that the instruction leaves alone."""
        bits = self.bits

        def of(a: Concrete, b: Concrete, before: Concrete) -> int:
            assert isinstance(before, int)
            if how == "SUB":
                made = flags.subtracted(a, b, bits)
                made ^= 0 if made & flags.EQUALITY else flags.C  # CF is the borrow
            elif not isinstance(a, int) or not isinstance(b, int):
                made = flags.UNDEFINED
            elif how == "ADD":
                made = flags.added(a, b, bits)
            else:
                made = flags.logical(ARITHMETIC[how](a, b) & bits, bits)
            return made & ~keep | before & keep

        before = self.run.get("flags") if keep else constant(0)
        self.run.set("flags", apply(of, left, right, before))

    def change(self, operand: Operand, how: str, by: Value, locked: bool, keep: int = 0) -> None:
        """Read, modify, write: one atomic step if locked."""
        address = self.address(operand)
        if address is None:
            if locked:
                raise Unsupported("a lock prefix without a memory operand")
            old = self.get(operand)
            self.put(operand, arithmetic(ARITHMETIC[how], self.bits, old, by))
        else:
            order = ("locked",) if locked else ()
            access, old = self.run.read(address, self.size, *order)
            result = arithmetic(ARITHMETIC[how], self.bits, old, by)
            self.run.write(address, self.size, result, *order, rmw=access if locked else None)
        self.flags(how, old, by, keep)


def _under(new: Concrete, old: Concrete, bits: int) -> Concrete:
    if not isinstance(new, int) or not isinstance(old, int):
        raise Unsupported("a part of a register that holds an address")
    return old & ~bits | new & bits


def _extend(
    run: Runner, instruction: Instruction, operands: list[Operand], signed: bool, sizes: tuple[int, int]
) -> None:
    """movzbl, movswq, ...: the source is smaller."""
    to, source = operands
    narrow_size, wide_size = sizes
    value = _Operands(run, narrow_size, instruction).get(source)

    def of(v: Concrete) -> Concrete:
        if not isinstance(v, int):
            raise Unsupported(f"a part of the address {v}")
        return (v - (1 << 8 * narrow_size)) & mask(wide_size) if signed and v >> 8 * narrow_size - 1 else v

    _Operands(run, wide_size, instruction).put(to, apply(of, value))


def _conditional_move(do: _Operands, condition: str, operands: list[Operand]) -> None:
    """The source is read in any case (Intel SDM vol. 2, CMOVcc)."""
    to, source = operands
    value = do.get(source)
    old = do.get(to)
    held = apply(flags.condition(flags.X86, condition), do.run.get("flags"))
    do.put(to, apply(lambda h, yes, no: yes if h else no, held, value, old))


def _exchange(do: _Operands, memory: Operand, other: Operand) -> None:
    """XCHG with memory locks by itself (Intel SDM vol. 2, XCHG)."""
    address, held = do.address(memory), do.get(other)
    if address is None:
        do.put(other, do.get(memory))
        do.put(memory, held)
        return
    access, old = do.run.read(address, do.size, "locked")
    do.run.write(address, do.size, held, "locked", rmw=access)
    do.put(other, old)


def _exchange_add(do: _Operands, memory: Operand, other: Operand, locked: bool) -> None:
    address = do.address(memory)
    if address is None:
        raise Unsupported("xadd between registers")
    order = ("locked",) if locked else ()
    access, old = do.run.read(address, do.size, *order)
    by = do.get(other)
    do.run.write(
        address, do.size, arithmetic(operator.add, do.bits, old, by), *order, rmw=access if locked else None
    )  # fmt: skip
    do.put(other, old)
    do.flags("ADD", old, by)


def _compare_exchange(do: _Operands, memory: Operand, other: Operand, locked: bool) -> None:
    """If RAX equals what is there, write `other`; otherwise load RAX. Locked, it is a full barrier either way."""
    address = do.address(memory)
    if address is None:
        raise Unsupported("cmpxchg between registers")
    order = ("locked",) if locked else ()
    access, old = do.run.read(address, do.size, *order)
    expected = do.get(Name("RAX"))
    differs = apply(lambda v: int(v != 0), arithmetic(operator.sub, do.bits, expected, old))
    do.flags("SUB", expected, old)
    if not do.run.known(differs):
        do.run.write(address, do.size, do.get(other), *order, rmw=access if locked else None)
    else:
        do.put(Name("RAX"), old)
