"""What there is to know of one clause: what it says and by whose word, what is watched and where, which scenarios put it to
the test, which wrong implementations it is there to find, and its last verdicts.
"""

from __future__ import annotations

import inspect
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.machine.clause import Clause
from conformance.report.model import Report
from conformance.report.pages import AUTHORITY, PROSE
from conformance.roles.registered import load, registered
from conformance.verdict.evidence import counted
from conformance.verdict.suite import Suite

CHECKS = {
    "sequential": "one routine alone, on generated states",
    "interleaving": "in every interleaving",
    "witness": "a trace that shows it is searched for",
    "not-checked": "not checked",
}


def told(clause: Clause, suite: Suite, last: Report | None) -> Iterator[str]:
    """Lines."""
    yield f"{clause.id}  {clause.modality}  ({clause.section})"
    yield from _wrapped("", f'"{clause.statement}"')
    yield ""
    for name, text in _facts(clause, suite):
        yield from _wrapped(f"{name:<16}", text)
    if last:
        for row in (row for row in last.clauses if row.id == clause.id):
            yield from _wrapped("last verdict    ", f"{row.implementation}: {row.status.value}, {row.evidence}")
            if row.counterexample and row.counterexample.rows:
                yield f"{'':<16}intack replay 'last#{clause.id}'"


def _facts(clause: Clause, suite: Suite) -> Iterator[tuple[str, str]]:
    yield "kind", f"{clause.kind}; the word is {AUTHORITY[clause.authority]}; profiles {', '.join(clause.profiles)}"
    if clause.of:
        yield "that is", f"{' or '.join(clause.of)}, where {' and '.join(clause.where)}"
    if clause.premise:
        yield "premise", clause.premise
    for n, cited in enumerate(clause.sources):
        yield (
            "source" * (not n),
            f"{cited.where}: {'read' if cited.read else 'NOT READ'}" + f" ({cited.note})" * bool(cited.note),
        )
    yield "checked", CHECKS[clause.check]
    if clause.observe or clause.reason:
        yield "watched" if clause.observe else "why not", clause.observe or clause.reason
    for profile, why in clause.waived.items():
        yield "waived", f"in profile {profile}: {why}"
    watched = watching(suite).get(clause.id, [])
    for n, monitor in enumerate(dict.fromkeys(monitor for _, monitor in watched)):
        yield "where" * (not n), _place(monitor)
    scenarios = list(dict.fromkeys(name for name, _ in watched))
    if scenarios:
        yield "scenarios", counted(scenarios)
    yield from _bugs(clause)


def watching(suite: Suite) -> dict[str, list[tuple[str, type]]]:
    """By clause: the scenarios that put it to the test, and the class of the monitor that watches there."""
    found: dict[str, list[tuple[str, type]]] = {}
    for scenario in suite.scenarios:
        for monitor in suite.monitors(scenario):
            for clause in dict.fromkeys(clause.id for clause in (*monitor.clauses, *monitor.witnesses)):
                found.setdefault(clause, []).append((scenario.name, type(monitor)))
    return found


def _place(cls: type) -> str:
    try:
        line = inspect.getsourcelines(cls)[1]
        file = os.path.relpath(inspect.getfile(cls))
    except (OSError, TypeError, ValueError):
        return f"{cls.__module__}.{cls.__qualname__}"
    return f"{cls.__qualname__}, {file if not file.startswith('..') else inspect.getfile(cls)}:{line}"


def _bugs(clause: Clause) -> Iterator[tuple[str, str]]:
    """Known-bad implementations that it finds; those that no other guarantee finds come first."""
    listed = known_bad()
    only = [name for name, bad in listed.items() if bad.breaks == (clause.id,)]
    too = [name for name, bad in listed.items() if clause.id in (*bad.breaks, *bad.deviates) and name not in only]
    if only:
        yield "finds alone", ", ".join(f"known-bad:{name} ({listed[name].title})" for name in only)
    if too:
        yield "finds too", ", ".join(f"known-bad:{name}" for name in too)


def known_bad() -> Mapping[str, Any]:
    """The register of the installed adapter `known-bad`: what its module keeps under KNOWN_BAD."""
    entry = registered("intack.adapters").get("known-bad")
    module = sys.modules.get(load(entry).__module__) if entry else None
    return getattr(module, "KNOWN_BAD", {})


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        PROSE,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
        break_long_words=False,
    )
