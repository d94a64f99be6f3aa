"""JUnit: a test case for each clause and implementation, its name the clause's id."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from conformance.report.grouped import Group
from conformance.report.lanes import plain
from conformance.report.model import BreakdownRow, ClauseRow, Report
from conformance.report.pages import Look, breakdown_page, page
from conformance.report.terminal import summary
from conformance.verdict.clause import Status

SKIPPED = (Status.NOT_APPLICABLE, Status.NOT_CHECKED)


def junit(report: Report) -> str:
    suites = Element("testsuites", name="intack")
    for implementation in report.run.implementations:
        rows = [row for row in report.clauses if row.implementation == implementation]
        suite = SubElement(suites, "testsuite", name=implementation, tests=str(len(rows)))
        suite.set("failures", str(sum(_failed(row) for row in rows)))
        suite.set("errors", str(sum(row.undecided for row in rows) + len(report.run.missing)))
        suite.set("skipped", str(sum(_skipped(row) for row in rows)))
        told: set[int] = set()
        for row in rows:
            _case(suite, row, report.breakdowns[row.breakdown - 1] if row.breakdown not in {0, *told} else None)
            told.add(row.breakdown)
        for missing in report.run.missing:
            case = SubElement(suite, "testcase", classname=implementation, name=missing)
            SubElement(case, "error", message="no verdict: the run ended before its time", type="MISSING")
        SubElement(suite, "system-out").text = summary(report)
    indent(suites)
    return tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Element, row: ClauseRow, broken: BreakdownRow | None) -> None:
    """`broken` is why it is not judged, where no case before it says so."""
    case = SubElement(suite, "testcase", classname=f"{row.implementation}.{row.section}", name=row.id)
    told = row.counterexample.reason if row.counterexample else row.evidence
    if _failed(row):
        made = SubElement(case, "failure", message=told, type=row.status.value)
        made.text = plain(page(Group((row,)), Look(verbose=True)))
    elif row.undecided:
        made = SubElement(case, "error", message=row.evidence, type=row.status.value)
        made.text = plain(breakdown_page(broken, Look(verbose=True))) if broken else None
    elif _skipped(row):
        SubElement(case, "skipped", message=row.expected or f"{row.status.value}: {row.evidence}")
    else:
        SubElement(case, "system-out").text = f"{row.status.value}: {row.evidence}"


def _failed(row: ClauseRow) -> bool:
    return row.status is Status.VIOLATED and not row.expected


def _skipped(row: ClauseRow) -> bool:
    return row.status in SKIPPED or bool(row.expected)
