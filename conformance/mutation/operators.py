"""What is done to an operation: the operators.

After J. Bradbury, J. Cordy, J. Dingel, Mutation Operators for Concurrent Java (Mutation 2006), who change how code uses
its synchronization: modify parameters (here `neighbour`), modify occurrence (`left out`, `twice`, `split`, `whole word`),
modify keywords (`weaker`), switch objects (`neighbour` of vCPUs), modify regions (`exchanged`, `moved out`). Different
here: the change is made to an operation on its way to the machine, so one set serves every language; the objects are
those of interrupt delivery (bits of a PIR, vectors, CPUs, wake-ups); and a read can be told an older or another answer,
but only one that has been seen there, lest the mutant crashes where it should be judged. `ends`, `not called` and `first
only` are the statement deletions of ordinary mutation testing (Offutt et al., 1996).

An operator is a generator: it is given the node of the site, yields the operations that are performed in its place, is
told their results, and answers the node at which the routine goes on, or how it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import msgspec

from conformance.adapters.source import Fault
from conformance.automaton.meaning import combined, writes
from conformance.automaton.unfold import Node
from conformance.roles import operations as ops

Course: TypeAlias = Generator[ops.AnyOperation, ops.Result, "Node | ops.Return"]
"""What is performed in place of an operation, and where the routine goes on."""


History: TypeAlias = "tuple[str, tuple[ops.Result, ...], tuple[ops.Result, ...]]"
"""A routine, its arguments, and the results of its operations so far."""


class After(NamedTuple):
    """What a call that has come to a node has been seen to do: the operation that follows whatever is answered, if there is
    one; and how it returns, by the fewest operations, smallest answers first.
    """

    following: ops.Answer | None
    returns: ops.Return | None
    """None: it has never been seen to."""
    at_once: bool
    """Whatever is answered, it returns."""


def history(node: Node) -> History:
    return node.routine, node.args, node.results


def after(node: Node) -> After:
    answers = {child.answer for child in node.edges.values()}
    level = [node]
    returns: ops.Return | None = None
    while level:
        found = next((here.answer for here in level if isinstance(here.answer, ops.Return)), None)
        if found:
            returns = found
            break
        level = [
            here.edges[answer] for here in level for answer in sorted(here.edges, key=lambda a: (str(type(a)), str(a)))
        ]
    at_once = all(isinstance(answer, ops.Return) for answer in answers)
    return After(answers.pop() if len(answers) == 1 else None, returns, at_once)


@dataclass
class Context:
    """What a mutant knows: the answers seen at each location, the locations there are; and of the call it is in."""

    seen: Mapping[tuple[str, int], tuple[ops.Result, ...]]
    """By location and mask, the results of loads and locked operations, in order of size."""
    places: frozenset[str]
    written: frozenset[str]
    """Those that are not constant."""
    cpus: int
    vectors: tuple[int, ...]
    """Host vectors that somebody handles."""
    after: Mapping[History, After]
    """By history, where the unchanged code was explored. Automata go on growing while mutants are explored; what a mutant
    does must not depend on how far.
    """
    pairs: list[ops.Operation] = field(default_factory=list)
    """Ends of regions whose begin was left out, and that are left out in turn."""
    later: list[ops.AnyOperation] = field(default_factory=list)
    """Operations moved out of a region, to be performed when it is over."""
    met: int = 0
    """How often this call has come to the site."""

    def in_call(self) -> Context:
        return replace(self, pairs=[], later=[], met=0)


Operator: TypeAlias = Callable[[Node, Context, str], Course]
Variants: TypeAlias = Callable[[Node, Context], tuple[str, ...]]

MEMORY = (ops.Load, ops.Store, ops.Rmw)
MOST_ALIKE = 200
"""Pairs of nodes that are compared before two courses are taken to differ."""
UNTOUCHABLE = ops.EnterGuest | ops.CpuId | ops.Choose | ops.Assert | ops.ListOf | ops.Return
"""Not left out: without them there is no answer to go on with, or (an assertion) nothing that could go wrong."""
REGION: dict[type[ops.Operation], Callable[[ops.Operation], ops.Operation]] = {
    ops.Lock: lambda op: ops.Unlock(op.at),  # type: ignore[attr-defined]
    ops.Preemption: lambda op: ops.Preemption(True),
    ops.Atomic: lambda op: ops.Atomic(False),
}
"""What begins a region, and what ends it: one is not left out without the other."""


def seen(node: Node, context: Context) -> tuple[ops.Result, ...]:
    """The answers that the operation of a node has had, here or elsewhere."""
    op = node.answer
    if isinstance(op, ops.Load | ops.Rmw):
        return context.seen.get((op.at, op.mask), ())
    return ()


def go_on(node: Node) -> Course:
    """The operation as it is."""
    assert not isinstance(node.answer, ops.Return)
    return node.child((yield node.answer))


# Occurrence


def _left_out(node: Node, context: Context, variant: str) -> Course:
    """Of a locked operation the read is left, of a region both ends go."""
    op = node.answer
    match op:
        case ops.Rmw(at=at, mask=mask):
            return node.child((yield ops.Load(at, mask)))
        case ops.Wake():
            return node.child(False)
        case ops.Interrupts(on=on):
            return node.child(not on)
        case ops.Load():
            return node.child(0 if 0 in seen(node, context) else (yield op))
        case ops.Lock() | ops.Preemption() | ops.Atomic():
            context.pairs.append(REGION[type(op)](op))
    return node.child(None)


def _can_leave_out(node: Node, context: Context) -> tuple[str, ...]:
    match node.answer:
        case ops.Unlock() | ops.Atomic(on=False) | ops.Preemption(on=True) | ops.Load():
            return ()
        case op:
            return () if isinstance(op, UNTOUCHABLE) else ("",)


def _twice(node: Node, context: Context, variant: str) -> Course:
    assert not isinstance(node.answer, ops.Return)
    yield node.answer
    return node.child((yield node.answer))


def _can_repeat(node: Node, context: Context) -> tuple[str, ...]:
    return ("",) if isinstance(node.answer, ops.Rmw | ops.SendIpi | ops.Deliver) else ()


def _split(node: Node, context: Context, variant: str) -> Course:
    """A locked operation as a load and a store: another agent may come in between."""
    op = node.answer
    assert isinstance(op, ops.Rmw)
    old = yield ops.Load(op.at, op.mask)
    assert isinstance(old, int)
    if writes(op, old):
        yield ops.Store(op.at, combined(op, old), op.mask)
    return node.child(old)


def _whole_word(node: Node, context: Context, variant: str) -> Course:
    """A write of some bits overwrites the rest of the word with zeros."""
    op = node.answer
    assert isinstance(op, ops.Rmw | ops.Store)
    if isinstance(op, ops.Store):
        yield ops.Store(op.at, op.value, ops.WORD, op.order)
        return node.child(None)
    old = yield ops.Load(op.at, op.mask)
    assert isinstance(old, int)
    if writes(op, old):
        yield ops.Store(op.at, combined(op, old))
    return node.child(old)


def _narrow(node: Node, context: Context) -> tuple[str, ...]:
    op = node.answer
    if isinstance(op, ops.Rmw):
        return ("",) if op.mask != ops.WORD or op.how == "or" else ()
    return ("",) if isinstance(op, ops.Store) and op.mask != ops.WORD else ()


def _locked(node: Node, context: Context) -> tuple[str, ...]:
    return ("",) if isinstance(node.answer, ops.Rmw) else ()


# The routine


def _ends(node: Node, context: Context, variant: str) -> Course:
    """The routine ends after the operation, as it ends elsewhere. A step of hardware's is over then, too."""
    assert not isinstance(node.answer, ops.Return)
    ended = node.child((yield node.answer))
    if _depth(node, ops.Atomic(True), ops.Atomic(False)):
        yield ops.Atomic(False)
    return _return_of(ended, context) or _return_of(node, context) or ops.Return()


