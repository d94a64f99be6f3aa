"""The state counts of `GOLDEN` in properties/x86/scenarios.py and properties/arm/scenarios.py. When they change for a good
reason: python -m properties.golden --write.
"""

from __future__ import annotations

import pytest

from conformance.roles.scenario import Scenario
from properties import golden
from properties.golden import GOLDEN


def test_every_exhausted_scenario_is_pinned() -> None:
    assert list(GOLDEN) == [s.name for s in golden.EXHAUSTED]


@pytest.mark.parametrize("scenario", golden.EXHAUSTED, ids=lambda s: s.name)
def test_states_of_a_scenario(scenario: Scenario) -> None:
    assert golden.states(scenario) == GOLDEN.get(scenario.name)


def test_the_dictionary_can_be_found_and_written() -> None:
    assert golden.DICTIONARY.search(f"before\n{golden.text({'a': 1, 'b': 20_000})}\nafter")
    assert golden.text({"b": 20_000}) == 'GOLDEN: dict[str, int] = {\n    "b": 20_000,\n}'
