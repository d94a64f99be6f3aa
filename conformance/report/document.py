"""From verdicts to the document of a run, to a file and back. What others wrote is printable in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from conformance import __version__
from conformance.adapters.registry import GROUP
from conformance.report.edges import looks
from conformance.report.model import (
    SCHEMA,
    Asked,
    BreakdownRow,
    ClauseRow,
    Ended,
    Instead,
    Report,
    Row,
    RunSummary,
    Schedule,
)
from conformance.report.reason import why
from conformance.report.rows import lane, reason_of, rows, words_of
from conformance.report.source import with_source
from conformance.roles.printable import printable_struct
from conformance.roles.registered import registered
from conformance.search.trace import TraceStep
from conformance.search.words import Words, show
from conformance.verdict.clause import OWN, Breakdown, Counterexample, Status, Verdict, exit_status
from conformance.verdict.session import Session
from conformance.verdict.suite import catalogue_hash


class ReportError(Exception):
    """A report cannot be written or read. The message says which, why, and what to do."""


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
    versions: Sequence[str] = (),
) -> Report:
    """The document of a run. `status` is the exit status, where it is not what the verdicts come to."""
    if status is None:
        status = exit_status(verdicts) or (2 if missing else 0)
    run = RunSummary(
        complete=not missing,
        ended=ended,
        asked=asked or Asked(),
        implementations=tuple(dict.fromkeys(v.implementation for v in verdicts)),
        versions=tuple(versions),
        editions=tuple(sorted({cited.text for v in verdicts for cited in v.clause.sources if cited.read})),
        profiles=tuple(dict.fromkeys(v.profile for v in verdicts)),
        bounds=dict(bounds or {}),
        catalogue=catalogue,
        assumptions=tuple(assumptions),
        exit_status=msgspec.convert(status, Literal[0, 1, 2, 130]),
        left_out=tuple(left_out),
        missing=tuple(missing),
    )
    broken = _breakdowns(verdicts)
    number = {clause: n for n, row in enumerate(broken, 1) for clause in [(row.implementation, c) for c in row.clauses]}
    return printable_struct(
        Report(
            schema=SCHEMA,
            version=__version__,
            run=run,
            clauses=tuple(_shortened(_row(v), number, broken) for v in verdicts),
            breakdowns=broken,
        )
    )


def of_session(session: Session, verdicts: Sequence[Verdict], ended: Ended = "", status: int | None = None) -> Report:
    """The document of what was asked for, as far as it was judged."""
    judged = {v.clause.id for v in verdicts}
    made = report(
        verdicts,
        bounds={s.name: s.bounds() for s in session.suite.scenarios},
        catalogue=catalogue_hash(session.suite),
        assumptions=session.assumptions,
        left_out=session.left_out,
        missing=[c.id for c in session.clauses if c.id not in judged],
        asked=Asked(**session.asked),
        ended=ended,
        status=status,
        versions=version_of(session.implementation.spec),
    )
    return replace(
        made,
        clauses=with_source(made.clauses, session.implementation),
        breakdowns=with_source(made.breakdowns, session.implementation),
    )


def version_of(spec: str) -> tuple[str, ...]:
    """The installed distribution that an implementation is part of, with its version; none if it is in no distribution."""
    name, plugged, _ = spec.partition(":")
    entry = registered(GROUP).get(name)
    if entry and plugged and name not in OWN:  # what is plugged into the adapter, of which nothing is known
        return ()
    if entry:
        return (f"{entry.dist.name} {entry.dist.version}",) if entry.dist else ()
    packages = metadata.packages_distributions().get(name.partition(".")[0], [])
    return tuple(f"{package} {metadata.version(package)}" for package in dict.fromkeys(packages))


def row(verdict: Verdict) -> ClauseRow:
    """What a report says of one clause."""
    return printable_struct(_row(verdict))


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
        premise=clause.premise,
        check=clause.check,
        observe=clause.observe,
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
        extent=verdict.extent,
    )


def _breakdowns(verdicts: Sequence[Verdict]) -> tuple[BreakdownRow, ...]:
    """Each once: of the scenarios in which it was met, that with the least schedule."""
    alike: dict[tuple[str, ...], list[tuple[str, Breakdown]]] = {}
    for verdict in verdicts:
        if why_not := verdict.breakdown:
            alike.setdefault((verdict.implementation, *why_not.same), []).append((verdict.clause.id, why_not))
    return tuple(
        _breakdown(key[0], min((b for _, b in met), key=_effort), [clause for clause, _ in met])
        for key, met in alike.items()
    )


def _effort(why_not: Breakdown) -> tuple[bool, int, int]:
    found = why_not.schedule
    return (not found, found.switches if found else 0, found.steps if found else 0)


def _breakdown(implementation: str, why_not: Breakdown, clauses: Sequence[str]) -> BreakdownRow:
    return BreakdownRow(
        implementation=implementation,
        status=why_not.status,
        what=why_not.what,
        told=why_not.told,
        at=why_not.at,
        scenario=why_not.scenario,
        clauses=tuple(clauses),
        counterexample=why_not.schedule and _schedule(why_not.schedule),
    )


def _shortened(row: ClauseRow, number: Mapping[tuple[str, str], int], broken: Sequence[BreakdownRow]) -> ClauseRow:
    """What kept it from being judged is told once, not with each clause."""
    n = number.get((row.implementation, row.id), 0)
    return replace(row, breakdown=n, evidence=f"breakdown {n}: {broken[n - 1].what}") if n else row


def _schedule(found: Counterexample) -> Schedule:
    words, told = words_of(found), why(found)
    return Schedule(
        scenario=found.scenario,
        switches=found.switches,
        steps=found.steps,
        at_rest=found.at_rest,
        witness=found.witness,
        recovery=found.recovery,
        reason=reason_of(found, words),
        subjects=found.subjects,
        why=told.sentences,
        named=tuple(sorted(told.steps)),
        breaks=found.breaks,
        architecture=found.architecture,
        role=found.role,
        rows=tuple(_step(step, Words(words.architecture)) for step in found.trace),
        replay=found.replay,
    )


def _step(step: TraceStep, words: Words) -> Row:
    sites = tuple(fact.site for fact in step.facts)
    return Row(
        number=step.number,
        agent=step.agent,
        lane=lane(step),
        in_handler=step.in_handler,
        texts=tuple(map(words.told, step.facts)),
        changes={c.name: (c.old, c.new) for change in step.changes for c in words.changed(change)},
        routine=step.routine,
        reads={words.place(at, mask): show(value, mask) for at, mask, value in looks(step)},
        breaks=step.breaks,
        sites=sites if any(sites) else (),
        facts=step.facts,
        changed=step.changes,
        instead=tuple(Instead(other.agent, words.told(other.fact) if other.fact else "") for other in step.instead),
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
        report = printable_struct(msgspec.json.decode(raw, type=Report))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is no whole intack report: {error}. Run again with --report {path}.") from error
    if told := next(_contradictions(report), ""):
        raise ReportError(f"{path} contradicts itself: {told}. Run again with --report {path}.")
    return report


def _contradictions(report: Report) -> Iterator[str]:
    for row in report.clauses:
        found = row.counterexample
        if row.breakdown not in range(len(report.breakdowns) + 1):
            yield f"{row.id} is kept from being judged by breakdown {row.breakdown}, which there is not"
        if row.implementation not in report.run.implementations:
            yield f"{row.id} is of {row.implementation}, which was not run"
        if row.status in (Status.VIOLATED, Status.DEVIATES) and not found:
            yield f"{row.id} is {row.status.value}, and nothing shows it"
        if found and [step.number for step in found.rows] != list(range(1, len(found.rows) + 1)):
            yield f"the steps that break {row.id} are not numbered from 1"
        if found and any(step.sites and len(step.sites) != len(step.texts) for step in found.rows):
            yield f"steps that break {row.id} have more places in the code than operations, or fewer"
        if found and found.rows and not set(found.named) <= set(range(1, len(found.rows) + 1)):
            yield f"the reason names steps that {row.id} does not have"
        if found and not _can_be_told(found.found()):
            yield f"the steps that break {row.id} make no sense"


def _can_be_told(found: Counterexample) -> bool:
    """Whether somebody wrote into it what no machine does, a location that is none, say."""
    try:
        rows(found.trace, words_of(found))
        why(found)
    except (ValueError, LookupError, TypeError, AssertionError, ArithmeticError, AttributeError, MemoryError):
        return False
    return True
