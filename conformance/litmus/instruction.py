"""An instruction of a litmus test as data: what stands in a cell, whatever an architecture makes of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from lark import Lark, Token, Transformer, UnexpectedInput, v_args

from conformance.litmus.values import Address, Unsupported, number


class Name(NamedTuple):
    """A register, a label, a location, a condition or a barrier's domain."""

    text: str


class Number(NamedTuple):
    value: int


class Shift(NamedTuple):
    """`LSL #2` and the like: what is done to the operand before it."""

    how: str
    by: int


class Memory(NamedTuple):
    """`[X1,#8]`, `[x]`, `8(%rax)`. `before` is what stands before the brackets."""

    parts: tuple[Operand, ...]
    before: Number | Address | None = None
    write_back: bool = False


Operand = Name | Number | Address | Shift | Memory


class Instruction(NamedTuple):
    name: str
    """In capitals."""
    operands: tuple[Operand, ...]
    text: str
    line: int = 0
    """Of the file."""
    labels: tuple[str, ...] = ()
    locked: bool = False

    @property
    def unsupported(self) -> Unsupported:
        return Unsupported(f"the instruction {self.text}")


class _Label(NamedTuple):
    name: str


@v_args(inline=True)
class _Reader(Transformer[Token, Any]):
    def start(self, *parts: Any) -> Instruction:
        labels = tuple(part.name for part in parts if isinstance(part, _Label))
        *lock, name, operands = parts[len(labels) :] or ("", ())
        return Instruction(name.upper(), operands, "", labels=labels, locked=bool(lock))

    def label(self, name: Token) -> _Label:
        return _Label(str(name))

    def operands(self, *operands: Operand) -> tuple[Operand, ...]:
        return operands

    def name(self, name: Token) -> Name:
        return Name(str(name))

    def shift(self, how: Token, by: Token) -> Shift:
        return Shift(how.upper(), number(by))

    def number(self, text: Token) -> Number:
        return Number(number(text))

    def address(self, name: Token, offset: Token | None = None) -> Address:
        return Address(str(name), number(offset) if offset else 0)

    def before(self, what: Token | Address | None = None) -> Number | Address | None:
        return self.number(what) if isinstance(what, Token) else what

    def memory(self, before: Number | Address | None, *parts: Any) -> Memory:
        written_back = isinstance(parts[-1], Token)
        return Memory(parts[:-1] if written_back else parts, before, written_back)


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("instruction.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", transformer=_Reader(), maybe_placeholders=False)


@cache
def read_cell(text: str) -> Instruction:
    """What stands in a cell; an empty name where only labels do. Raises Unsupported for what is no known form."""
    try:
        made = cast(Instruction, _parser().parse(text))
    except UnexpectedInput as error:
        found = text[error.pos_in_stream :] if error.pos_in_stream is not None else ""
        raise Unsupported(f"the instruction {text} (at {found!r})" if found else f"the instruction {text}") from None
    return made._replace(text=text[text.rindex(":") + 1 :].strip() if made.labels else text)
