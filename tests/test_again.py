"""What becomes of a replay string: its word fits what it is a string of."""

from __future__ import annotations

import pytest

from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach, Witness
from conformance.search.proof import shortest
from conformance.verdict import again
from conformance.verdict.clause import Status
from conformance.verdict.explore import document
from properties.suite import SUITE


@pytest.mark.parametrize(
    ("spec", "clause", "scenario", "word", "status"),
    [
        ("known-bad:B17", "E2E-11", "one-sender", "STILL VIOLATED", Status.VIOLATED),
        ("known-bad:B17", "KVM-ENT-1", "one-sender", "STILL DEVIATES", Status.DEVIATES),
        ("reference", "KVM-SND-3", "core", "OBSERVED AGAIN", Status.OBSERVED),
    ],
)
def test_the_same_again(spec: str, clause: str, scenario: str, word: str, status: Status) -> None:
    answer, verdict = again.replay(recorded(spec, clause, scenario))
    assert (answer, verdict.status) == (word, status)
    assert verdict.counterexample
    assert "breaks" not in verdict.evidence or status is not Status.OBSERVED


@pytest.mark.parametrize(
    ("recorded_of", "clause", "scenario", "now", "word", "status"),
    [
        ("known-bad:B17", "E2E-11", "one-sender", "reference", "FIXED", Status.HELD),
        ("reference", "KVM-SND-8", "one-sender", "known-bad:E8", "NOT OBSERVED", Status.NEVER_OBSERVED),
    ],
)
def test_on_other_code(recorded_of: str, clause: str, scenario: str, now: str, word: str, status: Status) -> None:
    """The string names its implementation: put another one in its place."""
    old = again.decode(recorded(recorded_of, clause, scenario))
    suite = again.load_suite()
    of = next(c for c in suite.clauses if c.id == clause)
    where = next(s for s in suite.scenarios if s.name == scenario)
    answer, verdict = again._again(old, suite, of, where, resolve(now))
    assert (answer, verdict.status) == (word, status)


def recorded(spec: str, clause: str, scenario: str) -> str:
    """Of a counterexample, or of a witness where the clause allows something."""
    implementation = resolve(spec)
    where = next(s for s in SUITE.scenarios if s.name == scenario)
    kind = Witness if next(c for c in SUITE.clauses if c.id == clause).modality == "MAY" else Breach
    return in_machine(
        implementation,
        where,
        SUITE,
        lambda m: document(m, shortest(m, {clause}, kind=kind)[clause], implementation, "kvm").replay,
    )
