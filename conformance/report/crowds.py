"""What holds for any number of callers, in words."""

from __future__ import annotations

from conformance.report.lanes import lane_table, plain
from conformance.roles.printable import printable
from conformance.roles.scenario import many
from conformance.verdict.clause import Counterexample
from conformance.verdict.crowd import MOST_CALLERS, Counted


def crowds(found: Counted, *, witness: bool = True) -> str:
    """A few lines for each scenario, and the schedules of what is broken."""
    lines = [f"{found.scenario}: {found.about}"]
    if found.clauses:
        lines.append(f"  HELD for any number: {', '.join(found.clauses)}")
    shown: list[str] = []
    for example, clauses in _by_schedule(found):
        lines.append(f"  VIOLATED by {many(found.callers[clauses[0]], 'caller')}: {', '.join(clauses)}")
        if example.replay:
            lines.append(f"    intack replay {example.replay}")
        if example.trace:
            shown.append(plain(lane_table(example, clauses[0])))
    if found.spurious:
        why = f"broken where callers are counted, and not by {MOST_CALLERS} or fewer"
        lines.append(f"  UNKNOWN: {', '.join(found.spurious)}: {why}")
    if found.unknown:
        lines.append(f"  UNKNOWN: {found.unknown}")
    if found.states:
        lines.append(f"  {found.states:,} states, callers counted up to {found.cap}")
    if witness:
        lines += [line for table in shown for line in ("", table)]
    return printable("\n".join(lines) + "\n", "\n")


def _by_schedule(found: Counted) -> list[tuple[Counterexample, list[str]]]:
    """Clauses that one schedule breaks, together."""
    groups: dict[str, tuple[Counterexample, list[str]]] = {}
    for clause, example in found.broken.items():
        groups.setdefault(example.replay or clause, (example, []))[1].append(clause)
    return list(groups.values())
