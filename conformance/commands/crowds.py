"""`intack crowds`: what holds for any number of callers."""

from __future__ import annotations

from fnmatch import fnmatchcase

import click

VIOLATED, UNDECIDED = 1, 2

STATUS = """
Exit status: 0 all holds for any number; 1 something is broken, and so many callers break it; 2 nothing is, but something
stayed UNKNOWN; 3 bad usage.
"""


@click.command(epilog=STATUS)
@click.option("-a", "--adapter", default="reference", metavar="SPEC", help="As in intack run. Default: reference.")
@click.option("-s", "--scenario", "globs", multiple=True, metavar="GLOB", help="Repeatable. Default: all.")
@click.option("--architecture", default="", metavar="NAME", help="Scenarios of this one alone. Default: all.")
@click.option("--steps", is_flag=True, help="And stories with any number of exits, preemptions, migrations and halts.")
@click.option("--witness/--no-witness", default=True, help="Show what breaks a clause. Default: yes.")
@click.option("--json", "as_json", is_flag=True, help="A document for programs: docs/reports.md.")
def crowds(adapter: str, globs: tuple[str, ...], architecture: str, steps: bool, witness: bool, as_json: bool) -> int:
    """Is no interrupt lost, however many devices, senders or handlers post, however often?

    Callers are counted, not told apart; a breach is confirmed by one to four real ones, or else UNKNOWN.
    """
    from conformance.adapters.registry import AdapterError, resolve
    from conformance.report import answers
    from conformance.report.crowds import crowds as told
    from conformance.roles.nearest import nearest
    from conformance.verdict.crowd import TellsCrowds, judged, judged_by_steps
    from conformance.verdict.suite import guarantees, load_suite
    from conformance.verdict.unlimited import MOST_STATES, twins

    suite = load_suite()
    counted = {s.name: s for s in (suite.crowds if isinstance(suite, TellsCrowds) else ())}
    known = dict(counted)
    known |= {s.name: s for s in (twins(suite, MOST_STATES) if steps else ())}
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise click.UsageError(f"no such scenario: {glob!r}. {nearest(glob, known)} All: {', '.join(known)}")
    names = [name for name in known if not globs or any(fnmatchcase(name, glob) for glob in globs)]
    known_architectures = dict.fromkeys(s.architecture for s in known.values())
    if architecture and architecture not in known_architectures:
        raise click.UsageError(f"no such architecture: {architecture!r}. {nearest(architecture, known_architectures)}")
    try:
        implementation = resolve(adapter)
    except AdapterError as error:
        raise click.UsageError(str(error)) from None
    chosen = [known[name] for name in names if architecture in ("", known[name].architecture)]
    chosen = [scenario for scenario in chosen if implementation.takes_part(scenario)]
    if not chosen:
        raise click.UsageError(f"{implementation.name} fills {implementation.fills()}; it takes part in none of these")
    owed = guarantees(suite, implementation) | {"DEADLOCK", "RACE", "ASSERTION"}
    found = []
    for scenario in chosen:
        judge = judged if scenario.name in counted else judged_by_steps
        found.append(judge(implementation, scenario, suite, owed))
        if not as_json:
            click.echo(told(found[-1], witness=witness), nl=False)
    if as_json:
        click.echo(answers.text(answers.Crowds(implementation=implementation.name, scenarios=tuple(found))), nl=False)
    if any(one.broken for one in found):
        return VIOLATED
    return UNDECIDED if any(one.spurious or one.unknown for one in found) else 0
