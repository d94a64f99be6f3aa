"""Generated pages are current."""

from __future__ import annotations

from pathlib import Path

from conformance.machine import page as describe
from conformance.machine.measure import SAMPLES, classes
from conformance.roles import operations as ops
from properties import page as clauses

COLUMNS = ("by", "own", "reads", "writes", "waits", "buffered", "conflicts")
DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_about_operations_is_current() -> None:
    assert (DOCS / "operations.md").read_text() == describe.page(), (
        "python -m conformance.machine.page > docs/operations.md"
    )


def test_the_page_about_clauses_is_current() -> None:
    assert (DOCS / "clauses.md").read_text() == clauses.page(), "python -m properties.page > docs/clauses.md"


def test_every_operation_is_measured() -> None:
    assert set(SAMPLES) == set(classes())


def test_what_is_measured_is_what_the_operations_promise() -> None:
    """A few rows by hand, so that a measurement that breaks does not just change the page."""
    rows = {
        line.split("`")[1]: [c.strip() for c in line.split("|")[2:-1]]
        for line in describe.page().splitlines()
        if line[:3] == "| `"
    }

    def says(operation: str, column: str) -> str:
        return rows[operation][COLUMNS.index(column)]

    assert says("lock", "waits") == "while the lock is held; until its store buffer has drained"
    assert says("send_ipi", "waits") == "no", "sending an interrupt does not drain"
    assert says("rmw", "waits") == says("fence", "waits") == "until its store buffer has drained"
    assert says("wake", "conflicts") == "`prepare_to_block`, `finish_block`, `schedule`"
    assert says("load", "conflicts") == "`store`, `rmw`" and says("choose", "conflicts") == "none"
    assert (
        says("atomic", "by") == "hardware" and says("deliver", "by") == "processor" and says("schedule", "by") == "CPUs"
    )
    assert says("fence", "own") == "with store buffers" and says("choose", "own") == "no"
    assert isinstance(ops.Load("x"), classes()["load"])
