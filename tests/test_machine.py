"""The rules of the machine for interrupts, threads and hardware, each by a scenario of a few lines."""

from __future__ import annotations

from typing import ClassVar

import pytest
from tiny_machine import (
    A,
    B,
    Code,
    InGuest,
    L,
    V,
    W,
    X,
    Y,
    agent,
    interrupt,
    machine,
    moves,
    reach,
    rests,
    top,
    value,
)

from conformance.adapters.source import Fault
from conformance.machine.facts import Acknowledges, Takes, Wakes
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu
from conformance.roles.location import Field, Shared
from conformance.roles.scenario import Budget, Device, DeviceInterrupt, VcpuSetup
from conformance.search.proof import prove

# Interrupts


class Interrupted(Code):
    def thread(self, cpu: Cpu) -> None:
        cpu.store(A, 1)
        cpu.store(A, 2)

    def closed(self, cpu: Cpu) -> None:
        cpu.irq_disable()
        cpu.store(A, 1)
        cpu.store(A, 2)
        cpu.irq_enable()

    def handler(self, cpu: Cpu) -> None:
        cpu.store(B, cpu.load(A) + 10)


def test_an_interrupt_in_flight_may_arrive_at_any_time_and_once_latched_is_taken_before_anything_else() -> None:
    made = machine(Interrupted, "thread", interrupts=(interrupt("handler"),))
    assert rests(made, "b") == {10, 11, 12}
    pending = [s for s in reach(made) if value(made, s, "cpu0.latched")]
    assert pending
    for state in pending:
        taken = [o.notes[0].fact for a, o, _ in moves(made, state) if a.name == "cpu0"]
        assert taken == [Takes(V)]


def test_a_masked_interrupt_waits_for_the_flag() -> None:
    assert rests(machine(Interrupted, "closed", interrupts=(interrupt("handler"),)), "b") == {10, 12}


def test_an_interrupt_that_nobody_handles_is_only_acknowledged() -> None:
    made = machine(Interrupted, "thread", interrupts=(), budget=Budget(spurious=((V, 0),)))
    assert rests(made, "a", "cpu0.latched") == {(2, 0)}


class Counting(Code):
    handlers: ClassVar = {V: "count", W: "count"}

    def sender(self, cpu: Cpu) -> None:
        cpu.send_ipi(V, 1)
        cpu.send_ipi(V, 1)

    def count(self, cpu: Cpu, where: int) -> None:
        cpu.irq_enable()
        if cpu.fetch_add(X, 1):
            cpu.store(B, 1)
        cpu.fetch_add(A, 1)
        cpu.fetch_add(X, ops.WORD)


class Lost(Counting):
    def nowhere(self, cpu: Cpu) -> None:
        cpu.send_ipi(V, 7)


def test_a_device_s_message_to_nobody_is_lost() -> None:
    """Its destination is whatever software left in memory."""
    assert rests(machine(Lost, cpus=2, devices=(Device("device", "nowhere", ()),)), "a") == {0}


def test_software_does_not_send_to_nobody() -> None:
    with pytest.raises(Fault, match=r"nowhere sends 0x[0-9a-f]+ to CPU 7: there are 2"):
        rests(machine(Lost, "nowhere", cpus=2), "a")


def test_messages_merge_by_vector_and_cpu() -> None:
    assert rests(machine(Counting, "sender", cpus=2), "a") == {1, 2}


def test_handlers_do_not_nest_even_with_interrupts_on() -> None:
    made = machine(
        Counting, cpus=1, interrupts=(DeviceInterrupt(V, 0, "count", (0,)), DeviceInterrupt(W, 0, "count", (0,)))
    )
    assert rests(made, "a", "b") == {(2, 0)}


# Sleep and wake


class Sleeping(Code):
    def sleeper(self, cpu: Cpu) -> None:
        cpu.prepare_to_block()
        cpu.schedule()

    def unannounced(self, cpu: Cpu) -> None:
        cpu.schedule()

    def withdrawn(self, cpu: Cpu) -> None:
        cpu.prepare_to_block()
        cpu.finish_block()
        cpu.schedule()

    def waker(self, cpu: Cpu) -> None:
        cpu.store(A, int(cpu.wake("sleeper")))


def test_a_wake_leaves_no_token_and_cancels_an_announced_sleep() -> None:
    made = machine(Sleeping, "sleeper", "waker")
    assert rests(made, "a", "sleeper.status") == {(0, "sleeping"), (1, "done")}


def test_schedule_sleeps_only_if_announced() -> None:
    assert rests(machine(Sleeping, "unannounced"), "unannounced.status") == {"done"}
    assert rests(machine(Sleeping, "withdrawn"), "withdrawn.status") == {"done"}
    assert rests(machine(Sleeping, "sleeper"), "sleeper.status") == {"sleeping"}


