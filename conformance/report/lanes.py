"""The lane table of a counterexample: a column for each agent that acts, and one for the state that changed.

    step | cpu0                           | cpu1                                    | changed
    -----+--------------------------------+-----------------------------------------+--------------
       2 | vcpu_enter_guest: reads ON = 0 |                                         |
       3 |                                | deliver_interrupt: or PIR[100] 1, was 0 | PIR[100] 0->1

Never wider than asked for: columns narrow where that makes the table least taller, long cells go on in their own
column, and where not even narrow columns fit, the agents with the fewest steps share one called `others`. Plain ASCII
unless a terminal can do better, so that it survives logs and mail.

A step shows its first operation, and of what it did after that only what touches a location that another agent
touches in these steps too; what it did to private ones is in the last column. The name of a routine stands where its
lane enters it. `@posted.c:73` is the line that asked for an operation, where the implementation's source says so.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from rich.text import Text

from conformance.report.reason import why
from conformance.report.rows import Row, reason_of, rows, words_of
from conformance.search.proof import LIVELOCK_REASON
from conformance.verdict.clause import Counterexample

WIDTH = 110
"""Columns of a report, at most."""
NARROW = 12
"""Columns of the narrowest lane that can still be read."""
LONG = 60
"""Steps of a schedule that is shown in full."""
OTHERS = "others"


class Glyphs(NamedTuple):
    arrow: str
    mark: str
    bar: str
    rule: str
    cross: str


ASCII = Glyphs("->", "X", "|", "-", "+")
UNICODE = Glyphs("→", "✗", "│", "─", "┼")


class Line(NamedTuple):
    """A step before it is laid out: what its agent did, routine by routine, and what changed."""

    row: Row
    column: str
    did: list[list[str]]
    changed: list[str]


def lane_table(found: Counterexample, clause: str, *, width: int = WIDTH, glyphs: Glyphs = ASCII) -> list[Text]:
    """The table as lines of at most `width` columns (at least 60), the clause marked where it breaks, or shows.

    Of a schedule longer than `LONG`, which nobody made small, it shows the steps that the reason names and the last ones.
    """
    width, words = max(width, 60), words_of(found)
    verb, said = "shows" if found.witness else "breaks", reason_of(found, words)
    made = rows(found.trace, words)
    breaks = next((row for row in made if row.breaks), None)
    by_step, at_rest = list[Text](), list[Text]()
    if breaks:
        by_step = _verdict(f"{glyphs.mark} step {breaks.number} {verb} {clause}", said, width)
    if found.at_rest:
        when = "never at rest," if found.reason == LIVELOCK_REASON else "at rest,"
        at_rest = _verdict(f"{glyphs.mark} {when} {verb} {clause}", said.removeprefix("at rest "), width)
    table = rows_table(_kept(found, made), width, glyphs, by_step, at_rest)
    if words.left_out:
        owner = " and ".join(words.left_out)
        table.insert(0, Text(f" locations named without their owner are {owner}'s", "dim"))
    return table


def rows_table(
    rows: Sequence[Row],
    width: int = WIDTH,
    glyphs: Glyphs = ASCII,
    by_step: Sequence[Text] = (),
    at_rest: Sequence[Text] = (),
) -> list[Text]:
    """Any rows as a table, with what is said of the step that breaks a clause, and of the rest that does."""
    label = max(4, 2 + max((len(str(row.number)) for row in rows), default=0))
    agents = _agents(rows, (width - 1 - label) // (NARROW + 3) - 1)
    lines = _lines(rows, agents, glyphs)
    columns = list(dict.fromkeys(agents.values()))
    widths = [label, *_widths(columns, lines, width - 1 - label - 3 * (len(columns) + 1))]
    names = zip(("step", *columns, "changed"), widths, strict=True)
    table = _grid(glyphs, widths, [textwrap.wrap(name, width) for name, width in names], ["bold"] * len(widths))
    table.append(_rule(glyphs, widths))
    last = 0
    for line in lines:
        skipped, last = line.row.number - last - 1, line.row.number
        table += [Text(f" ... {skipped} step{'s' * (skipped != 1)} not shown", "dim")] if skipped > 0 else []
        table += _step(line, columns, widths, glyphs)
        table += by_step if line.row.breaks else ()
    return [*table, _rule(glyphs, widths), *at_rest] if at_rest else table


def _kept(found: Counterexample, made: Sequence[Row]) -> list[Row]:
    """The rows to show: all, or of a long schedule those that matter and as many of the last."""
    if len(made) <= LONG:
        return list(made)
    named = why(found).steps
    return [row for n, row in enumerate(made, 1) if n > len(made) - LONG or row.number in named or row.breaks]


def plain(lines: Iterable[Text]) -> str:
    """Lines as text, without colours and without blanks at their ends."""
    return "\n".join(line.plain.rstrip() for line in lines)


def _agents(rows: Sequence[Row], room: int) -> dict[str, str]:
    """Each agent's column: CPUs first, the others as they appear; the least active share one if there is no room."""
    steps = Counter(row.agent for row in rows)
    order = sorted(steps, key=lambda a: (not a.startswith("cpu"), a if a.startswith("cpu") else ""))
    if len(order) <= room:
        return {agent: _ascii(agent) for agent in order}
    busiest = sorted(order, key=lambda a: -steps[a])[: room - 1]
    kept = {agent: _ascii(agent) for agent in order if agent in busiest}
    return kept | {agent: OTHERS for agent in order if agent not in busiest}


