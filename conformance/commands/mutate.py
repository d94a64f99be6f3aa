"""`intack mutate`: which of an implementation's lines does which guarantee hang on, and what would nobody notice?"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

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
    "--scenario", "scenarios", multiple=True, metavar="GLOB", help="Only in scenarios that match. Repeatable."
)
@click.option("--states", default=FEW_STATES, show_default=True, help="Leave out scenarios larger than this.")
@click.option("--argued", type=click.Path(path_type=Path), help="A TOML file of mutants that are equivalent, and why.")
@click.option("--fail-under", default=0.0, metavar="PERCENT", help="Exit status 1 if the score is lower.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="PATH", help="Write every mutant's fate here, as JSON."
)
@click.option("-n", "workers", default="auto", metavar="N", help="Worker processes. Default: auto.")
@click.option("--all-lines", is_flag=True, help="Show lines of which every change is noticed, too.")
@click.option("--operators", is_flag=True, help="List the operators, and end.")
def mutate(
    spec: str,
    routine: str,
    operator: str,
    scenarios: tuple[str, ...],
    states: int,
    argued: Path | None,
    fail_under: float,
    report: Path | None,
    workers: str,
    all_lines: bool,
    operators: bool,
) -> int:
    """Change each operation of each routine in turn, without touching the code, and say which clause notices.

    A mutant is explored in the scenarios that reach its line, smallest first, until a guarantee is broken.
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
    try:
        known = arguments(argued) if argued else ()
        names, judged = _judged(spec, scenarios, states, Only(routine, operator), workers)
        whole = (routine, operator, scenarios) == ("*", "*", ())
        result = score(judged, known, whole=whole)
    except (AdapterError, ArguedError) as error:
        raise click.UsageError(str(error)) from None
    if not judged:
        click.echo(f"no operation of {spec} is reached: is --routine {routine} a routine that it fills?", err=True)
        return 2
    told.show(result, Console(), name=spec, scenarios=names, all_lines=all_lines)
    if report:
        report.write_bytes(told.document(result, name=spec, scenarios=names))
    return int(result.percent < fail_under)


def _judged(spec: str, globs: tuple[str, ...], states: int, only: Only, workers: str) -> tuple[list[str], list[Judged]]:
    """The scenarios, and every mutant's fate; the sites shared out among processes."""
    if workers != "auto" and not workers.isdecimal():
        raise click.BadParameter(f"-n {workers!r} is neither a number nor auto")
    count = (os.cpu_count() or 1) if workers == "auto" else int(workers)
    if count < 2:
        return _part(spec, globs, states, only)
    parts = [(spec, globs, states, replace(only, part=(n, count))) for n in range(count)]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_part, *zip(*parts, strict=True)))
    judged = [j for _, part in found for j in part]
    return found[0][0], sorted(judged, key=lambda j: j.mutant)


def _part(spec: str, globs: tuple[str, ...], states: int, only: Only) -> tuple[list[str], list[Judged]]:
    from conformance.adapters.registry import resolve
    from conformance.mutation.kill import audit
    from conformance.verdict.suite import load_suite

    implementation, suite = resolve(spec), load_suite()
    scenarios = [
        s for s in suite.scenarios
        if implementation.filled(s.architecture) and not s.samples
        and (not globs or any(fnmatchcase(s.name, g) for g in globs))
    ]  # fmt: skip
    if not scenarios:
        raise click.UsageError(f"no scenario of {', '.join(implementation.architectures)} matches {', '.join(globs)}")
    found = audit(implementation, suite, scenarios, only, states)
    return list(found.scenarios), list(found.judged)