def _not_reached(node: Node, context: Context, variant: str) -> Course:
    """The routine ends in place of its first operation."""
    return _return_of(node, context) or ops.Return()
    yield


def _return_of(node: Node, context: Context) -> ops.Return | None:
    known = context.after.get(history(node))
    return known.returns if known else None


def _not_last(node: Node, context: Context) -> tuple[str, ...]:
    known = context.after.get(history(node))
    ends = known and known.returns and not known.at_once
    return ("",) if ends and not isinstance(node.answer, ops.Atomic | ops.EnterGuest) else ()


def _first(node: Node, context: Context) -> tuple[str, ...]:
    return ("",) if node.parent is None and _return_of(node, context) else ()


def _first_only(node: Node, context: Context, variant: str) -> Course:
    """What a loop does again is left out."""
    if context.met == 1:
        return (yield from go_on(node))
    return (yield from _left_out(node, context, ""))


# Parameters


def _neighbour(node: Node, context: Context, variant: str) -> Course:
    op = _moved(node.answer, context, variant)
    return node.child((yield op)) if op is not None else (yield from go_on(node))


def _moved(op: ops.Answer, context: Context, variant: str) -> ops.AnyOperation | None:
    """The operation on the neighbour, if there is one."""
    match op, variant:
        case ops.SendIpi(vector=vector, to=to), "vector":
            other = next((v for v in context.vectors if v != vector), None)
            return ops.SendIpi(other, to) if other is not None else None
        case ops.SendIpi(vector=vector, to=int(to)), "cpu" if context.cpus > 1:
            return ops.SendIpi(vector, (to + 1) % context.cpus)
        case ops.Wake(thread=thread), "vcpu":
            other = _next_owner(thread, "vcpu", {p.split(".")[0] for p in context.places})
            return ops.Wake(other) if other else None
        case ops.Deliver(vector=vector), "vector":
            other = _next_interrupt(vector, context.places)
            return ops.Deliver(other) if other is not None else None
        case ops.Store(value=int(value), mask=mask), "value":
            return msgspec.structs.replace(op, value=value ^ (mask & -mask))
        case ((ops.Load() | ops.Store() | ops.Rmw()), ("vcpu" | "cpu" | "word")):
            at = _neighbouring(op.at, variant, context.places if isinstance(op, ops.Load) else context.written)
            return msgspec.structs.replace(op, at=at) if at else None
        case ops.Rmw(mask=mask, value=value, expect=expect), "bit" if mask.bit_count() == 1:
            by = (lambda bits: bits << 1) if mask < 1 << 63 else (lambda bits: bits >> 1)
            return msgspec.structs.replace(op, mask=by(mask), value=by(value), expect=by(expect))
        case _:
            return None


