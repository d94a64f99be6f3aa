"""Chooses the rows of each architecture's covering.json anew (see covering.py), whatever is there:

    python -m properties.rows
    python -m properties.golden --write         then pins what they come to

It stands apart from what reads the pinned rows: those may be of another grammar, and make no sense any more.
"""

from __future__ import annotations

from properties.arm.grammar import ARM
from properties.covering import choose, pin, pinned
from properties.nested.grammar import NESTED
from properties.x86.grammar import X86


def main() -> None:
    for grammar in (X86, NESTED, ARM):
        states = {chosen.row: chosen.states for chosen in pinned(grammar)}
        pin(grammar, choose(grammar), states)


if __name__ == "__main__":
    main()
