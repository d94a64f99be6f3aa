"""The lane table of a counterexample: a column for each CPU and device that acts, and one for the state that changed.

    step | cpu0                           | cpu1                                    | changed
    -----+--------------------------------+-----------------------------------------+--------------
       2 | vcpu_enter_guest: reads ON = 0 |                                         |
     * 3 |                                | deliver_interrupt: or PIR[100] 1, was 0 | PIR[100] 0->1

Steps that the reason names are marked `*`; runs of others are folded into one line unless all are asked for. A message
arrives in the lane of its CPU, where a store buffer drains and a thread is preempted, too. Below 100 columns the steps come
one below the other.

Never wider than asked for: columns narrow where that makes the table least taller, long cells go on in their own
column, and where not even narrow columns fit, the lanes with the fewest steps share one called `others`. Plain ASCII
unless a terminal can do better, so that it survives logs and mail.

A step shows its first operation, and of what it did after that only what touches a location that another agent
touches in these steps too; what it did to private ones is in the last column. The name of a routine stands where its
lane enters it. `@posted.c:73` is the line that asked for an operation, where the implementation's source says so, and what that
line says, the first time.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from rich.text import Text

from conformance.report.reason import why
from conformance.report.rows import Row, noticed, reason_of, rows, words_of
from conformance.search.proof import LIVELOCK_REASON
from conformance.verdict.clause import Counterexample

WIDTH = 110
"""Columns of a report, at most."""
NARROW = 12
"""Columns of the narrowest lane that can still be read."""
SEQUENTIAL = 100
"""Columns below which lanes side by side cannot be read."""
OTHERS = "others"
CODE = 44
"""Characters of a line of code beside its step, at most."""
NOTHING: Mapping[str, str] = MappingProxyType({})


class Glyphs(NamedTuple):
    arrow: str
    mark: str
    bar: str
    rule: str
    cross: str
    named: str = "*"


ASCII = Glyphs("->", "X", "|", "-", "+")
UNICODE = Glyphs("→", "✗", "│", "─", "┼")


class Notes(NamedTuple):
    """What is said of a table's rows beside what they say."""

    by_step: Sequence[Text] = ()
    """Of the step that breaks a clause."""
    at_rest: Sequence[Text] = ()
    """Of the rest that breaks one."""
    named: Collection[int] = ()
    """The numbers of rows that the reason names."""
    folds: Mapping[int, str] = MappingProxyType({})
    """By the number of the row that comes next: what is left out before it."""

    def before(self, number: int, width: int) -> list[Text]:
        wrapped = textwrap.wrap(self.folds.get(number, ""), width - 1, subsequent_indent="  ", break_on_hyphens=False)
        return [Text(f" {line}", "dim") for line in wrapped]

    def after(self, rows: Sequence[Row], width: int) -> list[Text]:
        """What is left out after the last of these rows."""
        last = max(self.folds, default=0)
        return self.before(last, width) if last > max((row.number for row in rows), default=0) else []


NO_NOTES = Notes()


class Line(NamedTuple):
    """A step before it is laid out: what its agent did, routine by routine, and what changed."""

    row: Row
    column: str
    did: list[list[str]]
    changed: list[str]


def lane_table(
    found: Counterexample,
    clause: str,
    *,
    width: int = WIDTH,
    glyphs: Glyphs = ASCII,
    all_steps: bool = False,
    source: Mapping[str, str] = NOTHING,
) -> list[Text]:
    """The table as lines of at most `width` columns (at least 60), the clause marked where it breaks, or shows; "": the code
    itself fails.
    """
    width, words = max(width, 60), words_of(found)
    verb, said = "shows" if found.witness else "breaks", reason_of(found, words)
    made = rows(found.trace, words)
    breaks = next((row for row in made if row.breaks), None)
    by_step, at_rest = list[Text](), list[Text]()
    if breaks:
        mark = f"{glyphs.mark} step {breaks.number}"
        by_step = _verdict(f"{mark} {verb} {clause}" if clause else mark, said, width)
    if found.at_rest:
        when = "never at rest," if found.reason == LIVELOCK_REASON else "at rest,"
        at_rest = _verdict(f"{glyphs.mark} {when} {verb} {clause}", said.removeprefix("at rest "), width)
    named = why(found).steps
    shown, folds = (made, {}) if all_steps else folded(made, named)
    shown = _with_source(noticed(shown), source)
    lay_out = rows_table if width >= SEQUENTIAL else rows_list
    table = lay_out(shown, width, glyphs, Notes(by_step, at_rest, named, folds))
    legend = [f"locations named without their owner are {' and '.join(words.left_out)}'s"] * bool(words.left_out)
    legend += [f"{glyphs.named} the reason names this step"] * bool(named)
    return [*(Text(f" {line}", "dim") for line in textwrap.wrap("; ".join(legend), width - 1)), *table]


