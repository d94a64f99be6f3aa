"""The catalogue and the properties fit each other: no clause without a check, no check without a clause, and none that
claims more than the texts it cites.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import properties
from conformance.machine import rules
from conformance.machine.clause import Citation, Clause, Section, Text
from conformance.roles import architectures
from conformance.verdict.suite import load_suite
from properties.arm import sequential as arm
from properties.x86 import sequential

CHECKS = {**sequential.CHECKS, **arm.CHECKS}
SUITE = load_suite()
CLAUSES: dict[str, Clause] = {c.id: c for c in SUITE.clauses}
MANUALS = ("Intel SDM", "Intel VT-d", "Arm ")
"""What the titles of architectures' texts begin with."""


def watched() -> tuple[set[str], set[str]]:
    """The clauses that monitors find broken, and the MAY clauses they observe, over all scenarios."""
    monitors = [m for s in SUITE.scenarios for m in SUITE.monitors(s)]
    return {c.id for m in monitors for c in m.clauses}, {c.id for m in monitors for c in m.witnesses}


def test_ids_are_unique() -> None:
    assert len(CLAUSES) == len(SUITE.clauses)


def test_every_clause_is_checked_as_it_says_or_says_why_not() -> None:
    broken, observed = watched()
    for clause in SUITE.clauses:
        match clause.check:
            case "interleaving":
                assert clause.id in broken | {*rules.ALWAYS}, f"{clause.id}: no monitor can find it broken"
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


def test_scenarios_take_facts_that_their_architecture_has() -> None:
    for scenario in SUITE.scenarios:
        architecture = architectures()[scenario.architecture]
        assert set(scenario.facts) <= set(architecture.facts), scenario.name
        assert set(architecture.environments) <= set(architecture.facts)


# What a clause rests on


@pytest.mark.parametrize("clause", SUITE.clauses, ids=lambda c: c.id)
def test_a_clause_claims_no_more_than_its_sources(clause: Clause) -> None:
    """It has some, at least one with the authority it claims, and counts as verified only if all of them were read."""
    assert clause.sources and clause.statement.rstrip(")").endswith(".")
    assert clause.verified == all(cited.read for cited in clause.sources)
    if clause.authority == "architecture":
        assert any(cited.text.startswith(MANUALS) for cited in clause.sources)
    if clause.kind == "discipline":
        assert clause.authority == "linux"
    for cited in clause.sources:
        told = f"{cited.text} {cited.place} {cited.note}"
        assert "not read" not in told and "from memory" not in told and "unread" not in told, "say read=False instead"


def test_what_was_never_opened_counts_as_unread_wherever_it_is_cited() -> None:
    """The VT-d specification, GICv2's and GICv3's architecture specifications."""
    unopened = ("Intel VT-d specification", "Arm IHI 0048B", "Arm IHI 0069", "Arm ARM")
    cited = [c for clause in SUITE.clauses for c in clause.sources if c.text in unopened]
    assert {c.text for c in cited} == {*unopened}
    assert not any(c.read for c in cited)


# Where a clause is told


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(properties.__path__, "properties."):
        if not found.name.endswith("test_clauses"):
            yield found.name


def test_a_clause_is_declared_once_and_bears_its_id() -> None:
    """As a name of the module that judges it: VID_12 is VID-12. What other modules have was imported from there."""
    named: dict[str, set[int]] = {}
    for module in (importlib.import_module(name) for name in (*modules(), rules.__name__)):
        for name, value in vars(module).items():
            if isinstance(value, Clause):
                assert name == value.id.replace("-", "_"), f"{module.__name__}: {name} is {value.id}"
                named.setdefault(value.id, set()).add(id(value))
    assert named.keys() == CLAUSES.keys()
    assert all(len(objects) == 1 for objects in named.values())


def test_a_clause_that_is_another_one_has_a_base_and_a_condition() -> None:
    derived = [c for c in SUITE.clauses if c.of or c.where]
    assert len(derived) > 20
    for clause in derived:
        assert clause.of and clause.where, clause.id
        for base in clause.of:
            assert clause.check == CLAUSES[base].check == "interleaving", f"{clause.id} is {base}"
            assert {*clause.profiles} <= {*CLAUSES[base].profiles}, f"{clause.id} is {base}"


def section() -> Section:
    return Section(
        title="tiny", about="", ids=("T", "U"), architecture="any", role="", authority="linux", profiles=("strict",)
    )


def test_clauses_stand_in_the_order_of_their_ids() -> None:
    tiny, said = section(), Citation("a text")
    for name in ("U-2", "T-10", "T-UNIQ", "T-9", "U-1"):
        tiny.must(name, "So it is.", said)
    assert [c.id for c in tiny] == ["T-9", "T-10", "T-UNIQ", "U-1", "U-2"]


@pytest.mark.parametrize(("name", "told"), [("T-1", "declared twice"), ("V-1", "ids here begin with T, U")])
def test_an_id_that_is_taken_or_strange_is_refused(name: str, told: str) -> None:
    tiny = section()
    tiny.must("T-1", "So it is.", Citation("a text"))
    with pytest.raises(ValueError, match=told):
        tiny.must_not(name, "So it is not.", Citation("a text"))


def test_a_citation_says_where_and_whether_it_was_read() -> None:
    seen, closed = Text("a manual"), Text("a specification", read=False)
    assert str(seen("3.1", "figure 2")) == "a manual, 3.1 (figure 2)"
    assert str(closed("5")) == "a specification, 5 (not read)"
    assert str(seen("9", "quoted elsewhere", read=False)) == "a manual, 9 (quoted elsewhere; not read)"
    clause = section().may("T-1", "So it may be.", seen("3.1"), closed("5"))
    assert (clause.check, clause.verified, clause.unread) == ("witness", False, (closed("5"),))


def test_scenarios_are_told_apart() -> None:
    assert len({s.name for s in SUITE.scenarios}) == len(SUITE.scenarios)
    assert all(s.about for s in SUITE.scenarios)
