"""Memory models: classic litmus shapes with known verdicts, each decided in three ways that must agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conformance.commands.main import cli
from conformance.litmus import buffers
from conformance.litmus.axioms import Model
from conformance.litmus.condition import Condition, Register
from conformance.litmus.observe import observe
from conformance.litmus.parse import Damaged, LitmusTest, parse
from conformance.litmus.program import Outcome, Program, architecture_model, build, enumerate_outcomes
from conformance.litmus.solve import Solver
from conformance.litmus.thread import MemoryEvent
from conformance.litmus.thread import Path as Path_
from conformance.litmus.values import Address, Unsupported, Value, constant
from conformance.report.ordering import execution

HERE = Path(__file__).parent / "litmus"
FILES = sorted(HERE.glob("*/*.litmus"))
SHARED = Path(__file__).parents[2] / "shared" / "litmus"
"""Test files with herd's verdicts, where they lie beside the checkout."""


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


# The format

SB = """X86_64 SB
"Fre PodWR Fre PodWR"
(* a comment (* in a comment *) ; } *)
{ x=0; uint64_t y; 0:rcx=5; }
 P0          | P1            ;
 movl $1,(x) | movl $1,(y)   ;
 movl (y),%eax | movl (x),%eax ;
locations [x; y;]
"""


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ("exists (0:rax=0 /\\ 1:rax=0)", "Sometimes"),
        ("~exists 0:EAX=0 /\\ 1:%rax=0", "Sometimes"),
        ("forall (0:rax=0 \\/ 0:rax=1)", "Always"),
        ("exists (0:rax=2 \\/ [x]=0 \\/ y=0)", "Never"),
        ("exists (not (x=1 /\\ y=1))", "Never"),
        ("forall (0:rax=0 => (1:rax=0 \\/ 1:rax=1))", "Always"),
        ("exists (0:rcx=5 /\\ 0:rax=1:rax)", "Sometimes"),
        ("filter (0:rax=1) exists (1:rax=0)", "Sometimes"),
        ("filter (0:rax=0 /\\ 1:rax=1) exists (1:rax=0)", "Never"),
        ("exists (x != 1)", "Never"),
        ("exists (true)", "Always"),
    ],
)
def test_questions(question: str, verdict: str) -> None:
    """The Observation is about the body of the condition, whatever stands before it."""
    assert observe(SB + question).verdict == verdict


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: "", "the first line must be an architecture and a name"),
        (lambda t: t.replace("}", "", 2), "no initial state"),
        (lambda t: t.replace("*) ;", ";"), "a comment is not closed"),
        (lambda t: t.replace("exists", "perhaps"), "no question"),
        (lambda t: t.replace("P1   ", "P7   "), "expected P0 | P1"),
        (lambda t: t.replace("(x),%eax ;", "(x),%eax | nop ;"), "more columns than the heading"),
        (lambda t: t.replace("1:rax=0)", "1:rax=)"), "condition: expected a register, a location or a value"),
        (lambda t: t.replace("1:rax=0)", "5:rax=0)"), "the condition speaks of thread 5; there are 2"),
        (lambda t: t + ")", "the condition goes on after its end"),
        (lambda t: t.replace("x=0;", "x 0 1;"), "initial state: 'x 0 1' is no declaration"),
    ],
)
def test_damage_is_named(damage: Callable[[str], str], message: str) -> None:
    with pytest.raises((Damaged, Unsupported), match=re.escape(message)):
        parse(damage(SB + "exists (0:rax=0 /\\ 1:rax=0)\n"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("PPC a\n{}\n P0 ;\nexists (x=1)", "architecture PPC"),
        ("X86_64 a\n{}\n P0 ;\n clflush (x) ;\nexists (x=1)", "the instruction CLFLUSH"),
        ("X86_64 a\n{}\n P0 ;\n movb $1,(x) ;\nexists (x=1)", "the instruction MOVB"),
        ("AArch64 a\n{ 0:X1=x; }\n P0 ;\n LDRB W0,[X1] ;\nexists (x=1)", "the instruction LDRB W0,[X1]"),
        ("AArch64 a\n{ x=1; 0:X1=x; }\n P0 ;\nL: LDR W0,[X1] ;\nCBNZ W0,L ;\nexists (x=1)", "thread 0 loops"),
        ("AArch64 a\n{}\n P0 ;\n LDR W0,[X1] ;\nexists (x=1)", "uses the number 0 as an address"),
        ("AArch64 a\n{ int x[2]={1,2}; }\n P0 ;\n NOP ;\nexists (x=1)", "the array"),
    ],
)
def test_what_is_not_modelled_is_said(text: str, why: str) -> None:
    seen = observe(text)
    assert seen.verdict == "unsupported"
    assert why in seen.why


