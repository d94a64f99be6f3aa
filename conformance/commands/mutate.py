"""`intack mutate`: which of an implementation's lines does which guarantee hang on, and what would nobody notice?"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from conformance.mutation.kill import Judged, Only

STATUS = """
Exit status: 0 the score is at least --fail-under; 1 it is not; 2 nothing could be mutated; 3 bad usage.
"""
FEW_STATES = 30_000


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
        where = _Where(spec, globs, architectures, states, again, journal)
        names, judged = _judged(where, Only(routine, operator), workers)
        whole = (routine, operator, globs) == ("*", "*", ())
        result = score(judged, known, whole=whole)
    except (AdapterError, ArguedError) as error:
        raise click.UsageError(str(error)) from None
    if not judged:
        click.echo(f"no operation of {spec} is reached: is --routine {routine} a routine that it fills?", err=True)
        return 2
    told.show(result, Console(), name=spec, places=names, all_lines=all_lines)
    if report:
        report.write_bytes(
            told.document(result, name=spec, architectures=architectures, places=names, states=states, again=again)
        )
    return int(result.percent < fail_under)


class _Where(NamedTuple):
    """Of what, and where: as the options have it."""

    spec: str
    globs: tuple[str, ...]
    architectures: tuple[str, ...]
    states: int
    again: int
    journal: Path | None


def _architectures(spec: str, only: str | None) -> tuple[str, ...]:
    from conformance.adapters.registry import resolve

    filled = tuple(sorted(resolve(spec).architectures))
    if only and only not in filled:
        raise click.UsageError(f"{spec} fills no role of {only}, but of {', '.join(filled)}")
    return (only,) if only else filled


def _judged(where: _Where, only: Only, workers: str) -> tuple[list[str], list[Judged]]:
    """The places, and every mutant's fate; the sites shared out among processes."""
    if workers != "auto" and not workers.isdecimal():
        raise click.BadParameter(f"-n {workers!r} is neither a number nor auto")
    count = (os.cpu_count() or 1) if workers == "auto" else int(workers)
    if count < 2:
        return _part(where, only)
    parts = [replace(only, part=(n, count)) for n in range(count)]
    journals = [where.journal.with_name(f"{where.journal.name}.{n}") if where.journal else None for n in range(count)]
    wheres = [where._replace(journal=journal) for journal in journals]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_part, wheres, parts))
    judged = [j for _, part in found for j in part]
    return found[0][0], sorted(judged, key=lambda j: j.mutant)


def _part(where: _Where, only: Only) -> tuple[list[str], list[Judged]]:
    from conformance.adapters.registry import resolve
    from conformance.mutation.in_function import functions
    from conformance.mutation.in_scenario import smallest_first
    from conformance.mutation.journal import JournalFile
    from conformance.mutation.kill import audit
    from conformance.verdict.suite import load_suite

    implementation, suite = resolve(where.spec), load_suite()

    def asked(name: str, architecture: str) -> bool:
        return architecture in where.architectures and (
            not where.globs or any(fnmatchcase(name, glob) for glob in where.globs)
        )

    clauses = [c for c in suite.clauses if c.check == "sequential" and asked(c.id, c.architecture)]
    scenarios = [s for s in suite.scenarios if not s.samples and asked(s.name, s.architecture)]
    if not clauses and not scenarios:
        raise click.UsageError(f"nothing of {', '.join(where.architectures)} matches {', '.join(where.globs)}")
    most = max(where.states, where.again)
    explored = smallest_first(implementation, suite, scenarios, most)
    places = [*functions(implementation, suite, clauses), *explored]
    if left := len(clauses) + len(scenarios) - len(places):
        click.echo(
            f"{left} of {len(clauses) + len(scenarios)} scenarios and functions are left out: larger than {most:,} states, "
            "or the unchanged code breaks or fails them",
            err=True,
        )
    journal = JournalFile(where.journal, implementation, only) if where.journal else None
    larger = frozenset(place.name for place in explored if place.states > where.states)
    return [p.name for p in places if p.name not in larger], list(audit(places, only, journal, larger))
