"""What an implementer reads: each routine that a role asks for says when it is called, and what is expected of it."""

from __future__ import annotations

import inspect
import re

import pytest

from conformance.adapters.registry import routines_of
from conformance.roles import architectures
from conformance.roles.role import BaseRole

CONTRACT = re.compile(
    r"(?P<about>[^\n]+\.)\n\n"
    r"Called: (?P<called>.+)\nMay rely on: (?P<relies>.+)\nMust leave: (?P<leaves>.+)\nReturns: (?P<returns>.+)",
    re.DOTALL,
)
ROUTINES = [
    pytest.param(getattr(base, routine), id=f"{name}.{base.__name__}.{routine}")
    for name, architecture in architectures().items()
    for base in architecture.roles.values()
    for routine in routines_of(base)
]


@pytest.mark.parametrize("routine", ROUTINES)
def test_a_routine_has_a_contract(routine: object) -> None:
    contract = CONTRACT.fullmatch(inspect.getdoc(routine) or "")
    assert contract, "one line that says what it is, then Called, May rely on, Must leave and Returns"
    assert all(part.rstrip().endswith((".", ")")) for part in contract.groups())


@pytest.mark.parametrize("routine", ROUTINES)
def test_a_contract_tells_of_every_argument(routine: type[BaseRole]) -> None:
    arguments = set(inspect.signature(routine).parameters) - {"self", "cpu", "vcpu"}
    told = set(re.findall(r"\w+", inspect.getdoc(routine) or ""))
    assert not arguments - told
