"""What a verdict rests on, in words: which scenarios, how large, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.roles.scenario import Scenario, many
from conformance.verdict.explore import Explored

FEW = 3
"""Scenarios that a sentence names."""


def exhaustively(results: Sequence[Explored], known: Mapping[str, Scenario]) -> str:
    """The bounds of a proof over several scenarios, in one sentence. `known` are scenarios by name."""
    drawn = "; ".join(_drawn(r) for r in results if r.samples)
    results = [r for r in results if not r.samples]
    if not results:
        return drawn
    scenarios = [known[r.scenario] for r in results]
    optional = {
        name
        for s in scenarios
        for name, n in (("preemption", s.budget.preempt), ("migration", s.budget.migrate), ("exit", s.budget.exit),
                        ("spurious interrupt", len(s.budget.spurious)))
        if n
    }  # fmt: skip
    return (
        f"exhaustively in {named(results)}, {sum(r.states for r in results):,} states: at most "
        f"{many(max(len(s.vcpus) for s in scenarios), 'vCPU')}, {many(max(s.cpus for s in scenarios), 'pCPU')}, "
        f"{many(max(s.agents for s in scenarios), 'other agent')}, "
        f"{many(max(len(s.vectors) for s in scenarios), 'interrupt')}, "
        f"{'one each of ' * bool(optional)}{', '.join(sorted(optional)) or 'no optional steps'}"
        f"{'; with store buffers' * any(s.buffer for s in scenarios)}{'; ' * bool(drawn)}{drawn}"
    )


def named(results: Sequence[Explored]) -> str:
    """How many scenarios, and which; of many the first."""
    return counted([r.scenario for r in results])


def counted(names: Sequence[str]) -> str:
    first = names if len(names) <= FEW + 1 else [*names[:FEW], f"{len(names) - FEW} more"]
    listed = f"{', '.join(first[:-1])} and {first[-1]}" if len(first) > 1 else "".join(first)
    return f"{many(len(names), 'scenario')} ({listed})"


def _drawn(sampled: Explored) -> str:
    """What stands for a proof where there is none."""
    predicted = f" and {sampled.predicted} that these predict" * bool(sampled.predicted)
    undecided = f" ({sampled.undecided} questions undecided: the solver gave up)" * bool(sampled.undecided)
    return f"{sampled.samples} sampled schedules of {sampled.scenario}{predicted}{undecided}"
