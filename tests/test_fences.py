"""The fence audit under TSO: what is needed, and that it agrees with the fences whose loss is a known bug."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from conformance.adapters.registry import of_classes, resolve
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.commands.main import cli
from conformance.litmus.axioms import Model
from conformance.machine import state
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.ordering.axiomatic import OUTSIDE, Judgement, outcomes
from conformance.ordering.axiomatic import audit as axioms
from conformance.ordering.fences import Buffered, Judged, audit
from conformance.ordering.routines import Window, window
from conformance.ordering.weaken import Site, sites, weakened
from conformance.report.ordering import execution
from conformance.roles import architectures
from conformance.roles import operations as ops
from conformance.roles.scenario import Budget
from conformance.roles.x86 import WAKEUP, Cpu, Vcpu
from conformance.search.proof import prove
from conformance.verdict.explore import explore
from properties.suite import SUITE
from reference.x86.kvm import Kvm

ONE_SENDER = [s for s in SUITE.scenarios if s.name == "one-sender"]
WITH_BUFFERS = [s for s in SUITE.scenarios if s.buffer and s.audited and s.architecture == "x86"]


def judged(spec: str) -> dict[str, Judged]:
    return {str(j.site): j for j in audit(resolve(spec), SUITE, WITH_BUFFERS).judged}


ENTRY = "vcpu_enter_guest: fence after writing vcpu0.mode"
SLEEP = "block_once: fence after announcing a sleep"
SENDER = "deliver_interrupt: locked or of vcpu0.ON"


def test_the_reference() -> None:
    """KVM's barrier after mode := IN is needed; with IPI virtualization the one before the last look is not: put looks
    again. The sender's read of mode is kept behind its post by the locked operation on ON.
    """
    found = judged("reference")
    assert {name for name, j in found.items() if j.status == "needed"} == {
        ENTRY,
        SENDER,
        "block_once: locked swap of vcpu0.PIR word 1",
        "put: locked cas of vcpu0.control",
    }
    assert found[ENTRY].breaks == ("E2E-1", "E2E-11", "E2E-14")
    assert found[SLEEP].status == "not needed"
    assert found["deliver_interrupt: locked or of vcpu0.PIR[100]"].status == "demanded, changes nothing"
    assert found["vcpu_enter_guest: fence #2 after writing vcpu0.ON"].status == "not needed"


def test_without_ipi_virtualization_the_sleeper_needs_its_fence() -> None:
    found = judged("kvm-vtd-only")
    assert found[SLEEP].status == "needed"
    assert set(found[SLEEP].breaks) == {"E2E-1", "E2E-10", "E2E-14", "KVM-SND-7"}
    assert found[ENTRY].status == "needed"


@pytest.mark.parametrize(
    ("base", "name", "bug", "steps"), [("reference", ENTRY, "F1", (3, 11)), ("kvm-vtd-only", SLEEP, "F2", (6, 23))]
)
def test_taking_a_fence_away_is_the_known_bug(base: str, name: str, bug: str, steps: tuple[int, int]) -> None:
    """The translated routine and the one written without the fence break the same, with the same least schedule."""
    found = judged(base)[name]
    assert found.witness
    assert (found.witness.switches, found.witness.steps) == steps
    for scenario in WITH_BUFFERS:
        written = in_machine(resolve(f"known-bad:{bug}"), scenario, SUITE, prove)
        translated = in_machine(resolve(base), scenario, SUITE, prove, lambda whole: weakened(whole, found.site))
        assert bug == "F2" or translated.states == written.states  # F2 goes another way once it is awake
        assert translated.at_rest.keys() == written.at_rest.keys()


# What is missing, and what may not go together


@pytest.mark.parametrize(
    ("bug", "scenario", "mends"),
    [
        ("F1", "tso-running", "vcpu_enter_guest: a full fence after writing vcpu0.mode, before reading"),
        ("F2", "tso-block", "block_once: a full fence after announcing a sleep, before reading"),
    ],
)
def test_a_fence_that_is_missing_is_named(bug: str, scenario: str, mends: str) -> None:
    """Between what is stored and the read that may not overtake it."""
    found = audit(resolve(f"known-bad:{bug}"), SUITE, [s for s in SUITE.scenarios if s.name == scenario])
    (missing,) = found.missing
    assert "E2E-1" in missing.breaks and missing.witness.trace
    assert any(str(gap).startswith(mends) for gap in missing.mends)


def test_nothing_is_missing_where_nothing_is_broken_by_buffers() -> None:
    """B17 loses interrupts in any memory."""
    found = audit(resolve("known-bad:B17"), SUITE, [s for s in SUITE.scenarios if s.name == "one-sender"])
    assert not found.missing


class FencedTwice(Kvm):
    """KVM with its barrier after mode := IN twice."""

    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.store(vcpu.mode, 1)
        cpu.fence()
        cpu.fence()
        self.sync_pir_to_irr(cpu, vcpu)


def test_two_that_cover_for_each_other_are_told_as_a_pair() -> None:
    found = audit(
        of_classes("twice", "twice", FencedTwice), SUITE, [s for s in SUITE.scenarios if s.name == "tso-running"]
    )
    fences = [j for j in found.judged if "after writing vcpu0.mode" in str(j.site)]
    assert [j.status for j in fences] == ["not needed", "not needed"]
    (pair,) = found.together
    assert pair.sites == (fences[0].site, fences[1].site) and "E2E-11" in pair.breaks


def test_a_scenario_without_buffers_is_given_some() -> None:
    """What tso-running shows, the scenario that it was made of shows, too."""
    (entry,) = [j for j in audit(resolve("reference"), SUITE, ONE_SENDER).judged if str(j.site) == ENTRY]
    assert entry.status == "needed" and entry.looked == ("one-sender",)


def test_what_is_too_large_is_said() -> None:
    found = audit(resolve("reference"), SUITE, ONE_SENDER, most=10)
    assert found.too_large == ("one-sender",) and not found.judged


# What taking away means


class Scripted:
    """A routine that asks for these operations in turn."""

    def __init__(self, *script: ops.AnyOperation) -> None:
        self.script = script

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        return self.script[len(results)] if len(results) < len(self.script) else ops.Return(value=results)

    def fresh(self) -> Scripted:
        return self


def asked(script: tuple[ops.AnyOperation, ...], which: int, answers: dict[str, ops.Result]) -> Iterator[ops.Answer]:
    """What the routine asks for without its `which`-th site, when operations are answered by name."""
    whole = Assembly({"r": Unfolding(Scripted(*script))}, {"r": "sender"}, {}, {})
    node = whole.root("r", ())
    while not isinstance(node.answer, ops.Return):
        node = node.child(answers.get(node.answer.__struct_config__.tag))  # type: ignore[arg-type]
    without = weakened(whole, sites(whole)[which]).root("r", ())
    while True:
        yield without.answer
        if isinstance(without.answer, ops.Return):
            return
        without = without.child(answers.get(without.answer.__struct_config__.tag))  # type: ignore[arg-type]


def test_a_fence_is_left_out() -> None:
    script = (ops.Store("x", 1), ops.Fence(), ops.Load("y"))
    assert list(asked(script, 0, {"load": 7})) == [ops.Store("x", 1), ops.Load("y"), ops.Return(value=(None, None, 7))]


@pytest.mark.parametrize(
    ("operation", "old", "parts"),
    [
        (ops.Rmw("x", "or", 4, 6), 2, [ops.Load("x", 6), ops.Store("x", 6, 6)]),
        (ops.Rmw("x", "cas", 4, expect=2), 2, [ops.Load("x"), ops.Store("x", 4)]),
        (ops.Rmw("x", "cas", 4, expect=3), 2, [ops.Load("x")]),
        (ops.Rmw("x", "or", 2), 2, [ops.Load("x"), ops.Store("x", 2)]),
    ],
)
def test_a_lock_prefix_is_taken_off(operation: ops.Rmw, old: int, parts: list[ops.AnyOperation]) -> None:
    made = list(asked((operation, ops.Load("y")), 0, {"rmw": old, "load": old}))
    assert made == [*parts, ops.Load("y"), ops.Return(value=(old, old))]


def test_sites_are_told_apart_by_occurrence() -> None:
    whole = Assembly({"r": Unfolding(Scripted(ops.Fence(), ops.Load("x"), ops.Fence()))}, {"r": "sender"}, {}, {})
    node = whole.root("r", ())
    while not isinstance(node.answer, ops.Return):
        node = node.child(0 if isinstance(node.answer, ops.Load) else None)
    assert sites(whole) == [
        Site("r", ops.Fence(), 2, "reading x"),
        Site("r", ops.Fence(), 1, "it begins"),
    ]
    for role, name in (("iommu", "x86"), ("its", "arm"), ("virtual_interface", "arm")):
        assert not sites(Assembly(whole.routines, {"r": role}, {}, {}, {}, architectures()[name]))
    software = Assembly(whole.routines, {"r": "injector"}, {}, {}, {}, architectures()["arm"])
    assert len(sites(software)) == 2


def test_the_command() -> None:
    result = CliRunner().invoke(cli, ["fences", "--scenario", "tso-running"], standalone_mode=False)
    assert result.return_value == 0
    assert "vcpu_enter_guest: fence after writing mode" in result.output
    assert "without vcpu_enter_guest: fence after writing mode:" in result.output
    assert "vcpu_enter_guest: locked swap of PIR[] " in result.output, "a line of code, whatever the word"
    assert "Store buffers of 2 stores" in result.output
    assert "breaks E2E-11" in result.output or "breaks E2E-1:" in result.output
    result = CliRunner().invoke(cli, ["fences", "--scenario", "tso-runing"])
    assert "Did you mean tso-running" in result.output


# By axioms

MODELS: tuple[Model, ...] = ("tso", "armv8")
RUNNING = [s for s in SUITE.scenarios if s.name == "tso-running"]


@pytest.fixture(scope="module")
def by_axioms() -> dict[str, dict[str, Judgement]]:
    return {m: {str(j.site): j for j in axioms(resolve("reference"), SUITE, RUNNING, m).judged} for m in MODELS}


def test_axioms_and_store_buffers_need_the_same(by_axioms: dict[str, dict[str, Judgement]]) -> None:
    """Where a rule about the operation itself is left aside: that a plain store is none, an outcome cannot show."""
    searched = {str(j.site): set(j.breaks) - {"PID-8"} for j in audit(resolve("reference"), SUITE, RUNNING).judged}
    for name, judgement in by_axioms["tso"].items():
        if judgement.status != OUTSIDE:
            assert set(judgement.breaks) == searched[name], name


def test_armv8(by_axioms: dict[str, dict[str, Judgement]]) -> None:
    """The sender's barrier is implied by its locked operation, and missing where that is relaxed."""
    found = by_axioms["armv8"]
    assert {n for n, j in found.items() if j.status == "needed"} == {ENTRY, SENDER}
    assert found[ENTRY].breaks == found[SENDER].breaks == ("E2E-1", "E2E-11", "E2E-14")
    assert (witness := found[SENDER].witness)
    assert "overtakes" in execution(witness, "armv8")
    assert found["deliver_interrupt: locked or of vcpu0.PIR[100]"].status == "not needed"
    assert found["load: fence after writing vcpu0.SN"].status == OUTSIDE


