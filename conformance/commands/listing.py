"""`intack list`: what there is."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("what", type=click.Choice(["clauses", "adapters", "scenarios"]))
@click.option("--grep", metavar="WORDS", default="", help="Only those in whose line all of these words stand.")
def list_(what: str, grep: str) -> None:
    """List the clauses of the catalogue, the registered adapters, or the scenarios."""
    from conformance.adapters.registry import descriptions
    from conformance.roles.printable import printable
    from conformance.verdict.suite import load_suite

    match what:
        case "adapters":
            rows = list(descriptions().items())
        case "scenarios":
            rows = [(s.name, f"{s.about} ({s.bounds()})") for s in load_suite().scenarios]
        case _:
            rows = [
                (c.id, f"{c.modality}, {c.kind}, {c.authority}{' (not read)' * (not c.verified)}: {c.statement}")
                for c in load_suite().clauses
            ]
    words = grep.lower().split()
    rows = [row for row in rows if all(word in " ".join(row).lower() for word in words)]
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        click.echo(printable(f"{name:{width}}  {text}"))
