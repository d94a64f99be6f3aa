"""One routine alone: a call, and if asked what it chains to, on a given memory with nobody else about.

    memory, arguments, choices ──> [ operation ── result ── operation ── ... ] ──> memory, messages, answer

What is arithmetic rather than a race is checked so, as a function on generated states. The unfolding answers what comes
next, as it does for exploration; here the operations act on a plain dictionary, in program order, and who owns a
location is not asked. A step is one operation, or everything in one atomic block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly
from conformance.automaton.meaning import after, merged, seen
from conformance.automaton.unfold import LONGEST_CALL, Node, too_long
from conformance.roles import operations as ops

Memory: TypeAlias = dict[str, ops.Value]
Choices: TypeAlias = Callable[[tuple[str, ...]], int] | Iterable[int]
Ended: TypeAlias = Literal["returned", "exited", "in guest", "asleep", "waiting"]


class Performed(NamedTuple):
    """One operation that was performed. `locked`: it is a locked operation, or part of an atomic block."""

    step: int
    routine: str
    operation: ops.AnyOperation
    result: ops.Result
    locked: bool


class Change(NamedTuple):
    """A location that took another value than it had."""

    at: str
    old: ops.Value
    new: ops.Value
    by: Performed


class SentMessage(NamedTuple):
    vector: int
    to: int


@dataclass(frozen=True, slots=True)
class Alone:
    """What one run did.

    `ended` tells how: by returning, by a VM exit (of one of the processor's, whose rest is void), or with the thread
    in its guest, asleep, or waiting for what nobody here will do.
    """

    memory: Mapping[str, ops.Value]
    steps: int
    ended: Ended
    answer: ops.Return
    """What the last call returned, if it did."""
    exit_reason: tuple[int | str, ...]
    asked: tuple[Performed, ...]
    changes: tuple[Change, ...]
    sent: tuple[SentMessage, ...]
    delivered: tuple[int, ...]
    woken: tuple[str, ...]

    def changes_of(self, prefix: str) -> tuple[Change, ...]:
        """The changes of locations whose names begin so, in order."""
        return tuple(c for c in self.changes if c.at.startswith(prefix))

    def steps_changing(self, prefix: str) -> tuple[int, ...]:
        """The steps that changed any of these locations, in order."""
        return tuple(sorted({c.by.step for c in self.changes_of(prefix)}))


def run_alone(
    assembly: Assembly,
    routine: str,
    args: tuple[ops.Result, ...],
    memory: Mapping[str, ops.Value],
    choices: Choices = (),
    *,
    cpu: int = 0,
    interrupts: bool = True,
    asleep: Collection[str] = (),
    exits: Iterable[tuple[int | str, ...]] = (),
    follow: int = 0,
    between: Callable[[int, Memory], None] | None = None,
) -> Alone:
    """Run one call of `routine`. Raises Fault.

    `memory`: what differs from the initial values. `choices` answers each freedom that the routine takes: a function of
    the options, or indices, taken modulo their number and 0 when they run out. `cpu` is where it runs, `interrupts`
    the host's flag there. A wake finds the threads in `asleep` asleep. Each VM entry ends with the next of `exits`; at
    one without, the run ends. `follow` is how many chained calls are followed. `between` is called before each step,
    with its number, and may change the memory.
    """
    run = _Run(assembly, memory, choices, cpu, interrupts, asleep, exits, between)
    answer = run.call(assembly.root(routine, args))
    while not run.ended and answer.then and follow:
        follow -= 1
        answer = run.call(assembly.root(str(answer.then[0]), answer.then[1:]))
    return Alone(
        memory=run.memory,
        steps=run.step + 1,
        ended=run.ended or "returned",
        answer=answer,
        exit_reason=run.exit_reason,
        asked=tuple(run.asked),
        changes=tuple(run.changes),
        sent=tuple(run.sent),
        delivered=tuple(run.delivered),
        woken=tuple(run.woken),
    )


class _Run:
    """A run in progress. Once `ended` is set, nothing more is done."""

    def __init__(
        self,
        assembly: Assembly,
        memory: Mapping[str, ops.Value],
        choices: Choices,
        cpu: int,
        interrupts: bool,
        asleep: Collection[str],
        exits: Iterable[tuple[int | str, ...]],
        between: Callable[[int, Memory], None] | None,
    ) -> None:
        self.assembly = assembly
        self.memory: Memory = {at: shared.initial for at, shared in assembly.locations.items()} | dict(memory)
        self.choose = choices if callable(choices) else _indices(choices)
        self.cpu, self.interrupts, self.asleep, self.exits = cpu, interrupts, asleep, iter(exits)
        self.between = between
        self.ended: Ended | None = None
        self.exit_reason: tuple[int | str, ...] = ()
        self.step, self.atomic, self.about_to_sleep = -1, False, False
        self.held: set[str] = set()
        self.asked: list[Performed] = []
        self.changes: list[Change] = []
        self.sent: list[SentMessage] = []
        self.delivered: list[int] = []
        self.woken: list[str] = []

    def call(self, node: Node) -> ops.Return:
        asked = len(self.asked)
        while not isinstance(node.answer, ops.Return):
            if len(self.asked) - asked > LONGEST_CALL:
                raise too_long(node)
            if not self.atomic:
                self.step += 1
                if self.between:
                    self.between(self.step, self.memory)
            result = self.perform(node.answer, node)
            if self.ended:
                return ops.Return()
            node = node.child(result)
        return node.answer

    def perform(self, op: ops.AnyOperation, node: Node) -> ops.Result:
        at = op.at if isinstance(op, ops.Store | ops.Rmw) else ""
        old = self.memory.get(at, 0)
        result = self.do(op, node)
        asked = Performed(self.step, node.routine, op, result, self.atomic or isinstance(op, ops.Rmw))
        self.asked.append(asked)
        if at and self.memory[at] != old:
            self.changes.append(Change(at, old, self.memory[at], asked))
        return result

    def do(self, op: ops.AnyOperation, node: Node) -> ops.Result:
        match op:
            case ops.Load():
                return self.read(op.at, op.mask, node)
            case ops.Store():
                self.memory[op.at] = merged(self.read(op.at, ops.WORD, node), op.value, op.mask)
            case ops.Rmw():
                word = self.word(op.at, node)
                self.memory[op.at] = after(op, word)
                return word & op.mask
            case ops.SendIpi():
                self.sent.append(SentMessage(op.vector, self.cpu if op.to is None else op.to))
            case ops.Interrupts():
                old, self.interrupts = self.interrupts, op.on
                return old
            case ops.Lock():
                self.ended = "waiting" if op.at in self.held else None
                self.held.add(op.at)
            case ops.Unlock():
                self.held.discard(op.at)
            case ops.EnterGuest():
                for reason in self.exits:
                    return reason
                self.ended = "in guest"
            case ops.ExitGuest():
                self.ended, self.exit_reason = "exited", op.reason
            case ops.PrepareToBlock() | ops.FinishBlock():
                self.about_to_sleep = isinstance(op, ops.PrepareToBlock)
            case ops.Schedule():
                self.ended = "asleep" if self.about_to_sleep else None
            case ops.Wake():
                self.woken.append(op.thread)
                return op.thread in self.asleep
            case ops.Relax():
                if all(self.read(at, mask, node) == value for at, mask, value in node.reads):
                    self.ended = "waiting"
            case ops.Choose():
                return self.choose(op.options)
            case ops.CpuId():
                return self.cpu
            case ops.Atomic():
                self.atomic = op.on
            case ops.Deliver():
                self.delivered.append(op.vector)
            case ops.Assert():
                if not self.holds(op):
                    raise Fault("CRASH", f"{node.routine} asserts: {op.what}", node.routine)
            case ops.ListOf():
                lists = [self.read(at, ops.WORD, node) for at in op.lists]
                return next((n for n, on in enumerate(lists) if isinstance(on, tuple) and op.name in on), -1)
            case ops.Fence() | ops.Preemption():
                pass
        return None

    def holds(self, op: ops.Assert) -> bool:
        if op.held:
            return op.held in self.held
        return op.interrupts is not None and op.interrupts == self.interrupts

    def read(self, at: str, mask: int, node: Node) -> ops.Value:
        self.assembly.shared(at, node.routine)
        return seen(self.memory[at], mask)

    def word(self, at: str, node: Node) -> int:
        value = self.read(at, ops.WORD, node)
        if not isinstance(value, int):
            raise Fault("CRASH", f"{node.routine} does arithmetic on {at}, which holds a list", node.routine)
        return value


def _indices(given: Iterable[int]) -> Callable[[tuple[str, ...]], int]:
    indices = iter(given)
    return lambda options: next(indices, 0) % len(options)
