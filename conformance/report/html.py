"""The report as one HTML file: no network, readable without scripts. What others wrote is escaped by jinja2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any

import jinja2
from markupsafe import Markup, escape

from conformance.report.glossary import used
from conformance.report.grouped import Group, groups, hinted
from conformance.report.lines import MARKS, plural
from conformance.report.model import ClauseRow, Report
from conformance.report.overview import told
from conformance.report.pages import AUTHORITY, cost, elsewhere, more_of, replay_line
from conformance.report.svg import arrow_kinds, diagram
from conformance.report.terminal import summary
from conformance.verdict.clause import Status
from conformance.verdict.evidence import widest, within

STEPS = re.compile(r"\b[Ss]teps? \d+(?:(?:, | and )\d+)*")
NUMBER = re.compile(r"\d+")


def html(report: Report) -> str:
    return _environment().get_template("report.html.j2").render(
        report=report,
        run=report.run,
        summary=summary(report),
        state={0: "pass", 1: "fail"}.get(report.run.exit_status, "open"),
        violations=groups(report.clauses),
        deviations=groups(report.clauses, Status.DEVIATES),
        witnesses=[Group((row,)) for row in report.clauses if row.status is Status.OBSERVED and row.counterexample],
        sections=_sections(report),
        bounds=widest(row.extent for row in report.clauses if row.extent),
        anchors=_anchors(report),
        words=used(_texts(report)),
    )  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("conformance.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "diagram": diagram,
        "arrow_kinds": arrow_kinds,
        "elsewhere": elsewhere,
        "replay_line": replay_line,
        "cost": cost,
        "more_of": more_of,
        "hinted": hinted,
        "leads": {"can": "✗ it can still come to this", "cannot": "✓ then it never comes to this"},
        "plural": plural,
        "told": told,
        "within": within,
        "authority": AUTHORITY,
        "marks": {status: mark for status, (_, mark) in MARKS.items()},
        "css": lambda status: status.value.lower().replace(" ", "-"),
        "anchor": anchor,
        "linked": linked,
    }
    return made


def linked(sentence: str, schedule: str) -> Markup:
    """A sentence whose step numbers lead to these steps."""

    def lead(found: re.Match[str]) -> str:
        return NUMBER.sub(rf'<a href="#{escape(schedule)}/\g<0>">\g<0></a>', found[0])

    return Markup(STEPS.sub(lead, str(escape(sentence))))


def _texts(report: Report) -> Iterator[str]:
    """What the page says of schedules: the words in it go along."""
    for row in report.clauses:
        yield row.status.value
        if found := row.counterexample:
            yield from (row.statement, found.recovery, found.reason, *found.why, "at rest" * found.at_rest)
            for step in found.rows:
                yield from (*step.texts, *step.changes)


def anchor(row: ClauseRow, report: Report) -> str:
    """What a link to a clause's schedule ends in; of implementations after the first with their number."""
    number = report.run.implementations.index(row.implementation)
    return f"{row.id}@{number + 1}" if number else row.id


def _anchors(report: Report) -> dict[tuple[str, str], str]:
    """By implementation and clause: where the schedule is shown that breaks it, or shows what it allows."""
    found: dict[tuple[str, str], str] = {}
    shown = [*groups(report.clauses), *groups(report.clauses, Status.DEVIATES)]
    for group in shown:
        found |= {(row.implementation, row.id): anchor(group.first, report) for row in group.rows}
    for row in report.clauses:
        if row.breakdown:
            found[row.implementation, row.id] = f"breakdown-{row.breakdown}"
        if row.status is Status.OBSERVED and row.counterexample:
            found[row.implementation, row.id] = anchor(row, report)
    return found


def _sections(report: Report) -> list[tuple[str, Any]]:
    """By section: each clause, and by implementation what became of it."""
    titles = list(dict.fromkeys(row.section for row in report.clauses))
    ordered = sorted(report.clauses, key=lambda row: titles.index(row.section))
    found: list[tuple[str, Any]] = []
    for title, rows in groupby(ordered, key=lambda row: row.section):
        clauses: dict[str, dict[str, ClauseRow]] = {}
        for row in rows:
            clauses.setdefault(row.id, {})[row.implementation] = row
        found.append((title, clauses))
    return found
