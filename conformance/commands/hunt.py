"""`intack hunt`: scenarios beyond those that everybody has, until one breaks a guarantee."""

from __future__ import annotations

import click

from conformance.commands.status import STATUS


@click.command(epilog=STATUS)
@click.option("-a", "--adapter", metavar="SPEC", required=True, help="As in intack run.")
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=5, show_default=True, help="How long at most."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Other scenarios for another number.")
@click.option("--states", type=click.IntRange(1), default=100_000, show_default=True, help="Of a scenario, at most.")
@click.option("--out", metavar="PATH", default="", help="Write the scenario that was found here (TOML).")
def hunt(adapter: str, minutes: float, seed: int, states: int, out: str) -> int:
    """Draw scenarios at random until the implementation breaks a guarantee in one that the reference keeps there.

    What is found is made as small as it gets, shown as a file for --scenario-file, and judged.
    """
    from pathlib import Path

    from rich.console import Console

    from conformance.report import document, terminal
    from conformance.verdict import own_scenarios
    from conformance.verdict.clause import Status, exit_status
    from conformance.verdict.hunt import Hunt
    from conformance.verdict.judge import Judge
    from conformance.verdict.session import BadInput, Session

    try:
        session = Session(adapter=adapter)
        judge = session.judge
        guarantees = frozenset(c.id for c in session.clauses if judge.guaranteed(c))
        hunting = Hunt(session.implementation, session.suite, guarantees, states)
        drawn = session.suite.drawn(session.implementation, states)
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    if drawn is None:
        raise click.UsageError(f"nothing draws scenarios for {', '.join(session.implementation.architectures)}")
    found = hunting.hunt(drawn, 60 * minutes, seed)
    told = f"{len(hunting.looked):,} scenarios, {hunting.states:,} states"
    if found is None:
        click.echo(f"Nothing found in {told}.")
        return 0
    text = own_scenarios.text(found.scenario)
    click.echo(f"{', '.join(sorted(found.broken.clauses))}: broken in one of {told}.\n\n{text}")
    if out:
        Path(out).write_text(text)
    suite = own_scenarios.joined(session.suite, [found.scenario])
    again = Judge(session.implementation, session.profile, suite, scenarios={found.scenario.name})
    verdicts = [again.verdict(c) for c in session.clauses if c.id in found.broken.clauses]
    violated = [v for v in verdicts if v.status is Status.VIOLATED] or verdicts
    terminal.show(document.report(violated), Console())
    return exit_status(violated)