def _with_source(made: Sequence[Row], source: Mapping[str, str]) -> Sequence[Row]:
    """After each place in the code what stands there, the first time that it comes."""
    left = dict(source)

    def told(site: str) -> str:
        text = left.pop(site, "")
        return f"{site}: {text if len(text) <= CODE else text[: CODE - 3].rstrip() + '...'}" if text else site

    return [row._replace(items=tuple(item._replace(site=told(item.site)) for item in row.items)) for row in made]


def folded(made: Sequence[Row], named: Collection[int]) -> tuple[Sequence[Row], dict[int, str]]:
    """The rows to show, and by the number of the row that comes next what is left out before it. All, if none is named."""
    shown = _kept(made, named) if named else made
    return shown, _folds(made, shown)


def _kept(made: Sequence[Row], named: Collection[int]) -> list[Row]:
    """The rows that are named, and those whose fold would take as many lines."""
    kept = {row.number for row in made if row.number in named or row.breaks}
    lone = {row.number for row in made if not {row.number - 1, row.number + 1} - kept - {0, len(made) + 1}}
    return [row for row in made if row.number in kept | lone]


def _folds(made: Sequence[Row], shown: Sequence[Row]) -> dict[int, str]:
    """By the number of the row that comes next, or one beyond the last: what is left out before it."""
    numbers = {row.number for row in shown}
    folds: dict[int, list[Row]] = {}
    for row in made:
        if row.number not in numbers:
            after = next((n for n in range(row.number, made[-1].number + 1) if n in numbers), made[-1].number + 1)
            folds.setdefault(after, []).append(row)
    return {after: _folded(left_out) for after, left_out in folds.items()}


def _folded(left_out: Sequence[Row]) -> str:
    calls = dict.fromkeys(item.routine for row in left_out for item in row.items[:1] if item.routine)
    lanes = dict.fromkeys(row.lane or row.agent for row in left_out)
    of = [*calls][:3] + ["others"] * (len(calls) > 3)
    told = f"... {len(left_out)} step{'s' * (len(left_out) != 1)}"
    calling = f" of {', '.join(of)}" * bool(of)
    return _ascii(f"{told}{calling} on {', '.join(lanes)}")


