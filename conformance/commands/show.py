"""`intack show`: one thing, whole."""

from __future__ import annotations

import click


@click.command()
@click.argument("what", type=click.Choice(["scenario"]))
@click.argument("name")
def show(what: str, name: str) -> None:
    """Print a scenario as a file that --scenario-file takes."""
    from conformance.roles.nearest import nearest
    from conformance.verdict import own_scenarios
    from conformance.verdict.suite import load_suite

    scenarios = {scenario.name: scenario for scenario in load_suite().scenarios}
    if name not in scenarios:
        raise click.UsageError(
            f"no scenario is called {name!r}. {nearest(name, scenarios)} All of them: intack list scenarios"
        )
    click.echo(own_scenarios.text(scenarios[name]), nl=False)
