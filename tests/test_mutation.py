"""Mutants: what each operator makes of an operation, that a mutant is the wrong code one would write by hand, and the score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.adapters.registry import resolve
from conformance.adapters.source import Fault, Line
from conformance.automaton.assembly import assemble
from conformance.automaton.unfold import Unfolding
from conformance.commands.main import cli
from conformance.machine.build import in_machine
from conformance.mutation.in_function import functions
from conformance.mutation.in_scenario import InScenario, explored, smallest_first
from conformance.mutation.journal import JournalFile
from conformance.mutation.kill import Candidate, Fate, Judged, Only, audit
from conformance.mutation.mutant import Mutant, Whole, whole
from conformance.mutation.operators import OPERATORS
from conformance.mutation.score import Argument, score
from conformance.mutation.score import key as mutant_key
from conformance.mutation.site import Site
from conformance.roles import operations as ops
from conformance.search.proof import prove
from conformance.verdict.suite import load_suite

SUITE = load_suite()
SCENARIOS = {s.name: s for s in SUITE.scenarios}

# What an operator makes of an operation


SCRIPT = (
    ops.Lock("vm.lock"),
    ops.Rmw("vcpu0.pid.pir[1]", "or", 16, 16),
    ops.Load("vcpu0.mode"),
    ops.Unlock("vm.lock"),
    ops.SendIpi(0xF2, 1),
)


class Scripted:
    """A routine that asks for these operations in turn, and returns what the third answered."""

    def __init__(self, script: tuple[ops.AnyOperation, ...] = SCRIPT) -> None:
        self.script = script

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        return self.script[len(results)] if len(results) < len(self.script) else ops.Return(value=results[2])

    def fresh(self) -> Scripted:
        return self


LOCK, OR, LOAD, UNLOCK, SEND = SCRIPT
END = ops.Return(value=0)
ANSWERS: tuple[tuple[ops.Result, ...], ...] = ((None,), (0, 16), (0, 1, 2), (None,), (None,))
"""What each operation has been seen to answer."""


@pytest.fixture(scope="module")
def seen() -> Whole:
    """The sender, explored with every answer."""
    unfolding = Unfolding(Scripted())
    level = [unfolding.root("deliver_interrupt", ())]
    for answers in ANSWERS:
        level = [node.child(answer) for node in level for answer in answers]
    reference = assemble(resolve("reference"), SCENARIOS["on-the-target"])
    return whole(replace(reference, routines={"deliver_interrupt": unfolding}), 2)


def site_of(seen: Whole, operation: ops.Operation) -> Site:
    nodes = seen.nodes({"deliver_interrupt"})
    return next(site for site, found in nodes.items() if found[0].answer == operation)


def asked(seen: Whole, mutant: Mutant) -> list[ops.Answer]:
    """All that the mutant asks for, where reads answer 0."""
    node = seen.changed(mutant).root("deliver_interrupt", ())
    found: list[ops.Answer] = []
    while not isinstance(node.answer, ops.Return):
        found.append(node.answer)
        node = node.child(0 if isinstance(node.answer, ops.Load | ops.Rmw) else None)
    return [*found, node.answer]


READ = ops.Load("vcpu0.pid.pir[1]", 16)


@pytest.mark.parametrize(
    ("operation", "operator", "variant", "due"),
    [
        (OR, "left out", "", [LOCK, READ, LOAD, UNLOCK, SEND, END]),
        (LOCK, "left out", "", [OR, LOAD, SEND, END]),
        (SEND, "left out", "", [LOCK, OR, LOAD, UNLOCK, END]),
        (OR, "twice", "", [LOCK, OR, OR, LOAD, UNLOCK, SEND, END]),
        (OR, "split", "", [LOCK, READ, ops.Store(OR.at, 16, 16), LOAD, UNLOCK, SEND, END]),
        (OR, "whole word", "", [LOCK, READ, ops.Store(OR.at, 16), LOAD, UNLOCK, SEND, END]),
        (LOAD, "ends", "", [LOCK, OR, LOAD, END]),
        (LOCK, "not called", "", [END]),
        (OR, "neighbour", "bit", [LOCK, ops.Rmw(OR.at, "or", 32, 32), LOAD, UNLOCK, SEND, END]),
        (OR, "neighbour", "word", [LOCK, ops.Rmw("vcpu0.pid.pir[3]", "or", 16, 16), LOAD, UNLOCK, SEND, END]),
        (SEND, "neighbour", "vector", [LOCK, OR, LOAD, UNLOCK, ops.SendIpi(0xF1, 1), END]),
        (SEND, "neighbour", "cpu", [LOCK, OR, LOAD, UNLOCK, ops.SendIpi(0xF2, 0), END]),
        (LOAD, "told", "largest", [LOCK, OR, LOAD, UNLOCK, SEND, ops.Return(value=2)]),
        (OR, "exchanged", "", [LOCK, LOAD, OR, UNLOCK, SEND, END]),
        (LOAD, "exchanged", "", [LOCK, OR, UNLOCK, LOAD, SEND, END]),
    ],
)
def test_what_is_asked_in_place_of_an_operation(
    seen: Whole, operation: ops.Operation, operator: str, variant: str, due: list[ops.Answer]
) -> None:
    site = site_of(seen, operation)
    mutant = Mutant(site, operator, variant)
    assert mutant in list(seen.mutants({site: seen.nodes({"deliver_interrupt"})[site]})), "the operator knows the site"
    assert asked(seen, mutant) == due


def test_an_answer_is_changed_only_into_one_that_was_seen(seen: Whole) -> None:
    """All ones were never read of mode; a routine that is told so may do what no machine would."""
    site = site_of(seen, LOAD)
    possible = {
        m.variant for m in seen.mutants({site: seen.nodes({"deliver_interrupt"})[site]}) if m.operator == "told"
    }
    assert possible == {"zero", "largest"}


def test_a_lock_goes_with_its_unlock(seen: Whole) -> None:
    assert not [
        m for m in seen.mutants(seen.nodes({"deliver_interrupt"})) if str(m).endswith("unlock vm.lock: left out")
    ]


def test_an_answer_that_nothing_hangs_on_is_not_changed(seen: Whole) -> None:
    """The sender looks at what it read of mode alone."""
    site = site_of(seen, OR)
    assert "told" not in {m.operator for m in seen.mutants({site: seen.nodes({"deliver_interrupt"})[site]})}


def test_a_routine_that_has_never_returned_does_not_end_early() -> None:
    """How would it go on? A guest that never leaves, say, so that nothing comes after its entry."""
    unfolding = Unfolding(Scripted(SCRIPT))
    unfolding.root("deliver_interrupt", ()).child(None).child(0)
    reference = assemble(resolve("reference"), SCENARIOS["on-the-target"])
    known = whole(replace(reference, routines={"deliver_interrupt": unfolding}), 2)
    operators = {m.operator for m in known.mutants(known.nodes({"deliver_interrupt"}))}
    assert "left out" in operators and not operators & {"ends", "not called"}


def test_what_ends_within_a_step_of_hardware_ends_the_step_too() -> None:
    """Else the machine would wait for the rest of a step that never comes, which no code can write."""
    place = explored(resolve("reference"), SUITE, SCENARIOS["gicv4.1-closed-wfi"])
    assert place
    key = "ReferenceIts.redistributor: load cpu.vpendbaser: ends"
    ended = [c.mutant for c in place.candidates() if mutant_key(c.mutant) == key]
    assert len(ended) == 3
    for mutant in ended:
        judged = Judged(mutant)
        place.judge(judged)
        assert (judged.fate, judged.detail) == ("killed", "LIVELOCK")


def test_where_nobody_can_look_in_between_nothing_is_exchanged() -> None:
    """Of three accesses in one step only the two to one location can be told apart the other way round."""
    script: tuple[ops.AnyOperation, ...] = (
        ops.Atomic(True), ops.Load("a"), ops.Store("b", 1), ops.Store("b", 2, 6), ops.Atomic(False)
    )  # fmt: skip
    unfolding = Unfolding(Scripted(script))
    node = unfolding.root("post", ())
    for _ in script:
        node = node.child(0 if isinstance(node.answer, ops.Load) else None)
    reference = assemble(resolve("reference"), SCENARIOS["on-the-target"])
    known = whole(replace(reference, routines={"post": unfolding}), 2)
    nodes = known.nodes({"post"})
    assert [nodes[m.site][0].answer for m in known.mutants(nodes) if m.operator == "exchanged"] == [script[2]]


# A mutant is the code that one would write


@pytest.mark.parametrize(
    ("twin", "base", "key", "scenario"),
    [
        ("F1", "reference", "Kvm.ready: fence", "tso-running"),
        ("F2", "kvm-vtd-only", "Kvm.block_once: fence", "tso-block"),
        ("B22a", "reference", "Kvm.enable_wakeup_handler: sendipi", "one-device"),
        ("M17", "reference", "ReferenceProcessor.write_tpr: call ReferenceProcessor.evaluate", "masked"),
        ("M7", "reference", "ReferenceProcessor.deliver: call ReferenceProcessor.clear_bit", "one-device"),
    ],
)
def test_a_mutant_breaks_what_the_same_mistake_by_hand_breaks(twin: str, base: str, key: str, scenario: str) -> None:
    where = SCENARIOS[scenario]
    by_hand = in_machine(resolve(f"known-bad:{twin}"), where, SUITE, prove)
    plain = explored(resolve(base), SUITE, where, 1_000_000)
    assert plain
    known = plain.whole
    site = next(site for site in known.nodes(set(known.assembly.routines)) if site.key == key)
    mutant = in_machine(resolve(base), where, SUITE, prove, lambda _: known.changed(Mutant(site, "left out")))
    assert mutant.breached.keys() | mutant.at_rest.keys() == by_hand.breached.keys() | by_hand.at_rest.keys()
    assert bool(mutant.livelock) == bool(by_hand.livelock)


def test_where_the_site_is_not_reached_nothing_is_changed() -> None:
    scenario = SCENARIOS["one-device"]
    plain = explored(resolve("reference"), SUITE, scenario, 1_000_000)
    assert plain
    nowhere = Mutant(Site(Line("elsewhere.py", 1, "f"), "fence", ""), "left out")
    same = in_machine(resolve("reference"), scenario, SUITE, prove, lambda _: plain.whole.changed(nowhere))
    assert same.states == plain.states


def test_what_a_mutant_does_does_not_depend_on_how_far_automata_have_grown() -> None:
    """Asked again, every question has the same answer, though the unchanged code has been unfolded further meanwhile."""
    scenario = SCENARIOS["halt-closed"]
    plain = explored(resolve("reference"), SUITE, scenario, 1_000_000)
    assert plain
    nodes = plain.whole.nodes({"acknowledge"})
    for mutant in plain.whole.mutants(nodes):
        changed = plain.whole.changed(mutant)
        with suppress(Fault):
            in_machine(resolve("reference"), scenario, SUITE, prove, lambda _, made=changed: made)
        changed.recheck()


# Fates


@pytest.fixture(scope="module")
def judged() -> tuple[Judged, ...]:
    """Mutants of the sender, in the scenarios where it alone posts."""
    return audit(where_one_posts(), Only("deliver_interrupt"))


def where_one_posts() -> list[InScenario]:
    scenarios = [SCENARIOS[name] for name in ("one-sender", "two-senders", "on-the-target")]
    return smallest_first(resolve("reference"), SUITE, scenarios)


def test_every_operator_but_those_for_what_no_sender_does_is_tried(judged: tuple[Judged, ...]) -> None:
    assert {j.mutant.operator for j in judged} == OPERATORS.keys() - {"first only", "value", "weaker"}


def test_a_post_hangs_on_each_of_its_lines(judged: tuple[Judged, ...]) -> None:
    fates = {f"{j.mutant.site.key}: {j.mutant.operator}": (j.fate, j.detail) for j in judged}
    assert fates["Kvm.deliver_interrupt: call Kvm.post_vector: left out"][0] == "killed"
    assert fates["Kvm.post_vector: locked or vcpu.pid.pir[]: left out"][0] == "killed"
    assert fates["Kvm.trigger: sendipi: left out"] == ("killed", "E2E-1")
    assert fates["Kvm.trigger: sendipi: twice"][0] in ("same", "shows"), "a notification more harms nobody"


def test_sites_shared_out_among_processes_have_the_same_fates(judged: tuple[Judged, ...]) -> None:
    parts = [audit(where_one_posts(), Only("deliver_interrupt", part=(n, 2))) for n in (0, 1)]
    assert sorted((*parts[0], *parts[1]), key=lambda j: j.mutant) == list(judged)


def test_what_differs_and_lives_is_judged_again_where_that_is_asked_for() -> None:
    """What is as before in small scenarios is left alone in the larger ones, and what is killed, too."""
    small, *larger = where_one_posts()
    only = Only("deliver_interrupt", "told")
    before = {j.mutant: j for j in audit([small], only)}
    again = {j.mutant: j for j in audit([small, *larger], only, again=[place.name for place in larger])}
    assert {m for m, j in again.items() if len(j.reached) > 1} <= {
        m for m, j in before.items() if j.fate not in ("same", "killed")
    }
    assert all(again[m].fate == "same" for m, j in before.items() if j.fate == "same")
    assert {m for m, j in before.items() if j.fate == "killed"} <= {m for m, j in again.items() if j.fate == "killed"}


# Functions


def test_a_function_kills_what_no_interleaving_is_needed_for() -> None:
    """The cases of PIP-7 hold for the reference, and tell at once whether RVI is left out, or is another number."""
    (place,) = functions(resolve("reference"), SUITE, [c for c in SUITE.clauses if c.id == "PIP-7"])
    found = audit([place], Only(operator="[lv]*"))
    fates = {f"{j.mutant.site.what}: {j.mutant.operator}": (j.fate, j.detail) for j in found}
    assert fates["store vcpu.rvi: left out"] == fates["store vcpu.rvi: value"] == ("killed", "PIP-7")
    assert place.name == "PIP-7" and {j.role for j in found} == {"processor"}


def test_what_broken_code_breaks_anyway_is_no_measure() -> None:
    clauses = [c for c in SUITE.clauses if c.id == "PIP-7"]
    assert not functions(resolve("known-bad:M4"), SUITE, clauses)


def test_a_journal_is_gone_on_from(tmp_path: Path) -> None:
    """The same fates from a whole journal, from a torn one, and from one of other code, of which nothing is taken."""
    path, only, reference = tmp_path / "journal", Only("deliver_interrupt", "left out"), resolve("reference")
    places = where_one_posts()[:2]
    due = audit(places, only)
    assert audit(places, only, JournalFile(path, reference, only)) == due
    written = path.read_bytes()
    assert len(written.splitlines()) == 2
    for kept in (written, written[:-5], written.splitlines(keepends=True)[1], b"else\n"):
        path.write_bytes(kept)
        assert audit(places, only, JournalFile(path, reference, only)) == due
        assert path.read_bytes() == written


def test_what_is_in_a_journal_is_not_judged_again(tmp_path: Path) -> None:
    path, only, reference = tmp_path / "journal", Only("deliver_interrupt", "left out"), resolve("reference")
    (place,) = where_one_posts()[:1]
    due = audit([place], only, JournalFile(path, reference, only))
    place.judge = None  # type: ignore[method-assign]
    assert audit([place], only, JournalFile(path, reference, only)) == due
    other = Only("deliver_interrupt", "twice")
    with pytest.raises(TypeError):
        audit([place], other, JournalFile(path, reference, other))


def test_a_premise_is_lost_where_nothing_exercises_it_any_more() -> None:
    """What is exercised in another place, too, is not lost."""
    mutant = Mutant(Site(Line("a.py", 1, "f"), "fence", ""), "left out")

    @dataclass
    class There:
        name: str
        witnessed: frozenset[str]
        said: str = ""

        def candidates(self) -> Iterator[Candidate]:
            yield Candidate(mutant, ("f",), "sender")

        def judge(self, judged: Judged) -> None:
            judged.lose(["E2E-2"], self.name)

    one, other = There("one", frozenset(["E2E-2"])), There("other", frozenset(["E2E-2"]))
    other.judge = lambda judged: None  # type: ignore[method-assign]
    assert [j.fate for j in audit([one], Only())] == ["not exercised"]
    assert [j.fate for j in audit([one, other], Only())] == ["same"]


# Scores


def test_a_monitor_that_fails_on_a_mutant_does_not_end_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    place = where_one_posts()[0]
    monkeypatch.setattr(type(SUITE), "monitors", lambda *_: 1 / 0)
    (judged, *_) = audit([place], Only("deliver_interrupt", "left out"))
    assert (judged.fate, judged.detail) == ("crash", "the suite itself fails: ZeroDivisionError('division by zero')")


def of(fate: Fate, n: int, operator: str = "left out") -> Judged:
    return Judged(
        Mutant(Site(Line("a.py", n, f"f{n}"), "fence", ""), operator), fate=fate, detail="E2E-1" * (fate == "killed")
    )


def test_the_score_leaves_out_what_is_equivalent() -> None:
    found = [of("killed", 1), of("killed", 2), of("deviates", 3), of("same", 4), of("shows", 5)]
    assert score(found).percent == 50.0
    argued = score(found, [Argument("f5: fence: left out", "nobody reads it")])
    assert argued.percent == pytest.approx(200 / 3) and argued.fates()["argued"] == 1
    assert [j.mutant.site.line.number for j in argued.survivors()] == [3, 4]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("f9: fence: left out", "no mutant is called 'f9: fence: left out'"),
        ("f1: fence: left out", "'f1: fence: left out' is said to be equivalent, and E2E-1 kills it"),
    ],
)
def test_an_argument_must_fit(argument: str, says: str) -> None:
    """What does not is told beside what was found out, and costs none of it."""
    told = score(
        [of("killed", 1), of("shows", 2)], [Argument(argument, "because"), Argument("f2: fence: left out", "why")]
    )
    assert told.refuted[0].startswith(says) and len(told.refuted) == 1
    assert told.percent == 100 and told.argued == {"f2: fence: left out": "why"}


def test_the_command(tmp_path: Path) -> None:
    report = tmp_path / "mutants.json"
    options = [
        "mutate",
        "--routine",
        "deliver_interrupt",
        "--scenario",
        "one-sender",
        "-n",
        "1",
        "--report",
        str(report),
    ]
    done = CliRunner().invoke(cli, options, standalone_mode=False)
    assert done.return_value == 0 and "killed by a guarantee" in done.output
    rows = json.loads(report.read_text())["mutants"]
    assert {"killed"} < {row["fate"] for row in rows} and all(
        row["line"].startswith("reference/x86/kvm.py:") for row in rows
    )
    strict = CliRunner().invoke(cli, [*options, "--fail-under", "100"], standalone_mode=False)
    assert strict.return_value == 1
    wrong = tmp_path / "argued.toml"
    killed = next(row for row in rows if row["fate"] == "killed")
    wrong.write_text(f'[[equivalent]]\nmutant = "{killed["mutant"]}"\nbecause = "so"\n')
    report.unlink()
    refuted = CliRunner().invoke(cli, [*options, "--argued", str(wrong)], standalone_mode=False)
    assert refuted.return_value == 3 and "Take the line out." in refuted.output and report.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--operator", "halved"], "no operator is called 'halved'. There are: left out, twice"),
        (["--scenario", "none-such"], "matches none-such"),
        (["--argued", "no.toml"], "cannot read no.toml: no such file"),
        (["-n", "many"], "-n 'many' is neither a number nor auto"),
        (["--architecture", "riscv"], "reference fills no role of riscv, but of arm, nested, x86"),
        (["--journal", "no/such.journal"], "cannot write no/such.journal: there is no folder no"),
    ],
)
def test_bad_usage(options: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, ["mutate", "-n", "1", *options])
    assert says in " ".join(done.output.split())
