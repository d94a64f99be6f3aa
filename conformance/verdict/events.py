"""What becomes known in the course of a run, as it does. Command line, progress and reports are views of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from conformance.verdict.clause import Clause, Counterexample, Verdict
from conformance.verdict.explore import Explored
from conformance.verdict.suite import Checked
from conformance.verdict.work import Check, Explore, Item


@dataclass(frozen=True)
class Progress:
    """How far the run is: items done, and of how many as far as is known."""

    done: int
    of: int
    violated: int
    """Clauses known to be violated."""
    seconds: float
    to_go: float
    """Seconds, a guess from how long such items took until now."""


@dataclass(frozen=True)
class Waiting:
    """Nothing has become known for a while."""

    progress: Progress


@dataclass(frozen=True)
class ScenarioExplored:
    item: Explore
    result: Explored
    seconds: float
    progress: Progress
    kept: bool
    """Known from an earlier run."""


@dataclass(frozen=True)
class FunctionChecked:
    item: Check
    result: Checked
    seconds: float
    progress: Progress
    kept: bool


@dataclass(frozen=True)
class ScheduleSought:
    """Whether there is a lesser schedule than those known before."""

    item: Item
    result: Counterexample | None
    seconds: float
    progress: Progress
    kept: bool


@dataclass(frozen=True)
class BreachFound:
    """A guarantee is broken that was not known to be: its least schedule is not known yet."""

    clause: Clause
    where: str
    reason: str


@dataclass(frozen=True)
class ClauseJudged:
    verdict: Verdict


@dataclass(frozen=True)
class RunEnded:
    """All verdicts in the order of the catalogue, and the clauses that have none."""

    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    why: Literal["", "interrupted", "stopped at the first violation"]
    """It ended before its time."""


Event: TypeAlias = Waiting | ScenarioExplored | FunctionChecked | ScheduleSought | BreachFound | ClauseJudged | RunEnded
