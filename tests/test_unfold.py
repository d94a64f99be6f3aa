"""Unfolding: what an implementation is asked, how often, and what becomes of code that does not keep to the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_machine import Code, X, Y, machine

from conformance.adapters.python import PythonSource
from conformance.adapters.source import Fault
from conformance.automaton.unfold import LONGEST_CALL, ROUNDS, Node, Unfolding
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu
from conformance.search.proof import prove, shortest

READS_X, READS_Y = ops.Load("x"), ops.Load("y")


class Counted(PythonSource):
    """Remembers its questions."""

    def __init__(self, make: Any) -> None:
        super().__init__(make)
        self.asked: Counter[Any] = Counter()

    def next(self, routine: str, args: Any, results: Any) -> ops.Answer:
        self.asked[routine, args, results] += 1
        return super().next(routine, args, results)


class Branching:
    def start(self, cpu: Cpu, more: int) -> int:
        if cpu.load(X) == more:
            return cpu.load(Y)
        cpu.store(Y, more)
        return 0


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 2), max_size=3))))
def test_each_node_is_asked_once_and_is_one_object(walks: list[tuple[int, list[int]]]) -> None:
    source = Counted(Branching)
    unfolding = Unfolding(source)
    met: dict[Any, Node] = {}
    for more, results in walks:
        node = unfolding.root("start", (more,))
        for result in results:
            if isinstance(node.answer, ops.Return):
                break
            node = node.child(result)
        assert met.setdefault((more, node.results), node) is node
    assert set(source.asked.values()) <= {1}
    assert unfolding.questions == sum(source.asked.values()) == len(list(unfolding.nodes()))
    unfolding.recheck()


def test_exploring_everything_asks_each_question_once() -> None:
    class Racing(Code):
        def one(self, cpu: Cpu) -> None:
            cpu.store(X, cpu.load(X) + 1)

        other = one

    made = machine(Racing, "one", "other")
    source = Counted(Racing)
    (unfolding,) = made.assembly.unfoldings()
    before = unfolding.questions
    unfolding.source = source
    prove(made)
    assert set(source.asked.values()) == {1}
    assert unfolding.questions == before + len(source.asked)


def test_a_node_knows_what_relax_waits_for() -> None:
    class Waits:
        def start(self, cpu: Cpu) -> None:
            cpu.load(Y)
            cpu.relax()
            cpu.load(X)
            cpu.fetch_or(Y, 1)
            cpu.relax()

    node = Unfolding(PythonSource(Waits)).root("start", ())
    for result in (1, None, 2, 3):
        node = node.child(result)
    assert node.reads == (("x", ops.WORD, 2), ("y", ops.WORD, 3))


class Unwinds:
    """Each asks for X first, then unwinds through more operations, none of which may be seen before X is answered."""

    def with_block(self, cpu: Cpu) -> int:
        with self.bracket(cpu):
            return cpu.load(X)

    @contextmanager
    def bracket(self, cpu: Cpu) -> Iterator[None]:
        try:
            yield
        finally:
            cpu.store(Y, 1)

    def finally_block(self, cpu: Cpu) -> int:
        try:
            return cpu.load(X)
        finally:
            cpu.store(Y, 1)

    def cleans_up(self, cpu: Cpu) -> int:
        try:
            return cpu.load(X)
        except BaseException:
            cpu.store(Y, 1)
            raise

    def asks_on(self, cpu: Cpu) -> int:
        try:
            return cpu.load(X)
        except:  # noqa: E722
            return cpu.load(Y)

    def gives_up(self, cpu: Cpu) -> int:
        try:
            return cpu.load(X)
        except:  # noqa: E722
            return 0

    def turns_into_another(self, cpu: Cpu) -> int:
        try:
            return cpu.load(X)
        except BaseException as suspended:
            raise ValueError from suspended


@pytest.mark.parametrize("routine", ["with_block", "finally_block"])
def test_suspension_is_latched_while_it_unwinds(routine: str) -> None:
    node = Unfolding(PythonSource(Unwinds)).root(routine, ())
    assert node.answer == READS_X
    node = node.child(7)
    assert node.answer == ops.Store("y", 1)
    assert node.child(None).answer == ops.Return(value=7)


@pytest.mark.parametrize("routine", ["cleans_up", "asks_on"])
def test_an_operation_asked_for_while_suspended_is_not_seen(routine: str) -> None:
    node = Unfolding(PythonSource(Unwinds)).root(routine, ())
    assert node.answer == READS_X
    assert node.child(7).answer == ops.Return(value=7)


@pytest.mark.parametrize("routine", ["gives_up", "turns_into_another"])
def test_swallowing_the_suspension_is_a_fault(routine: str) -> None:
    with pytest.raises(Fault, match="something caught the suspension") as fault:
        Unfolding(PythonSource(Unwinds)).root(routine, ())
    assert fault.value.status == "CRASH" and fault.value.routine == routine


class Remembers:
    """Answers depend on how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def start(self, cpu: Cpu) -> int:
        self.calls += 1
        return cpu.load(X) + self.calls


