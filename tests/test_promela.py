"""Spin against our search: the same states, transitions and broken clauses, in what `intack export --promela` writes.

Needs Spin (Debian: apt-get install spin) and a C compiler; without them all but the bad input is skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_machine import reach

from conformance.adapters.registry import resolve
from conformance.commands.export import as_promela
from conformance.commands.main import BAD_USAGE
from conformance.machine.build import in_machine
from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.search.promela import UNKNOWN, TooLarge, promela
from conformance.search.proof import prove
from properties.suite import SUITE
from properties.x86.scenarios import GOLDEN, SCENARIOS
from reference.known_bad import KNOWN_BAD

COMPILER = next((c for c in ("gcc", "cc", "clang") if shutil.which(c)), "")
spin = pytest.mark.skipif(
    not shutil.which("spin") or not COMPILER, reason="needs spin and a C compiler: apt-get install spin gcc"
)

REFERENCE = [
    "one-sender", "one-device", "preempt-running", "halt-closed", "halt-polling", "on-the-target", "self-ipi",
    "save-restore", "reset", "inhibit-toggles", "unassign-running", "spin", "tso-running", "tso-block",
]  # fmt: skip
MUTANTS = [
    "B01", "B02", "B03", "B06", "B11", "B17", "B18", "B19", "B22a", "B22b", "B24", "B25", "M2", "M7", "M13", "M15", "F1", "F3",
]  # fmt: skip
CASES = [("reference", name) for name in REFERENCE] + [(f"known-bad:{m}", KNOWN_BAD[m].scenario) for m in MUTANTS]


class Search(NamedTuple):
    """What both have to agree on. `broken` leaves LIVELOCK out, which is not exported."""

    states: int
    transitions: int
    broken: frozenset[str]


def by_spin(text: str, folder: Path) -> Search:
    """Generated, compiled and run. `transitions` counts the initial state, as Spin does."""
    (folder / "model.pml").write_text(text)
    compile_it = [COMPILER, "-O0", "-w", "-DSAFETY", "-DNOREDUCE", "-DPRINTF", "-o", "pan", "pan.c"]
    for command in (["spin", "-a", "model.pml"], compile_it, ["./pan", "-c0", "-m100000", "-w18"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    assert "max search depth too small" not in done.stdout
    assert "pan:1: invalid end state" not in done.stdout
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (states, stored|transitions)", done.stdout)}
    broken = frozenset(re.findall(r"^ *BREAKS (\S+)", done.stdout, re.MULTILINE))
    errors = re.search(r"errors: (\d+)", done.stdout)
    assert errors and bool(int(errors[1])) == bool(broken)
    return Search(counts["states, stored"], counts["transitions"], broken)


def by_us(machine: Machine) -> Search:
    """With the initial state and the states at rest that break a clause among the transitions, as exported."""
    reduced, plain = prove(machine), prove(machine, reduce=False)
    assert reduced.states == plain.states
    rests = sum(
        machine.quiescent(state) and any(isinstance(f, Breach) for f in machine.at_rest(state))
        for state in reach(machine)
    )
    return Search(reduced.states, plain.transitions + 1 + rests, frozenset({*reduced.breached, *reduced.at_rest}))


def in_scenario(spec: str, name: str) -> Search:
    scenario = next(s for s in SCENARIOS if s.name == name)
    return in_machine(resolve(spec), scenario, SUITE, by_us)


@spin
@pytest.mark.parametrize(("spec", "scenario"), CASES)
def test_spin_finds_the_same(spec: str, scenario: str, tmp_path: Path) -> None:
    found = by_spin(as_promela(spec, scenario), tmp_path)
    assert found == in_scenario(spec, scenario)
    if spec == "reference":
        assert (found.states, found.broken) == (GOLDEN[scenario], frozenset())
    else:
        bad = KNOWN_BAD[spec.removeprefix("known-bad:")]
        assert {*bad.breaks, *bad.deviates} & found.broken or "LIVELOCK" in bad.breaks


@spin
def test_spin_notices_a_step_that_is_missing(tmp_path: Path) -> None:
    """As if our search had missed the states from which it is taken."""
    lines = as_promela("reference", "one-sender").split("\n")
    at = next(n for n, line in enumerate(lines) if "or vcpu0.PIR[200] 1, was 0" in line)
    assert by_spin("\n".join(lines[:at] + lines[at + 1 :]), tmp_path).broken == {UNKNOWN}


@spin
def test_spin_stops_at_a_breach_and_shows_the_way_there(tmp_path: Path) -> None:
    (tmp_path / "model.pml").write_text(as_promela("known-bad:B17", "one-sender"))
    run = {"cwd": tmp_path, "shell": True, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(f"spin -a model.pml && {COMPILER} -DSAFETY -o pan pan.c && ./pan", **run)
    assert "errors: 1" in done.stdout
    shown = subprocess.run("spin -t -p model.pml", **run).stdout
    assert re.search(r"BREAKS (KVM-ENT-1|E2E-11?)\b", shown)


def test_the_same_text_every_time() -> None:
    assert as_promela("known-bad:B22a", "one-device") == as_promela("known-bad:B22a", "one-device")


def test_only_bits_that_the_scenario_uses() -> None:
    """A variable for each cell that has more than one value, of as many bits as its values need."""
    scenario = next(s for s in SCENARIOS if s.name == "one-device")

    def check(machine: Machine) -> None:
        text = promela(machine, "")
        used = {c: len(c.values) for c in machine.layout.cells.values() if len(c.values) > 1}
        widths = [int(n) for n in re.findall(r"^unsigned \w+ : (\d+) =", text, re.MULTILINE)]
        assert widths == [(n - 1).bit_length() for n in used.values()]

    in_machine(resolve("reference"), scenario, SUITE, check)


def test_too_large() -> None:
    scenario = next(s for s in SCENARIOS if s.name == "one-device")
    with pytest.raises(TooLarge, match="more than 100 states"):
        in_machine(resolve("reference"), scenario, SUITE, lambda m: promela(m, "", most=100))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--promela", "--scenario", "one-sendr"], "no scenario is called 'one-sendr'. Did you mean one-sender"),
        (["--promela", "--scenario", "crowd"], "scenario crowd is sampled"),
        (["--promela", "--scenario", "core", "-a", "referenc"], "Did you mean reference?"),
        (["--scenario", "core"], "Missing option '--promela'"),
        (["--promela", "--scenario", "reset", "-o", "nowhere/x.pml"], "No such file or directory"),
    ],
)
def test_bad_usage(arguments: list[str], complaint: str) -> None:
    command = [sys.executable, "-m", "conformance", "export", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (BAD_USAGE, "")
    assert complaint in done.stderr


CRASHES = """
from reference.x86.kvm import Kvm

class Crashes(Kvm):
    def purge(self, cpu, vcpu):
        raise ValueError("purged")
"""


def test_an_implementation_that_cannot_be_explored(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CRASHES)
    command = [sys.executable, "-m", "conformance", "export", "--promela", "-a", "mine:Crashes", "--scenario", "reset"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (BAD_USAGE, "")
    assert "has no closed automaton, for its exploration ends with CRASH" in done.stderr
