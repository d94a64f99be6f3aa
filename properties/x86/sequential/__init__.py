"""The clauses that are functions: one routine alone on generated states, against the manual written down a second time.

    state.py ── drawn states ──> a clause's body ── run_alone ──> what came out ── compared ──> manual.py

The names of the files are those of the catalogue's sections, but every_bit.py and sleepers.py go across them; life.py is for
clauses that need more than one call.
"""

from __future__ import annotations

from properties.function import Property
from properties.x86.sequential import delivery, descriptor, devices, every_bit, kvm, processing, sleepers

CHECKS: dict[str, Property] = {}
"""Clause to check: called with an implementation it answers the evidence, or raises BrokenError, an AssertionError."""

for _module in (descriptor, processing, delivery, devices, every_bit, kvm, sleepers):
    CHECKS |= _module.CHECKS
