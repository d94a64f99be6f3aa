"""What is asked for, checked before anything runs: which implementation, judged how, by which clauses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import conformance
from conformance import PACKAGES
from conformance.adapters.registry import DEFAULT, AdapterError, resolve
from conformance.adapters.source import Fault
from conformance.roles import environments
from conformance.roles.nearest import nearest
from conformance.roles.registered import RegistrationError
from conformance.roles.scenario import Scenario
from conformance.search.replay import ReplayError
from conformance.verdict import kept, own_scenarios
from conformance.verdict.clause import Clause, Status, Verdict
from conformance.verdict.declarations import check_declared
from conformance.verdict.hunt import sample
from conformance.verdict.judge import Judge
from conformance.verdict.output import ENDINGS, check_writable
from conformance.verdict.own_scenarios import ScenarioError
from conformance.verdict.suite import Suite, load_suite
from conformance.verdict.unasked import remember, unasked
from conformance.verdict.unlimited import CHEAP, twins
from conformance.verdict.unlimited import MOST_STATES as MOST_UNLIMITED
from conformance.verdict.work import Work

DRAWN_STATES = 30_000
"""Of a scenario drawn for a run, about."""

T = TypeVar("T")


class BadInput(Exception):
    """What was asked for makes no sense. The message says what to write instead."""


class Unasked(BadInput):
    """A replay string would run what nobody here has asked for."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        super().__init__(
            f"this replay string would run what is not installed, and was not judged last in this folder: {spec!a}. "
            "If you know what that does, name it as the adapter beside the string."
        )


class Session:
    """What is asked for. Raises BadInput."""

    def __init__(
        self,
        *,
        adapter: str = "",
        profile: str = "",
        clause: Sequence[str] = (),
        report: Sequence[str] = (),
        replay: str | None = None,
        environment: Sequence[str] = (),
        scenario: Sequence[str] = (),
        scenario_file: Sequence[str] = (),
        draw: int = 0,
        unbounded: bool | None = None,
        keep: bool = False,
        rows: bool = True,
        base: str = "",
    ) -> None:
        """`keep`: results are kept in the user's cache. Without `rows` only stories are judged in. `unbounded`: in twins of
        stories without budgets too, in all of them or in those that take little time; None: in none. `base`: what the
        implementation is a variant of, if that is known from elsewhere.
        """
        self.rows = rows
        check_packages()
        self.asked: dict[str, Any] = {
            "adapters": (adapter,) if adapter else (),
            "profile": profile,
            "replay": replay or "",
            "clauses": tuple(clause),
            "scenarios": tuple(scenario),
            "scenario_files": tuple(scenario_file),
            "draw": draw,
            "unbounded": bool(unbounded),
            "environments": tuple(environment),
        }
        self.replay, self.keep = replay, keep
        self.suite = _or_bad_input(load_suite)
        if replay is not None:
            if profile or clause:
                raise BadInput("a replay string names its own profile and clause: give none beside it")
            from conformance.verdict import again

            recorded = _or_bad_input(lambda: again.fitting(replay, self.suite)[0])
            if not adapter and not unasked(recorded.implementation):
                raise Unasked(recorded.implementation)
            adapter, profile, clause = adapter or recorded.implementation, recorded.profile, [recorded.clause]
        self.implementation = _or_bad_input(lambda: resolve(adapter or DEFAULT))
        if base:
            self.implementation = replace(self.implementation, base=base)
        remember(adapter)
        self.profile = profile or self.implementation.profile
        _or_bad_input(lambda: check_declared(self.implementation, self.suite))
        profiles = [name for clause in self.suite.clauses for name in clause.profiles]
        if self.profile not in profiles:
            raise BadInput(f"no profile is called {self.profile!r}. {nearest(self.profile, profiles)}")
        for name in environment:
            if name not in environments():
                raise BadInput(f"no environment is called {name!r}. {nearest(name, environments())}")
        self.environment = tuple(environment)
        own = [s for path in scenario_file for s in _or_bad_input(lambda path=path: own_scenarios.read(Path(path)))]
        if draw:
            own += self._drawn(draw)
        if own:
            self.suite = _or_bad_input(lambda: own_scenarios.joined(self.suite, own))
        if unbounded is not None:
            more = twins(self.suite, MOST_UNLIMITED if unbounded else CHEAP)
            self.suite = _or_bad_input(lambda: own_scenarios.joined(self.suite, more))
        globs = scenario or [s.name for s in own if scenario_file]
        self.scenarios = frozenset(matching(self.suite, globs)) if globs else None
        self.partial = (
            not clause and bool(globs) and self.scenarios is not None and self.scenarios <= {s.name for s in own}
        )
        self.clauses = self.concerned(select(self.suite.clauses, clause))
        self.reports = [writable(path) for path in report]

    def _drawn(self, count: int) -> list[Scenario]:
        drawn = self.suite.drawn(self.implementation, DRAWN_STATES)
        if drawn is None:
            raise BadInput(f"nothing draws scenarios for {' and '.join(self.implementation.architectures)}")
        return sample(drawn, count)

    def concerned(self, clauses: Sequence[Clause]) -> tuple[Clause, ...]:
        """Less the clauses of an architecture of which the implementation fills no role."""
        own = self.implementation.architectures
        concerned = tuple(c for c in clauses if c.architecture in (*own, "any"))
        if clauses and not concerned:
            raise BadInput(
                f"{self.implementation.spec} fills roles of {' and '.join(own)} only, and the clauses asked for are "
                f"about {clauses[0].architecture}"
            )
        if self.scenarios is None:
            return concerned
        tested = tuple(c for c in concerned if self.judge.put_to_the_test(c))
        if not tested:
            raise BadInput(f"no clause asked for is put to the test in {', '.join(sorted(self.scenarios))}")
        return tested

    def about(self) -> str:
        clauses = f"{len(self.clauses)} clause{'s' * (len(self.clauses) != 1)}"
        widened = "".join(f", environment {name}" for name in self.environment)
        return f"adapter {self.implementation.spec}, profile {self.profile}{widened}, {clauses}"

    @cached_property
    def judge(self) -> Judge:
        make = kept.work if self.keep else Work
        work = make(self.implementation, self.profile, self.suite)
        scenarios = self.scenarios
        if scenarios is None and not self.rows:
            scenarios = frozenset(s.name for s in self.suite.scenarios if s.story)
        return Judge(
            self.implementation, self.profile, self.suite, self.environment, scenarios, work, partial=self.partial
        )

    def replayed(self) -> Verdict:
        """What became of the replay string's counterexample: the evidence begins with the word for it."""
        from conformance.verdict import again

        try:
            word, verdict = again.replay(self.replay or "", self.implementation)
        except Fault as fault:
            return self.without_proof(self.clauses[0], Status(fault.status), str(fault))
        return msgspec.structs.replace(verdict, evidence=f"{word}: {verdict.evidence}")

    def without_proof(self, clause: Clause, status: Status, evidence: str) -> Verdict:
        name, profile = self.implementation.name, self.profile
        return Verdict(clause=clause, implementation=name, profile=profile, status=status, evidence=evidence)

    @property
    def left_out(self) -> Sequence[str]:
        """Scenarios in which none of the implementation's routines runs: there everything is the reference's."""
        return self.judge.without_a_share(self.clauses)

    @property
    def assumptions(self) -> Sequence[str]:
        """Those of the architectures that are judged, and of the implementation."""
        judged = {c.architecture for c in self.clauses} - {"any"} or set(self.implementation.architectures)
        rules = [rule for name, rules in self.suite.assumptions.items() if name in ("any", *judged) for rule in rules]
        return [*rules, *self.implementation.assumptions]


