"""The smallest batch of descriptors that breaks a rule: found by Hypothesis, then made smaller bit by bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given, seed
from hypothesis.errors import Flaky

from conformance.adapters.scanner import Descriptors
from conformance.adapters.source import Fault
from properties.function import QUIET, BrokenError
from properties.scanner.cases import Scanner, case_of, cases, flags
from properties.scanner.rules import Rule


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
    except Flaky:
        raise Fault("NONDETERMINISTIC", "it breaks the clause once, and not again on the same input", "scan") from None
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
