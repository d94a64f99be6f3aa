"""Host interrupts that are levels: asserted, seen by a CPU's interrupt controller, and withdrawn when no longer asserted.

Where the scenario has the fact that `Level.late` names, a level travels like a message and is taken whenever it comes.
"""

from __future__ import annotations

from conformance.adapters.source import Fault
from conformance.automaton.meaning import seen
from conformance.automaton.unfold import LONGEST_CALL
from conformance.machine import facts
from conformance.machine.parts import Parts
from conformance.machine.state import Note, NotEnabled, View
from conformance.roles import operations as ops


def rise(parts: Parts, view: View, c: int) -> None:
    """CPU `c` sees a level that is asserted: it is latched, or on its way. Raises NotEnabled if there is none."""
    cpu = parts.cpus[c]
    for vector, level in parts.assembly.architecture.levels.items():
        late = level.late in parts.scenario.facts
        known = view.get(cpu.latched) | (view.get(cpu.flight) if late else 0)
        if not known >> vector & 1 and asserted(parts, view, c, level.routine):
            cell = cpu.flight if late else cpu.latched
            view.set(cell, view.get(cell) | 1 << vector)
            view.notes.append(Note((facts.Rises if late else facts.Arrives)(vector, c)))
            return
    raise NotEnabled


def takeable(parts: Parts, view: View, c: int) -> int:
    """The latched vectors as a bit mask, less levels that were withdrawn: those are forgotten."""
    cell = parts.cpus[c].latched
    latched = view.get(cell)
    for vector, level in parts.assembly.architecture.levels.items() if latched else ():
        here = latched >> vector & 1 and level.late not in parts.scenario.facts
        if here and not asserted(parts, view, c, level.routine):
            latched &= ~(1 << vector)
            view.set(cell, latched)
    return latched


def asserted(parts: Parts, view: View, c: int, routine: str) -> bool:
    """Whether a level is asserted at CPU `c`: what the routine answers, which may only load."""
    node = parts.assembly.root(routine, (c,))
    for _ in range(LONGEST_CALL):
        if not isinstance(node.answer, ops.Load):
            break
        word = view.get(parts.memory[parts.assembly.shared(node.answer.at, routine) and node.answer.at])
        node = node.child(seen(word, node.answer.mask))
    if not isinstance(node.answer, ops.Return):
        raise Fault("CRASH", f"{routine} may only load and return, not do {node.answer}", routine)
    return bool(node.answer.value)
