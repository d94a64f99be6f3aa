"""Every known-bad implementation is found, for the clauses it is about, with its least counterexample pinned, and its
mistake is among the steps that the reason names; and what must pass passes.

INTACK_GOLDEN=write pytest tests/test_known_bad.py      rewrites tests/golden/known_bad.json and docs/known-bad.md
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from mistakes import mistakes
from turns import every_other

from conformance.adapters.registry import Implementation, resolve
from conformance.automaton.assembly import assemble
from conformance.machine.build import in_machine
from conformance.report.reason import why
from conformance.roles.scenario import Scenario
from conformance.search.replay import decode, follow
from conformance.verdict.clause import Counterexample
from conformance.verdict.explore import Explored, explore
from conformance.verdict.suite import load_suite
from properties.arm.scenarios import GOLDEN as ARM
from properties.nested.scenarios import GOLDEN as NESTED
from properties.x86.scenarios import GOLDEN as X86
from reference.known_bad import KNOWN_BAD, MUST_PASS, NOT_MODELLED, KnownBad

SUITE = load_suite()
CLAUSES = {c.id: c for c in SUITE.clauses}
SCENARIOS = {s.name: s for s in SUITE.scenarios}
PINS = Path(__file__).parent / "golden" / "known_bad.json"
PAGE = Path(__file__).parent.parent / "docs" / "known-bad.md"
LARGE = {name for name, states in {**ARM, **NESTED, **X86}.items() if states > 50_000}
"""Scenarios that variants which must pass are spared, for time: unless the difference shows there."""
NOT_NAMED = {
    "B02": "what is left out is a look at PIR, in a call that PIR's story passes by",
    "B06": "it is in the loop that the schedule leads to, and no schedule shows",
    "B14": "the step that puts the vCPU on the list is named, and not that it was due one earlier",
    "B27": "the last two steps of the harvest are named, not the first",
    "B29": "the plain store is named where it is missed, by what it left in the buffer, not the barrier that is left out",
    "N05": "the copy that leaves PIR12 as it is comes one exit before the processor finds it again",
    "A04": "the end that is ignored comes two exits before the rest",
    "A14": "the stale copy that is read is named, and who left it; not where it should have been renewed",
    "A31": "the descheduling of the vPE is named in what hardware makes of it",
    "A33": "the step that breaks the clause is the third of those that should not be; the first, which is no more than the "
    "CPU's number, is not named",
    "V16": "the list is written as it was, unsorted; what is named is what was taken from it",
    "V17": "the end that is not counted comes two exits before the rest",
    "V22": "the list register that is written over unread is named, not the exit between",
}
"""Bugs whose mistake is not among the steps that the reason names, and what is instead."""
STORIES_IN_TURN, ROWS_IN_TURN = 3, 48
"""An equivalent variant is run in every third story and every 48th of the other scenarios; another one in others."""
WRITING = os.environ.get("INTACK_GOLDEN") == "write"


@cache
def explored(spec: str, scenario: Scenario) -> Explored:
    return explore(resolve(spec), scenario, SUITE)


def guarantees(found: Explored) -> set[str]:
    """The guarantees an exploration found broken."""
    return {c for c in found.counterexamples if CLAUSES[c].kind == "guarantee"}


def pinned() -> dict[str, list[str | int]]:
    return json.loads(PINS.read_text()) if PINS.exists() else {}


def takes_part(implementation: Implementation, scenario: Scenario) -> bool:
    filled = set(implementation.filled(scenario.architecture))
    return bool(filled) and (filled != {"its"} or any(d.routine == "vlpi" for d in scenario.devices))


def pin(bad: KnownBad) -> list[str | int]:
    """[scenario, clause, switches, steps] of the least counterexample to the clause the bug is about."""
    about = about_of(bad)
    if not bad.scenario or CLAUSES[about].check == "sequential":
        return ["", about, 0, 1]
    found = explored(f"known-bad:{bad.id}", SCENARIOS[bad.scenario]).counterexamples[about]
    return [bad.scenario, about, found.switches, found.steps]


def about_of(bad: KnownBad) -> str:
    """The first guarantee it is expected to break that its scenario can show."""
    shown = [c for c in bad.breaks if CLAUSES[c].check != "sequential"]
    return shown[0] if bad.scenario and shown else (*bad.breaks, *bad.deviates)[0]


SLOW = [bug for bug in KNOWN_BAD if bug[0] == "H" and int(bug[1:3]) % 2]
"""Of the hardware's mistakes every other; `pytest -m ''` takes all."""


@pytest.mark.parametrize(
    "bad", [pytest.param(b, id=b.id, marks=[pytest.mark.slow] * (b.id in SLOW)) for b in KNOWN_BAD.values()]
)
def test_a_known_bad_implementation_is_found(bad: KnownBad) -> None:
    implementation = resolve(f"known-bad:{bad.id}")
    for clause in (*bad.breaks, *bad.deviates):
        if CLAUSES[clause].check == "sequential":
            assert SUITE.sequential(clause, implementation).counterexample, f"{clause} holds of {bad.id}"
        else:
            found = explored(f"known-bad:{bad.id}", SCENARIOS[bad.scenario])
            assert not found.fault, found.fault
            assert clause in found.counterexamples, f"{clause} holds of {bad.id} in {bad.scenario}: {guarantees(found)}"
    if not WRITING:
        assert pin(bad) == pinned()[bad.id]
        if shown := counterexample(bad):
            assert is_named(bad, shown) == (bad.id not in NOT_NAMED)


