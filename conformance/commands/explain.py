"""`intack explain`: all there is to know of one clause."""

from __future__ import annotations

import click


@click.command()
@click.argument("clause")
def explain(clause: str) -> None:
    """What CLAUSE says, its sources and whether they were read, what is watched and where, its scenarios, the known bugs
    that it finds, and what the last run in this folder said of it.
    """
    from conformance.report import explain as explained
    from conformance.report.last import last
    from conformance.verdict.session import BadInput, select
    from conformance.verdict.suite import load_suite

    suite = load_suite()
    try:
        named = select(suite.clauses, [clause])
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    kept = last()
    for n, each in enumerate(named):
        click.echo("\n" * bool(n) + "\n".join(explained.told(each, suite, kept)))
