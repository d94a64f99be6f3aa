"""No test sees what a user's runs have found out, nor leaves anything there."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTACK_NO_CACHE", "1")
