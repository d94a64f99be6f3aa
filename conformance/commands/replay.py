"""`intack replay`: what became of a violation."""

from __future__ import annotations

import sys

import click

from conformance.commands.status import STATUS


@click.command(epilog=STATUS)
@click.argument("string")
@click.option(
    "-a", "--adapter", metavar="SPEC", default="", help="Run this, whatever the string names. It runs installed "
    "implementations, and the one that was judged last in this folder, without it; others are asked about."
)  # fmt: skip
def replay(string: str, adapter: str) -> int:
    """Follow the schedule of a replay string, the last line of a violation, and say what became of it."""
    from conformance.report import terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.session import BadInput, Session, Unasked

    try:
        try:
            session = Session(replay=string, adapter=adapter)
        except Unasked as found:
            if not sys.stdin.isatty():
                raise
            click.confirm(f"This replay string runs {found.spec!a}. Run it?", abort=True, err=True)
            session = Session(replay=string, adapter=found.spec)
        verdict = session.replayed()
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    click.echo(terminal.block_text(verdict, color=sys.stdout.isatty()), nl=False)
    return exit_status([verdict])
