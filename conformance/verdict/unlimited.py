"""Stories without a bound on what may happen but need not: any number of exits, preemptions, migrations and halts.

A step that spends no token abstracts nothing: what is reached is the union over all budgets (docs/unbounded.md). So a clause
that holds in such a twin of a story holds in the story whatever its budget, and a schedule that breaks one there is a
schedule like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec

from conformance.roles.scenario import Scenario
from conformance.verdict.suite import Suite

ENDING = "-unlimited"
WAITS = ("hlt", "wfi")
CHEAP = 130_000
"""States, with the reference, of a twin that is explored unasked."""
MOST_STATES = 4_000_000


@runtime_checkable
class TellsUnlimited(Protocol):
    """A suite may do this, too."""

    @property
    def unlimited(self) -> Mapping[str, int]:
        """Stories whose twin comes to an end, and how many states the twin has with the reference."""
        ...


def unlimited(story: Scenario) -> Scenario:
    """The story's twin. It has migrations where there is another pCPU to go to, halts where the guest's program ends with
    one, spurious interrupts where the story has them.
    """
    taken = {thread.cpu for thread in story.threads}
    hosts = [cpu for cpu in range(story.cpus) if cpu not in taken]
    waits = any(vcpu.program and vcpu.program[-1][0] in WAITS for vcpu in story.vcpus)
    budget = msgspec.structs.replace(
        story.budget, preempt=1, migrate=int(len(hosts) > 1), exit=1, again=int(waits), unlimited=True
    )
    return msgspec.structs.replace(
        story,
        name=story.name + ENDING,
        about=f"{story.about}; whatever may happen may happen any number of times",
        budget=budget,
        story=False,
        audited=False,
    )


def twins(suite: Suite, most: int) -> list[Scenario]:
    """Those of the suite's stories that have at most so many states with the reference."""
    known = suite.unlimited if isinstance(suite, TellsUnlimited) else {}
    return [unlimited(s) for s in suite.scenarios if known.get(s.name, most + 1) <= most]


def allowed(suite: Suite, scenario: Scenario) -> int:
    """States that a large twin may have; 0 for all else."""
    known = suite.unlimited if isinstance(suite, TellsUnlimited) else {}
    return MOST_STATES if known.get(story_of(scenario.name), 0) > CHEAP and scenario.name.endswith(ENDING) else 0


def story_of(twin: str) -> str:
    return twin.removesuffix(ENDING)
