"""Every form of a report: whole, readable by what it is for, and safe whatever an implementation calls itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from click.testing import CliRunner
from tiny_reports import hostile, many, some_verdicts, verdict
from tiny_traces import SLEEPER, SLEEPER_REASON, counterexample

from conformance.commands.main import cli
from conformance.report import document, formats
from conformance.report.grouped import groups
from conformance.report.html import html
from conformance.report.junit import junit
from conformance.report.mail import mail
from conformance.report.markdown import fenced, markdown
from conformance.report.model import SCHEMA, Report
from conformance.verdict.clause import Status
from conformance.verdict.output import ENDINGS

SOME = document.report(some_verdicts(), assumptions=["Entry drains the store buffer."])


class Page(HTMLParser):
    """Elements that are open, ids, and what would be loaded."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self.ids += [str(known["id"])] if known.get("id") else []
        self.loads += [str(known[name]) for name in ("src", "srcset", "data", "xlink:href") if known.get(name)]
        self.links += [str(known["href"])] if "href" in known else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "report", [SOME, hostile(), many(3), document.report([])], ids=["some", "hostile", "many", "no"]
)
def test_a_page_stands_alone(report: Report) -> None:
    text = html(report)
    page = Page(text)
    assert not page.open and not page.loads
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_nothing_that_was_named_is_obeyed_anywhere() -> None:
    for ending, form in formats.FORMS.items():
        text = form(hostile())
        assert "\x1b" not in text and "\u202e" not in text, ending
        assert not any(line.startswith("PASS") for line in text.splitlines()), ending
    assert "<script>alert" not in html(hostile())
    prose = re.sub(r"^(`{3,})$.*?^\1$", "", markdown(hostile()), flags=re.MULTILINE | re.DOTALL)
    assert "<b>" not in prose and "<script>" not in prose
    assert ElementTree.fromstring(junit(hostile())).find(".//failure") is not None


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert fenced("a ```` b").startswith("`````\n")
    assert [line for line in markdown(hostile()).splitlines() if re.fullmatch("`{4,}", line)]


def test_sixty_violations_of_three_implementations_are_small() -> None:
    text = html(many(60))
    assert text.count('<details class="schedule violated"') == 60
    assert len(text.encode()) < 5_000_000
    assert all(f'<th scope="col">{name}</th>' in text for name in ("mine", "other", "reference"))


def test_a_test_case_is_a_clause() -> None:
    suite = ElementTree.fromstring(junit(SOME))[0]
    assert [case.get("name") for case in suite.iter("testcase")] == [row.id for row in SOME.clauses]
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("2", "1", "2")
    failed = suite.find("testcase[@name='E2E-1']/failure")
    assert failed is not None and failed.text and "Replay  intack replay intack2.abc.123" in failed.text


def test_a_run_that_ended_early_has_errors() -> None:
    suite = ElementTree.fromstring(junit(document.report(some_verdicts()[:1], missing=["E2E-8"])))[0]
    assert suite.get("errors") == "1" and suite.find("testcase[@name='E2E-8']/error") is not None


@pytest.mark.parametrize("report", [SOME, hostile(), many(2)], ids=["some", "hostile", "many"])
def test_mail_fits_into_a_mail(report: Report) -> None:
    text = mail(report)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 72


def test_mail_has_a_column_for_each_cpu() -> None:
    lines = mail(SOME).splitlines()
    (head,) = [line for line in lines if line.startswith("    CPU0")]
    at = head.index("device")
    assert lines[lines.index(head) + 1].startswith("    ----")
    assert any(line.startswith("    put:") for line in lines)
    assert any(line[at:] == "post:" and not line[:at].strip() for line in lines)


def test_a_long_replay_line_in_a_mail_is_one_command() -> None:
    found = counterexample(SLEEPER, SLEEPER_REASON, replay=f"intack2.{'x' * 300}.0123")
    text = mail(document.report([verdict(Status.VIOLATED, counterexample=found)]))
    assert f"intack replay {found.replay}" in text.replace("\\\n", "")