def _neighbouring(at: str, variant: str, places: frozenset[str]) -> str:
    owner, _, rest = at.partition(".")
    if variant in ("vcpu", "cpu") and owner.startswith(variant):
        other = _next_owner(owner, variant, {p.split(".")[0] for p in places})
        return f"{other}.{rest}" if other and f"{other}.{rest}" in places else ""
    if variant == "word" and at.endswith("]"):
        base, _, index = at[:-1].rpartition("[")
        around = (f"{base}[{int(index) + by}]" for by in (1, -1, 2, -2))
        return next((name for name in around if name in places), "")
    return ""


def _next_interrupt(vector: int, places: frozenset[str]) -> int | None:
    """Where interrupts have locations (irq41.latch), another of those; else any other."""
    parts = {part for place in places for part in place.split(".")}
    named = next((part for part in sorted(parts) if part.rstrip("0123456789") + str(vector) == part), "")
    if not named:
        return vector ^ 1
    prefix = named.removesuffix(str(vector))
    other = _next_owner(named, prefix, parts) if prefix else ""
    return int(other.removeprefix(prefix)) if other else None


def _next_owner(owner: str, prefix: str, owners: set[str]) -> str:
    """vcpu1 for vcpu0, if there is one."""
    number = owner.removeprefix(prefix)
    alike = sorted(o for o in owners if o.startswith(prefix) and o[len(prefix) :].isdigit())
    if not number.isdigit() or len(alike) < 2:
        return ""
    return alike[(alike.index(owner) + 1) % len(alike)] if owner in alike else ""


