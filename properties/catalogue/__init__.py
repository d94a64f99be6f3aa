"""The catalogue: what is promised, clause by clause, in a file for each part of it."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import msgspec

from conformance.verdict.clause import Clause


def clauses(*names: str) -> tuple[Clause, ...]:
    """Those of the files of these names, in their order."""
    texts = [files(__name__).joinpath(name).read_text() for name in names]
    return tuple(msgspec.convert(c, Clause) for text in texts for c in tomllib.loads(text)["clause"])
