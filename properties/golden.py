"""What the reference comes to, pinned: how many states each scenario has, every monitor attached (`GOLDEN` in scenarios.py of
each architecture, covering.json for what was chosen by pairs), and which routines run in it, or in the check of a clause
that is a function (its routines.json).

    python -m properties.golden                 prints them
    python -m properties.golden --write [arm]   puts them into these files; of one architecture only
    python -m properties.golden --check [arm]   says what differs; exit status 1 if anything does

A count that changes means that the reference, a scenario, a monitor or the engine has changed what can happen. Find out
which before writing the new one. Where none of an implementation's routines runs, nothing is run for it: the routines
must be complete.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import properties.arm.scenarios as arm
import properties.nested.scenarios as nested
import properties.x86.scenarios as x86
from conformance.adapters.registry import resolve
from conformance.automaton.assembly import Assembled, recorded
from conformance.machine.build import in_machine
from conformance.roles.scenario import Scenario
from conformance.search.proof import prove
from conformance.verdict.explore import explore
from properties.arm.grammar import ARM
from properties.covering import covered, pin, rows
from properties.nested.grammar import NESTED
from properties.suite import SUITE
from properties.x86.grammar import X86

MODULES = {"x86": x86, "nested": nested, "arm": arm}
GRAMMARS = (X86, NESTED, ARM)
EXHAUSTED = tuple(s for s in SUITE.scenarios if not s.samples)
FUNCTIONS = tuple(c for c in SUITE.clauses if c.check == "sequential")
COVERED = {name: states for grammar in GRAMMARS for name, states in covered(grammar)[1].items()}
GOLDEN = {**x86.GOLDEN, **nested.GOLDEN, **arm.GOLDEN, **COVERED}
DICTIONARY = re.compile(r"^GOLDEN: dict\[str, int\] = \{.*?\}$", re.MULTILINE | re.DOTALL)


class Ran(NamedTuple):
    states: int
    routines: tuple[str, ...]


def ran(scenario: Scenario) -> Ran:
    """With the reference. Of a sampled scenario there are no states."""
    with recorded() as made:
        if scenario.samples:
            states = explore(resolve("reference"), scenario, SUITE).states
        else:
            states = in_machine(resolve("reference"), scenario, SUITE, lambda machine: prove(machine).states)
    return Ran(states, asked(made))


def checked(clause: str) -> tuple[str, ...]:
    """The routines that run in the check of a function."""
    with recorded() as made:
        SUITE.sequential(clause, resolve("reference"))
    return asked(made)


def asked(made: Sequence[Assembled]) -> tuple[str, ...]:
    unfoldings = [unfolding for assembled in made for unfolding in assembled.assembly.unfoldings()]
    return tuple(sorted({routine for unfolding in unfoldings for routine, _ in unfolding.roots}))


def text(counts: Mapping[str, int]) -> str:
    return "GOLDEN: dict[str, int] = {\n" + "".join(f'    "{name}": {n:_},\n' for name, n in counts.items()) + "}"


def routines_text(routines: Mapping[str, Sequence[str]]) -> str:
    """As JSON, a line for each."""
    lines = (f" {json.dumps(name)}: {json.dumps(' '.join(run))}" for name, run in routines.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(how: str = "", architecture: str = "") -> int:
    asked = [architecture] if architecture else [*MODULES]
    scenarios = {s.name: ran(s) for s in SUITE.scenarios if s.architecture in asked}
    functions = {c.id: checked(c.id) for c in FUNCTIONS if c.architecture in asked}
    counts = {s.name: scenarios[s.name].states for s in EXHAUSTED if s.architecture in asked}
    routines = {**{name: it.routines for name, it in scenarios.items()}, **functions}
    if how == "--check":
        found = {name: (counts.get(name), routines[name]) for name in routines}
        concerned = {c.id: c.architecture for c in FUNCTIONS} | {s.name: s.architecture for s in SUITE.scenarios}
        pinned = {
            name: (GOLDEN.get(name), tuple(run))
            for name, run in SUITE.routines.items()
            if concerned.get(name, asked[0]) in asked
        }
        for name in sorted(found.keys() | pinned.keys()):
            if found.get(name) != pinned.get(name):
                print(f"{name}: {found.get(name, 'gone')}, pinned {pinned.get(name, 'not at all')}")
        return int(found != pinned)
    for name in asked:
        own = [s.name for s in SUITE.scenarios if s.architecture == name]
        also = [c.id for c in FUNCTIONS if c.architecture == name]
        counted = text({n: counts[n] for n in own if n in counts and n not in COVERED})
        run = routines_text({n: routines[n] for n in (*own, *also)})
        if how == "--write":
            path = Path(str(MODULES[name].__file__))
            path.write_text(DICTIONARY.sub(counted, path.read_text()))
            path.with_name("routines.json").write_text(run)
            for grammar in (g for g in GRAMMARS if g.architecture == name):
                pin(grammar, rows(grammar), {row: counts[grammar.name(row)] for row in rows(grammar)})
        else:
            print(counted, run, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
