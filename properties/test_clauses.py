"""The conformance suite itself: one test is one clause of the catalogue, judged on the implementation plugged in.

    pytest -n auto properties --intack-adapter package.module:Class --intack-clause 'E2E-*'

What a clause says stands beside what judges it, in properties/x86 and properties/arm; docs/clauses.md has all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.report.terminal import block_text
from conformance.roles.printable import printable
from conformance.verdict.clause import PASSES, Clause, Status, undecided
from intack_pytest import judged, session_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    clauses = session_of(metafunc.config).clauses
    metafunc.parametrize("clause", clauses, ids=[c.id for c in clauses])


def test_clause(clause: Clause, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]) -> None:
    verdict = judged(clause, pytestconfig, record_property)
    if verdict.status is Status.VIOLATED or undecided(verdict.status, verdict.clause.kind):
        pytest.fail(block_text(verdict), pytrace=False)
    if verdict.status not in PASSES:
        pytest.skip(printable(f"{verdict.status.value}: {verdict.evidence}"))
