"""The format of litmus tests: what herd reads is read, what is wrong is named with its place, and nothing is a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.commands.main import cli
from conformance.litmus.condition import Register
from conformance.litmus.grammar import Damaged
from conformance.litmus.observe import Observation, observe
from conformance.litmus.parse import parse
from conformance.litmus.program import build
from conformance.litmus.values import Address, Unsupported

HERE = Path(__file__).parent / "litmus"
FILES = sorted(HERE.glob("*/*.litmus"))
SB = """X86_64 SB
"Fre PodWR Fre PodWR"
(* a comment (* in a comment *) ; } *)
{ x=0; uint64_t y; 0:rcx=5; }
 P0          | P1            ;
 movl $1,(x) | movl $1,(y)   ;
 movl (y),%eax | movl (x),%eax ;
locations [x; y;]
"""
BOTH = "exists (0:rax=0 /\\ 1:rax=0)\n"


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
        ("exists (x <> 1 \\/ y == 1)", "Always"),
        ("exists (true)", "Always"),
        ("exists (P0:EAX=0 /\\ P1:EAX=0)", "Sometimes"),
        ("final (0:rax=0 /\\ 1:rax=0)\nwith tso: exists; sc: ~exists;", "Sometimes"),
        ("observed 0:rax=0; 1:rax=0; and 0:rax=2;", "Sometimes"),
        ("exists (0:rax=0 /\\ 1:rax=0)\n<<\nany text; in | it }\n>>", "Sometimes"),
        ("forall (1:rax=0 => 0:rax=1 \\/ x=1)", "Always"),
        ("exists (0:rax=0 /\\ 1:rax=0 => x=7)", "Sometimes"),  # => binds tighter than /\
    ],
)
def test_questions(question: str, verdict: str) -> None:
    """The Observation is about the body of the condition, whatever stands before it."""
    assert observe(SB + question).verdict == verdict


def test_without_a_question_the_states_are_the_answer() -> None:
    text = SB.replace("locations [x; y;]", "locations [0:rax; P1:EAX; y]")
    seen = observe(text)
    assert seen.terms == ("0:rax", "1:rax", "y")
    assert seen.states == ((0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1))
    assert observe(text + BOTH).states is None
    assert observe(text + BOTH, states=True).states == seen.states


def test_without_a_question_the_command_shows_the_states(tmp_path: Path) -> None:
    (tmp_path / "a.litmus").write_text(SB.replace("locations [x; y;]", "locations [y]"))
    shown = CliRunner().invoke(cli, ["litmus", str(tmp_path)]).output
    assert shown.splitlines() == ["SB Always", "  y=1"]


@pytest.mark.parametrize(
    ("initial", "register", "value"),
    [
        ("P0:EAX=3", "EAX", 3),
        ("uint64_t 0:rax=0x10", "rax", 16),
        ("int *0:rax=x", "rax", Address("x")),
        ("0:rax=&x", "rax", Address("x")),
        ("0:rax=(x+4)", "rax", Address("x", 4)),
        ("0:%rax=-1", "%rax", -1),
        ("int z[3]; 0:rax=z[2]", "rax", Address("z", 8)),
        ("const volatile unsigned int 0:rax=010", "rax", 10),
    ],
)
def test_the_initial_state(initial: str, register: str, value: object) -> None:
    made = parse(SB.replace("0:rcx=5", initial) + BOTH)
    assert made.registers == {Register(0, register): value}


def test_declared_sizes() -> None:
    made = parse(
        SB.replace("0:rcx=5", "uint8_t a[4]; int64_t b={1}; int c[2]={3,4}; int *p; long d").replace("={1}", "=1")
    )
    assert {n: (p.size, p.values) for n, p in made.memory.items()} == {
        "x": (0, (0,)), "y": (8, (0,)), "a": (1, (0,) * 4), "b": (8, (1,)), "c": (4, (3, 4)), "p": (8, (0,)), "d": (8, (0,)),
    }  # fmt: skip


def test_symbolic_registers() -> None:
    text = "AArch64 a\n{ %p=x; 1:%q=x; }\n P0 | P1 ;\n MOV W%v,#1 | LDR X%r,[%q] ;\n STR W%v,[%p] | ;\n"
    assert observe(text + "exists (1:%r=1)").verdict == "Sometimes"
    assert observe(text + "exists (%r=2)").verdict == "Never"
    with pytest.raises(Damaged, match="%s is used by 0 threads"):
        parse(text + "exists (%s=2)")


def test_a_semicolon_after_the_initial_state() -> None:
    assert observe(SB.replace("0:rcx=5; }", "0:rcx=5;;};") + BOTH).verdict == "Sometimes"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: "", "line 1: the first line must be an architecture and a name"),
        (lambda t: t.replace("}", "", 2), "line 5, column 14: found '|"),
        (lambda t: t.replace("*) ;", ";"), "line 3, column 1: a comment is not closed"),
        (lambda t: t.replace("exists", "perhaps"), "line 9, column 1: found 'perhaps"),
        (lambda t: t.partition("locations")[0], "no question: expected exists, ~exists, forall or locations"),
        (lambda t: t.replace("P1   ", "P7   "), "line 5, column 16: the columns are headed P0 | P1"),
        (lambda t: t.replace("(x),%eax ;", "(x),%eax | nop ;"), "line 7, column 34: the row has more columns"),
        (lambda t: t.replace("(x),%eax ;", "(x),%eax"), "line 8, column 1: found 'locations', expected ; or |"),
        (lambda t: t.replace("1:rax=0)", "1:rax=)"), "line 9, column 26: found ')', expected a name, a number"),
        (lambda t: t.replace("1:rax=0)", "5:rax=0)"), "the question speaks of thread 5; there are 2"),
        (lambda t: t.replace("0:rcx", "5:rcx"), "the initial state speaks of thread 5; there are 2"),
        (lambda t: t.replace("0:rcx", "Q:rcx"), "line 4, column 20: Q is no thread, such as 0 or P0"),
        (lambda t: t + ")", "line 10, column 1: found ')', expected the end of the file"),
        (lambda t: t.replace("x=0;", "x 0 1;"), "line 4, column 7: found '1; uint64_t y;"),
        (lambda t: t.replace("x=0;", "x={1,2};"), "line 4, column 3: x is no array"),
        (lambda t: t.replace("x=0;", "int x[3]={1,2};"), "line 4, column 7: x has 3 elements, and 2 are given"),
        (lambda t: t.replace("1:rax=0)", "x[1]=0)"), "x[1], and x is not declared with its size"),
    ],
)
def test_damage_is_named(damage: Callable[[str], str], message: str) -> None:
    with pytest.raises(Damaged, match=re.escape(message)):
        parse(damage(SB + BOTH))


def arm(lines: str, initial: str = "0:X1=x;", question: str = "exists (x=1)") -> Observation:
    return observe(
        f"AArch64 a\n{{ {initial} }}\n P0 ;\n" + "".join(f" {line} ;\n" for line in lines.split(";")) + question
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (observe("PPC a\n{}\n P0 ;\nexists (x=1)"), "architecture PPC"),
        (observe("X86_64 a\n{}\n P0 ;\n clflush (x) ;\nexists (x=1)"), "line 4: the instruction clflush (x)"),
        (observe("X86_64 a\n{}\n P0 ;\n movb $1,x+1(,%rax) ;\nexists (x=1)"), "line 4, column 2: the instruction movb"),
        (arm("LDR Q0,[X1]"), "line 4: the register Q0"),
        (arm("LD1 {V0.4S},[X1]"), "line 4, column 2: the instruction LD1 {V0.4S},[X1] (at '{V0.4S},[X1]')"),
        (arm("LDR W0,[X2]"), "uses the number 0 as an address"),
        (arm("LDR W0,[X1,#2]"), "4 bytes at x+2, which is not aligned"),
        (arm("LDR X0,[X1]", "uint32_t x; 0:X1=x;"), "8 bytes at x, beyond x"),
        (arm("LDRH W0,[X1,#2]", "x=y; 0:X1=x;"), "the address y"),
        (arm("LDXR X0,[X1]; STXR W2,W0,[X1]"), "an exclusive store to other bytes than the exclusive load's, 8 at x"),
        (arm("LSL X0,X1,#1; LDR W2,[X0]"), "arithmetic on the addresses x and 1"),
        (arm("ADD X0,X2,X3,LSL #64"), "the instruction ADD X0,X2,X3,LSL #64"),
        (arm("CMP X1,X2; B.LT L; L: NOP", "0:X1=x; 0:X2=y;"), "the condition LT of the addresses of two locations"),
        (arm("B.XX L"), "line 4: the condition XX"),
        (arm("B L"), "thread 0 jumps to L, which is not in its column"),
        (arm("NOP", "PTE(x)=(oa:PA(y));"), "page tables"),
        (arm("NOP", "frob_t x;"), "line 2, column 3: the type frob_t"),
        (arm("NOP", question="exists (fault(P0,x))"), "a question about faults"),
        (arm("NOP", f"x={'9' * 5000};"), "a number of 5000 digits"),
        (observe("X86_64 a\n{}\n P0 ;\n shll $1,%eax ;\nexists (x=1)"), "the instruction shll $1,%eax"),
    ],
)
def test_what_is_not_modelled_is_said(seen: Observation, why: str) -> None:
    assert seen.verdict == "unsupported"
    assert why in seen.why


def test_a_loop_is_bounded_and_says_so() -> None:
    counts = "MOV W0,#0; L: ADD W0,W0,#1; STR W0,[X1]; CMP W0,#{n}; B.NE L"
    seen = arm(counts.format(n=3), question="forall (x=3)")
    assert (seen.verdict, seen.bound) == ("Always", "")
    seen = arm(counts.format(n=4), question="forall (x=4)")
    assert (seen.verdict, seen.why) == ("UNKNOWN", "no execution ends with at most 2 jumps back to a label")
    spin = arm("L: LDR W0,[X1]; CBNZ W0,L", "x=1; 0:X1=x;")
    assert spin.verdict == "UNKNOWN"


def test_an_address_may_be_a_value() -> None:
    """What a pointer is read as decides which location is read next."""
    text = "AArch64 a\n{ p=x; x=1; y=2; 0:X1=p; 1:X1=p; 1:X2=y; }\n P0 | P1 ;\n LDR X3,[X1] | STR X2,[X1] ;\n LDR W4,[X3] | ;\n"
    assert observe(text + "exists (0:X3=y /\\ 0:X4=2)").verdict == "Sometimes"
    assert observe(text + "exists (0:X3=y /\\ 0:X4=1)").verdict == "Never"
    assert observe(text + "forall (p=y)").verdict == "Always"


def test_minus_one_is_all_ones() -> None:
    assert arm("MOV W0,#-1; STR W0,[X1]", question="forall (x=-1)").verdict == "Always"
    assert arm("MOV X0,#-1; STR X0,[X1]", question="forall (x=-1)").verdict == "Always"
    assert arm("MOV X0,#0xffffffff; STR X0,[X1]", "0:X1=x; uint64_t x;", "exists (x=-2)").verdict == "Never"


# Bad input


def test_hostile_files_stop_nothing(tmp_path: Path) -> None:
    """Each is named with what is wrong, or read as meant; the good one after them is decided."""
    good = "X86 SB\n{x=0; y=0;}\n P0 | P1 ;\n MOV [x],$1 | MOV [y],$1 ;\n MOV EAX,[y] | MOV EAX,[x] ;\n"
    asks = "exists (0:EAX=0 /\\ 1:EAX=0)\n"
    files = {
        "binary": b"\xe0\x00\xff" * 40,
        "deep": (good + "exists " + "(" * 20_000 + "0:EAX=0" + ")" * 20_000).encode(),
        "deeper": (good + "exists " + "~(x=1 /\\ " * 20_000 + "0:EAX=0" + ")" * 20_000).encode(),
        "empty": b"",
        "huge": (good + asks).replace("EAX", "R99999999999999").encode(),
        "large": (good.replace("}", " " * 600_000 + "}") + asks).encode(),
        "crowded": (good + " MOV [x],$1 | MOV EAX,[x] ;\n" * 400 + asks).encode(),
        "long": (good + " MOV [x],$1 | ;\n" * 1500 + asks).encode(),
        "mark": b"\xef\xbb\xbf" + (good + asks).replace("\n", "\r\n").replace(" ", "\t").encode(),
        "nothing-asked": good.encode(),
        "remarks": ("X86 SB\n(* a (* b *) c *)\n" + (good + asks).partition("\n")[2]).encode(),
        "z-good": (good + asks).encode(),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.litmus").write_bytes(content)
    result = CliRunner().invoke(cli, ["litmus", str(tmp_path)], standalone_mode=False)
    assert result.return_value == 3
    for told in ("binary.litmus is no", "empty.litmus is no", "nothing-asked.litmus is no"):
        assert told in result.output
    assert "SB unsupported: the register R99999999999999" in result.output
    assert "SB unsupported: a condition that nests more than 100 deep" in result.output
    assert "SB unsupported: a file of more than 500,000 characters" in result.output
    assert "SB unsupported: thread 0 goes on for more than 1000 instructions" in result.output
    assert "SB unsupported: 401 reads and 401 writes of x" in result.output
    assert result.output.count("SB Sometimes") == 4


def test_the_command_goes_on_past_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in one file costs that file."""
    (tmp_path / "bad.litmus").write_text("nonsense")
    (tmp_path / "crash.litmus").write_text("crash")

    def crashing(text: str, *rest: object, **more: object) -> Observation:
        if text == "crash":
            raise IndexError("list index out of range")
        return observe(text)

    monkeypatch.setattr("conformance.litmus.observe.observe", crashing)
    files = [str(tmp_path), str(tmp_path / "none"), str(HERE / "x86" / "SB.litmus")]
    result = CliRunner().invoke(cli, ["litmus", *files], standalone_mode=False)
    assert result.return_value == 4
    assert result.stdout == "SB Sometimes\n"
    assert "bad.litmus is no litmus test: line 1: the first line must be" in result.stderr
    assert "crash.litmus: the suite itself failed: IndexError: list index out of range" in result.stderr
    assert "none: no such file or directory" in result.stderr


