"""A table as Markdown, aligned so that it can be read on a terminal too. The first column is text, numbers follow."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """`texts`: how many columns, from the left, are text."""
    widths = [max(3, *(len(row[n]) for row in (head, *rows))) for n in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [f"{c:<{w}}" if n < texts else f"{c:>{w}}" for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * w if n < texts else "-" * (w - 1) + ":" for n, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])
