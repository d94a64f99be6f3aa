"""The last report of a folder, and short names for what it shows: `last`, `last#E2E-1`, `report.json#E2E-1`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from conformance.report.document import ReportError, read
from conformance.report.grouped import groups
from conformance.report.model import SCHEMA, ClauseRow, Report
from conformance.verdict.store import Store

LAST = "last"


def keep(report: Report) -> None:
    """In the user's cache. What cannot be kept is not."""
    store = _store()
    store.save(_key(), msgspec.json.encode(report))
    store.trim()


def last() -> Report | None:
    content = _store().load(_key())
    try:
        return msgspec.json.decode(content, type=Report) if content else None
    except msgspec.MsgspecError:  # of another version, or damaged
        return None


def is_handle(text: str) -> bool:
    """Whether it names a schedule of a report, rather than being a replay string."""
    file = text.partition("#")[0]
    return file == LAST or file.endswith(".json")


def own(handle: str) -> bool:
    """Whether it names what this user has run here: that may be run again unasked, and nobody else's file."""
    return handle.partition("#")[0] == LAST


def found(handle: str) -> ClauseRow:
    """The row that it names; without a clause the first violation. Raises ReportError."""
    file, _, clause = handle.partition("#")
    report = last() if own(handle) else read(file)
    if report is None:
        raise ReportError("nothing was judged in this folder, or it was not kept. Name a report: FILE.json#CLAUSE.")
    shown = [row for row in report.clauses if row.counterexample and row.counterexample.replay]
    if clause:
        named = next((row for row in shown if row.id.upper() == clause.upper()), None)
    else:
        named = next((group.first for group in groups(report.clauses)), None)
    if named is None:
        there = ", ".join(row.id for row in shown) or "none"
        raise ReportError(f"{file} shows no schedule of {clause or 'a violation'}. It has those of: {there}.")
    return named


def _store() -> Store:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Store(cache / "intack" / "last")


def _key() -> str:
    return hashlib.sha256(SCHEMA.encode() + os.fsencode(os.getcwd())).hexdigest()[:32]
