"""Deviations that are known and accepted: a TOML file of entries, each with a reason.

    [[expected]]
    clause = "E2E-13"
    implementation = "mine.model:Sender"   # a glob; any, if it is left out
    reason = "moves between pCPUs are not supported before 2.0"
    link = "https://tracker.example/123"
    expires = 2027-06-30

What is expected counts for nothing. An entry that has expired, names no clause, or no longer fails is itself reported, and
fails the run: a list of excuses that nobody reads grows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import tomlkit

from conformance.report.document import ReportError
from conformance.report.model import ClauseRow, Report
from conformance.verdict.clause import Status

UNTOLD = "not looked into yet"


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    clause: str
    reason: str
    implementation: str = "*"
    link: str = ""
    expires: date | None = None

    def covers(self, row: ClauseRow) -> bool:
        return row.id == self.clause and fnmatchcase(row.implementation, self.implementation)

    @property
    def told(self) -> str:
        until = f", until {self.expires}" if self.expires else ""
        return f"{self.reason}{f' ({self.link})' if self.link else ''}{until}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    expected: tuple[Expected, ...] = ()


def read(path: Path) -> tuple[Expected, ...]:
    """Raises ReportError."""
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text()), _File).expected
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"cannot read {path}: {(getattr(error, 'strerror', None) or str(error)).lower()}.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ReportError(f"{path} is no list of expected deviations: {error}. Each is [[expected]] with clause and "
                          "reason, and if need be implementation, link and expires, a date.") from error  # fmt: skip
    for entry in entries:
        if not entry.reason.strip():
            raise ReportError(f"{path}: the entry for {entry.clause} gives no reason. Say why it is accepted.")
    return entries


def applied(report: Report, entries: Sequence[Expected], clauses: Collection[str], today: date) -> Report:
    """The report with what is expected marked, and its exit status. `clauses` are all that there are, judged or not."""
    current = [entry for entry in entries if not entry.expires or entry.expires >= today]
    rows = tuple(_marked(row, current) for row in report.clauses)
    unmet = tuple(_unmet(entries, report.clauses, clauses, today))
    status = report.run.exit_status
    if status in (1, 2):
        violated = any(row.status is Status.VIOLATED and not row.expected for row in rows)
        undecided = any(row.undecided for row in rows) or bool(report.run.missing)
        status = 1 if violated else 2 if undecided else 0
    run = msgspec.structs.replace(report.run, unmet=unmet, exit_status=1 if unmet and status != 130 else status)
    return msgspec.structs.replace(report, clauses=rows, run=run)


def _marked(row: ClauseRow, entries: Sequence[Expected]) -> ClauseRow:
    entry = next((entry for entry in entries if _fails(row) and entry.covers(row)), None)
    return msgspec.structs.replace(row, expected=entry.told) if entry else row


def _fails(row: ClauseRow) -> bool:
    return row.status is Status.VIOLATED or row.undecided


def _unmet(
    entries: Sequence[Expected], rows: Sequence[ClauseRow], clauses: Collection[str], today: date
) -> Iterator[str]:
    for entry in entries:
        covered = [row for row in rows if entry.covers(row)]
        if entry.clause not in clauses:
            yield f"{entry.clause} is no clause. Remove the entry."
        elif entry.expires and entry.expires < today:
            yield f"the entry for {entry.clause} has expired on {entry.expires} ({entry.reason})"
        elif covered and not any(map(_fails, covered)):
            states = ", ".join(dict.fromkeys(row.status.value for row in covered))
            yield f"{entry.clause} is {states} and no longer fails ({entry.reason}). Remove the entry."
        elif not covered and entry.clause in {row.id for row in rows}:
            yield f"the entry for {entry.clause} matches no implementation: {entry.implementation}"


def written(report: Report, entries: Sequence[Expected]) -> str:
    """A file that expects what fails today: entries that are known keep their words."""
    made = tomlkit.document()
    listed = tomlkit.aot()
    for row in (row for row in report.clauses if _fails(row)):
        known = next((entry for entry in entries if entry.covers(row)), None)
        entry = known or Expected(clause=row.id, reason=UNTOLD)
        fields = {"clause": row.id, "implementation": row.implementation, "reason": entry.reason}
        fields |= {"link": entry.link} if entry.link else {}
        table = tomlkit.item(fields)
        if entry.expires:
            table["expires"] = entry.expires  # pyright: ignore[reportIndexIssue]
        listed.append(table)  # pyright: ignore[reportArgumentType]
    made["expected"] = listed
    return tomlkit.dumps(made)
