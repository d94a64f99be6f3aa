"""Memory models: classic litmus shapes with known verdicts, each decided in three ways that must agree."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from conformance.litmus import buffers
from conformance.litmus.axioms import Model
from conformance.litmus.condition import Condition, Register
from conformance.litmus.observe import observe
from conformance.litmus.parse import LitmusTest, Place, parse
from conformance.litmus.program import Outcome, Program, architecture_model, build, enumerate_outcomes
from conformance.litmus.solve import Solver
from conformance.litmus.thread import Memory, MemoryEvent
from conformance.litmus.thread import Path as Path_
from conformance.litmus.values import Address, Value, constant
from conformance.report.ordering import execution

HERE = Path(__file__).parent / "litmus"
FILES = sorted(HERE.glob("*/*.litmus"))
SHARED = Path(os.environ.get("INTACK_LITMUS") or Path(__file__).parents[2] / "shared" / "litmus")
"""Test files with herd's verdicts, where they lie beside the checkout or where the variable says."""


def expected(text: str) -> str:
    """Each file states its verdict, as its authors or the architecture's manual give it, in its metadata."""
    found = re.search(r"^Expected=(\w+)$", text, re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_classic_shapes(path: Path) -> None:
    text = path.read_text()
    assert observe(text).verdict == expected(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_all_outcomes_three_ways(path: Path) -> None:
    """z3 over axioms; plain relations over every candidate execution; and for x86 the engine's store buffers."""
    program = build(parse(path.read_text()))
    model = architecture_model(program.test.arch)
    solved = list(Solver(program, model).outcomes())
    assert len(solved) == len(set(solved))
    assert set(solved) == enumerate_outcomes(program, model)
    if model == "tso":
        assert set(solved) == buffers.outcomes(program)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_weaker_models_have_more_outcomes(path: Path) -> None:
    program = build(parse(path.read_text()))
    sc = enumerate_outcomes(program, "sc")
    assert sc
    assert sc <= enumerate_outcomes(program, architecture_model(program.test.arch))


def test_the_shapes_tell_the_models_apart() -> None:
    """A test whose verdict were the same under every model would test no model."""
    differ = [p for p in FILES if observe(p.read_text(), "sc").verdict != expected(p.read_text())]
    assert {"SB", "n6", "R"} <= {p.stem for p in differ if p.parent.name == "x86"}
    assert {"MP", "LB", "2+2W", "PPOCA"} <= {p.stem for p in differ if p.parent.name == "aarch64"}


# Against herd


def _rows() -> list[dict[str, Any]]:
    return [row for arch in ("x86", "aarch64") for row in json.loads((SHARED / arch / "index.json").read_text())]


@pytest.mark.skipif(not SHARED.exists(), reason=f"no litmus files with herd's verdicts in {SHARED}")
def test_verdicts_and_states_are_herds() -> None:
    """Every verdict, and every final state that herd lists, of every file; at least 95 % must be supported."""
    rows = _rows()
    supported, wrong = 0, []
    for row in rows:
        text = (SHARED / str(row["file"])).read_text()
        seen = observe(text)
        if seen.verdict == "unsupported":
            continue
        supported += 1
        program = build(parse(text))
        solved = set(Solver(program, seen.model).outcomes())
        if seen.verdict != row["expected"] or not _same_states(solved, program, row["states"]):
            wrong.append(str(row["file"]))
    assert not wrong
    assert supported >= 0.95 * len(rows)


@pytest.mark.skipif(not SHARED.exists(), reason=f"no litmus files with herd's verdicts in {SHARED}")
def test_accesses_of_different_sizes_are_decided_as_herd_does() -> None:
    """Refused are accesses that are not aligned, and nothing else. Without what makes an access one, some would differ."""
    rows = json.loads((SHARED / "mixed" / "index.json").read_text())
    counts: dict[str, list[str]] = {"agreed": [], "refused": [], "wrong": []}
    for row in rows:
        seen = observe((SHARED / row["file"]).read_text())
        holds = {"exists": seen.verdict != "Never", "~exists": seen.verdict == "Never"}[row["quantifier"]]
        if seen.verdict == "unsupported":
            assert "which is not aligned" in seen.why, row["file"]
            counts["refused"].append(row["file"])
        else:
            counts["agreed" if holds == row["holds"] else "wrong"].append(row["file"])
    assert not counts["wrong"]
    assert len(counts["refused"]) <= 0.02 * len(rows)


@pytest.mark.skipif(not SHARED.exists(), reason=f"no litmus files with herd's verdicts in {SHARED}")
def test_store_buffers_agree_on_all_x86_outcomes() -> None:
    wrong = []
    for row in _rows():
        program = build(parse((SHARED / str(row["file"])).read_text()))
        if program.test.arch == "AArch64":
            continue
        if buffers.outcomes(program) != set(Solver(program, "tso").outcomes()):
            wrong.append(str(row["file"]))
    assert not wrong


def _same_states(solved: set[Outcome], program: Program, states: Any) -> bool:
    """herd lists states as text, `0:rax=1; [x]=2;`, and may list further locations."""
    names = list(map(str, program.observed()))
    listed = set()
    for state in states:
        given: dict[str, str] = {}
        for part in state.strip("; ").split(";"):
            name, value = part.strip().split("=")
            if ":" in name:
                thread, register = name.split(":")
                whole = program.whole(Register(int(thread), register))
                name = str(whole)
            given[name.strip("[]")] = value
        listed.add(tuple(given[name] for name in names))
    return listed == {tuple(map(str, outcome)) for outcome in solved}


# The witness


def test_a_witness_shows_what_overtakes_what() -> None:
    text = (HERE / "x86" / "SB.litmus").read_text()
    shown = [
        execution(seen.positive, seen.model) for seen in (observe(text, alone=True) for _ in range(3)) if seen.positive
    ]
    assert shown[0].splitlines() == [
        " step | P0                                 | P1                     | changed",
        "------+------------------------------------+------------------------+-------------",
        "    1 | movl (y),%eax: y = 0; overtakes 4  |                        |",
        "    2 |                                    | movl $1,(y): y := 1    | y 0->1",
        "    3 |                                    | movl (x),%eax: x = 0   |",
        "    4 | movl $1,(x): x := 1                |                        | x 0->1",
        " finally 0:rax = 0, 1:rax = 0",
    ]
    assert shown == shown[:1] * 3


# Interrupt messages


@pytest.mark.parametrize(
    ("model", "barrier", "late"),
    [
        ("tso", (), True),
        ("tso", ("none",), True),
        ("tso", ("full",), False),
        ("armv8", (), True),
        ("armv8", ("full",), True),
        ("armv8", ("dsb",), False),
        ("sc", (), False),
    ],
)
def test_what_keeps_a_message_behind_a_store(model: Model, barrier: tuple[str, ...], late: bool) -> None:
    """A handler that reads the old value: x2APIC waits for no store, MFENCE makes it; SGI1R needs DSB, not DMB."""
    send = Path_(0, [MemoryEvent(0, 0, (0, 0), "x := 1", "W", Address("x"), constant(1))])
    send.events += [
        MemoryEvent(0, n + 1, (n + 1, 0), "barrier", "F", order=frozenset((kind,))) for n, kind in enumerate(barrier)
    ]
    last = len(send.events)
    send.events.append(
        MemoryEvent(0, last, (last, 0), "send", "W", Address("ipi"), constant(1), frozenset(("message",)))
    )
    taken = MemoryEvent(1, 0, (0, 0), "taken", "R", Address("ipi"), Value(((1, 0),), lambda v: v), frozenset("A"))
    reads = MemoryEvent(1, 1, (1, 0), "reads x", "R", Address("x"), Value(((1, 1),), lambda v: v))
    handler = Path_(1, [taken, reads])
    handler.conditions = [(v, w) for v, w in ((taken.value, 1), (reads.value, 0)) if v]
    places = (Address("ipi"), Address("x"))
    condition = Condition("and", tuple(Condition("=", left=at) for at in places))
    test = LitmusTest("message", "events", {}, {at.symbol: Place((0,), 8) for at in places}, (), "exists", condition)
    memory = Memory(test)
    memory.written = dict.fromkeys(places, (0, 1))
    program = Program(test, [[send], [handler]], memory)
    assert bool(enumerate_outcomes(program, model)) == late
    assert bool(list(Solver(program, model).outcomes())) == late
