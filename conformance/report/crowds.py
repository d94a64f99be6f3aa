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
        lines += [f"  HELD: {', '.join(found.clauses)}", f"    {found.evidence}"]
    shown: list[str] = []
    for example, clauses in _by_schedule(found):
        callers = found.callers.get(clauses[0], 0)
        by = f" by {many(callers, 'caller')}" * bool(callers)
        lines.append(f"  VIOLATED{by}: {', '.join(clauses)}")
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
        lines.append(f"  {found.states:,} states{f', callers counted up to {found.cap}' * bool(found.cap)}")
    if witness:
        lines += [line for table in shown for line in ("", table)]
    return printable("\n".join(lines) + "\n", "\n")


def _by_schedule(found: Counted) -> list[tuple[Counterexample, list[str]]]:
    """Clauses that one schedule breaks, together."""
    groups: dict[str, tuple[Counterexample, list[str]]] = {}
    for clause, example in found.broken.items():
        groups.setdefault(example.replay or clause, (example, []))[1].append(clause)
    return list(groups.values())
