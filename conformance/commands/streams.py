"""Standard streams that may be closed, unread, or of an encoding that lacks a character: none of it is a verdict."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


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


def _written(number: int, opened: TextIO | None) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(_Stream(number, "w", closefd=False))
    lines = number == 2 or buffered.isatty() or bool(getattr(opened, "write_through", False))
    encoding = (opened and opened.encoding) or "utf-8"
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=lines)
