"""`intack list`: what there is."""

from __future__ import annotations

import click


@click.command("list")
@click.argument("what", type=click.Choice(["clauses", "adapters", "scenarios"]))
def list_(what: str) -> None:
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
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(printable(f"{name:{width}}  {text}"))
