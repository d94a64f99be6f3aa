"""What a memory operation answers and leaves is computed once, and everybody who needs it agrees with an oracle that goes
bit by bit: the machine with and without store buffers, a routine alone, the fence audit's walker, an operation that was
taken apart, and what relax waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.automaton import meaning
from conformance.automaton.alone import run_alone
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Unfolding
from conformance.machine.facts import Modifies, Reads, Writes
from conformance.machine.machine import Machine
from conformance.ordering.axiomatic import outcomes
from conformance.ordering.routines import window
from conformance.ordering.weaken import sites, weakened
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu, Suspension
from conformance.roles.location import Field, Shared
from conformance.roles.scenario import Scenario, Thread

Access = ops.Load | ops.Store | ops.Rmw
HOWS = ("swap", "or", "and", "xor", "add", "cas")
SAME = settings(deadline=None, derandomize=True)
words = st.integers(0, ops.WORD) | st.sampled_from([0, 1, ops.WORD, 1 << 63, 0xFF, 0xFF00])
masks = (
    words | st.just(ops.WORD) | st.builds(lambda low, n: ((1 << n) - 1) << low, st.integers(0, 60), st.integers(1, 4))
)


@st.composite
def locked(draw: st.DrawFn) -> ops.Rmw:
    mask = draw(masks)
    return ops.Rmw("x", draw(st.sampled_from(HOWS)), draw(words) & mask, mask, draw(words) & mask)


accesses = st.one_of(
    st.builds(lambda mask: ops.Load("x", mask), masks),
    st.builds(lambda value, mask: ops.Store("x", value & mask, mask), words, masks),
    locked(),
)


@st.composite
def programs(draw: st.DrawFn, most: int = 3) -> tuple[int, list[Access]]:
    """A word, and accesses to it. Some compare-exchanges expect what they find."""
    word = draw(words)
    made: list[Access] = []
    now = word
    for op in draw(st.lists(accesses, min_size=1, max_size=most)):
        if isinstance(op, ops.Rmw) and op.how == "cas" and draw(st.booleans()):
            op = ops.Rmw("x", "cas", op.value, op.mask, now & op.mask)
        made.append(op)
        now = naive(op, now).left
    return word, made


# The oracle


class Done(NamedTuple):
    answer: int
    left: int
    sets: int
    writes: bool


def bit(word: int, n: int) -> int:
    return word >> n & 1


def naive(op: Access, word: int) -> Done:
    """From bit 0 to bit 63; a carry goes through bits that are not in the mask."""
    answer = left = sets = carry = 0
    expect = op.expect if isinstance(op, ops.Rmw) and op.how == "cas" else word
    equal = all(bit(word, n) == bit(expect, n) for n in range(64) if bit(op.mask, n))
    for n in range(64):
        old, new, is_set = bit(word, n), bit(word, n), 0
        if isinstance(op, ops.Rmw) and op.how == "add":
            column = (old & bit(op.mask, n)) + bit(op.value, n) + carry
            carry, total = column // 2, column % 2
        else:
            total = 0
        if bit(op.mask, n):
            answer |= old << n
            match op:
                case ops.Store(value=int(value)):
                    new = is_set = bit(value, n)
                case ops.Rmw(how="swap", value=value):
                    new = is_set = bit(value, n)
                case ops.Rmw(how="cas", value=value) if equal:
                    new = is_set = bit(value, n)
                case ops.Rmw(how="or", value=value):
                    new, is_set = int(old or bit(value, n)), bit(value, n)
                case ops.Rmw(how="and", value=value):
                    new = int(old and bit(value, n))
                case ops.Rmw(how="xor", value=value):
                    new = int(old != bit(value, n))
                    is_set = int(new and not old)
                case ops.Rmw(how="add"):
                    new = is_set = total
                case _:
                    pass
        left |= new << n
        sets |= is_set << n
    return Done(answer, left, sets, not isinstance(op, ops.Load) and equal)


def expected(word: int, program: Sequence[Access]) -> tuple[list[int | None], int]:
    """What each access answers, and the word in the end."""
    answers: list[int | None] = []
    for op in program:
        done = naive(op, word)
        answers.append(None if isinstance(op, ops.Store) else done.answer)
        word = done.left
    return answers, word


# Those who agree


class Runs:
    """A source whose routine `run` performs these accesses, and whose routine `look` loads the word."""

    def __init__(self, program: Sequence[Access]) -> None:
        self.program = {"run": tuple(program), "look": (ops.Load("x"),)}

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        program = self.program[routine]
        return program[len(results)] if len(results) < len(program) else ops.Return()

    def fresh(self) -> Runs:
        return self


def assembly(word: int, program: Sequence[Access]) -> Assembly:
    unfolding = Unfolding(Runs(program))
    return Assembly({"run": unfolding, "look": unfolding}, {}, {"x": Shared(word)}, {})


def machine(word: int, program: Sequence[Access], buffer: int = 0, *more: str) -> Machine:
    threads = tuple(Thread(name, name, (), n) for n, name in enumerate(("run", *more)))
    made = Scenario(
        name="tiny", about="", architecture="plain", cpus=len(threads), vcpus=(), threads=threads, buffer=buffer
    )
    return Machine(assembly(word, program), made, (), {"x": 8})


def ran(made: Machine) -> tuple[list[ops.Result], ops.Value]:
    """One run to the end: the answers in program order, and the word. Buffers drain last."""
    state, answers = made.initial, []
    while True:
        moved = next((o for agent in made.agents for o in agent.entry(state).outcomes[:1]), None)
        if moved is None:
            return answers, made.memory["x"].unpack(state)
        for note in moved.notes:
            match note.fact:
                case Reads(value=answer) | Modifies(was=answer):
                    answers.append(answer)
                case Writes():
                    answers.append(None)
                case _:
                    pass
        state = state & moved.keep | moved.add


@given(words, accesses)
@SAME
def test_the_meaning_of_an_operation(word: int, op: Access) -> None:
    due = naive(op, word)
    assert meaning.seen(word, op.mask) == due.answer
    if isinstance(op, ops.Load):
        return
    assert meaning.sets(op, word) == due.sets
    assert not (word ^ due.left) & ~meaning.may_change(op)
    if isinstance(op, ops.Store):
        assert meaning.merged(word, op.value, op.mask) == due.left
    else:
        assert meaning.writes(op, word & op.mask) == due.writes
        assert meaning.combined(op, word & op.mask) == due.left & op.mask
        assert meaning.after(op, word) == due.left


@given(masks, words, st.sampled_from(["or", "and", "xor"]), words)
@SAME
def test_what_may_change_can_change(mask: int, value: int, how: str, word: int) -> None:
    """Tight: each of the bits changes where the word has the value that the operation does not leave there."""
    op = ops.Rmw("x", how, value & mask, mask)  # type: ignore[arg-type]
    changed = (word ^ naive(op, word).left) | (~word & ops.WORD ^ naive(op, ~word & ops.WORD).left)
    assert meaning.may_change(op) == changed


def test_a_list_is_stored_whole() -> None:
    assert meaning.seen(("a", "b"), 1) == ("a", "b")
    assert meaning.merged(("a",), ("b",), ops.WORD) == ("b",)


@given(programs())
@SAME
def test_a_routine_alone(case: tuple[int, list[Access]]) -> None:
    alone = run_alone(assembly(*case), "run", (), {})
    assert ([a.result for a in alone.asked], alone.memory["x"]) == expected(*case)


@given(programs(), st.integers(0, 3))
@SAME
def test_the_machine(case: tuple[int, list[Access]], buffer: int) -> None:
    assert ran(machine(*case, buffer)) == expected(*case)


@given(programs())
@SAME
def test_an_operation_taken_apart(case: tuple[int, list[Access]]) -> None:
    """Undisturbed, a load and a store come to the same as the locked operation."""
    whole = assembly(*case)
    run_alone(whole, "run", (), {})
    for site in sites(whole):
        assert run_alone(weakened(whole, site), "run", (), {}).memory["x"] == expected(*case)[1]


@given(programs())
@SAME
def test_what_relax_waits_for(case: tuple[int, list[Access]]) -> None:
    """The bits that each access read or left, as it knows them."""
    word, program = case
    node = assembly(word, program).root("run", ())
    due: list[tuple[str, int, int]] = []
    for op in program:
        done = naive(op, word)
        if not isinstance(op, ops.Store):
            due.append(("x", op.mask, (done.left if isinstance(op, ops.Rmw) else word) & op.mask))
        node = node.child(None if isinstance(op, ops.Store) else done.answer)
        word = done.left
    assert list(node.reads) == due


@given(programs())
@SAME
def test_the_audits_walker_where_nobody_else_looks(case: tuple[int, list[Access]]) -> None:
    made = machine(*case)
    (course,) = window(made, made.initial, "start", "tso", None).courses[0]
    assert course.own["x"] == expected(*case)[1] if "x" in course.own else all(isinstance(o, ops.Load) for o in case[1])


@given(programs(most=2))
@SAME
def test_the_audits_walker_where_somebody_looks(case: tuple[int, list[Access]]) -> None:
    """Every execution that the axioms allow leaves the word that the machine leaves, and reads the same."""
    made = machine(*case, 0, "look")
    answers, left = expected(*case)
    found = [key for key, _, _ in outcomes(window(made, made.initial, "start", "tso", None), "sc")]
    assert found
    for results, final in found:
        assert final == (left,)
        assert [result for *_, result in results[0]] == [a for a in answers if a is not None]


# Fields, as code in Python names them


@given(words, st.integers(0, 60), st.integers(1, 16), words)
@SAME
def test_a_field_is_a_number_of_its_own(word: int, low: int, width: int, value: int) -> None:
    """Field by field: shifted down, as wide as it is, and what is beside it stays."""
    width = min(width, 64 - low)
    field, top = Field("x", ((1 << width) - 1) << low, low), 1 << width
    value %= top
    was = word >> low & top - 1
    due = {
        "load": (was, was),
        "store": (None, value),
        "swap": (was, value),
        "fetch_or": (was, was | value),
        "fetch_and": (was, was & value),
        "fetch_add": (was, (was + value) % top),
        "test_and_set": (bool(was), top - 1),
        "test_and_clear": (bool(was), 0),
    }
    for method, (answer, left) in due.items():
        given_value = () if method in ("load", "test_and_set", "test_and_clear") else (value,)
        (op,) = asked(method, field, *given_value)
        beside = word & ~field.mask
        assert naive(op, word).left == beside | left << low, method
        found = getattr(Cpu((None if method == "store" else naive(op, word).answer,)), method)(field, *given_value)
        assert found == answer, method


def asked(method: str, *args: object) -> Iterator[Access]:
    """The operation that a method of Cpu asks for."""
    cpu = Cpu(())
    try:
        getattr(cpu, method)(*args)
    except Suspension:
        operation = cpu._asked
        assert isinstance(operation, Access)
        yield operation