def _neighbours(node: Node, context: Context) -> tuple[str, ...]:
    kinds = ("bit", "word", "vector", "vcpu", "cpu")
    return tuple(k for k in kinds if _moved(node.answer, context, k) is not None)


def _value(node: Node, context: Context) -> tuple[str, ...]:
    return ("value",) if isinstance(node.answer, ops.Store) and isinstance(node.answer.value, int) else ()


# Answers


def _told(node: Node, context: Context, variant: str) -> Course:
    """The operation is performed, and the routine is told another answer than it had."""
    op = node.answer
    assert isinstance(op, ops.Load | ops.Rmw)
    result = yield op
    told = _answer(node, context, variant)
    return node.child(result if told is None else told)


def _answer(node: Node, context: Context, variant: str) -> ops.Result:
    op, answers = node.answer, seen(node, context)
    assert isinstance(op, ops.Load | ops.Rmw)
    match variant:
        case "zero":
            return 0 if 0 in answers else () if () in answers else None
        case "ones":
            return op.mask if op.mask in answers else None
        case "largest":
            numbers = [a for a in answers if isinstance(a, int)]
            return max(numbers) if len(numbers) > 1 else max(answers, key=len) if _lists(answers) else None  # type: ignore[arg-type]
        case _:
            earlier = [e for e in _history(node) if _reads(e.answer, op.at, op.mask)]
            return earlier[-1].result if earlier and earlier[-1].result in answers else None


def _lists(answers: tuple[ops.Result, ...]) -> bool:
    return bool(answers) and all(isinstance(a, tuple) for a in answers)


def _reads(op: ops.Answer, at: str, mask: int) -> bool:
    return isinstance(op, ops.Load | ops.Rmw) and (op.at, op.mask) == (at, mask)


@dataclass(frozen=True)
class _Past:
    answer: ops.Answer
    result: ops.Result


def _history(node: Node) -> list[_Past]:
    """The operations before this one, with their results, in order."""
    found: list[_Past] = []
    while node.parent is not None:
        found.append(_Past(node.parent.answer, node.result))
        node = node.parent
    return found[::-1]


def _answers(node: Node, context: Context) -> tuple[str, ...]:
    if not isinstance(node.answer, ops.Load | ops.Rmw) or len(seen(node, context)) < 2:
        return ()
    return tuple(v for v in ("zero", "ones", "largest", "before") if _matters(node, _answer(node, context, v)))


def _matters(node: Node, told: ops.Result) -> bool:
    """Whether the routine ever goes on otherwise after this answer than after one that it had."""
    if told is None:
        return False
    return any(not _alike(node.child(told), node.edges[had]) for had in list(node.edges) if had != told)


def _alike(told: Node, had: Node) -> bool:
    """Whether the routine goes on alike, as far as it is known what follows."""
    pending = [(told, had)]
    for _ in range(MOST_ALIKE):
        if not pending:
            return True
        told, had = pending.pop()
        if told.answer != had.answer:
            return False
        try:
            pending += [(told.child(result), had.edges[result]) for result in list(had.edges)]
        except Fault:
            return False
    return False


# Regions and order


def _exchanged(node: Node, context: Context, variant: str) -> Course:
    """The operation comes after the one that follows it."""
    following = _following(node, context)
    if following is None:
        return (yield from go_on(node))
    assert not isinstance(node.answer, ops.Return)
    second = yield following
    then = node.child((yield node.answer))
    return then.child(second) if then.answer == following else then


