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

from conformance.adapters.source import Fault
from conformance.verdict.suite import Checked
from properties.function import BrokenError
from properties.scanner.cases import LENGTHS, Scanner
from properties.scanner.rules import RULES, UNSEEN, harvests_without_on, processes_an_empty_pir
from properties.scanner.search import search

ASSUMPTIONS = (
    "A scanner of arrays runs alone: nobody posts while it does. What happens between two of its accesses is not judged; "
    "for that, plug the code in as a role (intack run).",
)
SEQUENTIAL = (
    "a scanner of arrays runs alone, and nobody posts between two groups: plug the code in as a role (intack run)"
)


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
