"""The examples: the same verdicts as the reference, the same automata, and mutated copies found as the reference's are.

Each example is one file in its own language; whoever lacks the compiler skips it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from conformance.adapters.native.build import compiler_for
from conformance.adapters.registry import Implementation, resolve
from conformance.automaton.assembly import Assembly, assemble
from conformance.automaton.meaning import after, merged
from conformance.automaton.unfold import Node
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE
from properties.x86.scenarios import GOLDEN

ROOT = Path(__file__).parent.parent / "examples"
EXAMPLES = {
    "c": ("c/posted.c", "gcc"),
    "c++": ("cpp/posted.cc", "g++"),
    "rust": ("rust/posted.rs", "rustc"),
    "javascript": ("pipe/posted.mjs", "node"),
}
NATIVE = ("c", "c++", "rust")
QUICK = tuple(name for name, states in GOLDEN.items() if states < 4000)
FACTS = ("block-preempt", "xapic", "apicv-inhibited", "on-the-target", "shared-pcpu")
"""Scenarios that differ in what they tell an implementation."""


def spec_of(language: str, folder: Path = ROOT) -> str:
    source = folder / EXAMPLES[language][0]
    return f"exec:node {source}" if language == "javascript" else f"native:{source.with_suffix('.toml')}"


def needs(language: str) -> None:
    tool = EXAMPLES[language][1]
    if shutil.which(compiler_for(".rs", "") if tool == "rustc" else tool) is None:
        pytest.skip(f"{tool} is not installed")


def scenario(name: str) -> Scenario:
    return next(s for s in SUITE.scenarios if s.name == name)


@cache
def by_the_reference(name: str) -> Explored:
    return explore(resolve("reference"), scenario(name), SUITE)


@pytest.fixture(params=list(EXAMPLES))
def example(request: pytest.FixtureRequest) -> Implementation:
    needs(request.param)
    return resolve(spec_of(request.param))


def test_it_breaks_and_shows_what_the_reference_does(example: Implementation) -> None:
    for name in (*QUICK, *FACTS) if example.name == "posted-c" else FACTS:
        found, due = explore(example, scenario(name), SUITE), by_the_reference(name)
        assert not found.fault, (name, found.fault)
        assert found.complete and due.complete
        assert found.counterexamples.keys() == due.counterexamples.keys(), name
        assert found.witnessed == due.witnessed, name


# Automata


VALUES: Mapping[str, tuple[ops.Value, ...]] = {
    "pid.control": (
        0xF2 << 16 | 3,
        0xF1 << 16,
    ),  # each field both ways: an access may find either, whatever came before
    "mode": (0, 1, 2),
    "cpu": (0, 1),
    "requests": (0, 2),
    "wakeup_list": ((), ("vcpu0",)),
    "running_vcpu": ((), ("vcpu0",)),
}
"""What another agent may have left there, whatever the routine did; elsewhere 0 and all bits."""
LOST = 1
"""Compare-exchanges that one call loses, at most."""


class Pair(NamedTuple):
    """The same point in two implementations."""

    mine: Node
    due: Node
    private: int | None = None
    """What private words hold; nothing yet, if none was read."""
    lost: int = 0

    def after(self, mine: ops.Result, due: ops.Result, lost: int) -> Pair:
        return Pair(self.mine.child(mine), self.due.child(due), self.private, lost)


def bisimilar(mine: Assembly, due: Assembly, routine: str, args: tuple[ops.Result, ...]) -> int:
    """Walk both automata side by side, for each value that memory may hold; answers how many points were compared.

    Steps that nobody else can notice are passed over. Two operations are the same if they do the same to every word; an
    operation may answer more of the word than the other, since instructions on one bit are rare in languages.
    """
    count = 0
    cpus = sum(at.endswith(".wakeup_lock") for at in due.locations)
    pending = [Pair(mine.root(routine, args), due.root(routine, args))]
    while pending:
        pair = pending.pop()
        if pair.private is None and UNKNOWN in (public(mine, pair.mine, None), public(due, pair.due, None)):
            pending += [pair._replace(private=private) for private in (0, 1)]
            continue
        at, there = public(mine, pair.mine, pair.private), public(due, pair.due, pair.private)
        assert isinstance(at, Node) and isinstance(there, Node)
        if isinstance(there.answer, ops.Assert):
            continue  # the reference says that this cannot be
        pair = pair._replace(mine=at, due=there)
        count += 1
        pending += list(steps(pair, cpus))
    return count


UNKNOWN = "needs to know what private words hold"


def public(assembly: Assembly, node: Node, private: int | None) -> Node | str:
    """The next point whose operation others can notice; private words hold `private` until they are written."""
    memory: dict[str, ops.Value] = {}
    while isinstance(node.answer, ops.Load | ops.Store | ops.Rmw):
        op, shared = node.answer, assembly.locations[node.answer.at]
        if not shared.private_to and not shared.constant:
            break
        word = memory.get(op.at, shared.initial if shared.constant else private)
        if word is None:
            return UNKNOWN
        assert isinstance(word, int)
        memory[op.at] = written(op, word)
        node = node.child(None if isinstance(op, ops.Store) else word & op.mask)
    return node


def written(op: ops.Load | ops.Store | ops.Rmw, word: ops.Value) -> ops.Value:
    if isinstance(op, ops.Load):
        return word
    if isinstance(op, ops.Rmw):
        assert isinstance(word, int)
        return after(op, word)
    return merged(word, op.value, op.mask)


def steps(pair: Pair, cpus: int) -> Iterator[Pair]:
    mine, due = pair.mine.answer, pair.due.answer
    told = f"{pair.mine}\nwhere the reference is at\n{pair.due}"
    assert type(mine) is type(due), told
    match due:
        case ops.Load() | ops.Store() | ops.Rmw():
            assert isinstance(mine, ops.Load | ops.Store | ops.Rmw) and mine.at == due.at, told
            short = due.at.partition(".")[2]
            for word in range(cpus) if short == "cpu" else VALUES.get(short, (0, ops.WORD)):
                lost = pair.lost + (isinstance(due, ops.Rmw) and due.how == "cas" and word != due.expect)
                assert written(mine, word) == written(due, word), f"{told}\nwith {word} there"
                if lost <= LOST:
                    yield pair.after(answered(mine, word), answered(due, word), lost)
            if isinstance(due, ops.Rmw) and due.how == "cas" and pair.lost:
                yield pair.after(answered(mine, due.expect), answered(due, due.expect), LOST)
        case ops.Return():
            assert mine == due, told
        case _:
            assert mine == due, told
            results: tuple[ops.Result, ...] = (None,)
            if isinstance(due, ops.Interrupts | ops.Wake):
                results = (False, True)
            elif isinstance(due, ops.CpuId):
                results = tuple(range(cpus))
            for result in results:
                yield pair.after(result, result, pair.lost)


def answered(op: ops.Load | ops.Store | ops.Rmw, word: ops.Value) -> ops.Result:
    if isinstance(op, ops.Store):
        return None
    return word & op.mask if isinstance(word, int) else word


SENDING = (("deliver_interrupt", ("vcpu0", 200)),)
SWITCHING = (("load", ("vcpu0", 0)), ("put", ("vcpu0", True)), ("put", ("vcpu0", False)), ("wakeup_handler", (0,)))
CALLS = {
    "core": (*SENDING, *SWITCHING),
    "apicv-inhibited": SENDING,
    "on-the-target": (*SENDING, SWITCHING[1]),
}


@pytest.mark.parametrize("name", CALLS)
def test_its_routines_are_the_reference_s_automata(example: Implementation, name: str) -> None:
    mine, due = assemble(example, scenario(name)), assemble(resolve("reference"), scenario(name))
    compared = {
        routine: bisimilar(mine, due, routine, args)
        for routine, args in CALLS[name]
        if mine.filled_by[mine.role_of[routine]] == example.name
    }
    assert min(compared.values()) >= 5, compared


def test_the_comparison_sees_a_swapped_line() -> None:
    mine, due = assemble(resolve("known-bad:M1"), scenario("core")), assemble(resolve("reference"), scenario("core"))
    with pytest.raises(AssertionError, match="where the reference is at"):
        bisimilar(mine, due, *SENDING[0])


# Mutants: what is changed in which language, and the reference's own mutant that it must be found as

MUTANTS: Mapping[str, tuple[str, Mapping[str, tuple[str, str]]]] = {
    "M1": (
        "core",
        {
            "c": (
                r"    if \(test_and_set\((&v->pid.pir.*)\)\)\n        return;\n    if \(test_and_set\((.*ON)\)\)\n",
                r"    bool owes = !test_and_set(\2);\n    if (test_and_set(\1) || !owes)\n",
            ),
            "c++": (
                r"    if \((test_and_set.*) \|\| (test_and_set\(v.pid.control, Control::on\))\)\n",
                r"    bool owes = !\2;\n    if (\1 || !owes)\n",
            ),
            "rust": (
                r"    if (test_and_set.*) \|\| (test_and_set\(&vcpu.pid.control, ON\)) \{\n",
                r"    let owes = !\2;\n    if \1 || !owes {\n",
            ),
            "javascript": (
                r"    if \((yield fetchOr.*pir.*)\) return;\n    if \((yield fetchOr.*)\) return;\n",
                r"    const owes = !(\2);\n    if ((\1) || !owes) return;\n",
            ),
        },
    ),
    "B22a": (
        "one-device",
        {
            "c": (r"intack_send_ipi\(WAKEUP, INTACK_SELF\)", "(void)0"),
            "c++": (r"intack_send_ipi\(wakeup, INTACK_SELF\)", "(void)0"),
            "rust": (r"host::send_ipi\(WAKEUP, host::SELF\)", "()"),
        },
    ),
    "B19": (
        "preempt-running",
        {
            "c": (r"(void announce_left_over[^{]*\{)", r"\1 (void)v; return;"),
            "c++": (r"(void announce_left_over[^{]*\{)", r"\1 return;"),
            "rust": (r"(fn announce_left_over[^{]*\{)", r"\1 if true { return; }"),
        },
    ),
    "M20": (
        "xapic",
        {
            "c": (r"where << 8 & 0xff00", "where"),
            "c++": (r"where << 8 & 0xff00", "where"),
            "rust": (r"place << 8 & 0xff00", "place"),
        },
    ),
}


@cache
def by_the_known_bad(name: str) -> Mapping[str, tuple[int, str]]:
    return _least(explore(resolve(f"known-bad:{name}"), scenario(MUTANTS[name][0]), SUITE))


def _least(found: Explored) -> Mapping[str, tuple[int, str]]:
    """Of each broken clause: switches, and whether it is lost or only delayed."""
    assert not found.fault, found.fault
    return {clause: (c.switches, c.recovery) for clause, c in found.counterexamples.items()}


@pytest.mark.parametrize(("name", "language"), [(n, lang) for n, (_, texts) in MUTANTS.items() for lang in texts])
def test_a_mutated_copy_is_found(name: str, language: str, tmp_path: Path) -> None:
    needs(language)
    where, texts = MUTANTS[name]
    source = ROOT / EXAMPLES[language][0]
    shutil.copytree(source.parent, tmp_path / source.parent.name)
    changed, times = re.subn(*texts[language], source.read_text())
    assert times == 1, f"{texts[language][0]} occurs {times} times in {source}"
    (tmp_path / EXAMPLES[language][0]).write_text(changed)
    mutant = resolve(spec_of(language, tmp_path))
    assert _least(explore(mutant, scenario(where), SUITE)) == by_the_known_bad(name)


# As ordinary programs


def test_the_rust_example_is_ordinary_rust(tmp_path: Path) -> None:
    needs("rust")
    tests = tmp_path / "tests"
    command = [compiler_for(".rs", ""), "--edition=2021", "--test", "--check-cfg=cfg(intack,test)", "-Dwarnings"]
    subprocess.run([*command, ROOT / "rust/posted.rs", "-o", tests], check=True)
    done = subprocess.run([tests], capture_output=True, text=True, check=True)
    assert "2 passed; 0 failed" in done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_gcc_and_clang_make_the_same_of_it(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    shutil.copytree(ROOT / "c", tmp_path / "c")
    file = tmp_path / "c" / "posted.toml"
    file.write_text(f'compiler = "{compiler}"\n{file.read_text()}')
    found = explore(resolve(f"native:{file}"), scenario("block-preempt"), SUITE)
    assert (found.states, found.questions, found.counterexamples) == (12_347, 539, {})
