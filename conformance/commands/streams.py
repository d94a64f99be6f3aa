"""Standard streams that may be closed, unread, or of an encoding that lacks a character: none of it is a verdict.

What is written is made printable here, whoever wrote it: on a terminal all but the sequences that colour it, which is for
those to do who know what is theirs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from conformance.roles.printable import printable


def open_streams() -> None:
    """Standard input, output and error, whatever they were opened to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _written(1, sys.stdout), _written(2, sys.stderr)


class UnwritableError(Exception):
    """A standard stream does not take what is written; the message says which, and why."""


class _Stream(io.FileIO):
    """What nobody reads any more is dropped."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError):
                return len(data)
            name = "standard output" if self.fileno() == 1 else "standard error"
            raise UnwritableError(f"cannot write to {name}: {str(error.strerror).lower()}") from None


class _Text(io.TextIOWrapper):
    """Shows what a terminal would obey."""

    def __init__(self, *given: Any, coloured: bool, **named: Any) -> None:
        super().__init__(*given, **named)
        self.kept = "\n\r\t\x1b" if coloured else "\n\r\t"

    def write(self, text: str, /) -> int:
        super().write(printable(text, self.kept))
        return len(text)


def _written(number: int, opened: TextIO | None) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(_Stream(number, "w", closefd=False))
    lines = number == 2 or buffered.isatty() or bool(getattr(opened, "write_through", False))
    encoding = (opened and opened.encoding) or "utf-8"
    coloured = buffered.isatty() or bool(os.environ.get("FORCE_COLOR"))
    return _Text(buffered, encoding, "backslashreplace", line_buffering=lines, coloured=coloured)
