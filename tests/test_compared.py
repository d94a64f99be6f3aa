"""Runs compared, with each other and with what is expected; short names for what a report shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest
import tiny_suite
from click.testing import CliRunner
from tiny_reports import EXTENT, some_verdicts, verdict
from tiny_suite import HELD

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.report import difference, document, expected, formats, last, several
from conformance.report.document import ReportError
from conformance.report.model import Report
from conformance.verdict.choices import choices
from conformance.verdict.clause import Status, Verdict
from conformance.verdict.explore import least
from properties.suite import SUITE

SOME = document.report(some_verdicts())
TODAY = date(2026, 11, 21)


def of(*verdicts: Verdict) -> Report:
    return document.report(verdicts)


# Two runs


def test_nothing_differs_from_itself() -> None:
    same = difference.difference(SOME, SOME)
    assert same.exit_status == 0
    assert difference.text(same) == "No difference.\n"


def test_each_change_is_told_once() -> None:
    held = msgspec.structs.replace(verdict(Status.HELD, "A-5"), extent=EXTENT)
    fewer = msgspec.structs.replace(held, extent=msgspec.structs.replace(EXTENT, states=9))
    old = of(
        verdict(Status.HELD, "A-1"), verdict(Status.VIOLATED, "A-2"), verdict(Status.HELD, "A-3"),
        verdict(Status.OBSERVED, "A-4"), held, verdict(Status.VIOLATED, "A-6"),
    )  # fmt: skip
    new = of(
        verdict(Status.VIOLATED, "A-1"), verdict(Status.HELD, "A-2"), verdict(Status.CRASH, "A-3"),
        verdict(Status.NEVER_OBSERVED, "A-4"), fewer, verdict(Status.HELD, "A-7"),
    )  # fmt: skip
    found = difference.difference(old, new)
    groups = {name: [c.row.id for c in getattr(found, name)] for name in difference.TITLES}
    assert groups == {
        "newly_violated": ["A-1"],
        "newly_undecided": ["A-3"],
        "newly_held": ["A-2"],
        "otherwise": ["A-4"],
        "evidence": ["A-5"],
        "added": ["A-7"],
        "gone": ["A-6"],
    }
    assert found.exit_status == 1
    text = difference.text(found)
    assert "A-1  HELD -> VIOLATED" in text and "A-5  HELD: 9 scenarios, 1,204 states -> 9 scenarios, 9 states" in text


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ([Status.VIOLATED], [], 0),  # what is gone is no regression
        ([Status.VIOLATED], [Status.CRASH], 2),
        ([Status.CRASH], [Status.CRASH], 0),
        ([], [Status.VIOLATED], 1),
        ([], [Status.TIMEOUT], 2),
        ([Status.VIOLATED], [Status.VIOLATED], 0),
    ],
)
def test_the_exit_status_says_whether_anything_is_worse(old: list[Status], new: list[Status], status: int) -> None:
    reports = [of(*(verdict(s, "A-1") for s in statuses)) for statuses in (old, new)]
    assert difference.difference(*reports).exit_status == status


def test_a_run_that_ended_early_is_noted() -> None:
    early = document.report([], missing=["A-1"], ended="interrupted")
    assert "the new run is not complete: interrupted" in difference.text(difference.difference(SOME, early))


# What is expected


def test_what_is_expected_fails_nothing(tmp_path: Path) -> None:
    entries = read(tmp_path, *(entry(row.id) for row in SOME.clauses if row.status is Status.VIOLATED))
    known = expected.applied(SOME, entries, [row.id for row in SOME.clauses], TODAY)
    assert SOME.run.exit_status == 1
    assert known.run.exit_status == 2, "something is undecided still"
    assert "2 of them expected" in formats.FORMS[".txt"](known)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('clause = "E2E-99"\nreason = "?"', "E2E-99 is no clause"),
        ('clause = "PID-1"\nreason = "slow"', "PID-1 is HELD and no longer fails (slow). Remove the entry."),
        (
            'clause = "E2E-1"\nreason = "slow"\nexpires = 2026-11-20',
            "the entry for E2E-1 has expired on 2026-11-20 (slow)",
        ),
        ('clause = "E2E-1"\nreason = "?"\nimplementation = "xen*"', "matches no implementation: xen*"),
    ],
)
def test_an_entry_that_is_not_met_is_told_and_fails(tmp_path: Path, text: str, says: str) -> None:
    entries = read(tmp_path, f"[[expected]]\n{text}\n")
    known = expected.applied(SOME, entries, [row.id for row in SOME.clauses], TODAY)
    assert known.run.exit_status == 1
    assert says in " ".join(formats.FORMS[".txt"](known).split())
    assert not any(row.expected for row in known.clauses)


def test_a_clause_that_was_not_asked_for_says_nothing_of_its_entry(tmp_path: Path) -> None:
    entries = read(tmp_path, entry("E2E-14"))
    assert not expected.applied(SOME, entries, ["E2E-14"], TODAY).run.unmet


@pytest.mark.parametrize(
    "text",
    ["[[expected", "expected = 3", '[[expected]]\nclause = "A"', '[[expected]]\nclause = "A"\nreason = " "', "a = 1",
     '[[expected]]\nclause = "A"\nreason = "?"\nexpires = "soon"'],
)  # fmt: skip
def test_what_is_no_list_of_expected_deviations_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ReportError, match=r"expected\.toml"):
        read(tmp_path, text)


def test_the_tool_writes_the_file(tmp_path: Path) -> None:
    """With the words of entries that are known."""
    before = read(tmp_path, '[[expected]]\nclause = "E2E-1"\nreason = "known"\nlink = "l"\nexpires = 2027-01-01\n')
    entries = read(tmp_path, expected.written(SOME, before))
    assert [e.clause for e in entries] == [
        row.id for row in SOME.clauses if row.status is Status.VIOLATED or row.undecided
    ]
    by = {e.clause: e for e in entries}
    assert (by["E2E-1"].reason, by["E2E-1"].link, by["E2E-1"].expires) == ("known", "l", date(2027, 1, 1))
    assert by["PID-2"].reason == expected.UNTOLD
    known = expected.applied(SOME, entries, [row.id for row in SOME.clauses], TODAY)
    assert known.run.exit_status == 0 and not known.run.unmet


def entry(clause: str) -> str:
    return f'[[expected]]\nclause = "{clause}"\nreason = "known"\n'


def read(folder: Path, *texts: str) -> tuple[expected.Expected, ...]:
    path = folder / "expected.toml"
    path.write_text("".join(texts))
    return expected.read(path)


# As a user's shell sees it


@pytest.fixture
def intack(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = {
        **os.environ,
        **tiny_suite.installed(tmp_path / "installed"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    del environment["INTACK_NO_CACHE"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "conformance", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)

    (tmp_path / "mine.py").write_text(
        "from reference.x86.kvm import Kvm\n\nclass Mine(Kvm):\n    def purge(self, cpu, vcpu):\n        pass\n"
    )
    return run


def test_two_implementations_are_compared(
    intack: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """And everything that a report can be used for afterwards."""
    done = intack(
        "run", "-a", "mine:Mine", "-a", "reference", "-n", "0", "--clause", HELD, "--report", "both.json",
        "--report", "both.html", "--write-expected", "known.toml",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "On      reference " in done.stdout
    stored = json.loads((tmp_path / "both.json").read_text())
    assert [(row["implementation"], row["status"]) for row in stored["clauses"]] == [
        ("Mine", "VIOLATED"),
        ("reference", "HELD"),
    ]
    shown = stored["clauses"][0]["counterexample"]
    assert HELD in shown["breaks"] and set(shown["named"]) <= {row["number"] for row in shown["rows"]}
    (other,) = shown["elsewhere"]
    assert other["implementation"] == "reference" and not other["breaks"]
    page = (tmp_path / "both.html").read_text()
    assert page.count(f'id="clause-{HELD}"') == 1 and page.count('<th scope="col">Mine</th>') == 1

    assert (
        "would run what is not installed" in intack("replay", f"both.json#{HELD}").stderr
    )  # it may be somebody else's
    again = intack("replay", f"last#{HELD.lower()}")
    assert again.returncode == 1 and "STILL VIOLATED" in again.stdout
    chosen = intack("replay", "last", "--explain", "1")
    assert chosen.returncode == 0 and "(* was taken)" in chosen.stdout and f"{HELD} can still break" in chosen.stdout

    explained = intack("explain", HELD).stdout
    assert "last verdict    Mine: VIOLATED" in explained and "known-bad:B01" in explained
    assert f"intack replay 'last#{HELD}'" in explained

    accepted = intack(
        "run", "-a", "mine:Mine", "-n", "0", "--clause", HELD, "--expect", "known.toml", "--report", "one.json"
    )
    assert accepted.returncode == 0 and "nothing violated but what is expected" in accepted.stdout
    met = intack("run", "-n", "0", "--clause", HELD, "--expect", "known.toml", "--report", "right.json", "-q")
    assert met.returncode == 1 and "expected deviation not met" in met.stdout and met.stdout.count("\n") == 1
    same = intack("diff", "one.json", "right.json")
    assert same.returncode == 0 and "Note: Mine before, reference now" in same.stdout
    right, one = (document.read(tmp_path / name) for name in ("right.json", "one.json"))
    assert difference.difference(right, one).exit_status == 0, "what is expected is no regression"


def test_two_of_one_name_are_told_apart() -> None:
    asked = [document.Asked(adapters=(name,)) for name in ("a.model:Sender", "b.model:Sender")]
    both = several.joined([document.report([verdict(Status.HELD)], asked=each) for each in asked])
    assert (
        both.run.implementations
        == tuple(row.implementation for row in both.clauses)
        == ("a.model:Sender", "b.model:Sender")
    )


def test_a_choice_is_told_by_what_it_leads_to() -> None:
    """Of a bug in which a message comes too early: had it waited, nothing would have been lost."""
    known_bad = resolve("known-bad:B17")
    scenario = next(s for s in SUITE.scenarios if s.name == "one-sender")
    found = least(known_bad, scenario, SUITE, "E2E-11", profile="kvm")
    assert found
    broken = msgspec.structs.replace(
        verdict(Status.VIOLATED, "E2E-11", counterexample=found), implementation=known_bad.name
    )
    (row,) = several.foreseen(of(broken), [known_bad]).clauses
    assert row.counterexample
    leads = {(step.number, other.agent, other.leads) for step in row.counterexample.rows for other in step.instead}
    assert {lead for *_, lead in leads} == {"can", "cannot"}
    _, chosen = choices(found.replay, 4, known_bad)
    assert [(c.agent, c.leads) for c in chosen if c.taken] == [("cpu1", "can")], "the schedule itself leads there"
    with pytest.raises(LookupError, match="there is no step 99: the schedule fits for"):
        choices(found.replay, 99, known_bad)
    assert {(4, c.agent, c.leads) for c in chosen if not c.taken} == {lead for lead in leads if lead[0] == 4}
    crashed = of(broken, msgspec.structs.replace(verdict(Status.CRASH, "E2E-1"), implementation=known_bad.name))
    assert several.foreseen(crashed, [known_bad]) == crashed, "what crashes is not asked here"


def test_explaining_names_what_judges() -> None:
    told = invoked("explain", "E2E-11")
    assert "E2E-11" in told and "source" in told and ": read" in told and "Conservation" in told
    assert [line.split()[0] for line in invoked("list", "clauses", "--grep", "WAKEUP list NV").splitlines()] == [
        "KVM-PI-5", "KVM-PI-6", "KVM-PI-9", "KVM-PI-21",
    ]  # fmt: skip


def invoked(*arguments: str) -> str:
    return CliRunner().invoke(cli, list(arguments), standalone_mode=False).output


def test_what_was_not_kept_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ReportError, match="nothing was judged in this folder"):
        last.found("last")
    last.keep(SOME)
    assert last.found("last").status is Status.VIOLATED
    assert last.found("last#e2e-1").id == "E2E-1"
    with pytest.raises(ReportError, match=r"shows no schedule of E2E-77\. It has those of: PID-2, E2E-1, KVM-1"):
        last.found("last#E2E-77")
    with pytest.raises(ReportError, match="cannot read the report lasting"):
        last.found("lasting.json")
    assert (
        last.own("last#E2E-1") and last.own("last") and not last.own("lasting.json") and not last.own("last.json#E2E-1")
    )
    assert last.is_handle("last#E2E-1") and last.is_handle("r.json") and not last.is_handle("intack2.abc.12")
