"""What monitors find names what it is about: bits of what the machine keeps, and agents that it knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import properties
from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach, Subject, Witness, about
from conformance.machine.machine import Machine
from conformance.search.proof import prove
from properties.suite import SUITE
from reference.known_bad import KNOWN_BAD

SCENARIOS = {s.name: s for s in SUITE.scenarios}
BUGS = ["B13", "B15", "B22a", "B27", "M1", "M2", "M4", "M7", "A16", "A21", "A30", "H32"]


@pytest.mark.parametrize("bad", BUGS)
def test_a_breach_names_what_the_machine_knows(bad: str) -> None:
    def known(machine: Machine) -> None:
        names = {*machine.layout.cells, *(a.name for a in machine.agents), *machine.threads}
        proof = prove(machine)
        breaches = {**proof.breached, **proof.at_rest}
        assert breaches
        for clause, breach in breaches.items():
            assert breach.subjects, f"{clause}: {breach.reason}"
            assert all(s.name in names and s.mask for s in breach.subjects), (clause, breach.subjects)

    in_machine(resolve(f"known-bad:{bad}"), SCENARIOS[KNOWN_BAD[bad].scenario], SUITE, known)


def breaches(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("breach", "Breach"):
                yield node


def test_every_breach_of_a_monitor_has_subjects() -> None:
    found = 0
    for path in sorted(Path(next(iter(properties.__path__))).glob("*/monitors/*.py")):
        for call in breaches(ast.parse(path.read_text())):
            found += 1
            assert len(call.args) >= 3, f"{path.name}:{call.lineno} names no subject"
    assert found > 80


def test_a_subject_is_named_once_and_a_breach_is_no_witness() -> None:
    bit = Subject("x", 1)
    assert about(bit, "vcpu0", bit, "vcpu0") == (bit, Subject("vcpu0"))
    assert Breach("C", "") != Witness("C")
