"""The lane diagram as SVG: a row a step, arrows for what happened before what, and the state that changed.

Every row is a group of its own with the number of its step, so that a script can light it up; colours are classes, and a
kind of arrow differs by its dashes, too. Text is as wide as it will be: the font is monospaced.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from conformance.report.edges import Edge, edges
from conformance.report.model import Schedule
from conformance.report.rows import Row, noticed, rows, words_of

CHARACTER, LINE, PAD = 6.7, 15, 5
"""Pixels: of a character, of a line of text, above and below the text of a row."""
NUMBER, GUTTER = 44, 20
WIDEST = 40
"""Characters of a lane; what is longer goes on below."""
HEAD = 26
KINDS = {"reads": "read from", "overwritten": "read before it was changed", "message": "interrupt", "wakes": "wakes"}


class _Cell(NamedTuple):
    row: Row
    did: list[str]
    changed: list[str]
    top: float
    height: float


class _Lane(NamedTuple):
    name: str
    x: float
    width: float


def diagram(schedule: Schedule, name: str) -> Markup:
    """`name` is unique in the document: ids begin with it."""
    found = schedule.found()
    words = words_of(found)
    lanes, cells, at = _laid_out(noticed(rows(found.trace, words)))
    right = max((len(line) for cell in cells for line in cell.changed), default=0)
    width = at + right * CHARACTER + PAD if right else at
    height = cells[-1].top + cells[-1].height + 2 if cells else HEAD
    parts = [*_backs(cells, width), *_lifelines(lanes, at, height, bool(right))]
    parts += [*_arrows(schedule, cells, lanes, name), *_rows(cells, lanes, at, schedule, name)]
    owner = f"; locations named without their owner are {' and '.join(words.left_out)}'s" * bool(words.left_out)
    label = f"Lane diagram of {schedule.steps} steps{owner}. The same steps in words follow"
    return Markup(
        '<svg class="lanes" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}">{}</svg>'
    ).format(label, width, height, width, height, Markup("").join(parts))


def arrow_kinds(schedule: Schedule) -> list[tuple[str, str]]:
    """For the legend: the kinds of arrows that the diagram has, and what they mean."""
    kinds = {edge.kind for edge in _between(schedule)}
    return [(kind, meaning) for kind, meaning in KINDS.items() if kind in kinds]


def _laid_out(made: Sequence[Row]) -> tuple[dict[str, _Lane], list[_Cell], float]:
    order = sorted({row.lane for row in made}, key=lambda name: (not name.startswith("cpu"), name))
    running: dict[tuple[str, bool], str] = {}
    texts: dict[int, list[str]] = {}
    for row in made:
        texts[row.number] = list(_texts(row, running))
    lanes: dict[str, _Lane] = {}
    x = float(NUMBER)
    for name in order:
        longest = max([len(name), *(len(line) for row in made if row.lane == name for line in texts[row.number])])
        lanes[name] = _Lane(name, x, GUTTER + longest * CHARACTER + 2 * PAD)
        x += lanes[name].width
    cells: list[_Cell] = []
    top = float(HEAD)
    for row in made:
        changed = [
            line
            for name, old, new in row.changes
            for line in textwrap.wrap(f"{name} {old} → {new}", WIDEST, subsequent_indent="  ")
        ]
        height = max(len(texts[row.number]), len(changed), 1) * LINE + 2 * PAD
        cells.append(_Cell(row, texts[row.number], changed, top, height))
        top += height
    return lanes, cells, x + PAD


def _texts(row: Row, running: dict[tuple[str, bool], str]) -> Iterator[str]:
    """What it did; the routine's name where its lane enters it."""
    lead = "[irq] " if row.in_handler else ""
    for item in row.items:
        enters = item.routine and running.get((row.lane, row.in_handler)) != item.routine
        running[row.lane, row.in_handler] = item.routine
        if enters:
            yield from textwrap.wrap(f"{lead}{item.routine}:", WIDEST)
        site = f" @{item.site}" * bool(item.site)
        indent = "  " * bool(item.routine)
        yield from textwrap.wrap(
            f"{lead * (not enters)}{item.text}{site}", WIDEST, initial_indent=indent, subsequent_indent=indent + "    "
        )


