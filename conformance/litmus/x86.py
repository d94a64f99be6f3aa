"""What x86 instructions of a litmus test do: loads, stores, fences and locked operations of 32 or 64 bits.

Syntax as herd takes it: Intel's for X86 (`MOV [x],$1`), AT&T's for X86_64 (`movl $1,(x)`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from conformance.litmus.thread import WORD, Runner, arithmetic, narrow
from conformance.litmus.values import Address, Unsupported, Value, apply, constant, number

_LONG = {f"R{n}": f"r{n}" for n in range(8, 16)} | {
    f"R{n}": f"r{n.lower()}" for n in ("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP")
}
_NAMES = {n: (to, (1 << 64) - 1) for n, to in _LONG.items()} | {
    (f"E{n[1:]}" if not n[1].isdigit() else f"{n}D"): (to, WORD) for n, to in _LONG.items()
}

FENCES = {"MFENCE": "full", "LFENCE": "none", "SFENCE": "none"}
"""LFENCE and SFENCE order nothing more for write-back memory (Intel SDM vol. 3A, 9.2.2)."""
ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "AND": operator.and_,
    "OR": operator.or_,
    "XOR": operator.xor,
}
JUMPS: dict[str, Callable[[int, int], bool]] = {
    "JE": operator.eq,
    "JZ": operator.eq,
    "JNE": operator.ne,
    "JNZ": operator.ne,
    "JL": operator.lt,
    "JLE": operator.le,
    "JG": operator.gt,
    "JGE": operator.ge,
}


def register(name: str) -> str:
    """The name of the whole register, as conditions have it."""
    return _register(name)[0]


def _register(name: str) -> tuple[str, int]:
    known = _NAMES.get(name.lstrip("%").upper())
    if known is None:
        raise Unsupported(f"the register {name}")
    return known


def step(run: Runner, text: str) -> None:
    word = re.match(r"(?:(lock)\s*;?\s+)?(\w+)\s*(.*)", text, re.IGNORECASE | re.DOTALL)
    if not word:
        raise Unsupported(f"the instruction {text}")
    locked, name = bool(word[1]), word[2].upper()
    operands = [o.strip() for o in re.split(r",(?![^()\[\]]*[)\]])", word[3])] if word[3].strip() else []
    if run.test.arch == "X86_64":  # AT&T: the source comes first
        operands.reverse()
    if name in ("NOP", "PAUSE"):
        return
    if name in FENCES:
        run.fence(FENCES[name])
    elif name == "JMP" and len(operands) == 1:
        run.jump(operands[0])
    elif name in JUMPS and len(operands) == 1:
        compare = JUMPS[name]
        flags = apply(lambda a: int(isinstance(a, int) and compare(a, 0)), run.get("flags"))
        if run.branch(flags):
            run.jump(operands[0])
    else:
        stem, mask = _sized(name, operands)
        made = _Operands(run, mask)
        if stem == "MOV" and len(operands) == 2 and not locked:
            made.put(operands[0], made.get(operands[1]))
        elif stem == "XCHG" and len(operands) == 2:
            _exchange(made, *made.memory_first(operands))
        elif stem == "CMPXCHG" and len(operands) == 2:
            _compare_exchange(made, *made.memory_first(operands), locked=locked)
        elif stem == "XADD" and len(operands) == 2:
            _exchange_add(made, *made.memory_first(operands), locked=locked)
        elif stem in ARITHMETIC and len(operands) == 2:
            made.change(operands[0], ARITHMETIC[stem], made.get(operands[1]), locked)
        elif stem in ("INC", "DEC") and len(operands) == 1:
            made.change(operands[0], ARITHMETIC["ADD" if stem == "INC" else "SUB"], constant(1), locked)
        elif stem in ("CMP", "TEST") and len(operands) == 2:
            left, right = (made.get(o) for o in operands)
            made.flags(arithmetic(operator.sub if stem == "CMP" else operator.and_, mask, left, right))
        else:
            raise Unsupported(f"the instruction {text}")


_STEMS = ("MOV", "XCHG", "CMPXCHG", "XADD", "INC", "DEC", "CMP", "TEST", *ARITHMETIC)


def _sized(name: str, operands: list[str]) -> tuple[str, int]:
    """The instruction without its suffix, and the mask of its size: of its suffix, else of its registers."""
    masks = [_register(o)[1] for o in operands if _is_register(o)]
    for stem in _STEMS:
        if name == stem:
            return stem, min(masks) if masks else WORD
        if name == stem + "L":
            return stem, WORD
        if name == stem + "Q":
            return stem, (1 << 64) - 1
    raise Unsupported(f"the instruction {name}")


def locked_operation(text: str) -> tuple[str, int]:
    """Of a locked instruction: the kind of `operations.Rmw` that it is, and the mask of its size."""
    words = re.sub(r"^lock\s*;?\s*", "", text, flags=re.IGNORECASE).split(maxsplit=1)
    stem, mask = _sized(words[0].upper(), [o.strip() for o in words[-1].split(",")])
    return {"XCHG": "swap", "CMPXCHG": "cas", "OR": "or", "AND": "and", "XOR": "xor"}.get(stem, "add"), mask


def _is_register(operand: str) -> bool:
    return operand.lstrip("%").upper() in _NAMES


class _Operands:
    """Operands of one instruction, of `mask`'s size."""

    def __init__(self, run: Runner, mask: int) -> None:
        self.run, self.mask = run, mask

    def address(self, operand: str) -> Value | None:
        """Of a memory operand, `[x]`, `(x)`, `8(%rax)` or `x(%rip)`; None for anything else."""
        if found := re.fullmatch(r"([\w.]+)\s*\(\s*%rip\s*\)", operand, re.IGNORECASE):
            return constant(Address(found[1]))
        found = re.fullmatch(r"(-?\w+)?\s*[\[(]\s*([%\w.]+)\s*[\])]", operand)
        if not found:
            return None
        offset = number(found[1]) if found[1] else 0
        if offset is None:
            raise Unsupported(f"the address {operand}")
        base = self.run.get(register(found[2])) if _is_register(found[2]) else constant(Address(found[2]))
        return arithmetic(operator.add, (1 << 64) - 1, base, constant(offset)) if offset else base

    def memory_first(self, operands: list[str]) -> list[str]:
        """herd also takes `lock cmpxchgl (x),%ebx`, which an assembler does not."""
        return sorted(operands, key=lambda operand: self.address(operand) is None)

    def get(self, operand: str) -> Value:
        if (address := self.address(operand)) is not None:
            return self.run.read(address)[1]
        if _is_register(operand):
            return apply(lambda v: narrow(v, self.mask), self.run.get(register(operand)))
        if operand.startswith("$"):
            known = number(operand[1:])
            return constant(known & self.mask if known is not None else Address(operand[1:]))
        if (known := number(operand)) is not None and self.run.test.arch == "X86":
            return constant(known & self.mask)
        raise Unsupported(f"the operand {operand}")

    def put(self, operand: str, value: Value, *order: str) -> None:
        if (address := self.address(operand)) is not None:
            self.run.write(address, value, *order)
        else:
            self.run.set(register(operand), value)

    def flags(self, result: Value) -> None:
        sign = (self.mask >> 1) + 1
        self.run.set("flags", apply(lambda v: v - 2 * sign if isinstance(v, int) and v & sign else v, result))

    def change(self, operand: str, function: Callable[[int, int], int], by: Value, locked: bool) -> None:
        """Read, modify, write: one atomic step if locked."""
        address = self.address(operand)
        if address is None:
            if locked:
                raise Unsupported("a lock prefix without a memory operand")
            result = arithmetic(function, self.mask, self.get(operand), by)
            self.run.set(register(operand), result)
        else:
            order = ("locked",) if locked else ()
            event, old = self.run.read(address, *order)
            result = arithmetic(function, self.mask, old, by)
            self.run.write(address, result, *order, rmw=event if locked else None)
        self.flags(result)


