"""A clause that is checked as a function as a place in which mutants are judged: its cases are drawn once, for the unchanged
code, and run again on each mutant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conformance.adapters.registry import Implementation
from conformance.automaton.assembly import Assembly
from conformance.mutation.kill import Candidate, Judged, candidates, contained
from conformance.mutation.mutant import said, whole
from conformance.verdict.clause import Clause
from conformance.verdict.suite import Cases, Suite, TellsCases


class InFunction:
    """The cases of one clause, and what the unchanged code did in them."""

    witnessed: frozenset[str] = frozenset()

    def __init__(self, implementation: Implementation, clause: Clause, cases: Cases) -> None:
        self._clause, self._cases = clause, cases
        self._wholes = {id(made.assembly): whole(made.assembly, made.scenario.cpus) for made in cases.assembled}
        self.said = said([made.assembly for made in cases.assembled])
        self._candidates = {c.mutant: c for known in self._wholes.values() for c in candidates(known, implementation)}

    @property
    def name(self) -> str:
        return self._clause.id

    def candidates(self) -> Iterator[Candidate]:
        return iter(self._candidates.values())

    def judge(self, judged: Judged) -> None:
        def change(assembly: Assembly) -> Assembly:
            return self._wholes[id(assembly)].changed(judged.mutant)

        with contained(judged, self.name):
            if self._cases.broken(change):
                judged.met("killed" if self._clause.kind == "guarantee" else "deviates", self.name, self.name)


def functions(implementation: Implementation, suite: Suite, clauses: Iterable[Clause]) -> list[InFunction]:
    """Those of the clauses that are functions and hold for the unchanged code."""
    if not isinstance(suite, TellsCases):
        return []
    return [
        InFunction(implementation, clause, cases)
        for clause in clauses
        if clause.check == "sequential"
        and clause.architecture in implementation.architectures
        and implementation.profile in clause.profiles
        and not clause.waived.get(implementation.profile)
        and (cases := suite.cases(clause.id, implementation))
    ]
