"""A sample of the reference's mutants, judged as `nox -s mutants` judges all of them; and the page that tells of those.

INTACK_GOLDEN=write pytest tests/test_mutants.py      rewrites tests/golden/mutants.json
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from conformance.adapters.registry import resolve
from conformance.mutation.in_function import functions
from conformance.mutation.in_scenario import smallest_first
from conformance.mutation.kill import Candidate, Judged, Place
from conformance.mutation.score import arguments, key
from conformance.verdict.suite import load_suite
from reference import mutants

SUITE = load_suite()
SAMPLED = ("VID-4", "save-restore", "one-device", "sleeper-beside", "tso-running")
SAMPLED_ARM = ("vgic-active-registers", "vgic-wfi-in-the-guest")
GOLDEN = Path(__file__).parent / "golden" / "mutants.json"
PAGE = mutants.PAGE.read_text()


def place_of(name: str) -> Place:
    clauses = [c for c in SUITE.clauses if c.id == name]
    scenarios = [s for s in SUITE.scenarios if s.name == name]
    reference = resolve("reference")
    return [*functions(reference, SUITE, clauses), *smallest_first(reference, SUITE, scenarios)][0]


def sample(place: Place) -> list[Candidate]:
    """One mutant of each operator and variant, spread over the code."""

    def spread(candidate: Candidate) -> int:
        return crc32(key(candidate.mutant).encode())

    kinds = {(c.mutant.operator, c.mutant.variant): c for c in sorted(place.candidates(), key=spread)}
    return list(kinds.values())


@pytest.mark.parametrize("name", SAMPLED + SAMPLED_ARM)
def test_what_a_sample_was_killed_by(name: str) -> None:
    """By a guarantee then, by a guarantee now, be it another one."""
    place = place_of(name)
    found: dict[str, str] = {}
    for candidate in sample(place):
        judged = Judged(candidate.mutant)
        place.judge(judged)
        if judged.fate == "killed":
            found[key(candidate.mutant)] = judged.detail
    pinned = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("INTACK_GOLDEN") == "write":
        pinned[name] = found
        GOLDEN.write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")
    assert pinned[name].keys() <= found.keys()


# The page


def rows(text: str) -> list[list[str]]:
    """Of its tables, without their heads."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return [cells for cells in lines if cells[0] not in ("implementation", "role", "operator", "---")]


def report(*fates: tuple[str, str]) -> mutants.Report:
    found = tuple(mutants.Row(mutant, "sender", fate, "why" * (fate == "argued"), "", ()) for mutant, fate in fates)
    return mutants.Report("reference", ("x86",), ("one-sender",), 3000, found)


def test_the_page_counts_mutants_and_lists_survivors() -> None:
    text = mutants.page(
        [
            report(
                ("Kvm.f: fence: left out", "killed"),
                ("Kvm.g: load vcpu.cpu: told zero", "shows"),
                ("Kvm.g: load vcpu.cpu: told largest", "shows"),
                ("Kvm.g: wake: twice", "argued"),
                ("Kvm.g: wake: exchanged", "same"),
            )
        ]
    )
    assert rows(text)[0] == [
        "reference, x86, up to 3,000 states",
        "5",
        "1",
        "",
        "",
        "",
        "2",
        "",
        "1",
        "1",
        "33.3 %",
        "33.3 %",
    ]
    assert ["told", "2", "", "", "", "", "2", "", "", "", "0.0 %", "0.0 %"] in rows(text)
    assert "- `Kvm.g: load vcpu.cpu`: told largest, told zero\n" in text
    assert "- `Kvm.g: wake`: twice. why\n" in text


def test_the_page_is_in_form() -> None:
    """Every row adds up; whatever is argued is on it with its reason. `nox -s mutants` says whether it is current."""
    assert PAGE.startswith(mutants.INTRODUCTION)
    assert len(rows(PAGE)) >= 20
    for _, total, *fates, _, _ in rows(PAGE):
        assert int(total) == sum(int(n or 0) for n in fates)
    for architecture in ("x86", "arm"):
        for argument in arguments(mutants.ARGUED / architecture / "equivalent.toml"):
            site, _, operator = argument.mutant.removesuffix("*").rpartition(": ")
            assert f"`{site}" in PAGE and operator in PAGE and argument.because in PAGE


def test_reports_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x86.json"
    path.write_bytes(msgspec.json.encode(report(("Kvm.f: fence: left out", "killed"))))
    assert mutants.main(False, [str(path)]) == 0
