"""Lines of text: marks and styles of a verdict, paragraphs that hang below their lead."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

from conformance.verdict.clause import Status

STYLES = {
    Status.VIOLATED: "bold red",
    Status.CRASH: "bold magenta",
    Status.TIMEOUT: "bold magenta",
    Status.NONDETERMINISTIC: "bold magenta",
    Status.UNKNOWN: "magenta",
    Status.NOT_EXERCISED: "magenta",
    Status.DEVIATES: "yellow",
    Status.HELD: "green",
    Status.OBSERVED: "cyan",
    Status.NEVER_OBSERVED: "dim",
    Status.NOT_APPLICABLE: "dim",
    Status.NOT_CHECKED: "dim",
}
"""In the order in which the summary counts them."""
MARKS = {
    Status.VIOLATED: ("X", "✗"),
    Status.CRASH: ("!", "!"),
    Status.TIMEOUT: ("!", "!"),
    Status.NONDETERMINISTIC: ("!", "!"),
    Status.UNKNOWN: ("?", "?"),
    Status.NOT_EXERCISED: ("?", "?"),
    Status.DEVIATES: ("~", "~"),
    Status.HELD: ("+", "✓"),
    Status.OBSERVED: ("o", "○"),
    Status.NEVER_OBSERVED: (".", "·"),
    Status.NOT_APPLICABLE: ("-", "-"),
    Status.NOT_CHECKED: ("-", "-"),
}
"""Plain, and where more than ASCII can be shown."""


def hang(
    lead: str, body: str, width: int, *, style: str = "", lead_style: str = "", indent: int | None = None
) -> Iterator[Text]:
    """A paragraph after a lead, its further lines indented."""
    indent = len(lead) if indent is None else indent
    wrapped = textwrap.wrap(
        lead + (body or "-"), max(width, indent + 20), subsequent_indent=" " * indent, break_on_hyphens=False
    )
    for n, line in enumerate(wrapped):
        made = Text(line, style)
        if not n and lead_style:
            made.stylize(lead_style, 0, len(lead))
        yield made


def shortened(text: str, width: int) -> str:
    """As many of its words as fit, the first sentence if that does."""
    first = text.partition(". ")[0].removesuffix(".")
    return first if len(first) <= width else textwrap.shorten(first, width, placeholder=" ...")


def plural(count: int, of: str) -> str:
    ending = "es" if of.endswith(("ch", "s")) else "s"
    return f"{count:,} {of}{ending * (count != 1)}"
