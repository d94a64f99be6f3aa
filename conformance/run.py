"""`intack run`: the properties under pytest, in this process, with progress in place of pytest's own output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.plugin import session_of
from conformance.session import Session

INTERRUPTED = 130
FAILED = 4
"""The suite itself failed: no statement about the implementation."""
BAD_USAGE = 3

SECONDS_BETWEEN_LINES = 10.0


def judge(options: Sequence[str], workers: str) -> tuple[int, Session | None]:
    """Judge what the plugin's options ask for. Answers 0 if every clause has its verdict, else what went wrong."""
    os.environ.pop("PYTEST_ADDOPTS", None)  # meant for the user's own tests
    watcher = Watcher()
    arguments = [
        *("-c", os.devnull, "--rootdir", os.getcwd(), "-p", "no:cacheprovider", "-p", "no:terminal"),
        *("--disable-plugin-autoload", "-p", "xdist", "-p", "intack", "-n", workers),
        *("--pyargs", "properties.test_clauses", *options),
    ]
    with watcher.progress:
        code = pytest.main(arguments, plugins=[watcher])
    return watcher.outcome(int(code)), watcher.session


class Watcher:
    """What a user sees of a run of pytest whose terminal reporter is off."""

    def __init__(self) -> None:
        # A file of its own: while a clause is judged in this process, pytest captures the usual one.
        self.console = Console(file=os.fdopen(os.dup(sys.stderr.fileno()), "w"))
        columns = ("judging", BarColumn(), MofNCompleteColumn(), TextColumn("clauses"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.task = self.progress.add_task("", total=None, visible=False)
        self.session: Session | None = None
        self.trouble = False
        self.spoke = time.monotonic()

    def outcome(self, code: int) -> int:
        if self.session is None or code == pytest.ExitCode.USAGE_ERROR:
            return BAD_USAGE if code == pytest.ExitCode.USAGE_ERROR else FAILED
        if self.trouble or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return INTERRUPTED if code == pytest.ExitCode.INTERRUPTED and not self.trouble else FAILED
        return 0

    def pytest_configure(self, config: pytest.Config) -> None:
        self.session = session_of(config)
        self.progress.update(self.task, total=len(self.session.clauses), visible=True)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        assert self.session
        done, total = len(self.session.verdicts), len(self.session.clauses)
        self.progress.update(self.task, completed=done)
        if not self.console.is_terminal and time.monotonic() - self.spoke > SECONDS_BETWEEN_LINES:
            self.console.print(f"{done} of {total} clauses judged")
            self.spoke = time.monotonic()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.fails(report.longreprtext)

    def pytest_internalerror(self, excrepr: Any) -> None:
        self.fails(str(excrepr))

    def fails(self, text: str) -> None:
        self.trouble = True
        self.console.print(text, markup=False, highlight=False)
