"""All that the rest of the suite needs to know of an architecture, as data: its roles and world, its words, its memory.

The machine knows it by the names of routines, which all architectures share: vcpu_run, load and put for the thread;
vm_entry, boundary, acknowledge, deliver and instruction for the processor that runs a guest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from conformance.roles.operations import WORD, Result
from conformance.roles.role import BaseRole, BaseWorld
from conformance.roles.scenario import Action, Scenario

Completion: TypeAlias = tuple[Action, tuple[int, ...]]
"""What the guest executes to complete an interrupt, and what is then left of it to complete."""


def end_of_interrupt(interrupt: int, scenario: Scenario) -> Completion:
    return ("end_of_interrupt",), ()


def anything(scenario: Scenario) -> Iterable[str]:
    return ()


class Level(NamedTuple):
    """`routine`, called with a CPU's number, says by looking only whether the level is asserted there. In scenarios with
    the fact `late` it may be taken after it is gone.
    """

    routine: str
    late: str = ""


class Word(NamedTuple):
    """How the bits of a location are called: each field by its mask, or every bit by its number in `bits`, counted on
    from one word of an array to the next.
    """

    fields: Mapping[str, int] = {}
    bits: str = ""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`roles` maps a role's name to its base class; `world` makes what its routines can name in a scenario."""

    name: str
    example: Scenario
    """A scenario that has every location, in which every routine of a role can be called."""
    roles: Mapping[str, type[BaseRole]] = field(default_factory=dict)
    world: Callable[..., BaseWorld] = BaseWorld
    extends: str = ""
    """Another one, some of whose routines it has too: what could be of either is of that one, unless it names this one."""
    reference: str = "reference"
    """The SPEC of what fills the roles that an implementation leaves open."""
    posts: str = ""
    """The role that posts, with which an implementation begins where it names none."""
    interrupts: int = 1 << 16
    """Interrupts, of host and guest, are numbered below this."""
    memory: Literal["tso", "armv8"] = "tso"
    """Its memory model."""
    arguments: Mapping[str, Result] = field(default_factory=dict)
    """What a routine is called with in the example, by an argument's name, or `routine name` where that differs."""
    instructions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What a guest's program may be made of, and the operands of each."""
    refuses: Callable[[Scenario], Iterable[str]] = anything
    """Why a scenario of this architecture makes no sense, beside what holds of all (see sensible.py)."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What scenarios take as premises, each in a few words: an implementation may declare that it lacks it."""
    environments: Mapping[str, str] = field(default_factory=dict)
    """Facts that widen the hardware beyond the architecture: scenarios with them are left out unless asked for."""
    completion: Callable[[int, Scenario], Completion] = end_of_interrupt
    levels: Mapping[int, Level] = field(default_factory=dict)
    """Host interrupts that are levels: one that is no longer asserted is withdrawn, not taken."""
    host_interrupts: Mapping[int, str] = field(default_factory=dict)
    """Names of host interrupts; one that has none is shown as a hexadecimal vector."""
    in_host: str = "in the host"
    """Where the host's software runs, in the architecture's words."""
    guest_interrupt: Callable[[int], str] = str
    """What `deliver` delivered, in words."""
    words: Mapping[str, Word] = field(default_factory=dict)
    """Locations, without owner and index, whose bits have names."""

    def host_interrupt(self, vector: int) -> str:
        return self.host_interrupts.get(vector, f"{vector:#x}")

    def word(self, at: str) -> Word:
        """How the bits of the location `at` are called."""
        return self.words.get(at.partition(".")[2].partition("[")[0], Word())

    def place(self, at: str, mask: int) -> str:
        """A location as the field's people write it: vcpu0.PIR[200], vcpu0.ON, cpu0.lr[0].State, vcpu0.mode."""
        word = self.word(at)
        owner, _, rest = at.partition(".")
        if word.fields:
            names = [name for name, bits in word.fields.items() if bits & mask]
            if 0 < len(names) < len(word.fields):
                return f"{owner}.{rest if '[' in rest else ''}{'.' * ('[' in rest)}{'+'.join(names)}"
            return f"{owner}.{rest.split('.')[-1]}"
        if word.bits:
            first = 64 * int(rest.partition("[")[2].rstrip("]") or 0)
            low, high = first + (mask & -mask).bit_length() - 1, first + mask.bit_length() - 1
            span = f" word {first // 64}" if mask == WORD else f"[{high}]" if low == high else f"[{high}:{low}]"
            return f"{owner}.{word.bits}{span}"
        return at


PLAIN = Architecture(name="plain", example=Scenario(name="plain", about="", architecture="plain", cpus=1))
"""Without roles, and without words of its own."""
