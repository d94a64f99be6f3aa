"""Asked again in a process that was asked nothing before: what depends on more than the question is found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance.adapters.registry import of_class, resolve
from conformance.adapters.source import Fault
from conformance.automaton import determinism
from conformance.automaton.assembly import assemble
from conformance.automaton.determinism import in_fresh_process
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from properties.golden import GOLDEN
from properties.suite import SUITE
from reference.x86.kvm import Kvm

SCENARIO = Scenario(name="alone", about="one routine alone", architecture="x86", cpus=2, vectors=(200,))

MODULE = """
import os, time
from reference.x86.kvm import Kvm

LOADED, CALLS = os.getpid(), [0]

class Same(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        print("what is printed is no answer")
        cpu.store(vcpu.requests, 1)

class OfTheProcess(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        cpu.store(vcpu.requests, os.getpid())

class Counts(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        CALLS[0] += 1
        cpu.store(vcpu.requests, CALLS[0] > 1)

class Hashes(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        cpu.store(vcpu.requests, hash("a") & 0xFFFFFFFF)

class Dies(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        if os.getpid() != LOADED:
            os._exit(7)

class Hangs(Kvm):
    def deliver_interrupt(self, cpu, vcpu, vector):
        while os.getpid() != LOADED:
            time.sleep(1)
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Asks one question of a class here, and then of the same in a fresh process."""
    (tmp_path / "peculiar.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "peculiar", raising=False)

    def ask(name: str, times: int = 1) -> None:
        implementation = resolve(f"peculiar:{name}")
        for _ in range(times):
            assembly = assemble(implementation, SCENARIO)
            assembly.root("deliver_interrupt", ("vcpu0", 200))
            in_fresh_process(implementation, SCENARIO, assembly)

    return ask


def test_what_depends_on_the_question_alone_is_the_same(asked) -> None:
    asked("Same", times=3)


@pytest.mark.parametrize("name", ["OfTheProcess", "Counts", "Hashes"])
def test_what_outlives_a_call_is_found(asked, name: str) -> None:
    """The second time, too: no lot of questions sees what an earlier one has left."""
    with pytest.raises(Fault, match="answers differently in a fresh process") as fault:
        asked(name, times=2)
    assert (fault.value.status, fault.value.routine) == ("NONDETERMINISTIC", "deliver_interrupt")


def test_what_ends_the_process_there_alone_is_found(asked) -> None:
    with pytest.raises(Fault, match="not in a fresh process: asked the same, that one ended with status 7") as fault:
        asked("Dies")
    assert fault.value.status == "NONDETERMINISTIC"


def test_what_never_answers_there_is_a_timeout(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "SECONDS", 0.5)
    with pytest.raises(Fault, match=r"no answer in a fresh process within 0\.5 s") as fault:
        asked("Hangs")
    assert fault.value.status == "TIMEOUT"
    monkeypatch.undo()


def test_what_its_spec_does_not_lead_to_is_asked_here_only() -> None:
    class Local(Kvm):
        """Defined in a function: no other process finds it."""

    implementation = of_class(Local, "local", "nowhere:Local")
    in_fresh_process(implementation, SCENARIO, assemble(implementation, SCENARIO))


FEW, MORE = ("one-sender", "nested-own", "vgic-sgi-registers", "gicv4.1-closed-wfi"), 5_000
SMALL = [s for s in SUITE.scenarios if s.story and GOLDEN.get(s.name, MORE) < MORE]


@pytest.mark.parametrize(
    "scenario", [pytest.param(s, id=s.name, marks=[] if s.name in FEW else [pytest.mark.slow]) for s in SMALL]
)
def test_what_ships_answers_the_same_when_it_is_asked_again(scenario: Scenario) -> None:
    """A run does not ask it again."""

    def again(machine: Machine) -> None:
        prove(machine)
        machine.assembly.recheck()

    in_machine(resolve("reference"), scenario, SUITE, again)
