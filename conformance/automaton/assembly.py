"""An assembly: every role of an architecture filled, by what was plugged in or else by the reference, for one scenario."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from conformance.adapters.answers import Allowed
from conformance.adapters.filled import fill
from conformance.adapters.python import PythonSource
from conformance.adapters.registry import Implementation, routines_of
from conformance.adapters.source import Fault
from conformance.automaton.unfold import Node, Unfolding
from conformance.roles.architecture import PLAIN, Architecture
from conformance.roles.location import Shared
from conformance.roles.operations import Result
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario


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
    architecture: Architecture = PLAIN

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

    def software(self) -> frozenset[str]:
        """The routines that are no hardware."""
        hardware = {name for name, base in self.architecture.roles.items() if base.hardware}
        return frozenset(routine for routine in self.routines if self.role_of.get(routine) not in hardware)

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


class Assembled(NamedTuple):
    """An assembly, and what it was made for."""

    scenario: Scenario
    assembly: Assembly


_recording: ContextVar[list[Assembled] | None] = ContextVar("recording", default=None)


@contextmanager
def recorded() -> Iterator[list[Assembled]]:
    """Every assembly that is made meanwhile: all that anything can come to know of an implementation's behaviour."""
    made: list[Assembled] = []
    before = _recording.set(made)
    try:
        yield made
    finally:
        _recording.reset(before)


def assemble(implementation: Implementation, scenario: Scenario) -> Assembly:
    """The implementation in a scenario, the reference beside it. Raises AdapterError where there is none."""
    architecture, roles, classes, world = fill(implementation, scenario)
    of_roles = {routine for base in architecture.roles.values() for routine in routines_of(base)}
    allowed = Allowed(architecture.interrupts, world.locations)
    routines: dict[str, Unfolding] = {}
    role_of: dict[str, str] = {}
    handlers: dict[int, str] = {}
    for cls in reversed(classes):
        unfolding = Unfolding(PythonSource(lambda cls=cls: cls(world), world.name), allowed)
        filled = [role for role in architecture.roles if roles[role] is cls]
        for role in filled:
            for routine in routines_of(architecture.roles[role]):
                routines[routine], role_of[routine] = unfolding, role
        for routine in dir(cls):
            if not routine.startswith("_") and callable(getattr(cls, routine)) and routine not in of_roles:
                routines.setdefault(routine, unfolding)
                role_of.setdefault(routine, _role_of_extra(routine, cls, filled, architecture))
        for vector, handler in cls.handlers.items():
            handlers.setdefault(vector, handler)
    made = {make: Unfolding(make(world), allowed) for make in implementation.replaces.values()}
    for routine, make in implementation.replaces.items():
        routines[routine] = made[make]
    own = implementation.filled(architecture.name)
    names = {role: implementation.name if role in own else cls.__name__ for role, cls in roles.items()}
    assembly = Assembly(routines, role_of, world.locations, handlers, names, architecture)
    if (recording := _recording.get()) is not None:
        recording.append(Assembled(scenario, assembly))
    return assembly


def own_routines(implementation: Implementation, assembly: Assembly) -> frozenset[str]:
    """Those of the assembly that the implementation brings, what its routines chain to included."""
    own = implementation.filled(assembly.architecture.name)
    mine = {routine for cls in own.values() for routine in dir(cls)}
    asked_for = {routine for base in assembly.architecture.roles.values() for routine in routines_of(base)}
    roles = {routine for role in own for routine in routines_of(assembly.architecture.roles[role])}
    return frozenset(roles | assembly.routines.keys() & (mine - asked_for) | implementation.replaces.keys())


def _role_of_extra(routine: str, cls: type[BaseRole], filled: list[str], architecture: Architecture) -> str:
    """Of the roles that a class fills, the one that a handler or chained routine of its own belongs to."""
    vectors = {vector for vector, handler in cls.handlers.items() if handler == routine}
    handling = [role for role in filled if vectors & set(architecture.roles[role].handles)]
    running = [role for role in filled if "vcpu_run" in routines_of(architecture.roles[role])]
    return (handling or running or filled)[0]
