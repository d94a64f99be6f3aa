"""Which mutants are killed: place by place, what is cheapest first, each mutant only where its site is reached.

A place is a clause that is checked as a function, or a scenario. A mutant is done at its first kill: the search stops there,
nothing is shrunk and nothing asked again. What survives a place has been seen there beside the unchanged code: if the guest,
the wires and memory at rest show nothing new, it is equivalent or wants another scenario; if they do, it wants a clause.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, Protocol
from zlib import crc32

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.mutation.mutant import Mutant, Whole, own

Fate = Literal["killed", "not exercised", "deviates", "crash", "shows", "memory", "same"]
"""By a guarantee; by a premise that is lost; by a discipline alone; by a fault of the mutant. Survivors: a guest, a wire
or a scheduler shows what the unchanged code does not; or memory at rest alone; or nothing.
"""
RANK: Sequence[Fate] = ("killed", "not exercised", "deviates", "crash", "shows", "memory", "same")


@dataclass
class Judged:
    """What became of one mutant. `detail` is the clause that killed it, or what went wrong."""

    mutant: Mutant
    routines: tuple[str, ...] = ()
    role: str = ""
    fate: Fate = "same"
    detail: str = ""
    scenario: str = ""
    """Where that was: a scenario, or the clause that is a function."""
    reached: list[str] = field(default_factory=list)
    """The places that reach its site, as far as it was looked at."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """By clause: where the unchanged code exercises it, and the mutant never does."""

    def reaches(self, routines: Iterable[str], role: str, place: str) -> None:
        self.routines, self.role = tuple(sorted({*self.routines, *routines})), self.role or role
        self.reached.append(place)

    def met(self, fate: Fate, detail: str, place: str) -> None:
        """Keep the strongest fate."""
        if RANK.index(fate) < RANK.index(self.fate):
            self.fate, self.detail, self.scenario = fate, detail, place

    def lose(self, clauses: Iterable[str], place: str) -> None:
        for clause in clauses:
            self.lost.setdefault(clause, []).append(place)


@contextmanager
def contained(judged: Judged, place: str) -> Iterator[None]:
    """What goes wrong within is the mutant's fate: the others are judged all the same."""
    try:
        yield
    except Fault as fault:
        judged.met("crash", f"{fault.status}: {str(fault).splitlines()[0][:200]}", place)
    except Exception as error:  # a monitor's mistake, say
        judged.met("crash", f"the suite itself fails: {error!r}", place)


class Candidate(NamedTuple):
    """A mutant that can be made in a place, and whose routines reach its site there."""

    mutant: Mutant
    routines: tuple[str, ...]
    role: str


def candidates(known: Whole, implementation: Implementation) -> Iterator[Candidate]:
    """Every change to the implementation's own routines."""
    nodes = known.nodes(own(implementation, known.assembly))
    for mutant in known.mutants(nodes):
        routines = tuple(sorted({node.routine for node in nodes[mutant.site]}))
        yield Candidate(mutant, routines, known.assembly.role_of.get(routines[0], ""))


class Place(Protocol):
    """Where mutants are judged."""

    @property
    def name(self) -> str: ...

    @property
    def said(self) -> str:
        """A hash of all that the unchanged implementation said here: while it is the same, so is what mutants do."""
        ...

    @property
    def witnessed(self) -> frozenset[str]:
        """The guarantees that the unchanged code exercises."""
        ...

    def candidates(self) -> Iterator[Candidate]: ...

    def judge(self, judged: Judged) -> None: ...


class Journal(Protocol):
    """What is known already, and keeps what is found out."""

    def known(self, place: Place, found: dict[Mutant, Judged]) -> bool:
        """Whether the place was judged before; then what came of it is in `found`."""
        ...

    def keep(self, place: Place, judged: Sequence[Judged]) -> None: ...


@dataclass(frozen=True)
class Only:
    """Which mutants are wanted, by globs."""

    routine: str = "*"
    operator: str = "*"
    part: tuple[int, int] = (0, 1)
    """The n-th of so many parts of the sites."""

    def wants(self, candidate: Candidate) -> bool:
        mutant, routines, _ = candidate
        n, of = self.part
        mine = crc32(mutant.site.key.encode()) % of == n
        return (
            mine and fnmatchcase(mutant.operator, self.operator) and any(fnmatchcase(r, self.routine) for r in routines)
        )


def audit(
    places: Sequence[Place], only: Only, journal: Journal | None = None, again: Collection[str] = ()
) -> tuple[Judged, ...]:
    """Judge every mutant that is wanted in these places, in their order; the mutants in the order of their sites. In those
    called `again`, only what is alive and was seen to differ before.
    """
    found: dict[Mutant, Judged] = {}
    for place in places:
        if journal and journal.known(place, found):
            continue
        touched: list[Judged] = []
        for candidate in place.candidates():
            judged = found.get(candidate.mutant) or Judged(candidate.mutant)
            if judged.fate == "killed" or not only.wants(candidate):
                continue
            if place.name in again and judged.fate == "same":
                continue
            found[candidate.mutant] = judged
            judged.reaches(candidate.routines, candidate.role, place.name)
            place.judge(judged)
            touched.append(judged)
        if journal:
            journal.keep(place, touched)
    exercised = _exercised(places)
    for judged in found.values():
        if lost := sorted(c for c, where in judged.lost.items() if set(where) == exercised[c]):
            judged.met("not exercised", ", ".join(lost), judged.lost[lost[0]][0])
    return tuple(found[mutant] for mutant in sorted(found))


def _exercised(places: Iterable[Place]) -> Mapping[str, set[str]]:
    """By clause: the places in which the unchanged code exercises it."""
    found: dict[str, set[str]] = {}
    for place in places:
        for clause in place.witnessed:
            found.setdefault(clause, set()).add(place.name)
    return found
