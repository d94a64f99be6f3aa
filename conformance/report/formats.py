"""Every form of a report, by the ending of the file that it goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from conformance.report import terminal
from conformance.report.document import ReportError
from conformance.report.html import html
from conformance.report.junit import junit
from conformance.report.mail import mail
from conformance.report.markdown import markdown
from conformance.report.model import Report
from conformance.verdict import output


def json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n"


FORMS: Mapping[str, Callable[[Report], str]] = {
    ".json": json,
    ".html": html,
    ".xml": junit,
    ".md": markdown,
    ".mail": mail,
    ".txt": lambda report: terminal.text(report, verbose=True, assumptions=True),
}
"""In the order of `verdict.output.ENDINGS`."""


def write_all(paths: Iterable[Path], report: Report) -> None:
    """Raises ReportError."""
    for path in paths:
        write(path, report)


def write(path: str | Path, report: Report, form: str = "") -> None:
    """In this form, whatever its ending says. All of the report or nothing: readers never see half of it. Raises ReportError."""
    path = Path(path)
    try:
        output.write(path, FORMS.get(form or path.suffix, json)(report).encode())
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", error)).lower()
        told = f"cannot write the report to {path}: {reason}. Name a file in a directory that exists and is writable."
        raise ReportError(told) from error