def test_windows_have_the_outcomes_of_the_machine() -> None:
    """Under sequential consistency the axioms let happen what the machine does when it runs the same threads."""
    strict = msgspec.structs.replace(RUNNING[0], buffer=0, budget=Budget())

    def compared(machine: Machine) -> tuple[set[Any], set[Any]]:
        made = window(machine, machine.initial, "start", "tso", None)
        solved = {(key[0], key[1]) for key, _, _ in outcomes(made, "sc")}
        return {final for _, final in solved}, _finals(machine, made)

    solved, ran = in_machine(resolve("reference"), strict, SUITE, compared)
    assert solved == ran


def _finals(machine: Machine, made: Window) -> set[Any]:
    """What the window's locations hold whenever every CPU is done or about to enter the guest."""
    seen, pending, found = {machine.initial}, [machine.initial], set()
    cpus = [a for a in machine.agents if a.name in ("cpu0", "cpu1")]
    while pending:
        state = pending.pop()
        run = machine.cpus[0].run.unpack(state)
        entering = bool(run.frames) and isinstance(run.frames[-1].node.answer, ops.EnterGuest)
        if entering and not machine.cpus[1].run.unpack(state).frames:
            found.add(tuple(machine.memory[at].unpack(state) for at in made.shared))
        for agent in cpus[entering:]:
            for outcome in agent.entry(state).outcomes:
                after = state & outcome.keep | outcome.add
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
    return found


