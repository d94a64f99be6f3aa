"""`intack mutate`: which of an implementation's lines does which guarantee hang on, and what would nobody notice?"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conformance.commands.clustered import client_of, cluster

if TYPE_CHECKING:
    from conformance.mutation.parts import Auditing, Part

STATUS = """
Exit status: 0 the score is at least --fail-under; 1 it is not; 2 nothing could be mutated; 3 bad usage, or a line of
--argued does not hold.
"""
FEW_STATES = 30_000
PARTS = 32
"""On a cluster."""


@click.command(epilog=STATUS)
@click.option("-a", "--adapter", "spec", default="reference", metavar="SPEC", help="As in intack run.")
@click.option("--routine", default="*", metavar="GLOB", help="Only operations of routines that match.")
@click.option(
    "--operator", default="*", metavar="NAME", help="Only this operator, or those that match; see --operators."
)
@click.option(
    "--scenario",
    "globs",
    multiple=True,
    metavar="GLOB",
    help="Only in scenarios, and functions by their clause, that match. Repeatable.",
)
@click.option("--architecture", metavar="NAME", help="Of an implementation that fills roles of several, only this one.")
@click.option("--states", default=FEW_STATES, show_default=True, help="Leave out scenarios larger than this.")
@click.option(
    "--again",
    default=0,
    metavar="STATES",
    help="What differs and is not killed is judged again in scenarios up to this.",
)
@click.option("--argued", type=click.Path(path_type=Path), help="A TOML file of mutants that are equivalent, and why.")
@click.option("--fail-under", default=0.0, metavar="PERCENT", help="Exit status 1 if the score is lower.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="PATH", help="Write every mutant's fate here, as JSON."
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Keep what is known after each scenario here, and go on from it. With several processes: a file each, PATH.0 ...",
)
@click.option("-n", "workers", default="auto", metavar="N", help="Worker processes. Default: auto.")
@cluster
@click.option("--all-lines", is_flag=True, help="Show lines of which every change is noticed, too.")
@click.option("--operators", is_flag=True, help="List the operators, and end.")
def mutate(
    spec: str,
    routine: str,
    operator: str,
    globs: tuple[str, ...],
    architecture: str | None,
    states: int,
    again: int,
    argued: Path | None,
    fail_under: float,
    report: Path | None,
    journal: Path | None,
    workers: str,
    address: str,
    all_lines: bool,
    operators: bool,
) -> int:
    """Change each operation of each routine in turn, without touching the code, and say which clause notices.

    A mutant is judged where its line is reached, until a guarantee is broken: first in the cases of clauses that are
    checked as functions, then in scenarios, smallest first.
    """
    from rich.console import Console

    from conformance.adapters.registry import AdapterError
    from conformance.mutation.kill import Only
    from conformance.mutation.operators import OPERATORS
    from conformance.mutation.parts import Auditing
    from conformance.mutation.score import ArguedError, arguments, score
    from conformance.report import mutants as told

    if operators:
        for name, (does, *_) in OPERATORS.items():
            click.echo(f"{name:12}  {does}")
        return 0
    if not any(fnmatchcase(name, operator) for name in OPERATORS):
        raise click.UsageError(f"no operator is called {operator!r}. There are: {', '.join(OPERATORS)}")
    for path in filter(None, (journal, report)):
        if not path.parent.is_dir():
            raise click.UsageError(f"cannot write {path}: there is no folder {path.parent}")
    try:
        known = arguments(argued) if argued else ()
        architectures = _architectures(spec, architecture)
        job = Auditing(spec, globs, architectures, states, again, journal, Only(routine, operator))
        audited = _audited(job, workers, address)
        whole = (routine, operator, globs) == ("*", "*", ())
    except (AdapterError, ArguedError) as error:
        raise click.UsageError(str(error)) from None
    result = score(audited.judged, known, whole=whole)
    if audited.left_out:
        click.echo(audited.left_out, err=True)
    names = audited.places
    if not audited.judged:
        click.echo(f"no operation of {spec} is reached: is --routine {routine} a routine that it fills?", err=True)
        return 2
    told.show(result, Console(), name=spec, places=names, all_lines=all_lines)
    if report:
        report.write_bytes(
            told.document(result, name=spec, architectures=architectures, places=names, states=states, again=again)
        )
    for line in result.refuted:
        click.echo(f"{argued}: {line}", err=True)
    return 3 if result.refuted else int(result.percent < fail_under)


def _architectures(spec: str, only: str | None) -> tuple[str, ...]:
    from conformance.adapters.registry import resolve

    filled = tuple(sorted(resolve(spec).architectures))
    if only and only not in filled:
        raise click.UsageError(f"{spec} fills no role of {only}, but of {', '.join(filled)}")
    return (only,) if only else filled


def _audited(job: Auditing, workers: str, address: str) -> Part:
    """The parts are as many as there are processes, and on a cluster always as many: what is kept of one fits the next time."""
    from conformance.mutation.parts import together
    from conformance.verdict.pool import Died

    if workers != "auto" and not workers.isdecimal():
        raise click.BadParameter(f"-n {workers!r} is neither a number nor auto")
    count = (os.cpu_count() or 1) if workers == "auto" else int(workers)
    if address:
        job = replace(job, parts=PARTS)
        with client_of(address) as client:
            from conformance.verdict.cluster import Cluster, answers

            assert client
            with closing(Cluster[int, "Part"](client, job)) as pool:
                found = dict(answers(pool, range(PARTS)))
    elif count < 2:
        found = {0: job.begin()[0](0)}
    else:
        job = replace(job, parts=count)
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            found = dict(zip(range(count), pool.map(_part, [job] * count, range(count)), strict=True))
    for died in found.values():
        if isinstance(died, Died):
            raise click.ClickException(f"the process in which mutants were judged {died.how}")
    return together([part for _, part in sorted(found.items()) if not isinstance(part, Died)])


def _part(job: Auditing, number: int) -> Part:
    return job.begin()[0](number)