def test_no_damage_ends_in_a_traceback() -> None:
    """A file cut anywhere, or with a character lost, is a test, unsupported, or damaged."""
    seen = {"Damaged": 0, "read": 0}
    for path in FILES[:: max(1, len(FILES) // 6)]:
        text = path.read_text()
        for at in range(0, len(text), 3):
            for damaged in (text[:at], text[:at] + text[at + 1 :]):
                seen[_read(damaged)] = seen.get(_read(damaged), 0) + 1
    assert min(seen.values()) > 100


def _read(text: str) -> str:
    try:
        build(parse(text))
    except (Damaged, Unsupported) as error:
        return type(error).__name__ if str(error) else "without a word"
    return "read"


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """A file with a few pieces of it, or of another, replaced, doubled or moved."""
    text = draw(st.sampled_from(FILES)).read_text()
    pieces = [p for p in re.split(r"(\W)", text) if p]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(pieces) - 1))
        by = draw(st.one_of(st.sampled_from(pieces), st.sampled_from(_STRANGE)))
        pieces[at : at + draw(st.integers(0, 2))] = [by]
    return "".join(pieces)


_STRANGE = (
    "-1", "0x", "99999999999999999999999", "#-7", "[", "]", "(", "{", "}", ";", "|", "\\/", "~", "(*", "*)", '"', "%", ":",
    "XZR", "W31", "P9", "LSL", "#64", "!", ",", "exists", "<<", "\x00", "é", "L: B L", "x[3]", "={1,2}", "uint8_t", "$", "&",
)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(mutants())
def test_no_mutation_ends_in_a_traceback(text: str) -> None:
    assert _read(text) in ("Damaged", "Unsupported", "read")


