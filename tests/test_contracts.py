"""What an implementer reads: each routine that a role asks for says when it is called, and what is expected of it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from conformance.adapters.registry import of_class, routines_of
from conformance.roles import architectures
from conformance.roles.cpu import Cpu
from conformance.roles.role import BaseRole
from conformance.roles.x86 import Vcpu
from conformance.verdict.explore import explore
from properties.suite import SUITE
from reference.x86.kvm import Kvm

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


class GivesUp(Kvm):
    """A vCPU's thread that just returns where it should block: a vector that is posted then is nobody's any more."""

    def handle_exit(self, cpu: Cpu, vcpu: Vcpu, reason: tuple[Any, ...]) -> Any:
        return None if reason[0] == "hlt" else super().handle_exit(cpu, vcpu, reason)


def test_a_vcpus_thread_has_no_end() -> None:
    scenario = next(s for s in SUITE.scenarios if s.name == "one-device")
    found = explore(of_class(GivesUp, "gives-up", "gives-up"), scenario, SUITE)
    assert (found.fault_status, found.fault_routine) == ("CRASH", "leave_guest")
    assert "named no routine where vcpu0's thread goes on" in found.fault
