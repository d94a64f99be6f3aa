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

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from rich.text import Text

from conformance.roles.operations import WORD
from conformance.search.proof import LIVELOCK_REASON
from conformance.search.trace import WORDS, place
from conformance.verdict.clause import Counterexample, Row

WIDTH = 110
"""Columns of a report, at most."""
NARROW = 12
"""Columns of the narrowest lane that can still be read."""
LONG = 60
"""Steps of a schedule that is shown in full."""
OTHERS = "others"
PLACE = re.compile(r"\S+\.\S+(?: word \d+)?")
"""A location in the account of an operation."""


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

    Of a schedule longer than `LONG`, which nobody made small, it shows the steps that `why` names and the last ones.
    """
    width = max(width, 60)
    rows, owner = _kept(found), common_owner(found.rows)
    label = max(4, 2 + max((len(str(row.number)) for row in rows), default=0))
    agents = _agents(rows, (width - 1 - label) // (NARROW + 3) - 1)
    lines = _lines(rows, agents, owner, glyphs)
    columns = list(dict.fromkeys(agents.values()))
    widths = [label, *_widths(columns, lines, width - 1 - label - 3 * (len(columns) + 1))]
    names = zip(("step", *columns, "changed"), widths, strict=True)
    table = _grid(glyphs, widths, [textwrap.wrap(name, width) for name, width in names], ["bold"] * len(widths))
    table.append(_rule(glyphs, widths))
    verb = "shows" if found.witness else "breaks"
    at = 0
    for line in lines:
        skipped = found.rows.index(line.row, at) - at
        at += skipped + 1
        table += [Text(f" ... {skipped} step{'s' * (skipped != 1)} not shown", "dim")] if skipped else []
        table += _step(line, columns, widths, glyphs)
        if line.row.breaks:
            table += _verdict(f"{glyphs.mark} step {line.row.number} {verb} {clause}", found.reason, width, owner)
    if found.at_rest:
        when = "never at rest," if found.reason == LIVELOCK_REASON else "at rest,"
        table.append(_rule(glyphs, widths))
        table += _verdict(f"{glyphs.mark} {when} {verb} {clause}", found.reason.removeprefix("at rest "), width, owner)
    if owner:
        table.insert(0, Text(f" locations named without their owner are {owner[:-1]}'s", "dim"))
    return table


def _kept(found: Counterexample) -> list[Row]:
    """The rows to show: all, or of a long schedule those that matter and as many of the last."""
    spare = LONG
    named = {int(step) for sentence in found.why for step in re.findall(r"\b[Ss]teps? (\d+)", sentence)}
    kept: list[Row] = []
    for row in reversed(found.rows):
        spare -= 1
        if len(found.rows) <= LONG or spare >= 0 or row.number in named or row.breaks:
            kept.append(row)
    return kept[::-1]


def plain(lines: Iterable[Text]) -> str:
    """Lines as text, without colours and without blanks at their ends."""
    return "\n".join(line.plain.rstrip() for line in lines)


def common_owner(rows: Sequence[Row]) -> str:
    """The prefix, such as `vcpu0.`, that goes without saying if the rows touch one vCPU's locations only; or ""."""
    texts = [
        *(text for row in rows for text in row.texts),
        *(name for row in rows for name in (*row.reads, *row.changes)),
    ]
    owners = {owner for text in texts for owner in re.findall(r"\bvcpu[0-9]+\.(?=\w)", text)}
    return owners.pop() if len(owners) == 1 else ""


def shorten(text: str, owner: str) -> str:
    """Text with locations as rows name them, less the owner that goes without saying."""
    text = re.sub(r"\bvcpu[0-9]+\.pid\.(?:pir\[[0-3]\]|control)", lambda found: place(found[0], WORD), text)
    return re.sub(rf"\b{re.escape(owner)}(?=\w)", "", text) if owner else text


def _agents(rows: Sequence[Row], room: int) -> dict[str, str]:
    """Each agent's column: CPUs first, the others as they appear; the least active share one if there is no room."""
    steps = Counter(row.agent for row in rows)
    order = sorted(steps, key=lambda a: (not a.startswith("cpu"), a if a.startswith("cpu") else ""))
    if len(order) <= room:
        return {agent: _ascii(agent) for agent in order}
    busiest = sorted(order, key=lambda a: -steps[a])[: room - 1]
    kept = {agent: _ascii(agent) for agent in order if agent in busiest}
    return kept | {agent: OTHERS for agent in order if agent not in busiest}


def _lines(rows: Sequence[Row], agents: dict[str, str], owner: str, glyphs: Glyphs) -> list[Line]:
    touching: dict[str, set[str]] = {}
    for row in rows:
        for name in (*row.reads, *row.changes, *(m[0] for t in row.texts if (m := PLACE.search(t)))):
            touching.setdefault(_word(name), set()).add(row.agent)
    private = {word for word, by in touching.items() if len(by) == 1}
    running: dict[tuple[str, bool], str] = {}
    lines: list[Line] = []
    for row in rows:
        lead = "[irq] " if row.in_handler else ""
        column = agents[row.agent]
        lead += f"{_ascii(row.agent)}: " if column == OTHERS else ""
        did: list[list[str]] = []
        for n, text in enumerate(row.texts):
            place = PLACE.search(text)
            if n and place and _word(place[0]) in private:
                continue
            routine, colon, does = text.partition(": ")
            if not colon or not routine.isidentifier() or routine == "guest":
                routine, does = "", text
            new = running.get((row.agent, row.in_handler)) != routine
            running[row.agent, row.in_handler] = routine
            does = _ascii(shorten(does, owner))
            does += f" @{_ascii(row.sites[n])}" if row.sites and row.sites[n] else ""
            if new and routine:
                did.append([f"{lead}{_ascii(routine)}:", does])
            elif new or not did:
                did.append([lead + "  " * bool(routine) + does])
            else:
                did[-1].append(does)
        changed = [
            f"{_ascii(shorten(name, owner))} {_ascii(old)}{glyphs.arrow}{_ascii(now)}"
            for name, (old, now) in row.changes.items()
        ]
        lines.append(Line(row, column, did, changed))
    return lines


def _word(name: str) -> str:
    """The memory word that a location is part of."""
    owner, _, field = name.rpartition(".")
    if field.startswith("PIR"):
        return f"{owner}.PIR"
    for word, known in WORDS.items():
        if all(part in known for part in field.split("+")):
            return owner if "[" in owner else f"{owner}.{word}"
    return name


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


def _verdict(mark: str, reason: str, width: int, owner: str) -> list[Text]:
    line = f"{mark}: {_ascii(shorten(reason, owner))}" if reason else mark
    wrapped = textwrap.wrap(line, width - 1, subsequent_indent="  ", break_on_hyphens=False)
    return [Text(f" {line}", "bold red") for line in wrapped]


def _ascii(text: str) -> str:
    """Text of one column a character: anything that is not printable ASCII is escaped."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode()
