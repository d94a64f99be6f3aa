"""Condition flags: what a comparison leaves, and what a conditional instruction reads.

Both architectures leave four: whether the result is negative (N, SF) or zero (Z, ZF), whether the unsigned sum carried
(C, CF) and whether the signed one went over (V, OF). After a subtraction Arm's C says that nothing was borrowed, x86's
CF that something was (Arm ARM DDI 0487, AddWithCarry in the shared pseudocode; Intel SDM vol. 1, 3.4.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conformance.litmus.values import Address, Concrete, Unsupported

N, Z, C, V = 8, 4, 2, 1
EQUALITY = 16
"""Nothing is known but Z: the addresses of two locations were compared."""
UNDEFINED = 32
"""An instruction left them so."""


def _signed(value: int, mask: int) -> int:
    return value - mask - 1 if value > mask >> 1 else value


def logical(result: int, mask: int) -> int:
    """Of a result under the mask of its size: N and Z."""
    return N * (result > mask >> 1) | Z * (not result)


def added(left: int, right: int, mask: int, carry: int = 0) -> int:
    """Of left + right + carry."""
    unsigned = left + right + carry
    signed = _signed(left, mask) + _signed(right, mask) + carry
    result = unsigned & mask
    return logical(result, mask) | C * (unsigned > mask) | V * (signed != _signed(result, mask))


def subtracted(left: Concrete, right: Concrete, mask: int) -> int:
    """Of left - right, C in Arm's sense. Within one location addresses are numbers."""
    if isinstance(left, Address) and isinstance(right, Address) and left.symbol == right.symbol:
        left, right = left.offset & mask, right.offset & mask
    if isinstance(left, int) and isinstance(right, int):
        return added(left, ~right & mask, mask, 1)
    return EQUALITY


def _less(flags: int) -> bool:
    return bool(flags & N) != bool(flags & V)


def _conditions(table: Mapping[str, Callable[[int], bool]]) -> dict[str, Callable[[int], bool]]:
    """By each of its names; what stands after a bar is the opposite."""
    made: dict[str, Callable[[int], bool]] = {}
    for names, test in table.items():
        yes, _, no = names.partition("|")
        made |= dict.fromkeys(yes.split(), test)
        made |= dict.fromkeys(no.split(), lambda f, test=test: not test(f))
    return made


ARM = _conditions(
    {
        "EQ | NE": lambda f: bool(f & Z),
        "CS HS | CC LO": lambda f: bool(f & C),
        "MI | PL": lambda f: bool(f & N),
        "VS | VC": lambda f: bool(f & V),
        "HI | LS": lambda f: f & (C | Z) == C,
        "LT | GE": _less,
        "LE | GT": lambda f: bool(f & Z) or _less(f),
    }
)
"""Arm ARM DDI 0487, C1.2.4."""
X86 = _conditions(
    {
        "E Z | NE NZ": lambda f: bool(f & Z),
        "B C NAE | AE NB NC": lambda f: bool(f & C),
        "BE NA | A NBE": lambda f: bool(f & (C | Z)),
        "S | NS": lambda f: bool(f & N),
        "O | NO": lambda f: bool(f & V),
        "L NGE LT | GE NL": _less,
        "LE NG | G NLE GT": lambda f: bool(f & Z) or _less(f),
    }
)
"""By what stands after J, SET and CMOV; C is CF, of a subtraction the borrow (Intel SDM vol. 1, appendix B)."""


def condition(conditions: Mapping[str, Callable[[int], bool]], name: str) -> Callable[[Concrete], int]:
    """Whether a condition holds of flags, as 0 or 1. Raises Unsupported for one that is not there."""
    if (test := conditions.get(name)) is None:
        raise Unsupported(f"the condition {name}")

    def of(flags: Concrete) -> int:
        assert isinstance(flags, int)
        if flags & UNDEFINED:
            raise Unsupported(f"the condition {name} of flags that are undefined")
        if flags & EQUALITY and name not in ("EQ", "NE", "E", "Z", "NZ"):
            raise Unsupported(f"the condition {name} of the addresses of two locations")
        return int(test(flags))

    return of
