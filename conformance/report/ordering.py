"""Executions of litmus tests, directed schedules and the worth of fences, put into words.

An execution is shown as lanes, each access where it takes effect; a step that does so before an earlier one of its
thread says which it overtakes:

     step | P0                                 | P1                   | changed
    ------+------------------------------------+----------------------+--------
        1 | movl (y),%eax: y = 0; overtakes 4  |                      |
        2 |                                    | movl $1,(y): y := 1  | y 0->1
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from conformance.litmus.axioms import Model
from conformance.litmus.solve import Found
from conformance.litmus.values import Concrete
from conformance.litmus.witness import effects
from conformance.ordering.axiomatic import Audited as ByAxioms
from conformance.ordering.axiomatic import Judgement
from conformance.ordering.directed import FITS
from conformance.ordering.fences import Audited, Judged
from conformance.ordering.missing import Gap
from conformance.ordering.order import Answer
from conformance.ordering.routines import TABLE
from conformance.report import terminal
from conformance.report.lanes import lane_table, plain, rows_table
from conformance.report.rows import Item, Row
from conformance.roles.printable import printable
from conformance.roles.scenario import many
from conformance.search.words import Changed
from conformance.verdict.clause import Counterexample, Status, Verdict

OWNER = "vcpu0."
"""Owner of locations that goes without saying."""
FEW_NAMES = 4
"""So many scenarios are named."""


def rows(found: Found, model: Model) -> tuple[Row, ...]:
    order = effects(found, model)
    place = {event.name: n for n, event in enumerate(order, 1)}
    holds: dict[str, Concrete] = {}
    made: list[Row] = []
    for n, event in enumerate(order, 1):
        at = str(event.at)
        assert event.at and event.value
        before = holds.get(at, found.combination.program.initial(event))
        value = event.value.given(found.returned)
        does = f"{at} := {value}" if event.kind == "W" else f"{at} = {value}"
        overtaken = sorted(
            p for name, p in place.items() if name[0] == event.thread and name[1] < event.index and p > n
        )
        items = [Item(f"{event.text}: {does}")]
        if overtaken:
            items.append(Item(f"overtakes {', '.join(map(str, overtaken))}"))
        if event.kind == "R" and (source := found.execution.rf[event.name]) and place[source] > n:
            items.append(Item(f"forwarded from {place[source]}"))
        changes: tuple[Changed, ...] = ()
        if event.kind == "W":
            holds[at] = value
            changes = (Changed(at, str(before), str(value)),)
        made.append(Row(n, f"P{event.thread}", tuple(items), changes))
    return tuple(made)


def execution(found: Found, model: Model, width: int = 110) -> str:
    """The table, and the final state below it."""
    program = found.combination.program
    final: Mapping[str, Concrete] = {
        str(t): v
        for t, v in zip(program.observed(), found.combination.outcome(found.execution, found.returned), strict=True)
    }
    return (
        plain(rows_table(rows(found, model), width)) + f"\n finally {', '.join(f'{t} = {v}' for t, v in final.items())}"
    )


def directed_schedules(answers: Sequence[Answer], *, color: bool = False) -> str:
    """The answers for people: the least violation, or the least schedule that fits, or why none does."""
    lines: list[str] = []
    least: dict[str, Verdict] = {}
    for verdict in (v for a in answers for v in a.verdicts):
        cost = _cost(verdict)
        if verdict.clause.id not in least or cost < _cost(least[verdict.clause.id]):
            least[verdict.clause.id] = verdict
    for status in (Status.VIOLATED, Status.DEVIATES):
        named = [v for v in least.values() if v.status is status]
        if named and not lines:
            shown = min(named, key=_cost)
            lines.append(terminal.block_text(shown, color=color))
            named.remove(shown)
        if named:
            lines.append(f"{status.value} too, in schedules that fit: {', '.join(v.clause.id for v in named)}\n")
    fitting = [a for a in answers if a.fits]
    if fitting and not lines:
        least_fit = min(fitting, key=lambda a: (a.fits.switches, a.fits.steps) if a.fits else (0, 0))
        assert least_fit.fits
        lines.append(f"A schedule fits, in scenario {least_fit.scenario}; none that fits breaks a clause.\n\n")
        lines.append(plain(lane_table(least_fit.fits, FITS.clause)[:-1]) + "\n")
    for answer in answers:
        if answer.why_not:
            lines.append(f"no schedule fits in scenario {answer.scenario}: {answer.why_not}\n")
        if answer.undecided:
            lines.append(f"UNKNOWN in scenario {answer.scenario}: {answer.undecided}\n")
    return "".join(lines)


def _cost(verdict: Verdict) -> tuple[int, int]:
    found = verdict.counterexample
    return (found.switches, found.steps) if found else (0, 0)


def fences(audited: Audited, *, witnesses: bool = True) -> str:
    """What is missing; a line a site; what may not go together; then the schedules that show it."""
    lines: list[str] = []
    for missing in audited.missing:
        lines += _lacks(missing.breaks, missing.mends, "store buffers alone", missing.witness.scenario)
        lines += ["", *([plain(lane_table(missing.witness, missing.clause)), ""] if witnesses else [])]
    groups = _by_line(audited.judged)
    width = max(map(len, groups), default=0)
    shown: list[tuple[str, Counterexample | None, str]] = []
    for line, found in groups.items():
        worst = min(found, key=lambda j: STRONGEST.index(j.status))
        broken = f": {', '.join(worst.breaks)}" if worst.breaks else ""
        looked = list(dict.fromkeys(name for j in found for name in j.looked))
        few = ", ".join(looked) if len(looked) <= FEW_NAMES else many(len(looked), "scenario")
        lines.append(f"{line:<{width}}  {worst.status}{broken} ({worst.witness.scenario if worst.witness else few})")
        if worst.status == "needed":
            shown.append((f"without {line}", worst.witness, worst.clause))
    for pair in audited.together:
        one, other = map(_bare, pair.sites)
        lines.append(f"not both may go: {one}; {other}: {', '.join(pair.breaks)} ({pair.witness.scenario})")
    lines += ["", _where(audited)]
    shown += [(f"without {_bare(p.sites[0])} and {_bare(p.sites[1])}", p.witness, p.clause) for p in audited.together]
    for title, witness, clause in shown:
        if witnesses and witness:
            lines += ["", f"{title}:", plain(lane_table(witness, clause))]
    return printable("\n".join(lines) + "\n", "\n")


def _lacks(breaks: Sequence[str], mends: Sequence[Gap], by: str, where: str) -> list[str]:
    told = [f"  Would keep it: {_bare(gap)}" for gap in mends]
    return [
        f"{', '.join(breaks)}: broken as it is, by {by} ({where}).",
        *(told or ["  No single fence behind an access would keep it."]),
    ]


STRONGEST = (
    "needed", "demanded, changes nothing", "changes outcomes, breaks nothing", "not needed",
)  # fmt: skip
NUMBERS = ((re.compile(r"vcpu\d+\."), ""), (re.compile(r"\[\d+\]"), "[]"), (re.compile(r" word \d+"), "[]"))


def _by_line(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """What differs in the number of a vCPU, word or vector alone is one line of code."""
    found: dict[str, list[Judged]] = {}
    for j in judged:
        line = str(j.site)
        for number, plain_text in NUMBERS:
            line = number.sub(plain_text, line)
        found.setdefault(line, []).append(j)
    return found


def _where(audited: Audited) -> str:
    if len(audited.scenarios) <= FEW_NAMES:
        text = f"TSO, exhaustively in: {', '.join(audited.scenarios)}"
    else:
        text = (
            f"TSO, exhaustively, in {len(audited.scenarios)} scenarios, smallest first, each site where it is reached"
        )
    text += f". Store buffers of {many(audited.depth, 'store')} where the scenario does not say."
    if audited.too_large:
        text += f" {many(len(audited.too_large), 'larger scenario')} left out"
        text += f", in {len(audited.only_missing)} only what is missing looked for." if audited.only_missing else "."
    return text


def _bare(site: object) -> str:
    return str(site).replace(OWNER, "")


def fences_by_axioms(audited: ByAxioms, scenarios: Sequence[str], model: Model, *, witnesses: bool = True) -> str:
    """What is missing; what instructions are taken for what; a line a site, then the execution that shows why each needed
    one is.
    """
    column, judged = 2 if model == "armv8" else 1, audited.judged
    lines: list[str] = []
    for missing in audited.missing:
        lines += _lacks(missing.breaks, missing.mends, f"{model} alone", missing.window)
        lines += ["", *([execution(missing.witness, model), ""] if witnesses else [])]
    lines += ["Operations are taken for these instructions:"]
    lines += [f"  {row[0]:<26}  {row[column]}" for row in TABLE]
    width = max((len(str(j.site)) for j in judged), default=0)
    lines += ["", *(f"{str(j.site).replace(OWNER, ''):<{width}}  {_status(j)}" for j in judged)]
    lines.append(f"{model}, by axioms, in windows of: {', '.join(scenarios)}")
    for j in judged:
        if witnesses and j.breaks and j.witness:
            lines += ["", f"without {str(j.site).replace(OWNER, '')}: {j.window}:", execution(j.witness, model)]
    return "\n".join(lines) + "\n"


def _status(judgement: Judgement) -> str:
    return judgement.status + (f": {', '.join(judgement.breaks)}" if judgement.breaks else "")
