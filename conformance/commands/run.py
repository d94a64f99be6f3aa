"""`intack run`: the properties under pytest, in this process, with progress in place of pytest's own output."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence

import pytest
from rich.console import Console

from conformance.commands.main import BAD_USAGE, FAILED, INTERRUPTED
from conformance.plugin import GATE, Gate
from conformance.verdict.session import Session


def judge(options: Sequence[str], workers: str) -> tuple[int, Session | None]:
    """Judge what the plugin's options ask for. Answers 0, or the exit status that says why clauses have no verdict."""
    os.environ.pop("PYTEST_ADDOPTS", None)  # meant for the user's own tests
    arguments = [
        *("-c", os.devnull, "--rootdir", os.getcwd(), "-p", "no:cacheprovider", "-p", "no:terminal"),
        *("--disable-plugin-autoload", "-p", "xdist", "-p", "intack", "-n", workers),
        *("--pyargs", "properties.test_clauses", *options),
    ]
    with Watcher() as watcher:
        code = pytest.main(arguments, plugins=[watcher])
    return watcher.outcome(code), watcher.session


class Watcher:
    """What a user sees of a run of pytest whose terminal reporter is off: how far it is, and what went wrong."""

    def __init__(self) -> None:
        # A file of its own: while a clause is judged in this process, pytest captures the usual one.
        self.console = Console(file=os.fdopen(os.dup(sys.stderr.fileno()), "w"), highlight=False)
        self.gate: Gate | None = None
        self.trouble = ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.speak, daemon=True)

    def __enter__(self) -> Watcher:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def speak(self) -> None:
        """On a terminal one line that changes, elsewhere a line now and then."""
        start = time.monotonic()
        with self.console.status("starting") as status:
            while not self.over.wait(0.5 if self.console.is_terminal else 10):
                text = f"{self.session.progress() if self.session else 'starting'}, {time.monotonic() - start:.0f} s"
                status.update(text)
                if not self.console.is_terminal:
                    self.console.print(text)

    @property
    def session(self) -> Session | None:
        return self.gate.session if self.gate else None

    def outcome(self, code: int) -> int:
        """The exit status if it is none of verdict.exit_status's, else 0."""
        if code == pytest.ExitCode.USAGE_ERROR:
            return BAD_USAGE
        if code == pytest.ExitCode.INTERRUPTED and not self.trouble:
            return INTERRUPTED
        if self.gate and self.gate.trouble:
            self.fails(self.gate.trouble)
        judged = self.session and len(self.session.verdicts) == len(self.session.clauses)
        return 0 if judged and not self.trouble else FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        self.gate = config.stash[GATE]
        self.gate.open()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.fails(report.longreprtext)

    def pytest_internalerror(self, excrepr: object) -> None:
        self.fails(str(excrepr))

    def fails(self, text: str) -> None:
        self.trouble = text
        self.console.print(text, markup=False)
