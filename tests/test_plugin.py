"""The pytest plugin: inert in the projects of others, one item a clause, the same verdicts with any number of workers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import tiny_suite
from tiny_suite import ALONE, HALT, HELD, UNCHECKED, UNSEEN

from reference.x86.kvm import Kvm

pytest_plugins = "pytester"


class Dies(Kvm):
    """Takes its whole process along."""

    def restore(self, *_: object) -> None:  # type: ignore[override]
        os._exit(9)


@pytest.fixture
def tiny(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory in which the installed suite is the tiny one."""
    for name, value in tiny_suite.installed(pytester.path / "installed").items():
        monkeypatch.setenv(name, value)
    return pytester


def statuses(report: Path) -> dict[str, str]:
    return {row["id"]: row["status"] for row in json.loads(report.read_text())["clauses"]}


def test_inert_in_the_projects_of_others(pytester: pytest.Pytester) -> None:
    """Even where a test looks like one of ours, and in a folder called properties."""
    folder = pytester.mkdir("properties")
    (folder / "test_clauses.py").write_text(
        "import sys, pytest\n"
        "@pytest.mark.parametrize('clause', ['E2E-1', 'E2E-2'])\n"
        "def test_clause(clause):\n"
        "    assert not {m for m in sys.modules if m.split('.')[0] in ('conformance', 'reference', 'msgspec')}\n"
        "    assert clause == 'E2E-1'\n"
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:hypothesispytest", "-o", "strict=true")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*intack*")


@pytest.mark.parametrize(
    "python", [("-m", "pytest"), ("-c", "import sys, pytest; sys.path.pop(0); sys.exit(pytest.main())")]
)
def test_a_project_may_have_a_package_of_that_name(pytester: pytest.Pytester, python: tuple[str, ...]) -> None:
    """Its tests have their own, whichever way pytest is started; what asks for ours is told."""
    pytester.mkpydir("conformance")
    (pytester.path / "conformance/theirs.py").write_text("")
    pytester.makepyfile("import conformance.theirs\ndef test_it(): pass")
    result = pytester.run(sys.executable, *python)
    result.assert_outcomes(passed=1)
    result = pytester.run(sys.executable, *python, "--intack-adapter=reference")
    if python[0] == "-m":
        result.stderr.fnmatch_lines([f"ERROR: {pytester.path}/conformance shadows the package conformance of intack*"])
        assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_an_item_is_a_clause(tiny: pytest.Pytester) -> None:
    result = tiny.runpytest_subprocess("--pyargs", "properties", "--collect-only", "-q")
    result.stdout.fnmatch_lines_random([f"*test_clause[[]{c}]" for c in (HELD, HALT, ALONE, UNSEEN, UNCHECKED)])
    assert result.ret == 0


@pytest.mark.parametrize("workers", ["0", "2"])
def test_outcomes_and_report(tiny: pytest.Pytester, workers: str) -> None:
    """A verdict that decides nothing fails, one that cannot be given skips; the controller writes the report."""
    result = tiny.runpytest_subprocess("--pyargs", "properties", "-n", workers, "--intack-report=report.json")
    result.assert_outcomes(passed=3, skipped=1, failed=1)
    header, block = (
        "intack: adapter reference, profile kvm, 5 clauses",
        [f"NOT EXERCISED *{UNSEEN}*", "evidence*premise*"],
    )
    result.stdout.fnmatch_lines([header, *block, "UNDECIDED (exit status 2)*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    found = statuses(tiny.path / "report.json")
    assert found == {HELD: "HELD", HALT: "HELD", ALONE: "HELD", UNSEEN: "NOT EXERCISED", UNCHECKED: "NOT CHECKED"}
    assert list(found) == [c.id for c in tiny_suite.SUITE.clauses]


def test_without_options_the_verdicts_of_workers_are_enough(tiny: pytest.Pytester) -> None:
    result = tiny.runpytest_subprocess("--pyargs", "properties", "-n", "2")
    result.stdout.fnmatch_lines([f"  + {HELD} *", "UNDECIDED (exit status 2)*"])


def test_twins_of_options(tiny: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line goes before the environment, and that before the ini-file."""
    tiny.makeini("[pytest]\nintack_profile = strict\nintack_adapter = nobody\n")
    monkeypatch.setenv("INTACK_ADAPTER", "reference")
    result = tiny.runpytest_subprocess("--pyargs", "properties", "--collect-only")
    result.stdout.fnmatch_lines(["intack: adapter reference, profile strict, 5 clauses"])
    result = tiny.runpytest_subprocess("--pyargs", "properties", "--collect-only", "--intack-profile=generic")
    result.stdout.fnmatch_lines(["intack: adapter reference, profile generic, *"])


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_dead_process_is_a_verdict(tiny: pytest.Pytester, workers: str) -> None:
    """Clauses that need the deadly routine CRASH, and are in the report; the others have their verdicts."""
    options = ["--intack-adapter=test_plugin:Dies", "--intack-report=report.json"]
    result = tiny.runpytest_subprocess("--pyargs", "properties", "-n", workers, "--intack-profile=kvm", *options)
    found = statuses(tiny.path / "report.json")
    assert found[HELD] == "CRASH"
    assert (found[ALONE], found[UNCHECKED]) == ("HELD", "NOT CHECKED")
    assert len(found) == 5
    assert result.ret == 1


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("ends", ["os._exit(0)", "os.execv('/bin/true', ['true'])"])
def test_a_module_that_ends_the_process_is_bad_usage(tiny: pytest.Pytester, workers: str, ends: str) -> None:
    tiny.makepyfile(mine=f"import os\n{ends}\n")
    result = tiny.runpytest_subprocess("--pyargs", "properties", "--intack-adapter=mine:Mine", "-n", workers)
    result.stderr.fnmatch_lines(["ERROR: the process in which mine:Mine was loaded ended with exit status 0: *"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_folder_that_shadows_a_package_is_named(tiny: pytest.Pytester) -> None:
    tiny.mkpydir("reference")
    result = tiny.runpytest_subprocess("--pyargs", "properties", "--intack-adapter=reference")
    result.stderr.fnmatch_lines(
        [f"ERROR: {tiny.path / 'reference'} shadows the package reference of intack*Rename it*"]
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_report_without_clauses(tiny: pytest.Pytester) -> None:
    """A report that would say nothing is not written, and that is said."""
    tiny.makepyfile("def test_else(): pass")
    result = tiny.runpytest_subprocess("--intack-report=report.json")
    result.stdout.fnmatch_lines(["no clause was judged, so no report is written*"])
    assert result.ret != 0
    assert not (tiny.path / "report.json").exists()


def test_a_bad_option_stops_everything(tiny: pytest.Pytester) -> None:
    """One clear message, before anything runs."""
    tiny.makepyfile("def test_else(): print('it ran')")
    result = tiny.runpytest_subprocess("-s", "-n", "2", "--intack-profile=kmv")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().strip() == "ERROR: no profile is called 'kmv'. Did you mean kvm?"
    assert "it ran" not in result.stdout.str()
