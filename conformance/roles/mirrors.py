"""Where code comes from: the function of a kernel that it mirrors, or the section of a manual, kept as data.

    VMX = Original("Linux 6.1", "arch/x86/kvm/vmx/vmx.c")

    @mirrors(VMX, "vmx_deliver_interrupt")
    def deliver_interrupt(self, cpu, vcpu, vector): ...

What differs on purpose stands in a table `DIFFERENCES` at the top of the module. docs/reference.md lists both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Original(NamedTuple):
    """A work and its version or edition; of source code, a file of it."""

    work: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.work}, {self.file}" if self.file else self.work


class Mirrored(NamedTuple):
    """`names`: functions of a file, sections of a manual."""

    original: Original
    names: tuple[str, ...]


class Difference(NamedTuple):
    """A routine or class that does not do what its original does."""

    here: str
    original: str
    """What the original does, or says,"""
    instead: str
    """what is done here,"""
    why: str
    """and why that is right."""


def mirrors(original: Original, *names: str) -> Callable[[F], F]:
    """Of a routine or a part of one: what it mirrors. May be given several times."""

    def note(routine: F) -> F:
        vars(routine)["mirrors"] = (Mirrored(original, names), *originals(routine))
        return routine

    return note


def originals(routine: Callable[..., Any]) -> tuple[Mirrored, ...]:
    """What a routine was said to mirror, in the order that it is written in."""
    return getattr(routine, "mirrors", ())
