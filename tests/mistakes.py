"""Where the mistake is: the steps of a counterexample at which a known-bad implementation does otherwise than the code
that it is a change to.

Both are functions of (routine, arguments, results so far). So each operation of the run is compared with what the
unchanged code would do after the same results, and where they differ they are brought together again, if they do the same soon.
A reason should name

    instead    the step that does something else, or begins to do something more
    left out   that step, or the one before it in its call, after which something was due
    moved      the step in which it is done at last, and one of those that overtook it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import pytest

from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.unfold import Node
from conformance.machine.facts import QUIET
from conformance.machine.machine import Machine
from conformance.machine.state import View
from conformance.roles import operations as ops
from conformance.search.results import Step

FAR = 6
"""Operations within which two ways that have parted come together."""


class Did(NamedTuple):
    """A step asked for this node's operation, or returned there. `lane` is the agent, and whether in a handler."""

    step: int
    lane: tuple[int, int]
    node: Node


class Mistake(NamedTuple):
    kind: Literal["instead", "left out", "moved"]
    where: tuple[frozenset[int], ...]
    """Steps: a reason should name one of each set."""
    said: str

    def named(self, steps: frozenset[int]) -> bool:
        return all(steps & some for some in self.where)


def mistakes(machine: Machine, schedule: Sequence[Step], base: Assembly) -> list[Mistake]:
    """In order. `base` is the unchanged code, in the same scenario."""
    run = list(_run(machine, schedule))
    beside: dict[Node, Node] = {}
    """What comes next in a call, and in the unchanged code's, as long as the two can be compared."""
    found: list[Mistake] = []
    known: set[int] = set()
    """Places in the run of what is done too late, or is more than is due: told already."""
    for number, did in enumerate(run):
        try:
            due = beside.get(did.node) if did.node.parent else base.root(did.node.routine, did.node.args)
        except Fault:  # the unchanged code has no such routine
            due = None
            found.append(Mistake("instead", (frozenset({did.step}),), did.node.routine))
        if due and number in known:
            beside |= dict.fromkeys(did.node.edges.values(), due)
            continue
        if due and due.answer != did.node.answer:
            mistake, together, more = _mistake(run, number, due)
            known |= more
            found.append(mistake)
            if number in more:
                beside |= dict.fromkeys(did.node.edges.values(), due)
            due = together
        if due is None:
            continue
        for result, child in did.node.edges.items():
            with suppress(Fault, TypeError):
                beside[child] = due.child(result)
    return found


def _run(machine: Machine, schedule: Sequence[Step]) -> Iterator[Did]:
    """All that routines do in a schedule. Steps are taken, not remembered, to see what is private, too."""
    state = machine.initial
    for number, (index, choice) in enumerate(schedule, 1):
        agent = machine.agents[index]
        nodes: list[Node] = []
        with pytest.MonkeyPatch.context() as patch:
            _watch(patch, nodes)
            agent.step(View(state, choice))
        outcome = next(o for o in agent.entry(state).outcomes if o.choice == choice)
        nodes += [note.node for note in outcome.notes if note.node and isinstance(note.node.answer, ops.EnterGuest)]
        yield from (Did(number, (index, outcome.lane), node) for node in nodes)
        state = state & outcome.keep | outcome.add


def _watch(patch: pytest.MonkeyPatch, nodes: list[Node]) -> None:
    """Record operations as they are answered, and returns as they are come to."""
    child, root = Node.child, Assembly.root

    def come_to(made: Node) -> Node:
        nodes.extend([made] if isinstance(made.answer, ops.Return) else [])
        return made

    def answered(self: Node, result: ops.Result) -> Node:
        nodes.append(self)
        return come_to(child(self, result))

    patch.setattr(Node, "child", answered)
    patch.setattr(Assembly, "root", lambda self, routine, args: come_to(root(self, routine, args)))


def _mistake(run: Sequence[Did], number: int, due: Node) -> tuple[Mistake, Node | None, set[int]]:
    """What differs; where the unchanged code does the same as this operation, None if nowhere near; and the places in the
    run of what is done too late, or more than is due.
    """
    step, lane, node = run[number]
    said = f"{node.routine} {node.answer} for {due.answer}"
    if _place(node.answer) == _place(due.answer):
        return Mistake("instead", (frozenset({step}),), said), due, set()
    later = [n for n, did in enumerate(run) if n > number and _within(did.node, node)]
    done = next((n for n in later if _way(run[n].node.answer) == _way(due.answer)), 0)
    together = _comes_to(due, node.answer)
    if together is None:
        more = [number, *(n for n in later if n < done)]
        return Mistake("instead", (frozenset({step}),), said), None, set(more) if done else set()
    if done and run[done].step > step and not isinstance(due.answer, QUIET):
        overtook = frozenset({step, *(run[n].step for n in later if n < done and run[n].step < run[done].step)})
        return Mistake("moved", (overtook, frozenset({run[done].step})), said), together, {done}
    before = [did.step for did in run[:number] if did.lane == lane and _within(node, did.node)]
    return Mistake("left out", (frozenset({step, *before[-1:]}),), said), together, set()


def _within(node: Node, call: Node) -> bool:
    """Whether a node comes after another in its call."""
    at: Node | None = node.parent
    while at is not None and at is not call:
        at = at.parent
    return at is not None


def _comes_to(due: Node, answer: ops.Answer) -> Node | None:
    """Where the unchanged code, after a few things more, does this."""
    pending = [(due, 0)]
    for node, far in pending:
        if far and _way(node.answer) == _way(answer):
            return node
        if far < FAR and not isinstance(node.answer, ops.Return | ops.EnterGuest):
            for result in _results(node.answer):
                with suppress(Fault, TypeError):
                    pending.append((node.child(result), far + 1))
    return None


def _results(op: ops.Answer) -> tuple[ops.Result, ...]:
    return (0, 1, ()) if isinstance(op, ops.Load | ops.Rmw | ops.CpuId | ops.Interrupts | ops.Wake) else (None,)


def _way(answer: ops.Answer) -> tuple[object, ...]:
    """What an operation is, wherever it stands: of a read-modify-write not with which values."""
    match answer:
        case ops.Rmw(at=at, how=how):
            return type(answer), at, how
        case _:
            return (answer,)


def _place(answer: ops.Answer) -> tuple[object, ...]:
    match answer:
        case ops.Load(at=at) | ops.Store(at=at) | ops.Rmw(at=at):
            return type(answer), at
        case _:
            return (answer,)
