"""What an implementation has a share in: where none of its routines runs, everything is the reference's.

Which routines run where is known of the reference (`Suite.routines`). An implementation that brings none of them, and
does not otherwise change what the reference finds there, would be asked nothing: the run would be the reference's, step
by step.
"""

from __future__ import annotations

from functools import cached_property

from conformance.adapters.registry import Implementation, resolve
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly, assemble, own_routines
from conformance.roles import architectures
from conformance.verdict.suite import Suite


class Share:
    """Of one implementation, in what a suite does with one architecture."""

    def __init__(self, implementation: Implementation, architecture: str, suite: Suite) -> None:
        self.implementation, self.architecture, self.suite = implementation, architecture, suite

    def has(self, name: str) -> bool:
        """In the scenario, or in the check of the clause, of this name: whether it can differ from the reference's."""
        run = self.suite.routines.get(name)
        try:
            return not run or self._changes_what_is_found or not self._own.isdisjoint(run)
        except Fault:  # it cannot even be made, which is for the verdict to say
            return True

    @cached_property
    def _assembly(self) -> Assembly:
        return assemble(self.implementation, architectures()[self.architecture].example)

    @cached_property
    def _own(self) -> frozenset[str]:
        return own_routines(self.implementation, self._assembly)

    @cached_property
    def _changes_what_is_found(self) -> bool:
        """A location of the reference that is gone or begins otherwise, or another handler of an interrupt."""
        architecture = architectures()[self.architecture]
        reference, own = assemble(resolve(architecture.reference), architecture.example), self._assembly
        found = {at: own.locations.get(at) for at in reference.locations}
        return found != dict(reference.locations) or own.handlers != reference.handlers