def _exchange(made: _Operands, memory: str, other: str) -> None:
    """XCHG with memory locks by itself (Intel SDM vol. 2, XCHG)."""
    address, held = made.address(memory), made.get(other)
    if address is None:
        made.put(other, made.get(memory))
        made.put(memory, held)
        return
    event, old = made.run.read(address, "locked")
    made.run.write(address, held, "locked", rmw=event)
    made.put(other, old)


def _exchange_add(made: _Operands, memory: str, other: str, locked: bool) -> None:
    address = made.address(memory)
    if address is None:
        raise Unsupported("xadd between registers")
    order = ("locked",) if locked else ()
    event, old = made.run.read(address, *order)
    result = arithmetic(operator.add, made.mask, old, made.get(other))
    made.run.write(address, result, *order, rmw=event if locked else None)
    made.put(other, old)
    made.flags(result)


def _compare_exchange(made: _Operands, memory: str, other: str, locked: bool) -> None:
    """If RAX equals what is there, write `other`; otherwise load RAX. Locked, it is a full barrier either way."""
    address = made.address(memory)
    if address is None:
        raise Unsupported("cmpxchg between registers")
    order = ("locked",) if locked else ()
    event, old = made.run.read(address, *order)
    difference = arithmetic(operator.sub, made.mask, made.get("RAX"), old)
    made.flags(difference)
    if not made.run.known(difference):
        made.run.write(address, made.get(other), *order, rmw=event if locked else None)
    else:
        made.run.set("rax", old)
