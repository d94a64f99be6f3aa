"""Litmus tests that Hypothesis writes: all outcomes by z3, by enumeration and, for x86, by store buffers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.litmus import buffers
from conformance.litmus.parse import parse
from conformance.litmus.program import build, enumerate_outcomes
from conformance.litmus.solve import Solver

LOCATIONS = ("x", "y")
X86_SHAPES = (
    "movl ${n},({at})",
    "movl ({at}),%{r}",
    "movl %{r},({at})",
    "mfence",
    "lfence",
    "xchgl %{r},({at})",
    "lock addl ${n},({at})",
    "addl ${n},({at})",
    "lock xaddl %{r},({at})",
    "lock cmpxchgl %{r},({at})",
)
ARM_SHAPES = (
    "MOV {r},#{n}",
    "LDR {r},[{at}]",
    "LDAR {r},[{at}]",
    "LDAPR {r},[{at}]",
    "STR {r},[{at}]",
    "STLR {r},[{at}]",
    "DMB SY",
    "DMB LD",
    "DMB ST",
    "ISB",
    "EOR {q},{r},{r}",
    "LDR {r},[{at},{q},SXTW #3]",
    "STR {r},[{at},{q},SXTW #3]",
    "CMP {r},#1",
    "CSEL {r},{q},{r},EQ",
    "SWPAL {r},{q},[{at}]",
    "LDADD {r},{q},[{at}]",
    "STADD {r},[{at}]",
    "CAS {r},{q},[{at}]",
    "LDXR {r},[X1]",
    "STXR {q},{r},[X1]",
)


@st.composite
def programs(draw: st.DrawFn, arch: str) -> str:
    """Two threads of two to four instructions over two locations and two registers each."""
    x86 = arch == "X86_64"
    registers = ("eax", "ebx") if x86 else ("W0", "W5")
    columns: list[list[str]] = []
    for _ in range(2):
        column: list[str] = []
        for shape in draw(st.lists(st.sampled_from(X86_SHAPES if x86 else ARM_SHAPES), min_size=2, max_size=4)):
            r = draw(st.sampled_from(registers))
            q = registers[1 - registers.index(r)]
            at = draw(st.sampled_from(LOCATIONS if x86 else ("X1", "X3")))
            column.append(shape.format(n=draw(st.integers(1, 2)), r=r, q=q, at=at))
        columns.append(column)
    rows = [
        f"{columns[0][n] if n < len(columns[0]) else ''} | {columns[1][n] if n < len(columns[1]) else ''} ;"
        for n in range(4)
    ]
    initial = "" if x86 else "0:X1=x; 0:X3=y; 1:X1=x; 1:X3=y;"
    seen = ("0:rax", "0:rbx", "1:rax", "1:rbx") if x86 else ("0:X0", "0:X5", "1:X0", "1:X5")
    question = " /\\ ".join(f"{term}=0" for term in (*seen, "x", "y"))
    return f"{arch} drawn\n{{ {initial} }}\nP0 | P1 ;\n" + "\n".join(rows) + f"\nexists ({question})\n"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs("X86_64"))
def test_x86_three_ways(text: str) -> None:
    program = build(parse(text))
    solved = set(Solver(program, "tso").outcomes())
    assert solved == enumerate_outcomes(program, "tso")
    assert solved == buffers.outcomes(program)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs("AArch64"))
def test_armv8_two_ways(text: str) -> None:
    program = build(parse(text))
    solved = set(Solver(program, "armv8").outcomes())
    assert solved == enumerate_outcomes(program, "armv8")
    assert solved >= enumerate_outcomes(program, "sc")
