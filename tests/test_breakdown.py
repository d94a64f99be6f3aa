"""Where the code under test itself fails: one finding, with the least schedule that leads to it, in every form of the report."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import msgspec
import pytest

from conformance.adapters.registry import resolve
from conformance.adapters.source import Fault
from conformance.automaton.unfold import Unfolding
from conformance.machine import facts
from conformance.report import document, terminal
from conformance.report.html import html
from conformance.report.junit import junit
from conformance.report.mail import mail
from conformance.report.markdown import markdown
from conformance.report.model import Report
from conformance.report.several import joined
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu
from conformance.roles.x86 import Vcpu
from conformance.verdict.clause import Status, Verdict
from conformance.verdict.judge import Judge
from conformance.verdict.suite import Checked
from conformance.verdict.work import Item, Result, Work
from properties.suite import SUITE
from reference.x86.kvm import IN, PINV, Kvm

CLAUSES = ("E2E-11", "KVM-SND-1", "E2E-5")
SCENARIOS = {"one-sender", "running"}


class Breaks(Kvm):
    """Takes for granted that nobody clears ON between its two looks."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.load(vcpu.mode) == IN:
            where = {1: cpu.load(vcpu.cpu)}[cpu.load(vcpu.pid.on)]
            cpu.send_ipi(PINV, where)
            return
        self.wake_up(cpu, vcpu)


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    judge = Judge(resolve(f"{__name__}:Breaks"), "kvm", SUITE, scenarios=SCENARIOS)
    by_id = {clause.id: clause for clause in SUITE.clauses}
    return [judge.verdict(by_id[name]) for name in CLAUSES]


@pytest.fixture(scope="module")
def report(verdicts: list[Verdict]) -> Report:
    return document.report(verdicts)


def test_it_is_one_finding_that_names_what_was_not_judged_once(report: Report) -> None:
    (broken,) = report.breakdowns
    assert broken.status is Status.CRASH and broken.clauses == CLAUSES
    assert [(row.status, row.breakdown) for row in report.clauses] == [(Status.CRASH, 1)] * 3
    assert broken.what == f"Breaks.deliver_interrupt raised KeyError(0) at {broken.at}"
    assert broken.at.startswith(f"{__name__}.py:")


def test_the_least_schedule_leads_to_it(report: Report) -> None:
    """The sender sets ON, the harvest clears it, the sender looks: less cannot break it."""
    found = report.breakdowns[0].counterexample
    assert found and found.scenario == "one-sender"
    assert (found.switches, found.steps, len(found.rows)) == (2, 10, 10)
    *_, last = found.rows
    assert last.breaks and [text.partition(": ")[2] for text in last.texts] == ["reads vcpu0.ON = 0", "fails"]
    assert last.sites[-1] == report.breakdowns[0].at
    assert isinstance(last.facts[-1], facts.Crashes)
    assert [step.agent for step in found.rows if step.changes.get("vcpu0.ON") == ("1", "0")] == ["cpu0"]


def test_of_several_scenarios_the_one_with_the_least_is_shown(verdicts: list[Verdict]) -> None:
    scenarios = {verdict.breakdown.scenario for verdict in verdicts if verdict.breakdown}
    assert scenarios == SCENARIOS


@pytest.mark.parametrize(
    "form",
    [terminal.text, html, mail, markdown, lambda report: junit(report)],
    ids=["text", "html", "mail", "md", "junit"],
)
def test_every_form_tells_it_once_with_its_schedule(report: Report, form: Callable[[Report], str]) -> None:
    told = " ".join(form(report).replace("\\_", "_").split())
    assert told.count("ot judged") == 1
    assert "fails" in told and "reads ON = 0" in told and "intack run -a" in told
    assert all(clause in told for clause in CLAUSES)
    assert "results (" not in told.partition("ot judged")[0]  # what happened comes first, its history last


def test_a_machine_finds_the_clauses_by_number(report: Report) -> None:
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert again == report and again.clauses[0].evidence == f"breakdown 1: {report.breakdowns[0].what}"
    cases = ElementTree.fromstring(junit(report).partition("?>")[2]).iter("testcase")
    errors = [error for case in cases for error in case.iter("error")]
    assert [bool(error.text) for error in errors] == [True, False, False]


def test_reports_side_by_side_keep_their_numbers(report: Report) -> None:
    rows = tuple(msgspec.structs.replace(row, implementation="other") for row in report.clauses)
    run = msgspec.structs.replace(report.run, implementations=("other",))
    (broken,) = (msgspec.structs.replace(each, implementation="other") for each in report.breakdowns)
    both = joined([report, msgspec.structs.replace(report, run=run, clauses=rows, breakdowns=(broken,))])
    assert [row.breakdown for row in both.clauses] == [1, 1, 1, 2, 2, 2]
    assert [each.implementation for each in both.breakdowns] == ["Breaks", "other"]


def test_what_there_is_nothing_to_check_of_has_not_failed() -> None:
    class Unchecked(Work):
        def do(self, item: Item) -> Result:
            return Checked(evidence="", fault="it declares no descriptor", fault_status="NOT CHECKED")

    breaks, clause = resolve(f"{__name__}:Breaks"), next(c for c in SUITE.clauses if c.id == "KVM-PI-22")
    verdict = Judge(breaks, "kvm", SUITE, work=Unchecked(breaks, "kvm", SUITE)).verdict(clause)
    assert verdict.status is Status.NOT_CHECKED and not verdict.breakdown


def test_what_fails_is_not_done_again_and_again() -> None:
    class Dies:
        asked = 0

        def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Return:
            self.asked += 1
            raise Fault("TIMEOUT", "it has not returned after 5 s")

        def fresh(self) -> Dies:
            return self

    source = Dies()
    unfolding = Unfolding(source)
    for _ in range(3):
        with pytest.raises(Fault):
            unfolding.root("load", ())
    assert source.asked == 1
