"""`intack diff`: two runs compared."""

from __future__ import annotations

import click

from conformance.commands.status import FAILED


@click.command(
    epilog="Exit status: 0 nothing is worse; 1 something is violated that was not; 2 something is undecided that was decided; "
    "4 a report cannot be read. A clause that is gone is told, and no defect."
)
@click.argument("old")
@click.argument("new")
@click.option("--markdown", is_flag=True, help="For a pull request.")
def diff(old: str, new: str, markdown: bool) -> int:
    """What is newly violated, newly held, changed in evidence, added or gone from OLD.json to NEW.json."""
    from conformance.report import difference
    from conformance.report.document import ReportError, read
    from conformance.report.markdown import escaped

    try:
        found = difference.difference(read(old), read(new))
    except ReportError as error:
        click.echo(str(error), err=True)
        return FAILED
    told = difference.text(found, markdown=True, escaped=escaped) if markdown else difference.text(found)
    click.echo(told, nl=False)
    return found.exit_status
