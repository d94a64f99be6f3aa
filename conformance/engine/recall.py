"""Remembered steps, looked up for whole arrays of states at once.

`state.Agent` files what it remembers under its pivot and then under the bits that any step there read. The same here:
a *file* is an agent under one number of its pivot, with the mask of those bits; (file, state & mask) is a key in one
hash table for all agents, which answers the step's outcomes. What is not in the table is asked of the agent, once for
each key, which remembers it or runs the step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conformance.engine.machine import Machine
from conformance.engine.packing import MULTIPLIERS, Column, Packing, mixed
from conformance.engine.state import Agent, Entry, Outcome

Indices = NDArray[np.intp]
SPARSE = 8
"""Slots a key, so that most are found where they are looked for first."""


class Steps(NamedTuple):
    """What some states can do, one row a step, agent by agent. `source`: row of the state it is taken from."""

    source: Indices
    targets: list[Column]
    outcome: Indices
    obligatory: NDArray[np.bool_]


class Recall:
    """The steps of a machine under one packing."""

    def __init__(self, machine: Machine, packing: Packing) -> None:
        self.packing = packing
        self.agents: list[Agent] = []
        """By file."""
        self.pivots = [(agent, packing.by_cell.get(id(agent.pivot)), 0) for agent in machine.agents]
        for n, (agent, field, _) in enumerate(self.pivots):
            self.pivots[n] = (agent, field, len(self.agents))
            self.agents += [agent] * (1 << field.width if field else 1)
        files = len(self.agents)
        self.masks = [np.zeros(files, np.uint64) for _ in range(packing.words)]
        self.salts: Column = np.arange(1, files + 1, dtype=np.uint64) * np.uint64(MULTIPLIERS[3])
        self.idle = np.zeros(files, np.bool_)
        """Whatever else the state holds, the agent waits."""
        self.must = np.array([agent.obligatory for agent in self.agents])

        self.outcomes: list[Outcome] = []
        self.tells = np.zeros(0, np.bool_)
        """Of each outcome, whether monitors found anything in it."""
        self.keep = [np.zeros(0, np.uint64) for _ in range(packing.words)]
        self.add = [np.zeros(0, np.uint64) for _ in range(packing.words)]
        self.filed: dict[int, tuple[Entry, int]] = {}
        """Entries whose outcomes are known here, by identity, with the first outcome's index."""

        self.keys = 0
        self._clear(1 << 10)

    def _clear(self, slots: int) -> None:
        self.file = np.full(slots, -1, np.int32)
        self.key = [np.zeros(slots, np.uint64) for _ in self.masks]
        self.first = np.zeros(slots, np.int32)
        self.number = np.zeros(slots, np.int32)

    def steps(self, states: list[Column]) -> Steps:
        """All steps of these states. Raises Outgrown, and Fault where the implementation misbehaves."""
        rows: list[Indices] = []
        files: list[Indices] = []
        for _, field, base in self.pivots:
            if field is None:
                if not self.idle[base]:
                    rows.append(np.arange(len(states[0])))
                    files.append(np.full(len(states[0]), base))
                continue
            at = field.of(states).astype(np.intp) + base
            moving = np.flatnonzero(~self.idle[at])
            rows.append(moving)
            files.append(at[moving])
        row, file = np.concatenate(rows), np.concatenate(files)
        first, number = self._look_up([column[row] for column in states], file)
        able = np.flatnonzero(number)
        row, file, outcome, number = row[able], file[able], first[able].astype(np.intp), number[able]
        if len(number) and number.max() > 1:
            ends = np.cumsum(number)
            repeat = np.repeat(np.arange(len(number)), number)
            outcome = outcome[repeat] + np.arange(ends[-1]) - (ends - number)[repeat]
            row, file = row[repeat], file[repeat]
        targets = [
            column[row] & keep[outcome] | add[outcome]
            for column, keep, add in zip(states, self.keep, self.add, strict=True)
        ]
        return Steps(row, targets, outcome, self.must[file])

    def _look_up(self, states: list[Column], file: Indices) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The first outcome, and how many, of the step of each state's agent."""
        first, number = np.empty(len(file), np.int32), np.empty(len(file), np.int32)
        which = np.arange(len(file))
        while len(which):
            at, missing = self._probe(states, file)
            first[which], number[which] = self.first[at], self.number[at]
            left = np.flatnonzero(missing)
            which, file, states = which[left], file[left], [column[left] for column in states]
            if len(left):
                self._learn(states, file)
        return first, number

    def _probe(self, states: list[Column], file: Indices) -> tuple[Indices, NDArray[np.bool_]]:
        keys = [column & mask[file] for column, mask in zip(states, self.masks, strict=True)]
        at = self._home(keys, file)
        missing = np.zeros(len(file), np.bool_)
        strange = self._strange(at, keys, file)
        while len(strange):
            lost = self.file[at[strange]] < 0
            missing[strange[lost]] = True
            strange = strange[~lost]
            at[strange] = at[strange] + 1 & len(self.file) - 1
            strange = strange[self._strange(at[strange], [key[strange] for key in keys], file[strange])]
        return at, missing

    def _strange(self, at: Indices, keys: list[Column], file: Indices) -> Indices:
        """Those that do not stand where they were looked for."""
        differs = self.file[at] != file
        for filed, key in zip(self.key, keys, strict=True):
            differs |= filed[at] != key
        return np.flatnonzero(differs)

    # What is not in the table

    def _learn(self, states: list[Column], file: Indices) -> None:
        """Ask the agents, once for what looks the same so far, and file what they answer."""
        keys = [column & mask[file] for column, mask in zip(states, self.masks, strict=True)]
        apart = np.sort(np.unique(mixed(keys, self.salts[file]), return_index=True)[1])
        states, file = [column[apart] for column in states], file[apart]
        entries = [
            self._ask(which, state) for which, state in zip(file.tolist(), self.packing.unpack(states), strict=True)
        ]
        self._add_outcomes(entries)
        first = np.array([self.filed[id(entry)][1] for entry in entries], np.int32)
        number = np.array([len(entry.outcomes) for entry in entries], np.int32)
        self._file([column & mask[file] for column, mask in zip(states, self.masks, strict=True)], file, first, number)

    def _ask(self, file: int, state: int) -> Entry:
        agent = self.agents[file]
        entry = agent.entry(state)
        for masks, word in zip(self.masks, self.packing.mask(agent.tables[state & agent.pivot.mask].mask), strict=True):
            masks[file] = word
        self.idle[file] |= not entry.outcomes and entry.reads == agent.pivot.mask
        return entry

    def _add_outcomes(self, entries: list[Entry]) -> None:
        known = len(self.outcomes)
        for entry in entries:
            if id(entry) not in self.filed:
                self.filed[id(entry)] = (entry, len(self.outcomes))
                self.outcomes += entry.outcomes
        new = self.outcomes[known:]
        added = [self.packing.pack(outcome.add, outcome.writes) for outcome in new]
        kept = [self.packing.mask(outcome.writes) for outcome in new]
        for word in range(self.packing.words):
            self.add[word] = np.append(self.add[word], np.array([words[word] for words in added], np.uint64))
            self.keep[word] = np.append(self.keep[word], ~np.array([words[word] for words in kept], np.uint64))
        self.tells = np.append(self.tells, np.array([bool(outcome.breaches) for outcome in new], np.bool_))

    def _file(self, keys: list[Column], file: Indices, first: NDArray[np.int32], number: NDArray[np.int32]) -> None:
        """Into the table. Two keys may have become the same: then the first stays."""
        self.keys += len(file)
        if self.keys * SPARSE > len(self.file):
            taken = np.flatnonzero(self.file >= 0)
            keys = [np.append(old[taken], new) for old, new in zip(self.key, keys, strict=True)]
            file = np.append(self.file[taken], file).astype(np.intp)
            first = np.append(self.first[taken], first)
            number = np.append(self.number[taken], number)
            self._clear(1 << (self.keys * SPARSE * 2).bit_length())
        at = self._home(keys, file)
        left = np.arange(len(file))
        while len(left):
            here = at[left]
            free = self.file[here] < 0
            where, which = here[free][::-1], left[free][::-1]  # the first of those that want a slot is written last
            for table, rows in zip(
                (*self.key, self.file, self.first, self.number), (*keys, file, first, number), strict=True
            ):
                table[where] = rows[which]
            left = left[self._strange(here, [key[left] for key in keys], file[left])]
            at[left] = at[left] + 1 & len(self.file) - 1

    def _home(self, keys: list[Column], file: Indices) -> Indices:
        """The slot at which the search for each key begins."""
        return (mixed(keys, self.salts[file]) >> np.uint64(65 - len(self.file).bit_length())).astype(np.intp)
