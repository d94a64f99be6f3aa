"""The rules of the machine for locks, waiting and store buffers, each by a scenario of a few lines."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from tiny_machine import (
    A,
    B,
    Code,
    L,
    V,
    X,
    Y,
    agent,
    broken,
    interrupt,
    machine,
    moves,
    reach,
    rests,
    top,
    value,
)

from conformance.adapters.source import Fault
from conformance.machine.facts import Locks, Reads, Writes
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.scenario import Budget, VcpuSetup
from conformance.search.proof import prove

# Locks, private and guarded locations


class Locking(Code):
    shares: ClassVar = {
        **Code.shares,
        "n": Shared(guarded_by="l"),
        "open": Shared(guarded_by="l", read_freely=True),
        "m": Shared(lock=True),
        "mine": Shared(private_to="vcpu0"),
        "fixed": Shared(7, constant=True),
    }
    N, M, MINE, FIXED, OPEN = Field("n"), Field("m"), Field("mine"), Field("fixed"), Field("open")

    def adds(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.store(self.N, cpu.load(self.N) + 1)
        cpu.unlock(L)

    adds_too = adds

    def peeks(self, cpu: Cpu) -> None:
        cpu.load(self.N)

    def counts_openly(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.store(self.OPEN, cpu.load(self.OPEN) + 1)
        cpu.store(self.OPEN, cpu.load(self.OPEN) + 1)
        cpu.unlock(L)

    def looks(self, cpu: Cpu) -> None:
        cpu.store(A, cpu.load(self.OPEN))

    def writes_openly(self, cpu: Cpu) -> None:
        cpu.store(self.OPEN, 1)

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
    assert [type(note.fact) for note in outcome.notes] == [Locks, Reads, Writes]


def test_private_and_constant_locations_make_no_step_of_their_own() -> None:
    made = machine(Locking, vcpus=(VcpuSetup(0),))
    (_, outcome, _) = next(moves(made, made.initial))
    assert [note.fact.at for note in outcome.notes if isinstance(note.fact, Reads | Writes)] == ["x", "mine"]
    with pytest.raises(Fault, match="holds constant"):
        prove(machine(Locking, "overwrites"))


def test_a_guarded_access_without_the_lock_is_a_race_that_names_both_sites() -> None:
    done = prove(machine(Locking, "adds", "peeks"))
    assert set(done.breached) == {"RACE"}
    assert done.breached["RACE"].reason == "peeks read n without holding l, which guards it against adds"


def test_what_only_writers_need_a_lock_for_is_seen_at_each_of_its_values_and_is_no_race() -> None:
    made = machine(Locking, "counts_openly", "looks")
    assert rests(made, "a") == {0, 1, 2} and broken(made) == set()
    (_, outcome, _) = next(moves(made, made.initial))
    assert [type(note.fact) for note in outcome.notes] == [Locks, Reads]  # the holder's reads merge, its writes do not
    assert set(prove(machine(Locking, "counts_openly", "writes_openly")).breached) == {"RACE"}


def test_and_a_write_of_it_waits_in_the_store_buffer_as_any_other() -> None:
    class Unlocks(Locking):
        def writes_and_reads(self, cpu: Cpu) -> None:
            cpu.lock(L)
            cpu.store(self.OPEN, 1)
            cpu.store(B, cpu.load(X))
            cpu.unlock(L)

        def other_way_round(self, cpu: Cpu) -> None:
            cpu.store(X, 1)
            cpu.store(A, cpu.load(self.OPEN))

    assert (0, 0) in rests(machine(Unlocks, "writes_and_reads", "other_way_round", buffer=2), "a", "b")


class Asserting(Code):
    """What code asserts of itself: each method asserts one thing, after the load of x that tells whether it does so."""

    shares: ClassVar = {**Code.shares, "queue": Shared(("me",)), "other": Shared(())}
    QUEUE, OTHER = Field("queue"), Field("other")

    def says_so(self, cpu: Cpu) -> None:
        cpu.load(X)
        cpu.fails("BUG at all")

    def says_so_if_y(self, cpu: Cpu) -> None:
        if cpu.load(Y):
            cpu.fails("y is set")

    def sets_y(self, cpu: Cpu) -> None:
        cpu.store(Y, 1)

    def holds(self, cpu: Cpu) -> None:
        cpu.lock(L)
        cpu.assert_held(L)
        cpu.unlock(L)

    def holds_not(self, cpu: Cpu) -> None:
        cpu.load(X)
        cpu.assert_held(L)

    def masked(self, cpu: Cpu) -> None:
        cpu.irq_disable()
        cpu.assert_interrupts(False)
        cpu.irq_enable()
        cpu.assert_interrupts(False)

    def joins(self, cpu: Cpu) -> None:
        cpu.store(A, 1 + cpu.list_of("me", self.OTHER, self.QUEUE))
        cpu.store(B, 1 + cpu.list_of("me", self.OTHER))


def test_assertions_of_the_code_itself() -> None:
    def said(*routines: str) -> dict[str, str]:
        return {clause: breach.reason for clause, breach in prove(machine(Asserting, *routines)).breached.items()}

    assert said("says_so") == {"ASSERTION": "says_so asserts: BUG at all"}
    assert said("says_so_if_y") == {}
    assert said("says_so_if_y", "sets_y") == {"ASSERTION": "says_so_if_y asserts: y is set"}
    assert said("holds", "sets_y") == {}
    assert said("holds", "holds_not") == {"RACE": "holds_not asserts: lock held, but cpu1 does not hold l"}
    assert said("masked") == {"ASSERTION": "masked asserts: interrupts off"}
    made = machine(Asserting, "joins")
    assert (rests(made, "a"), rests(made, "b")) == ({2}, {0})


def test_a_handler_does_not_hold_what_it_interrupted_and_is_not_the_thread() -> None:
    class Peeking(Locking):
        handlers: ClassVar = {V: "peeks_and_says_so"}

    class Meddling(Locking):
        handlers: ClassVar = {V: "meddles_and_says_so"}

        def vcpu_run(self, cpu: Cpu, vcpu: str) -> None:
            self.interrupts_itself(cpu)

    race = prove(machine(Peeking, "holds_while_interrupted")).breached
    assert race["RACE"].reason.startswith("peeks_and_says_so read n without holding l")
    race = prove(machine(Meddling, vcpus=(VcpuSetup(0),))).breached
    assert race["RACE"].reason.startswith("meddles_and_says_so touched mine in a handler on cpu0")
    assert broken(machine(Locking, "meddles")) == {"RACE"}


def test_deadlocks_name_who_waits_for_what() -> None:
    done = prove(machine(Locking, "one_way", "other_way"))
    assert done.at_rest["DEADLOCK"].reason in (
        "one_way on cpu0 waits for m, held by cpu1",
        "other_way on cpu1 waits for l, held by cpu0",
    )
    itself = prove(machine(Locking, "holds", interrupts=(interrupt("adds"),)))
    assert itself.at_rest["DEADLOCK"].reason == "adds on cpu0 waits for l, held by cpu0"


def test_an_unlock_too_many_breaks_an_assertion() -> None:
    class Unlocking(Code):
        def unlocks(self, cpu: Cpu) -> None:
            cpu.unlock(L)

        def enables(self, cpu: Cpu) -> None:
            cpu.preempt_enable()

    assert {r: prove(machine(Unlocking, r)).breached["ASSERTION"].reason for r in ("unlocks", "enables")} == {
        "unlocks": "unlocks unlocks l, which cpu0 does not hold",
        "enables": "enables enables preemption more often than it was disabled",
    }


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


def test_so_is_going_round_without_anything_that_others_could_notice() -> None:
    class Round(Code):
        shares: ClassVar = {**Code.shares, "fixed": Shared(7, constant=True)}

        def goes_round(self, cpu: Cpu) -> Any:
            cpu.load(Field("fixed"))
            return Then("goes_round")

        def stays_in(self, cpu: Cpu) -> None:
            while True:
                cpu.load(Field("fixed"))

    assert broken(machine(Round, "goes_round")) == {"LIVELOCK"}
    assert broken(machine(Round, "stays_in")) == {"LIVELOCK"}


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

    def seq_cst_one(self, cpu: Cpu) -> None:
        cpu.store(X, 1, "seq_cst")
        cpu.store(A, cpu.load(Y) + 1)

    def seq_cst_two(self, cpu: Cpu) -> None:
        cpu.store(Y, 1, "seq_cst")
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
    assert both_old not in rests(machine(Litmus, "seq_cst_one", "seq_cst_two", buffer=depth), "a", "b")
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


def test_a_private_locked_operation_waits_for_a_store_of_its_own_step() -> None:
    """The store takes effect as a step, and the locked operation that joins it waits for the buffer: no deadlock."""

    class Stores(Code):
        shares: ClassVar = {**Code.shares, "mine": Shared(private_to="stores")}

        def stores(self, cpu: Cpu) -> None:
            cpu.store(X, 1)
            cpu.fetch_or(Field("mine"), 1)
            cpu.store(A, 1)

    made = machine(Stores, "stores", buffer=2)
    assert not broken(made)
    assert rests(made, "x", "mine", "a") == {(1, 1, 1)}


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

    made = machine(
        Switched, vcpus=(VcpuSetup(0),), buffer=2, budget=Budget(preempt=1), interrupts=(interrupt("handler"),)
    )
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
