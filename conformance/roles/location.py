"""Locations: what agents share, and the fields of a word that code names."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.roles import operations as ops


class Field:
    """Some bits of a location. `cpu.load(field)` answers them shifted down to bit 0."""

    __slots__ = ("at", "mask", "shift")

    def __init__(self, at: str, mask: int = ops.WORD, shift: int = 0) -> None:
        self.at, self.mask, self.shift = at, mask, shift

    def __repr__(self) -> str:
        return f"Field({self.at}, {self.mask:#x})"


@dataclass(frozen=True, slots=True)
class Shared:
    """A location that more than one agent may touch, or that outlives a call.

    `guarded_by`: only the holder of that lock may touch it, and what the holder does merges into one step.
    `read_freely`: the lock guards writes alone, and others may read: what the holder reads merges, what it writes does not.
    `private_to`: only that vCPU's thread and the processor running it touch it, or only what runs on that CPU.
    `constant`: holds its initial value throughout the scenario. `changed_by`: the beginnings of the only instructions
    that lead to a change of it; it is constant in scenarios whose guests execute none of them. `lock`: a spinning lock.
    An access against these rules is a RACE, a change of what is constant a CRASH.
    """

    initial: ops.Value = 0
    guarded_by: str = ""
    private_to: str = ""
    constant: bool = False
    lock: bool = False
    changed_by: tuple[tuple[int | str, ...], ...] = ()
    read_freely: bool = False
