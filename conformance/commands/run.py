"""`intack run`: judge an implementation, and print the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from conformance.commands.clustered import client_of, cluster
from conformance.commands.status import FAILED, INTERRUPTED, STATUS

if TYPE_CHECKING:
    from distributed import Client

    from conformance.commands.progress import Watch
    from conformance.report.model import Report
    from conformance.verdict.session import Session

FEW = 8
"""Clauses without a verdict that are named after a run that ended before its time; reports have all."""


def _workers(context: click.Context, option: click.Parameter, value: str) -> int:
    if value == "auto":
        from conformance.verdict.pool import cores

        return cores()
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number of processes, from 0 on, nor auto")
    return int(value)


@click.command(epilog=STATUS)
@click.option(
    "-a", "--adapter", "adapters", metavar="SPEC", multiple=True,
    help="A registered name or package.module:Class. Default: reference. Repeated: compared.",
)  # fmt: skip
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
    "--unbounded",
    is_flag=True,
    help="With any number of exits, preemptions, migrations and halts in the large stories too, not only in small ones.",
)
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
@click.option(
    "--expect",
    metavar="PATH",
    default="",
    help="Violations that are known and accepted (TOML): they fail nothing, and an entry that no longer fails does.",
)
@click.option(
    "--write-expected", metavar="PATH", default="", help="Write a file for --expect that has today's violations."
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
@cluster
def run(
    adapters: tuple[str, ...],
    profile: str,
    clauses: tuple[str, ...],
    scenarios: tuple[str, ...],
    scenario_files: tuple[str, ...],
    draw: int,
    unbounded: bool,
    environments: tuple[str, ...],
    reports: tuple[str, ...],
    expect: str,
    write_expected: str,
    stop: bool,
    quiet: bool,
    verbose: bool,
    assumptions: bool,
    all_steps: bool,
    durations: int,
    no_cache: bool,
    workers: int,
    address: str,
) -> int:
    """Judge an implementation, clause by clause, and print the report.

    What is broken is told as soon as it is found, on standard error.
    """
    from datetime import date
    from pathlib import Path

    from rich.console import Console

    from conformance.commands.progress import Watch
    from conformance.report import document, expected, formats, last, several, terminal
    from conformance.verdict import output
    from conformance.verdict.session import BadInput, Session, writable

    try:
        sessions = [
            Session(
                adapter=adapter,
                profile=profile,
                clause=clauses,
                scenario=scenarios,
                scenario_file=scenario_files,
                draw=draw,
                unbounded=unbounded,
                environment=environments,
                report=reports,
                keep=not no_cache,
            )
            for adapter in dict.fromkeys(adapters or ("",))
        ]
        known = expected.read(Path(expect)) if expect else ()
        if write_expected:
            writable(write_expected, ".toml")
    except (BadInput, document.ReportError) as error:
        raise click.UsageError(str(error)) from None
    with client_of(address) as client, Watch() as watch:
        report = _judged(sessions, workers, stop, watch, client)
    if sessions[0].reports:
        report = several.foreseen(report, [session.implementation for session in sessions])
    if expect:
        report = expected.applied(report, known, {c.id for s in sessions for c in s.suite.clauses}, date.today())
    unwritten = ""
    try:
        formats.write_all(sessions[0].reports, report)
        if write_expected:
            output.write(Path(write_expected), expected.written(report, known).encode())
    except (document.ReportError, OSError) as error:
        unwritten = str(error)
    if not no_cache:
        last.keep(report)
    terminal.show(
        report,
        Console(stderr=output.STANDARD_OUTPUT in sessions[0].reports),
        quiet=quiet,
        verbose=verbose,
        assumptions=assumptions,
        all_steps=all_steps,
        handle="" if no_cache else last.LAST,
    )
    if durations:
        click.echo(watch.slowest(durations), err=True)
    if report.run.missing:
        of = f"{len(report.clauses)} of {sum(len(s.clauses) for s in sessions)} clauses judged"
        first, others = report.run.missing[:FEW], len(report.run.missing) - FEW
        told = f"no verdict on {', '.join(first)}{f' and {others} more' * (others > 0)} (exit status {report.run.exit_status})"
        click.echo(f"{report.run.ended}: {of}; {told}", err=True)
    if unwritten:
        click.echo(unwritten, err=True)
        return FAILED
    return report.run.exit_status


def _judged(sessions: Sequence[Session], workers: int, stop: bool, watch: Watch, client: Client | None) -> Report:
    """One implementation after the other; none after one that was interrupted."""
    from conformance.report.several import compared, joined

    made: list[Report] = []
    for session in sessions:
        made.append(_of_one(session, workers, stop, watch, client))
        if made[-1].run.ended == "interrupted":
            break
    if len(made) == 1:
        return made[0]
    return compared(joined(made), [session.implementation for session in sessions])


def _of_one(session: Session, workers: int, stop: bool, watch: Watch, client: Client | None = None) -> Report:
    from conformance.report.document import of_session
    from conformance.verdict.clause import exit_status
    from conformance.verdict.events import RunEnded
    from conformance.verdict.run import Run

    elsewhere = None
    if client:
        from conformance.verdict.spread import Spread

        elsewhere = Spread(client, session.judge.work)
        workers = elsewhere.cluster.threads
    going = Run(session.judge, session.clauses, workers, stop=stop, elsewhere=elsewhere)
    ended: RunEnded | None = None
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
    return of_session(session, ended.verdicts, ended.why, status)
