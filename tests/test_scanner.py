"""Plugged PIR scanners: the known-bad ones are found, each with its smallest case pinned; what breaks the form of the
call, or the process, is told; and the command.

INTACK_GOLDEN=write pytest tests/test_scanner.py      rewrites tests/golden/scanners.json and the table of docs/scanner.md
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conformance.adapters.scanner as plugged
from conformance.adapters import compiled, scanner_process
from conformance.adapters.registry import AdapterError
from conformance.adapters.scanner import PROTOTYPE, Descriptors, Scanned, call
from conformance.adapters.scanner_process import ScannerProcess
from conformance.adapters.source import Fault
from conformance.report import document
from conformance.verdict.scanner import load_scanner_suite
from properties.scanner import SUITE, check
from reference.known_bad.scanner import scanners
from reference.known_bad.scanner.scanners import KNOWN_BAD, MUST_PASS, Plain

ROOT = Path(__file__).parent.parent
PINS, PAGE = Path(__file__).parent / "golden" / "scanners.json", ROOT / "docs" / "scanner.md"
WRITING = os.environ.get("INTACK_GOLDEN") == "write"
TABLE = re.compile(r"(?<=<!-- known-bad scanners -->\n).*?(?=<!-- end -->)", re.DOTALL)
RULES = [c for c in SUITE.clauses if c not in ("PIP-6", "PIP-12")]

needs_compiler = pytest.mark.skipif(bool(compiled.unavailable()), reason=compiled.unavailable() or "-")


def found_in(scanner: type[Plain], clauses: Sequence[str]) -> dict[str, str]:
    """Those of the clauses that it breaks, each with the smallest case; here in this process."""
    scan = scanner()
    checked = {clause: check(clause, lambda given: call(scan, given)) for clause in clauses}
    assert not any(c.fault for c in checked.values())
    return {clause: c.counterexample for clause, c in checked.items() if c.counterexample}


def pins() -> dict[str, dict[str, str]]:
    return json.loads(PINS.read_text()) if PINS.exists() else {}


@pytest.mark.parametrize("scanner", KNOWN_BAD, ids=lambda s: s.__name__)
def test_a_known_bad_scanner_is_found(scanner: type[Plain]) -> None:
    found = found_in(scanner, KNOWN_BAD[scanner])
    assert set(KNOWN_BAD[scanner]) == set(found)
    if WRITING:
        PINS.write_text(json.dumps({**pins(), scanner.__name__: found}, indent=1) + "\n")
    assert found == pins()[scanner.__name__]


@pytest.mark.parametrize("scanner", MUST_PASS, ids=lambda s: s.__name__)
def test_a_right_scanner_passes(scanner: type[Plain]) -> None:
    assert not found_in(scanner, RULES)


def test_every_wrong_scanner_is_one_mistake_in_the_plain_one() -> None:
    """And all of them are in the table."""
    classes = {c for _, c in inspect.getmembers(scanners, inspect.isclass) if issubclass(c, Plain)}
    assert classes == {*KNOWN_BAD, *MUST_PASS}
    assert len(KNOWN_BAD) >= 10
    assert set(pins()) == {s.__name__ for s in KNOWN_BAD}
    for scanner in KNOWN_BAD:
        own = [n for n, m in vars(scanner).items() if inspect.isfunction(m)]
        assert scanner.__bases__ == (Plain,) and len(own) == 1, scanner


def test_the_table_is_current() -> None:
    if WRITING:
        PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text()))
    assert TABLE.findall(PAGE.read_text()) == [table()]


def table() -> str:
    lines = ["\n| scanner | its mistake | found by | smallest case, to the first clause |", "| --- | --- | --- | --- |"]
    for scanner, breaks in KNOWN_BAD.items():
        mistake = " ".join((scanner.__doc__ or "").split())
        smallest = pins().get(scanner.__name__, {}).get(breaks[0], "")
        lines.append(f"| `{scanner.__name__}` | {mistake} | {', '.join(breaks)} | {smallest} |")
    return "\n".join(lines) + "\n\n"


@pytest.mark.parametrize(
    ("scanner", "witness"),
    [
        (scanners.WithoutOn, "ON=0, PIR={0x20}, vIRR={}: it is harvested though its ON is clear"),
        (scanners.Plain, "ON=1, PIR={}, vIRR={}: ON is cleared, and nothing else changes"),
        (scanners.LeavesOn, ""),
    ],
)
def test_what_is_allowed_is_observed(scanner: type[Plain], witness: str) -> None:
    scan = scanner()
    found = check("PIP-12", lambda given: call(scan, given)).counterexample
    assert found.startswith(witness) and bool(found) == bool(witness)


def test_the_same_smallest_case_every_time() -> None:
    first, second = (found_in(scanners.Adds, KNOWN_BAD[scanners.Adds]) for _ in range(2))
    assert first == second


def test_what_breaks_a_clause_only_once_is_not_a_violation() -> None:
    """The same answer twice in a row does not make a function of it."""
    calls = 0

    def moody(pir: Any, virr: Any, on: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = Plain()(pir, virr, on)
        on[:] = calls == 40
        return answer

    checked = check("PIP-4", lambda given: call(moody, given))
    assert (checked.fault_status, checked.counterexample) == ("NONDETERMINISTIC", "")


# What breaks the form of the call


def answers(value: Callable[[int], Any]) -> Callable[..., Any]:
    return lambda pir, virr, on: value(len(pir))


def raises(*_: Any) -> Any:
    raise KeyError("lost")


def leaves(*_: Any) -> Any:
    raise SystemExit(3)


ONE = np.zeros
BAD_ANSWERS: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raises, r"it raised KeyError\('lost'\)"),
    "exits": (leaves, r"it raised SystemExit\(3\)"),
    "nothing": (answers(lambda n: None), r"it returned None; due is a pair \(posted, rvi\)"),
    "three": (answers(lambda n: (1, 2, 3)), r"it returned \(1, 2, 3\); due is a pair"),
    "a number": (answers(lambda n: (0, ONE(n, int))), r"posted is an array of int64 of shape \(\) for n = 2"),
    "too short": (answers(lambda n: (ONE(n, int), ONE(n - 1, int))), r"rvi is an array of int64 of shape \(1,\)"),
    "fractions": (answers(lambda n: (ONE(n), ONE(n))), r"posted is an array of float64"),
    "ragged": (answers(lambda n: ([[1], [2, 3]], ONE(n, int))), "posted is no array"),
    "flags": (lambda pir, virr, on: (on.view(np.uint8).fill(7), (pir[:, 0], pir[:, 0]))[1], "it left 7 in `on`"),
}


def two() -> Descriptors:
    return Descriptors(np.ones((2, 4), np.uint64), np.zeros((2, 4), np.uint64), np.ones(2, np.bool_))


@pytest.mark.parametrize(("scan", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_bad_answer(scan: Callable[..., Any], message: str) -> None:
    with pytest.raises(Fault, match=message) as raised:
        call(scan, two())
    assert raised.value.status == "CRASH"


def test_what_a_scanner_may_answer_instead_of_arrays() -> None:
    """Lists, and integers of any width."""
    found = call(answers(lambda n: ([-1] * n, np.full(n, 7, np.uint8))), two())
    assert (found.posted.tolist(), found.rvi.tolist()) == ([-1, -1], [7, 7])
    none = Descriptors(np.zeros((0, 4), np.uint64), np.zeros((0, 4), np.uint64), np.zeros(0, np.bool_))
    assert call(answers(lambda n: ([], [])), none).rvi.tolist() == []


# What breaks the process, and C


@pytest.fixture
def c_scanner(tmp_path: Path) -> Iterator[Callable[[str], ScannerProcess]]:
    """A scanner in C with this body, in a process of its own."""
    started: list[ScannerProcess] = []

    def made(body: str) -> ScannerProcess:
        source = tmp_path / "scanner.c"
        declared = PROTOTYPE.removesuffix(";") % "scan"
        source.write_text(f"#include <stdint.h>\n#include <stdlib.h>\n{declared} {{ {body} }}\n")
        started.append(ScannerProcess(f"c:{source}:scan"))
        return started[-1]

    yield made
    for process in started:
        process.stop()


@needs_compiler
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("*(volatile int *)0 = 1;", "CRASH", "its process ended: signal SIGSEGV"),
        ("abort();", "CRASH", "its process ended: signal SIGABRT"),
        ("exit(5);", "CRASH", "its process ended: exit status 5"),
        ("for (volatile int i = 1; i;) ;", "TIMEOUT", "it has not returned after"),
        (
            "for (size_t i = 0; i <= 4 * n; i++) virr[i] = 0;",
            "CRASH",
            "it writes outside its arrays: byte 1 after `virr`",
        ),
        ("posted[-1] = 0;", "CRASH", "it writes outside its arrays: byte 2 before `posted`"),
        ("static int calls; posted[0] = calls++;", "NONDETERMINISTIC", "another `posted` the second time"),
    ],
)
def test_c_that_misbehaves(
    c_scanner: Callable[[str], ScannerProcess], monkeypatch: pytest.MonkeyPatch, body: str, status: str, message: str
) -> None:
    """It ends its own process, and the next call starts another."""
    monkeypatch.setattr(scanner_process, "SECONDS", 2.0)
    scanner = c_scanner(body)
    for _ in range(2):
        with pytest.raises(Fault, match=message) as raised:
            scanner(two())
        assert raised.value.status == status


@needs_compiler
def test_c_that_writes_no_answer(c_scanner: Callable[[str], ScannerProcess]) -> None:
    """What it does not write is no vector."""
    checked = check("PIP-7", c_scanner(""))
    assert checked.counterexample == "ON=1, PIR={}, vIRR={}: due is posted = -1; found -23131"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "names no scanner. Write package.module:function"),
        ("nowhere:scan", "importing nowhere failed: ModuleNotFoundError"),
        ("reference.pir.harvest:scanner", "reference.pir.harvest has no function scanner"),
        ("reference.pir.harvest:BLOCK", "reference.pir.harvest has no function BLOCK"),
        ("reference.pir.harvest:Harvested", r"Harvested\(\) failed: TypeError"),
        ("c:nowhere.c:scan", "there is no C file nowhere.c"),
    ],
)
def test_a_spec_that_leads_nowhere(spec: str, message: str) -> None:
    if spec.startswith("c:") and compiled.unavailable():
        pytest.skip(compiled.unavailable())
    with pytest.raises(AdapterError, match=message):
        plugged.resolve(spec)


@needs_compiler
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int harvest(long *pir) { return 0; }", "conflicting types"),
        ("static int other;", "defines no function harvest"),
        ("}", "does not compile as a definition of void harvest"),
    ],
)
def test_c_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "wrong.c"
    source.write_text(text)
    with pytest.raises(AdapterError, match=message):
        plugged.resolve(f"c:{source}:harvest")


def test_without_cffi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cffi", None)
    with pytest.raises(AdapterError, match=r"pip install 'intack\[compiled\]'"):
        plugged.resolve("c:reference/pir/harvest.c:harvest")


# The command


def intack(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", "scan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_a_right_scanner_by_the_command(tmp_path: Path) -> None:
    """Exit status 0, and a report like any other."""
    done = intack("-a", "reference.pir.harvest:harvest_many", "--report", "r.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PASS (exit status 0): nothing violated: 4 HELD, 1 OBSERVED, 1 NOT CHECKED." in done.stdout
    report = document.read(tmp_path / "r.json")
    assert [row.id for row in report.clauses] == list(load_scanner_suite().clauses)
    assert (report.run.exit_status, report.run.assumptions) == (0, SUITE.assumptions)


def test_a_wrong_scanner_by_the_command(tmp_path: Path) -> None:
    done = intack("-a", scanners.spec(scanners.SignedWord), "--clause", "PIP-[57]", "--report", "r.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    told = " ".join(done.stdout.split())
    assert "ON=1, PIR={0xff}, vIRR={}: vector 0xff (word 3, bit 63) was in PIR" in told
    assert f"Replay intack scan -a {scanners.spec(scanners.SignedWord)} --clause PIP-5" in told
    rows = document.read(tmp_path / "r.json").clauses
    assert [(row.id, row.status.value) for row in rows] == [("PIP-5", "VIOLATED"), ("PIP-7", "VIOLATED")]


def test_what_is_allowed_fails_nothing_by_the_command(tmp_path: Path) -> None:
    """NEVER OBSERVED beside a violation, and without one."""
    spec = scanners.spec(scanners.LeavesOn)
    done = intack("-a", spec, "--clause", "PIP-4", "--clause", "PIP-12", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    rows = document.read(tmp_path / "r.json").clauses
    assert [(row.id, row.status.value) for row in rows] == [("PIP-4", "VIOLATED"), ("PIP-12", "NEVER OBSERVED")]
    assert intack("-a", spec, "--clause", "PIP-12", cwd=tmp_path).returncode == 0


def test_a_scanner_that_raises_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def scan(pir, virr, on):\n    print('here')\n    raise ValueError('mine')\n")
    done = intack("-a", "mine:scan", "--clause", "pip-5", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r"! PIP-5 +MUST .* CRASH\n +scanning 1 descriptor: it raised ValueError\('mine'\)", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert "here" in done.stderr and "here" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '-a'"),
        (["-a", "nowhere:scan"], "nowhere:scan cannot be plugged in: nowhere:scan: importing nowhere failed"),
        (["-a", "reference.pir.harvest:harvest_many", "--clause", "VID-1"], "no clause matches 'VID-1'"),
        (["-a", "reference.pir.harvest:harvest_many", "--report", "no/r.json"], "cannot write the report to no/r.json"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = intack(*arguments, cwd=tmp_path)
    assert done.returncode == 3
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and not done.stdout


def test_scanned_tells_what_the_scanner_left() -> None:
    found = call(Plain(), two())
    assert isinstance(found, Scanned)
    assert not found.pir.any() and (found.virr == 1).all() and found.posted.tolist() == [192, 192]
