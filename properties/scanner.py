"""Posted-interrupt processing, checked on a scanner of arrays of descriptors (conformance.adapters.scanner).

    descriptors that Hypothesis draws ──> scan ──> what the clause says, restated on 256 flags a register

What a clause means here, where nobody else writes the arrays:

PIP-4    Afterwards no ON is set, and no descriptor whose ON was cleared has a bit left in PIR. That ON goes first is
         not seen.
PIP-5    A descriptor whose ON is set, or that the scanner changes at all, has all of PIR in vIRR afterwards, beside what
         was there, and nothing in PIR. That each group is taken and cleared in one is not seen.
PIP-6    Not checked: nobody posts between two groups.
PIP-7    `posted` is the highest vector harvested, `rvi` the larger of that and the old RVI, which is the highest vector
         of the old vIRR.
PIP-12   Observed if a descriptor is harvested though its ON is clear, or else if one with an empty PIR is processed; it
         counts only if nothing comes to harm.
E2E-2    Afterwards PIR, vIRR, `posted` and `rvi` tell of no vector that was in neither PIR nor vIRR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from hypothesis import given, seed
from hypothesis import strategies as st

from conformance.adapters.scanner import Descriptors, Scanned
from conformance.engine.unfold import Fault
from conformance.explore import Checked
from properties.sequential.property import QUIET, BrokenError
from properties.sequential.state import Below, one_of

Bits: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
"""(n, 256): whether a vector's bit is set."""
Scanner: TypeAlias = Callable[[Descriptors], Scanned]

ASSUMPTIONS = (
    "A scanner of arrays runs alone: nobody posts while it does. What happens between two of its accesses is not judged; "
    "for that, plug the code in as a role (intack run).",
)
SEQUENTIAL = (
    "a scanner of arrays runs alone, and nobody posts between two groups: plug the code in as a role (intack run)"
)


# What is drawn

EDGES = (0x20, 0x40, 0x3F, 0x80, 0x7F, 0xC0, 0xBF, 0x1F, 0x5F, 0x60, 0x9F, 0xA0, 0xDF, 0xE0, 0xFF, 0)
"""The first vector for a guest's devices, and both sides of every edge of a word."""
VECTORS = (*EDGES, *sorted(set(range(256)) - set(EDGES)))
LENGTHS = (1, 1, 1, 1, 2, 3, 4, 5, 8, 9, 17, 33, 65, 1025)
"""Rows: edges of what a loop may take at a time."""
ALL = (1 << 256) - 1

few = st.lists(one_of(VECTORS), max_size=3, unique=True).map(lambda vectors: sum(1 << v for v in vectors))
dense = st.one_of(one_of((ALL, *((2**64 - 1) << 64 * word for word in range(4)))), Below(1 << 256))
register = one_of((few,) * 6 + (dense,)).flatmap(lambda kind: kind)
row = st.tuples(st.booleans().map(lambda off: not off), register, register)


def descriptors(rows: list[tuple[bool, int, int]], length: int) -> Descriptors:
    """So many rows, these over and over."""
    chosen = [rows[i % len(rows)] for i in range(length)]
    pir, virr = (
        np.frombuffer(b"".join(r[part].to_bytes(32, "little") for r in chosen), "<u8").reshape(length, 4)
        for part in (1, 2)
    )
    return Descriptors(pir, virr, np.array([r[0] for r in chosen], np.bool_))


cases = st.builds(descriptors, st.lists(row, min_size=1, max_size=4), one_of(LENGTHS))


# What is judged


class Case(NamedTuple):
    """One scan, and its registers as flags."""

    given: Descriptors
    found: Scanned
    pir: Bits
    virr: Bits
    pir_after: Bits
    virr_after: Bits

    @property
    def harvested(self) -> Any:
        """(n,): rows that must be harvested as a whole, since ON is set or something has changed."""
        changed = (self.pir != self.pir_after) | (self.virr != self.virr_after)
        return self.given.on | changed.any(axis=1)

    def broken(self, row: int, what: str) -> BrokenError:
        """The breach, and the descriptor where it is; how many there are only if it takes more than one."""
        n = len(self.given.on)
        where = f"descriptor {row + 1} of {n}: " if n > 1 else ""
        on, pir, virr = int(self.given.on[row]), vectors(self.pir[row]), vectors(self.virr[row])
        return BrokenError(f"{where}ON={on}, PIR={pir}, vIRR={virr}: {what}")


def case_of(scanner: Scanner, given: Descriptors) -> Case:
    found = scanner(given)
    return Case(given, found, *(flags(words) for words in (given.pir, given.virr, found.pir, found.virr)))


def flags(words: Any) -> Bits:
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").astype(np.bool_)


