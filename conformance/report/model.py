"""The report as a JSON document: versioned, with a schema, one row for each clause and implementation. Every other form of a
report is made of it.

The schema is report.schema.json beside this file; `python -m conformance.report.model` prints it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from conformance.machine.clause import Authority, Check, Citation
from conformance.machine.facts import Happened
from conformance.machine.finding import Subject
from conformance.search.trace import Change, TraceStep
from conformance.verdict.clause import Counterexample, Extent, Status, undecided

SCHEMA = "intack.report/3"
Ended: TypeAlias = Literal["", "interrupted", "stopped at the first violation"]
"""Why a run is not complete."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as it was given; empty where nothing was."""

    adapters: tuple[str, ...] = ()
    profile: str = ""
    clauses: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    scenario_files: tuple[str, ...] = ()
    draw: int = 0
    unbounded: bool = False
    """Whether the large stories, too, were explored without budgets."""
    environments: tuple[str, ...] = ()
    replay: str = ""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, and how it ended."""

    complete: bool
    """Every clause that was asked for has a verdict. Where not, nothing has passed, whatever else stands here."""
    ended: Ended = ""
    """Why it is not complete, where that is known."""
    asked: Asked = Asked()

    implementations: tuple[str, ...]
    versions: tuple[str, ...] = ()
    """The installed distributions that they are part of, each with its version."""
    editions: tuple[str, ...] = ()
    """The texts, each in its edition, that the clauses cite and that were read."""
    profiles: tuple[str, ...]
    bounds: dict[str, str]
    """Scenario to the bounds of its exploration, in one sentence."""
    catalogue: str
    """Hash of the clauses and scenarios."""
    assumptions: tuple[str, ...]
    """Rules of the machine on which every verdict rests."""
    exit_status: Literal[0, 1, 2, 130]
    """Of the command: 1 something is violated; 2 something has no verdict, or is undecided; 130 interrupted."""
    left_out: tuple[str, ...] = ()
    """Scenarios that concern these clauses and were not run, since none of the implementation's routines runs in them."""
    missing: tuple[str, ...] = ()
    """Clauses that were asked for and have no verdict, for the run ended before its time."""
    unmet: tuple[str, ...] = ()
    """What is wrong with the expected deviations: entries that have expired, match nothing, or no longer fail."""


class Instead(msgspec.Struct, frozen=True):
    """A step that could have been taken: whose, and what it would have done first, "" if nothing others notice."""

    agent: str
    text: str
    leads: Literal["", "can", "cannot", "unknown"] = ""
    """Whether the clause can still be broken after it, whatever follows; "" where nobody looked."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a counterexample, in words and as data.

    `agent` took it, and `lane` is the CPU or device that it belongs to; `in_handler` tells a handler from the thread under
    it; `texts` are what it did, first what others notice; `changes` maps a location or CPU register to (old, new) as
    printed; `breaks` is set on the step that breaks the clause.
    """

    number: int
    agent: str
    lane: str
    in_handler: bool
    texts: tuple[str, ...]
    changes: dict[str, tuple[str, str]]
    routine: str = ""
    reads: dict[str, str] = {}
    """What it read of shared locations, as printed: the value it acted on."""
    breaks: bool = False
    sites: tuple[str, ...] = ()
    """Of each text, where in the code its operation was asked for (file:line), where the implementation says so."""
    facts: tuple[Happened, ...] = ()
    """Of each text, what it says."""
    changed: tuple[Change, ...] = ()
    """Whole words and lists: what `changes` says by fields."""
    instead: tuple[Instead, ...] = ()


class Elsewhere(msgspec.Struct, frozen=True):
    """What another implementation does on this schedule."""

    implementation: str
    fits: int
    """So many steps: the next one is the first in which they differ. All of them: they do not differ."""
    breaks: bool
    """It breaks the clause there, too."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
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
    """What it is about: locations, with the bits that matter, and agents."""
    why: tuple[str, ...] = ()
    """Three to five sentences: how the steps lead there."""
    source: dict[str, str] = {}
    """The text of the lines that `sites` of the steps name, where it could be read."""
    named: tuple[int, ...] = ()
    """The steps that they name."""
    breaks: tuple[str, ...] = ()
    """Every clause that this schedule breaks."""
    architecture: str = ""
    role: str = ""
    """The role whose step broke it, and who fills it."""
    rows: tuple[Row, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    replay: str = ""

    def found(self) -> Counterexample:
        """What this was made of, as far as it is kept."""
        trace = (
            TraceStep(
                number=r.number,
                agent=r.agent,
                in_handler=r.in_handler,
                facts=r.facts,
                changes=r.changed,
                breaks=r.breaks,
            )
            for r in self.rows
        )
        return Counterexample(
            scenario=self.scenario,
            switches=self.switches,
            steps=self.steps,
            at_rest=self.at_rest,
            witness=self.witness,
            recovery=self.recovery,
            reason=self.reason,
            subjects=self.subjects,
            role=self.role,
            architecture=self.architecture,
            trace=tuple(trace),
            breaks=self.breaks,
            replay=self.replay,
        )


class ClauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One clause and one implementation. VIOLATED and DEVIATES have a counterexample; that of OBSERVED is a witness."""

    id: str
    section: str
    kind: Literal["guarantee", "discipline"]
    architecture: str
    modality: Literal["MUST", "MUST NOT", "MAY"]
    role: str
    authority: Authority
    """Whose word it is."""
    statement: str
    premise: str = ""
    check: Check = "interleaving"
    observe: str = ""
    """What is looked at to judge it."""
    sources: tuple[Citation, ...]
    verified: bool
    """Whether all that it rests on was read."""
    of: tuple[str, ...]
    """The clauses that it is, under the conditions in `where`."""
    where: tuple[str, ...]
    implementation: str
    profile: str
    status: Status
    evidence: str
    suspicion: tuple[Citation, ...]
    """What to look up before this violation is held against the implementation; empty if nothing."""
    counterexample: Schedule | None = None
    extent: Extent | None = None
    """How much was explored; null where nothing was."""
    breakdown: int = 0
    """The number of what kept it from being judged, among the `breakdowns` of the report, from 1; 0: none did."""
    expected: str = ""
    """Why it is known to be violated, and counts for nothing; "" if it is not."""

    @property
    def undecided(self) -> bool:
        return undecided(self.status, self.kind) and not self.expected


class BreakdownRow(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of an implementation's own code, and the clauses of which nothing can be said for it."""

    implementation: str
    status: Status
    what: str
    """What happened, in one line."""
    told: str
    """All that is known of it."""
    at: str = ""
    """The line of its code (file:line), if it is known."""
    scenario: str = ""
    clauses: tuple[str, ...] = ()
    counterexample: Schedule | None = None
    """The least schedule in that scenario that leads to it: in its last step the code fails."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal["intack.report/3"]
    version: str
    """Of intack."""
    run: RunSummary
    clauses: tuple[ClauseRow, ...]
    breakdowns: tuple[BreakdownRow, ...] = ()


def schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **msgspec.json.schema(Report)}


def schema_text() -> str:
    """The schema as committed."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=1).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
