"""Constraints on a schedule, in the words of a report: `cpu1.reads mode < cpu0.mode := 1 < cpu0.enters`.

A name is a lane of the report, a dot, and how an operation of that lane begins there: `cpu0.reads ON`, `cpu0.reads ON = 0`,
`cpu1.sends`, `wire0.0xf2 arrives`. Instead of the lane the routine may stand: `deliver_interrupt.reads mode`. The owner
of a location may be left out, as the report does, and `_` stands for a blank. `#2` at the end is the second time;
`not reached NAME#2` says that there is none, a first one or not.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from conformance.machine.facts import Happened
from conformance.roles.architecture import Architecture
from conformance.search.words import Words


class BadConstraint(Exception):
    """What was written is no constraint, or names what does not exist; the message says what to write."""


class Did(NamedTuple):
    """One thing that happened, in words; `routine` is empty where none did it. `brief` leaves out which vCPU's a location
    is.
    """

    agent: str
    routine: str
    text: str
    brief: str


class Speaks:
    """Puts what happens in a scenario into words, as the report does."""

    def __init__(self, architecture: Architecture, vcpus: Collection[str]) -> None:
        self.whole, self.brief = Words(architecture), Words(architecture, frozenset(vcpus))

    def did(self, agent: str, fact: Happened) -> Did:
        return Did(agent, fact.routine, self.whole.fact(fact), self.brief.fact(fact))


class Name(NamedTuple):
    text: str
    """As the user wrote it."""
    who: str
    words: str
    """How the operation begins, in small letters and with single blanks."""
    nth: int = 0
    """Which occurrence; 0 is any."""

    def matches(self, it: Did) -> bool:
        if self.who not in (it.agent, it.routine):
            return False
        return any(_begins(plain(form), self.words) for form in (it.text, it.brief))


@dataclass(frozen=True, slots=True)
class Before:
    """`first` comes before `then`: some occurrence of each, the same wherever the name stands."""

    first: Name
    then: Name

    def __str__(self) -> str:
        return f"{self.first.text} < {self.then.text}"


@dataclass(frozen=True, slots=True)
class Reached:
    """The run does it, or (`never`) comes to rest without ever having done it."""

    name: Name
    never: bool = False

    def __str__(self) -> str:
        return f"{'not ' * self.never}reached {self.name.text}"


Constraint = Before | Reached


def parse(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """Chains with `<`, `reached NAME` and `not reached NAME`, several in one text after `;`. Raises BadConstraint."""
    made: list[Constraint] = []
    for part in (part.strip() for text in texts for part in text.split(";")):
        if found := re.match(r"(not\s+)?reached\b\s*(.*)$", part, re.IGNORECASE | re.DOTALL):
            if "<" in part or not found[2]:
                raise BadConstraint(
                    f"{part!r}: behind reached stands one name; a chain is a constraint of its own, behind a semicolon"
                )
            made.append(Reached(_name(found[2]), bool(found[1])))
        elif found := re.match(r"not\s+(.+)$", part):
            raise BadConstraint(f"write 'not reached {found[1]}' for {part!r}")
        elif "<=" in part:
            raise BadConstraint(f"there is only <, not <= as in {part!r}: no two operations come at once")
        elif ">" in part.replace("->", ""):
            turned = " < ".join(piece.strip() for piece in reversed(part.split(">")))
            write = f"write {turned!r} for {part!r}" if "<" not in part else f"there is only <, not > as in {part!r}"
            raise BadConstraint(f"what comes first stands first: {write}")
        elif part:
            pieces = part.split("<")
            if not all(map(str.strip, pieces)):
                raise BadConstraint(f"on one side of a < in {part!r} stands no name")
            chain = [_name(piece) for piece in pieces]
            for one, other in itertools.pairwise(chain):
                if one == other:
                    raise BadConstraint(
                        f"{part!r}: nothing comes before itself; of two times write '{one.text} #1 < {one.text} #2'"
                        if not one.nth
                        else f"{part!r}: nothing comes before itself"
                    )
            made += [Before(a, b) for a, b in itertools.pairwise(chain)] or [Reached(chain[0])]
    if not made:
        raise BadConstraint("no constraint was given; write one such as 'cpu1.reads mode < cpu0.mode := 1'")
    return tuple(made)


def _name(text: str) -> Name:
    text = " ".join(text.split())
    found = re.fullmatch(r"([\w ]+?)\.(.+?)(?:\s*#(\d+))?", text)
    if not found:
        raise BadConstraint(
            f"{text!r} is no name: write LANE.OPERATION as the report prints them, such as cpu0.reads ON"
        )
    if re.search(r"\s+(?:and|&&?)\s+\w+\.|,\s*\w+\.", text):
        raise BadConstraint(f"{text!r}: between constraints that are to hold together stands a semicolon")
    if wrong := re.search(r"#\s*[-+.\d]+$", found[2]):
        raise BadConstraint(
            f"{text!r}: behind # stands which time it is, a whole number from 1, not {wrong[0][1:].strip()}"
        )
    if found[3] and not int(found[3]):
        raise BadConstraint(f"{text!r}: the first time is #1, and a name without # is any time")
    return Name(text, found[1], plain(found[2]), int(found[3] or 0))


def plain(text: str) -> str:
    """In small letters, with single blanks; `_` is one."""
    return " ".join(text.replace("_", " ").lower().split())


def _begins(text: str, words: str) -> bool:
    """At a whole word: `or PIR` begins `or PIR[200] 1`, and `reads O` does not begin `reads ON`."""
    rest = text[len(words) :]
    return text.startswith(words) and not (rest[:1].isalnum() and words[-1:].isalnum())


def names(constraints: Sequence[Constraint]) -> tuple[Name, ...]:
    """Every name, in the order of mention."""
    found: dict[Name, None] = {}
    for constraint in constraints:
        found |= dict.fromkeys(
            (constraint.first, constraint.then) if isinstance(constraint, Before) else (constraint.name,)
        )
    return tuple(found)


def unknown(name: Name, labels: Collection[Did]) -> str:
    """What to write instead of a name that nothing matches. `labels`: all that can happen."""
    known = sorted({f"{label.agent}.{label.brief}" for label in labels})
    lanes = sorted({label.split(".")[0] for label in known})
    routine = sorted({f"{label.routine}.{label.brief}" for label in labels if label.routine == name.who})
    close = difflib.get_close_matches(name.text.replace("_", " "), routine or known, n=4, cutoff=0.6)
    if close:
        return f"nothing is called {name.text}. Did you mean {', or '.join(close)}?"
    if name.who not in lanes and not routine:
        return f"nothing is called {name.text}. The lanes are {', '.join(lanes)}; then comes what one of them does."
    does = routine or [label for label in known if label.startswith(f"{name.who}.")]
    return f"nothing is called {name.text}. {name.who} does, among others: {'; '.join(does[:12])}"