def _lines(rows: Sequence[Row], agents: dict[str, str], glyphs: Glyphs) -> list[Line]:
    touching: dict[str, set[str]] = {}
    for row in rows:
        for at in row.touches:
            touching.setdefault(at, set()).add(row.agent)
    private = {at for at, by in touching.items() if len(by) == 1}
    running: dict[tuple[str, bool], str] = {}
    lines: list[Line] = []
    for row in rows:
        lead = "[irq] " if row.in_handler else ""
        column = agents[row.agent]
        lead += f"{_ascii(row.agent)}: " if column == OTHERS else ""
        did: list[list[str]] = []
        for n, (text, routine, at, site) in enumerate(row.items):
            if n and at in private:
                continue
            new = running.get((row.agent, row.in_handler)) != routine
            running[row.agent, row.in_handler] = routine
            does = _ascii(text) + (f" @{_ascii(site)}" if site else "")
            if new and routine:
                did.append([f"{lead}{_ascii(routine)}:", does])
            elif new or not did:
                did.append([lead + "  " * bool(routine) + does])
            else:
                did[-1].append(does)
        changed = [f"{_ascii(name)} {_ascii(old)}{glyphs.arrow}{_ascii(now)}" for name, old, now in row.changes]
        lines.append(Line(row, column, did, changed))
    return lines


def _widths(columns: Sequence[str], lines: Sequence[Line], room: int) -> list[int]:
    """Widths of the lanes and of the changes: as their contents want, then narrowed one by one."""
    cells = [[line.did if line.column == name else [] for line in lines] for name in columns]
    cells.append([[line.changed] for line in lines])
    items = [[item for cell in column for group in cell for item in (" ".join(group[:2]), *group)] for column in cells]
    widths = [max([NARROW, *(len(i) + 2 for i in column)]) for column in items]
    words = [max([NARROW, *(len(w) + 4 for i in column for w in i.split())]) for column in items]
    least = words if sum(words) <= room else [NARROW] * len(words)

    @cache
    def heights(n: int, width: int) -> list[int]:
        return [sum(len(_pack(group, *_STYLE[n == len(columns)], width)) for group in cell) for cell in cells[n]]

    def cost(n: int) -> tuple[bool, int, int]:
        tried = [heights(m, width - (m == n)) for m, width in enumerate(widths)]
        return widths[n] <= least[n], sum(map(max, zip(*tried, strict=True))), -widths[n]

    while sum(widths) > room:
        widths[min(range(len(widths)), key=cost)] -= 1
    return widths


def _step(line: Line, columns: Sequence[str], widths: Sequence[int], glyphs: Glyphs) -> list[Text]:
    row = line.row
    at = 1 + columns.index(line.column)
    number = f"{row.number:>{widths[0]}}"
    cells: list[list[str]] = [[] for _ in widths]
    cells[0] = [glyphs.mark + number[1:]] if row.breaks else [number]
    cells[at] = [piece for group in line.did for piece in _pack(group, *_STYLE[0], widths[at])]
    cells[-1] = _pack(line.changed, *_STYLE[1], widths[-1])
    styles = ["bold red" if row.breaks else ""] * len(widths)
    if not row.breaks:
        styles[0], styles[at], styles[-1] = "dim", "italic magenta" if row.in_handler else "", "cyan"
    return _grid(glyphs, widths, cells, styles)


_STYLE = (("; ", "  "), (", ", ""))
"""Of lanes and of changes: what stands between items on a line, and how far an item on a new line is indented."""


def _pack(items: Sequence[str], between: str, indent: str, width: int) -> list[str]:
    """Items one after the other, broken between items where possible."""
    lines: list[str] = []
    for item in items:
        joint = " " if lines and lines[-1] == items[0] and items[0].endswith(":") else between
        first = indent * bool(lines)
        if lines and len(lines[-1]) + len(joint) + len(item) <= width:
            lines[-1] += joint + item
        elif len(first) + len(item) <= width:
            lines.append(first + item)
        else:
            later = indent + "  "
            lines += textwrap.wrap(item, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    return lines


def _grid(glyphs: Glyphs, widths: Sequence[int], cells: Sequence[list[str]], styles: Sequence[str]) -> list[Text]:
    made: list[Text] = []
    for n in range(max(1, *map(len, cells))):
        line = Text(" ")
        for at, (cell, width, style) in enumerate(zip(cells, widths, styles, strict=True)):
            line.append(f" {glyphs.bar} " if at else "", "dim")
            line.append(f"{cell[n] if n < len(cell) else '':<{width}.{width}}", style)
        line.rstrip()
        made.append(line)
    return made


def _rule(glyphs: Glyphs, widths: Sequence[int]) -> Text:
    return Text(glyphs.rule + f"{glyphs.rule}{glyphs.cross}{glyphs.rule}".join(glyphs.rule * w for w in widths), "dim")


def _verdict(mark: str, reason: str, width: int) -> list[Text]:
    line = f"{mark}: {_ascii(reason)}" if reason else mark
    wrapped = textwrap.wrap(line, width - 1, subsequent_indent="  ", break_on_hyphens=False)
    return [Text(f" {line}", "bold red") for line in wrapped]


def _ascii(text: str) -> str:
    """Text of one column a character: anything that is not printable ASCII is escaped."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode()
