"""The verdict model: what the suite says about one clause and one implementation.

A clause is a guarantee or a discipline. Only a guarantee can be VIOLATED; a discipline not followed DEVIATES and alone
never fails a run. MAY clauses are OBSERVED or NEVER OBSERVED. Everything else says why nothing can be said.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Literal

import msgspec

from conformance.machine.clause import Citation, Clause
from conformance.machine.finding import Subject
from conformance.search.trace import TraceStep


class Status(str, Enum):
    HELD = "HELD"
    VIOLATED = "VIOLATED"
    DEVIATES = "DEVIATES"
    OBSERVED = "OBSERVED"
    NEVER_OBSERVED = "NEVER OBSERVED"
    NOT_APPLICABLE = "NOT APPLICABLE"
    NOT_CHECKED = "NOT CHECKED"
    NOT_EXERCISED = "NOT EXERCISED"
    UNKNOWN = "UNKNOWN"
    TIMEOUT = "TIMEOUT"
    CRASH = "CRASH"
    NONDETERMINISTIC = "NONDETERMINISTIC"


PASSES = frozenset({Status.HELD, Status.OBSERVED, Status.NEVER_OBSERVED, Status.DEVIATES})
UNDECIDED = frozenset({Status.UNKNOWN, Status.NOT_EXERCISED, Status.CRASH, Status.TIMEOUT, Status.NONDETERMINISTIC})


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """What was explored for a verdict, and within which bounds."""

    scenarios: int
    found_in: int = 0
    """In how many of them a clause is broken, or what it allows was seen."""
    states: int = 0
    samples: int = 0
    """Schedules drawn, where a scenario is too large to be exhausted."""
    vcpus: int = 0
    cpus: int = 0
    others: int = 0
    """Agents beside CPUs: devices, timers."""
    interrupts: int = 0
    optional: tuple[str, ...] = ()
    """Steps that may happen once each, or not; of a story that was explored without budgets too, none is."""
    unlimited: tuple[str, ...] = ()
    """Those of them that may happen any number of times, in `unlimited_in` of `stories`: those explored without budgets
    too, to their end, and all.
    """
    unlimited_in: int = 0
    stories: int = 0
    buffered: bool = False
    """With store buffers in some of them."""


class Counterexample(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest schedule that breaks a clause (or, for OBSERVED, a witness)."""

    scenario: str
    switches: int
    steps: int
    at_rest: bool
    """Broken in the quiescent state after the last step, not by the step itself."""
    witness: bool = False
    """It shows what the clause allows, and breaks nothing."""
    recovery: Literal["DELAYED", "LOST", ""] = ""
    reason: str
    """One sentence by the monitor: what is broken."""
    subjects: tuple[Subject, ...] = ()
    """What the monitor found wrong: locations, with the bits that matter, and agents."""
    role: str = ""
    """The role whose step broke it, and who fills it."""
    architecture: str = ""
    """Whose words its steps are told in."""
    trace: tuple[TraceStep, ...] = ()
    breaks: tuple[str, ...] = ()
    """Every clause that this schedule breaks."""
    replay: str = ""


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Where the implementation's own code fails, so that nothing can be said of clauses: it crashed, gave no answer, or not
    the same one twice.
    """

    status: Status
    what: str
    """What happened, in one line."""
    told: str
    """All that is known of it."""
    at: str = ""
    """The line of its code (file:line), if it is known."""
    scenario: str = ""
    """Where it was met; "" for a routine alone."""
    schedule: Counterexample | None = None
    """The least that leads to it in that scenario."""

    @property
    def same(self) -> tuple[str, ...]:
        """What it has in common with others that are the same failure."""
        return self.status.value, self.at or self.what


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    clause: Clause
    implementation: str
    profile: str
    status: Status
    evidence: str
    """How it is known: one sentence with the bounds, or the reason why nothing can be said."""
    counterexample: Counterexample | None = None
    extent: Extent | None = None
    """None where nothing was explored."""
    breakdown: Breakdown | None = None
    """Why nothing can be said, where the implementation's own code is why."""

    @property
    def suspicion(self) -> tuple[Citation, ...]:
        """What to look up before this violation is held against anybody: texts that its clause rests on and nobody read.

        Nothing of what belongs to the suite: the reference, and what is wrong on purpose.
        """
        own = self.implementation.partition(":")[0] in OWN
        return self.clause.unread if self.status is Status.VIOLATED and not own else ()


OWN = ("reference", "known-bad")


def undecided(status: Status, kind: str) -> bool:
    """Whether something had to be decided and was not. A discipline that is never exercised is another design's habit."""
    return status in UNDECIDED and not (status is Status.NOT_EXERCISED and kind == "discipline")


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """0 nothing violated, 1 something violated, 2 nothing violated but something undecided."""
    status = 0
    for verdict in verdicts:
        if verdict.status is Status.VIOLATED:
            return 1
        if undecided(verdict.status, verdict.clause.kind):
            status = 2
    return status
