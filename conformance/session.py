"""One run of the suite: what was asked for, checked before anything runs, then verdicts, then reports."""

from __future__ import annotations

import difflib
import importlib
import tempfile
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest

import conformance
from conformance.adapters.registry import AdapterError, Implementation, resolve
from conformance.engine.replay import ReplayError, decode
from conformance.judge import PROFILES, Judge, Suite, load_suite
from conformance.report.verdict import Clause, Status, Verdict

PACKAGES = ("conformance", "reference", "properties")
DEFAULT = "reference"
PROPERTY = "intack"
"""The user property of a pytest report that holds a verdict as JSON; it crosses xdist and reaches JUnit files too."""


class BadInput(Exception):
    """What was asked for makes no sense. The message says what to write instead."""


class Session:
    """`shared` is a directory that the processes of this run have in common; it need not exist yet."""

    def __init__(
        self,
        shared: Path,
        *,
        adapter: str | None = None,
        profile: str | None = None,
        clause: Sequence[str] = (),
        report: Sequence[str] = (),
        replay: str | None = None,
    ) -> None:
        check_packages()
        self.shared = shared
        self.suite = load_suite()
        self.replay = replay or ""
        if replay:
            if adapter or profile or clause:
                raise BadInput("a replay string names its own implementation, profile and clause: give none beside it")
            recorded = _or_bad_input(lambda: decode(replay))
            adapter, profile, clause = recorded.implementation, recorded.profile, [recorded.clause]
        self.implementation: Implementation = _or_bad_input(lambda: resolve(adapter or DEFAULT))
        self.profile = profile or self.implementation.profile
        if self.profile not in PROFILES:
            raise BadInput(f"no profile is called {self.profile!r}. {near(self.profile, PROFILES)}")
        self.clauses = select(self.suite.clauses, clause)
        self.reports = [writable(path) for path in report]
        self.verdicts: dict[str, Verdict] = {}

    def about(self) -> str:
        clauses = f"{len(self.clauses)} clause{'s' * (len(self.clauses) != 1)}"
        return f"adapter {self.implementation.spec}, profile {self.profile}, {clauses}"

    # Where clauses run: the only process, or a worker

    @cached_property
    def judge(self) -> Judge:
        self.shared.mkdir(mode=0o700, exist_ok=True)
        return Judge(self.implementation, self.profile, self.suite, self.shared)

    def verdict(self, clause: Clause) -> Verdict:
        return self.judge.verdict(clause)

    # Where verdicts are gathered: the only process, or xdist's controller

    def gather(self, report: pytest.TestReport) -> None:
        """The verdict that a report brings. If the process died or the suite itself failed, that is a verdict too: CRASH."""
        for name, value in report.user_properties:
            if name == PROPERTY:
                verdict = msgspec.json.decode(str(value), type=Verdict)
                self.verdicts[verdict.clause.id] = verdict
                return
        if report.failed:
            clause = next(c for c in self.clauses if report.nodeid.endswith(f"[{c.id}]"))
            reason = report.longreprtext.strip().splitlines() or ["no reason given"]
            self.verdicts[clause.id] = self._crash(clause, f"the process that judged it failed: {reason[-1]}")

    def _crash(self, clause: Clause, evidence: str) -> Verdict:
        name, profile = self.implementation.name, self.profile
        return Verdict(clause=clause, implementation=name, profile=profile, status=Status.CRASH, evidence=evidence)

    def block(self, verdict: Verdict) -> str:
        return f"{verdict.clause.id} {verdict.status.value}: {verdict.evidence}"

    def text(self, color: bool = False) -> str:
        return "".join(self.block(v) + "\n" for v in self.gathered())

    def print(self, terminalreporter: Any) -> None:
        terminalreporter.write(self.text())

    def write_reports(self) -> list[str]:
        return []

    def gathered(self) -> list[Verdict]:
        """All verdicts so far, in the order of the catalogue."""
        return [self.verdicts[c.id] for c in self.clauses if c.id in self.verdicts]


def check_packages() -> None:
    """All three packages must come from one place; a folder of the user's with such a name would shadow one of them."""
    home = Path(str(conformance.__file__)).parent.parent
    for name in PACKAGES:
        package = importlib.import_module(name)
        found = Path(package.__file__).parent if package.__file__ else Path(next(iter(package.__path__)))
        if found != home / name:
            raise BadInput(
                f"{found} shadows intack's own package {name} in {home}. Rename that folder, or run from another directory."
            )


def select(clauses: Iterable[Clause], globs: Sequence[str]) -> tuple[Clause, ...]:
    """The clauses that any of the globs matches; all of them if there is none."""
    ids = [c.id for c in clauses]
    for glob in globs:
        if not any(fnmatchcase(i, glob.upper()) for i in ids):
            raise BadInput(f"no clause matches {glob!r}. {near(glob.upper(), ids)} All of them: intack list clauses")
    return tuple(c for c in clauses if not globs or any(fnmatchcase(c.id, glob.upper()) for glob in globs))


def near(word: str, known: Sequence[str]) -> str:
    """What the user may have meant."""
    close = difflib.get_close_matches(word, known, n=3)
    return f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(known[:10])}{', ...' * (len(known) > 10)}."


def writable(path: str) -> Path:
    """A path that a report can be written to, found out by trying."""
    where = Path(path)
    if where.suffix != ".json":
        raise BadInput(f"report {path}: the ending of the name says what to write, and only .json is known")
    try:
        if where.exists():
            where.open("r+b").close()
        else:
            tempfile.TemporaryFile(dir=where.parent).close()
    except OSError as error:
        raise BadInput(f"report {path} cannot be written: {error.strerror}. Name a file in a folder that exists.") from None
    return where


def _or_bad_input(ask: Any) -> Any:
    try:
        return ask()
    except (AdapterError, ReplayError) as error:
        raise BadInput(str(error)) from None
