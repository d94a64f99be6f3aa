"""The report for people: a line a clause, a page for every schedule that breaks something, and what it comes to.

Prose has at most 110 columns, tables all that the terminal has; replay lines must survive copying and are not broken.
Colours and line-drawing characters only where the output is a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

from conformance.report.document import row as documented
from conformance.report.grouped import Group, groups
from conformance.report.lanes import UNICODE, WIDTH, plain
from conformance.report.lines import MARKS, STYLES, hang, plural
from conformance.report.model import ClauseRow, Report
from conformance.report.overview import overview as clause_lines
from conformance.report.pages import PROSE, Look, block, breakdown_page, cost, page
from conformance.verdict.clause import Status, Verdict


def show(
    report: Report,
    console: Console,
    *,
    quiet: bool = False,
    verbose: bool = False,
    assumptions: bool = False,
    all_steps: bool = False,
    handle: str = "",
) -> None:
    """Print it: all of it, or in one line. `handle` is what it can be called where a replay string is wanted."""
    look = _look(console, Look(verbose=verbose, all_steps=all_steps, handle=handle))
    told = [Text(summary(report), _style(report))] if quiet else lines(report, look, assumptions=assumptions)
    for line in told:
        console.print(line, soft_wrap=True, highlight=False)


def show_clauses(rows: Iterable[ClauseRow], console: Console, *, all_steps: bool = False) -> None:
    """Print all that is said of each."""
    look = _look(console, Look(all_steps=all_steps))
    for n, row in enumerate(rows):
        for line in [*[Text()] * bool(n), *block(row, look)]:
            console.print(line, soft_wrap=True, highlight=False)


def show_breakdowns(report: Report, console: Console) -> None:
    """Print what failed, and what can be said of no clause for it."""
    look = _look(console, Look())
    for broken in report.breakdowns:
        for line in [Text(), *breakdown_page(broken, look)]:
            console.print(line, soft_wrap=True, highlight=False)


def _look(console: Console, look: Look) -> Look:
    fancy = console.is_terminal and not console.options.ascii_only
    width = console.width if console.is_terminal else WIDTH
    return look._replace(width=width, glyphs=UNICODE if fancy else look.glyphs)


def text(report: Report, *, color: bool = False, verbose: bool = False, assumptions: bool = False) -> str:
    """The whole report: plain, or with a terminal's colours and lines."""
    look = Look(verbose=verbose)
    return _rendered(lines(report, look._replace(glyphs=UNICODE) if color else look, assumptions=assumptions), color)


def overview(report: Report, *, color: bool = False) -> str:
    """A line a clause and the summary, without the schedules."""
    return _rendered([*clause_lines(report, WIDTH), Text(), Text(summary(report), "bold")], color)


def block_text(verdict: Verdict, *, color: bool = False, all_steps: bool = False) -> str:
    """All that is said of one clause: plain, or with a terminal's colours and lines."""
    look = Look(all_steps=all_steps)
    return _rendered(block(documented(verdict), look._replace(glyphs=UNICODE) if color else look), color)


def _rendered(lines: Iterable[Text], color: bool) -> str:
    if not color:
        return plain(lines) + "\n"
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=WIDTH)
    with console.capture() as capture:
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    return capture.get()


def lines(report: Report, look: Look, *, assumptions: bool = False) -> Iterator[Text]:
    width, fancy = look.width, look.glyphs is UNICODE
    look = look._replace(several=len(report.run.implementations) > 1)
    yield from clause_lines(report, width, fancy=fancy, verbose=look.verbose)
    for group in groups(report.clauses):
        yield Text()
        yield from page(group, look)
    for broken in report.breakdowns:
        yield Text()
        yield from breakdown_page(broken, look)
    yield from _deviations(report, look)
    yield from _footnotes(report, min(width, PROSE), fancy, look.verbose, assumptions)
    yield Text()
    yield from hang("", summary(report), min(width, PROSE), style=_style(report))


def _deviations(report: Report, look: Look) -> Iterator[Text]:
    """Each in a line, or with its schedule."""
    deviating = groups(report.clauses, Status.DEVIATES)
    if deviating and not look.verbose:
        yield Text()
        title = "Disciplines not followed, which alone fails nothing (-v shows their schedules):"
        yield from hang("", title, min(look.width, PROSE), style="bold")
    for group in deviating:
        if look.verbose:
            yield Text()
            yield from page(group, look)
        else:
            yield from _deviation(group, min(look.width, PROSE))


