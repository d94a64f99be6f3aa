"""`intack report`: a stored run in any form."""

from __future__ import annotations

import click

from conformance.commands.status import FAILED


@click.command()
@click.argument("file")
@click.option("--html", "html_path", metavar="PATH", help="One page, for a browser.")
@click.option("--junit", "junit_path", metavar="PATH", help="JUnit, a test case a clause.")
@click.option("--markdown", "markdown_path", metavar="PATH", help="For a pull request.")
@click.option("--mail", "mail_path", metavar="PATH", help="For a mailing list: 72 columns of ASCII.")
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only these, with their schedules, also of what is "
              "allowed and was seen. Repeatable.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="As in intack run.")
@click.option("--all-steps", is_flag=True, help="As in intack run.")
@click.option("--assumptions", is_flag=True, help="As in intack run.")
def report(
    file: str,
    html_path: str | None,
    junit_path: str | None,
    markdown_path: str | None,
    mail_path: str | None,
    clauses: tuple[str, ...],
    verbose: bool,
    all_steps: bool,
    assumptions: bool,
) -> int:
    """Print the report that intack run --report FILE.json has left, or make another form of it. - is standard output.

    Nothing is run. The exit status is that of the run only where the report is printed.
    """
    from fnmatch import fnmatchcase
    from pathlib import Path

    from rich.console import Console

    from conformance.report import document, formats, terminal

    wanted = [
        (path, form)
        for path, form in (
            (html_path, ".html"),
            (junit_path, ".xml"),
            (markdown_path, ".md"),
            (mail_path, ".mail"),
        )
        if path
    ]
    try:
        stored = document.read(file)
        for path, form in wanted:
            formats.write(Path(path), stored, form)
    except document.ReportError as error:
        click.echo(str(error), err=True)
        return FAILED
    if wanted:
        return 0
    if clauses:
        chosen = [row for row in stored.clauses if any(fnmatchcase(row.id, glob.upper()) for glob in clauses)]
        if not chosen:
            raise click.UsageError(f"{file} has no verdict on {', '.join(clauses)}")
        terminal.show_clauses(chosen, Console(), all_steps=all_steps)
        return 0
    terminal.show(stored, Console(), verbose=verbose, all_steps=all_steps, assumptions=assumptions, handle=file)
    return stored.run.exit_status
