"""Markdown for a pull request: what is violated, each schedule folded below its reason, and counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conformance.report.grouped import Group, groups, hinted
from conformance.report.lanes import WIDTH, lane_table, plain
from conformance.report.lines import plural
from conformance.report.model import BreakdownRow, ClauseRow, Report
from conformance.report.overview import told
from conformance.report.pages import cost, elsewhere, more_of, replay_line
from conformance.report.terminal import summary
from conformance.verdict.clause import Status

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~@&$])")


def markdown(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def escaped(text: str) -> str:
    """As it stands: no emphasis, link, HTML or mention."""
    return SPECIAL.sub(r"\\\1", text).replace("\\@", "&#64;").replace("\\<", "&lt;").replace("\\&", "&amp;")


def fenced(text: str) -> str:
    """A block of code that its own text cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _lines(report: Report) -> Iterator[str]:
    yield f"## intack: {escaped(', '.join(report.run.implementations))}\n"
    yield f"{escaped(summary(report))}\n"
    for unmet in report.run.unmet:
        yield f"- {escaped(unmet)}"
    for group in groups(report.clauses):
        yield from _violation(group, len(report.run.implementations) > 1)
    for broken in report.breakdowns:
        yield from _breakdown(broken)
    deviations = [row for row in report.clauses if row.status is Status.DEVIATES]
    if deviations:
        yield f"\n{plural(len(deviations), 'discipline')} not followed, which alone fails nothing: "
        yield escaped(", ".join(dict.fromkeys(row.id for row in deviations))) + "\n"
    yield from _table(report)


def _violation(group: Group, several: bool) -> Iterator[str]:
    row, found = group.first, group.schedule
    recovery = f" ({found.recovery})" if found and found.recovery else ""
    by = f" on {escaped(row.implementation)}" if several else ""
    yield f"\n### {escaped(', '.join(group.clauses))}: {row.status.value}{recovery}{by}\n"
    for each in group.rows:
        yield f"- **{escaped(each.id)}** {each.modality}: {escaped(each.statement)} "
        yield f"  ({escaped('; '.join(map(str, each.sources)))})"
    yield ""
    if row.suspicion:
        yield "A suspicion: nobody has read what this clause rests on.\n"
    if row.expected:
        yield f"Expected: {escaped(row.expected)}\n"
    if not found:
        return
    yield escaped(" ".join(found.why) or found.reason) + "\n"
    if group.hint:
        yield f"Hint: {escaped(hinted(group.hint))}\n"
    for other in found.elsewhere:
        yield escaped(f"On {elsewhere(other.implementation, other.fits, other.breaks, found.steps)}.") + "\n"
    if found.rows:
        table = plain(lane_table(found.found(), row.id, width=WIDTH, all_steps=True))
        yield f"<details><summary>The schedule: {escaped(found.scenario)}, {cost(found)}</summary>\n"
        yield f"{fenced(table)}\n\n</details>\n"
    if found.replay:
        yield fenced(replay_line(found))


def _breakdown(broken: BreakdownRow) -> Iterator[str]:
    found = broken.counterexample
    yield f"\n### {broken.status.value} of {escaped(broken.implementation)}: {escaped(broken.what)}\n"
    yield f"Not judged: {escaped(', '.join(broken.clauses))}\n"
    for line in more_of(broken):
        yield escaped(line) + "\n"
    if found:
        table = plain(lane_table(found.found(), "", width=WIDTH, all_steps=True))
        yield f"<details><summary>The schedule: {escaped(found.scenario)}, {cost(found)}</summary>\n"
        yield f"{fenced(table)}\n\n</details>\n"
        yield fenced(replay_line(found)) if found.replay else ""


def _table(report: Report) -> Iterator[str]:
    names = report.run.implementations
    yield "\n<details><summary>All clauses</summary>\n"
    yield f"| clause | {' | '.join(map(escaped, names))} |"
    yield f"| --- |{' --- |' * len(names)}"
    by: dict[str, dict[str, ClauseRow]] = {}
    for row in report.clauses:
        by.setdefault(row.id, {})[row.implementation] = row
    for name, rows in by.items():
        cells = [escaped(_cell(rows[i])) if i in rows else "" for i in names]
        yield f"| {escaped(name)} | {' | '.join(cells)} |"
    yield "\n</details>"


def _cell(row: ClauseRow) -> str:
    how = told(row)
    return row.status.value if how == row.status.value else f"{row.status.value}, {how}"
