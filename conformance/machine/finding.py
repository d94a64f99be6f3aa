"""What monitors find: clauses that are broken, MAY clauses and premises that are seen to hold, and what each is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from conformance.roles.operations import WORD


class Subject(NamedTuple):
    """Something that a finding is about: an agent (`vcpu0`, `cpu1`, `sender1`), or some bits of what the machine keeps, a
    location (`vcpu0.mode`) or a part of its own (`cpu0.latched`, where bit n is vector n).
    """

    name: str
    mask: int = WORD


@dataclass(frozen=True, slots=True)
class Breach:
    """A clause is broken. `reason` is one sentence; `subjects` are what it is about, locations first."""

    clause: str
    reason: str
    subjects: tuple[Subject, ...] = ()


@dataclass(frozen=True, slots=True)
class Witness:
    """What a MAY clause allows was seen, or the premise of another clause was true."""

    clause: str
    subjects: tuple[Subject, ...] = ()


Finding: TypeAlias = Breach | Witness


def about(*subjects: Subject | str) -> tuple[Subject, ...]:
    """Subjects, each once. A name alone stands for an agent or a whole location."""
    return tuple(dict.fromkeys(s if isinstance(s, Subject) else Subject(s) for s in subjects))
