"""`intack run`: judge an implementation, and print the report."""

from __future__ import annotations

import os

import click

from conformance.commands.status import FAILED, INTERRUPTED, STATUS


def _workers(context: click.Context, option: click.Parameter, value: str) -> int:
    if value == "auto":
        from conformance.verdict.pool import cores

        return cores()
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor auto")
    return int(value)


@click.command(epilog=STATUS)
@click.option(
    "-a", "--adapter", metavar="SPEC", default="", help="A registered name or package.module:Class. Default: reference."
)
@click.option(
    "--profile", metavar="NAME", default="", help="strict, kvm or generic. Default: what the implementation declares."
)
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only clauses whose id matches. Repeatable.")
@click.option(
    "--scenario", "scenarios", multiple=True, metavar="GLOB", help="Only what scenarios that match find. Repeatable."
)
@click.option(
    "--scenario-file",
    "scenario_files",
    multiple=True,
    metavar="PATH",
    help="Only scenarios of your own, from this TOML file, unless --scenario names others. Repeatable.",
)
@click.option("--draw", metavar="N", type=click.IntRange(0), default=0, help="So many scenarios more, drawn at random.")
@click.option(
    "--environment",
    "environments",
    multiple=True,
    metavar="NAME",
    help="Widen the hardware beyond the architecture: late-mi. Repeatable.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="PATH",
    help="Write the report here: .json, .html, .xml (JUnit), .md, .mail or .txt; - is standard output. Repeatable.",
)
@click.option("-x", "--exitfirst", "stop", is_flag=True, help="Stop at the first violation.")
@click.option("-q", "--quiet", is_flag=True, help="One line: what it comes to.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Evidence of each clause, deviations with their schedules, and what was left out.",
)
@click.option("--assumptions", is_flag=True, help="The rules of the machine on which every verdict rests.")
@click.option("--all-steps", is_flag=True, help="Schedules with the steps that their reason does not name.")
@click.option("--durations", metavar="N", type=click.IntRange(0), default=0, help="Show what took longest.")
@click.option(
    "--no-cache",
    is_flag=True,
    default=lambda: bool(os.environ.get("INTACK_NO_CACHE")),
    help="Find out everything anew, and keep nothing for the next run. Also: the environment variable INTACK_NO_CACHE.",
)
@click.option(
    "-n", "workers", default="auto", callback=_workers, metavar="N",
    help="Worker processes; 0: none but this one. Default: auto.",
)  # fmt: skip
def run(
    adapter: str,
    profile: str,
    clauses: tuple[str, ...],
    scenarios: tuple[str, ...],
    scenario_files: tuple[str, ...],
    draw: int,
    environments: tuple[str, ...],
    reports: tuple[str, ...],
    stop: bool,
    quiet: bool,
    verbose: bool,
    assumptions: bool,
    all_steps: bool,
    durations: int,
    no_cache: bool,
    workers: int,
) -> int:
    """Judge an implementation, clause by clause, and print the report.

    What is broken is told as soon as it is found, on standard error.
    """
    from rich.console import Console

    from conformance.commands.progress import Watch
    from conformance.report import document, formats, terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.events import RunEnded
    from conformance.verdict.output import STANDARD_OUTPUT
    from conformance.verdict.run import Run
    from conformance.verdict.session import BadInput, Session

    try:
        session = Session(
            adapter=adapter,
            profile=profile,
            clause=clauses,
            scenario=scenarios,
            scenario_file=scenario_files,
            draw=draw,
            environment=environments,
            report=reports,
            keep=not no_cache,
        )
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    going = Run(session.judge, session.clauses, workers, stop=stop)
    ended: RunEnded | None = None
    with Watch() as watch:
        events = going.events()
        try:
            for event in events:
                watch.see(event)
                if isinstance(event, RunEnded):
                    ended = event
        except KeyboardInterrupt:
            events.close()
    ended = ended or going.ended("interrupted")
    status = INTERRUPTED if ended.why == "interrupted" else exit_status(ended.verdicts)
    unwritten = ""
    report = document.of_session(session, ended.verdicts, ended.why, status)
    try:
        formats.write_all(session.reports, report)
    except document.ReportError as error:
        unwritten = str(error)
    terminal.show(
        report,
        Console(stderr=STANDARD_OUTPUT in session.reports),
        quiet=quiet,
        verbose=verbose,
        assumptions=assumptions,
        all_steps=all_steps,
    )
    if durations:
        click.echo(watch.slowest(durations), err=True)
    if ended.missing:
        of = f"{len(ended.verdicts)} of {len(session.clauses)} clauses judged"
        click.echo(f"{ended.why}: {of}; no verdict on {', '.join(ended.missing)} (exit status {status})", err=True)
    if unwritten:
        click.echo(unwritten, err=True)
        return FAILED
    return status
