"""Facts: every operation has its own, every one has words, and they survive JSON."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import msgspec
import pytest
from hypothesis import given, settings
from tiny_machine import A, B, InGuest, V, fitted, interrupt, machine
from tiny_programs import Program, made, programs
from tiny_traces import CHANGES, FACTS, KINDS, anything, counterexample

from conformance.adapters.source import Fault
from conformance.machine import facts
from conformance.machine.facts import Happened, performed
from conformance.machine.finding import Witness
from conformance.machine.machine import Machine
from conformance.roles import architectures
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu
from conformance.roles.scenario import VcpuSetup
from conformance.search.proof import BreakingSchedule, walk
from conformance.search.sampling import Burst, bursts, draw, run_bursts
from conformance.search.trace import Change, trace
from conformance.search.words import Words
from conformance.verdict.clause import Counterexample

SAMPLES: dict[type[ops.Operation], tuple[ops.Operation, Any, facts.Fact]] = {
    ops.Load: (ops.Load("x", 3), 2, facts.Reads("x", 2, 3)),
    ops.Store: (ops.Store("x", 2, 3), None, facts.Writes("x", 2, 3)),
    ops.Rmw: (ops.Rmw("x", "cas", 2, 3, 1), 1, facts.Modifies("x", "cas", 2, 1, 3, 1)),
    ops.Fence: (ops.Fence(), None, facts.Fences()),
    ops.Interrupts: (ops.Interrupts(True), False, facts.SetsInterrupts(True, False)),
    ops.Preemption: (ops.Preemption(False), None, facts.SetsPreemption(False)),
    ops.SendIpi: (ops.SendIpi(0xF2, 1), None, facts.Sends(0xF2, 1)),
    ops.Lock: (ops.Lock("l"), None, facts.Locks("l")),
    ops.Unlock: (ops.Unlock("l"), None, facts.Unlocks("l")),
    ops.EnterGuest: (ops.EnterGuest("vcpu0"), None, facts.Enters("vcpu0")),
    ops.PrepareToBlock: (ops.PrepareToBlock(), None, facts.Announces()),
    ops.FinishBlock: (ops.FinishBlock(), None, facts.Withdraws()),
    ops.Schedule: (ops.Schedule(), True, facts.Schedules(True)),
    ops.Wake: (ops.Wake("vcpu0"), False, facts.Wakes("vcpu0", False)),
    ops.Relax: (ops.Relax(), None, facts.Waits()),
}


@pytest.mark.parametrize("operation", get_args(ops.AnyOperation))
def test_every_operation_is_a_fact_or_quiet(operation: type[ops.Operation]) -> None:
    if issubclass(operation, get_args(facts.QUIET)):
        assert operation not in SAMPLES
        return
    op, result, fact = SAMPLES[operation]
    assert performed(op, result) == fact
    assert performed(op, result, "r") == msgspec.structs.replace(fact, routine="r")


def test_a_quiet_operation_is_no_fact() -> None:
    with pytest.raises(TypeError, match="CpuId"):
        performed(ops.CpuId(), 0)


def test_every_kind_is_one_of_what_can_happen() -> None:
    assert set(KINDS) == set(get_args(Happened))


@given(FACTS)
def test_a_fact_has_words_and_survives_json(fact: Any) -> None:
    for architecture in architectures().values():
        words = Words(architecture, ["vcpu0"])
        assert words.fact(fact) and words.told(fact).endswith(words.fact(fact))
        assert not fact.routine or words.told(fact).startswith(f"{fact.routine}: ")
    again = msgspec.json.decode(msgspec.json.encode(fact), type=Happened)
    assert again == fact and msgspec.json.encode(again) == msgspec.json.encode(fact), "to the byte"


@given(CHANGES)
def test_a_change_has_words_and_survives_json(change: Change) -> None:
    for architecture in architectures().values():
        for name, _, _ in Words(architecture).changed(change):
            assert isinstance(name, str)
    assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change


@given(anything())
def test_a_counterexample_survives_json(steps: Any) -> None:
    found = counterexample(steps, "something is wrong")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Counterexample) == found


# Of the machine's steps


def traced(made: Machine, schedule: Any) -> Any:
    return trace(made, BreakingSchedule(Witness("NONE"), tuple(schedule), 0, True))


@settings(max_examples=80, deadline=None)
@given(programs(), bursts(6, 8))
def test_a_trace_tells_what_the_machine_did(program: Program, plan: list[Burst]) -> None:
    """Memory carried along by the changes alone is what the machine holds; and plain reads find it there."""

    def follow(widths: dict[str, int]) -> None:
        machine = made(program, widths)
        try:
            run = run_bursts(machine, plan, most=60)
        except Fault:
            return
        held = {at: cell.unpack(machine.initial) for at, cell in machine.memory.items()}
        for step, (_, _, after) in zip(traced(machine, run.schedule), walk(machine, run.schedule), strict=True):
            before = dict(held)
            for change in step.changes:
                if change.at in held:
                    assert held[change.at] == change.old != change.new
                    held[change.at] = change.new
            assert held == {at: cell.unpack(after) for at, cell in machine.memory.items()}
            if not program.depth:
                first = next((f for f in step.facts if isinstance(f, facts.Reads)), None)
                assert first is None or first.value in (before[first.at], held[first.at])

    fitted(follow)


def test_a_decisive_read_is_told_from_one_that_is_passed_on() -> None:
    class Reader(InGuest):
        def decides(self, cpu: Cpu) -> None:
            if cpu.load(A) == 0:
                cpu.store(B, 1)

        def passes_on(self, cpu: Cpu) -> None:
            cpu.store(B, cpu.load(A))

        def fails_elsewhere(self, cpu: Cpu) -> None:
            if cpu.load(A) == 1:
                raise ValueError("there is no interrupt 1")
            cpu.store(B, 1)

        def sets(self, cpu: Cpu) -> None:
            cpu.store(A, 1)

    for routine, decisive in (("decides", True), ("passes_on", False), ("fails_elsewhere", False)):
        made = machine(Reader, routine, "sets")
        run = run_bursts(made, [])
        (read,) = (f for step in traced(made, run.schedule) for f in step.facts if isinstance(f, facts.Reads))
        assert (read.decides, read.last) == (decisive, False)


def test_the_last_operation_of_a_call_is_told() -> None:
    class Short(InGuest):
        def reads(self, cpu: Cpu) -> None:
            cpu.store(A, 1)
            cpu.load(A)

    made = machine(Short, "reads")
    run = run_bursts(made, [])
    told = [(type(f), f.last) for step in traced(made, run.schedule) for f in step.facts]
    assert told == [(facts.Writes, False), (facts.Reads, True)]


def test_who_changes_the_interrupt_flag_is_in_the_trace() -> None:
    """A handler that returns, a context switch that is over, an instruction: never one that leaves it as it was."""

    class Switching(InGuest):
        handlers: ClassVar = {V: "handle"}

        def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
            flag = cpu.irq_disable()
            cpu.irq_restore(flag)
            cpu.prepare_to_block()
            cpu.schedule()

        def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
            flag = cpu.irq_disable()
            cpu.store(A, 1)
            cpu.irq_restore(flag)

        def handle(self, cpu: Cpu, where: int = 0) -> None:
            cpu.wake("vcpu0")

    made = machine(Switching, vcpus=(VcpuSetup(0),), interrupts=(interrupt("handle"),))
    words = Words()
    told: set[str] = set()
    for plan in draw(bursts(len(made.agents), 8), 40):
        for step in traced(made, run_bursts(made, plan).schedule):
            flag = [c for c in step.changes if c.at == "cpu0.interrupts"]
            causes = [f for f in step.facts if isinstance(f, CAUSES) and getattr(f, "on", 1) != getattr(f, "was", 0)]
            assert bool(causes) >= bool(flag), step
            told |= {words.fact(f) for f in step.facts if isinstance(f, facts.SetsInterrupts)}
    assert told == {"interrupts off", "interrupts on", "interrupts stay off"}


CAUSES = facts.SetsInterrupts | facts.Takes | facts.Returns | facts.Schedules | facts.SwitchesOut | facts.Preempts
