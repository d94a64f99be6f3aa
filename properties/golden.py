"""How many states each scenario has with the reference, every monitor attached: `GOLDEN` in properties/x86/scenarios.py, and of
Arm in properties/arm/scenarios.py.

    python -m properties.golden             prints them
    python -m properties.golden --write     puts them into these files
    python -m properties.golden --check     says what differs; exit status 1 if anything does

A count that changes means that the reference, a scenario, a monitor or the engine has changed what can happen. Find out
which before writing the new one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import properties.arm.scenarios as arm
import properties.x86.scenarios as x86
from conformance.adapters.registry import resolve
from conformance.machine.build import in_machine
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from properties.suite import SUITE

MODULES = (x86, arm)
EXHAUSTED = tuple(s for module in MODULES for s in module.SCENARIOS if not s.samples)
GOLDEN = {name: n for module in MODULES for name, n in module.GOLDEN.items()}
DICTIONARY = re.compile(r"^GOLDEN: dict\[str, int\] = \{.*?\}$", re.MULTILINE | re.DOTALL)


def states(scenario: Scenario) -> int:
    return in_machine(resolve("reference"), scenario, SUITE, lambda machine: prove(machine).states)


def text(counts: dict[str, int]) -> str:
    return "GOLDEN: dict[str, int] = {\n" + "".join(f'    "{name}": {n:_},\n' for name, n in counts.items()) + "}"


def main(how: str = "") -> int:
    counts = {s.name: states(s) for s in EXHAUSTED}
    for module in MODULES:
        own = {s.name: counts[s.name] for s in module.SCENARIOS if s.name in counts}
        if how == "--write":
            path = Path(str(module.__file__))
            path.write_text(DICTIONARY.sub(text(own), path.read_text()))
        elif not how:
            print(text(own))
    if how == "--check":
        for name in sorted(counts.keys() | GOLDEN.keys()):
            if counts.get(name) != GOLDEN.get(name):
                print(f"{name}: {counts.get(name, 'gone')}, pinned {GOLDEN.get(name, 'not at all')}")
        return int(counts != GOLDEN)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
