"""The command: exit status, report, replay, and its complaints about bad usage, as a user's shell sees them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_suite
from tiny_suite import HALT, HELD, UNSEEN

from conformance import __version__
from conformance.adapters.registry import descriptions
from properties.suite import SUITE

Intack = Callable[..., subprocess.CompletedProcess[str]]

MINE = """
from reference.x86.kvm import Kvm

class Mine(Kvm):
    def purge(self, cpu, vcpu):
        %s
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the command runs."""
    made = tmp_path / "somewhere"
    made.mkdir()
    return made


@pytest.fixture
def intack(tmp_path: Path, folder: Path) -> Intack:
    """Runs the command there, with the tiny suite installed."""
    environment = {**os.environ, **tiny_suite.installed(tmp_path / "installed")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "conformance", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)

    return run


def test_nothing_violated(intack: Intack, folder: Path) -> None:
    """Exit status 0, both reports, and nothing else left behind."""
    done = intack("run", "-n", "0", "--clause", HELD, "--clause", "e2e-*", "--report", "a.json", "--report", "b.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^  \+ {HELD} +MUST NOT +.* 2 +[\d,]+$", done.stdout, re.MULTILINE)
    assert "PASS (exit status 0)" in done.stdout
    assert "\x1b" not in done.stdout
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()
    rows = json.loads((folder / "a.json").read_text())["clauses"]
    assert [(row["id"], row["status"]) for row in rows] == [(HELD, "HELD"), ("E2E-7", "NOT CHECKED")]
    assert {p.name for p in folder.iterdir()} <= {"a.json", "b.json", ".hypothesis"}


def test_something_violated_and_then_fixed(intack: Intack, folder: Path) -> None:
    """Exit status 1 with a schedule, and a replay line that says what became of it as the code changes."""
    module = folder / "mine.py"
    module.write_text(MINE % "pass")
    done = intack("run", "-a", "mine:Mine", "-n", "2", "--clause", HELD)
    assert done.returncode == 1
    assert re.fullmatch(rf"VIOLATED {HELD} in (reset|save-restore): .*\n", done.stderr)
    assert re.search(rf"^VIOLATED.* {HELD} ", done.stdout, re.MULTILINE)
    assert f"breaks {HELD}" in done.stdout
    (line,) = re.findall(r"^Replay +intack replay (\S+)$", done.stdout, re.MULTILINE)

    again = intack("replay", line)
    assert (again.returncode, again.stderr) == (1, "")
    assert "STILL VIOLATED" in again.stdout

    module.write_text(MINE % "super().purge(cpu, vcpu)")
    fixed = intack("replay", line)
    assert (fixed.returncode, fixed.stderr) == (0, "")
    assert "FIXED" in fixed.stdout

    module.write_text(MINE % "raise ValueError('worse')")
    worse = intack("replay", line)
    assert (worse.returncode, worse.stderr) == (2, "")
    assert "raised ValueError('worse')" in worse.stdout


def test_undecided(intack: Intack) -> None:
    done = intack("run", "-n", "0", "--clause", UNSEEN, "--clause", HALT)
    assert (done.returncode, done.stderr) == (2, "")
    assert "UNDECIDED (exit status 2)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--workers", "2"], "No such option"),
        (["run", "-n", "two"], "'two' is neither a number of processes, from 0 on, nor auto"),
        (["walk"], "No such command 'walk'"),
        (["list", "verdicts"], "'verdicts' is not one of 'clauses'"),
        (["run", "--clause", "KVM-19"], "no clause matches 'KVM-19'. Did you mean"),
        (["run", "-a", "mine:Mine"], "importing mine failed: ModuleNotFoundError"),
        (["run", "--report", "no/r.json"], "cannot write the report to no/r.json"),
        (["replay", "intack2.AAAA.00000000"], "this replay string is damaged"),
    ],
)
def test_bad_usage(intack: Intack, arguments: list[str], message: str) -> None:
    """Status 3, for 2 says undecided; one message; nothing runs."""
    done = intack(*arguments)
    assert done.returncode == 3
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_listings(intack: Intack) -> None:
    assert [line.split()[0] for line in intack("list", "scenarios").stdout.splitlines()] == [
        s.name for s in tiny_suite.SUITE.scenarios
    ]
    assert HELD in intack("list", "clauses").stdout
    adapters = intack("list", "adapters").stdout
    assert all(name in adapters for name in descriptions())


def test_version_and_help(intack: Intack) -> None:
    assert intack("--version").stdout.strip() == f"intack, version {__version__}"
    told = " ".join(intack("run", "--help").stdout.split())
    assert "3 bad usage" in told


def test_every_registered_adapter_loads() -> None:
    """And says in one line what it is."""
    for name, line in descriptions().items():
        assert line, name
        assert "does not load" not in line, line


def test_ids_of_clauses_can_be_typed() -> None:
    """Globs are matched in upper case, and ids are the names of tests."""
    assert all(re.fullmatch(r"[A-Z0-9-]+", c.id) for c in SUITE.clauses)
