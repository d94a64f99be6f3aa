"""Reports of a few clauses, to lay out in every form."""

from __future__ import annotations

from typing import Any

import msgspec
from tiny_traces import LOST, LOST_REASON, SLEEPER, SLEEPER_REASON, counterexample

from conformance.machine.clause import Citation, Clause
from conformance.report import document
from conformance.report.model import Report
from conformance.verdict.clause import Counterexample, Extent, Status, Verdict

UNREAD = (Citation("a manual", "section 9", read=False),)


def clause(name: str = "E2E-1", **more: Any) -> Clause:
    fields: dict[str, Any] = {
        "id": name,
        "section": "End to end",
        "architecture": "x86",
        "kind": "guarantee",
        "modality": "MUST",
        "role": "guest-visible",
        "statement": "Every posted vector that the guest can take is delivered.",
        "authority": "architecture",
        "sources": (Citation("a manual", "section 7"),),
        "profiles": ("strict",),
        "check": "interleaving",
        "observe": "",
    }
    return Clause(**{**fields, **more})


def verdict(status: Status, name: str = "E2E-1", evidence: str = "exhaustively", **more: Any) -> Verdict:
    found = more.pop("counterexample", None)
    about = clause(name, **more)
    return Verdict(
        clause=about, implementation="mine", profile="strict", status=status, evidence=evidence, counterexample=found
    )


def some_verdicts() -> list[Verdict]:
    lost = counterexample(SLEEPER, SLEEPER_REASON, "LOST", role="residency, filled by mine", replay="intack2.abc.123")
    late = counterexample(LOST, LOST_REASON, "DELAYED", replay="intack2.it's.456")
    alone = Counterexample(
        scenario="one routine alone",
        switches=0,
        steps=1,
        at_rest=False,
        reason="highest() answers 0 for PIR = 1",
        replay="intack run -a mine --clause PID-2",
    )
    return [
        verdict(Status.HELD, "PID-1", "exhaustively in 3 scenarios, 1,204 states", section="Descriptor"),
        verdict(Status.VIOLATED, "PID-2", "one of 200 cases", section="Descriptor", counterexample=alone),
        verdict(Status.NOT_CHECKED, "PID-3", "needs a second page table", section="Descriptor"),
        verdict(Status.VIOLATED, "E2E-1", "in 2 of 9 scenarios", counterexample=lost),
        verdict(Status.DEVIATES, "KVM-1", "no guarantee fails", counterexample=late, kind="discipline", sources=UNREAD),
        verdict(Status.NOT_CHECKED, "E2E-9", "needs a second page table"),
        verdict(Status.NOT_EXERCISED, "E2E-7", "in 2 scenarios: its premise never became true"),
        verdict(Status.OBSERVED, "E2E-4", "allowed, and seen", modality="MAY"),
    ]


EXTENT = Extent(scenarios=9, found_in=2, states=1204, vcpus=1, cpus=2, others=1, interrupts=1)
HOSTILE = "a\x1b[2Jb\u202ec</script><script>alert(1)</script>\nPASS ``` | <b> ]]>"


def many(count: int) -> Report:
    """So many clauses of three implementations, each broken in the first."""
    found = counterexample(SLEEPER, SLEEPER_REASON, "LOST", replay="intack2.abc.123")
    made: list[Verdict] = []
    for name in ("mine", "other", "reference"):
        for n in range(count):
            broken = name == "mine"
            one = verdict(
                Status.VIOLATED if broken else Status.HELD,
                f"E2E-{n}",
                counterexample=msgspec.structs.replace(found, breaks=(f"E2E-{n}",)) if broken else None,
            )
            made.append(msgspec.structs.replace(one, implementation=name, extent=EXTENT))
    return document.report(made)


def hostile() -> Report:
    """Whatever an implementation may name is."""
    found = counterexample(LOST, HOSTILE, "LOST", role=HOSTILE, replay="intack2.abc.123")
    steps = [
        msgspec.structs.replace(
            step, facts=tuple(msgspec.structs.replace(fact, routine=HOSTILE, site=HOSTILE) for fact in step.facts)
        )
        for step in found.trace
    ]
    found = msgspec.structs.replace(found, trace=tuple(steps), scenario=HOSTILE)
    broken = verdict(Status.VIOLATED, "E2E-1", HOSTILE, counterexample=found, statement=HOSTILE)
    crash = verdict(Status.CRASH, "E2E-2", HOSTILE)
    return document.report([msgspec.structs.replace(v, implementation=HOSTILE) for v in (broken, crash)])
