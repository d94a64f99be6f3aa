"""The rules of the machine, each by a scenario of a few lines."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_machine import A, B, Code, InGuest, L, X, Y, agent, broken, machine, moves, reach, rests, value

import properties.monitors
from conformance.adapters.python import Cpu, Field, Then
from conformance.engine import events as ev
from conformance.engine import operations as ops
from conformance.engine.assembly import Shared
from conformance.engine.machine import Machine
from conformance.engine.monitor import Finding, Look, Monitor
from conformance.engine.scenario import Budget, Device, DeviceInterrupt, Vcpu
from conformance.engine.search import prove, shortest
from conformance.engine.settle import recovery
from conformance.engine.unfold import Fault

V, W = 0x50, 0x60


def interrupt(routine: str, vector: int = V, cpu: int = 0) -> DeviceInterrupt:
    return DeviceInterrupt(vector, cpu, routine, ())


def top(machine: Machine, state: int, cpu: int = 0) -> Any:
    """The frame on top of a CPU, or None."""
    frames = value(machine, state, f"cpu{cpu}.run").frames
    return frames[-1] if frames else None


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
        taken = [o.notes[0] for a, o, _ in moves(made, state) if a.name == "cpu0"]
        assert taken == [("takes", V)]


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
    made = machine(WokenInPut, "waker", vcpus=(Vcpu(0),))
    assert rests(made, "a", "b", "vcpu0.status") == {(1, 1, "done")}
    during = [
        outcome
        for state in reach(made)
        if (frame := top(made, state)) and frame.kind == "put" and value(made, state, "vcpu0.status") == "sleeping"
        for who, outcome, _ in moves(made, state)
        if who.name == "cpu1" and any(isinstance(n[1], ops.Wake) for n in outcome.notes)
    ]
    assert during


def test_sleeping_with_interrupts_off_or_preemption_disabled_is_a_fault() -> None:
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
        with pytest.raises(Fault, match="sleeps with interrupts off, preemption disabled or a lock held"):
            prove(machine(Closed, routine))
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
    made = machine(Switching, vcpus=(Vcpu(0),), budget=Budget(preempt=2), interrupts=(interrupt("handler"),))
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
    made = machine(Switching, vcpus=(Vcpu(0),), budget=Budget(preempt=1))
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

    made = machine(Migrating, cpus=2, vcpus=(Vcpu(0),), budget=Budget(preempt=1, migrate=1))
    found = rests(made, "a", "b", "y")
    assert {(1, 1, 0), (1, 2, 2)} <= found, "never moved; moved between reading its id and using it"
    assert (2, 2, 2) in found, "moved after the locked operation and before reading its id"
    assert not any(a == 2 and b == 1 for a, b, _ in found)


def test_a_spontaneous_exit_is_optional() -> None:
    made = machine(InGuest, vcpus=(Vcpu(0),), budget=Budget(exit=1))
    assert rests(made, "vcpu0.status", "budget.exit") == {("runnable", 1), ("done", 0)}


# Locks, private and guarded locations


class Locking(Code):
    shares: ClassVar = {
        **Code.shares,
        "n": Shared(guarded_by="l"),
        "m": Shared(lock=True),
        "mine": Shared(private_to="vcpu0"),
        "fixed": Shared(7, constant=True),
    }
    N, M, MINE, FIXED = Field("n"), Field("m"), Field("mine"), Field("fixed")

    def adds(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.store(self.N, cpu.load(self.N) + 1)
        cpu.unlock(L)

    adds_too = adds

    def peeks(self, cpu: Cpu) -> None:
        cpu.load(self.N)

    def holds(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.load(X)
        cpu.unlock(L)

    def holds_while_interrupted(self, cpu: Cpu) -> None:
        cpu.lock(L)
        self.interrupts_itself(cpu)
        cpu.unlock(L)

    def interrupts_itself(self, cpu: Cpu) -> None:
        cpu.send_ipi_self(V)
        while not cpu.load(A):
            cpu.relax()

    def peeks_and_says_so(self, cpu: Cpu, where: int) -> None:
        cpu.load(self.N)
        cpu.store(A, 1)

    def meddles_and_says_so(self, cpu: Cpu, where: int) -> None:
        cpu.store(self.MINE, 1)
        cpu.store(A, 1)

    def one_way(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.lock(self.M)
        cpu.unlock(self.M)
        cpu.unlock(L)

    def other_way(self, cpu: Cpu) -> None:
        cpu.lock(self.M)
        cpu.lock(L)
        cpu.unlock(L)
        cpu.unlock(self.M)

    def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
        cpu.load(X)
        cpu.store(self.MINE, cpu.load(self.FIXED))
        cpu.load(X)

    def meddles(self, cpu: Cpu) -> None:
        cpu.store(self.MINE, 1)

    def overwrites(self, cpu: Cpu) -> None:
        cpu.store(self.FIXED, 1)


def test_what_the_holder_of_a_lock_does_to_guarded_locations_is_one_step() -> None:
    made = machine(Locking, "adds", "adds_too")
    assert rests(made, "n") == {2} and broken(made) == set()
    (_, outcome, _) = next(moves(made, made.initial))
    assert [type(note[1]) for note in outcome.notes] == [ops.Lock, ops.Load, ops.Store]


def test_private_and_constant_locations_make_no_step_of_their_own() -> None:
    made = machine(Locking, vcpus=(Vcpu(0),))
    (_, outcome, _) = next(moves(made, made.initial))
    assert [note[1].at for note in outcome.notes] == ["x", "fixed", "mine"]
    with pytest.raises(Fault, match="holds constant"):
        prove(machine(Locking, "overwrites"))


def test_a_guarded_access_without_the_lock_is_a_race_that_names_both_sites() -> None:
    done = prove(machine(Locking, "adds", "peeks"))
    assert set(done.breached) == {"RACE"}
    assert done.breached["RACE"] == "peeks read n without holding l, which guards it against adds"


def test_a_handler_does_not_hold_what_it_interrupted_and_is_not_the_thread() -> None:
    class Peeking(Locking):
        handlers: ClassVar = {V: "peeks_and_says_so"}

    class Meddling(Locking):
        handlers: ClassVar = {V: "meddles_and_says_so"}

        def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
            self.interrupts_itself(cpu)

    race = prove(machine(Peeking, "holds_while_interrupted")).breached
    assert race["RACE"].startswith("peeks_and_says_so read n without holding l")
    race = prove(machine(Meddling, vcpus=(Vcpu(0),))).breached
    assert race["RACE"].startswith("meddles_and_says_so touched mine in a handler on cpu0")
    assert broken(machine(Locking, "meddles")) == {"RACE"}


def test_deadlocks_name_who_waits_for_what() -> None:
    done = prove(machine(Locking, "one_way", "other_way"))
    assert done.at_rest["DEADLOCK"].reason in (
        "one_way on cpu0 waits for m, held by cpu1",
        "other_way on cpu1 waits for l, held by cpu0",
    )
    itself = prove(machine(Locking, "holds", interrupts=(interrupt("adds"),)))
    assert itself.at_rest["DEADLOCK"].reason == "adds on cpu0 waits for l, held by cpu0"


def test_an_unlock_too_many_is_a_fault() -> None:
    class Unlocking(Code):
        def unlocks(self, cpu: Cpu) -> None:
            cpu.unlock(L)

        def enables(self, cpu: Cpu) -> None:
            cpu.preempt_enable()

    with pytest.raises(Fault, match="unlocks l, which cpu0 does not hold"):
        prove(machine(Unlocking, "unlocks"))
    with pytest.raises(Fault, match="more often than it disabled it"):
        prove(machine(Unlocking, "enables"))


# Waiting and never resting


class Waiting(Code):
    def waits(self, cpu: Cpu) -> None:
        while not cpu.load(X):
            cpu.relax()
        cpu.store(A, 1)

    def sets(self, cpu: Cpu) -> None:
        cpu.store(X, 1)

    def asks_again(self, cpu: Cpu) -> Any:
        return None if cpu.load(X) else Then("asks_again")

    def ping(self, cpu: Cpu) -> Any:
        while cpu.load(X):
            cpu.relax()
        cpu.store(X, 1)
        return Then("ping")

    def pong(self, cpu: Cpu) -> Any:
        while not cpu.load(X):
            cpu.relax()
        cpu.store(X, 0)
        return Then("pong")

    def relaxes(self, cpu: Cpu) -> None:
        cpu.relax()


def test_relax_waits_until_what_was_read_changes() -> None:
    made = machine(Waiting, "waits", "sets")
    assert rests(made, "a") == {1} and broken(made) == set()
    waiting = [s for s in reach(made) if (f := top(made, s)) and isinstance(f.node.answer, ops.Relax)]
    assert {bool(value(made, s, "x")) for s in waiting if agent(made, "cpu0").entry(s).outcomes} == {True}
    with pytest.raises(Fault, match="without having read anything"):
        prove(machine(Waiting, "relaxes"))


def test_spinning_for_ever_is_a_livelock() -> None:
    assert prove(machine(Waiting, "waits")).at_rest["LIVELOCK"].reason == "waits on cpu0 spins for ever on x = 0"
    assert broken(machine(Waiting, "ping", "pong")) == {"LIVELOCK"}
    assert broken(machine(Waiting, "asks_again")) == {"LIVELOCK"}
    assert broken(machine(Waiting, "asks_again", "sets")) == set(), (
        "it goes round until somebody writes, and somebody will"
    )


# Store buffers


class Litmus(Code):
    """Results are stored plus one, so that 0 says nothing was read yet."""

    shares: ClassVar = {**Code.shares, "z": Shared(), "list": Shared(())}
    Z, LIST = Field("z"), Field("list")
    handlers: ClassVar = {V: "looks"}

    def sb_one(self, cpu: Cpu) -> None:
        cpu.store(X, 1)
        cpu.store(A, cpu.load(Y) + 1)

    def sb_two(self, cpu: Cpu) -> None:
        cpu.store(Y, 1)
        cpu.store(B, cpu.load(X) + 1)

    def fenced_one(self, cpu: Cpu) -> None:
        cpu.store(X, 1)
        cpu.fence()
        cpu.store(A, cpu.load(Y) + 1)

    def fenced_two(self, cpu: Cpu) -> None:
        cpu.store(Y, 1)
        cpu.fence()
        cpu.store(B, cpu.load(X) + 1)

    def locked_one(self, cpu: Cpu) -> None:
        cpu.swap(X, 1)
        cpu.store(A, cpu.load(Y) + 1)

    def locked_two(self, cpu: Cpu) -> None:
        cpu.store(Y, 1)
        cpu.fetch_or(self.Z, 1)
        cpu.store(B, cpu.load(X) + 1)

    def writes(self, cpu: Cpu) -> None:
        cpu.store(X, 1)
        cpu.store(Y, 1)

    def reads(self, cpu: Cpu) -> None:
        cpu.store(A, cpu.load(Y) + 1)
        cpu.store(B, cpu.load(X) + 1)

    def reads_own(self, cpu: Cpu) -> None:
        cpu.store(Field("x", 0xFF00, 8), 5)
        cpu.store(self.LIST, ("me",))
        cpu.store(A, cpu.load(X) + 1)
        cpu.store(B, len(cpu.load(self.LIST)) + 1)

    def sends(self, cpu: Cpu) -> None:
        cpu.store(X, 1)
        cpu.send_ipi(V, 1)

    def sends_after_a_fence(self, cpu: Cpu) -> None:
        cpu.store(X, 1)
        cpu.fence()
        cpu.send_ipi(V, 1)

    def looks(self, cpu: Cpu, where: int) -> None:
        cpu.store(B, cpu.load(X) + 1)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_store_buffering_shows_with_a_buffer_and_not_without_or_with_fences(depth: int) -> None:
    both_old = (1, 1)
    assert (both_old in rests(machine(Litmus, "sb_one", "sb_two", buffer=depth), "a", "b")) == (depth > 0)
    assert both_old not in rests(machine(Litmus, "fenced_one", "fenced_two", buffer=depth), "a", "b")
    assert both_old not in rests(machine(Litmus, "locked_one", "locked_two", buffer=depth), "a", "b")
    assert (both_old in rests(machine(Litmus, "fenced_one", "sb_two", buffer=depth), "a", "b")) == (depth > 0)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_message_passing_is_in_order(depth: int) -> None:
    seen = rests(machine(Litmus, "writes", "reads", buffer=depth), "a", "b")
    assert seen == {(1, 1), (1, 2), (2, 2)}


def test_a_cpu_sees_its_own_stores_first_byte_by_byte_and_lists_whole() -> None:
    made = machine(Litmus, "reads_own", buffer=4)
    assert rests(made, "a", "b") == {(0x501, 2)}
    assert any(
        not value(made, s, "x")
        for s in reach(made)
        if value(made, s, "cpu0.store_buffer")[-1:] and top(made, s) is None
    )


@pytest.mark.parametrize("depth", [0, 1])
def test_sending_an_interrupt_does_not_drain(depth: int) -> None:
    assert rests(machine(Litmus, "sends", cpus=2, buffer=depth), "b") == ({1, 2} if depth else {2})
    assert rests(machine(Litmus, "sends_after_a_fence", cpus=2, buffer=depth), "b") == {2}


def test_a_full_buffer_delays_the_next_store() -> None:
    made = machine(Litmus, "writes", buffer=1)
    assert {len(value(made, s, "cpu0.store_buffer")) for s in reach(made)} == {0, 1}


def test_interrupts_and_context_switches_drain() -> None:
    class Switched(Code):
        def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
            cpu.store(X, 1)
            cpu.store(Y, 1)
            cpu.prepare_to_block()
            cpu.schedule()

        def put(self, cpu: Cpu, vcpu: str, preempted: bool) -> None:
            cpu.store(B, 1)

        def handler(self, cpu: Cpu) -> None:
            cpu.store(A, 1)

    made = machine(Switched, vcpus=(Vcpu(0),), buffer=2, budget=Budget(preempt=1), interrupts=(interrupt("handler"),))
    for state in reach(made):
        if not value(made, state, "cpu0.store_buffer"):
            continue
        before = top(made, state)
        for who, _, after in moves(made, state):
            if who.name in ("cpu0", "preempt cpu0"):
                now = top(made, after)
                assert now is not None, "a thread went or a handler returned with stores in the buffer"
                assert now.kind == (before.kind if before else "idle"), (
                    "a handler or put began with stores in the buffer"
                )


# The guest and hardware


def test_an_interrupt_acknowledged_on_exit_reaches_the_hosts_handler() -> None:
    class Exits(InGuest):
        handlers: ClassVar = {V: "host"}

        def host(self, cpu: Cpu, where: int) -> None:
            cpu.store(A, 1)

    made = machine(Exits, vcpus=(Vcpu(0),), budget=Budget(spurious=((V, 0),)))
    assert rests(made, "a", "vcpu0.status") == {(0, "runnable"), (1, "done"), (1, "runnable")}
    from_guest = [o for s in reach(made) if value(made, s, "cpu0.run").guest for _, o, _ in moves(made, s)]
    assert any(("acknowledges", V) in o.notes for o in from_guest)


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


# Judging


class Stale(Monitor):
    """Y has to be as X at rest."""

    clauses = ("STALE",)

    def at_rest(self, memory: Any, look: Look) -> Iterable[Finding]:
        if look.value("x") != look.value("y"):
            yield Finding("STALE", "y is not x")


class Refreshing(InGuest):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.store(Y, cpu.load(X))
        cpu.enter_guest(vcpu)
        return Then("vcpu_run", vcpu)

    def write(self, cpu: Cpu) -> None:
        cpu.store(X, 1)


class Forgetting(Refreshing):
    def vcpu_run(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.store(Y, cpu.load(X))
        return Then("again", vcpu)

    def again(self, cpu: Cpu, vcpu: str) -> Any:
        cpu.enter_guest(vcpu)
        return Then("again", vcpu)


@pytest.mark.parametrize(("code", "label"), [(Refreshing, "DELAYED"), (Forgetting, "LOST")])
def test_what_the_next_exit_mends_is_delayed_and_what_it_does_not_is_lost(code: type[Code], label: str) -> None:
    made = machine(code, vcpus=(Vcpu(0),), devices=(Device("device", "write", ()),), monitors=[Stale()])
    found = shortest(made, {"STALE"})["STALE"]
    assert found.at_rest and recovery(made, found) == label


class Counts(Monitor):
    """Counts the changes of X, three at most, and calls the third one a breach. Of changes of Y it only says that they
    happen.
    """

    clauses = ("THIRD",)
    witnesses = ("Y",)
    events = (ev.Changed,)
    name = "counts"
    memory = 0

    def on(self, event: ev.Event, memory: int, look: Look) -> int:
        if isinstance(event, ev.Changed) and event.at == "y":
            look.witness("Y")
        if not isinstance(event, ev.Changed) or event.at != "x":
            return memory
        if memory == 2:
            look.breach("THIRD", "x changed a third time")
        return min(memory + 1, 3)


def test_a_step_depends_on_a_monitors_memory_only_if_the_monitor_looks_at_it() -> None:
    class Writes(Code):
        def thrice(self, cpu: Cpu) -> None:
            for n in (1, 2, 3):
                cpu.store(X, n)

        def other(self, cpu: Cpu) -> None:
            cpu.store(Y, 1)

    made = machine(Writes, "thrice", "other", monitors=[Counts()])
    done = prove(made)
    assert set(done.breached) == {"THIRD"} and set(done.witnessed) == {"Y"}
    memory = made.layout.cells["monitor.counts"].mask
    first, second = (a.entry(made.initial) for a in made.agents[:2])
    assert first.reads & first.writes & memory and not second.touches & memory and first.independent(second)


def test_no_monitor_compares_its_memory_by_identity() -> None:
    """The one way of looking at it that the engine cannot see."""
    for path in Path(next(iter(properties.monitors.__path__))).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
                assert "memory" not in ast.unparse(node), f"{path.name}:{node.lineno}"
