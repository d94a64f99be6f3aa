"""`intack hunt`: scenarios beyond those that everybody has, until one breaks a guarantee."""

from __future__ import annotations

import click

from conformance.commands.clustered import client_of, cluster
from conformance.commands.status import FAILED, STATUS


@click.command(epilog=STATUS)
@click.option("-a", "--adapter", metavar="SPEC", required=True, help="As in intack run.")
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=5, show_default=True, help="How long at most."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Other scenarios for another number.")
@click.option("--states", type=click.IntRange(1), default=100_000, show_default=True, help="Of a scenario, at most.")
@click.option("--out", metavar="PATH", default="", help="Write the scenario that was found here (TOML).")
@cluster
def hunt(adapter: str, minutes: float, seed: int, states: int, out: str, address: str) -> int:
    """Draw scenarios at random until the implementation breaks a guarantee in one that the reference keeps there.

    What is found is made as small as it gets, shown as a file for --scenario-file, and judged.
    """
    from contextlib import closing
    from pathlib import Path

    from rich.console import Console

    from conformance.adapters.registry import AdapterError
    from conformance.report import document, terminal
    from conformance.verdict import own_scenarios
    from conformance.verdict.clause import UNDECIDED, Status, exit_status
    from conformance.verdict.hunt import Hunting, TurnEndedError, hunted
    from conformance.verdict.judge import Judge
    from conformance.verdict.pool import Here
    from conformance.verdict.session import BadInput, Session

    try:
        session = Session(adapter=adapter)
        judge = session.judge
        guarantees = frozenset(c.id for c in session.clauses if judge.guaranteed(c))
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    hunting = Hunting(session.implementation.spec, guarantees, states, seed, kept=not address)
    with client_of(address) as client:
        try:
            if client:
                from conformance.verdict.cluster import Cluster

                pool = Cluster(client, hunting)
            else:
                pool = Here(hunting.begin()[0])
            with closing(pool):
                found, looked = hunted(pool, 60 * minutes)
        except AdapterError as error:
            raise click.UsageError(str(error)) from None
        except TurnEndedError as error:
            click.echo(str(error), err=True)
            return FAILED
    told = f"{len(looked):,} scenarios, {sum(looked.values()):,} states"
    if found is None:
        click.echo(f"Nothing found in {told}.")
        return 0
    text = own_scenarios.text(found.scenario)
    click.echo(f"{', '.join(sorted(found.broken.clauses))}: broken in one of {told}.\n\n{text}")
    if out:
        Path(out).write_text(text)
    suite = own_scenarios.joined(session.suite, [found.scenario])
    again = Judge(session.implementation, session.profile, suite, scenarios={found.scenario.name})
    broken = found.broken.clauses & guarantees
    # What fails by itself breaks no clause: it leaves clauses undecided.
    verdicts = [again.verdict(c) for c in session.clauses if c.id in broken or not broken]
    violated = [v for v in verdicts if v.status is Status.VIOLATED]
    failed = [v for v in verdicts if v.breakdown and v.breakdown.scenario == found.scenario.name]
    violated = violated or failed or [v for v in verdicts if v.status in UNDECIDED]
    terminal.show(document.report(violated), Console())
    return exit_status(violated)