def test_the_command_for_armv8() -> None:
    result = CliRunner().invoke(
        cli, ["fences", "--model", "armv8", "--scenario", "tso-running", "--no-witness"], standalone_mode=False
    )
    assert result.return_value == 0
    assert "locked operation, seq_cst   LDSETAL, SWPAL, CASAL" in result.output
    assert re.search(r"vcpu_enter_guest: fence after writing mode +needed: E2E-1, E2E-11, E2E-14", result.output)


def test_more_outcomes_than_can_be_remembered_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """That says nothing of the site, and ends nothing."""
    here = Buffered(resolve("reference"), SUITE, WITH_BUFFERS[0])
    assert here.outcomes()
    monkeypatch.setattr(state, "MOST_REMEMBERED", 2)
    assert here.outcomes() is None


class ClearsSnPlainly(Kvm):
    """load clears SN by a store, and looks at PIR with nothing in between: what vmx_vcpu_pi_load()'s comment is about."""

    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        before = cpu.load(vcpu.cpu)
        if cpu.load(vcpu.pid.nv) == WAKEUP or before != where:
            return super().pi_load(cpu, vcpu, where)
        if cpu.load(vcpu.pid.sn):
            cpu.store(vcpu.pid.sn, 0)
            if self.any_posted(cpu, vcpu):
                cpu.test_and_set(vcpu.pid.on)
        return None


@pytest.mark.parametrize(("scenario", "lost"), [("preempt-running", False), ("preempt-running/buffered", True)])
def test_a_preempted_vcpu_that_comes_back_needs_the_fence_after_clearing_sn(scenario: str, lost: bool) -> None:
    """Store buffers and preemption meet: neither alone shows it."""
    (where,) = (s for s in SUITE.scenarios if s.name == scenario)
    found = explore(resolve(f"{__name__}:ClearsSnPlainly"), where, SUITE, shorten=False)
    assert found.complete and ("E2E-11" in found.counterexamples) is lost
