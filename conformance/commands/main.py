"""The command line: `run`, `replay`, `scan`, `list` and `export` here, the others where what they do is."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import IO

import click

from conformance import __version__
from conformance.commands.fences import fences
from conformance.commands.litmus import litmus
from conformance.commands.mutate import mutate
from conformance.commands.order import order
from conformance.commands.plugging import build, new, smoke

BAD_USAGE, FAILED, INTERRUPTED = 3, 4, 130
"""Exit status beside those of `verdict.exit_status`, where click's own would be taken for a verdict."""

STATUS = """
Exit status: 0 nothing is violated; 1 something is; 2 nothing is violated, but something is undecided
(UNKNOWN, NOT EXERCISED, CRASH, TIMEOUT, NONDETERMINISTIC); 3 bad usage; 4 the suite itself failed; 130 interrupted.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=STATUS)
@click.version_option(__version__, prog_name="intack")
def cli() -> None:
    """Does an implementation of virtual-interrupt delivery keep what the manuals promise?"""


def _workers(context: click.Context, option: click.Parameter, value: str) -> str:
    if value != "auto" and not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor auto")
    return value


@cli.command(epilog=STATUS)
@click.option("-a", "--adapter", metavar="SPEC", help="A registered name or package.module:Class. Default: reference.")
@click.option("--profile", metavar="NAME", help="strict, kvm or generic. Default: what the implementation declares.")
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only clauses whose id matches. Repeatable.")
@click.option(
    "--environment", "environments", multiple=True, metavar="NAME",
    help="Widen the hardware beyond the architecture: late-mi. Repeatable.",
)  # fmt: skip
@click.option("--report", "reports", multiple=True, metavar="PATH", help="Write the report here (.json). Repeatable.")
@click.option("-n", "workers", default="auto", callback=_workers, metavar="N", help="Worker processes. Default: auto.")
def run(
    adapter: str | None,
    profile: str | None,
    clauses: tuple[str, ...],
    environments: tuple[str, ...],
    reports: tuple[str, ...],
    workers: str,
) -> int:
    """Judge an implementation, clause by clause, and print the report."""
    from rich.console import Console

    from conformance.commands.run import judge
    from conformance.report import terminal
    from conformance.verdict.clause import exit_status

    given = [
        ("adapter", adapter),
        ("profile", profile),
        *(("clause", c) for c in clauses),
        *(("environment", e) for e in environments),
        *(("report", r) for r in reports),
    ]
    trouble, session = judge([f"--intack-{name}={value}" for name, value in given if value is not None], workers)
    if session is None or trouble == BAD_USAGE:
        return trouble
    verdicts = session.gathered()
    if verdicts or not trouble:
        terminal.show(verdicts, Console(), assumptions=session.assumptions)
    if trouble:
        why = "interrupted" if trouble == INTERRUPTED else "the suite itself failed"
        click.echo(f"{why}: {len(verdicts)} of {len(session.clauses)} clauses judged (exit status {trouble})", err=True)
    return trouble or exit_status(verdicts)


@cli.command(epilog=STATUS)
@click.argument("string")
def replay(string: str) -> int:
    """Follow the schedule of a replay string, the last line of a violation, and say what became of it."""
    from conformance.report import terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.session import BadInput, Session

    try:
        verdict = Session(Path(), replay=string).replayed()
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    click.echo(terminal.block_text(verdict, color=sys.stdout.isatty()), nl=False)
    return exit_status([verdict])


@cli.command(epilog=STATUS)
@click.option(
    "-a", "--adapter", "spec", metavar="SPEC", required=True, help="package.module:function or c:FILE.c:function."
)
@click.option("--clause", "clauses", multiple=True, metavar="GLOB", help="Only clauses whose id matches. Repeatable.")
@click.option("--report", "reports", multiple=True, metavar="PATH", help="Write the report here (.json). Repeatable.")
def scan(spec: str, clauses: tuple[str, ...], reports: tuple[str, ...]) -> int:
    """Judge a PIR scanner: a function that harvests arrays of posted-interrupt descriptors (docs/scanner.md)."""
    from rich.console import Console

    from conformance.commands import scan as scanners
    from conformance.report import document, terminal
    from conformance.verdict.clause import exit_status
    from conformance.verdict.session import BadInput

    try:
        verdicts, assumptions = scanners.scan(spec, clauses, reports)
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    except document.ReportError as error:
        click.echo(str(error), err=True)
        return FAILED
    terminal.show(verdicts, Console(), assumptions=assumptions)
    return exit_status(verdicts)


@cli.command("list")
@click.argument("what", type=click.Choice(["clauses", "adapters", "scenarios"]))
def list_(what: str) -> None:
    """List the clauses of the catalogue, the registered adapters, or the scenarios."""
    from conformance.adapters.registry import descriptions
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
        click.echo(f"{name:{width}}  {text}")


@cli.command(epilog="Exit status: 0 it is written; 3 bad usage; 4 the suite itself failed.")
@click.option("--promela", is_flag=True, required=True, help="As Promela, for Spin. How to run it stands at its top.")
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As for run. Default: reference.")
@click.option("--scenario", required=True, metavar="NAME", help="One of intack list scenarios.")
@click.option("-o", "--output", default="-", type=click.File("w", lazy=True), metavar="FILE", help="Default: stdout.")
def export(promela: bool, adapter: str, scenario: str, output: IO[str]) -> None:
    """Write a scenario and the closed automata of an implementation in it for another model checker."""
    from conformance.commands.export import as_promela
    from conformance.verdict.session import BadInput

    try:
        text = as_promela(adapter, scenario)
    except BadInput as error:
        raise click.UsageError(str(error)) from None
    output.write(text)


for command in (new, build, smoke, litmus, order, fences, mutate):
    cli.add_command(command)


def main() -> None:
    """Entry point of the command."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = BAD_USAGE
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except Exception:
        traceback.print_exc()
        status = FAILED
    sys.exit(status)
