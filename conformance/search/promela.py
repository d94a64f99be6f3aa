"""A machine as Promela, so that Spin, which nobody here wrote, does the search again.

One process, one `do`, and in it an atomic guarded step for each agent (and for each further choice it has). The steps
are what the engine remembers of them: under which values of which cells an agent goes where. A cell is an unsigned
field of as many bits as the scenario needs, monitors' memory among them. So Spin checks the search, which states there
are and which clauses break, and takes the meaning of a step from us:

- States are equal by construction, transitions are ours and one more for each state at rest that breaks a clause.
- A breach is a failed assertion. At rest it is one in a step that leaves the state as it is.
- A step of an agent in a state for which nothing is remembered fails an assertion too: a search that missed states
  cannot pass its own blindness on.
- LIVELOCK is left out. That rest stays reachable from everywhere (AG EF) is no property of linear time.

A state at rest that breaks nothing and has no optional step is the end state labelled `end`. (G. J. Holzmann, The SPIN
Model Checker, 2004, chs. 3 and 19.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from conformance.machine.finding import Breach
from conformance.machine.machine import Machine
from conformance.machine.parts import Frame, Running
from conformance.machine.state import Agent, Cell, NextSteps, Outcome
from conformance.search.proof import visits
from conformance.search.words import Words

UNKNOWN = "NOT_EXPORTED"
"""The clause broken by a step that the export does not know."""


class TooLarge(Exception):
    """More states than the export may visit: the steps it would write down are not all there are."""


def promela(machine: Machine, about: str, most: int = 1_000_000) -> str:
    """The machine's closed automata as one Promela file. Explores first: raises Fault as any exploration, and TooLarge."""
    rests = _close(machine, most)
    names = _Names(machine)
    body = [line for agent in machine.agents for line in _steps(agent, names)]
    body += _at_rest(rests, names)
    head = HEAD.format(about=about, clauses=", ".join(sorted(names.clauses.values())), unknown=UNKNOWN)
    return "\n".join([head, *names.breaches(), "", *names.declarations(), *BEGIN, *body, *END, ""])


HEAD = """\
/* {about}

   Written by `intack export --promela`. One process; every option of its `do` is one step of one agent. To search it:

       spin -a FILE && gcc -O2 -DSAFETY -DNOREDUCE -DPRINTF -o pan pan.c && ./pan -n -c0 -m2000000

   "states, stored" is the number of states that intack finds. Each broken clause is named once, in a line that begins
   with BREAKS; "errors" counts the steps and states at rest that break one. Without -c0 the search stops at the first,
   and `spin -t -p FILE` shows the way there.
   Asserted here: {clauses}.
   Not asserted: LIVELOCK. {unknown} would be a state that intack's own search has missed. */
"""

BEGIN = ("", "init {", "end:", "   do")
END = ("   od", "}")


def _close(machine: Machine, most: int) -> dict[int, list[str]]:
    """Visit every state, so that all steps are remembered. Answers the states at rest that break clauses, with these."""
    rests: dict[int, list[str]] = {}
    for state, resting, met in visits(machine):
        if resting and (broken := {f.clause for f in machine.at_rest(state) if isinstance(f, Breach)}):
            rests[state] = sorted(broken)
        if met > most:
            raise TooLarge(f"more than {most:,} states")
    return rests