def _following(node: Node, context: Context) -> ops.AnyOperation | None:
    """What follows, if it is the same whatever the operation answers."""
    known = context.after.get(history(node))
    following = known.following if known else None
    if following is None or isinstance(following, ops.Return):
        return None
    barred = ops.Choose | ops.EnterGuest | ops.Schedule | ops.Atomic | ops.Deliver | ops.ExitGuest
    return None if isinstance(following, barred) else following


def _can_exchange(node: Node, context: Context) -> tuple[str, ...]:
    barred = UNTOUCHABLE | ops.Schedule | ops.Atomic | ops.Deliver | ops.ExitGuest
    following = _following(node, context)
    if isinstance(node.answer, barred) or following is None or following == node.answer:
        return ()
    apart = isinstance(node.answer, MEMORY) and isinstance(following, MEMORY) and node.answer.at != following.at
    if apart and _depth(node, ops.Atomic(True), ops.Atomic(False)):
        return ()  # nobody can look in between
    ends = (ops.Lock, ops.Unlock)
    return () if isinstance(node.answer, ends) and isinstance(following, ends) else ("",)


def _moved_out(node: Node, context: Context, variant: str) -> Course:
    """What nobody waits for the answer of is done when the lock is free, or interrupts are on, again."""
    op = node.answer
    assert isinstance(op, ops.Store | ops.SendIpi | ops.Wake)
    context.later.append(op)
    return node.child(False if isinstance(op, ops.Wake) else None)
    yield


def _in_region(node: Node, context: Context) -> tuple[str, ...]:
    if not isinstance(node.answer, ops.Store | ops.SendIpi | ops.Wake):
        return ()
    locks = _depth(node, ops.Lock, ops.Unlock)
    return ("",) if locks or _depth(node, ops.Interrupts(False), ops.Interrupts(True)) else ()


def _depth(node: Node, begins: ops.Answer | type, ends: ops.Answer | type) -> int:
    """How many regions of a kind the node is in."""

    def fits(answer: ops.Answer, what: ops.Answer | type) -> bool:
        return isinstance(answer, what) if isinstance(what, type) else answer == what

    depth = 0
    for past in _history(node):
        depth = max(0, depth + fits(past.answer, begins) - fits(past.answer, ends))
    return depth


def ends_region(operation: ops.Answer) -> bool:
    """Whether what was moved out of a region is performed after this."""
    return isinstance(operation, ops.Unlock | ops.Return) or operation == ops.Interrupts(True)


# Orders


def _weaker(node: Node, context: Context, variant: str) -> Course:
    op = node.answer
    assert isinstance(op, ops.Store)
    yield msgspec.structs.replace(op, order="plain")
    return node.child(None)


def _strong(node: Node, context: Context) -> tuple[str, ...]:
    return ("",) if isinstance(node.answer, ops.Store) and node.answer.order == "seq_cst" else ()


OPERATORS: dict[str, tuple[str, Variants, Operator]] = {
    "left out": ("it is not done; of a locked operation the read stays", _can_leave_out, _left_out),
    "twice": ("it is done twice", _can_repeat, _twice),
    "split": ("a locked operation becomes a load and a store", _locked, _split),
    "whole word": ("a write of some bits becomes a plain store of the whole word", _narrow, _whole_word),
    "ends": ("the routine ends after it", _not_last, _ends),
    "not called": ("the routine does nothing", _first, _not_reached),
    "first only": ("what a loop does after its first element is left out", _can_leave_out, _first_only),
    "neighbour": ("bit, word, vector, vCPU or CPU is its neighbour", _neighbours, _neighbour),
    "value": ("the value stored has its lowest bit changed: a flag is set for cleared", _value, _neighbour),
    "told": ("the answer is zero, all ones, the largest seen, or the one before", _answers, _told),
    "exchanged": ("it comes after the operation that follows it", _can_exchange, _exchanged),
    "moved out": ("it is done after the lock is free, or interrupts are on", _in_region, _moved_out),
    "weaker": ("a store in full order becomes a plain one", _strong, _weaker),
}
"""By name: what it does, which variants a node has, and the doing."""
