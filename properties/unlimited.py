"""Stories whose twin without budgets comes to an end (`conformance.verdict.unlimited`), with its states: pinned, as counts
that change mean that what can happen has changed.

    python -m properties.unlimited              says what differs; exit status 1 if anything does
    python -m properties.unlimited --write      pins them anew; takes some five minutes
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from conformance.adapters.registry import resolve
from conformance.adapters.source import Fault
from conformance.machine.build import in_machine
from conformance.roles import environments
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from conformance.verdict.suite import ArchitectureSuite
from conformance.verdict.unlimited import MOST_STATES, unlimited
from properties.arm.suite import ARM
from properties.x86.suite import X86


def counted(suite: ArchitectureSuite, story: Scenario) -> int:
    """0 if it does not come to an end, or breaks a clause."""
    try:
        done = in_machine(
            resolve("reference"), unlimited(story), suite, lambda machine: prove(machine, most=MOST_STATES)
        )
    except Fault:
        return 0
    whole = done.complete and not (done.breached or done.at_rest or done.livelock)
    return done.states if whole else 0


def main(how: str = "") -> int:
    differs = False
    for suite in (X86, ARM):
        stories = [s for s in suite.scenarios if s.story and not s.samples and not {*s.facts} & environments().keys()]
        counts = {story.name: n for story in stories if (n := counted(suite, story))}
        if how == "--write":
            lines = (f" {json.dumps(name)}: {n}" for name, n in counts.items())
            Path(f"properties/{suite.architecture}/unlimited.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        for name, n in {**dict.fromkeys(suite.unlimited, 0), **counts}.items():
            if suite.unlimited.get(name, 0) != n:
                differs = True
                print(f"{name}: {n}, pinned {suite.unlimited.get(name, 0)}")
    return int(differs and how != "--write")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
