"""Remembered steps, looked up for whole columns of states at once.

`state.Agent` files what it remembers under its pivot and then under the bits that any step there read. The same here: a
*file* is an agent under one number of its pivot, with the mask of those bits, and the key of a state in it is (agent,
state & mask). Keys are numbered, and by number we know the outcomes. Where we do not, the agent is asked, once for each
key; it remembers or runs the step. When its answer widens a file's mask, keys in it are made anew: what an older,
shorter key answers stays true, but it is found only by states whose further bits are 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conformance.machine.machine import Machine
from conformance.machine.state import Agent, NextSteps, Outcome
from conformance.search.packing import SPARE, Packing
from conformance.search.state_table import Column, Numbering, Numbers, Rows

UNKNOWN = -1
ROOM = 1 << 10


class Steps(NamedTuple):
    """What some states can do, one row a step, agent by agent. `source`: row of the state it is taken from."""

    source: Rows
    targets: list[Column]
    outcome: Numbers
    file: Rows


class Recall:
    """The steps of a machine under one packing."""

    def __init__(self, machine: Machine, packing: Packing) -> None:
        self.packing = packing
        self.agents: list[Agent] = []
        """By file."""
        self.pivots = [packing.by_cell.get(id(agent.pivot)) for agent in machine.agents]
        for agent, field in zip(machine.agents, self.pivots, strict=True):
            self.agents += [agent] * (1 << field.width if field else 1)
        pivots = [packing.mask(agent.pivot.mask) for agent in self.agents]
        self.masks = [np.array([words[n] for words in pivots], np.uint64) for n in range(packing.words)]
        assert len(machine.agents) <= 1 << SPARE
        self.tags = np.array([agent.index << 64 - SPARE for agent in self.agents], np.uint64)
        self.awake = np.ones(len(self.agents), np.bool_)
        """False: whatever else the state holds, the agent waits."""
        self.must = np.array([agent.obligatory for agent in self.agents])
        self.number = np.array([agent.index for agent in self.agents], np.int32)

        self.keys = Numbering(packing.words, sparse=16)
        self.first: Numbers = np.zeros(0, np.int32)
        self.many: Numbers = np.zeros(0, np.int32)
        """By key: the first outcome, and how many; UNKNOWN. These, and those by outcome, have room behind their end."""

        self.outcomes: list[Outcome] = []
        self.keep = [np.zeros(0, np.uint64) for _ in range(packing.words)]
        self.add = [np.zeros(0, np.uint64) for _ in range(packing.words)]
        self.tells = np.zeros(0, np.bool_)
        """Whether monitors found anything in the outcome that nobody has been told yet."""
        self.placed: dict[int, tuple[NextSteps, int]] = {}
        """By identity: an entry, and its first outcome."""

    def steps(self, states: list[Column]) -> Steps:
        """All steps of these states. Raises Outgrown, and Fault where the implementation misbehaves."""
        source, file = self._movers(states)
        first, many = self._look_up([column.take(source) for column in states], file)
        able = np.flatnonzero(many)
        source, file, outcome, many = source.take(able), file.take(able), first.take(able), many.take(able)
        if len(many) and many.max() > 1:
            ends = np.cumsum(many)
            which = np.repeat(np.arange(len(many)), many)
            outcome = outcome[which] + (np.arange(ends[-1]) - (ends - many)[which]).astype(np.int32)
            source, file = source[which], file[which]
        targets = [column.take(source) for column in states]
        for column, keep, add in zip(targets, self.keep, self.add, strict=True):
            column &= keep.take(outcome)
            column |= add.take(outcome)
        return Steps(source, targets, outcome, file)

    def _movers(self, states: list[Column]) -> tuple[Rows, Rows]:
        """(state, file) of each agent in each state, but for those that are known to wait by their pivot alone."""
        sources: list[Rows] = []
        files: list[Rows] = []
        base = 0
        for field in self.pivots:
            if field:
                file = field.of(states).view(np.int64)
                file += base
                moving = np.flatnonzero(self.awake.take(file))
                sources.append(moving)
                files.append(file.take(moving))
            elif self.awake[base]:
                sources.append(np.arange(len(states[0])))
                files.append(np.full(len(states[0]), base))
            base += 1 << field.width if field else 1
        return np.concatenate(sources), np.concatenate(files)

    def _look_up(self, states: list[Column], file: Rows) -> tuple[Numbers, Numbers]:
        """The first outcome, and how many, of each state's step."""
        key = self._key(states, file)
        while (many := self.many.take(key)).min(initial=0) == UNKNOWN:
            unknown = np.flatnonzero(many == UNKNOWN)
            some, where = [column.take(unknown) for column in states], file.take(unknown)
            apart = np.sort(np.unique(key.take(unknown), return_index=True)[1])
            self._learn([column.take(apart) for column in some], where.take(apart))
            key[unknown] = self._key(some, where)
        return self.first.take(key), many

    def _key(self, states: list[Column], file: Rows) -> Numbers:
        keys = [mask.take(file) for mask in self.masks]
        for key, column in zip(keys, states, strict=True):
            key &= column
        keys[0] |= self.tags.take(file)
        numbers = self.keys.number(keys)
        self.first = lengthened(self.first, self.keys.count, 0)
        self.many = lengthened(self.many, self.keys.count, UNKNOWN)
        return numbers

    # What is not remembered here

    def _learn(self, states: list[Column], file: Rows) -> None:
        """Ask the agents, and file what they answer."""
        whole = self.packing.unpack(states)
        entries = [self._ask(*each) for each in zip(file.tolist(), whole, strict=True)]
        self._place(entries)
        key = self._key(states, file)
        self.first[key] = [self.placed[id(entry)][1] for entry in entries]
        self.many[key] = [len(entry.outcomes) for entry in entries]

    def _ask(self, file: int, state: int) -> NextSteps:
        agent = self.agents[file]
        entry = agent.entry(state)
        for masks, word in zip(self.masks, self.packing.mask(agent.tables[state & agent.pivot.mask].mask), strict=True):
            masks[file] = word
        self.awake[file] = bool(entry.outcomes) or entry.reads != agent.pivot.mask
        return entry

    def _place(self, entries: list[NextSteps]) -> None:
        """Their outcomes into columns, once each."""
        known = len(self.outcomes)
        for entry in entries:
            if id(entry) not in self.placed:
                self.placed[id(entry)] = (entry, len(self.outcomes))
                self.outcomes += entry.outcomes
        new = self.outcomes[known:]
        added = [self.packing.pack(outcome.add, outcome.writes) for outcome in new]
        written = [self.packing.mask(outcome.writes) for outcome in new]
        count = len(self.outcomes)
        for word in range(self.packing.words):
            self.add[word] = lengthened(self.add[word], count, 0)
            self.add[word][known:count] = [words[word] for words in added]
            self.keep[word] = lengthened(self.keep[word], count, 0)
            self.keep[word][known:count] = ~np.array([words[word] for words in written], np.uint64)
        self.tells = lengthened(self.tells, count, False)
        self.tells[known:count] = [bool(outcome.findings) for outcome in new]


def lengthened(array: NDArray[Any], count: int, filler: int) -> NDArray[Any]:
    """With room for `count` entries, and for many more if it had none, so that room is seldom made."""
    if count <= len(array):
        return array
    more = np.full(max(count, 2 * len(array), ROOM), filler, array.dtype)
    more[: len(array)] = array
    return more