def test_no_time_is_unknown() -> None:
    seen = observe((HERE / "aarch64" / "IRIW+addrs.litmus").read_text(), seconds=0)
    assert seen.verdict == "UNKNOWN"
    assert "z3 gave up within 0 s" in seen.why


AARCH64 = "AArch64 T\n{{ 0:X1=x; 1:X1=x; }}\n P0 | P1 ;\n{}\nexists {}\n"


@pytest.mark.parametrize(
    "text",
    [
        AARCH64.format(" ADD X0,X1, | NOP ;", "(0:X0=1)"),
        AARCH64.format(" ADD X0,X1,X2,LSL #-3 | NOP ;", "(0:X0=1)"),
        AARCH64.format(" MOVZ X0,#1,LSL #99999999999 | NOP ;", "(0:X0=1)"),
        AARCH64.format(" LDR X0," + "[" * 2000 + "X1" + "]" * 2000 + " | NOP ;", "(0:X0=1)"),
        AARCH64.format(" NOP | NOP ;", "(" * 5000 + "0:X0=1" + ")" * 5000),
        AARCH64.format(" NOP | NOP ;", "~" * 5000 + "0:X0=1"),
        AARCH64.format(" NOP | NOP ;", "~(0:X0=1 /\\ " * 5000 + "0:X0=1" + ")" * 5000),
        AARCH64.format(" STR W0,[X1] | STR W0,[X1] ;\n" * 400, "(0:X0=1)"),
        "X86_64 T\n{ }\n P0 ;\n shll $999999999999,%eax ;\nexists (0:rax=1)\n",
        "X86_64 T\n{ }\n P0 ;\n movl " + "(" * 2000 + "%rax" + ")" * 2000 + ",%eax ;\nexists (0:rax=1)\n",
    ],
)
def test_what_is_nested_or_large_without_bound_is_refused_in_words(text: str) -> None:
    """Or decided: nothing of it is the suite's own failure, and none stands in the way of the next file."""
    with suppress(Damaged):
        assert observe(text, seconds=5).verdict in ("unsupported", "Never", "Sometimes", "UNKNOWN")


def test_a_label_that_stands_twice_is_refused() -> None:
    """A jump to it could mean either."""
    text = "X86_64 a\n{ }\n P0 | P1 ;\n L: movl $1,(x) | L: movl $1,(y) ;\n L: movl $2,(x) | ;\nexists (x=2)\n"
    with pytest.raises(Damaged, match="line 5, column 2: label L stands twice in P0"):
        observe(text)
    assert observe(text.replace(" L: movl $2", " M: movl $2")).verdict == "Always"