class Unlike:
    """Answers depend on which instance it is."""

    made = 0

    def __init__(self) -> None:
        Unlike.made += 1
        self.place = X if Unlike.made % 2 else Y

    def start(self, cpu: Cpu) -> int:
        return cpu.load(self.place)


@pytest.mark.parametrize("make", [Remembers, Unlike])
def test_hidden_state_is_found_when_asked_again(make: type) -> None:
    unfolding = Unfolding(PythonSource(make))
    node = unfolding.root("start", ())
    for result in range(5):
        node.child(result)
    with pytest.raises(Fault, match="asked the same question twice and answered differently") as fault:
        unfolding.recheck()
    assert fault.value.status == "NONDETERMINISTIC" and fault.value.routine == "start"


def test_a_shorter_run_than_before_is_nondeterministic() -> None:
    class Shrinks:
        calls = 0

        def start(self, cpu: Cpu) -> None:
            self.calls += 1
            if self.calls == 1:
                cpu.load(X)

    node = Unfolding(PythonSource(Shrinks)).root("start", ())
    with pytest.raises(Fault) as fault:
        node.child(0)
    assert fault.value.status == "NONDETERMINISTIC"


def test_a_call_that_asks_for_ever_new_operations_is_unknown() -> None:
    class Endless:
        def start(self, cpu: Cpu) -> None:
            n = 0
            while cpu.load(X) == 0:
                cpu.store(Y, n := n + 1)

    node = Unfolding(PythonSource(Endless)).root("start", ())
    for n in range(LONGEST_CALL):
        node = node.child(None if n % 2 else 0)
    with pytest.raises(Fault, match="must call relax") as fault:
        node.child(0)
    assert fault.value.status == "UNKNOWN"


class Retries:
    """`stale` never looks again, so once it is too late it is so for ever; `impatient` gives up in the end."""

    def stale(self, cpu: Cpu) -> int:
        old, tries = cpu.load(X), 0
        while cpu.cmpxchg(X, old, old | 1) != old:
            cpu.load(Y)
            tries += 1
        return tries

    def impatient(self, cpu: Cpu, most: int) -> int:
        return next((n for n in range(most) if cpu.load(X)), -1)


def test_a_loop_that_nothing_ends_is_a_cycle() -> None:
    unfolding = Unfolding(PythonSource(Retries))
    node = met = unfolding.root("stale", ()).child(2)
    assert node.answer == ops.Rmw("x", "cas", 3, expect=2)
    for _ in range(1000):
        node = node.child(6).child(0)
    assert node.answer == met.answer and node is not met
    assert node.child(6).child(0) is node, "one round leads back to where it began"
    assert node.child(2).answer == ops.Return(value=ROUNDS - 1)
    assert len(list(unfolding.nodes())) == 1 + 2 * ROUNDS + 1
    unfolding.recheck()


@pytest.mark.parametrize("most", [3, 4, 5, 64, 200])
def test_a_loop_that_gives_up_is_none(most: int) -> None:
    node = Unfolding(PythonSource(Retries)).root("impatient", (most,))
    for _ in range(most):
        assert node.answer == READS_X
        node = node.child(0)
    assert node.answer == ops.Return(value=-1)


def test_a_retry_with_what_it_read_once_is_a_livelock() -> None:
    class Stale(Code):
        def one(self, cpu: Cpu) -> None:
            old = cpu.load(X)
            while cpu.cmpxchg(X, old, old | 1) != old:
                pass

        def other(self, cpu: Cpu) -> None:
            cpu.fetch_or(X, 2)

    made = machine(Stale, "one", "other")
    assert prove(made).livelock
    found = shortest(made, {"LIVELOCK"})["LIVELOCK"]
    assert found.steps == 2, "it reads, and then the other writes"


def test_a_routine_that_raises_is_told_where() -> None:
    class Raises:
        def start(self, cpu: Cpu) -> None:
            if cpu.load(X):
                raise ValueError("odd")

    node = Unfolding(PythonSource(Raises)).root("start", ())
    assert node.child(0).answer == ops.Return()
    with pytest.raises(Fault, match=r"raised ValueError\('odd'\) at .*test_unfold.py:\d+ after 1 operation "):
        node.child(1)
