"""Scenarios of the user's own: TOML, one table [[scenario]] each, as `intack show scenario NAME` prints them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from conformance.adapters.registry import resolve
from conformance.automaton.assembly import assemble
from conformance.machine.monitor import Monitor
from conformance.roles import architectures
from conformance.roles.nearest import nearest
from conformance.roles.scenario import Scenario
from conformance.roles.sensible import refusals
from conformance.verdict.suite import ArchitectureSuite, JoinedSuite, Suite


class ScenarioError(Exception):
    """A scenario that cannot be run. The message says what to change."""


def read(path: Path) -> tuple[Scenario, ...]:
    """The scenarios of a file. Raises ScenarioError."""
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {str(error.strerror).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{path} is no TOML: {error}") from None
    if set(tables) != {"scenario"} or not isinstance(tables["scenario"], list):
        raise ScenarioError(f"{path} holds no tables [[scenario]]. See one: intack show scenario core")
    return tuple(_scenario(table, f"{path}, scenario {n}") for n, table in enumerate(tables["scenario"], 1))


def _scenario(table: object, where: str) -> Scenario:
    if not isinstance(table, dict):
        raise ScenarioError(f"{where} is no table")
    known = [f.encode_name for f in msgspec.structs.fields(Scenario)]
    for name in table:
        if name not in known:
            raise ScenarioError(f"{where}: a scenario has no {name!r}. {nearest(name, known)}")
    try:
        scenario = msgspec.convert({"about": "", **table, "story": False}, Scenario)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ScenarioError(f"{where}: {error}") from None
    check(scenario, where)
    return scenario


def check(scenario: Scenario, where: str) -> None:
    """Raises ScenarioError unless it makes sense."""
    known = architectures()
    if scenario.architecture not in known:
        raise ScenarioError(
            f"{where}: no architecture is called {scenario.architecture!r}. {nearest(scenario.architecture, known)}"
        )
    architecture = known[scenario.architecture]
    wrong = refusals(scenario, architecture)
    if not wrong and scenario.initial:
        locations = assemble(resolve(architecture.reference), scenario).locations
        wrong = [
            f"initial sets {at}, which nobody declares. {nearest(at, locations)}"
            for at, _ in scenario.initial
            if at not in locations
        ]
    if wrong:
        raise ScenarioError("\n".join(f"{where}: {reason}" for reason in wrong))


def text(scenario: Scenario) -> str:
    """A file with this scenario."""
    return tomlkit.dumps({"scenario": [_told(scenario)]})


def _told(value: Any) -> Any:
    """As plain data, what is as usual left out."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {f.name: _told(v) for f in fields if f.name != "story" and (v := getattr(value, f.name)) != f.default}
    if isinstance(value, tuple):
        return [_told(v) for v in value]
    return value


def joined(suite: Suite, scenarios: Sequence[Scenario]) -> Suite:
    """The suite with these beside its own. Raises ScenarioError where a name is taken."""
    own = ArchitectureSuite(architecture="", clauses=(), scenarios=tuple(scenarios), watch=_nobody)
    names = [s.name for s in (*suite.scenarios, *scenarios)]
    for scenario in scenarios:
        if names.count(scenario.name) > 1:
            raise ScenarioError(f"there is another scenario called {scenario.name!r}: give it a name of its own")
    return JoinedSuite((suite, own))


def _nobody(_: Scenario) -> Sequence[Monitor]:
    return ()
