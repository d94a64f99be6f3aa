"""Scenarios: a few agents, CPUs and interrupts, and a budget for what may happen but need not. Plain data, small enough to
be exhausted.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from conformance.roles.operations import Value

Action: TypeAlias = tuple[int | str, ...]
"""One instruction of a guest program that matters here, such as ("hlt",) or ("write_tpr", 0x50)."""
Argument: TypeAlias = int | str | bool | None
"""What an agent calls its routine with: a vCPU by its name, an interrupt, a flag. Flat, so that msgspec reads it back."""


class VcpuSetup(msgspec.Struct, frozen=True):
    """A virtual CPU: its thread starts loaded on `cpu`; its guest runs `program`, then stays in the guest,
    interruptible.
    """

    cpu: int = 0
    program: tuple[Action, ...] = ()


class Thread(msgspec.Struct, frozen=True):
    """A software agent on a CPU of its own: one call of `routine` and what it chains to, once the thread `after` is
    done.
    """

    name: str
    routine: str
    args: tuple[Argument, ...]
    cpu: int
    after: str = ""


class Device(msgspec.Struct, frozen=True):
    """A hardware agent that needs no CPU. It starts once the thread or device called `after` is done."""

    name: str
    routine: str
    args: tuple[Argument, ...]
    after: str = ""


class DeviceInterrupt(msgspec.Struct, frozen=True):
    """A host interrupt, once, on `cpu`: its hard-interrupt handler calls `routine`."""

    vector: int
    cpu: int
    routine: str
    args: tuple[Argument, ...]


class Budget(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often each optional step may be taken. Spent freely, never owed: rest is judged with tokens left too."""

    preempt: int = 0
    migrate: int = 0
    exit: int = 0
    again: int = 0
    """The guest does the last instruction of its program once more: it halts again."""
    spurious: tuple[tuple[int, int], ...] = ()
    """(vector, cpu) pairs, each once."""
    unlimited: bool = False
    """Each that may be taken at all may be taken any number of times: nothing is spent."""


def many(count: int, what: str) -> str:
    """1 interrupt, 2 interrupts."""
    return f"{count} {what}{'s' * (count != 1)}"


PLACEMENTS = {
    "migration": "a vCPU's thread moves to another pCPU",
    "shared-pcpu": "two vCPUs of one VM take turns on a pCPU",
}
"""What a scheduler may do, and a design that pins its vCPUs never sees: an implementation may declare that it lacks it."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    about: str
    architecture: str
    cpus: int
    vcpus: tuple[VcpuSetup, ...] = (VcpuSetup(),)
    threads: tuple[Thread, ...] = ()
    devices: tuple[Device, ...] = ()
    interrupts: tuple[DeviceInterrupt, ...] = ()
    vectors: tuple[int, ...] = ()
    budget: Budget = Budget()
    buffer: int = 0
    """Depth of each CPU's store buffer: 0 is sequential consistency, n is TSO."""
    facts: tuple[str, ...] = ()
    """What clauses and roles take as premises here: words of the architecture's own (`Architecture.facts`)."""
    loaded: bool = True
    """Whether each vCPU's thread has been loaded on its CPU when the scenario begins."""
    audited: bool = False
    """Whether `intack fences` judges it unless others are asked for."""
    initial: tuple[tuple[str, Value], ...] = ()
    """Locations that start with another value than declared."""
    story: bool = True
    """Made to tell of something; else it is one of many, chosen so that its parts meet. A violation is shown in a story if
    it happens in one.
    """
    samples: int = 0
    """0: explored exhaustively. Else too large for that: so many schedules are drawn."""

    @property
    def agents(self) -> int:
        """How many there are beside the vCPUs."""
        return len(self.threads) + len(self.devices) + len(self.interrupts)

    @property
    def placements(self) -> frozenset[str]:
        """Those of PLACEMENTS that happen here."""
        homes = [vcpu.cpu for vcpu in self.vcpus]
        happen = {"migration": self.budget.migrate > 0, "shared-pcpu": len(set(homes)) < len(homes)}
        return frozenset(name for name, happens in happen.items() if happens)

    @property
    def calls(self) -> frozenset[str]:
        """The routines that agents begin with, and what guests' programs name."""
        asked = {str(action[0]) for vcpu in self.vcpus for action in vcpu.program}
        return frozenset(asked | {agent.routine for agent in (*self.threads, *self.devices, *self.interrupts)})

    def bounds(self) -> str:
        """The bounds of a proof over this scenario, in one sentence."""
        budget = self.budget
        tokens = [
            f"any number of {what}s" if budget.unlimited else f"{n} {what}"
            for n, what in (
                (budget.preempt, "preemption"),
                (budget.migrate, "migration"),
                (budget.exit, "spontaneous exit"),
                (budget.again, "further halt"),
                (len(budget.spurious), "spurious interrupt"),
            )
            if n
        ]
        memory = f"TSO with {self.buffer} buffered stores" if self.buffer else "sequentially consistent memory"
        return (
            f"{many(len(self.vcpus), 'vCPU')}, {many(self.cpus, 'pCPU')}, {many(self.agents, 'other agent')}, "
            f"{many(len(self.vectors), 'interrupt')}, {memory}; "
            f"optional: {', '.join(tokens) or 'none'}"
        )
