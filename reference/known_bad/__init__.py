"""Known-bad implementations: bugs that were shipped and mutants nobody shipped, each the smallest change to the
reference or to an alternative. The suite must find every one, for the clause it is about; what is in `MUST_PASS` it
must let pass.

    intack run -a known-bad:B17

The registers are register.py of reference/known_bad/x86, reference/known_bad/nested and reference/known_bad/arm; wrong PIR
scanners are in reference/known_bad/scanner.
"""

from __future__ import annotations

import dataclasses
import difflib

from conformance.adapters.registry import AdapterError, Implementation, of_class, resolve
from reference.known_bad.arm import register as arm
from reference.known_bad.entries import KnownBad, MustPass
from reference.known_bad.nested import register as nested
from reference.known_bad.x86 import register as x86

KNOWN_BAD: dict[str, KnownBad] = {bad.id: bad for part in (x86, nested, arm) for bad in part.KNOWN_BAD}
MUST_PASS: dict[str, MustPass] = {right.id: right for part in (x86, nested, arm) for right in part.MUST_PASS}
NOT_MODELLED: dict[str, str] = {**x86.NOT_MODELLED, **arm.NOT_MODELLED}
"""Historical bugs that no class here stands for, each with its reason."""


def adapter(argument: str) -> Implementation:
    """A bug or mutant of the register, by its number."""
    if reason := NOT_MODELLED.get(argument):
        raise AdapterError(f"known-bad:{argument} is not modelled: {reason}.")
    entries = {**KNOWN_BAD, **MUST_PASS}
    entry = entries.get(argument)
    if entry is None:
        near = difflib.get_close_matches(argument, entries, n=1)
        hint = f"Did you mean known-bad:{near[0]}?" if near else f"There are: {', '.join(entries)}."
        raise AdapterError(f"there is no known-bad:{argument}. {hint}")
    base = entry.base if isinstance(entry, KnownBad) else "reference"
    name = f"known-bad:{argument}"
    return dataclasses.replace(of_class(entry.cls, name, name), profile=resolve(base).profile)
