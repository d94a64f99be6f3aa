"""Text that others wrote, made safe to show: names, reasons, locations and errors of what is plugged in.

A terminal obeys ESC sequences, marks of writing direction reorder what is read, and a line break could end our line and
begin one that looks like ours. Whatever `str.isprintable` does not count is shown as Python would write it in a string.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def printable(text: str, kept: str = "") -> str:
    """One line, unless line breaks are among the characters to be kept."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Lines stay lines, those after the first indented: none of them can be taken for one of ours."""
    first, *more = text.expandtabs().splitlines() or [""]
    return "\n".join([printable(first), *(f"  {printable(line)}" for line in more)])


def printable_struct(whole: T) -> T:
    """A struct, every text in it printable."""
    return msgspec.convert(_printable(msgspec.to_builtins(whole)), type(whole))


def _printable(part: object) -> object:
    match part:
        case str():
            return printable(part)
        case list() | tuple():
            return [_printable(one) for one in part]
        case dict():
            return {_printable(key): _printable(value) for key, value in part.items()}
        case _:
            return part
