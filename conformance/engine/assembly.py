"""An assembly: every role of an architecture filled, by what was plugged in or else by the default, for one scenario."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.engine.architecture import Architecture
from conformance.engine.operations import Result, Value
from conformance.engine.unfold import Fault, Node, Unfolding


@dataclass(frozen=True, slots=True)
class Shared:
    """A location that more than one agent may touch, or that outlives a call.

    `guarded_by`: only the holder of that lock may touch it, and what the holder does merges into one step.
    `private_to`: only that vCPU's thread and the processor running it touch it, or only what runs on that CPU.
    `constant`: holds its initial value throughout the scenario. `lock`: a spinning lock. An access against these rules is a RACE.
    """

    initial: Value = 0
    guarded_by: str = ""
    private_to: str = ""
    constant: bool = False
    lock: bool = False


@dataclass(frozen=True, slots=True)
class Assembly:
    """Routines by name with the unfolding that answers for them, and the locations they share."""

    routines: Mapping[str, Unfolding]
    role_of: Mapping[str, str]
    locations: Mapping[str, Shared]
    handlers: Mapping[int, str]
    """Host interrupt vector to routine; a vector without one is only acknowledged."""
    filled_by: Mapping[str, str] = field(default_factory=dict)
    """Role to implementation name."""
    architecture: Architecture = field(default_factory=Architecture)

    def root(self, routine: str, args: tuple[Result, ...]) -> Node:
        unfolding = self.routines.get(routine)
        if unfolding is None:
            known = ", ".join(sorted(self.routines))
            raise Fault("CRASH", f"no role offers a routine called {routine}; there are: {known}", routine)
        return unfolding.root(routine, args)

    def shared(self, at: str, routine: str) -> Shared:
        shared = self.locations.get(at)
        if shared is None:
            same = [n for n in self.locations if n.split(".")[-1] == at.split(".")[-1]]
            near = ", ".join(same or difflib.get_close_matches(at, self.locations, n=8, cutoff=0.3))
            raise Fault(
                "CRASH",
                f"{routine} touched {at}, which its role does not declare. Declare it, or use one of: {near}",
                routine,
            )
        return shared

    def unfoldings(self) -> list[Unfolding]:
        """Each unfolding once."""
        return list({id(u): u for u in self.routines.values()}.values())

    def questions(self) -> int:
        """Questions asked of all implementations so far."""
        return sum(u.questions for u in self.unfoldings())

    def recheck(self) -> None:
        """Ask everything again, of fresh sources. Raises Fault NONDETERMINISTIC."""
        for unfolding in self.unfoldings():
            unfolding.recheck()
