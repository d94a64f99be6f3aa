"""What is judged: clauses, the scenarios that put them to the test, and the monitors that watch.

Suites are found by the entry point group `intack.suites`, and all that are installed count together: an architecture of
somebody else's brings its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from conformance.adapters.registry import Implementation
from conformance.automaton.assembly import Assembled, Assembly
from conformance.machine.monitor import Monitor
from conformance.roles.registered import RegistrationError, load, registered
from conformance.roles.scenario import Scenario
from conformance.verdict.clause import Clause

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class Checked(msgspec.Struct, frozen=True):
    """What a check of a clause as a function found: an empty `counterexample` means none."""

    evidence: str
    counterexample: str = ""
    fault: str = ""
    fault_status: str = ""


class Cases(Protocol):
    """What a check of a clause as a function has drawn for an implementation, to be run again on changed ones."""

    @property
    def assembled(self) -> Sequence[Assembled]:
        """The assemblies that its routines ran in, as far as they have been unfolded."""
        ...

    def broken(self, change: Callable[[Assembly], Assembly]) -> str:
        """How the first case that breaks the clause does so, "" if none does. Raises Fault."""
        ...


class Suite(Protocol):
    """A catalogue with its scenarios and monitors."""

    @property
    def clauses(self) -> tuple[Clause, ...]: ...

    @property
    def scenarios(self) -> tuple[Scenario, ...]: ...

    @property
    def assumptions(self) -> Mapping[str, tuple[str, ...]]:
        """By architecture, and "any"."""
        ...

    @property
    def routines(self) -> Mapping[str, Sequence[str]]:
        """By scenario, and by clause that is a function: the routines that run there where the reference fills all roles.
        What has none of them changes nothing there. Of what is not in it nothing is known.
        """
        ...

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        """Those that watch it; none for a scenario of another architecture."""
        ...

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        """Check a clause that is a function."""
        ...

    def drawn(self, implementation: Implementation, states: float) -> SearchStrategy[Scenario] | None:
        """Scenarios at random that the implementation can take part in, of about so many states at most."""
        ...


@runtime_checkable
class TellsCases(Protocol):
    """A suite may do this, too."""

    def cases(self, clause: str, implementation: Implementation) -> Cases | None:
        """The cases of a clause that is a function, if all hold and the implementation does not misbehave."""
        ...


@dataclass(frozen=True, kw_only=True)
class ArchitectureSuite:
    """All of one architecture: `watch` makes the monitors of its scenarios, `check` checks its clauses that are functions."""

    architecture: str
    clauses: tuple[Clause, ...]
    scenarios: tuple[Scenario, ...]
    watch: Callable[[Scenario], Sequence[Monitor]]
    check: Callable[[str, Implementation], Checked] | None = None
    record: Callable[[str, Implementation], Cases | None] = lambda clause, implementation: None
    """Draws the cases of a clause that is a function."""
    draw: Callable[[float], SearchStrategy[Scenario]] | None = None
    """Scenarios at random, of about so many states at most."""
    rules: tuple[str, ...] = ()
    """What the machine assumes of it."""
    routines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unlimited: Mapping[str, int] = field(default_factory=dict)
    """Stories that come to an end without budgets, and with how many states then, with the reference."""
    crowds: tuple[Scenario, ...] = ()
    """Scenarios in which each device and sender stands for any number of its like."""

    @property
    def assumptions(self) -> Mapping[str, tuple[str, ...]]:
        return {self.architecture: self.rules}

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return self.watch(scenario) if scenario.architecture == self.architecture else ()

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        if self.check is None:
            raise LookupError(f"clause {clause} is to be checked as a function, and the suite has no check")
        return self.check(clause, implementation)

    def cases(self, clause: str, implementation: Implementation) -> Cases | None:
        return self.record(clause, implementation)

    def drawn(self, implementation: Implementation, states: float) -> SearchStrategy[Scenario] | None:
        if self.draw is None or self.architecture not in implementation.architectures:
            return None
        return self.draw(states).filter(implementation.takes_part)


class JoinedSuite:
    """Several suites as one, in their order. Raises ValueError where two have a clause or scenario of one name."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        self.suites = suites
        self.clauses = tuple(clause for suite in suites for clause in suite.clauses)
        self.scenarios = tuple(scenario for suite in suites for scenario in suite.scenarios)
        self.assumptions = {name: rules for suite in suites for name, rules in suite.assumptions.items()}
        self.routines = {name: asked for suite in suites for name, asked in suite.routines.items()}
        self.unlimited = {name: n for suite in suites for name, n in getattr(suite, "unlimited", {}).items()}
        self.crowds = tuple(scenario for suite in suites for scenario in getattr(suite, "crowds", ()))
        names = [*(clause.id for clause in self.clauses), *(scenario.name for scenario in self.scenarios)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"more than one suite has {', '.join(twice)}")

    def monitors(self, scenario: Scenario) -> Sequence[Monitor]:
        return [monitor for suite in self.suites for monitor in suite.monitors(scenario)]

    def sequential(self, clause: str, implementation: Implementation) -> Checked:
        return self._of(clause).sequential(clause, implementation)

    def cases(self, clause: str, implementation: Implementation) -> Cases | None:
        suite = self._of(clause)
        return suite.cases(clause, implementation) if isinstance(suite, TellsCases) else None

    def _of(self, clause: str) -> Suite:
        return next(suite for suite in self.suites if any(c.id == clause for c in suite.clauses))

    def drawn(self, implementation: Implementation, states: float) -> SearchStrategy[Scenario] | None:
        strategies = [s for suite in self.suites if (s := suite.drawn(implementation, states)) is not None]
        return reduce(or_, strategies) if strategies else None


def load_suite() -> Suite:
    """The installed suites. Raises RegistrationError."""
    entries = registered("intack.suites")
    if not entries:
        raise RegistrationError(
            "no suite is installed: nothing is registered as intack.suites. Install intack: pip install -e ."
        )
    suites = [load(entry) for entry in entries.values()]
    try:
        return suites[0] if len(suites) == 1 else JoinedSuite(suites)
    except ValueError as error:
        raise RegistrationError(f"the suites {', '.join(entries)} do not fit together: {error}") from None


def guarantees(suite: Suite, implementation: Implementation) -> frozenset[str]:
    """What the implementation can violate."""
    profile = implementation.profile
    return frozenset(
        c.id for c in suite.clauses if c.kind == "guarantee" and profile in c.profiles and not c.waived.get(profile)
    )


def catalogue_hash(suite: Suite) -> str:
    """Eight hex digits that change with any clause or scenario."""
    return hashlib.sha256(msgspec.json.encode((suite.clauses, suite.scenarios))).hexdigest()[:8]
