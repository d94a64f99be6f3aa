"""What searches answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.machine.monitor import Finding
from conformance.machine.state import Outcome

Step = tuple[int, tuple[int, ...]]
"""(agent index, choice): one step of a schedule."""


@dataclass(slots=True)
class Proof:
    """What an exhaustive search found. `breached` and `at_rest` map a clause to the first reason seen for it."""

    states: int = 0
    transitions: int = 0
    quiescent: int = 0
    breached: dict[str, str] = field(default_factory=dict)
    at_rest: dict[str, Finding] = field(default_factory=dict)
    witnessed: dict[str, str] = field(default_factory=dict)
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
        for clause, reason in outcome.breaches:
            if clause[0] == "?":
                self.witnessed.setdefault(clause[1:], reason)
            else:
                self.breached.setdefault(clause, reason)

    def judge(self, findings: list[Finding]) -> None:
        """What is found at rest."""
        self.quiescent += 1
        for finding in findings:
            if finding.clause[0] == "?":
                self.witnessed.setdefault(finding.clause[1:], finding.reason)
            else:
                self.at_rest.setdefault(finding.clause, finding)


@dataclass(frozen=True, slots=True)
class BreakingSchedule:
    """The least schedule that breaks a clause."""

    clause: str
    reason: str
    schedule: tuple[Step, ...]
    switches: int
    at_rest: bool
    """True: broken in the quiescent state that the schedule ends in; False: by its last step."""

    @property
    def steps(self) -> int:
        return len(self.schedule)

    def worse_than(self, switches: int, steps: int) -> bool:
        return (switches, steps) < (self.switches, self.steps)
