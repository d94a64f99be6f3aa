"""One line a clause: a mark, its id, what it says in a few words, and what that rests on. Bounds once a section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.text import Text

from conformance.report.lines import MARKS, STYLES, hang, shortened
from conformance.report.model import ClauseRow, Report
from conformance.verdict.clause import Status
from conformance.verdict.evidence import widest, within

HOW = 17
"""Columns for the scenarios, or for the word where nothing was explored."""
STATES = 11
ROOMY = 100
"""Columns from which on states have one."""


def overview(report: Report, width: int, *, fancy: bool = False, verbose: bool = False) -> Iterator[Text]:
    rows = sorted(report.clauses, key=lambda row: report.run.implementations.index(row.implementation))
    for (implementation, profile), mine in groupby(rows, key=lambda row: (row.implementation, row.profile)):
        yield from _implementation(f"{implementation} (profile {profile})", list(mine), width, fancy, verbose)


def _implementation(title: str, rows: Sequence[ClauseRow], width: int, fancy: bool, verbose: bool) -> Iterator[Text]:
    roomy, name = width >= ROOMY, max(len(row.id) for row in rows)
    columns = f"{'scenarios':>{HOW}}" + f"{'states':>{STATES}}" * roomy
    yield Text.assemble((f"{title:<{width - len(columns)}}", "bold"), (columns, "dim"))
    sections = dict.fromkeys(row.section for row in rows)
    for section in sections:
        mine = [row for row in rows if row.section == section]
        yield Text()
        yield Text(section, "bold")
        for row in mine:
            yield _line(row, name, width, roomy, fancy)
            if verbose or row.undecided:
                yield from hang("      ", row.evidence, width, style="dim")
            if row.expected:
                yield from hang("      ", f"as expected: {row.expected}", width, style="dim")
        bounds = widest(row.extent for row in mine if row.extent)
        if bounds:
            yield from hang("  ", within(bounds), width, style="dim")


def _line(row: ClauseRow, name: int, width: int, roomy: bool, fancy: bool) -> Text:
    how = told(row)
    states = f"{row.extent.states:,}" if row.extent else ""
    right = f"{how:>{HOW}}" + f"{states:>{STATES}}" * roomy
    lead = f"  {MARKS[row.status][fancy]} {row.id:<{name}}  {row.modality:<8}  "
    room = max(width - len(lead) - len(right) - 1, 12)
    said = shortened(row.statement, room)
    line = Text.assemble((lead, STYLES[row.status]), f"{said:<{room}} ", (right, STYLES[row.status]))
    line.rstrip()
    return line


def told(row: ClauseRow) -> str:
    """How a verdict was come to, in a word or a number."""
    extent, word = row.extent, row.status.value
    if row.status is Status.HELD:
        return str(extent.scenarios) if extent else "one routine alone"
    if extent and extent.found_in:
        return f"in {extent.found_in} of {extent.scenarios}"
    return word
