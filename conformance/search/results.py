"""What searches answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from conformance.machine.finding import Breach, Finding, Witness
from conformance.machine.state import Outcome

Step = tuple[int, tuple[int, ...]]
"""(agent index, choice): one step of a schedule."""


@dataclass(slots=True)
class Proof:
    """What an exhaustive search found. `breached` (by a step) and `at_rest` map a clause to the first breach of it."""

    states: int = 0
    transitions: int = 0
    quiescent: int = 0
    breached: dict[str, Breach] = field(default_factory=dict)
    at_rest: dict[str, Breach] = field(default_factory=dict)
    witnessed: dict[str, Witness] = field(default_factory=dict)
    complete: bool = True
    """False: the bound on states was hit."""
    livelock: tuple[int, ...] = ()
    """A state from which no quiescent state can be reached by obligatory steps alone, if there is one."""

    def begin_again(self) -> None:
        """Forget the counts, keep what was found."""
        self.states = self.transitions = self.quiescent = 0
        self.complete, self.livelock = True, ()

    def tell(self, outcome: Outcome) -> None:
        """What monitors found in a step."""
        self._keep(outcome.findings, self.breached)

    def judge(self, findings: list[Finding]) -> None:
        """What is found at rest."""
        self.quiescent += 1
        self._keep(findings, self.at_rest)

    def _keep(self, findings: Iterable[Finding], broken: dict[str, Breach]) -> None:
        for finding in findings:
            match finding:
                case Breach(clause=clause):
                    broken.setdefault(clause, finding)
                case Witness(clause=clause):
                    self.witnessed.setdefault(clause, finding)


@dataclass(frozen=True, slots=True)
class BreakingSchedule:
    """The least schedule that breaks a clause, or that shows what one allows."""

    finding: Finding
    schedule: tuple[Step, ...]
    switches: int
    at_rest: bool
    """True: found in the quiescent state that the schedule ends in; False: in its last step."""

    @property
    def clause(self) -> str:
        return self.finding.clause

    @property
    def reason(self) -> str:
        """One sentence by the monitor; "" for a witness."""
        return self.finding.reason if isinstance(self.finding, Breach) else ""

    @property
    def steps(self) -> int:
        return len(self.schedule)

    def worse_than(self, switches: int, steps: int) -> bool:
        return (switches, steps) < (self.switches, self.steps)
