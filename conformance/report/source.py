"""The text of the lines that a schedule names, where the implementation's source can be read: file:line says where."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from conformance.adapters.native.described import described
from conformance.adapters.registry import AdapterError, Implementation
from conformance.report.model import BreakdownRow, ClauseRow
from conformance.roles.printable import printable

Shown = TypeVar("Shown", ClauseRow, BreakdownRow)
LONGEST = 100
"""Characters of a line that are kept."""


def with_source(rows: Sequence[Shown], implementation: Implementation) -> tuple[Shown, ...]:
    """The rows, each schedule with the text of its lines."""
    files = _files(implementation)
    return tuple(_told(row, files) for row in rows) if files else tuple(rows)


def _told(row: Shown, files: dict[str, Path]) -> Shown:
    found = row.counterexample
    sites = dict.fromkeys(site for step in found.rows for site in step.sites if site) if found else ()
    texts = {site: text for site in sites if (text := _line(site, files))}
    return replace(row, counterexample=replace(found, source=texts)) if found and texts else row


def _line(site: str, files: dict[str, Path]) -> str:
    name, _, number = site.rpartition(":")
    if name not in files or not number.isdecimal():
        return ""
    try:
        lines = files[name].read_text(errors="replace").splitlines()
    except OSError:
        return ""
    text = lines[int(number) - 1].strip() if 0 < int(number) <= len(lines) else ""
    return printable(text[:LONGEST])


def _files(implementation: Implementation) -> dict[str, Path]:
    """By name, those of the program; a name that two of them have says nothing."""
    found: dict[str, set[Path]] = {}
    for path in _all(implementation):
        found.setdefault(path.name, set()).add(path.resolve())
    return {name: next(iter(paths)) for name, paths in found.items() if len(paths) == 1}


def _all(implementation: Implementation) -> Iterator[Path]:
    kind, _, argument = implementation.spec.partition(":")
    if kind == "exec":
        yield from (path for word in _words(argument) if (path := Path(word)).is_file())
    if kind != "native":
        return
    try:
        description = described(argument).description
    except AdapterError:
        return
    folder = Path(argument).parent
    sources = [folder / source for source in description.sources]
    yield from sources
    folders = {path.parent for path in sources}
    folders |= {folder / flag[2:] for flag in description.cflags if flag.startswith("-I") and len(flag) > 2}
    yield from (header for place in sorted(folders) for header in sorted(place.glob("*.h")))


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []
