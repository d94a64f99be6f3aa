"""Arm's clauses that are functions: the virtual CPU interface alone on generated states, against the manual once more; and in
many.py the software around it, with more interrupts than a scenario can have.

    state.py ── drawn states ──> a clause's body ── run_alone ──> what came out ── compared ──> manual.py

How a check is run and shrunk is properties/function.py, as for x86.
"""

from __future__ import annotations

from properties.arm.sequential import list_registers, maintenance, many, priorities
from properties.function import Property

CHECKS: dict[str, Property] = {}
"""Clause to check."""

for _module in (list_registers, maintenance, priorities, many):
    CHECKS |= _module.CHECKS
