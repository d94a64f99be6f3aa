"""What a routine in Python runs on: each method of `Cpu` is one operation (`conformance.roles.operations`).

A routine is re-run from its start for every question, with the results recorded so far; the first operation past them
suspends it for good. Suspension is latched: while it unwinds through `with`, `finally` or a bare `except`, every
further operation raises it again and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.roles import operations as ops
from conformance.roles.location import Field


class Suspension(BaseException):
    """The routine has asked for an operation whose result is not known yet."""


class Then:
    """Tail call: the thread goes on with this routine. State that outlives the call lives in shared locations."""

    def __init__(self, routine: str, *args: Any) -> None:
        self.routine, self.args = routine, args


class Cpu:
    """What a routine runs on. Each method is one operation; see `conformance.roles.operations`."""

    def __init__(self, results: tuple[ops.Result, ...]) -> None:
        self._results = results
        self._at = 0
        self._asked: ops.Operation | None = None

    def _do(self, operation: ops.Operation) -> Any:
        if self._asked is not None:
            raise Suspension
        if self._at < len(self._results):
            self._at += 1
            return self._results[self._at - 1]
        self._asked = operation
        raise Suspension

    def load(self, field: Field, order: ops.Order = "plain") -> Any:
        value = self._do(ops.Load(field.at, field.mask, order))
        return value if isinstance(value, tuple) else value >> field.shift

    def store(self, field: Field, value: ops.Value, order: ops.Order = "plain") -> None:
        self._do(ops.Store(field.at, value << field.shift if isinstance(value, int) else value, field.mask, order))

    def swap(self, field: Field, value: int) -> int:
        return self._rmw(field, "swap", value)

    def fetch_or(self, field: Field, bits: int) -> int:
        return self._rmw(field, "or", bits)

    def fetch_and(self, field: Field, bits: int) -> int:
        return self._rmw(field, "and", bits)

    def fetch_add(self, field: Field, value: int) -> int:
        return self._rmw(field, "add", value)

    def test_and_set(self, field: Field) -> bool:
        """Set all bits of the field; answers whether any was set before."""
        return bool(self._rmw(field, "or", field.mask >> field.shift))

    def test_and_clear(self, field: Field) -> bool:
        return bool(self._rmw(field, "and", 0))

    def cmpxchg(self, field: Field, expect: int, value: int) -> int:
        """Answers the old value: it was `expect` if and only if `value` was written."""
        old = self._do(
            ops.Rmw(field.at, "cas", value << field.shift & field.mask, field.mask, expect << field.shift & field.mask)
        )
        return old >> field.shift

    def _rmw(self, field: Field, how: Any, value: int) -> int:
        return self._do(ops.Rmw(field.at, how, value << field.shift & field.mask, field.mask)) >> field.shift

    def fence(self) -> None:
        self._do(ops.Fence())

    def irq_disable(self) -> bool:
        return self._do(ops.Interrupts(False))

    def irq_enable(self) -> bool:
        return self._do(ops.Interrupts(True))

    def irq_restore(self, on: bool) -> None:
        self._do(ops.Interrupts(bool(on)))

    def preempt_disable(self) -> None:
        self._do(ops.Preemption(False))

    def preempt_enable(self) -> None:
        self._do(ops.Preemption(True))

    def send_ipi(self, vector: int, to: int) -> None:
        self._do(ops.SendIpi(vector, to))

    def send_ipi_self(self, vector: int) -> None:
        self._do(ops.SendIpi(vector))

    def lock(self, lock: Field) -> None:
        self._do(ops.Lock(lock.at))

    def unlock(self, lock: Field) -> None:
        self._do(ops.Unlock(lock.at))

    def enter_guest(self, vcpu: Any) -> tuple[Any, ...]:
        return self._do(ops.EnterGuest(str(vcpu)))

    def prepare_to_block(self) -> None:
        self._do(ops.PrepareToBlock())

    def finish_block(self) -> None:
        self._do(ops.FinishBlock())

    def schedule(self) -> None:
        self._do(ops.Schedule())

    def wake(self, thread: Any) -> bool:
        return self._do(ops.Wake(str(thread)))

    def relax(self) -> None:
        self._do(ops.Relax())

    def choose(self, *options: Any) -> Any:
        """One of the options; every one is explored."""
        return options[self._do(ops.Choose(tuple(map(str, options))))]

    def id(self) -> int:
        return self._do(ops.CpuId())

    def fails(self, what: str) -> None:
        """An assertion of the code itself does not hold here."""
        self._do(ops.Assert(what))

    def assert_held(self, lock: Field) -> None:
        self._do(ops.Assert("lock held", lock.at))

    def assert_interrupts(self, on: bool) -> None:
        self._do(ops.Assert(f"interrupts {'on' if on else 'off'}", interrupts=on))

    def list_of(self, name: Any, *lists: Field) -> int:
        """The index of the list that it is on, or -1."""
        return self._do(ops.ListOf(str(name), tuple(field.at for field in lists)))

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Hardware only: one step over several words."""
        self._do(ops.Atomic(True))
        yield
        self._do(ops.Atomic(False))

    def deliver(self, vector: int) -> None:
        self._do(ops.Deliver(vector))

    def exit_guest(self, *reason: int | str) -> None:
        self._do(ops.ExitGuest(reason))
