"""`intack order`: directed schedules."""

from __future__ import annotations

import sys

import click

UNDECIDED = 2

STATUS = """
Exit status: 0 a schedule fits and none that fits violates anything; 1 one that fits does; 2 no schedule fits, or that
could not be decided; 3 bad usage.
"""


@click.command(epilog=STATUS)
@click.argument("constraints", nargs=-1, metavar="CONSTRAINT...")
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As in intack run. Default: reference.")
@click.option("--profile", default="", metavar="NAME", help="As in intack run.")
@click.option(
    "-s",
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME",
    help="Only here. Repeatable. Default: all stories.",
)
@click.option("--json", "as_json", is_flag=True, help="A document for programs: docs/reports.md.")
@click.option("--names", is_flag=True, help="List what can be named in these scenarios, and ask nothing.")
def order(
    constraints: tuple[str, ...], adapter: str, profile: str, scenarios: tuple[str, ...], names: bool, as_json: bool
) -> int:
    """Is there a schedule that fits, and does any that fits break a clause?

    A CONSTRAINT is a chain such as "cpu1.reads mode < cpu0.mode := 1 < cpu0.enters", or "not reached cpu1.sends"; several
    may stand in one text after a semicolon. A name is a lane of the report, a dot, and how an operation begins there;
    #2 at its end is the second time.
    """
    from conformance.adapters.registry import AdapterError
    from conformance.adapters.source import Fault
    from conformance.ordering.names import BadConstraint
    from conformance.ordering.order import nameable, schedules
    from conformance.report import answers as documents
    from conformance.report.ordering import directed_schedules
    from conformance.roles.printable import printable, printable_lines

    if names and (constraints or not scenarios):
        raise click.UsageError("--names takes scenarios and no constraint: intack order --names -s NAME")
    try:
        if names:
            for scenario in scenarios:
                for name in nameable(adapter, scenario):
                    click.echo(printable(name))
            return 0
        answers = schedules(adapter, *constraints, scenarios=scenarios, profile=profile)
    except (AdapterError, BadConstraint) as error:
        raise click.UsageError(str(error)) from None
    except Fault as fault:
        click.echo(printable_lines(f"{fault.status}: {fault}"), err=True)
        return UNDECIDED
    if as_json:
        click.echo(documents.text(documents.order(constraints, answers)), nl=False)
    else:
        click.echo(directed_schedules(answers, color=sys.stdout.isatty()), nl=False)
    if any(answer.violated for answer in answers):
        return 1
    decided = any(answer.fits for answer in answers) and not any(answer.undecided for answer in answers)
    return 0 if decided else UNDECIDED