@dataclass
class _Names:
    """Cells as variables, and what else the file has to declare."""

    machine: Machine
    used: list[tuple[Cell[Any], str]] = field(default_factory=list)
    clauses: dict[str, str] = field(default_factory=dict)
    """By what it is called here."""

    def __post_init__(self) -> None:
        self.words = Words(self.machine.assembly.architecture)
        taken: set[str] = set()
        for cell in self.machine.layout.cells.values():
            if len(cell.values) > 1:
                name = _identifier(cell.name)
                while name in taken:
                    name += "_"
                taken.add(name)
                self.used.append((cell, name))

    def declarations(self) -> Iterator[str]:
        for cell, name in self.used:
            yield f"/* {cell.name}:"
            yield from (f"   {number:5}  {_shown(value)}" for number, value in enumerate(cell.values))
            initial = (self.machine.initial & cell.mask) >> cell.shift
            yield f"*/\nunsigned {name} : {(len(cell.values) - 1).bit_length()} = {initial};"

    def breaches(self) -> Iterator[str]:
        """What a broken clause does: it is told once, which is no part of the state, and fails an assertion."""
        for name, clause in sorted(self.clauses.items()):
            yield f"hidden byte told_{name};"
            yield f'#define {name} if :: !told_{name} -> told_{name} = 1; printf("BREAKS {clause}\\n") :: else fi; assert(false)'

    def cube(self, mask: int, bits: int) -> Cube:
        """The states that have these bits under `mask`."""
        return {name: frozenset([(bits & c.mask) >> c.shift]) for c, name in self.used if c.mask & mask}

    def breaks(self, clause: str) -> str:
        identifier = f"breaks_{_identifier(clause)}"
        self.clauses[identifier] = clause
        return identifier

    def effect(self, outcome: Outcome) -> str:
        """Assignments, and breaches."""
        acts = [
            f"{name} = {(outcome.add & cell.mask) >> cell.shift}"
            for cell, name in self.used
            if outcome.writes & cell.mask
        ]
        acts += [self.breaks(clause) for clause in sorted({b.clause for b in outcome.breaches})]
        text = "; ".join(self.words.told(note.fact) for note in outcome.notes)
        return f"{'; '.join(acts) or 'skip'}{_comment(text)}"


def _steps(agent: Agent, names: _Names) -> Iterator[str]:
    """The agent's options: those that take its first choice wherever it does not wait, and those of each further choice."""
    known: dict[int, list[Known]] = {number: [] for number in range(len(agent.pivot.values))}
    for table in agent.tables.values():
        for filed in table.exact.values():
            for bits, entry in filed.items():
                known[(bits & agent.pivot.mask) >> agent.pivot.shift].append((entry, bits))
    pivot = next((name for cell, name in names.used if cell is agent.pivot), "")
    waits = {n: [c for c, _ in _cases(agent, filed, None, names)] for n, filed in known.items()}
    yield f"\n   /* {agent.name}{'' if agent.obligatory else ': optional'} */"
    for choice in range(max(1, *(len(entry.outcomes) for filed in known.values() for entry, _ in filed))):
        cases = {n: _cases(agent, filed, choice, names) for n, filed in known.items()}
        for numbers in _pieces(agent, cases, choice):
            able = {n: [c for c, _ in cases[n]] for n in numbers}
            guard = f"({_any_of(pivot, able)})" if choice else f"!({_any_of(pivot, {n: waits[n] for n in numbers})})"
            yield f"   :: d_step {{ {_one_of(pivot, range(numbers[0], numbers[-1] + 1))} && {guard} ->"
            yield "         if"
            for number in numbers:
                if cases[number]:
                    yield f"         :: {_one_of(pivot, [number])} ->{_comment(_shown(agent.pivot.values[number]))}"
                    yield "            if"
                    yield from (f"            :: {condition} -> {effect}" for condition, effect in cases[number])
                    if cases[number][-1][0] != "true":
                        yield f"            :: else -> {names.breaks(UNKNOWN)}"
                    yield "            fi"
            yield f"         :: else -> {names.breaks(UNKNOWN)}"
            yield "         fi }"


Known = tuple[NextSteps, int]
"""An entry, and the bits under which it is remembered."""
Case = tuple[str, str]
"""A condition on what is not the pivot, and what happens then."""


def _cases(agent: Agent, filed: list[Known], choice: int | None, names: _Names) -> list[Case]:
    """Where the agent has this choice (None: where it waits). What happens alike is one case, if one condition says it."""
    alike: dict[tuple[str, int], list[Cube]] = {}
    for entry, bits in filed:
        if choice is None and not entry.outcomes:
            alike.setdefault(("", entry.reads), []).append(names.cube(entry.reads & ~agent.pivot.mask, bits))
        elif choice is not None and len(entry.outcomes) > choice:
            effect = names.effect(entry.outcomes[choice])
            alike.setdefault((effect, entry.reads), []).append(names.cube(entry.reads & ~agent.pivot.mask, bits))
    return [(_all_of(cube), effect) for (effect, _), cubes in alike.items() for cube in _merged(cubes)]


