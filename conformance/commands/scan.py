"""`intack scan`: judge a PIR scanner."""

from __future__ import annotations

import click

from conformance.commands.status import FAILED, STATUS


@click.command(epilog=STATUS)
@click.option(
    "-a", "--adapter", "spec", metavar="SPEC", required=True, help="package.module:function or c:FILE.c:function."
)
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only clauses whose id matches. Repeatable.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="PATH",
    help="Write the report here: .json, .html, .xml (JUnit), .md, .mail or .txt; - is standard output. Repeatable.",
)
def scan(spec: str, clauses: tuple[str, ...], reports: tuple[str, ...]) -> int:
    """Judge a PIR scanner: a function that harvests arrays of posted-interrupt descriptors (docs/scanner.md)."""
    from rich.console import Console

    from conformance.report import document, formats, terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.output import STANDARD_OUTPUT
    from conformance.verdict.scanner import judged
    from conformance.verdict.session import BadInput, writable
    from conformance.verdict.suite import catalogue_hash, load_suite

    try:
        paths = [writable(path) for path in reports]
        verdicts, assumptions = judged(spec, clauses)
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    try:
        report = document.report(verdicts, catalogue=catalogue_hash(load_suite()), assumptions=assumptions)
        formats.write_all(paths, report)
    except document.ReportError as error:
        click.echo(str(error), err=True)
        return FAILED
    terminal.show(report, Console(stderr=STANDARD_OUTPUT in paths), verbose=True, assumptions=True)
    return exit_status(verdicts)
