"""Which reads were decisive: had one found another value, its routine would have gone another way.

The routine itself is asked, as a pure function may be: what would come next, had this operation answered what the
location held earlier in the run, or came to hold. The two ways are followed side by side for a few operations.
"""

from __future__ import annotations

from collections.abc import Iterable

from conformance.adapters.source import Fault
from conformance.automaton.unfold import Node
from conformance.roles import operations as ops

FAR = 12
"""Operations after which two ways that are still alike are taken for the same."""


def decides(node: Node, result: ops.Result, others: Iterable[ops.Result]) -> bool:
    """Whether the routine goes another way after any of the other results."""
    return any(_part(node, result, other) for other in others if other != result)


def _part(node: Node, result: ops.Result, instead: ops.Result) -> bool:
    try:
        mine, other = node.child(result), node.child(instead)
        for _ in range(FAR):
            if _way(mine.answer) != _way(other.answer):
                return True
            if isinstance(mine.answer, ops.Return | ops.EnterGuest) or not mine.edges:
                return False
            result = next(iter(mine.edges))
            mine, other = mine.child(result), other.child(result)
    except Fault:
        pass  # a value that cannot be there
    return False


def _way(answer: ops.Answer) -> tuple[object, ...]:
    """What is done, and where: not the values, which only pass on what was read."""
    match answer:
        case ops.Load(at=at, mask=mask) | ops.Store(at=at, mask=mask) | ops.Rmw(at=at, mask=mask):
            return type(answer), at, mask
        case ops.Return(then=then, value=value):
            return type(answer), then, value
        case _:
            return (answer,)
