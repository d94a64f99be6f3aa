"""Exhaustive search, thousands of states at a time: the frontier is a few NumPy columns, a row a state.

The same search as the plain one of `search`, in another order: breadth first, for the store of states met so far is the
queue. No reduction: at a step's price here, finding out what may sleep costs more than it saves. States, states at rest
and broken clauses are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from conformance.machine.machine import Machine
from conformance.search.packing import Outgrown, Packing
from conformance.search.results import Proof
from conformance.search.state_table import Numbering
from conformance.search.transition_table import Recall, Steps

BLOCK = 1 << 14
"""States expanded at a time: their columns stay in the processor's cache."""
NOWHERE = -1


class Frontier:
    """One search, from states that were met already or the initial one. `after` holds, for each state expanded, the state after its
    first obligatory step, or NOWHERE.
    """

    def __init__(self, machine: Machine, done: Proof, met: Sequence[int] = ()) -> None:
        self.machine, self.done = machine, done
        self.packing = Packing(machine.layout)
        self.recall = Recall(machine, self.packing)
        self.visited = Numbering(self.packing.words)
        """The queue, too: states are expanded in the order of their numbers."""
        self.visited.number(self.packing.columns(met or [machine.initial]))
        self.after = np.empty(0, np.int32)

    def search(self, most: int, pulse: Callable[[int], None] | None) -> None:
        expanded = 0
        while expanded < self.visited.count:
            if self.visited.count > most:
                self.done.complete = False
                break
            last = min(expanded + BLOCK, self.visited.count)
            self._expand(expanded, last)
            expanded = last
            if pulse:
                pulse(self.visited.count)
        self.done.states = self.visited.count
        if self.done.complete:
            self.done.livelock = self._livelock()

    @property
    def bytes(self) -> int:
        """Held for the states, without what is remembered of steps."""
        return self.visited.bytes + self.after.nbytes

    def _expand(self, first: int, last: int) -> None:
        steps = self._steps(first, last)
        numbers = self.visited.number(steps.targets)
        self.done.transitions += len(numbers)
        after = np.full(last - first, NOWHERE, np.int32)
        musts = np.flatnonzero(self.recall.must.take(steps.file))[::-1]  # the first one is written last
        after[steps.source[musts]] = numbers[musts]
        if last > len(self.after):
            self.after = np.concatenate([self.after, np.empty(max(BLOCK, len(self.after) // 2), np.int32)])
        self.after[first:last] = after
        self._tell(steps)
        for number in np.flatnonzero(after == NOWHERE) + first:
            self.done.judge(self.machine.at_rest(self._state(int(number))))

    def _steps(self, first: int, last: int) -> Steps:
        """What the states from `first` to before `last` can do; in a new packing, whenever a cell outgrows its field."""
        while True:
            try:
                return self.recall.steps(self.visited.columns(slice(first, last)))
            except Outgrown:
                narrow, self.packing = self.packing, Packing(self.machine.layout)
                visited = self.visited.columns(slice(self.visited.count))
                self.visited.renew(narrow.repack(visited, self.packing))
                self.recall = Recall(self.machine, self.packing)

    def _tell(self, steps: Steps) -> None:
        """What monitors found in steps taken for the first time."""
        if not self.recall.tells.any():
            return
        telling = steps.outcome[self.recall.tells.take(steps.outcome)]
        self.recall.tells[telling] = False
        for number in dict.fromkeys(telling.tolist()):
            self.done.tell(self.recall.outcomes[number])

    def _state(self, number: int) -> int:
        return self.packing.unpack(self.visited.columns(slice(number, number + 1)))[0]

    def _livelock(self) -> tuple[int, ...]:
        """The first state that cannot come to rest, if there is one. Most are cleared by following first steps."""
        count = self.visited.count
        after = self.after[:count]
        can = after == NOWHERE
        ahead = np.where(can, np.arange(count, dtype=np.int32), after)
        for _ in range(count.bit_length()):  # twice as far ahead each time
            if can.take(ahead).all():
                return ()
            ahead = ahead.take(ahead)
        can = can.take(ahead)
        source, target = self._musts(np.flatnonzero(~can))
        while (mended := can[target] & ~can[source]).any():
            can[source[mended]] = True
        return tuple(self._state(int(number)) for number in np.flatnonzero(~can)[:1])

    def _musts(self, numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """The obligatory steps of these states: from, to."""
        sources, targets = [np.empty(0, np.intp)], [np.empty(0, np.int32)]
        for begin in range(0, len(numbers), BLOCK):
            which = numbers[begin : begin + BLOCK]
            steps = self.recall.steps(self.visited.columns(which))
            must = self.recall.must.take(steps.file)
            sources.append(which[steps.source[must]])
            targets.append(self.visited.number([column[must] for column in steps.targets]))
        return np.concatenate(sources), np.concatenate(targets)
