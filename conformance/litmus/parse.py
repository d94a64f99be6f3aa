"""Litmus tests in herd's format: a few threads of assembly, an initial state, and a question about final states.

    X86_64 SB
    { x=0; y=0; }
     P0          | P1          ;
     movl $1,(x) | movl $1,(y) ;
     movl (y),%eax | movl (x),%eax ;
    exists (0:rax=0 /\\ 1:rax=0)

The format as herdtools7 documents it (doc/herd.tex, "Input to herd"): one column a thread, one row an instruction, rows
end in `;`; `(* *)` comments anywhere, nested; metadata between the first line and `{`. What the instructions mean is in
`x86` and `aarch64`, what the question means in `condition`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from conformance.litmus.condition import Condition, Register, parse_condition
from conformance.litmus.values import Address, Concrete, Unsupported, number

ARCHITECTURES = ("X86", "X86_64", "AArch64")


class Damaged(Exception):
    """The text is no litmus test; the message says what is wrong and in which line."""


class Line(NamedTuple):
    """One instruction of a thread, with the labels that stand before it."""

    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class LitmusTest:
    name: str
    arch: str
    registers: Mapping[Register, Concrete]
    """Registers that do not start as 0."""
    memory: Mapping[Address, Concrete]
    """Locations that are named in the initial state."""
    threads: tuple[tuple[Line, ...], ...]
    quantifier: str
    """exists, ~exists or forall. An Observation is about the body alone, whichever it is."""
    condition: Condition
    filtered: Condition | None = None
    """Executions that do not satisfy it are not counted."""


_QUESTION = re.compile(r"^\s*(locations|filter|~\s*exists|not\s+exists|exists|forall)\b", re.MULTILINE)
_NAME = r"[A-Za-z_][\w.]*"
_DECLARED = re.compile(
    rf"""^(?:(?:const\s+|volatile\s+|unsigned\s+)*(?P<type>[A-Za-z_]\w*)\s*\*?\s+)?\*?\s*
    (?:(?P<thread>\d+)\s*:\s*(?P<register>%?{_NAME})|\[?\s*(?P<location>{_NAME})\s*\]?)
    \s*(?P<array>\[\s*\d*\s*\])?\s*(?:=\s*(?P<value>.+))?$""",
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> LitmusTest:
    """Raises Damaged for what is no litmus test, Unsupported for one in a language that is not read here."""
    text = _without_comments(text)
    if not (first := re.match(r"\s*(\S+)[ \t]+(\S.*)", text)):
        raise Damaged("the first line must be an architecture and a name, such as X86_64 SB")
    arch, name = first[1], first[2].strip()
    if arch not in ARCHITECTURES:
        raise Unsupported(f"architecture {arch}; there are: {', '.join(ARCHITECTURES)}")
    opened = text.find("{", first.end())
    closed = _closing(text, opened)
    if opened < 0 or closed < 0:
        raise Damaged("no initial state: expected { ... } after the first line")
    rest = text[closed + 1 :]
    question = _QUESTION.search(rest)
    if not question:
        raise Damaged("no question: expected exists, ~exists or forall after the threads")
    registers, memory = _initial(text[opened + 1 : closed])
    threads = _threads(rest[: question.start()])
    quantifier, condition, filtered = _question(rest[question.start() :], len(threads))
    return LitmusTest(name, arch, registers, memory, threads, quantifier, condition, filtered)


def _without_comments(text: str) -> str:
    """Comments nest; a newline in one is kept, so that a line keeps its number."""
    kept: list[str] = []
    depth = at = 0
    quoted = False
    while at < len(text):
        if not quoted and text.startswith("(*", at):
            depth, at = depth + 1, at + 2
        elif depth and text.startswith("*)", at):
            depth, at = depth - 1, at + 2
        else:
            quoted ^= text[at] == '"' and not depth
            quoted &= text[at] != "\n"
            kept.append(text[at] if not depth or text[at] == "\n" else "")
            at += 1
    if depth:
        raise Damaged("a comment is not closed: (* without *)")
    return "".join(kept)


def _closing(text: str, opened: int) -> int:
    depth = 0
    for at in range(opened, len(text)) if opened >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
    return -1


def _initial(text: str) -> tuple[dict[Register, Concrete], dict[Address, Concrete]]:
    registers: dict[Register, Concrete] = {}
    memory: dict[Address, Concrete] = {}
    for item in map(str.strip, text.split(";")):
        if not item:
            continue
        found = _DECLARED.match(item)
        if not found:
            raise Damaged(f"initial state: {item!r} is no declaration, such as x=1 or 0:X1=x")
        value = found["value"]
        if found["array"] or (value and value.lstrip().startswith("{")):
            raise Unsupported(f"the array {item!r}")
        concrete = _value(value) if value is not None else 0
        if found["register"]:
            registers[Register(int(found["thread"]), found["register"])] = concrete
        else:
            memory[Address(found["location"])] = concrete
    return registers, memory


def _value(text: str) -> Concrete:
    text = text.strip()
    if (known := number(text)) is not None:
        return known
    if found := re.fullmatch(rf"&?\(?({_NAME})\s*(?:\+\s*(\w+))?\)?", text):
        return Address(found[1], number(found[2]) or 0 if found[2] else 0)
    raise Unsupported(f"the initial value {text}")


def _threads(text: str) -> tuple[tuple[Line, ...], ...]:
    rows = [[cell.strip() for cell in row.split("|")] for row in text.split(";")]
    if rows[-1] != [""]:
        raise Damaged(f"threads: the row {' | '.join(rows[-1])!r} does not end in ;")
    header, *body = rows[:-1] or [[]]
    if header != [f"P{n}" for n in range(len(header))] or not header:
        if any(":" in cell for cell in header):
            raise Unsupported(f"the column heading {' | '.join(header)}")
        raise Damaged(f"threads: the columns are headed {' | '.join(header)!r}, expected P0 | P1 | ...")
    threads: list[list[Line]] = [[] for _ in header]
    labels: list[tuple[str, ...]] = [()] * len(header)
    for row in body:
        if len(row) > len(header):
            raise Damaged(f"threads: the row {' | '.join(row)!r} has more columns than the heading")
        for n, cell in enumerate(row):
            while found := re.match(r"([A-Za-z_][\w.$]*)\s*:\s*", cell):
                labels[n] += (found[1],)
                cell = cell[found.end() :]
            if cell:
                threads[n].append(Line(labels[n], " ".join(cell.split())))
                labels[n] = ()
    for n, left in enumerate(labels):
        if left:
            threads[n].append(Line(left, "NOP"))
    return tuple(tuple(lines) for lines in threads)


def _question(text: str, threads: int) -> tuple[str, Condition, Condition | None]:
    filtered: Condition | None = None
    while True:
        found = _QUESTION.match(text)
        if not found:
            raise Damaged(f"no question: expected exists, ~exists or forall, found {text.strip()[:40]!r}")
        keyword, text = " ".join(found[1].split()), text[found.end() :]
        match keyword:
            case "locations":
                if not (listed := re.match(r"\s*\[[^]]*(?:\[[^]]*\][^]]*)*\]", text)):
                    raise Damaged("locations: expected a list in [ ]")
                text = text[listed.end() :]
            case "filter":
                filtered, text = _condition(text, threads)
            case _:
                condition, left = _condition(text, threads)
                if left.strip("; \n\t\r"):
                    raise Damaged(f"the condition goes on after its end: {left.strip()[:40]!r}")
                quantifier = "~exists" if keyword.startswith(("~", "not")) else keyword
                return quantifier, condition, filtered


def _condition(text: str, threads: int) -> tuple[Condition, str]:
    try:
        condition, left = parse_condition(text)
    except ValueError as error:
        raise Damaged(str(error)) from None
    for term in condition.terms():
        if isinstance(term, Register) and term.thread >= threads:
            raise Damaged(f"the condition speaks of thread {term.thread}; there are {threads}")
    return condition, left
