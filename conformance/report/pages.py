"""What is said of one violation: what the clause demands, how it was broken, why, and how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from rich.text import Text

from conformance.report.grouped import Group, hinted
from conformance.report.lanes import ASCII, WIDTH, Glyphs, lane_table
from conformance.report.lines import STYLES, hang, plural
from conformance.report.model import BreakdownRow, ClauseRow, Schedule
from conformance.verdict.clause import Status

DISCIPLINE = "a discipline, not a guarantee: alone it fails nothing"
AUTHORITY = {
    "architecture": "the architecture's",
    "linux": "Linux's: how it does it, or what it finds in hardware",
    "end-to-end": "nobody's in particular: no guest or device could do without it",
}
"""Whose word a clause is."""
PROSE = 110
"""Columns that a sentence fills at most."""


class Look(NamedTuple):
    """How a report is laid out."""

    width: int = WIDTH
    glyphs: Glyphs = ASCII
    verbose: bool = False
    all_steps: bool = False
    several: bool = False
    """Implementations: say whose it is."""
    handle: str = ""
    """What a report is called in a short replay handle."""


def block(row: ClauseRow, look: Look) -> list[Text]:
    """All there is to say of one clause."""
    return [*page(Group((row,)), look._replace(verbose=True))]


def page(group: Group, look: Look) -> Iterator[Text]:
    """All there is to say of the clauses that one schedule breaks; less of them unless `verbose`."""
    row, found, width = group.first, group.schedule, min(look.width, PROSE)
    recovery = f" ({found.recovery})" if found and found.recovery else ""
    head = f"{row.status.value}{recovery}  {row.id}  {row.modality}  "
    yield from hang(head, f'"{row.statement}"', width, lead_style=STYLES[row.status], indent=2)
    for name, value in _facts(group, look):
        yield from hang(f"{name:<16}", value, width, lead_style="dim")
    if found:
        yield from _schedule(group, found, look)


def breakdown_page(broken: BreakdownRow, look: Look) -> Iterator[Text]:
    """What failed, once; what can be said of no clause for it; and how it is come to."""
    found, width = broken.counterexample, min(look.width, PROSE)
    yield from hang(f"{broken.status.value}  ", broken.what, width, lead_style=STYLES[broken.status], indent=2)
    for name, value in breakdown_facts(broken, look.several):
        yield from hang(f"{name:<16}", value, width, lead_style="dim")
    if look.verbose or not found:
        for line in more_of(broken):
            yield from hang("  ", line, width, style="dim")
    if not found:
        return
    yield Text()
    yield from lane_table(found.found(), "", width=look.width, glyphs=look.glyphs, all_steps=True, source=found.source)
    if found.replay:
        yield Text()
        yield Text.assemble(("Again   ", "bold"), replay_line(found))


def breakdown_facts(broken: BreakdownRow, several: bool) -> Iterator[tuple[str, str]]:
    yield "not judged", ", ".join(broken.clauses)
    if several:
        yield "implementation", broken.implementation
    if broken.scenario:
        told = f": {cost(broken.counterexample)}" if broken.counterexample else ""
        yield "found", f"in scenario {broken.scenario}{told}"


def more_of(broken: BreakdownRow) -> list[str]:
    """What is known beside what happened."""
    return [line for line in broken.told.removeprefix(broken.what).lstrip(".").splitlines() if line.strip()]


def _facts(group: Group, look: Look) -> Iterator[tuple[str, str]]:
    row, found = group.first, group.schedule
    if row.expected:
        yield "expected", row.expected
    if len(group.rows) > 1:
        yield ("breaks" if found and len(found.breaks) > 1 else "violates"), ", ".join(group.clauses)
    if row.status is Status.DEVIATES:
        yield "deviation", DISCIPLINE
    if row.suspicion:
        first = "; ".join(cited.where for cited in row.suspicion)
        told = f"nobody has read what this clause rests on. Against {row.implementation} it is a suspicion and no more"
        yield "suspicion", f"{told}: look up {first}"
    if row.of:
        yield "that is", f"{' or '.join(row.of)}, where {' and '.join(row.where)}"
    for n, cited in enumerate(row.sources):
        yield "source" * (not n), str(cited)
    if look.verbose:
        yield "word", AUTHORITY[row.authority]
    if look.verbose or look.several:
        yield "implementation", f"{row.implementation}, profile {row.profile}"
    if look.verbose:
        yield "evidence", row.evidence
    if found and found.rows:
        yield (
            "found",
            f"in scenario {found.scenario}: {cost(found)}",
        )
    yield "answerable", (found.role if found else "") or row.role


def _schedule(group: Group, found: Schedule, look: Look) -> Iterator[Text]:
    width = min(look.width, PROSE)
    yield Text()
    if found.rows:
        yield from lane_table(
            found.found(),
            group.first.id,
            width=look.width,
            glyphs=look.glyphs,
            all_steps=look.all_steps,
            source=found.source,
        )
    else:
        yield from hang(f"{look.glyphs.mark} ", found.reason, width, style="bold red")
    if found.why:
        yield Text()
    for n, sentence in enumerate(found.why):
        yield from hang("Why     " if not n else " " * 8, sentence, width, lead_style="bold")
    if group.hint:
        yield Text()
        yield from hang("Hint    ", hinted(group.hint), width, lead_style="bold yellow")
    for other in found.elsewhere:
        yield from hang("On      ", elsewhere(other.implementation, other.fits, other.breaks, found.steps), width)
    if found.replay:
        yield Text()
        yield Text.assemble(("Replay  ", "bold"), replay_line(found))
        if look.handle and found.rows:
            yield Text(f"    or  intack replay {shlex.quote(f'{look.handle}#{group.first.id}')}", "dim")


def cost(found: Schedule) -> str:
    if not found.rows:
        return found.scenario
    return f"{plural(found.switches, 'switch')}, {plural(found.steps, 'step')}"


def elsewhere(implementation: str, fits: int, breaks: bool, steps: int) -> str:
    """What another implementation does on the same schedule."""
    if fits == steps:
        return f"{implementation} the schedule fits, and {'breaks it too' if breaks else 'breaks nothing'}"
    return f"{implementation} step {fits + 1} is the first that differs"


def replay_line(found: Schedule) -> str:
    whole = found.replay.startswith("intack ")  # a command already, where there is no schedule to follow
    return found.replay if whole else f"intack replay {shlex.quote(found.replay)}"
