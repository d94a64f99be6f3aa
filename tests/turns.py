"""Of what takes long every other; `pytest -m ''`, which `nox -s tests` runs, takes all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def every_other(values: Iterable[T], name: Callable[[T], str] = str) -> list[Any]:
    return [pytest.param(value, id=name(value), marks=[pytest.mark.slow] * (n % 2)) for n, value in enumerate(values)]
