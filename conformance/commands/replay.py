"""`intack replay`: what became of a violation."""

from __future__ import annotations

import sys

import click

from conformance.commands.status import STATUS


@click.command(epilog=STATUS)
@click.argument("string")
def replay(string: str) -> int:
    """Follow the schedule of a replay string, the last line of a violation, and say what became of it."""
    from conformance.report import terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.session import BadInput, Session

    try:
        verdict = Session(replay=string).replayed()
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    click.echo(terminal.block_text(verdict, color=sys.stdout.isatty()), nl=False)
    return exit_status([verdict])
