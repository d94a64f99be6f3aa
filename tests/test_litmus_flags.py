"""Comparisons of litmus tests against arithmetic done naively: signed and unsigned, of every size."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.litmus import flags
from conformance.litmus.observe import observe
from conformance.litmus.values import mask

SIZES = st.sampled_from((1, 2, 4, 8))
Compare = Callable[[int, int], bool]
ARM_SIGNED: dict[str, Compare] = {"LT": operator.lt, "LE": operator.le, "GT": operator.gt, "GE": operator.ge}
ARM_UNSIGNED: dict[str, Compare] = {
    "LO": operator.lt, "LS": operator.le, "HI": operator.gt, "HS": operator.ge, "CC": operator.lt, "CS": operator.ge,
    "EQ": operator.eq, "NE": operator.ne,
}  # fmt: skip
X86_SIGNED: dict[str, Compare] = {
    "L": operator.lt, "NGE": operator.lt, "LE": operator.le, "NG": operator.le, "G": operator.gt, "NLE": operator.gt,
    "GE": operator.ge, "NL": operator.ge, "LT": operator.lt, "GT": operator.gt,
}  # fmt: skip
X86_UNSIGNED: dict[str, Compare] = {
    "B": operator.lt, "C": operator.lt, "NAE": operator.lt, "BE": operator.le, "NA": operator.le, "A": operator.gt,
    "NBE": operator.gt, "AE": operator.ge, "NB": operator.ge, "NC": operator.ge, "E": operator.eq, "Z": operator.eq,
    "NE": operator.ne, "NZ": operator.ne,
}  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    """(size, two words of it), often near each other or near where the sign changes."""
    size = draw(SIZES)
    edges = (0, 1, mask(size) >> 1, (mask(size) >> 1) + 1, mask(size))
    word = st.one_of(st.sampled_from(edges), st.integers(0, mask(size)))
    return size, draw(word), draw(word)


def signed(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "little", signed=True)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(pairs())
def test_after_a_subtraction_conditions_compare(drawn: tuple[int, int, int]) -> None:
    size, a, b = drawn
    left = flags.subtracted(a, b, mask(size))
    for table, compare, left_as in (
        (flags.ARM, ARM_UNSIGNED, left),
        (flags.X86, X86_UNSIGNED, left ^ flags.C),
    ):
        assert {n: bool(flags.condition(table, n)(left_as)) for n in compare} == {
            n: f(a, b) for n, f in compare.items()
        }
    a, b = signed(a, size), signed(b, size)
    for table, compare in ((flags.ARM, ARM_SIGNED), (flags.X86, X86_SIGNED)):
        assert {n: bool(flags.condition(table, n)(left)) for n in compare} == {n: f(a, b) for n, f in compare.items()}


@settings(max_examples=500, deadline=None, derandomize=True)
@given(pairs())
def test_flags_of_a_sum(drawn: tuple[int, int, int]) -> None:
    """Each flag against what it means."""
    size, a, b = drawn
    found = flags.added(a, b, mask(size))
    exact = signed(a, size) + signed(b, size)
    assert bool(found & flags.C) == (a + b > mask(size))
    assert bool(found & flags.V) == (exact != signed((a + b) & mask(size), size))
    assert bool(found & flags.Z) == ((a + b) % (1 << 8 * size) == 0)
    assert bool(found & flags.N) == (signed((a + b) & mask(size), size) < 0)


def test_every_condition_has_an_opposite() -> None:
    for one, other in (
        ("EQ", "NE"),
        ("HS", "LO"),
        ("MI", "PL"),
        ("VS", "VC"),
        ("HI", "LS"),
        ("GE", "LT"),
        ("GT", "LE"),
    ):
        for state in range(16):
            assert flags.condition(flags.ARM, one)(state) != flags.condition(flags.ARM, other)(state)


LEFT, RIGHT = 0x7FFF_FFFF, 0xFFFF_FFFF
"""The largest signed number and -1: the difference wraps, and its sign says the opposite of what is so."""


@pytest.mark.parametrize(
    ("condition", "taken"),
    [("LT", False), ("GT", True), ("GE", True), ("LE", False), ("LO", True), ("HI", False), ("HS", False), ("LS", True),
     ("VS", True), ("MI", True), ("CC", True), ("EQ", False)],
)  # fmt: skip
def test_arm(condition: str, taken: bool) -> None:
    text = (
        f"AArch64 a\n{{ 0:X1={LEFT}; 0:X2={RIGHT}; }}\n P0 ;\n CMP W1,W2 ;\n CSET W0,{condition} ;\n"
        f" B.{condition} L ;\n MOV W3,#1 ;\n L: ;\nforall (0:X0={int(taken)} /\\ 0:X3={int(not taken)})"
    )
    assert observe(text).verdict == "Always"


@pytest.mark.parametrize(
    ("jump", "taken"),
    [("jl", False), ("jg", True), ("jge", True), ("jle", False), ("jb", True), ("ja", False), ("jae", False),
     ("jbe", True), ("jo", True), ("js", True), ("je", False), ("jne", True)],
)  # fmt: skip
def test_x86(jump: str, taken: bool) -> None:
    text = (
        f"X86_64 a\n{{ 0:rax={LEFT}; 0:rbx={RIGHT}; 0:rsi=7; }}\n P0 ;\n cmpl %ebx,%eax ;\n set{jump[1:]} %cl ;\n"
        f" cmov{jump[1:]} %esi,%edx ;\n {jump} L ;\n movl $1,%edi ;\n L: ;\n"
        f"forall (0:rcx={int(taken)} /\\ 0:rdx={7 * taken} /\\ 0:rdi={int(not taken)})"
    )
    assert observe(text).verdict == "Always"


def test_what_flags_an_instruction_leaves() -> None:
    """INC keeps the carry; CMN compares with what is negated; TST and BIC say nothing of a carry; ADDS of bytes carries."""
    x86 = (
        "X86_64 a\n{ 0:rax=0xff; }\n P0 ;\n addb $1,%al ;\n incb %al ;\n setc %bl ;\n setz %cl ;\n"
        "forall (0:rbx=1 /\\ 0:rcx=0 /\\ 0:rax=1)"
    )
    assert observe(x86).verdict == "Always"
    arm = (
        "AArch64 a\n{ 0:X1=5; 0:X2=-5; }\n P0 ;\n CMN X1,X2 ;\n CSET X3,EQ ;\n CSET X4,CS ;\n TST X1,#2 ;\n CSET X5,EQ ;\n"
        " SUBS W6,W1,#6 ;\n CSET X7,LO ;\nforall (0:X3=1 /\\ 0:X4=1 /\\ 0:X5=1 /\\ 0:X6=-1 /\\ 0:X7=1)"
    )
    assert observe(arm).verdict == "Always"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(("LSL", "LSR", "ASR", "ROR")), st.integers(0, mask(8)), st.integers(0, 200), st.sampled_from("XW")
)
def test_shifts(how: str, value: int, by: int, letter: str) -> None:
    """By a register modulo the size, as an operand and as an instruction; naively, bit by bit."""
    bits = 64 if letter == "X" else 32
    ones = [value >> n & 1 for n in range(bits)]
    for _ in range(by % bits):
        ones = {
            "LSL": [0, *ones[:-1]], "LSR": [*ones[1:], 0], "ASR": [*ones[1:], ones[-1]], "ROR": [*ones[1:], ones[0]],
        }[how]  # fmt: skip
    expected = sum(bit << n for n, bit in enumerate(ones))
    r = letter
    text = (
        f"AArch64 a\n{{ 0:X1={value}; 0:X2={by}; }}\n P0 ;\n {how} {r}3,{r}1,{r}2 ;\n"
        f" ORR {r}4,{r}ZR,{r}1,{how} #{by % bits} ;\nforall (0:X3={expected} /\\ 0:X4={expected})"
    )
    assert observe(text).verdict == "Always"
