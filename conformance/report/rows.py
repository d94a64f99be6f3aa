"""Traces put into words: a row a step, for tables and documents.

A location of the one vCPU that all steps touch is named without its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from conformance.machine import facts
from conformance.machine.finding import Subject
from conformance.report.edges import cpu_of
from conformance.roles import architectures
from conformance.roles.architecture import PLAIN
from conformance.search.trace import TraceStep
from conformance.search.words import Changed, Words
from conformance.verdict.clause import Counterexample


class Item(NamedTuple):
    """One thing that a step did. `at` is the location it touched, "" if none; `site` the line that asked for it."""

    text: str
    routine: str = ""
    at: str = ""
    site: str = ""


class Row(NamedTuple):
    """A step in words: what it did, first what others notice, and what changed."""

    number: int
    agent: str
    items: tuple[Item, ...]
    changes: tuple[Changed, ...] = ()
    in_handler: bool = False
    breaks: bool = False
    touches: frozenset[str] = frozenset()
    """Locations that it read, wrote or changed."""
    lane: str = ""
    """The column that it belongs to, where that is not its agent's own."""


def noticed(rows: Sequence[Row]) -> list[Row]:
    """Of each row its first operation, and of the others those at locations that another agent touches in these rows too."""
    touching: dict[str, set[str]] = {}
    for row in rows:
        for at in row.touches:
            touching.setdefault(at, set()).add(row.agent)
    private = {at for at, by in touching.items() if len(by) == 1}
    return [row._replace(items=(*row.items[:1], *(i for i in row.items[1:] if i.at not in private))) for row in rows]


def words_of(found: Counterexample) -> Words:
    return Words(architectures().get(found.architecture, PLAIN), common_owner(found.trace))


def rows(trace: Sequence[TraceStep], words: Words) -> tuple[Row, ...]:
    return tuple(
        Row(
            step.number,
            step.agent,
            tuple(Item(words.fact(fact), fact.routine, location(fact), fact.site) for fact in step.facts),
            tuple(changed for change in step.changes for changed in words.changed(change)),
            step.in_handler,
            step.breaks,
            touches(step),
            lane(step),
        )
        for step in trace
    )


def lane(step: TraceStep) -> str:
    """The CPU that a message reaches, or for which a store buffer drains and a thread is preempted; else the agent."""
    cpus = (fact.cpu for fact in step.facts if isinstance(fact, facts.Arrives | facts.Rises | facts.Strays))
    return next((f"cpu{cpu}" for cpu in cpus), cpu_of(step.agent))


def location(fact: facts.Happened) -> str:
    """The location that a fact is about, "" if none."""
    return getattr(fact, "at", "")


def touches(step: TraceStep) -> frozenset[str]:
    return frozenset({*(change.at for change in step.changes), *map(location, step.facts)} - {""})


def common_owner(trace: Sequence[TraceStep]) -> tuple[str, ...]:
    """The one vCPU whose locations all steps touch, if there is one."""
    located = {at.partition(".")[0] for step in trace for at in touches(step) if not at.endswith(".status")}
    owners = {owner for owner in located if owner.startswith("vcpu")}
    return tuple(owners) if len(owners) == 1 else ()


def reason_of(found: Counterexample, words: Words) -> str:
    """The monitor's sentence, its subjects named as rows name them."""
    return in_words(found.reason, found.subjects, words)


def in_words(sentence: str, subjects: Sequence[Subject], words: Words) -> str:
    for at in sorted({s.name for s in subjects if "." in s.name}, key=len, reverse=True):
        sentence = sentence.replace(at, words.place(at))
    return sentence
