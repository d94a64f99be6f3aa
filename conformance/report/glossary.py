"""The words of the field, from templates/glossary.md: those that a report uses go along with it.

docs/glossary.md is a copy: cp conformance/report/templates/glossary.md docs/glossary.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "templates" / "glossary.md"
ENTRY = re.compile(r"^### (.+)\n((?:.+\n)+)", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)|[*`]")


class Word(NamedTuple):
    name: str
    says: str
    """One to three sentences, plain."""

    @property
    def anchor(self) -> str:
        """What a link to it ends in, on the site and in a report."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@cache
def words() -> tuple[Word, ...]:
    return tuple(Word(name, LINK.sub(r"\1", " ".join(says.split()))) for name, says in ENTRY.findall(PAGE.read_text()))


def used(texts: Iterable[str]) -> tuple[Word, ...]:
    """Those that occur in these texts, in the order of the page."""
    text = "\n".join(texts)
    return tuple(word for word in words() if _of(word).search(text))


@cache
def _of(word: Word) -> re.Pattern[str]:
    """Names in capitals as they stand, others in either case and in the plural."""
    each = (re.escape(name) if name.isupper() else f"(?i:{re.escape(name)}s?)" for name in word.name.split(" and "))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(each)})(?![\w-])")
