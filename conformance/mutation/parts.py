"""An audit in parts that can be done each on its own, in any process and on any machine: each has its share of the sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

from conformance.adapters.registry import AdapterError, resolve
from conformance.mutation.in_function import InFunction, functions
from conformance.mutation.in_scenario import InScenario, smallest_first
from conformance.mutation.journal import JournalFile
from conformance.mutation.kill import Judged, Only, audit
from conformance.verdict.ingredients import plugged
from conformance.verdict.suite import load_suite


class Part(NamedTuple):
    """What became of its mutants, and where they were judged."""

    places: list[str]
    left_out: str
    """What is too large or misbehaves, in words; empty where nothing is."""
    judged: list[Judged]


@dataclass(frozen=True)
class Auditing:
    """A job: a task is the number of a part. Of what, and where: as the options of intack mutate have it."""

    spec: str
    globs: tuple[str, ...]
    architectures: tuple[str, ...]
    states: int
    again: int
    journal: Path | None
    only: Only
    parts: int = 1

    def begin(self) -> tuple[Callable[[int], Part], str]:
        """Raises AdapterError where nothing matches."""
        implementation, suite = resolve(self.spec), load_suite()
        clauses = [c for c in suite.clauses if c.check == "sequential" and self._asked(c.id, c.architecture)]
        scenarios = [s for s in suite.scenarios if not s.samples and self._asked(s.name, s.architecture)]
        if not clauses and not scenarios:
            raise AdapterError(f"nothing of {', '.join(self.architectures)} matches {', '.join(self.globs)}")
        most = max(self.states, self.again)

        @cache  # what does one part may do others
        def explored() -> tuple[list[InFunction], list[InScenario]]:
            return functions(implementation, suite, clauses), smallest_first(implementation, suite, scenarios, most)

        def do(number: int) -> Part:
            only = replace(self.only, part=(number, self.parts))
            checked, walked = explored()
            places = [*checked, *walked]
            larger = frozenset(place.name for place in walked if place.states > self.states)
            journal = JournalFile(self._journal(number), implementation, only) if self.journal else None
            judged = list(audit(places, only, journal, larger))
            left, of = len(clauses) + len(scenarios) - len(places), len(clauses) + len(scenarios)
            why = f"larger than {most:,} states, or the unchanged code breaks or fails them"
            told = f"{left} of {of} scenarios and functions are left out: {why}" if left else ""
            return Part([p.name for p in places if p.name not in larger], told, judged)

        return do, plugged(implementation)

    def _asked(self, name: str, architecture: str) -> bool:
        matches = not self.globs or any(fnmatchcase(name, glob) for glob in self.globs)
        return architecture in self.architectures and matches

    def _journal(self, number: int) -> Path:
        assert self.journal
        return self.journal.with_name(f"{self.journal.name}.{number}") if self.parts > 1 else self.journal


def together(parts: list[Part]) -> Part:
    """All parts as one."""
    judged = sorted((j for part in parts for j in part.judged), key=lambda j: j.mutant)
    return Part(parts[0].places, parts[0].left_out, judged)