def counterexample(bad: KnownBad) -> Counterexample | None:
    """The one that is pinned, if it is of a scenario."""
    scenario, clause, _, _ = pin(bad)
    return explored(f"known-bad:{bad.id}", SCENARIOS[scenario]).counterexamples[str(clause)] if scenario else None  # type: ignore[index]


def is_named(bad: KnownBad, found: Counterexample) -> bool:
    """Whether one of the steps at which it differs from its base is among those that the reason names."""
    steps = decode(found.replay).steps
    differs = in_machine(
        resolve(f"known-bad:{bad.id}"),
        SCENARIOS[found.scenario],
        SUITE,
        lambda machine: mistakes(machine, follow(machine, steps), assemble(resolve(bad.base), machine.scenario)),
    )
    return any(mistake.named(why(found).steps) for mistake in differs)


def test_of_ten_mistakes_nine_are_in_the_reason() -> None:
    shown = [bad.id for bad in KNOWN_BAD.values() if pinned()[bad.id][0]]
    assert set(NOT_NAMED) <= set(shown)
    assert len(NOT_NAMED) <= len(shown) / 10


@pytest.mark.parametrize("bad", every_other((b for b in KNOWN_BAD.values() if b.scenario), lambda b: b.id))
def test_the_unchanged_code_passes_the_same_scenario(bad: KnownBad) -> None:
    """What the change alone breaks holds of its base there."""
    found = explored(bad.base, SCENARIOS[bad.scenario])
    assert not found.fault
    assert not guarantees(found) & set(bad.breaks)


@pytest.mark.parametrize("bad", [b for b in KNOWN_BAD.values() if b.memory == "tso"], ids=lambda b: b.id)
def test_a_missing_fence_passes_under_sequential_consistency(bad: KnownBad) -> None:
    strong = msgspec.structs.replace(SCENARIOS[bad.scenario], buffer=0)
    end_to_end = {c for c in guarantees(explored(f"known-bad:{bad.id}", strong)) if "E2E" in c}
    assert not end_to_end


@pytest.mark.parametrize("right", every_other(MUST_PASS))
def test_an_equivalent_variant_passes(right: str) -> None:
    """Against checkers that are too strict: no guarantee is violated where it is made for, nor in what is its turn."""
    implementation = resolve(f"known-bad:{right}")
    spared = LARGE - {MUST_PASS[right].scenario}
    for scenario in SUITE.scenarios:
        turn = crc32(f"{right} {scenario.name}".encode()) % (STORIES_IN_TURN if scenario.story else ROWS_IN_TURN)
        if (
            (turn == 0 or scenario.name == MUST_PASS[right].scenario)
            and not scenario.samples
            and scenario.name not in spared
            and takes_part(implementation, scenario)
        ):
            found = explored(f"known-bad:{right}", scenario)
            assert not found.fault, found.fault
            assert not guarantees(found), f"{scenario.name}: {found.counterexamples}"


def test_every_number_is_told_apart() -> None:
    assert not set(KNOWN_BAD) & set(MUST_PASS)
    assert not set(NOT_MODELLED) & {*KNOWN_BAD, *MUST_PASS}
    assert all(NOT_MODELLED.values())


def test_the_table_is_current() -> None:
    if WRITING:
        PINS.write_text(json.dumps({b.id: pin(b) for b in KNOWN_BAD.values()}, indent=1) + "\n")
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def page() -> str:
    """docs/known-bad.md: bug by clause, from the register and the pinned counterexamples."""
    pins = pinned()
    lines = [
        "# Known-bad implementations",
        "",
        "Each is one small change to the implementation it belongs to. The suite must find every one of them; a survivor is a defect",
        "of the suite. `intack run -a known-bad:B17` shows one. Generated by tests/test_known_bad.py, which pins the least",
        "counterexample (switches, steps) to the first clause named.",
        "",
        "| bug | what is wrong | change to | VIOLATED | DEVIATES | scenario | switches | steps |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for bad in KNOWN_BAD.values():
        scenario, about, switches, steps = pins[bad.id]
        broken = ", ".join([*(c for c in bad.breaks if c == about), *(c for c in bad.breaks if c != about)])
        where = f"{scenario}{' (TSO)' * (bad.memory == 'tso')}" if scenario else "one routine alone"
        lines.append(
            f"| {bad.id} | {bad.title} ({bad.source}) | {bad.base} | {broken} | {', '.join(bad.deviates)} | {where} "
            f"| {switches if scenario else ''} | {steps if scenario else ''} |"
        )
    lines += ["", "## What must pass", "", "| variant | what is different |", "| --- | --- |"]
    lines += [f"| {right.id} | {right.title} ({right.source}) |" for right in MUST_PASS.values()]
    lines += ["", "## Not modelled", "", "| bug | why |", "| --- | --- |"]
    lines += [f"| {number} | {reason} |" for number, reason in NOT_MODELLED.items()]
    return "\n".join(lines) + "\n"
