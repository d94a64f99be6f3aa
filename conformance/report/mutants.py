"""What became of mutants, for people and as JSON: the score, lines of which nothing is noticed, survivors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance import __version__
from conformance.mutation.kill import Judged
from conformance.mutation.operators import OPERATORS
from conformance.mutation.score import LineScore, Score, key
from conformance.roles.printable import printable
from conformance.roles.scenario import many

SCHEMA = "intack.mutants/1"
WORDS = {
    "killed": "killed by a guarantee",
    "deviates": "noticed by a discipline alone",
    "not exercised": "noticed by a premise that is never met again",
    "crash": "stopped by a fault of the mutant",
    "shows": "survive, though a guest, a wire or the scheduler shows it: a clause is missing",
    "memory": "change memory at rest alone: bookkeeping, or a scenario that would need it is missing",
    "same": "show nothing in these scenarios: equivalent, or a scenario is missing",
    "argued": "argued to be equivalent",
}


def show(score: Score, console: Console, *, name: str, places: Sequence[str], all_lines: bool = False) -> None:
    """Print the whole report."""
    console.print(Text(f"Mutants of {printable(name)}, in {len(places)} scenarios and functions", "bold"))
    for file, lines in groupby(score.lines(), key=lambda line: line.line.file):
        rows = [line for line in lines if all_lines or _unnoticed(line) or _partly(line)]
        if rows:
            console.print()
            console.print(Text(printable(file), "bold"))
            console.print(Padding(_lines(rows), (0, 0, 0, 2)))
    survivors = score.survivors()
    if survivors:
        console.print()
        console.print(Text("What no guarantee noticed", "bold"))
        for fate, group in groupby(survivors, key=lambda judged: judged.fate):
            console.print(Text(f"  {WORDS[fate]}:", "yellow" if fate == "shows" else "dim"))
            for judged in group:
                console.print(Text(f"    {_told(judged)}"), soft_wrap=True)
    console.print()
    for line in summary(score):
        console.print(line, soft_wrap=True, highlight=False)


def summary(score: Score) -> Iterator[str]:
    fates = score.fates()
    yield f"{len(score.judged)} mutants: " + "; ".join(f"{fates[f]} {WORDS[f]}" for f in WORDS if fates[f])
    yield f"Score: {score.percent:.1f} % of those not shown or argued equivalent are killed by a guarantee."


def _lines(rows: Sequence[LineScore]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("line", "operation", "killed", "of", "by"):
        table.add_column(column, justify="right" if column in ("line", "killed", "of") else "left")
    for row in rows:
        mark = "no change is noticed" if _unnoticed(row) else ", ".join(row.clauses)
        style = "yellow" if _unnoticed(row) else ""
        number = str(row.line.number or row.line.file)
        table.add_row(
            number,
            printable(row.what),
            str(row.fates.get("killed", 0)),
            str(sum(row.fates.values())),
            mark,
            style=style,
        )
    return table


def _unnoticed(line: LineScore) -> bool:
    return not set(line.fates) - {"same", "memory", "shows"}


def _partly(line: LineScore) -> bool:
    return bool(set(line.fates) - {"killed", "argued"})


def _told(judged: Judged) -> str:
    told = f"{judged.mutant}"
    detail = f" ({judged.detail}, {judged.scenario})" if judged.detail else ""
    return printable(f"{told}{detail}; reached in {many(len(judged.reached), 'place')}")


def document(
    score: Score, *, name: str, architectures: Sequence[str], places: Sequence[str], states: int, again: int = 0
) -> bytes:
    """The same as JSON (`intack.mutants/1`): a row a mutant."""
    rows: list[dict[str, Any]] = [
        {
            "mutant": key(judged.mutant),
            "line": str(judged.mutant.site.line),
            "does": OPERATORS[judged.mutant.operator][0],
            "role": judged.role,
            "routines": judged.routines,
            "fate": score.fate(judged),
            "detail": score.argued.get(key(judged.mutant)) or judged.detail,
            "where": judged.scenario,
            "reached": judged.reached,
        }
        for judged in score.judged
    ]
    made = {
        "schema": SCHEMA,
        "version": __version__,
        "implementation": name,
        "architectures": list(architectures),
        "places": list(places),
        "states": states,
        "again": again,
        "score": round(score.percent, 1),
        "mutants": rows,
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"
