"""What a memory operation answers, and what it leaves in memory: the one place that computes it.

A location holds a 64-bit word or a list (a tuple of names). An operation on a word is about the bits of its mask and
leaves the others alone; a list is read and stored whole, and no arithmetic is done with it. Everything else about an
operation has one owner too:

    what                                                        who
    ----------------------------------------------------------  -------------------------------------------------------
    the bits it answers, leaves, sets, may change               here
    its arguments, and what is said of it in words              conformance.roles.operations, docs/operations.md
    when others see a store: store buffers, drains, xchg        conformance.machine.perform
    what it waits for, and which misuse is a fault              conformance.machine.perform
    who may touch a location, and who could notice              conformance.machine.perform
    flags, messages, threads, guests; where a step ends         conformance.machine.perform, execute
    all of it for a routine alone: visible at once, no waiting  conformance.automaton.alone
    what ends a wait in relax                                   Node.reads, conformance.automaton.unfold
    which events of a memory model it is                        conformance.ordering.routines, TABLE
    what is left of it without its lock, or wrong               conformance.ordering.weaken, conformance.mutation

Instructions of litmus tests are no operations: conformance.litmus has a meaning for each of them.
"""

from __future__ import annotations

from typing import Any

from conformance.roles.operations import Rmw, Store, Value


def seen(word: Any, mask: int) -> Any:
    """What a load under `mask` answers where the location holds `word`."""
    return word & mask if isinstance(word, int) else word


def merged(word: Any, value: Any, mask: int) -> Any:
    """What the location holds after a store of `value` under `mask`."""
    return word & ~mask | value & mask if isinstance(word, int) and isinstance(value, int) else value


def writes(op: Rmw, old: int) -> bool:
    """Whether it writes at all, where it finds `old` under its mask: a compare-exchange that is lost does not."""
    return op.how != "cas" or old == op.expect & op.mask


def combined(op: Rmw, old: int) -> int:
    """What it leaves under its mask where it finds `old` there. A carry out of the mask is lost."""
    match op.how:
        case "or":
            new = old | op.value
        case "and":
            new = old & op.value
        case "xor":
            new = old ^ op.value
        case "add":
            new = old + op.value
        case "swap" | "cas":
            new = op.value if writes(op, old) else old
    return new & op.mask


def after(op: Rmw, word: int) -> int:
    """The whole word that it leaves where it finds `word`."""
    return word & ~op.mask | combined(op, word & op.mask)


def sets(op: Store | Rmw, old: Value = 0) -> int:
    """The bits that it makes 1 where it finds `old`, those that were 1 already included: a post of a vector that was
    posted before is a post. A bit that it keeps without having a value for it, as `and` does, is not set.
    """
    if isinstance(op, Store):
        return op.value & op.mask if isinstance(op.value, int) else 0
    assert isinstance(old, int)
    match op.how:
        case "or":
            return op.value & op.mask
        case "and":
            return 0
        case "xor":
            return op.value & op.mask & ~old
        case "add" | "swap" | "cas":
            return combined(op, old & op.mask) if writes(op, old & op.mask) else 0


def may_change(op: Store | Rmw) -> int:
    """The bits of its location that it can change, whatever it finds there."""
    if isinstance(op, Rmw) and op.how in ("or", "xor"):
        return op.value & op.mask
    if isinstance(op, Rmw) and op.how == "and":
        return ~op.value & op.mask
    return op.mask
