"""A sample of what nox -s fuzz throws at each door."""

from __future__ import annotations

import fuzzing
import pytest

COUNTS = {
    "litmus": 300, "manifest": 200, "reply": 500, "replay": 300, "stored": 200, "expectation": 100, "order": 500,
    "routine": 60, "command": 60,
}  # fmt: skip


@pytest.mark.parametrize("door", fuzzing.DOORS)
def test_whatever_comes_in_is_taken_or_refused_in_words(door: str) -> None:
    assert not list(fuzzing.cases(door, range(COUNTS[door])))
