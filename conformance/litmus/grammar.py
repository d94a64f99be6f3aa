"""The text of a litmus test as a tree of `litmus.lark`, or what is wrong with it, in which line and column."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from conformance.litmus.values import Unsupported

MOST_CHARACTERS = 500_000
BEYOND = re.compile(r"\b(?:PTE|TTD|PA|tag|TAG|SS|INTID)\s*\(|instr:|codevar:|label:")
"""Page tables, memory tags, instruction fetch: herd reads them, this does not."""


class Damaged(Exception):
    """The text is no litmus test; the message says what is wrong, in which line and column."""


def tree(text: str) -> Tree[Any]:
    """Raises Damaged, and Unsupported for what herd reads beyond this grammar."""
    if len(text) > MOST_CHARACTERS:
        raise Unsupported(f"a file of more than {MOST_CHARACTERS:,} characters")
    text = _without_comments(text)
    try:
        return _parser().parse(text)
    except UnexpectedInput as error:
        if BEYOND.search(text):
            raise Unsupported("page tables, memory tags or instructions as data") from None
        raise Damaged(_told(error, text)) from None


_OUTSIDE, _INSIDE = re.compile(r"\(\*|\"[^\"\n]*\""), re.compile(r"\(\*|\*\)")


def _without_comments(text: str) -> str:
    """Blanks in their place, so that everything else keeps its line and column. They nest; a string holds none."""
    kept: list[str] = []
    opened: list[int] = []
    begun = at = 0
    while found := (_INSIDE if opened else _OUTSIDE).search(text, at):
        at = found.end()
        if found[0] == "(*":
            if not opened:
                kept.append(text[begun : found.start()])
                begun = found.start()
            opened.append(found.start())
        elif found[0] == "*)":
            opened.pop()
            if not opened:
                kept.append(re.sub(r"[^\n]", " ", text[begun:at]))
                begun = at
    if opened:
        raise Damaged(f"{_place(text, opened[0])}: a comment is not closed: (* without *)")
    return "".join((*kept, text[begun:]))


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


WORDS = {
    "ARCHITECTURE": "an architecture", "TITLE": "a name", "NAME": "a name", "SYMBOLIC": "a register", "NUMBER": "a number",
    "CELL": "an instruction", "QUANTIFIER": "exists, ~exists, forall or final", "LOCATIONS": "locations",
    "FILTER": "filter", "TRAILER": "<<", "NOT": "~", "TRUTH": "true", "STAR": "*", "LBRACE": "{",
    "RBRACE": "}", "LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "SEMICOLON": ";", "VBAR": "|", "COLON": ":",
    "EQUAL": "=", "COMMA": ",", "PLUS": "+", "AMPERSAND": "&", "AND": "and", "WITH": "with", "$END": "the end of the file",
}  # fmt: skip
"""What the grammar's terminals are called; of what may come next only these are told."""


def _told(error: UnexpectedInput, text: str) -> str:
    if isinstance(error, UnexpectedToken):
        names, found, at = error.accepts or error.expected, str(error.token), error.token.start_pos
        ended = error.token.type == "$END"
    else:
        assert isinstance(error, UnexpectedCharacters)
        names, found, at = error.allowed or (), text[error.pos_in_stream :], error.pos_in_stream
        ended = False
    line = found.split("\n", 1)[0].strip()
    wanted = sorted({WORDS[name] for name in names if name in WORDS}, key=lambda word: (len(word) < 3, word))
    place = f"line {text.count(chr(10)) + 1}" if ended or at is None else _place(text, at)
    seen = "the file ends" if ended else f"found {line[:30]!r}"
    last = " or ".join(filter(None, (", ".join(wanted[:-1]), *wanted[-1:])))
    return f"{place}: {seen}, expected {last}" if wanted else f"{place}: {seen}"


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("litmus.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)
