"""What AArch64 instructions of a litmus test do: loads, stores, exclusives, LSE atomics, barriers, arithmetic, branches.

What depends on what inside an instruction follows the Arm ARM's intrinsic dependencies (DDI 0487, B2.3): the address and
the data reach a store, but what CAS compares only decides whether it writes (a pick), an exclusive store's status
depends on nothing, and CSEL depends on the register it takes and is picked by its flags.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from conformance.litmus.thread import WORD, Runner, arithmetic, narrow
from conformance.litmus.values import NONE, Unsupported, Value, apply, constant, number

LONG = (1 << 64) - 1


def register(name: str) -> str:
    """The name of the whole register, as conditions have it: X1 for W1."""
    return _register(name)[0]


def _register(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"([XW])(\d+|ZR)", name.upper())
    if not found or (found[2] != "ZR" and int(found[2]) > 30):
        raise Unsupported(f"the register {name}")
    return f"X{found[2]}", LONG if found[1] == "X" else WORD


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
    "LSL": operator.lshift,
    "LSR": _shift_right,
}
COMPARE = {"CMP": "SUB", "CMN": "ADD", "TST": "AND"}
LOADS = {"LDR": (), "LDUR": (), "LDAR": ("A",), "LDAPR": ("Q",), "LDAPUR": ("Q",), "LDXR": (), "LDAXR": ("A",)}
STORES = {"STR": (), "STUR": (), "STLR": ("L",), "STLUR": ("L",)}
EXCLUSIVE_STORES = {"STXR": (), "STLXR": ("L",)}
ATOMIC = re.compile(r"(?P<how>SWP|LDADD|LDSET|LDCLR|LDEOR|STADD|STSET|STCLR|STEOR|CAS)(?P<order>A|L|AL)?$")
MODIFY: dict[str, Callable[[int, int], int]] = {
    "ADD": operator.add,
    "SET": operator.or_,
    "CLR": ARITHMETIC["BIC"],
    "EOR": operator.xor,
}
BARRIERS = {"SY": "full", "LD": "load", "ST": "store"}
CONDITIONS: dict[str, Callable[[int, int], bool]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
}
"""Of the signed difference that CMP left, compared with 0."""


def step(run: Runner, text: str) -> None:
    name, _, rest = text.partition(" ")
    name = name.upper()
    operands = [o.strip() for o in re.split(r",(?![^\[]*\])", rest)] if rest.strip() else []
    do = _Instruction(run, text, operands)
    if name == "NOP":
        return
    if name == "ISB":
        run.fence("isb")
    elif name in ("DMB", "DSB"):
        do.barrier(name)
    elif name in LOADS:
        do.load(*LOADS[name], exclusive="X" in name)
    elif name in STORES:
        do.store(*STORES[name])
    elif name in EXCLUSIVE_STORES:
        do.store_exclusive(*EXCLUSIVE_STORES[name])
    elif atomic := ATOMIC.fullmatch(name):
        do.atomic(atomic["how"], atomic["order"] or "")
    elif name.startswith("B.") or name in ("BEQ", "BNE") or name in ("B", "CBZ", "CBNZ", "TBZ", "TBNZ"):
        do.branch(name)
    else:
        do.compute(name)


class _Instruction:
    def __init__(self, run: Runner, text: str, operands: list[str]) -> None:
        self.run, self.text, self.operands = run, text, operands

    def unsupported(self) -> Unsupported:
        return Unsupported(f"the instruction {self.text}")

    def count(self, *allowed: int) -> None:
        if len(self.operands) not in allowed:
            raise self.unsupported()

    # Operands

    def get(self, name: str) -> Value:
        canonical, mask = _register(name)
        if canonical == "XZR":
            return constant(0)
        return apply(lambda v: narrow(v, mask), self.run.get(canonical))

    def put(self, name: str, value: Value) -> None:
        canonical, mask = _register(name)
        if canonical != "XZR":
            self.run.set(canonical, apply(lambda v: narrow(v, mask), value))

    def second(self, operands: list[str], mask: int) -> Value:
        """A last operand: a number, or a register, perhaps extended or shifted."""
        first, *modifier = operands
        if first.startswith("#") or first[0].isdigit() or first[0] == "-":
            known = number(first.lstrip("#"))
            if known is None:
                raise self.unsupported()
            value = constant(known & mask)
        else:
            value = self.get(first)
        if not modifier:
            return value
        how, _, amount = modifier[0].upper().partition(" ")
        by = number(amount.strip().lstrip("#")) if amount.strip() else 0
        if by is None or len(modifier) > 1:
            raise self.unsupported()
        match how:
            case "SXTW":
                value = apply(lambda v: v - (1 << 32) if isinstance(v, int) and v >> 31 & 1 else v, value)
            case "LSL" | "UXTW" | "SXTX" | "UXTX":
                pass
            case "LSR":
                return arithmetic(_shift_right, mask, value, constant(by))
            case _:
                raise self.unsupported()
        return apply(lambda v: (v << by) & LONG if isinstance(v, int) else v, value)

    def address(self, operand: str) -> Value:
        """[X1], [X1,#8], [X1,W2,SXTW], [X1,X2,LSL #2], and [X1,#8]! with write-back."""
        found = re.fullmatch(r"\[([^\]]*)\](!?)", operand)
        if not found:
            raise self.unsupported()
        base, *rest = [part.strip() for part in found[1].split(",")]
        where = self.get(base)
        if rest:
            where = arithmetic(operator.add, LONG, where, self.second(rest, LONG))
        if found[2]:
            self.put(base, where)
        return where

    def after(self, memory: str, by: list[str]) -> None:
        """Post-index write-back: the base register moves on; the access itself does not wait for that."""
        if by:
            base = memory.strip("[] ")
            self.put(base, arithmetic(operator.add, LONG, self.get(base), self.second(by, LONG)))

    # Instructions

    def barrier(self, name: str) -> None:
        """Shareability domains are not told apart: one test has one domain."""
        kind = (
            (self.operands[0].upper() if self.operands else "SY").removeprefix("I").removeprefix("O").removeprefix("N")
        )
        if kind not in ("SY", "LD", "ST", "SH", "SHLD", "SHST"):
            raise self.unsupported()
        kind = BARRIERS[kind.removeprefix("SH") or "SY"]
        self.run.fence(kind if name == "DMB" else "dsb" if kind == "full" else f"dsb.{kind}")

    def load(self, *order: str, exclusive: bool) -> None:
        self.count(2) if exclusive else self.count(2, 3)
        to, memory, *by = self.operands
        event, value = self.run.read(self.address(memory), *order)
        self.after(memory, by)
        self.put(to, value)
        if exclusive:
            self.run.reserved = event

    def store(self, *order: str) -> None:
        self.count(2, 3)
        source, memory, *by = self.operands
        self.run.write(self.address(memory), self.get(source), *order)
        self.after(memory, by)

    def store_exclusive(self, *order: str) -> None:
        """Fails freely; succeeds only at the location that is reserved. Its status carries no dependency."""
        self.count(3)
        status, source, memory = self.operands
        address, data = self.address(memory), self.get(source)
        reserved, self.run.reserved = self.run.reserved, None
        fails = not reserved or self.run.known(address) != reserved.at or self.run.choose(2)
        if not fails:
            self.run.write(address, data, *order, rmw=reserved)
        self.put(status, constant(int(fails)))

    def atomic(self, how: str, order: str) -> None:
        if how == "CAS":
            return self.compare_and_swap(order)
        silent = how.startswith("ST")
        self.count(2 if silent else 3)
        source, *to, memory = self.operands
        into = to[0] if to else "XZR"
        address, by = self.address(memory), self.get(source)
        read, old = self.run.read(address, *self._returning(into, order))
        new = by if how == "SWP" else arithmetic(MODIFY[how[2:]], _register(source)[1], old, by)
        self.run.write(address, new, *(["L"] if "L" in order else []), rmw=read)
        self.put(into, old)
        return None

    @staticmethod
    def _returning(register_: str, order: str) -> list[str]:
        """What orders the read of an atomic: nothing if what it read is thrown away (Arm ARM B2.3, "NoRet")."""
        if register(register_) == "XZR":
            return ["noret"]
        return ["A"] if "A" in order else []

    def compare_and_swap(self, order: str) -> None:
        """Where it succeeds, what was compared and what was read are equal, and the register may get either."""
        self.count(3)
        expected, desired, memory = self.operands
        address, compared, data = self.address(memory), self.get(expected), self.get(desired)
        read, old = self.run.read(address, *self._returning(expected, order))
        mask = _register(expected)[1]
        differs = arithmetic(operator.sub, mask, apply(lambda v: narrow(v, mask), old), compared)
        if self.run.known(differs):
            self.put(expected, old)
            return
        self.run.write(address, data, *(["L"] if "L" in order else []), rmw=read, picked=differs)
        if not compared.dep or self.run.choose(2):
            self.put(expected, Value(compared.support, compared.of, compared.dep, differs.pick))
        else:
            self.put(expected, old)

    def branch(self, name: str) -> None:
        taken = True
        *tested, label = self.operands or [""]
        if name in ("CBZ", "CBNZ"):
            self.count(2)
            taken = self.run.branch(self._is_zero(self.get(tested[0]), name == "CBZ"))
        elif name in ("TBZ", "TBNZ"):
            self.count(3)
            bit = number(tested[1].lstrip("#")) or 0
            value = arithmetic(operator.and_, LONG, self.get(tested[0]), constant(1 << bit))
            taken = self.run.branch(self._is_zero(value, name == "TBZ"))
        else:
            self.count(1)
            if name != "B":
                taken = self.run.branch(self.flags(name.removeprefix("B").lstrip(".")))
        if taken:
            self.run.jump(label)

    @staticmethod
    def _is_zero(value: Value, wanted: bool) -> Value:
        return apply(lambda v: int((v == 0) == wanted), value)

    def flags(self, condition: str) -> Value:
        compare = CONDITIONS.get(condition.upper())
        if compare is None:
            raise Unsupported(f"the condition {condition}")
        return apply(lambda v: int(isinstance(v, int) and compare(v, 0)), self.run.get("flags"))

    def compare(self, how: Callable[[int, int], int], left: str, rest: list[str]) -> Value:
        mask = _register(left)[1]
        result = arithmetic(how, mask, self.get(left), self.second(rest, mask))
        signed = apply(lambda v: v - mask - 1 if isinstance(v, int) and v > mask >> 1 else v, result)
        self.run.set("flags", signed)
        return result

    def compute(self, name: str) -> None:
        operands = self.operands
        if name in COMPARE and len(operands) in (2, 3):
            self.compare(ARITHMETIC[COMPARE[name]], operands[0], operands[1:])
        elif name in ("CSEL", "CSINC", "CSINV", "CSNEG") and len(operands) == 4:
            self.select(name, *operands)
        elif name in ("CSET", "CSETM") and len(operands) == 2:
            picked = self.flags(operands[1])
            yes = 1 if name == "CSET" else LONG
            self.put(operands[0], Value(picked.support, apply(lambda v: v and yes, picked).of, NONE, picked.pick))
        elif name in ("MOV", "MOVZ") and len(operands) in (2, 3):
            self.put(operands[0], self.second(operands[1:], _register(operands[0])[1]))
        elif name in ("MVN", "NEG") and len(operands) in (2, 3):
            mask = _register(operands[0])[1]
            how = ARITHMETIC["ORN" if name == "MVN" else "SUB"]
            self.put(operands[0], arithmetic(how, mask, constant(0), self.second(operands[1:], mask)))
        elif name in ("UXTB", "UXTH", "UXTW", "SXTW") and len(operands) == 2:
            bits = {"B": 8, "H": 16, "W": 32}[name[-1]]
            extended = self.second([operands[1], "SXTW"] if name == "SXTW" else [operands[1]], LONG)
            keep = LONG if name == "SXTW" else (1 << bits) - 1
            self.put(operands[0], apply(lambda v: narrow(v, keep), extended))
        elif name in ARITHMETIC and len(operands) in (3, 4):
            mask = _register(operands[0])[1]
            left, right = self.get(operands[1]), self.second(operands[2:], mask)
            self.put(operands[0], arithmetic(ARITHMETIC[name], mask, left, right))
        elif name in ("ADDS", "SUBS", "ANDS", "BICS") and len(operands) in (3, 4):
            self.put(operands[0], self.compare(ARITHMETIC[name[:-1]], operands[1], operands[2:]))
        else:
            raise self.unsupported()

    def select(self, name: str, to: str, yes: str, no: str, condition: str) -> None:
        picked = self.flags(condition)
        mask = _register(to)[1]
        if self.run.known(picked):
            taken = self.get(yes)
        elif name == "CSEL":
            taken = self.get(no)
        elif name == "CSINC":
            taken = arithmetic(operator.add, mask, self.get(no), constant(1))
        else:
            inverted = arithmetic(ARITHMETIC["ORN"], mask, constant(0), self.get(no))
            taken = arithmetic(operator.add, mask, inverted, constant(int(name == "CSNEG")))
        self.put(to, Value(taken.support, taken.of, taken.dep, taken.pick | picked.pick))
