"""What a verdict rests on, in words: which scenarios, how large, and within which bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from conformance.roles.scenario import Scenario, many
from conformance.verdict.clause import Extent
from conformance.verdict.explore import Explored
from conformance.verdict.unlimited import story_of

FEW = 3
"""Scenarios that a sentence names."""


def exhaustively(results: Sequence[Explored], known: Mapping[str, Scenario]) -> str:
    """The bounds of a proof over several scenarios, in one sentence. `known` are scenarios by name."""
    drawn = "; ".join(_drawn(r) for r in results if r.samples)
    results = [r for r in results if not r.samples]
    if not results:
        return drawn
    rests_on = extent(results, known)
    return (
        f"exhaustively in {named(results)}, {rests_on.states:,} states: {within(rests_on)}{'; ' * bool(drawn)}{drawn}"
    )


def extent(results: Sequence[Explored], known: Mapping[str, Scenario], found_in: int = 0) -> Extent:
    """`known` are scenarios by name. Bounds are of what was exhausted."""
    scenarios = [known[r.scenario] for r in results if not r.samples]
    without_budgets = [s for s in scenarios if s.budget.unlimited]
    twins = {story_of(s.name) for s in without_budgets}
    stories = {s.name for s in scenarios if s.story}
    return Extent(
        scenarios=len(results),
        found_in=found_in,
        states=sum(r.states for r in results),
        samples=sum(r.samples for r in results),
        vcpus=max((len(s.vcpus) for s in scenarios), default=0),
        cpus=max((s.cpus for s in scenarios), default=0),
        others=max((s.agents for s in scenarios), default=0),
        interrupts=max((len(s.vectors) for s in scenarios), default=0),
        optional=optional(s for s in scenarios if not s.budget.unlimited and s.name not in twins),
        unlimited=optional(without_budgets),
        unlimited_in=len(twins & stories),
        stories=len(stories),
        buffered=any(s.buffer for s in scenarios),
    )


def optional(scenarios: Iterable[Scenario]) -> tuple[str, ...]:
    """What may happen in some of them, but need not."""
    budgets = [s.budget for s in scenarios]
    named = (
        ("exit", lambda b: b.exit),
        ("halt", lambda b: b.again),
        ("migration", lambda b: b.migrate),
        ("preemption", lambda b: b.preempt),
        ("spurious interrupt", lambda b: b.spurious),
    )
    return tuple(name for name, of in named if any(of(b) for b in budgets))


def within(bounds: Extent) -> str:
    sizes = (
        f"at most {many(bounds.vcpus, 'vCPU')}, {many(bounds.cpus, 'pCPU')}, {many(bounds.others, 'other agent')}, "
        f"{many(bounds.interrupts, 'interrupt')}"
    )
    spent = f", one each of {', '.join(bounds.optional)}" if bounds.optional else ""
    nothing = ", no optional steps" * (not bounds.optional and not bounds.unlimited_in)
    return f"{sizes}{spent}{nothing}{'; with store buffers' * bounds.buffered}{_any_number(bounds)}"


def _any_number(bounds: Extent) -> str:
    """What may happen as often as one likes, and where that is so."""
    if not bounds.unlimited_in:
        return ""
    where = (
        "each story" if bounds.unlimited_in == bounds.stories else f"{bounds.unlimited_in} of {bounds.stories} stories"
    )
    return f"; for any number of {', '.join(f'{name}s' for name in bounds.unlimited)} in {where}"


def widest(extents: Iterable[Extent]) -> Extent | None:
    """Bounds that hold for all of them; None of nothing that was exhausted."""
    every = [e for e in extents if e.cpus]
    if not every:
        return None
    told = max(every, key=lambda e: (e.stories, -e.unlimited_in))
    return Extent(
        scenarios=max(e.scenarios for e in every),
        states=max(e.states for e in every),
        samples=max(e.samples for e in every),
        vcpus=max(e.vcpus for e in every),
        cpus=max(e.cpus for e in every),
        others=max(e.others for e in every),
        interrupts=max(e.interrupts for e in every),
        optional=tuple(sorted({name for e in every for name in e.optional})),
        unlimited=told.unlimited,
        unlimited_in=told.unlimited_in,
        stories=told.stories,
        buffered=any(e.buffered for e in every),
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
    dropped = f" ({many(sampled.not_followed, 'predicted order')} could not be followed)" * bool(sampled.not_followed)
    undecided = f" ({sampled.undecided} questions undecided: the solver gave up)" * bool(sampled.undecided)
    return f"{sampled.samples} sampled schedules of {sampled.scenario}{predicted}{dropped}{undecided}"