def test_an_address_may_be_a_value() -> None:
    """What a pointer is read as decides which location is read next."""
    text = "AArch64 a\n{ p=x; x=1; y=2; 0:X1=p; 1:X1=p; 1:X2=y; }\n P0 | P1 ;\n LDR X3,[X1] | STR X2,[X1] ;\n LDR W4,[X3] | ;\n"
    assert observe(text + "exists (0:X3=y /\\ 0:X4=2)").verdict == "Sometimes"
    assert observe(text + "exists (0:X3=y /\\ 0:X4=1)").verdict == "Never"
    assert observe(text + "forall (p=y)").verdict == "Always"


def test_minus_one_is_all_ones() -> None:
    assert observe("AArch64 a\n{ 0:X1=x; }\n P0 ;\n MOV W0,#-1 ;\n STR W0,[X1] ;\nforall (x=-1)").verdict == "Always"


def test_no_damage_ends_in_a_traceback() -> None:
    """A file cut anywhere, or with a character lost, is a test, unsupported, or damaged."""
    seen = {"Damaged": 0, "read": 0}
    for path in FILES[:: max(1, len(FILES) // 6)]:
        text = path.read_text()
        for at in range(0, len(text), 3):
            for damaged in (text[:at], text[:at] + text[at + 1 :]):
                try:
                    build(parse(damaged))
                    seen["read"] += 1
                except Damaged:
                    seen["Damaged"] += 1
                except Unsupported:
                    pass
    assert min(seen.values()) > 100


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


# The command


def test_hostile_files_stop_nothing(tmp_path: Path) -> None:
    """Each is named with what is wrong, or read as meant; the good one after them is decided."""
    good = "X86 SB\n{x=0; y=0;}\n P0 | P1 ;\n MOV [x],$1 | MOV [y],$1 ;\n MOV EAX,[y] | MOV EAX,[x] ;\n"
    asks = "exists (0:EAX=0 /\\ 1:EAX=0)\n"
    files = {
        "binary": b"\xe0\x00\xff" * 40,
        "deep": (good + "exists " + "(" * 20_000 + "0:EAX=0" + ")" * 20_000).encode(),
        "empty": b"",
        "huge": (good + asks).replace("EAX", "R99999999999999").encode(),
        "mark": b"\xef\xbb\xbf" + (good + asks).replace("\n", "\r\n").replace(" ", "\t").encode(),
        "nothing-asked": good.encode(),
        "remarks": ("X86 SB\n(* a (* b *) c *)\n" + (good + asks).partition("\n")[2]).encode(),
        "z-good": (good + asks).encode(),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.litmus").write_bytes(content)
    result = CliRunner().invoke(cli, ["litmus", str(tmp_path)], standalone_mode=False)
    assert result.return_value == 3
    for told in ("binary.litmus is no", "deep.litmus is no", "empty.litmus is no", "nothing-asked.litmus is no"):
        assert told in result.output
    assert "SB unsupported: the register R99999999999999" in result.output
    assert result.output.count("SB Sometimes") == 3


def test_the_command_goes_on_past_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "bad.litmus").write_text("nonsense")
    result = CliRunner().invoke(
        cli, ["litmus", str(tmp_path), str(tmp_path / "none"), str(HERE / "x86" / "SB.litmus")], standalone_mode=False
    )
    assert result.return_value == 3
    assert result.stdout == "SB Sometimes\n"
    assert "bad.litmus is no litmus test: the first line must be" in result.stderr
    assert "none: no such file or directory" in result.stderr


def test_no_time_is_unknown() -> None:
    seen = observe((HERE / "aarch64" / "IRIW+addrs.litmus").read_text(), seconds=0)
    assert seen.verdict == "UNKNOWN"
    assert "z3 gave up within 0 s" in seen.why


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
    send = Path_(0, [MemoryEvent(0, 0, 0, "x := 1", "W", Address("x"), constant(1))])
    send.events += [
        MemoryEvent(0, n + 1, n + 1, "barrier", "F", order=frozenset((kind,))) for n, kind in enumerate(barrier)
    ]
    last = len(send.events)
    send.events.append(MemoryEvent(0, last, last, "send", "W", Address("ipi"), constant(1), frozenset(("message",))))
    taken = MemoryEvent(1, 0, 0, "taken", "R", Address("ipi"), Value(((1, 0),), lambda v: v), frozenset("A"))
    reads = MemoryEvent(1, 1, 1, "reads x", "R", Address("x"), Value(((1, 1),), lambda v: v))
    handler = Path_(1, [taken, reads])
    handler.conditions = [(v, w) for v, w in ((taken.value, 1), (reads.value, 0)) if v]
    places = (Address("ipi"), Address("x"))
    condition = Condition("and", tuple(Condition("=", left=at) for at in places))
    test = LitmusTest("message", "events", {}, dict.fromkeys(places, 0), (), "exists", condition)
    program = Program(test, [[send], [handler]], dict.fromkeys(places, (0, 1)))
    assert bool(enumerate_outcomes(program, model)) == late
    assert bool(list(Solver(program, model).outcomes())) == late