def _deviation(group: Group, width: int) -> Iterator[Text]:
    found = group.schedule
    told = f"{found.reason} ({cost(found)})" if found else ""
    yield from hang(
        f"  {', '.join(group.clauses)}: ", told or group.first.evidence, width, lead_style="yellow", indent=4
    )


def _footnotes(report: Report, width: int, fancy: bool, verbose: bool, assumptions: bool) -> Iterator[Text]:
    run, unchecked = report.run, [row for row in report.clauses if row.status is Status.NOT_CHECKED]
    yield Text()
    if verbose:
        yield from _not_checked(unchecked, width)
        if run.left_out:
            lead = f"Left out, since none of its routines runs there ({len(run.left_out)}): "
            yield from hang(lead, ", ".join(run.left_out), width, lead_style="bold", indent=2)
    if assumptions and run.assumptions:
        yield Text("All of this assumes:", "bold")
        for rule in run.assumptions:
            yield from hang("  - ", rule, width)
    for told in run.unmet:
        yield from hang("Expected deviations: ", told, width, lead_style="bold magenta", indent=2)
    if verbose or assumptions or run.unmet:
        yield Text()
    statuses = [status for status in STYLES if any(row.status is status for row in report.clauses)]
    marks = dict.fromkeys((MARKS[status][fancy], status) for status in statuses)
    told = [", ".join(f"{mark} {status.value.lower()}" for mark, status in marks)]
    if not verbose:
        told += [f"{plural(len(run.left_out), 'scenario')} left out, where none of its routines runs (-v)"] * bool(
            run.left_out
        )
        told += ["evidence, and why what is not checked is not: -v"]
    if not assumptions and run.assumptions:
        told.append(f"rests on {plural(len(run.assumptions), 'assumption')}: --assumptions")
    yield from hang("", "; ".join(filter(None, told)), width, style="dim")


def _not_checked(rows: Iterable[ClauseRow], width: int) -> Iterator[Text]:
    """What the suite cannot say, each reason once."""
    reasons: dict[str, list[str]] = {}
    for unchecked in rows:
        reasons.setdefault(unchecked.evidence, []).append(unchecked.id)
    if reasons:
        yield Text("Not checked, and never counted as held:", "bold")
    for reason, clauses in reasons.items():
        yield from hang(f"  {', '.join(dict.fromkeys(clauses))}: ", reason, width, indent=4)


def _style(report: Report) -> str:
    return {0: "bold green", 1: "bold red"}.get(report.run.exit_status, "bold magenta")


def summary(report: Report) -> str:
    """One sentence with the exit status and the counts it rests on. Where verdicts are missing nothing passes."""
    rows, run = report.clauses, report.run
    ends = f"exit status {run.exit_status}"
    expected = sum(1 for row in rows if row.expected)
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{counts[s]} {s.value}" for s in STYLES if counts[s]) or "no clause was asked for"
    told += f"; {expected} of them expected" * bool(expected)
    if run.missing:
        of = len(rows) + len(run.missing)
        told += f"; {len(run.missing)} of {of} clauses have no verdict, for the run ended before its time"
    violated = [row for row in rows if row.status is Status.VIOLATED and not row.expected]
    if violated:
        return f"FAIL ({ends}): {told}. Violated: {_violated(violated, len(run.implementations) > 1)}."
    if run.unmet:
        return f"FAIL ({ends}): {told}. {plural(len(run.unmet), 'expected deviation')} not met."
    if run.missing:
        return f"INCOMPLETE ({ends}): nothing violated so far: {told}."
    if any(row.undecided for row in rows):
        return f"UNDECIDED ({ends}): nothing violated, but not everything could be decided: {told}."
    judged = counts[Status.HELD] + counts[Status.DEVIATES] + counts[Status.OBSERVED] + counts[Status.NEVER_OBSERVED]
    nothing = "nothing violated but what is expected" if expected else "nothing violated"
    return f"{'PASS' if judged or expected else 'NOTHING JUDGED'} ({ends}): {nothing}: {told}."


def _violated(rows: Sequence[ClauseRow], several: bool) -> str:
    by: dict[str, list[str]] = {}
    for row in rows:
        recovery = row.counterexample.recovery if row.counterexample else ""
        told = f"{row.id} {recovery}".strip() + " (suspicion)" * bool(row.suspicion)
        by.setdefault(row.implementation, []).append(told)
    return "; ".join(f"by {name} {', '.join(told)}" if several else ", ".join(told) for name, told in by.items())
