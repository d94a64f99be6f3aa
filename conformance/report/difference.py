"""What became of each clause from one run to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from conformance.report.model import ClauseRow, Report
from conformance.verdict.clause import Status


class Changed(NamedTuple):
    """A clause of one implementation, in the old report and in the new one; None where it is not there."""

    old: ClauseRow | None
    new: ClauseRow | None

    @property
    def row(self) -> ClauseRow:
        found = self.new or self.old
        assert found
        return found


class Difference(NamedTuple):
    """Each clause at most once, in this order of precedence."""

    newly_violated: list[Changed]
    newly_undecided: list[Changed]
    newly_held: list[Changed]
    otherwise: list[Changed]
    """Of another status, no better and no worse."""
    evidence: list[Changed]
    """The same status, on other evidence: another schedule, other scenarios or states."""
    added: list[Changed]
    gone: list[Changed]
    notes: tuple[str, ...] = ()
    """Why the two can be compared only in part."""

    @property
    def exit_status(self) -> int:
        """1: something is violated that was not; 2: something is undecided that was decided. What is gone is no defect."""
        added_violated = any(_violated(c.new) for c in self.added)
        if self.newly_violated or added_violated:
            return 1
        return 2 if self.newly_undecided or any(c.new and c.new.undecided for c in self.added) else 0


def difference(old: Report, new: Report) -> Difference:
    """Of two runs of one implementation each, whatever they are called; of several by their names."""
    alone = len(old.run.implementations) == len(new.run.implementations) == 1
    before, after = _rows(old, alone), _rows(new, alone)
    both = [Changed(before[key], row) for key, row in after.items() if key in before]
    found = Difference([], [], [], [], [], [], [], tuple(_notes(old, new)))
    for changed in both:
        group = _group(changed)
        if group:
            getattr(found, group).append(changed)
    found.added.extend(Changed(None, row) for key, row in after.items() if key not in before)
    found.gone.extend(Changed(row, None) for key, row in before.items() if key not in after)
    return found


def _rows(report: Report, alone: bool) -> dict[tuple[str, str], ClauseRow]:
    return {("" if alone else row.implementation, row.id): row for row in report.clauses}


def _group(changed: Changed) -> str:
    old, new = changed
    assert old and new
    if _violated(new) != _violated(old):
        return "newly_violated" if _violated(new) else "newly_undecided" if new.undecided else "newly_held"
    if new.undecided != old.undecided:
        return "newly_undecided" if new.undecided else "newly_held" if new.status is Status.HELD else "otherwise"
    if new.status is not old.status:
        return "newly_held" if new.status is Status.HELD else "otherwise"
    return "evidence" if _evidence(old) != _evidence(new) else ""


def _violated(row: ClauseRow | None) -> bool:
    return bool(row and row.status is Status.VIOLATED and not row.expected)


def _evidence(row: ClauseRow) -> tuple[object, ...]:
    found = row.counterexample
    schedule = (found.scenario, found.recovery, [(r.agent, r.texts) for r in found.rows]) if found else ()
    return row.evidence.replace(row.implementation, ""), row.extent, schedule


def _notes(old: Report, new: Report) -> Iterator[str]:
    for name, run in (("old", old.run), ("new", new.run)):
        if not run.complete:
            yield f"the {name} run is not complete{f': {run.ended}' if run.ended else ''}"
    if old.run.catalogue != new.run.catalogue:
        yield "the clauses or scenarios are not the same in both"
    if old.run.profiles != new.run.profiles:
        yield f"profile {', '.join(old.run.profiles)} before, {', '.join(new.run.profiles)} now"
    if old.run.implementations != new.run.implementations:
        yield f"{', '.join(old.run.implementations)} before, {', '.join(new.run.implementations)} now"


TITLES = {
    "newly_violated": "Newly violated",
    "newly_undecided": "Newly undecided",
    "newly_held": "Newly held",
    "otherwise": "Changed otherwise",
    "evidence": "The same, on other evidence",
    "added": "Added",
    "gone": "Gone",
}


def text(found: Difference, *, markdown: bool = False, escaped: Callable[[str], str] = str) -> str:
    """For people; of Markdown every text is escaped."""
    lines = [f"{'- ' * markdown}Note: {escaped(note)}" for note in found.notes]
    for name, title in TITLES.items():
        group: Sequence[Changed] = getattr(found, name)
        if group:
            lines += ["", f"{'### ' * markdown}{title} ({len(group)})", *([""] if markdown else [])]
            lines += [f"{'- ' if markdown else '  '}{escaped(_told(changed))}" for changed in group]
    if not any(getattr(found, name) for name in TITLES):
        lines.append("No difference.")
    return "\n".join(lines).strip() + "\n"


def _told(changed: Changed) -> str:
    old, new = changed
    if not old or not new:
        return f"{changed.row.id}  {changed.row.status.value}"
    if old.status is not new.status:
        broken = f": {new.counterexample.reason}" if new.counterexample else ""
        return f"{new.id}  {old.status.value} -> {new.status.value}{broken}"
    before, now = _short(old), _short(new)
    return f"{new.id}  {new.status.value}: {before} -> {now if now != before else 'in other steps'}"


def _short(row: ClauseRow) -> str:
    if found := row.counterexample:
        return f"{found.scenario}, {found.switches} switches, {found.steps} steps"
    return f"{row.extent.scenarios} scenarios, {row.extent.states:,} states" if row.extent else row.evidence
