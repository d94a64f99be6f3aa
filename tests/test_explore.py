"""What an exploration keeps, whatever happens to the search for the least schedule."""

from __future__ import annotations

import pytest

from conformance.adapters.registry import resolve
from conformance.report import terminal
from conformance.verdict import explore as exploring
from conformance.verdict.clause import Status, Verdict
from conformance.verdict.suite import load_suite


def test_a_breach_stays_one_when_no_least_schedule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second search has a bound of its own; hitting it must not turn VIOLATED into HELD."""
    suite = load_suite()
    scenario = next(s for s in suite.scenarios if s.name == "one-sender")
    implementation = resolve("known-bad:B17")
    found = exploring.explore(implementation, scenario, suite).counterexamples
    monkeypatch.setattr(exploring, "shortest", lambda machine, clauses: {})
    bounded = exploring.explore(implementation, scenario, suite).counterexamples
    assert set(bounded) == set(found)
    clause = next(c for c in suite.clauses if c.id == "E2E-11")
    verdict = Verdict(
        clause=clause,
        implementation="known-bad:B17",
        profile="kvm",
        status=Status.VIOLATED,
        evidence="",
        counterexample=bounded["E2E-11"],
    )
    assert "without its shortest schedule: none within the bound" in " ".join(terminal.block_text(verdict).split())