def _lifelines(lanes: dict[str, _Lane], at: float, height: float, changes: bool) -> Iterator[Markup]:
    for lane in lanes.values():
        x = lane.x + GUTTER / 2
        yield Markup('<line class="life" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2:.1f}"/>').format(x, HEAD, height)
        yield Markup('<text class="head" x="{:.1f}" y="17">{}</text>').format(lane.x + GUTTER, lane.name)
    if changes:
        yield Markup('<text class="head" x="{:.1f}" y="17">changed</text>').format(at)


def _backs(cells: Sequence[_Cell], width: float) -> Iterator[Markup]:
    """Below everything else: what is lit up must not hide an arrow."""
    for cell in cells:
        yield Markup('<rect class="back" data-step="{}" x="0" y="{:.1f}" width="{:.0f}" height="{:.1f}"/>').format(
            cell.row.number, cell.top, width, cell.height
        )


def _rows(
    cells: Sequence[_Cell], lanes: dict[str, _Lane], at: float, schedule: Schedule, name: str
) -> Iterator[Markup]:
    for cell in cells:
        row, lane = cell.row, lanes[cell.row.lane]
        kind = "step" + " named" * (row.number in schedule.named) + " breaks" * row.breaks + " irq" * row.in_handler
        y = cell.top + PAD + LINE - 4
        mark = "✗" if row.breaks else "*" if row.number in schedule.named else ""
        dot = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(lane.x + GUTTER / 2, y - 4)
        number = Markup('<text class="n" x="{}" y="{:.1f}">{} {}</text>').format(NUMBER - 8, y, mark, row.number)
        did = _lines("did", lane.x + GUTTER, y, cell.did)
        changed = _lines("changed", at, y, cell.changed)
        yield Markup('<g class="{}" data-step="{}" id="{}-row-{}">{}{}{}{}</g>').format(
            kind, row.number, name, row.number, number, dot, did, changed
        )


def _lines(kind: str, x: float, y: float, lines: Sequence[str]) -> Markup:
    if not lines:
        return Markup("")
    spans = Markup("").join(
        Markup('<tspan x="{:.1f}" y="{:.1f}">{}</tspan>').format(x, y + n * LINE, line) for n, line in enumerate(lines)
    )
    return Markup('<text class="{}" xml:space="preserve">{}</text>').format(kind, spans)


def _between(schedule: Schedule) -> list[Edge]:
    """Edges between lanes; of several between the same two steps the first kind."""
    lane = {row.number: row.lane for row in schedule.rows}
    found = [e for e in edges(schedule.found().trace) if lane[e.source] != lane[e.target] and e.source != e.target]
    return list({(e.source, e.target): e for e in reversed(found)}.values())[::-1]


def _arrows(schedule: Schedule, cells: Sequence[_Cell], lanes: dict[str, _Lane], name: str) -> Iterator[Markup]:
    at = {cell.row.number: (lanes[cell.row.lane].x + GUTTER / 2, cell.top + PAD + LINE - 8) for cell in cells}
    for kind in dict(arrow_kinds(schedule)):
        yield Markup(
            '<marker class="{0}" id="{1}-{0}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
            ' orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
        ).format(kind, name)
    for edge in _between(schedule):
        (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
        shorter = 5 if x2 > x1 else -5
        yield Markup(
            '<path class="arrow {0}{11}" data-from="{1}" data-to="{2}" marker-end="url(#{3}-{0})" '
            'd="M{4:.1f} {5:.1f}C{6:.1f} {5:.1f} {7:.1f} {8:.1f} {9:.1f} {8:.1f}"><title>{10}</title></path>'
        ).format(
            edge.kind, edge.source, edge.target, name, x1, y1, (x1 + x2) / 2, (x1 + x2) / 2, y2, x2 - shorter,
            f"step {edge.source} to step {edge.target}: {KINDS[edge.kind]} {edge.at}",
            " aside" * bool(schedule.named and not {edge.source, edge.target} <= {*schedule.named}),
        )  # fmt: skip