def test_one_schedule_is_told_once() -> None:
    """Of clauses that break together the one that says most comes first; the smallest discipline is the hint."""
    both = counterexample(SLEEPER, SLEEPER_REASON, breaks=("KVM-ENT-6", "E2E-1", "KVM-SND-1"))
    alone = msgspec.structs.replace(both, scenario="other", breaks=("KVM-ENT-6",), switches=0)
    small = msgspec.structs.replace(both, steps=1, switches=0, reason="ON before PIR", breaks=("KVM-SND-1",))
    report = document.report(
        [
            verdict(Status.DEVIATES, "KVM-SND-1", kind="discipline", authority="linux", counterexample=small),
            verdict(Status.VIOLATED, "KVM-ENT-6", authority="linux", counterexample=alone),
            verdict(Status.VIOLATED, "E2E-1", authority="end-to-end", counterexample=both),
        ]
    )
    (group,) = groups(report.clauses)
    assert group.clauses == ("E2E-1", "KVM-ENT-6")
    assert group.schedule == report.clauses[2].counterexample
    assert group.hint == report.clauses[0]
    assert [group.hint for group in groups(report.clauses, Status.DEVIATES)] == [None], "it is no hint to itself"
    text = formats.FORMS[".txt"](report)
    assert (
        text.count("X at rest, breaks") == 2
        and "Hint    KVM-SND-1, a discipline, is not followed either: ON before PIR" in text
    )


def test_a_hint_may_be_what_the_profile_does_not_judge() -> None:
    """Of another design's discipline nobody is guilty, but where it is not followed may be where to look."""
    lost = counterexample(SLEEPER, SLEEPER_REASON, breaks=("KVM-SND-1", "E2E-1"))
    other = verdict(
        Status.NOT_APPLICABLE, "KVM-SND-1", kind="discipline", authority="linux", statement="PIR goes first."
    )
    report = document.report([other, verdict(Status.VIOLATED, "E2E-1", counterexample=lost)])
    told = 'Hint    KVM-SND-1, a discipline that profile strict does not judge, is not followed: "PIR goes first."'
    assert told in formats.FORMS[".txt"](report)
    assert "profile strict does not judge, is not followed: &#34;PIR goes first.&#34;" in html(report)


def test_a_switch_more_for_a_third_fewer_steps() -> None:
    """Of schedules that break the same clauses."""
    breaks = ("E2E-1", "E2E-2")
    long = counterexample(SLEEPER, SLEEPER_REASON, breaks=breaks)
    long = msgspec.structs.replace(long, switches=3, steps=33)
    short = msgspec.structs.replace(long, switches=4, steps=21)
    told = [
        verdict(Status.VIOLATED, name, counterexample=found) for name, found in zip(breaks, (long, short), strict=True)
    ]
    (group,) = groups(document.report(told).clauses)
    assert group.clauses == ("E2E-2", "E2E-1")


def test_every_ending_is_known() -> None:
    assert tuple(formats.FORMS) == ENDINGS


def test_a_stored_run_becomes_any_form(tmp_path: Path) -> None:
    formats.write(tmp_path / "r.json", SOME)
    asked = [word for form in ("html", "junit", "markdown", "mail") for word in (f"--{form}", str(tmp_path / form))]
    made = CliRunner().invoke(cli, ["report", str(tmp_path / "r.json"), *asked], standalone_mode=False)
    assert (made.return_value, made.output) == (0, "")
    for name, form in (("html", html), ("junit", junit), ("markdown", markdown), ("mail", mail)):
        assert (tmp_path / name).read_text() == form(SOME)
    shown = CliRunner().invoke(cli, ["report", str(tmp_path / "r.json")], standalone_mode=False)
    assert shown.return_value == 1 and "FAIL (exit status 1)" in shown.output


def test_the_page_about_reports_names_what_there_is() -> None:
    page = (Path(__file__).parent.parent / "docs" / "reports.md").read_text()
    assert all(f"| `{ending}` |" in page for ending in ENDINGS)
    assert f"`{SCHEMA}`" in page
    options = {option for command in cli.commands.values() for param in command.params for option in param.opts}
    assert set(re.findall(r"`(--[a-z-]+)", page)) <= options
