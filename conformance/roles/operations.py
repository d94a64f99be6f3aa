"""The operations of a routine: everything it does that another agent could see.

Code under test never touches shared memory itself. It asks for one of these and is told the result; between two of them
it is deterministic. An implementation is therefore a pure function

    (routine, arguments, results of its operations so far)  ->  the next operation, or Return

and this module is its whole vocabulary, for a Python class, a compiled object file or a program behind a pipe alike. As
JSON an operation is one object tagged by `op`. What each one touches, waits for and drains is in docs/operations.md,
which is generated from this file and the machine.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

WORD = (1 << 64) - 1
"""A full 64-bit word as a mask."""

Order: TypeAlias = Literal["plain", "relaxed", "acquire", "release", "acq_rel", "seq_cst"]
Value: TypeAlias = int | tuple[str, ...]
"""What a location holds: a 64-bit word, or (a list or queue) a tuple of names."""
Result: TypeAlias = int | str | bool | None | tuple["Result", ...]
"""What an operation answers. Hashable, and made of JSON's types so that it crosses a pipe."""


class Operation(msgspec.Struct, frozen=True, tag_field="op", omit_defaults=True):
    """Base of all operations. Where the code asked for one (file:line) its source knows: Node.site."""


class Load(Operation, frozen=True, tag="load"):
    """Read the bits of `mask` at `at`. Answers the word and-ed with the mask, or the tuple of a list location."""

    at: str
    mask: int = WORD
    order: Order = "plain"


class Store(Operation, frozen=True, tag="store"):
    """Write the bits of `mask` at `at`. May wait in a store buffer, unless its order is seq_cst: then it waits until this
    CPU's is empty, and does not enter it (x86 compilers make it an xchg). Answers None.
    """

    at: str
    value: Value
    mask: int = WORD
    order: Order = "plain"


class Rmw(Operation, frozen=True, tag="rmw"):
    """Locked read-modify-write. Answers the old word and-ed with `mask`.

    Of the old word `o`: swap writes `value` under `mask`; or, and, xor, add combine with `value`; cas writes `value`
    under `mask` if `o & mask == expect`, else nothing.
    """

    at: str
    how: Literal["swap", "or", "and", "xor", "add", "cas"]
    value: int
    mask: int = WORD
    expect: int = 0
    order: Order = "seq_cst"


class Fence(Operation, frozen=True, tag="fence"):
    """Memory barrier. `full` waits until this CPU's store buffer is empty; the weaker kinds order nothing that TSO
    reorders.
    """

    kind: Literal["full", "load", "store", "acquire", "release"] = "full"


class Interrupts(Operation, frozen=True, tag="interrupts"):
    """Set this CPU's interrupt flag (sti, cli). Answers the old flag."""

    on: bool


class Preemption(Operation, frozen=True, tag="preemption"):
    """Disable or enable preemption of this thread; nests."""

    on: bool


class SendIpi(Operation, frozen=True, tag="send_ipi"):
    """Put an interrupt message in flight. `to` is the APIC id of the destination, None is this CPU.

    Sending through x2APIC does not drain the store buffer (Intel SDM vol. 3A, 11.12.3).
    """

    vector: int
    to: int | None = None


class Lock(Operation, frozen=True, tag="lock"):
    """Acquire a spinning lock: waits until it is free, disables preemption, drains like any locked operation."""

    at: str


class Unlock(Operation, frozen=True, tag="unlock"):
    """Release a spinning lock: a store, behind this CPU's earlier stores."""

    at: str


class EnterGuest(Operation, frozen=True, tag="enter_guest"):
    """VM entry. Answers, at the VM exit that ends it, the exit reason as a tuple, such as ("hlt",)."""

    vcpu: str


class PrepareToBlock(Operation, frozen=True, tag="prepare_to_block"):
    """Announce that this thread is about to sleep: a `wake` from now on cancels the sleep."""


class FinishBlock(Operation, frozen=True, tag="finish_block"):
    """Withdraw the announcement: the thread is plainly runnable again."""


class Schedule(Operation, frozen=True, tag="schedule"):
    """Sleep, if the announcement still stands; otherwise go on. Sleeping is a context switch (put, and load after the
    wake).
    """


class Wake(Operation, frozen=True, tag="wake"):
    """Make a thread runnable. Leaves no token: waking a thread that announced nothing does nothing. Answers whether it
    did.
    """

    thread: str


class Relax(Operation, frozen=True, tag="relax"):
    """In a retry loop: wait until a location read since the last relax changes (the kernel's cpu_relax)."""


class Choose(Operation, frozen=True, tag="choose"):
    """Freedom the manual leaves. Answers the index of the option taken; a guarantee is HELD only for every option."""

    options: tuple[str, ...]


class CpuId(Operation, frozen=True, tag="cpu_id"):
    """The number of the CPU this runs on now."""


class Assert(Operation, frozen=True, tag="assert"):
    """An assertion of the code itself, `what` in its own words, such as a WARN or BUG that was reached.

    `held`: it is about a lock, which this agent must hold; where not, it is a RACE. `interrupts`: what this CPU's
    interrupt flag must be. Without either it has failed already.
    """

    what: str
    held: str = ""
    interrupts: bool | None = None


class ListOf(Operation, frozen=True, tag="list_of"):
    """Look at an entry's own links, as a check of lists does: on which of these is `name`? Answers its index, or -1.
    Nobody's guard is asked.
    """

    name: str
    lists: tuple[str, ...]


class Atomic(Operation, frozen=True, tag="atomic"):
    """Hardware only: what is between `on` and off is one step, over as many locations as it likes."""

    on: bool


class Deliver(Operation, frozen=True, tag="deliver"):
    """Processor only: the guest of the vCPU on this CPU starts its handler of `vector`."""

    vector: int


class ExitGuest(Operation, frozen=True, tag="exit_guest"):
    """Processor only: VM exit with this reason, a tuple of JSON values."""

    reason: tuple[int | str, ...]


AnyOperation: TypeAlias = (
    Load | Store | Rmw | Fence | Interrupts | Preemption | SendIpi | Lock | Unlock | EnterGuest | PrepareToBlock
    | FinishBlock | Schedule | Wake | Relax | Choose | CpuId | Assert | ListOf | Atomic | Deliver | ExitGuest
)  # fmt: skip


class Return(msgspec.Struct, frozen=True, tag_field="op", tag="return"):
    """The routine is over. `then` names the next routine of its thread and that routine's arguments; empty ends the
    chain.
    """

    then: tuple[Result, ...] = ()
    value: Result = None


Answer: TypeAlias = AnyOperation | Return