Cube = dict[str, frozenset[int]]
"""For each variable that matters, the values it may have."""


def _merged(cubes: list[Cube]) -> list[Cube]:
    """Over the same variables: those that differ in one of them become one, one variable after the other."""
    for name in cubes[0]:
        together: dict[tuple[frozenset[int], ...], Cube] = {}
        for cube in cubes:
            rest = tuple(values for other, values in cube.items() if other != name)
            known = together.setdefault(rest, cube)
            if known is not cube:
                together[rest] = {**known, name: known[name] | cube[name]}
        cubes = list(together.values())
    return cubes


def _all_of(cube: Cube) -> str:
    return " && ".join(_one_of(name, sorted(values)) for name, values in cube.items()) or "true"


def _any_of(pivot: str, conditions: dict[int, list[str]]) -> str:
    """The pivot is one of these numbers, and one of its conditions is true."""
    plain = [number for number, filed in conditions.items() if "true" in filed]
    others = [
        f"({_one_of(pivot, [number])} && ({' || '.join(f'({c})' if '&&' in c else c for c in filed)}))"
        for number, filed in conditions.items()
        if filed and "true" not in filed
    ]
    return " || ".join([_one_of(pivot, plain)] * bool(plain) + others) or "false"


def _one_of(name: str, numbers: Sequence[int]) -> str:
    """The variable is one of these numbers; "" is a variable that has one value and is not declared."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    some = [f"{name} == {a}" if a == b else f"({name} >= {a} && {name} <= {b})" for a, b in spans]
    return "true" if not name else some[0] if len(some) == 1 else f"({' || '.join(some)})"


LONGEST = 1500
"""Statements in one option, as far as we count them. Spin refuses more than 2,048."""


def _pieces(agent: Agent, cases: dict[int, list[Case]], choice: int) -> Iterator[list[int]]:
    """The numbers of the pivot in pieces that an atomic step of Spin's can hold; with a choice, those that have it."""
    piece: list[int] = []
    size = 0
    for number, filed in cases.items():
        acts = [effect.partition(" /*")[0] for _, effect in filed]
        grows = 14 + sum(3 + each.count(";") + 10 * each.count("breaks_") for each in acts)
        if grows > LONGEST:
            raise TooLarge(f"more cases in one position of {agent.name} than an atomic step of Spin's can hold")
        if choice and not filed:
            continue
        if piece and size + grows > LONGEST:
            yield piece
            piece, size = [], 0
        piece.append(number)
        size += grows
    if piece:
        yield piece


def _at_rest(rests: dict[int, list[str]], names: _Names) -> Iterator[str]:
    """An option for each state at rest that breaks clauses, written out in full."""
    if rests:
        yield "\n   /* at rest, and a clause is broken */"
    for state, broken in rests.items():
        yield f"   :: d_step {{ {_all_of(names.cube(-1, state))} -> {'; '.join(map(names.breaks, broken))} }}"


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")


def _comment(text: str) -> str:
    return f" /* {text.replace('*/', '* /')} */" if text else ""


def _shown(value: Any) -> str:
    """A cell's value in few words."""
    match value:
        case Running(thread=thread, frames=frames, guest=guest):
            where = f"{thread or 'idle'}{f', in the guest of {guest}' if guest else ''}"
            return ", ".join(chain([where], map(_frame, reversed(frames))))
        case (Frame(), *_):
            return ", ".join(map(_frame, reversed(value)))
        case int() if value > 1 << 64:  # vectors latched or in flight, as a bit mask
            return "vectors " + ", ".join(f"{v:#x}" for v in range(value.bit_length()) if value >> v & 1)
        case _:
            text = repr(value)
            return (text if len(text) <= 140 else f"{text[:137]}...").replace("*/", "* /")


def _frame(frame: Frame) -> str:
    node = frame.node
    return f"{node.routine} after {len(node.results)}: {type(node.answer).__name__.lower()} {getattr(node.answer, 'at', '')}".rstrip()
