"""The clauses that are functions: one routine alone on generated states, against the manual written down a second time.

    state.py ── drawn states ──> a clause's body ── run_alone ──> what came out ── compared ──> manual.py

The names of the files are those of the catalogue's sections; life.py is for clauses that need more than one call.
"""

from __future__ import annotations

from collections.abc import Mapping

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.verdict.explore import Checked
from properties.function import BrokenError, Property, UnjudgedError
from properties.x86.sequential import delivery, descriptor, devices, kvm, processing

CHECKS: dict[str, Property] = {}
"""Clause to check: called with an implementation it answers the evidence, or raises BrokenError, an AssertionError."""

for _module in (descriptor, processing, delivery, devices, kvm):
    CHECKS |= _module.CHECKS


def check(clause: str, implementation: Implementation, checks: Mapping[str, Property] = CHECKS) -> Checked:
    """Check one clause. Raises nothing for what the implementation does."""
    try:
        return Checked(evidence=checks[clause](implementation))
    except BrokenError as broken:
        return Checked(evidence="the smallest case that Hypothesis found", counterexample=str(broken))
    except Fault as fault:
        return Checked(evidence="", fault=str(fault), fault_status=fault.status)
    except UnjudgedError as unjudged:
        return Checked(evidence="", fault=str(unjudged), fault_status=unjudged.status)
