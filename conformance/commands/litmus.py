"""`intack litmus`: litmus tests in herd's format, decided under a memory model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from conformance.roles.printable import printable, printable_lines

UNDECIDED, BAD_INPUT, FAILED = 2, 3, 4

STATUS = """
Exit status: 0 every test that is supported was decided; 2 one stayed UNKNOWN; 3 a file cannot be read or is no litmus
test; 4 the suite itself failed on one. The other files are decided all the same.
"""


@click.command(epilog=STATUS)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--model", type=click.Choice(["tso", "armv8", "sc"]), help="Default: what the test's architecture has.")
@click.option("--witness", is_flag=True, help="Show an execution that satisfies the condition, as lanes.")
@click.option("--seconds", default=60.0, show_default=True, help="For each test; then it is UNKNOWN.")
@click.option(
    "--json", "as_json", is_flag=True, help="A document for each file, a line each, for programs: docs/reports.md."
)
def litmus(files: tuple[Path, ...], model: str | None, witness: bool, seconds: float, as_json: bool) -> int:
    """Decide litmus tests in herd's format for X86, X86_64 and AArch64: a line a test.

    A directory stands for all *.litmus files in it. Of a test that asks nothing all final states are shown.
    """
    from conformance.litmus.grammar import Damaged
    from conformance.litmus.observe import observe
    from conformance.report import answers
    from conformance.report.ordering import execution

    status = 0
    for path in _files(files):
        try:
            seen = observe(path.read_text("utf-8-sig"), model, seconds=seconds, alone=witness)  # type: ignore[arg-type]
        except (Damaged, UnicodeDecodeError) as error:
            _tell(as_json, path, "damaged", f"{path} is no litmus test: {error}")
            status = max(status, BAD_INPUT)
            continue
        except OSError as error:
            _tell(as_json, path, "damaged", f"cannot read {path}: {str(error.strerror).lower()}")
            status = max(status, BAD_INPUT)
            continue
        except Exception as error:  # a defect of the suite costs this file, not the others
            _tell(as_json, path, "failed", f"{path}: the suite itself failed: {type(error).__name__}: {error}")
            status = FAILED
            continue
        if as_json:
            click.echo(answers.text(answers.litmus(str(path), seen)), nl=False)
        else:
            click.echo(printable(str(seen), "\n"))
            for state in seen.states or ():
                held = "; ".join(f"{term}={value}" for term, value in zip(seen.terms, state, strict=True))
                click.echo(f"  {printable(held)}")
        if witness and seen.positive and not as_json:
            click.echo(execution(seen.positive, seen.model))
        if seen.verdict == "UNKNOWN":
            status = status or UNDECIDED
    return status


def _tell(as_json: bool, path: Path, verdict: str, reason: str) -> None:
    """Why there is no answer for a file: on standard error, and in its document."""
    click.echo(printable_lines(reason), err=True)
    if as_json:
        from conformance.report import answers

        click.echo(answers.text(answers.Litmus(file=str(path), verdict=verdict, reason=reason)), nl=False)


def _files(given: tuple[Path, ...]) -> Iterator[Path]:
    for path in given:
        if os.path.isdir(path):
            yield from sorted(path.rglob("*.litmus"))
        else:
            yield path