class WokenInPut(Code):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
        cpu.prepare_to_block()
        cpu.store(X, 1)
        cpu.schedule()
        cpu.store(B, 1)

    def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
        cpu.load(Y)
        cpu.load(Y)

    def waker(self, cpu: Cpu) -> None:
        while not cpu.load(X):
            cpu.relax()
        cpu.store(A, int(cpu.wake("vcpu0")))


def test_a_wake_during_put_brings_the_thread_back() -> None:
    made = machine(WokenInPut, "waker", vcpus=(VcpuSetup(0),))
    assert rests(made, "a", "b", "vcpu0.status") == {(1, 1, "done")}
    during = [
        outcome
        for state in reach(made)
        if (frame := top(made, state)) and frame.kind == "put" and value(made, state, "vcpu0.status") == "sleeping"
        for who, outcome, _ in moves(made, state)
        if who.name == "cpu1" and any(isinstance(note.fact, Wakes) for note in outcome.notes)
    ]
    assert during


class OpensInPut(Code):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
        cpu.prepare_to_block()
        cpu.schedule()

    def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
        cpu.store(A, 1)
        cpu.irq_enable()
        cpu.load(Y)
        cpu.irq_disable()
        cpu.store(A, 2)

    def notes(self, cpu: Cpu) -> None:
        cpu.store(B, cpu.load(A) + 1)


def test_an_interrupt_is_taken_in_put_where_it_opens_interrupts() -> None:
    made = machine(OpensInPut, vcpus=(VcpuSetup(0),), interrupts=(interrupt("notes"),))
    assert rests(made, "b", "vcpu0.status") == {(seen, "sleeping") for seen in (1, 2, 3)}


def test_who_sleeps_with_interrupts_off_or_preemption_disabled_breaks_an_assertion() -> None:
    class Closed(Code):
        def off(self, cpu: Cpu) -> None:
            cpu.irq_disable()
            cpu.prepare_to_block()
            cpu.schedule()

        def held(self, cpu: Cpu) -> None:
            cpu.lock(L)
            cpu.prepare_to_block()
            cpu.schedule()

        def idle(self, cpu: Cpu) -> None:
            cpu.prepare_to_block()

    for routine in ("off", "held"):
        done = prove(machine(Closed, routine))
        said = f"{routine} sleeps with interrupts off, preemption disabled or a lock held"
        assert done.complete and done.breached["ASSERTION"].reason == said
    with pytest.raises(Fault, match="idle CPU"):
        prove(machine(Closed, interrupts=(interrupt("idle"),)))


# Context switches


class Switching(Code):
    """Stores 1 to 6, each under what its line says."""

    def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
        cpu.store(A, 1)
        cpu.preempt_disable()
        cpu.store(A, 2)
        cpu.preempt_enable()
        cpu.store(A, 3)
        cpu.irq_disable()
        cpu.store(A, 4)
        cpu.irq_enable()
        cpu.lock(L)
        cpu.store(A, 5)
        cpu.unlock(L)
        cpu.store(A, 6)

    def load(self, cpu: Cpu, vcpu: str, where: int) -> None:
        flag = cpu.irq_disable()
        cpu.store(X, int(flag) + 1)
        cpu.irq_restore(flag)

    def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
        flag = cpu.irq_disable()
        cpu.store(Y, int(flag) + 1)
        cpu.store(B, int(preempted) + 1)
        cpu.irq_restore(flag)

    def handler(self, cpu: Cpu) -> None:
        cpu.load(B)


def test_a_thread_is_preempted_only_with_interrupts_on_preemption_enabled_no_lock_held_and_no_call_on_top() -> None:
    made = machine(Switching, vcpus=(VcpuSetup(0),), budget=Budget(preempt=2), interrupts=(interrupt("handler"),))
    preempt = agent(made, "preempt cpu0")
    about_to: set[int] = set()
    for state in reach(made):
        if preempt.entry(state).outcomes:
            assert [f.kind for f in value(made, state, "cpu0.run").frames] == ["thread"]
            answer = top(made, state).node.answer
            if isinstance(answer, ops.Store) and isinstance(answer.value, int):
                about_to.add(answer.value)
    assert about_to == {1, 3, 6}


def test_a_switch_runs_put_with_interrupts_off_and_load_with_interrupts_on() -> None:
    made = machine(Switching, vcpus=(VcpuSetup(0),), budget=Budget(preempt=1))
    assert rests(made, "vcpu0.status", "x", "y", "b") == {("done", 2, 0, 0), ("done", 2, 1, 2)}


