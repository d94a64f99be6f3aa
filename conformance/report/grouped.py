"""Violations by the schedule that shows them: one schedule often breaks several clauses, and is told once.

What is shown first of several schedules is not always the one with the fewest switches: a switch counts as `SWITCH` steps,
so that nobody reads 33 steps where 21 with one switch more would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conformance.report.lines import plural
from conformance.report.model import ClauseRow, Schedule
from conformance.verdict.clause import Status

SWITCH = 4
"""Steps that a switch between lanes is as hard to read as."""
SAYS_MOST = ("end-to-end", "architecture", "linux")


class Group(NamedTuple):
    """Clauses that one schedule breaks. The first says most, and the schedule is its own; `hint` is the smallest discipline
    that the schedule does not follow either: often where to look.
    """

    rows: tuple[ClauseRow, ...]
    hint: ClauseRow | None = None

    @property
    def first(self) -> ClauseRow:
        return self.rows[0]

    @property
    def schedule(self) -> Schedule | None:
        return self.first.counterexample

    @property
    def clauses(self) -> tuple[str, ...]:
        return tuple(row.id for row in self.rows)


def groups(rows: Sequence[ClauseRow], status: Status = Status.VIOLATED) -> list[Group]:
    """All rows of that status, each in one group; those that break most first."""
    found: list[Group] = []
    for implementation in dict.fromkeys(row.implementation for row in rows):
        mine = [row for row in rows if row.implementation == implementation]
        found += _grouped([row for row in mine if row.status is status], mine)
    return found


def _grouped(left: list[ClauseRow], every: Sequence[ClauseRow]) -> Iterator[Group]:
    place = {row.id: n for n, row in enumerate(every)}
    while left:
        most = min(left, key=lambda row: (-len(_broken(row, left)), _says(row), _effort(row)))
        together = _broken(most, left)
        shown = min(
            (r for r in together if len(_broken(r, together)) == len(together)), key=lambda r: (_says(r), _effort(r))
        )
        others = sorted((r for r in together if r is not shown), key=lambda r: (_says(r), place[r.id]))
        yield Group((shown, *others), _hint(shown, every))
        left = [row for row in left if row not in together]


def _broken(by: ClauseRow, rows: Sequence[ClauseRow]) -> list[ClauseRow]:
    """Which of the rows the row's own schedule breaks; at least the row itself."""
    breaks = by.counterexample.breaks if by.counterexample else ()
    return [row for row in rows if row is by or row.id in breaks]


def _says(row: ClauseRow) -> int:
    return SAYS_MOST.index(row.authority)


def _effort(row: ClauseRow) -> tuple[int, int]:
    found = row.counterexample
    return (SWITCH * found.switches + found.steps, found.switches) if found else (0, 0)


def _hint(shown: ClauseRow, every: Sequence[ClauseRow]) -> ClauseRow | None:
    """The smallest that was found; else the first on the way that the profile does not judge: it may tell where to look."""
    if shown.status is not Status.VIOLATED or not shown.counterexample:
        return None
    by = {row.id: row for row in every if row.kind == "discipline"}
    near = [by[name] for name in shown.counterexample.breaks if name in by]
    found = [row for row in near if row.status is Status.DEVIATES and row.counterexample]
    return min(found, key=_effort, default=next((row for row in near if row.status is Status.NOT_APPLICABLE), None))


def hinted(row: ClauseRow) -> str:
    """What is said of a discipline that is a hint."""
    if found := row.counterexample:
        cost = f"{plural(found.switches, 'switch')}, {plural(found.steps, 'step')}" if found.rows else found.scenario
        return f"{row.id}, a discipline, is not followed either: {found.reason} ({cost})"
    return f'{row.id}, a discipline that profile {row.profile} does not judge, is not followed: "{row.statement}"'
