"""What helps to read a report: the words that go along with it, the text of lines, links to steps, arrows that stand back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_reports import verdict
from tiny_traces import SLEEPER, SLEEPER_REASON, counterexample

from conformance.adapters.registry import Implementation
from conformance.machine import facts
from conformance.report import document, source
from conformance.report.glossary import PAGE, used, words
from conformance.report.html import linked
from conformance.report.svg import diagram
from conformance.search.words import Words
from conformance.verdict.clause import Status

ROOT = Path(__file__).parent.parent


def test_the_page_is_what_reports_take_words_from() -> None:
    assert (ROOT / "docs" / "glossary.md").read_text() == PAGE.read_text(), f"cp {PAGE} docs/glossary.md"


def test_a_word_is_one_to_three_sentences() -> None:
    assert len(words()) > 45
    for word in words():
        assert word.says[-1] in ".)" and len(word.says) < 420, word.name
        assert "](" not in word.says


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("or ON 1, was 0", ["ON"]),
        ("once it goes on", []),
        ("list registers of a vCPU", ["List register", "vCPU and pCPU"]),
        ("VIOLATED (DELAYED)", ["DELAYED"]),
        ("if it held on", []),
        ("cpu0 IF 1->0, cpu0.vpendbaser := 0", ["Vpendbaser", "IF and PSTATE.I"]),
    ],
)
def test_words_are_found_where_they_stand_alone(text: str, found: list[str]) -> None:
    assert [word.name for word in used([text])] == found


def test_what_a_line_says_is_shown_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('one();\n  two("<b>\x1b[31m");\n')
    (tmp_path / "a.toml").write_text('sources = ["a.c"]\nroutines = {}\nobjects = {}\n')
    files = source._files(Implementation("a", f"native:{tmp_path}/a.toml", {}))
    assert source._line("a.c:2", files) == 'two("<b>\\x1b[31m");'
    assert source._line("a.c:9", files) == source._line("b.c:1", files) == source._line("nonsense", files) == ""


def test_steps_of_a_reason_lead_to_the_steps() -> None:
    shown = linked("Let P be step 4, between steps 3 and 11 of <b>: step 4.", "E2E-1@2")
    assert shown.count('href="#E2E-1@2/4"') == 2
    assert 'between steps <a href="#E2E-1@2/3">3</a> and <a href="#E2E-1@2/11">11</a> of &lt;b&gt;' in shown


def test_a_destination_that_was_never_set_is_no_cpu() -> None:
    assert Words().fact(facts.Sends(0xF1, 1)) == "sends 0xf1 to cpu1"
    assert Words().fact(facts.Sends(0xF1, 0xFFFFFFFF)) == "sends 0xf1 to 0xffffffff, which is no CPU"


def test_arrows_between_steps_that_the_reason_does_not_name_stand_back() -> None:
    found = document.row(
        verdict(Status.VIOLATED, counterexample=counterexample(SLEEPER, SLEEPER_REASON))
    ).counterexample
    assert found and found.named
    drawn = re.findall(r'class="arrow \w+( aside)?" data-from="(\d+)" data-to="(\d+)"', diagram(found, "x"))
    assert drawn
    named = {*found.named}
    assert [bool(aside) for aside, *_ in drawn] == [not {int(a), int(b)} <= named for _, a, b in drawn]
