"""What is pinned of the reference: state counts, and the routines that run. When they change for a good reason:
python -m properties.golden --write.
"""

from __future__ import annotations

import pytest
from turns import every_other

from conformance.roles.scenario import Scenario
from conformance.verdict.clause import Clause
from properties import golden
from properties.golden import GOLDEN
from properties.suite import SUITE


def test_every_exhausted_scenario_is_pinned() -> None:
    assert set(GOLDEN) == {s.name for s in golden.EXHAUSTED}


def test_the_routines_of_everything_are_pinned() -> None:
    assert set(SUITE.routines) == {*(s.name for s in SUITE.scenarios), *(c.id for c in golden.FUNCTIONS)}


HERE = [s for n, s in enumerate(golden.EXHAUSTED) if s.story or n % 16 == 0]
"""All stories, and of the rows every sixteenth: `nox -s golden` takes all."""


@pytest.mark.parametrize("scenario", HERE, ids=lambda s: s.name)
def test_states_and_routines_of_a_scenario(scenario: Scenario) -> None:
    assert golden.ran(scenario) == (GOLDEN.get(scenario.name), tuple(SUITE.routines[scenario.name]))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [s for s in SUITE.scenarios if s.samples], ids=lambda s: s.name)
def test_routines_of_a_sampled_scenario(scenario: Scenario) -> None:
    assert golden.ran(scenario).routines == tuple(SUITE.routines[scenario.name])


@pytest.mark.parametrize("clause", every_other(golden.FUNCTIONS, lambda c: c.id))
def test_routines_of_a_function(clause: Clause) -> None:
    assert golden.checked(clause.id) == tuple(SUITE.routines[clause.id])


def test_the_dictionary_can_be_found_and_written() -> None:
    assert golden.DICTIONARY.search(f"before\n{golden.text({'a': 1, 'b': 20_000})}\nafter")
    assert golden.text({"b": 20_000}) == 'GOLDEN: dict[str, int] = {\n    "b": 20_000,\n}'
