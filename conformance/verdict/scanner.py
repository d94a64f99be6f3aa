"""From a plugged PIR scanner to verdicts: the clauses of posted-interrupt processing that a scanner alone can keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Protocol

from conformance.adapters.registry import AdapterError
from conformance.adapters.scanner import Descriptors, Scanned
from conformance.adapters.scanner_process import ScannerProcess
from conformance.verdict.clause import Clause, Counterexample, Status, Verdict
from conformance.verdict.session import BadInput, select
from conformance.verdict.suite import Checked, load_suite

PROFILE = "strict"
"""What a scanner is judged by: the manual alone."""


class ScannerSuite(Protocol):
    """Checks of a scanner, found by the entry point group `intack.scan`."""

    clauses: tuple[str, ...]
    assumptions: tuple[str, ...]

    def check(self, clause: str, scanner: Callable[[Descriptors], Scanned]) -> Checked: ...


def load_scanner_suite() -> ScannerSuite:
    """The installed checks. Raises LookupError if there are none."""
    for entry in entry_points(group="intack.scan"):
        return entry.load()
    raise LookupError("no checks are installed: the entry point group intack.scan is empty. pip install -e . again.")


def judged(spec: str, globs: Sequence[str] = ()) -> tuple[list[Verdict], Sequence[str]]:
    """The verdicts on the scanner that `spec` names, and what they assume. Raises BadInput."""
    catalogue, suite = load_suite(), load_scanner_suite()
    clauses = select([c for c in catalogue.clauses if c.id in suite.clauses], globs)
    try:
        with ScannerProcess(spec) as scanner:
            scanner.start()
            verdicts = [_verdict(spec, clause, suite.check(clause.id, scanner)) for clause in clauses]
    except AdapterError as error:
        raise BadInput(str(error)) from None
    return verdicts, suite.assumptions


def _verdict(spec: str, clause: Clause, checked: Checked) -> Verdict:
    status, counterexample = Status.HELD, None
    if checked.fault:
        status = Status(checked.fault_status)
    elif clause.modality == "MAY":
        status = Status.OBSERVED if checked.counterexample else Status.NEVER_OBSERVED
    elif checked.counterexample:
        status = Status.VIOLATED
    if checked.counterexample:
        counterexample = Counterexample(
            scenario="a scanner alone",
            switches=0,
            steps=1,
            at_rest=False,
            reason=checked.counterexample,
            role=f"the scanner {spec}",
            replay=f"intack scan -a {spec} --clause {clause.id}",
        )
    evidence = checked.fault or checked.evidence
    return Verdict(
        clause=clause,
        implementation=spec,
        profile=PROFILE,
        status=status,
        evidence=evidence,
        counterexample=counterexample,
    )
