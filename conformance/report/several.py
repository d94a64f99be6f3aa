"""More than one run has shown: implementations side by side, and what each choice in a schedule would have led to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from conformance.adapters.registry import DEFAULT, Implementation
from conformance.adapters.source import Fault
from conformance.report.grouped import groups
from conformance.report.model import BreakdownRow, ClauseRow, Elsewhere, Instead, Report, RunSummary
from conformance.report.rows import words_of
from conformance.roles.printable import printable
from conformance.search.replay import ReplayError
from conformance.search.words import Words
from conformance.verdict.again import elsewhere
from conformance.verdict.choices import Choice, every_choice
from conformance.verdict.clause import Status

FORESEEN = 20_000
"""States that are looked at to say what a choice leads to, at most."""


def joined(reports: Sequence[Report]) -> Report:
    """Of runs that were asked for the same, each of another implementation."""
    names = [name for report in reports for name in report.run.implementations]
    if len(set(names)) < len(names):
        reports = [called(report, "".join(report.run.asked.adapters)) for report in reports]
    runs = [report.run for report in reports]
    worst = next((status for status in (130, 1, 2) if any(run.exit_status == status for run in runs)), 0)
    run = RunSummary(
        complete=all(run.complete for run in runs),
        ended=max((run.ended for run in runs), key=bool),
        asked=msgspec.structs.replace(runs[0].asked, adapters=tuple(a for run in runs for a in run.asked.adapters)),
        implementations=_each(run.implementations for run in runs),
        versions=_each(run.versions for run in runs),
        editions=tuple(sorted(_each(run.editions for run in runs))),
        profiles=_each(run.profiles for run in runs),
        bounds={name: bounds for run in runs for name, bounds in run.bounds.items()},
        catalogue=runs[0].catalogue,
        assumptions=_each(run.assumptions for run in runs),
        exit_status=msgspec.convert(worst, Literal[0, 1, 2, 130]),
        left_out=tuple(sorted(set.intersection(*(set(run.left_out) for run in runs)))),
        missing=_each(run.missing for run in runs),
    )
    clauses, breakdowns = list[ClauseRow](), list[BreakdownRow]()
    for report in reports:
        first = len(breakdowns)
        clauses += (
            msgspec.structs.replace(row, breakdown=row.breakdown + first) if row.breakdown else row
            for row in report.clauses
        )
        breakdowns += report.breakdowns
    return msgspec.structs.replace(reports[0], run=run, clauses=tuple(clauses), breakdowns=tuple(breakdowns))


def called(report: Report, name: str) -> Report:
    """By what was typed, say, for two classes may have one name."""
    name = printable(name) or DEFAULT
    rows = tuple(msgspec.structs.replace(row, implementation=name) for row in report.clauses)
    broken = tuple(msgspec.structs.replace(each, implementation=name) for each in report.breakdowns)
    return msgspec.structs.replace(
        report, clauses=rows, breakdowns=broken, run=msgspec.structs.replace(report.run, implementations=(name,))
    )


def _each(parts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part))


def compared(report: Report, implementations: Sequence[Implementation]) -> Report:
    """With what every violation's schedule does on the other implementations."""
    there = _well_behaved(report, implementations)
    return msgspec.structs.replace(report, clauses=tuple(_compared(row, there) for row in report.clauses))


def _well_behaved(report: Report, implementations: Sequence[Implementation]) -> list[Implementation]:
    """Those that can be asked again here: what ends or holds up a process would end this one."""
    bad = {row.implementation for row in report.clauses if row.status in (Status.CRASH, Status.TIMEOUT)}
    return [each for each in implementations if not {each.name, each.spec} & bad]


def _compared(row: ClauseRow, implementations: Sequence[Implementation]) -> ClauseRow:
    found = row.counterexample
    if row.status is not Status.VIOLATED or not found or not found.rows or not found.replay:
        return row
    there: list[Elsewhere] = []
    for other in implementations:
        if row.implementation not in (other.name, other.spec) and (does := elsewhere(found.replay, other)):
            there.append(Elsewhere(other.name, *does))
    return msgspec.structs.replace(row, counterexample=msgspec.structs.replace(found, elsewhere=tuple(there)))


def foreseen(report: Report, implementations: Sequence[Implementation]) -> Report:
    """With what each choice would have led to, of the schedules that pages are made of."""
    shown = {(group.first.implementation, group.first.id) for group in groups(report.clauses)}
    by_name = {name: each for each in _well_behaved(report, implementations) for name in (each.spec, each.name)}
    rows = tuple(
        _foreseen(row, by_name[row.implementation])
        if (row.implementation, row.id) in shown and row.implementation in by_name
        else row
        for row in report.clauses
    )
    return msgspec.structs.replace(report, clauses=rows)


def _foreseen(row: ClauseRow, implementation: Implementation) -> ClauseRow:
    found = row.counterexample
    if not found or not found.rows or not found.replay:
        return row
    try:
        _, choices = every_choice(found.replay, implementation, most=FORESEEN)
    except (Fault, ReplayError):
        return row
    words = Words(words_of(found.found()).architecture)
    steps = tuple(
        msgspec.structs.replace(step, instead=_instead(choices.get(step.number, ()), words) or step.instead)
        for step in found.rows
    )
    return msgspec.structs.replace(row, counterexample=msgspec.structs.replace(found, rows=steps))


def _instead(choices: Sequence[Choice], words: Words) -> tuple[Instead, ...]:
    """One for each agent and what it would have done first; of several such the one that leads furthest."""
    best: dict[tuple[str, str], Instead] = {}
    for choice in (choice for choice in choices if not choice.taken):
        text = printable(words.told(choice.facts[0])) if choice.facts else ""
        known = best.get((choice.agent, text))
        if known is None or known.leads == "cannot":
            best[choice.agent, text] = Instead(printable(choice.agent), text, choice.leads)
    return tuple(best.values())
