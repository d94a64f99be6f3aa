"""One line a clause: a mark, its id, what it says in a few words, and what that rests on. Bounds once a section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    if len(report.run.implementations) > 1:
        yield from _matrix(report, width, fancy, verbose)
    elif report.clauses:
        first = report.clauses[0]
        title = f"{first.implementation} (profile {first.profile})"
        yield from _implementation(title, report.clauses, width, fancy, verbose)


def _matrix(report: Report, width: int, fancy: bool, verbose: bool) -> Iterator[Text]:
    """Several implementations: a column with a mark for each."""
    names = report.run.implementations
    column = min(max(map(len, names)), max(6, (width - 50) // len(names) - 2)) + 2
    by = {(row.implementation, row.id): row for row in report.clauses}
    heads = "".join(f"{name if len(name) < column else name[: column - 5] + '...':>{column}}" for name in names)
    yield Text(f"{heads:>{width}}", "bold")
    ids = max((len(row.id) for row in report.clauses), default=0)
    for section in dict.fromkeys(row.section for row in report.clauses):
        mine = [row for row in report.clauses if row.section == section]
        yield Text()
        yield Text(section, "bold")
        for row in [row for n, row in enumerate(mine) if row.id not in {other.id for other in mine[:n]}]:
            there = [by.get((name, row.id)) for name in names]
            lead = f"    {row.id:<{ids}}  {row.modality:<8}  "
            room = max(width - len(lead) - column * len(names), 12)
            line = Text(f"{lead}{shortened(row.statement, room - 1):<{room}}")
            for one in there:
                mark = MARKS[one.status][fancy] + " as expected" * bool(one.expected and column > 14) if one else ""
                line.append(f"{mark:>{column}}", STYLES[one.status] if one else "")
            yield line
            evidence: dict[str, list[str]] = {}
            for one in there:
                if one and (verbose or one.undecided) and not one.breakdown:
                    evidence.setdefault(one.evidence, []).append(one.implementation)
            for told, by_whom in evidence.items():
                yield from hang("      ", f"{', '.join(by_whom)}: {told}", width, style="dim")
        if bounds := widest(row.extent for row in mine if row.extent):
            yield from hang("  ", within(bounds), width, style="dim")


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
            if (verbose or row.undecided) and not row.breakdown:
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
