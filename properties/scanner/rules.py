"""The clauses of posted-interrupt processing, each on one case: what it means for a scanner stands in __init__.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from properties.function import BrokenError
from properties.scanner.cases import Bits, Case


def on_is_cleared_first(case: Case) -> None:
    """PIP-4."""
    after = case.found.on
    if at := first(after):
        how = "left 1: the next post finds it set and notifies nobody" if case.given.on[at] else "set, with no post"
        raise case.broken(at[0], f"due is ON=0 afterwards; it is {how}")
    if at := first((case.given.on & ~after)[:, None] & case.pir_after):
        raise case.broken(at[0], f"ON is cleared, and {named(at[1])} is left in PIR, where nobody is told of it")


def nothing_vanishes(case: Case) -> None:
    """PIP-5."""
    harvested = case.harvested[:, None]
    due = case.virr | (case.pir & harvested)
    if at := first(due & ~case.virr_after):
        source = " and ".join(name for name, bits in (("PIR", case.pir), ("vIRR", case.virr)) if bits[at])
        place = "it is in PIR still" if case.pir_after[at] else "it is gone"
        raise case.broken(at[0], f"{named(at[1])} was in {source}; due is that it is in vIRR afterwards; {place}")
    if at := first(harvested & case.pir & case.pir_after):
        raise case.broken(at[0], f"{named(at[1])} is in vIRR; due is that it is cleared in PIR; it is there still")


def rvi_is_the_larger(case: Case) -> None:
    """PIP-7."""
    posted = np.where(case.harvested, highest(case.pir), -1)
    due = {"posted": posted, "rvi": np.maximum(posted, highest(case.virr))}
    for name, numbers in due.items():
        found = getattr(case.found, name)
        if at := first(numbers != found):
            raise case.broken(at[0], f"due is {name} = {number(numbers[at])}; found {number(found[at])}")


def no_vector_from_nowhere(case: Case) -> None:
    """E2E-2."""
    known = case.pir | case.virr
    for name, bits in (("vIRR", case.virr_after), ("PIR", case.pir_after)):
        if at := first(bits & ~known):
            raise case.broken(at[0], f"{named(at[1])} is in {name} afterwards, and nobody posted it")
    rows = np.arange(len(known))
    for name, numbers in (("posted", case.found.posted), ("rvi", case.found.rvi)):
        inside = (numbers >= 0) & (numbers < 256)
        real = inside & known[rows, np.where(inside, numbers, 0)]
        if at := first((numbers != -1) & ~real):
            raise case.broken(
                at[0], f"{name} = {number(numbers[at])} is no vector that was posted; -1 says that there is none"
            )


Rule: TypeAlias = Callable[[Case], None]
"""Raises BrokenError. For PIP-12: where something is seen that is allowed."""
RULES: dict[str, Rule] = {
    "PIP-4": on_is_cleared_first,
    "PIP-5": nothing_vanishes,
    "PIP-7": rvi_is_the_larger,
    "E2E-2": no_vector_from_nowhere,
}
UNSEEN = {
    "PIP-4": "whether ON goes before PIR is not seen",
    "PIP-5": "whether taking and clearing are one is not seen",
    "PIP-12": "allowed, and never seen",
}


def harmless(case: Case) -> bool:
    try:
        for rule in RULES.values():
            rule(case)
    except BrokenError:
        return False
    return True


def harvests_without_on(case: Case) -> None:
    at = first(~case.given.on & case.harvested)
    if at and harmless(case):
        raise case.broken(at[0], "it is harvested though its ON is clear, and nothing comes to harm")


def processes_an_empty_pir(case: Case) -> None:
    at = first(case.given.on & ~case.found.on & ~case.pir.any(axis=1))
    if at and harmless(case):
        raise case.broken(at[0], "ON is cleared, and nothing else changes")


def highest(bits: Bits) -> Any:
    """(n,): the highest vector of each row, -1 where there is none."""
    return np.where(bits.any(axis=1), 255 - bits[:, ::-1].argmax(axis=1), -1)


def named(vector: int) -> str:
    return f"vector {vector:#x} (word {vector // 64}, bit {vector % 64})"


def number(value: int) -> str:
    """A vector as a scanner answers it."""
    return f"{value:#x}" if value >= 0 else str(value)


def first(where: Any) -> tuple[int, ...] | None:
    """The first place that is set, in order of rows."""
    found = np.argwhere(where)
    return tuple(map(int, found[0])) if len(found) else None
