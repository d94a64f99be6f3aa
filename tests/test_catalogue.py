"""The catalogue and the properties fit each other: no clause without a check, no check without a clause."""

from __future__ import annotations

from conformance.verdict.clause import Clause
from conformance.verdict.suite import load_suite
from properties.arm import sequential as arm
from properties.x86 import sequential

CHECKS = {**sequential.CHECKS, **arm.CHECKS}
SUITE = load_suite()
CLAUSES: dict[str, Clause] = {c.id: c for c in SUITE.clauses}
ENGINE = {"DEADLOCK", "LIVELOCK", "RACE"}


def watched() -> tuple[set[str], set[str]]:
    """The clauses that monitors find broken, and the MAY clauses they observe, over all scenarios."""
    monitors = [m for s in SUITE.scenarios for m in SUITE.monitors(s)]
    return {c for m in monitors for c in m.clauses}, {c for m in monitors for c in m.witnesses}


def test_ids_are_unique() -> None:
    assert len(CLAUSES) == len(SUITE.clauses)


def test_every_clause_is_checked_as_it_says_or_says_why_not() -> None:
    broken, observed = watched()
    for clause in SUITE.clauses:
        match clause.check:
            case "interleaving":
                assert clause.id in broken | ENGINE, f"{clause.id}: no monitor can find it broken"
            case "witness":
                assert clause.id in observed, f"{clause.id}: no monitor can observe it"
                assert clause.modality == "MAY", clause.id
            case "sequential":
                assert clause.id in CHECKS, f"{clause.id}: no function checks it"
            case "not-checked":
                assert clause.reason, clause.id


def test_nothing_is_checked_that_the_catalogue_does_not_have() -> None:
    broken, observed = watched()
    assert broken <= {c.id for c in SUITE.clauses if c.check == "interleaving"}
    assert observed <= {c.id for c in SUITE.clauses if c.check == "witness"}
    assert set(CHECKS) <= {c.id for c in SUITE.clauses if c.check == "sequential"}


def test_may_clauses_never_fail_anything() -> None:
    assert all(c.check in ("witness", "not-checked") for c in SUITE.clauses if c.modality == "MAY")


def test_profiles_are_known_and_waivers_have_reasons() -> None:
    for clause in SUITE.clauses:
        assert set(clause.profiles) <= {"strict", "kvm", "generic"}
        assert all(clause.waived.values())


def test_every_clause_has_its_source_and_statement() -> None:
    for clause in SUITE.clauses:
        assert clause.source and clause.statement.rstrip(")").endswith("."), clause.id


def test_scenarios_are_told_apart() -> None:
    assert len({s.name for s in SUITE.scenarios}) == len(SUITE.scenarios)
    assert all(s.about for s in SUITE.scenarios)
