"""Plain text for a mailing list: at most 72 columns of ASCII, and the schedule in a column for each CPU, as commit messages
have it.

    CPU0                              CPU1
    ----                              ----
    vcpu_enter_guest:
      mode := 1; fence
                                      deliver_interrupt:
                                        or PIR[200] 1, was 0
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from conformance.report.grouped import Group, groups, hinted
from conformance.report.lanes import folded
from conformance.report.model import BreakdownRow, ClauseRow, Report, Schedule
from conformance.report.pages import cost, elsewhere, more_of, replay_line
from conformance.report.rows import Row, noticed, rows, words_of
from conformance.report.terminal import summary

WIDTH = 72
MARGIN = "    "
NARROW = 18
"""Columns of the narrowest lane."""


def mail(report: Report) -> str:
    text = "\n".join(line.rstrip() for line in _lines(report)) + "\n"
    return text.encode("ascii", "backslashreplace").decode()


def _lines(report: Report) -> Iterator[str]:
    violated = groups(report.clauses)
    clauses = ", ".join(dict.fromkeys(name for group in violated for name in group.clauses))
    names = ", ".join(report.run.implementations)
    yield from _wrapped(f"{names}: {f'violates {clauses}' if clauses else 'nothing violated'}")
    yield ""
    yield from _wrapped(f"intack {report.version} (profile {', '.join(report.run.profiles)}) says: {summary(report)}")
    for told in report.run.unmet:
        yield from _wrapped(f"Expected deviations: {told}")
    for group in violated:
        yield ""
        yield "-" * WIDTH
        yield from _violation(group)
    for broken in report.breakdowns:
        yield ""
        yield "-" * WIDTH
        yield from _breakdown(broken)


def _violation(group: Group) -> Iterator[str]:
    row, found = group.first, group.schedule
    for each in group.rows:
        yield from _clause(each)
    if row.suspicion:
        yield from _wrapped("Nobody has read what this clause rests on: it is a suspicion and no more.")
    if not found:
        return
    yield ""
    if found.rows:
        yield from _wrapped(f"In scenario {found.scenario} ({cost(found)}):")
        yield ""
        yield from _columns(found)
        yield ""
    yield from _wrapped(f"{'At rest' if found.at_rest else 'In the end'}: {found.reason.removeprefix('at rest ')}")
    if found.why:
        yield ""
    for sentence in found.why:
        yield from _wrapped(sentence)
    if group.hint:
        yield from _wrapped(f"Look at this first: {hinted(group.hint)}")
    for other in found.elsewhere:
        yield from _wrapped(f"On {elsewhere(other.implementation, other.fits, other.breaks, found.steps)}.")
    if found.replay:
        yield ""
        yield "To see it again:"
        yield ""
        yield from _command(replay_line(found))


def _breakdown(broken: BreakdownRow) -> Iterator[str]:
    found = broken.counterexample
    yield from _wrapped(f"{broken.status.value} of {broken.implementation}: {broken.what}")
    yield from _wrapped(f"Not judged: {', '.join(broken.clauses)}")
    if not found:
        for line in more_of(broken):
            yield from _wrapped(line)
        return
    yield ""
    yield from _wrapped(f"In scenario {found.scenario} ({cost(found)}):")
    yield ""
    yield from _columns(found)
    if found.replay:
        yield ""
        yield from _command(replay_line(found))


def _clause(row: ClauseRow) -> Iterator[str]:
    recovery = f" ({row.counterexample.recovery})" if row.counterexample and row.counterexample.recovery else ""
    yield from _wrapped(f"{row.id}{recovery}, {row.modality}: {row.statement}")
    yield from _wrapped(f"  [{'; '.join(map(str, row.sources))}]")


def _columns(found: Schedule) -> Iterator[str]:
    """The steps that the reason names, each in the column of its CPU; lanes for which there is no room share the last."""
    made = noticed(rows(found.found().trace, words_of(found.found())))
    shown, folds = folded(made, set(found.named))
    lanes = sorted({row.lane or row.agent for row in shown}, key=lambda lane: (not lane.startswith("cpu"), lane))
    room = WIDTH - len(MARGIN)
    count = min(len(lanes), max(1, room // NARROW))
    width = room // count
    heads = [name.upper() if name.startswith("cpu") else name for name in lanes[: count - 1]]
    heads.append(", ".join(name.upper() if name.startswith("cpu") else name for name in lanes[count - 1 :]))
    yield MARGIN + "".join(f"{head[: width - 2]:<{width}}" for head in heads)
    yield MARGIN + "".join(f"{'-' * len(head[: width - 2]):<{width}}" for head in heads)
    running: dict[str, str] = {}
    for row in shown:
        if row.number in folds:
            yield MARGIN + folds[row.number][:room]
        lane = row.lane or row.agent
        at = min(lanes.index(lane), count - 1)
        for line in _cell(row, running, lane, width - 2):
            yield MARGIN + " " * (width * at) + line
        running[lane] = row.items[0].routine if row.items else ""
    last = max((row.number for row in shown), default=0)
    yield from (MARGIN + told[:room] for number, told in folds.items() if number > last)


def _cell(row: Row, running: dict[str, str], lane: str, width: int) -> Iterator[str]:
    lead = "[irq] " if row.in_handler else ""
    for n, item in enumerate(row.items):
        if not n and item.routine and running.get(lane) != item.routine:
            yield from textwrap.wrap(f"{lead}{item.routine}:", width)
        indent = "  " * bool(item.routine)
        yield from textwrap.wrap(
            f"{lead * (not n)}{item.text}", width, initial_indent=indent, subsequent_indent=indent + "  "
        )


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)


def _command(line: str) -> Iterator[str]:
    """A shell puts it together again: a backslash ends each line but the last."""
    while len(line) > WIDTH:
        yield line[: WIDTH - 1] + "\\"
        line = line[WIDTH - 1 :]
    yield line
