"""`intack replay`: what became of a violation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from conformance.commands.status import STATUS

if TYPE_CHECKING:
    from conformance.verdict.session import Session


@click.command(epilog=STATUS)
@click.argument("string", metavar="STRING|last|last#CLAUSE|FILE.json#CLAUSE")
@click.option(
    "-a", "--adapter", metavar="SPEC", default="", help="Run this, whatever the string names. It runs installed "
    "implementations, and the one that was judged last in this folder, without it; others are asked about."
)  # fmt: skip
@click.option("--all-steps", is_flag=True, help="Steps that the reason does not name, too.")
@click.option("--explain", "step", metavar="N", type=click.IntRange(1), help="What could have been done at step N, and what "
              "each choice would have led to. Exit status 0.")  # fmt: skip
def replay(string: str, adapter: str, all_steps: bool, step: int | None) -> int:
    """Follow the schedule of a replay string, the last line of a violation, and say what became of it.

    A schedule of a stored report, or of the last run in this folder, can be named instead: last#E2E-11.
    """
    from rich.console import Console

    from conformance.report import last, terminal
    from conformance.report.document import ReportError, row
    from conformance.report.source import with_source
    from conformance.search.replay import ReplayError, decode
    from conformance.verdict.clause import exit_status
    from conformance.verdict.session import BadInput, Session, Unasked

    try:
        if last.is_handle(string):
            named = last.found(string).counterexample
            assert named
            if last.own(string) and named.rows:
                adapter = adapter or decode(named.replay).implementation
            string = named.replay
        if string.startswith("intack "):
            raise click.UsageError(f"there is no schedule to follow. What shows it again: {string}")
        try:
            session = Session(replay=string, adapter=adapter)
        except Unasked as found:
            if not sys.stdin.isatty():
                raise
            click.confirm(f"This replay string runs {found.spec!a}. Run it?", abort=True, err=True)
            session = Session(replay=string, adapter=found.spec)
        if step is not None:
            return _explain(session, string, step)
        verdict = session.replayed()
    except (BadInput, ReportError, ReplayError) as error:
        raise click.UsageError(str(error)) from None
    terminal.show_clauses(with_source([row(verdict)], session.implementation), Console(), all_steps=all_steps)
    return exit_status([verdict])


def _explain(session: Session, string: str, step: int) -> int:
    from conformance.adapters.source import Fault
    from conformance.report.choices import told
    from conformance.roles.printable import printable_lines
    from conformance.verdict.choices import choices

    try:
        recorded, found = choices(string, step, session.implementation)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from None
    except Fault as fault:
        click.echo(printable_lines(f"{fault.status}: {fault}"))
        return 2
    for line in told(recorded, found, step, session.suite):
        click.echo(printable_lines(line))
    return 0
