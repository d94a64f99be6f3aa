"""What AArch64 instructions of a litmus test do: loads, stores, pairs, exclusives, LSE atomics, barriers, arithmetic,
branches.

What depends on what inside an instruction follows the Arm ARM's intrinsic dependencies (DDI 0487, B2.3): the address and
the data reach a store, but what CAS compares only decides whether it writes (a pick), an exclusive store's status
depends on nothing, and CSEL depends on the register it takes and is picked by its flags. The two accesses of a pair are
not ordered.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from conformance.litmus import flags
from conformance.litmus.instruction import Instruction, Memory, Name, Number, Operand, Shift
from conformance.litmus.thread import Runner, arithmetic, narrow
from conformance.litmus.values import NONE, Concrete, Unsupported, Value, apply, constant, mask

LONG = mask(8)


class Register(NamedTuple):
    whole: str
    """The name of the whole register, as conditions have it: X1 for W1."""
    size: int


def register(name: str) -> str:
    return _register(name).whole


def _register(name: str) -> Register:
    letter, symbolic, rest = name.partition("%")
    if symbolic:
        return Register(f"%{rest}", 4 if letter in ("w", "W") else 8)
    found = re.fullmatch(r"([XW])(\d{1,2}|ZR)", name.upper())
    if not found or (found[2] != "ZR" and int(found[2]) > 30):
        raise Unsupported(f"the register {name}")
    return Register(f"X{found[2]}", 8 if found[1] == "X" else 4)


def _shift_right(a: int, b: int) -> int:
    return a >> b


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "AND": operator.and_,
    "ORR": operator.or_,
    "EOR": operator.xor,
    "BIC": lambda a, b: a & ~b,
    "ORN": lambda a, b: a | ~b,
    "EON": lambda a, b: a ^ ~b,
    "MUL": operator.mul,
}
COMPARE = {"CMP": "SUB", "CMN": "ADD", "TST": "AND"}
"""Instructions that leave flags and nothing else, as the S form of which operation."""
SIZES = {"B": 1, "H": 2, "W": 4}
LOAD = re.compile(r"(LDR|LDUR|LDAR|LDAPR|LDAPUR|LDXR|LDAXR)(S?)([BHW]?)$")
STORE = re.compile(r"(STR|STUR|STLR|STLUR)([BH]?)$")
STORE_EXCLUSIVE = re.compile(r"(STXR|STLXR)([BH]?)$")
ATOMIC = re.compile(r"(SWP|LDADD|LDSET|LDCLR|LDEOR|STADD|STSET|STCLR|STEOR|CAS)(A?)(L?)([BH]?)$")
ORDERS = {
    "LDAR": ("A",),
    "LDAPR": ("Q",),
    "LDAPUR": ("Q",),
    "LDAXR": ("A",),
    "STLR": ("L",),
    "STLUR": ("L",),
    "STLXR": ("L",),
}
MODIFY: dict[str, Callable[[int, int], int]] = {
    "ADD": operator.add,
    "SET": operator.or_,
    "CLR": ARITHMETIC["BIC"],
    "EOR": operator.xor,
}
BRANCHES = {"B", "CBZ", "CBNZ", "TBZ", "TBNZ", *(f"B{condition}" for condition in flags.ARM)}
BARRIERS = {"": "full", "LD": "load", "ST": "store"}


def step(run: Runner, instruction: Instruction) -> None:
    name = instruction.name
    do = _Instruction(run, instruction)
    if instruction.locked:
        raise instruction.unsupported
    if name == "NOP":
        return
    if name == "ISB":
        run.fence("isb")
    elif name in ("DMB", "DSB"):
        do.barrier(name)
    elif load := LOAD.fullmatch(name):
        do.load(load[1], signed=bool(load[2]), size=SIZES.get(load[3], 0))
    elif store := STORE.fullmatch(name):
        do.store(store[1], SIZES.get(store[2], 0))
    elif name in ("LDP", "LDNP", "LDPSW"):
        do.load_pair(signed=name == "LDPSW")
    elif name in ("STP", "STNP"):
        do.store_pair()
    elif store := STORE_EXCLUSIVE.fullmatch(name):
        do.store_exclusive(store[1], SIZES.get(store[2], 0))
    elif atomic := ATOMIC.fullmatch(name):
        do.atomic(atomic[1], "A" * bool(atomic[2]) + "L" * bool(atomic[3]), SIZES.get(atomic[4], 0))
    elif name.startswith("B.") or name in BRANCHES:
        do.branch(name)
    else:
        do.compute(name)


class _Instruction:
    def __init__(self, run: Runner, instruction: Instruction) -> None:
        self.run, self.operands = run, instruction.operands
        self.unsupported = instruction.unsupported

    def count(self, *allowed: int) -> None:
        if len(self.operands) not in allowed:
            raise self.unsupported

    # Operands

    def name(self, operand: Operand) -> str:
        if not isinstance(operand, Name):
            raise self.unsupported
        return operand.text

    def size(self, operand: Operand) -> int:
        return _register(self.name(operand)).size

    def get(self, operand: Operand) -> Value:
        whole, size = _register(self.name(operand))
        if whole == "XZR":
            return constant(0)
        return apply(lambda v: narrow(v, mask(size)), self.run.get(whole))

    def put(self, operand: Operand, value: Value) -> None:
        whole, size = _register(self.name(operand))
        if whole != "XZR":
            self.run.set(whole, apply(lambda v: narrow(v, mask(size)), value))

    def second(self, operands: Sequence[Operand], size: int) -> Value:
        """A last operand: a number, or a register, perhaps extended or shifted."""
        first, *modifier = operands
        value = constant(first.value & mask(size)) if isinstance(first, Number) else self.get(first)
        if not modifier:
            return value
        if len(modifier) > 1 or not isinstance(modifier[0], Shift | Name):
            raise self.unsupported
        how, by = modifier[0] if isinstance(modifier[0], Shift) else (modifier[0].text.upper(), 0)
        return apply(self._modified(how, by, size), value)

    def _modified(self, how: str, by: int, size: int) -> Callable[[Concrete], Concrete]:
        """LSL #3, or SXTW #2: extended from its size, then shifted."""
        bits, extend = mask(size), re.fullmatch(r"([US])XT([BHWX])", how)
        if not 0 <= by < 8 * size or (how not in _SHIFTS and not extend):
            raise self.unsupported

        def of(value: Concrete) -> Concrete:
            if not isinstance(value, int):
                if by or (extend and extend[2] != "X"):
                    raise Unsupported(f"arithmetic on the address {value}")
                return value
            if extend:
                value = _extended(value, SIZES.get(extend[2], 8), signed=extend[1] == "S")
                return value << by & bits
            return _SHIFTS[how](value & bits, by, 8 * size) & bits

        return of

    def address(self, operand: Operand) -> Value:
        """[X1], [X1,#8], [X1,W2,SXTW], [X1,X2,LSL #2], and [X1,#8]! with write-back."""
        if not isinstance(operand, Memory) or operand.before is not None:
            raise self.unsupported
        base, rest = operand.parts[0], operand.parts[1:]
        where = self.get(base)
        if rest:
            where = arithmetic(operator.add, LONG, where, self.second(rest, 8))
        if operand.write_back:
            self.put(base, where)
        return where

    def after(self, operand: Operand, by: Sequence[Operand]) -> None:
        """Post-index write-back: the base register moves on; the access itself does not wait for that."""
        if by:
            if not isinstance(operand, Memory) or operand.parts[1:] or operand.write_back:
                raise self.unsupported
            base = operand.parts[0]
            self.put(base, arithmetic(operator.add, LONG, self.get(base), self.second(by, 8)))

    # Instructions

    def barrier(self, name: str) -> None:
        """Shareability domains are not told apart: one test has one domain."""
        self.count(0, 1)
        domain = self.name(self.operands[0]).upper() if self.operands else "SY"
        found = re.fullmatch(r"(?:ISH|OSH|NSH|SY)?(LD|ST)?", domain)
        if not found or domain in ("SYLD", "SYST", ""):
            raise self.unsupported
        kind = BARRIERS[found[1] or ""]
        self.run.fence(kind if name == "DMB" else "dsb" if kind == "full" else f"dsb.{kind}")

    def load(self, how: str, *, signed: bool, size: int) -> None:
        self.count(2, 3)
        to, memory, *by = self.operands
        if (size == 4 and not signed) or (signed and not size):
            raise self.unsupported
        access, value = self.run.read(self.address(memory), size or self.size(to), *ORDERS.get(how, ()))
        if "X" in how:
            self.count(2)
            self.run.reserved = access
        self.after(memory, by)
        self.put(to, self._signed(value, size) if signed else value)

    @staticmethod
    def _signed(value: Value, size: int) -> Value:
        return apply(lambda v: _extended(v, size, signed=True) if isinstance(v, int) else v, value)

    def store(self, how: str, size: int) -> None:
        self.count(2, 3)
        source, memory, *by = self.operands
        self.run.write(self.address(memory), size or self.size(source), self.get(source), *ORDERS.get(how, ()))
        self.after(memory, by)

    def _pair(self, size: int = 0) -> tuple[list[tuple[Operand, Value]], int]:
        """(register, address) of each of the two accesses, and their size."""
        self.count(3, 4)
        registers, memory = self.operands[:2], self.operands[2]
        sizes = {self.size(register) for register in registers}
        if len(sizes) > 1:
            raise self.unsupported
        size = size or sizes.pop()
        low = self.address(memory)
        self.after(memory, self.operands[3:])
        return list(zip(registers, (low, arithmetic(operator.add, LONG, low, constant(size))), strict=True)), size

    def load_pair(self, *, signed: bool) -> None:
        pair, size = self._pair(4 if signed else 0)
        read = [(to, self.run.read(address, size)[1]) for to, address in pair]
        for to, value in read:
            self.put(to, self._signed(value, size) if signed else value)

    def store_pair(self) -> None:
        pair, size = self._pair()
        for source, address in pair:
            self.run.write(address, size, self.get(source))

    def store_exclusive(self, how: str, size: int) -> None:
        """Fails freely, and always where nothing is reserved. Its status carries no dependency."""
        self.count(3)
        status, source, memory = self.operands
        address, data = self.address(memory), self.get(source)
        size = size or self.size(source)
        reserved, self.run.reserved = self.run.reserved, None
        if reserved and (self.run.known(address) != reserved.at or size != reserved.size):
            raise Unsupported(
                f"an exclusive store to other bytes than the exclusive load's, {reserved.size} at {reserved.at}"
            )
        fails = not reserved or bool(self.run.choose(2))
        if not fails:
            self.run.write(address, size, data, *ORDERS.get(how, ()), rmw=reserved)
        self.put(status, constant(int(fails)))

    def atomic(self, how: str, order: str, size: int) -> None:
        if how == "CAS":
            return self.compare_and_swap(order, size)
        silent = how.startswith("ST")
        self.count(2 if silent else 3)
        source, *to, memory = self.operands
        into = to[0] if to else Name("XZR")
        size = size or self.size(source)
        address, by = self.address(memory), self.get(source)
        read, old = self.run.read(address, size, *self._returning(into, order))
        new = by if how == "SWP" else arithmetic(MODIFY[how[2:]], mask(size), old, by)
        self.run.write(address, size, new, *(["L"] if "L" in order else []), rmw=read)
        self.put(into, old)
        return None

    def _returning(self, to: Operand, order: str) -> list[str]:
        """What orders the read of an atomic: nothing if what it read is thrown away (Arm ARM B2.3, "NoRet")."""
        if register(self.name(to)) == "XZR":
            return ["noret"]
        return ["A"] if "A" in order else []

    def compare_and_swap(self, order: str, size: int) -> None:
        """Where it succeeds, what was compared and what was read are equal, and the register may get either."""
        self.count(3)
        expected, desired, memory = self.operands
        size = size or self.size(expected)
        address, compared, data = self.address(memory), self.get(expected), self.get(desired)
        read, old = self.run.read(address, size, *self._returning(expected, order))
        compared = apply(lambda v: narrow(v, mask(size)), compared)
        differs = apply(lambda v: int(v != 0), arithmetic(operator.sub, mask(size), old, compared))
        if self.run.known(differs):
            self.put(expected, old)
            return
        self.run.write(address, size, data, *(["L"] if "L" in order else []), rmw=read, picked=differs)
        if not compared.dep or self.run.choose(2):
            self.put(expected, Value(compared.support, compared.of, compared.dep, differs.pick))
        else:
            self.put(expected, old)

    def branch(self, name: str) -> None:
        taken = True
        *tested, label = self.operands or (Name(""),)
        if name in ("CBZ", "CBNZ"):
            self.count(2)
            taken = self.run.branch(self._is_zero(self.get(tested[0]), name == "CBZ"))
        elif name in ("TBZ", "TBNZ"):
            self.count(3)
            bit = tested[1]
            if not isinstance(bit, Number) or not 0 <= bit.value < 64:
                raise self.unsupported
            value = arithmetic(operator.and_, LONG, self.get(tested[0]), constant(1 << bit.value))
            taken = self.run.branch(self._is_zero(value, name == "TBZ"))
        else:
            self.count(1)
            if name != "B":
                taken = self.run.branch(self.holds(name.removeprefix("B").lstrip(".")))
        if taken:
            self.run.jump(self.name(label))

    @staticmethod
    def _is_zero(value: Value, wanted: bool) -> Value:
        return apply(lambda v: int((v == 0) == wanted), value)

    def holds(self, condition: str) -> Value:
        return apply(flags.condition(flags.ARM, condition.upper()), self.run.get("flags"))

    def compare(self, how: str, left: Operand, rest: Sequence[Operand]) -> Value:
        """The result of ADD, SUB, AND or BIC; its flags are kept."""
        size = self.size(left)
        a, b, bits = self.get(left), self.second(rest, size), mask(size)
        result = arithmetic(ARITHMETIC[how], bits, a, b)
        match how:
            case "SUB":
                left_as = apply(lambda x, y: flags.subtracted(x, y, bits), a, b)
            case "ADD":
                left_as = apply(lambda x, y: flags.added(_word(x), _word(y), bits), a, b)
            case _:
                left_as = apply(lambda v: flags.logical(_word(v), bits), result)
        self.run.set("flags", left_as)
        return result

    def compute(self, name: str) -> None:
        operands = self.operands
        size = self.size(operands[0]) if operands else 0
        if name in COMPARE and len(operands) in (2, 3):
            self.compare(COMPARE[name], operands[0], operands[1:])
        elif name in ("CSEL", "CSINC", "CSINV", "CSNEG") and len(operands) == 4:
            self.select(name, *operands)
        elif name in ("CSET", "CSETM") and len(operands) == 2:
            picked = self.holds(self.name(operands[1]))
            yes = 1 if name == "CSET" else LONG
            self.put(operands[0], Value(picked.support, apply(lambda v: v and yes, picked).of, NONE, picked.pick))
        elif name in ("MOV", "MOVZ") and len(operands) in (2, 3):
            self.put(operands[0], self.second(operands[1:], size))
        elif name == "MOVK" and len(operands) in (2, 3):
            self.keep(operands[0], operands[1:])
        elif name in ("MVN", "NEG", "MOVN") and len(operands) in (2, 3):
            how = ARITHMETIC["SUB" if name == "NEG" else "ORN"]
            self.put(operands[0], arithmetic(how, mask(size), constant(0), self.second(operands[1:], size)))
        elif re.fullmatch(r"[US]XT[BHW]", name) and len(operands) == 2:
            self.put(operands[0], self.second((operands[1], Name(name)), size))
        elif name in ("LSL", "LSR", "ASR", "ROR") and len(operands) == 3:
            self.shift(name)
        elif name in ARITHMETIC and len(operands) in (3, 4):
            left, right = self.get(operands[1]), self.second(operands[2:], size)
            self.put(operands[0], arithmetic(ARITHMETIC[name], mask(size), left, right))
        elif name in ("ADDS", "SUBS", "ANDS", "BICS") and len(operands) in (3, 4):
            self.put(operands[0], self.compare(name[:-1], operands[1], operands[2:]))
        else:
            raise self.unsupported

    def keep(self, to: Operand, rest: Sequence[Operand]) -> None:
        """MOVK: sixteen bits of a register, the others stay."""
        shift = rest[1].by if len(rest) == 2 and isinstance(rest[1], Shift) else 0
        if not isinstance(rest[0], Number):
            raise self.unsupported
        word = (rest[0].value & mask(2)) << shift
        self.put(
            to, arithmetic(lambda a, b: a & ~(mask(2) << shift) | b, mask(self.size(to)), self.get(to), constant(word))
        )

    def shift(self, how: str) -> None:
        """By a register: modulo the size."""
        to, value, amount = self.operands
        size = self.size(to)
        by = constant(amount.value) if isinstance(amount, Number) else self.get(amount)

        def shifted(a: int, b: int) -> int:
            return _SHIFTS[how](a, b % (8 * size), 8 * size)

        self.put(to, arithmetic(shifted, mask(size), self.get(value), by))

    def select(self, name: str, to: Operand, yes: Operand, no: Operand, condition: Operand) -> None:
        picked = self.holds(self.name(condition))
        bits = mask(self.size(to))
        if self.run.known(picked):
            taken = self.get(yes)
        elif name == "CSEL":
            taken = self.get(no)
        elif name == "CSINC":
            taken = arithmetic(operator.add, bits, self.get(no), constant(1))
        else:
            inverted = arithmetic(ARITHMETIC["ORN"], bits, constant(0), self.get(no))
            taken = arithmetic(operator.add, bits, inverted, constant(int(name == "CSNEG")))
        self.put(to, Value(taken.support, taken.of, taken.dep, taken.pick | picked.pick))


def _extended(value: int, size: int, *, signed: bool) -> int:
    """The low bytes, as a 64-bit word."""
    value &= mask(size)
    return (value - (1 << 8 * size)) & LONG if signed and value >> 8 * size - 1 else value


_SHIFTS: dict[str, Callable[[int, int, int], int]] = {
    "LSL": lambda value, by, _: value << by,
    "LSR": lambda value, by, _: value >> by,
    "ASR": lambda value, by, bits: (value - (value >> bits - 1 << bits)) >> by,
    "ROR": lambda value, by, bits: value >> by | value << bits - by,
}
"""Of a value of so many bits; what goes over its top is cut off later."""


def _word(value: Concrete) -> int:
    if not isinstance(value, int):
        raise Unsupported(f"the flags of arithmetic on the address {value}")
    return value
