"""Litmus tests in herd's format: a few threads of assembly, an initial state, and a question about final states.

    X86_64 SB
    { x=0; y=0; }
     P0          | P1          ;
     movl $1,(x) | movl $1,(y) ;
     movl (y),%eax | movl (x),%eax ;
    exists (0:rax=0 /\\ 1:rax=0)

The grammars are `litmus.lark` and, for what stands in a cell, `instruction.lark`. What the instructions mean is in `x86`
and `aarch64`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from lark import Token, v_args
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from conformance.litmus.condition import TRUE, Condition, Held, Register, Term, conjunction, disjunction, negation
from conformance.litmus.grammar import Damaged, tree
from conformance.litmus.instruction import Instruction, read_cell
from conformance.litmus.values import Address, Concrete, Unsupported, mask, number

ARCHITECTURES = ("X86", "X86_64", "AArch64")
MOST_ELEMENTS = 4096
SIZES = {
    **dict.fromkeys(("char", "int8_t", "uint8_t"), 1),
    **dict.fromkeys(("short", "int16_t", "uint16_t"), 2),
    **dict.fromkeys(("int", "int32_t", "uint32_t"), 4),
    **dict.fromkeys(("int64_t", "uint64_t"), 8),
    **dict.fromkeys(("__int128", "int128_t", "uint128_t", "__uint128"), 16),
}
QUALIFIERS = {"const", "volatile", "unsigned", "signed", "_Atomic"}


class Place(NamedTuple):
    """What the initial state says of a location. `size` is that of an element in bytes, 0 where it is not said."""

    values: tuple[Concrete, ...]
    size: int = 0


@dataclass(frozen=True, slots=True)
class LitmusTest:
    name: str
    arch: str
    registers: Mapping[Register, Concrete]
    """Registers that do not start as 0."""
    memory: Mapping[str, Place]
    """Locations that are named in the initial state."""
    threads: tuple[tuple[Instruction, ...], ...]
    quantifier: str
    """exists, ~exists or forall, or empty where nothing is asked: then the states are the answer. An Observation is
    about the body alone, whichever it is."""
    condition: Condition
    filtered: Condition | None = None
    """Executions that do not satisfy it are not counted."""
    listed: tuple[Term, ...] = ()
    """What `locations` names: part of a state beside the terms of the condition."""

    def initial(self, at: Address, size: int) -> Concrete:
        """What `size` bytes hold at first, lowest byte first. Raises Unsupported for a part of an address."""
        place = self.memory.get(at.symbol)
        if place is None or at.offset < 0:
            return 0
        if not place.size and isinstance(place.values[0], int):
            return place.values[0] >> 8 * at.offset & mask(size)
        word, width = 0, place.size or size
        for n in range(at.offset // width, min(-(-(at.offset + size) // width), len(place.values))):
            value = place.values[n]
            if isinstance(value, int):
                shift = 8 * (n * width - at.offset)
                word |= (value & mask(width)) << shift if shift >= 0 else (value & mask(width)) >> -shift
            elif n * width == at.offset and size == width:
                return value
            else:
                raise Unsupported(f"{size} bytes at {at}, a part of the address {value}")
        return word & mask(size)


def parse(text: str) -> LitmusTest:
    """Raises Damaged for what is no litmus test, Unsupported for one that herd would read and this does not."""
    first = re.match(r"\s*(\w+)[ \t]+\S", text)
    if not first:
        raise Damaged("line 1: the first line must be an architecture and a name, such as X86_64 SB")
    if first[1] not in ARCHITECTURES:
        raise Unsupported(f"architecture {first[1]}; there are: {', '.join(ARCHITECTURES)}")
    try:
        return _Reader(pointer=4 if first[1] == "X86" else 8).transform(tree(text))
    except VisitError as error:
        raise error.orig_exc from None


class _Initial(NamedTuple):
    values: tuple[Concrete, ...]
    listed: bool


@v_args(inline=True)
class _Reader(Transformer_NonRecursive):
    """From the tree of a file to the test, from left to right: the question is read knowing all that is before it."""

    def __init__(self, pointer: int) -> None:
        super().__init__()
        self.pointer = pointer
        self.registers: dict[Register, Concrete] = {}
        self.memory: dict[str, Place] = {}
        self.symbolic: list[tuple[Token, Concrete]] = []
        self.threads: list[list[Instruction]] = []
        self.labels: list[tuple[str, ...]] = []
        self.filtered: Condition | None = None
        self.listed: tuple[Term, ...] = ()
        self.asked: tuple[str, Condition] | None = None

    def start(self, arch: Token, name: Token, *_: Any) -> LitmusTest:
        for n, left in enumerate(self.labels):
            if left:
                self.threads[n].append(Instruction("NOP", (), "", labels=left))
        for register, value in self.symbolic:
            self.registers[self.symbolic_place(register)] = value
        if not self.threads:
            raise Damaged("no threads: expected P0 | P1 | ... ; after the initial state")
        if not self.asked and not self.listed:
            raise Damaged("no question: expected exists, ~exists, forall or locations after the threads")
        for register in self.registers:
            if register.thread >= len(self.threads):
                raise Damaged(f"the initial state speaks of thread {register.thread}; there are {len(self.threads)}")
        quantifier, condition = self.asked or ("", TRUE)
        return LitmusTest(
            str(name), str(arch), self.registers, self.memory, tuple(map(tuple, self.threads)), quantifier, condition,
            self.filtered, self.listed,
        )  # fmt: skip

    # The initial state

    def word(self, word: Token) -> Token:
        return word

    def register(self, name: Token) -> str:
        return str(name)

    def subscript(self, count: Token) -> int:
        return number(count)

    def scalar(self, value: Concrete) -> _Initial:
        return _Initial((value,), False)

    def elements(self, *values: Concrete) -> _Initial:
        return _Initial(values, True)

    def declared(self, *parts: Any) -> None:
        words = [part for part in parts if isinstance(part, Token)]
        count = next((part for part in parts if type(part) is int), None)
        register = next((part for part in parts if type(part) is str), "")
        initial = next((part for part in parts if isinstance(part, _Initial)), _Initial((0,), False))
        name = words.pop()
        size = self._size(words)
        if count is None and (initial.listed or len(initial.values) != 1):
            raise self._damaged(name, f"{name} is no array, such as {name}[{len(initial.values)}]")
        if name.type == "SYMBOLIC":
            self.symbolic.append((name, initial.values[0]))
        elif register:
            self.registers[Register(self._thread(name), register)] = initial.values[0]
        elif name.type != "NAME":
            raise self._damaged(name, "expected a location or a register")
        elif count is None:
            address = isinstance(initial.values[0], Address)
            self.memory[str(name)] = Place(initial.values, max(size, self.pointer) if address and size else size)
        else:
            values = initial.values if initial.listed else initial.values * min(count, MOST_ELEMENTS)
            if count != len(values):
                raise self._damaged(name, f"{name} has {count} elements, and {len(values)} are given")
            self.memory[str(name)] = Place(values, size or 4)

    def _size(self, words: list[Token]) -> int:
        if "*" in words:
            return self.pointer
        types = [word for word in words if word not in QUALIFIERS]
        for name in types:
            if name != "long" and name not in SIZES:
                raise Unsupported(f"line {name.line}, column {name.column}: the type {name}")
        if "long" in types:
            return 8 if self.pointer == 8 or len(types) > 1 else 4
        return SIZES[types[0]] if types else 4 if words else 0

    def number(self, text: Token) -> int:
        return number(text)

    def address(self, name: Token, offset: Token | None = None) -> Address:
        return Address(str(name), number(offset) if offset else 0)

    def element_address(self, name: Token, index: Token) -> Address:
        """In bytes. An element beyond the end is one that only comparing for equality may speak of."""
        size = self.memory[name].size if name in self.memory else 0
        if not size:
            raise self._damaged(name, f"{name}[{index}], and {name} is not declared with its size")
        return Address(str(name), size * number(index))

    @staticmethod
    def _damaged(at: Token, what: str) -> Damaged:
        return Damaged(f"line {at.line}, column {at.column}: {what}")

    def _thread(self, name: Token) -> int:
        digits = name.removeprefix("P")
        if not digits.isdecimal():
            raise self._damaged(name, f"{name} is no thread, such as 0 or P0")
        return number(digits)

    # The threads

    def cell(self, text: Token | None = None) -> Token | None:
        return text

    def row(self, *cells: Token | None) -> None:
        if cells == (None,):
            return None  # a semicolon by itself
        if not self.threads:
            return self._heading(cells)
        if len(cells) > len(self.threads):
            extra = next((cell for cell in cells[len(self.threads) :] if cell), None)
            where = f"line {extra.line}, column {extra.column}: " if extra else ""
            raise Damaged(f"{where}the row has more columns than the heading")
        for n, cell in enumerate(cells):
            if cell:
                self._instruction(n, cell)
        return None

    def _heading(self, cells: tuple[Token | None, ...]) -> None:
        for n, cell in enumerate(cells):
            if cell is None or cell.strip() != f"P{n}":
                if cell and ":" in cell:
                    raise Unsupported(f"line {cell.line}, column {cell.column}: the column heading {cell.strip()}")
                where = f"line {cell.line}, column {cell.column}: " if cell else ""
                found = cell.strip() if cell else "nothing"
                raise Damaged(f"{where}the columns are headed P0 | P1 | ... ;, found {found!r} in place of P{n}")
            self.threads.append([])
            self.labels.append(())

    def _instruction(self, thread: int, cell: Token) -> None:
        try:
            made = read_cell(" ".join(cell.split()))
        except Unsupported as error:
            raise Unsupported(f"line {cell.line}, column {cell.column}: {error}") from None
        labels = self.labels[thread] + made.labels
        for label in made.labels:
            if label in self.labels[thread] or any(label in earlier.labels for earlier in self.threads[thread]):
                raise Damaged(f"line {cell.line}, column {cell.column}: label {label} stands twice in P{thread}")
        self.labels[thread] = labels if not made.name else ()
        if made.name:
            self.threads[thread].append(made._replace(labels=labels, line=cell.line or 0))

    # The question

    def locations(self, _: Token, *items: Any) -> None:
        self.listed += tuple(term for item in items for term in item)

    def item(self, place: Term, *_: Token) -> tuple[Term, ...]:
        """Of an array all elements."""
        if isinstance(place, Address) and not place.offset and place.symbol in self.memory:
            values, size = self.memory[place.symbol]
            return tuple(Address(place.symbol, n * size) for n in range(len(values)))
        return (place,)

    def fault(self, _: Token) -> NoReturn:
        raise Unsupported("a question about faults")

    def filter(self, _: Token, condition: Condition) -> None:
        self.filtered = condition if self.filtered is None else conjunction(self.filtered, condition)

    def quantified(self, quantifier: Token, condition: Condition, *_: None) -> None:
        """What stands after `with`, a quantifier for each of other models, is herd's past: read, and left."""
        word = "".join(quantifier.replace("not", "~").split())
        self.asked = ("exists" if word == "final" else word, condition)

    def observed_states(self, _: Token, *states: Condition) -> None:
        self.asked = ("exists", disjunction(*states))

    def observed(self, *parts: Condition) -> Condition:
        return conjunction(*parts) if parts else TRUE

    def kind(self, *_: Token) -> None:
        return None

    def proposition(self, *parts: Condition) -> Condition:
        return disjunction(*parts)

    def conjunction(self, *parts: Condition) -> Condition:
        return conjunction(*parts)

    def implication(self, left: Condition, right: Condition | None = None) -> Condition:
        return left if right is None else disjunction(negation(left), right)

    def negation(self, _: Token, part: Condition) -> Condition:
        return negation(part)

    def group(self, inner: Condition) -> Condition:
        return inner

    def truth(self, word: Token) -> Condition:
        return TRUE if word == "true" else negation(TRUE)

    def equal(self, place: Term, wanted: _Initial | Held | Concrete) -> Condition:
        return self._compared(place, wanted)

    def different(self, place: Term, wanted: _Initial | Held | Concrete) -> Condition:
        return negation(self._compared(place, wanted))

    def _compared(self, place: Term, wanted: _Initial | Held | Concrete) -> Condition:
        if not isinstance(wanted, _Initial):
            return Condition("=", left=place, right=wanted)
        if not isinstance(place, Address) or not (size := self.memory.get(place.symbol, Place(())).size):
            raise Damaged(f"{place} is compared with the values of an array, and is none")
        cells = (place._replace(offset=place.offset + n * size) for n in range(len(wanted.values)))
        return conjunction(*(Condition("=", left=c, right=v) for c, v in zip(cells, wanted.values, strict=True)))

    def wanted(self, what: Term | Concrete) -> Concrete:
        assert not isinstance(what, Register)
        return what

    def held(self, place: Term) -> Held:
        return Held(place)

    def register_place(self, thread: Token, name: str) -> Register:
        made = Register(self._thread(thread), name)
        if made.thread >= len(self.threads):
            raise self._damaged(thread, f"the question speaks of thread {made.thread}; there are {len(self.threads)}")
        return made

    def symbolic_place(self, name: Token) -> Register:
        """The thread of a symbolic register that stands without one is the one that uses it."""
        used = re.compile(rf"{re.escape(name)}\b")
        threads = [n for n, lines in enumerate(self.threads) if any(used.search(line.text) for line in lines)]
        if len(threads) != 1:
            raise self._damaged(name, f"{name} is used by {len(threads)} threads; write 0:{name}")
        return Register(threads[0], str(name))

    def location(self, *parts: Token) -> Address:
        name, *offset = (part for part in parts if part.type != "STAR")
        return self.address(name, *offset)

    def element(self, name: Token, index: Token) -> Address:
        return self.element_address(name, index)