def test_a_migrated_thread_is_loaded_where_it_went_and_an_id_read_before_is_stale() -> None:
    class Migrating(Code):
        def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
            cpu.fetch_or(X, 1)
            here = cpu.id()
            cpu.store(A, here + 1)

        def load(self, cpu: Cpu, vcpu: str, where: int) -> None:
            cpu.store(B, where + 1)

        def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
            cpu.store(Y, cpu.load(X) + 1)

    made = machine(Migrating, cpus=2, vcpus=(VcpuSetup(0),), budget=Budget(preempt=1, migrate=1))
    found = rests(made, "a", "b", "y")
    assert {(1, 1, 0), (1, 2, 2)} <= found, "never moved; moved between reading its id and using it"
    assert (2, 2, 2) in found, "moved after the locked operation and before reading its id"
    assert not any(a == 2 and b == 1 for a, b, _ in found)


def test_a_spontaneous_exit_is_optional() -> None:
    made = machine(InGuest, vcpus=(VcpuSetup(0),), budget=Budget(exit=1))
    assert rests(made, "vcpu0.status", "budget.exit") == {("runnable", 1), ("done", 0)}


# The guest and hardware


def test_an_interrupt_acknowledged_on_exit_reaches_the_hosts_handler() -> None:
    class Exits(InGuest):
        handlers: ClassVar = {V: "host"}

        def host(self, cpu: Cpu, where: int) -> None:
            cpu.store(A, 1)

    made = machine(Exits, vcpus=(VcpuSetup(0),), budget=Budget(spurious=((V, 0),)))
    assert rests(made, "a", "vcpu0.status") == {(0, "runnable"), (1, "done"), (1, "runnable")}
    from_guest = [o for s in reach(made) if value(made, s, "cpu0.run").guest for _, o, _ in moves(made, s)]
    assert any(Acknowledges(V) in (note.fact for note in o.notes) for o in from_guest)


def test_only_hardware_changes_several_words_in_one_step() -> None:
    class Posts(Code):
        def post(self, cpu: Cpu) -> None:
            with cpu.atomic():
                cpu.store(X, 1)
                cpu.store(Y, 1)

        def looks(self, cpu: Cpu) -> None:
            cpu.store(A, cpu.load(X) + 1)
            cpu.store(B, cpu.load(Y) + 1)

        def sleeps(self, cpu: Cpu) -> None:
            cpu.prepare_to_block()

    made = machine(Posts, "looks", devices=(Device("device", "post", ()),))
    assert rests(made, "a", "b") == {(1, 1), (1, 2), (2, 2)}
    assert all(value(made, s, "x") == value(made, s, "y") for s in reach(made))
    with pytest.raises(Fault, match="only hardware changes several words"):
        prove(machine(Posts, "post"))
    with pytest.raises(Fault, match="runs on a device, which cannot do"):
        prove(machine(Posts, devices=(Device("device", "sleeps", ()),)))


def test_a_device_waits_for_the_thread_it_comes_after() -> None:
    class Ordered(Code):
        def first(self, cpu: Cpu) -> None:
            cpu.store(X, 1)
            cpu.store(X, 2)

        def second(self, cpu: Cpu) -> None:
            cpu.store(A, cpu.load(X))

    made = machine(Ordered, "first", devices=(Device("device", "second", (), "first"),))
    assert rests(made, "a") == {2}


def test_every_choice_is_explored_also_where_one_of_them_has_to_wait() -> None:
    class Chooses(Code):
        def chooses(self, cpu: Cpu) -> None:
            how = cpu.choose("now", "later", "never")
            if how == "later":
                cpu.lock(L)
            if how != "never":
                cpu.store(A, 1 + (how == "later"))

        def holds(self, cpu: Cpu) -> None:
            cpu.lock(L)
            cpu.unlock(L)

    assert rests(machine(Chooses, "chooses", "holds"), "a") == {0, 1, 2}


@pytest.mark.parametrize("routine", ["unknown_place", "list_arithmetic", "locks_a_word", "reads_a_lock"])
def test_an_operation_that_makes_no_sense_is_a_fault(routine: str) -> None:
    class Senseless(Code):
        shares: ClassVar = {**Code.shares, "list": Shared(())}

        def unknown_place(self, cpu: Cpu) -> None:
            cpu.load(Field("nowhere"))

        def list_arithmetic(self, cpu: Cpu) -> None:
            cpu.fetch_or(Field("list"), 1)

        def locks_a_word(self, cpu: Cpu) -> None:
            cpu.lock(X)

        def reads_a_lock(self, cpu: Cpu) -> None:
            cpu.load(L)

    with pytest.raises(Fault) as fault:
        prove(machine(Senseless, routine))
    assert fault.value.status == "CRASH" and fault.value.routine == routine
