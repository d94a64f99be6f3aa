"""What a run consists of: items that can be found out each on its own, in any process and any order."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import msgspec

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.roles.scenario import Scenario
from conformance.verdict.clause import Counterexample
from conformance.verdict.explore import Explored, explore, least, shrunk
from conformance.verdict.suite import Checked, Suite


class Item(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of all items: plain data, so that one can be sent to a process and named in a file."""


class Explore(Item, frozen=True):
    """One scenario, exhausted or sampled. What is broken stays without its least schedule."""

    scenario: str


class Least(Item, frozen=True):
    """The least schedule in a scenario that breaks a clause at a cost below this one, (switches, steps); of a MAY
    clause, the least `witness`.
    """

    scenario: str
    clause: str
    witness: bool = False
    below: tuple[int, int] | None = None


class Shrink(Item, frozen=True):
    """The least schedule that breaks a clause in a sampled scenario, as far as it can be found."""

    scenario: str
    clause: str


class Check(Item, frozen=True):
    """One clause that is a function: routines alone, on generated states."""

    clause: str


Result: TypeAlias = Explored | Checked | Counterexample | None
"""Of Explore, of Check, and of the two that look for a schedule."""


def result_type(item: Item) -> Any:
    """The type of its result."""
    match item:
        case Explore():
            return Explored
        case Check():
            return Checked
        case _:
            return Counterexample | None


class Done(NamedTuple):
    result: Result
    seconds: float
    kept: bool = False
    """It was known from an earlier run."""


@dataclass(frozen=True)
class Work:
    """Does items for one implementation under one profile."""

    implementation: Implementation
    profile: str
    suite: Suite

    def do(self, item: Item) -> Result:
        return self.done(item).result

    def done(self, item: Item) -> Done:
        begun = time.monotonic()
        result = self._found_out(item)
        return Done(result, time.monotonic() - begun)

    def _found_out(self, item: Item) -> Result:
        """Never raises for what the implementation does. Where the suite itself fails, that is the item's CRASH."""
        try:
            return self._do(item)
        except Fault as fault:
            return self.crashed(item, str(fault), fault.status)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            return self.crashed(
                item, f"the suite itself failed: {type(error).__name__}: {error} at {at.filename}:{at.lineno}"
            )

    def _do(self, item: Item) -> Result:
        match item:
            case Explore(scenario=name):
                return explore(
                    self.implementation, self.scenarios[name], self.suite, profile=self.profile, shorten=False
                )
            case Least(scenario=name, clause=clause, witness=witness, below=below):
                scenario = self.scenarios[name]
                return least(
                    self.implementation,
                    scenario,
                    self.suite,
                    clause,
                    witness=witness,
                    below=below,
                    profile=self.profile,
                )
            case Shrink(scenario=name, clause=clause):
                return shrunk(self.implementation, self.scenarios[name], self.suite, clause, profile=self.profile)
            case Check(clause=clause):
                return self.suite.sequential(clause, self.implementation)
            case _:
                raise TypeError(f"nobody knows how to do {item}")

    def crashed(self, item: Item, why: str, status: str = "CRASH") -> Result:
        """What stands for the result of an item that was not done to its end."""
        match item:
            case Explore(scenario=name):
                bounds = self.scenarios[name].bounds()
                return Explored(scenario=name, bounds=bounds, fault=why, fault_status=status, complete=False)
            case Check():
                return Checked(evidence="", fault=why, fault_status=status)
            case _:
                return None  # what is known to be broken stays so, without its least schedule

    @cached_property
    def scenarios(self) -> dict[str, Scenario]:
        return {s.name: s for s in self.suite.scenarios}
