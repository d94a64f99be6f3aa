"""What became of mutants, kept in a file place by place, so that a run that was ended goes on where it was.

A line a place, in the order of the audit: a hash of everything that the result rests on, the place, and the mutants judged
there. From the first line that does not fit on, all is found out anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from conformance.adapters.registry import Implementation
from conformance.mutation.kill import Fate, Judged, Only, Place
from conformance.mutation.mutant import Mutant
from conformance.verdict.ingredients import declared, hashed, machinery


class Fated(msgspec.Struct, frozen=True, array_like=True):
    """One mutant as it left a place."""

    mutant: Mutant
    routines: tuple[str, ...]
    role: str
    fate: Fate
    detail: str
    where: str
    lost: tuple[str, ...]
    """The clauses that it never exercised there."""


class Entry(msgspec.Struct, frozen=True):
    rests_on: str
    place: str
    fates: tuple[Fated, ...]


class JournalFile:
    """A journal of one audit."""

    def __init__(self, path: Path, implementation: Implementation, only: Only) -> None:
        self._path = path
        self._rests_on = hashed(machinery(), declared(implementation), only)[:16]
        self._lines = [line for line in _read(path).splitlines(keepends=True) if line.endswith(b"\n")]
        self._next, self._begun = 0, False

    def known(self, place: Place, found: dict[Mutant, Judged]) -> bool:
        if self._begun or self._next >= len(self._lines):
            return False
        try:
            entry = msgspec.json.decode(self._lines[self._next], type=Entry)
        except msgspec.DecodeError:
            return False
        if (entry.rests_on, entry.place) != (self._hash(place), place.name):
            return False
        self._next += 1
        for fated in entry.fates:
            judged = found.setdefault(fated.mutant, Judged(fated.mutant))
            judged.reaches(fated.routines, fated.role, place.name)
            judged.fate, judged.detail, judged.scenario = fated.fate, fated.detail, fated.where
            judged.lose(fated.lost, place.name)
        return True

    def keep(self, place: Place, judged: Sequence[Judged]) -> None:
        fates = tuple(
            Fated(j.mutant, j.routines, j.role, j.fate, j.detail, j.scenario, _lost(j, place.name)) for j in judged
        )
        entry = msgspec.json.encode(Entry(self._hash(place), place.name, fates)) + b"\n"
        if not self._begun:
            self._path.write_bytes(b"".join(self._lines[: self._next]))
            self._begun, self._lines = True, []
        with self._path.open("ab") as file:
            file.write(entry)

    def _hash(self, place: Place) -> str:
        return hashed(self._rests_on, place.said)[:16]


def _lost(judged: Judged, place: str) -> tuple[str, ...]:
    return tuple(sorted(clause for clause, where in judged.lost.items() if place in where))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
