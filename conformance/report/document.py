"""The report as a JSON document: versioned, with a schema, one row for each clause and implementation.

The schema is report.schema.json beside this file; `python -m conformance.report.document` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from conformance import __version__
from conformance.machine.clause import Authority, Citation
from conformance.machine.facts import Happened
from conformance.machine.finding import Subject
from conformance.report.edges import looks
from conformance.report.reason import why
from conformance.report.rows import reason_of, words_of
from conformance.search.trace import Change, TraceStep
from conformance.search.words import Words, show
from conformance.verdict import output
from conformance.verdict.clause import Counterexample, Status, Verdict, exit_status
from conformance.verdict.session import Session
from conformance.verdict.suite import catalogue_hash

SCHEMA = "intack.report/2"
Ended: TypeAlias = Literal["", "interrupted", "stopped at the first violation"]
"""Why a run is not complete."""


class ReportError(Exception):
    """A report cannot be written or read. The message says which, why, and what to do."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as it was given; empty where nothing was."""

    adapter: str = ""
    profile: str = ""
    clauses: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    scenario_files: tuple[str, ...] = ()
    draw: int = 0
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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a counterexample, in words and as data.

    `agent` is its lane; `in_handler` tells a handler from the thread under it; `texts` are what it did, first what others
    notice; `changes` maps a location or CPU register to (old, new) as printed; `breaks` is set on the step that breaks the
    clause.
    """

    number: int
    agent: str
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
    role: str = ""
    """The role whose step broke it, and who fills it."""
    rows: tuple[Row, ...] = ()
    replay: str = ""


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


class Report(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal["intack.report/2"]
    version: str
    """Of intack."""
    run: RunSummary
    clauses: tuple[ClauseRow, ...]


class _Head(msgspec.Struct):
    schema: str


def report(
    verdicts: Sequence[Verdict],
    *,
    bounds: Mapping[str, str] | None = None,
    catalogue: str = "",
    assumptions: Sequence[str] = (),
    left_out: Sequence[str] = (),
    missing: Sequence[str] = (),
    asked: Asked | None = None,
    ended: Ended = "",
    status: int | None = None,
) -> Report:
    """The document of a run. `status` is the exit status, where it is not what the verdicts come to."""
    if status is None:
        status = exit_status(verdicts) or (2 if missing else 0)
    run = RunSummary(
        complete=not missing,
        ended=ended,
        asked=asked or Asked(),
        implementations=tuple(dict.fromkeys(v.implementation for v in verdicts)),
        profiles=tuple(dict.fromkeys(v.profile for v in verdicts)),
        bounds=dict(bounds or {}),
        catalogue=catalogue,
        assumptions=tuple(assumptions),
        exit_status=msgspec.convert(status, Literal[0, 1, 2, 130]),
        left_out=tuple(left_out),
        missing=tuple(missing),
    )
    return Report(schema=SCHEMA, version=__version__, run=run, clauses=tuple(map(_row, verdicts)))


def of_session(session: Session, verdicts: Sequence[Verdict], ended: Ended = "", status: int | None = None) -> Report:
    """The document of what was asked for, as far as it was judged."""
    judged = {v.clause.id for v in verdicts}
    return report(
        verdicts,
        bounds={s.name: s.bounds() for s in session.suite.scenarios},
        catalogue=catalogue_hash(session.suite),
        assumptions=session.assumptions,
        left_out=session.left_out,
        missing=[c.id for c in session.clauses if c.id not in judged],
        asked=Asked(**session.asked),
        ended=ended,
        status=status,
    )


def _row(verdict: Verdict) -> ClauseRow:
    clause = verdict.clause
    return ClauseRow(
        id=clause.id,
        section=clause.section,
        kind=clause.kind,
        architecture=clause.architecture,
        modality=clause.modality,
        role=clause.role,
        statement=clause.statement,
        authority=clause.authority,
        sources=clause.sources,
        verified=clause.verified,
        of=clause.of,
        where=clause.where,
        implementation=verdict.implementation,
        profile=verdict.profile,
        status=verdict.status,
        evidence=verdict.evidence,
        suspicion=verdict.suspicion,
        counterexample=verdict.counterexample and _schedule(verdict.counterexample),
    )


def _schedule(found: Counterexample) -> Schedule:
    words = words_of(found)
    return Schedule(
        scenario=found.scenario,
        switches=found.switches,
        steps=found.steps,
        at_rest=found.at_rest,
        witness=found.witness,
        recovery=found.recovery,
        reason=reason_of(found, words),
        subjects=found.subjects,
        why=why(found).sentences,
        role=found.role,
        rows=tuple(_step(step, Words(words.architecture)) for step in found.trace),
        replay=found.replay,
    )


def _step(step: TraceStep, words: Words) -> Row:
    sites = tuple(fact.site for fact in step.facts)
    return Row(
        number=step.number,
        agent=step.agent,
        in_handler=step.in_handler,
        texts=tuple(map(words.told, step.facts)),
        changes={c.name: (c.old, c.new) for change in step.changes for c in words.changed(change)},
        routine=step.routine,
        reads={words.place(at, mask): show(value, mask) for at, mask, value in looks(step)},
        breaks=step.breaks,
        sites=sites if any(sites) else (),
        facts=step.facts,
        changed=step.changes,
    )


def write_all(paths: Iterable[Path], document: Report) -> None:
    """Raises ReportError."""
    for path in paths:
        write(path, document)


def write(path: str | Path, document: Report) -> None:
    """All of the report or nothing: readers never see half of it. Raises ReportError."""
    path = Path(path)
    try:
        output.write(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    except (OSError, ValueError) as error:
        raise _cannot_write(path, str(getattr(error, "strerror", error)).lower()) from error


def _cannot_write(path: Path, why: str) -> ReportError:
    return ReportError(
        f"cannot write the report to {path}: {why}. Name a file in a directory that exists and is writable."
    )


def read(path: str | Path) -> Report:
    """Raises ReportError for a file that is missing, damaged, or of another version."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ReportError(f"cannot read the report {path}: {(error.strerror or str(error)).lower()}.") from error
    try:
        found = msgspec.json.decode(raw, type=_Head).schema
        if found != SCHEMA:
            raise ReportError(
                f"{path} follows the schema {found!r}; this intack {__version__} reads {SCHEMA!r}. Run it again."
            )
        return msgspec.json.decode(raw, type=Report)
    except msgspec.MsgspecError as error:
        raise ReportError(f"{path} is no whole intack report: {error}. Run again with --report {path}.") from error


def schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **msgspec.json.schema(Report)}


def schema_text() -> str:
    """The schema as committed."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=1).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
