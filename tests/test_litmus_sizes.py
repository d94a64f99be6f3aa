"""Accesses of different sizes to one location: outcomes by z3, by enumeration, for x86 by store buffers; by bytes too."""

from __future__ import annotations

from math import factorial, prod
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conformance.litmus import buffers
from conformance.litmus.observe import observe
from conformance.litmus.parse import parse
from conformance.litmus.program import Program, build, enumerate_outcomes
from conformance.litmus.solve import Solver
from conformance.litmus.thread import Memory
from conformance.litmus.values import Address

HERE = Path(__file__).parent / "litmus"
MIXED = sorted(
    path
    for path in HERE.glob("*/*.litmus")
    if any(len(cuts) > 2 for cuts in build(parse(path.read_text())).memory.cuts.values())
)
FEW = 3000
"""Candidate executions that are enumerated."""
X86_REGISTERS = {"b": ("al", "bl"), "w": ("ax", "bx"), "l": ("eax", "ebx"), "q": ("rax", "rbx")}
SIZES = {"b": 1, "w": 2, "l": 4, "q": 8, "B": 1, "H": 2, "W": 4, "X": 8}
X86_SHAPES = (
    "mov{s} ${n},x+{o}(%rip)", "mov{s} x+{o}(%rip),%{r}", "mov{s} %{r},x+{o}(%rip)", "xchg{s} %{r},x+{o}(%rip)",
    "lock add{s} ${n},x+{o}(%rip)", "lock xadd{s} %{r},x+{o}(%rip)", "lock cmpxchg{s} %{r},x+{o}(%rip)", "mfence",
)  # fmt: skip
ARM_SHAPES = (
    "STR{s} {r},[X1,#{o}]", "LDR{s} {r},[X1,#{o}]", "STR{s} {r},[X1,#{o}]", "LDR{s} {r},[X1,#{o}]", "DMB SY", "DMB LD",
    "EOR W5,W0,W0", "LDR{s} {r},[X3,X5]", "LDAR{s} {r},[X1]", "STLR{s} {r},[X1]", "SWPAL{s} {r},{r},[X1]",
    "LDADD{s} {r},{r},[X1]", "LDP W0,W2,[X1]", "STP W2,W0,[X1]",
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn, arch: str) -> str:
    """Two threads of two or three instructions on one location of eight bytes."""
    x86 = arch == "X86_64"
    columns: list[list[str]] = []
    for _ in range(2):
        column: list[str] = []
        for shape in draw(st.lists(st.sampled_from(X86_SHAPES if x86 else ARM_SHAPES), min_size=2, max_size=3)):
            size = draw(st.sampled_from("bwlq" if x86 else "BHWX"))
            offset = draw(st.integers(0, 8 // SIZES[size] - 1)) * SIZES[size]
            name = X86_REGISTERS[size] if x86 else ("X0", "X2") if size == "X" else ("W0", "W2")
            suffix = size if x86 or size in "BH" else ""
            column.append(shape.format(s=suffix, n=draw(st.integers(1, 2)), r=draw(st.sampled_from(name)), o=offset))
        columns.append([*column, ""])
    rows = [f"{columns[0][n]} | {columns[1][n]} ;" for n in range(min(map(len, columns)))]
    registers = ("rax", "rbx") if x86 else ("X0", "X2")
    start = "".join(f"{t}:{r}={0x11 * (2 * t + n + 1):#x};" for t in (0, 1) for n, r in enumerate(registers))
    addresses = "" if x86 else "0:X1=x; 1:X1=x; 0:X3=x; 1:X3=x;"
    seen = " /\\ ".join(f"{t}:{r}=0" for t in (0, 1) for r in registers)
    table = "\n".join(rows)
    return f"{arch} drawn\n{{ uint64_t x; {start} {addresses} }}\nP0 | P1 ;\n{table}\nexists ({seen} /\\ x=0)\n"


def candidates(program: Program) -> int:
    return sum(
        prod(len(c.sources(read)) for read in c.reads) * prod(factorial(len(w)) for w in c.writes.values())
        for c in program.combinations()
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs("X86_64"))
def test_x86(text: str) -> None:
    program = build(parse(text))
    solved = set(Solver(program, "tso").outcomes())
    assert solved == buffers.outcomes(program)
    if candidates(program) < FEW:
        assert solved == enumerate_outcomes(program, "tso")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(programs("AArch64"))
def test_armv8(text: str) -> None:
    program = build(parse(text))
    assume(candidates(program) < FEW)
    solved = set(Solver(program, "armv8").outcomes())
    assert solved == enumerate_outcomes(program, "armv8")
    assert solved >= enumerate_outcomes(program, "sc")


@pytest.mark.parametrize("path", MIXED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_bytes_come_to_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are the largest that every access takes whole: cut into bytes memory has the same outcomes."""
    text = path.read_text()
    seen = observe(text, states=True)
    whole = Memory.pieces

    def bytewise(self: Memory, at: Address, size: int) -> list[tuple[Address, int]]:
        whole(self, at, size)
        self.cuts[at.symbol] |= set(range(at.offset, at.offset + size + 1))
        return whole(self, at, size)

    monkeypatch.setattr(Memory, "pieces", bytewise)
    assert observe(text, states=True).states == seen.states


def test_there_are_some() -> None:
    assert len(MIXED) >= 15