def check_packages() -> None:
    """All three packages must come from one place; a folder of the user's with such a name would shadow one of them."""
    home = Path(str(conformance.__file__)).parent.parent
    for name in PACKAGES:
        package = importlib.import_module(name)
        found = Path(package.__file__).parent if package.__file__ else Path(next(iter(package.__path__)))
        if found != home / name:
            raise BadInput(
                f"{found} shadows the package {name} of intack, in {home}. Rename it, or run from another directory."
            )


def select(clauses: Iterable[Clause], globs: Sequence[str]) -> tuple[Clause, ...]:
    """The clauses that any of the globs matches; all of them if there is none."""
    patterns = [glob.upper() for glob in globs]
    ids = [c.id for c in clauses]
    for pattern in patterns:
        if not any(fnmatchcase(i, pattern) for i in ids):
            raise BadInput(f"no clause matches {pattern!r}. {nearest(pattern, ids)} All of them: intack list clauses")
    return tuple(c for c in clauses if not patterns or any(fnmatchcase(c.id, p) for p in patterns))


def matching(suite: Suite, globs: Sequence[str]) -> list[str]:
    """The names of the scenarios that any of the globs matches."""
    names = [s.name for s in suite.scenarios]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise BadInput(f"no scenario matches {glob!r}. {nearest(glob, names)} All of them: intack list scenarios")
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def writable(path: str, *endings: str) -> Path:
    """A path that a report can be written to, or another file with one of these endings, found out by trying."""
    where = Path(path)
    if where.suffix not in (endings or (*ENDINGS, "")):
        raise BadInput(f"the ending of {path} says what to write, and only {', '.join(endings or ENDINGS)} are known")
    try:
        check_writable(where)
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", error)).lower()
        raise BadInput(
            f"cannot write the report to {path}: {reason}. Name a file in a directory that exists."
        ) from None
    return where


def _or_bad_input(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (AdapterError, RegistrationError, ReplayError, ScenarioError) as error:
        raise BadInput(str(error)) from None