def highest(bits: Bits) -> Any:
    """(n,): the highest vector of each row, -1 where there is none."""
    return np.where(bits.any(axis=1), 255 - bits[:, ::-1].argmax(axis=1), -1)


def vectors(bits: Any) -> str:
    known = np.flatnonzero(bits)
    shown = [f"{v:#x}" for v in known[:8]] + ([f"... {len(known)} in all"] if len(known) > 8 else [])
    return "{" + ", ".join(shown) + "}"


def named(vector: int) -> str:
    return f"vector {vector:#x} (word {vector // 64}, bit {vector % 64})"


def number(value: int) -> str:
    """A vector as a scanner answers it."""
    return f"{value:#x}" if value >= 0 else str(value)


def first(where: Any) -> tuple[int, ...] | None:
    """The first place that is set, in order of rows."""
    found = np.argwhere(where)
    return tuple(map(int, found[0])) if len(found) else None


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


# A clause


def search(name: str, rule: Rule, scanner: Scanner) -> int:
    """How many cases the rule holds of. Raises BrokenError with the smallest case found of which it does not, and the
    Fault of the first case that the scanner does not stand.
    """
    count, fault, last = 0, None, None

    @seed(name)
    @QUIET
    @given(cases)
    def holds(given: Descriptors) -> None:
        nonlocal count, fault, last
        if fault is not None:
            return
        count += 1
        try:
            case = case_of(scanner, given)
        except Fault as error:
            fault = located(error, given)
            return
        last = given
        rule(case)

    try:
        holds()
    except BrokenError as broken:
        assert last is not None
        raise smaller(rule, scanner, last) or broken from None
    if fault is not None:
        raise fault
    return count


def smaller(rule: Rule, scanner: Scanner, given: Descriptors) -> BrokenError | None:
    """The breach once no row and no bit can be left out. Hypothesis leaves out what it drew: of a full register, all."""
    broken = breach(rule, scanner, given)
    for candidates in (single_rows, without_a_row, without_a_bit):
        tried = 0
        while found := next(
            ((n, c, b) for n, c in enumerate(candidates(given)) if n >= tried and (b := breach(rule, scanner, c))), None
        ):
            tried, given, broken = found
    return broken


def breach(rule: Rule, scanner: Scanner, given: Descriptors) -> BrokenError | None:
    try:
        rule(case_of(scanner, given))
    except BrokenError as broken:
        return broken
    except Fault:
        pass
    return None


def single_rows(given: Descriptors) -> Iterator[Descriptors]:
    n = len(given.on)
    return (Descriptors(*(array[i : i + 1] for array in given)) for i in range(n) if n > 1)


def without_a_row(given: Descriptors) -> Iterator[Descriptors]:
    n = len(given.on)
    return (Descriptors(*(np.delete(array, i, axis=0) for array in given)) for i in range(n) if n > 1)


def without_a_bit(given: Descriptors) -> Iterator[Descriptors]:
    for name in ("virr", "pir"):
        bits = flags(getattr(given, name))
        for at in np.argwhere(bits):
            fewer = bits.copy()
            fewer[tuple(at)] = False
            words = np.packbits(fewer, axis=1, bitorder="little").view("<u8")
            yield given._replace(**{name: words})


def located(fault: Fault, given: Descriptors) -> Fault:
    rows = len(given.on)
    return Fault(fault.status, f"scanning {rows} descriptor{'s' * (rows != 1)}: {fault}", "scan")


def check(clause: str, scanner: Scanner) -> Checked:
    """Check one clause. For PIP-12, which allows something, `counterexample` is the witness. Raises nothing for what
    the scanner does.
    """
    if clause == "PIP-6":
        return Checked(evidence="", fault=SEQUENTIAL, fault_status="NOT CHECKED")
    rules = [harvests_without_on, processes_an_empty_pir] if clause == "PIP-12" else [RULES[clause]]
    count = 0
    for rule in rules:
        try:
            count += search(clause, rule, scanner)
        except BrokenError as broken:
            found = str(broken)
            seen = f"allowed, and seen: {found}" if clause == "PIP-12" else "the smallest case that Hypothesis found"
            return Checked(evidence=seen, counterexample=found)
        except Fault as fault:
            return Checked(evidence="", fault=str(fault), fault_status=fault.status)
    limits = f"; {UNSEEN[clause]}" if clause in UNSEEN else ""
    return Checked(evidence=f"a scanner alone, {count} generated batches of 1 to {max(LENGTHS):,} descriptors{limits}")


class ScannerSuite:
    """What `conformance` needs to know of these checks."""

    clauses = ("PIP-4", "PIP-5", "PIP-6", "PIP-7", "PIP-12", "E2E-2")
    assumptions = ASSUMPTIONS

    def check(self, clause: str, scanner: Scanner) -> Checked:
        return check(clause, scanner)


SUITE = ScannerSuite()