def rows_table(rows: Sequence[Row], width: int = WIDTH, glyphs: Glyphs = ASCII, notes: Notes = NO_NOTES) -> list[Text]:
    """Any rows as a table, with what is said of the step that breaks a clause, and of the rest that does."""
    label = max(4, 2 + max((len(str(row.number)) for row in rows), default=0))
    lanes = _lanes(rows, (width - 1 - label) // (NARROW + 3) - 1)
    lines = _lines(rows, lanes, glyphs)
    columns = list(dict.fromkeys(lanes.values()))
    widths = [label, *_widths(columns, lines, width - 1 - label - 3 * (len(columns) + 1))]
    names = zip(("step", *columns, "changed"), widths, strict=True)
    table = _grid(glyphs, widths, [textwrap.wrap(name, width) for name, width in names], ["bold"] * len(widths))
    table.append(_rule(glyphs, widths))
    for line in lines:
        table += notes.before(line.row.number, width)
        table += _step(line, columns, widths, glyphs, line.row.number in notes.named)
        table += notes.by_step if line.row.breaks else ()
    table += notes.after(rows, width)
    return [*table, _rule(glyphs, widths), *notes.at_rest] if notes.at_rest else table


def rows_list(rows: Sequence[Row], width: int = WIDTH, glyphs: Glyphs = ASCII, notes: Notes = NO_NOTES) -> list[Text]:
    """The same one below the other, where there is no room for lanes."""
    label = max(4, 2 + max((len(str(row.number)) for row in rows), default=0))
    lanes = {row.lane or row.agent: _ascii(row.lane or row.agent) for row in rows}
    column = min(max((len(name) for name in lanes.values()), default=0), 12)
    margin = " " * (label + column + 5)
    made: list[Text] = []
    for line in _lines(rows, lanes, glyphs):
        made += notes.before(line.row.number, width)
        number, style = _number(line.row, label, glyphs, line.row.number in notes.named)
        texts = [piece for group in line.did for piece in _pack(group, *_STYLE[0], width - len(margin))]
        lead = f" {number}  {line.column:<{column}.{column}}  "
        for n, text in enumerate(texts or [""]):
            made.append(Text(f"{lead if not n else margin}{text}", "bold red" if line.row.breaks else ""))
            made[-1].stylize(style, 0, len(lead)) if not n else None
        for text in _pack(line.changed, *_STYLE[1], width - len(margin) - 4):
            made.append(Text(f"{margin}  {glyphs.bar} {text}", "cyan"))
        made += notes.by_step if line.row.breaks else ()
    made += notes.after(rows, width)
    for line in made:
        line.rstrip()
    return [*made, *notes.at_rest]


def plain(lines: Iterable[Text]) -> str:
    """Lines as text, without colours and without blanks at their ends."""
    return "\n".join(line.plain.rstrip() for line in lines)


def _lanes(rows: Sequence[Row], room: int) -> dict[str, str]:
    """Each lane's column: CPUs first, the others as they appear; the least active share one if there is no room."""
    steps = Counter(row.lane or row.agent for row in rows)
    order = sorted(steps, key=lambda a: (not a.startswith("cpu"), a if a.startswith("cpu") else ""))
    if len(order) <= room:
        return {lane: _ascii(lane) for lane in order}
    busiest = sorted(order, key=lambda a: -steps[a])[: room - 1]
    kept = {lane: _ascii(lane) for lane in order if lane in busiest}
    return kept | {lane: OTHERS for lane in order if lane not in busiest}


def _lines(rows: Sequence[Row], lanes: Mapping[str, str], glyphs: Glyphs) -> list[Line]:
    running: dict[tuple[str, bool], str] = {}
    lines: list[Line] = []
    for row in noticed(rows):
        lead = "[irq] " if row.in_handler else ""
        lane = row.lane or row.agent
        column = lanes[lane]
        lead += f"{_ascii(lane)}: " if column == OTHERS else ""
        did: list[list[str]] = []
        for text, routine, _, site in row.items:
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


def _number(row: Row, width: int, glyphs: Glyphs, named: bool) -> tuple[str, str]:
    """The first cell of a row, and its style."""
    mark = glyphs.mark if row.breaks else glyphs.named if named else " "
    return f"{mark}{row.number:>{width - 1}}", "bold red" if row.breaks else "bold" if named else "dim"


def _step(line: Line, columns: Sequence[str], widths: Sequence[int], glyphs: Glyphs, named: bool) -> list[Text]:
    row = line.row
    at = 1 + columns.index(line.column)
    number, style = _number(row, widths[0], glyphs, named)
    cells: list[list[str]] = [[] for _ in widths]
    cells[0] = [number]
    cells[at] = [piece for group in line.did for piece in _pack(group, *_STYLE[0], widths[at])]
    cells[-1] = _pack(line.changed, *_STYLE[1], widths[-1])
    styles = ["bold red" if row.breaks else ""] * len(widths)
    if not row.breaks:
        styles[0], styles[at], styles[-1] = style, "italic magenta" if row.in_handler else "", "cyan"
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
