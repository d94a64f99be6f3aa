"""Plug in a Python class: subclass a role, write each routine against a `Cpu`.

A routine is re-run from its start for every question, with the results recorded so far; the first operation past them
ends the run for good. Suspension is latched: while it unwinds through `with`, `finally` or a bare `except`, every
further operation raises it again and changes nothing, and a routine that returns after it is a broken adapter.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from conformance.engine import operations as ops
from conformance.engine.unfold import Fault

SECONDS_A_QUESTION = 5.0
"""Wall-clock limit on one question; containment, never an oracle."""


class Suspension(BaseException):
    """The routine has asked for an operation whose result is not known yet."""


class Field:
    """Some bits of a location. `cpu.load(field)` answers them shifted down to bit 0."""

    __slots__ = ("at", "mask", "shift")

    def __init__(self, at: str, mask: int = ops.WORD, shift: int = 0) -> None:
        self.at, self.mask, self.shift = at, mask, shift

    def __repr__(self) -> str:
        return f"Field({self.at}, {self.mask:#x})"


class Cpu:
    """What a routine runs on. Each method is one operation; see `conformance.engine.operations`."""

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
        self._do(ops.Interrupts(on))

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


class PythonSource:
    """One Python object as a source of answers. `make` builds it again, for `fresh`; `name` turns a vCPU's name into
    its object.
    """

    def __init__(self, make: Callable[[], Any], name: Callable[[ops.Result], Any] = lambda value: value) -> None:
        self.make, self.name = make, name
        self.object = make()

    def fresh(self) -> PythonSource:
        return PythonSource(self.make, self.name)

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        cpu = Cpu(results)
        who = f"{type(self.object).__name__}.{routine}({', '.join(map(str, args))})"
        try:
            with _time_limit(who, routine):
                value = getattr(self.object, routine)(cpu, *map(self.name, args))
        except Suspension:
            assert cpu._asked is not None
            return cast(ops.AnyOperation, cpu._asked)
        except Fault:
            raise
        except Exception as error:
            if cpu._asked is not None:
                raise Fault("CRASH", _swallowed(who, cpu._asked, f"raised {error!r}"), routine) from error
            where = traceback.extract_tb(sys.exc_info()[2])[-1]
            raise Fault(
                "CRASH",
                f"{who} raised {error!r} at {where.filename}:{where.lineno} after {len(results)} operations "
                f"(results {results}). Routines must not raise: fix it and run again.",
                routine,
            ) from error
        if cpu._asked is not None:
            raise Fault("CRASH", _swallowed(who, cpu._asked, "returned"), routine)
        if cpu._at < len(results):
            raise Fault(
                "NONDETERMINISTIC",
                f"{who} was given {len(results)} results and ended after {cpu._at} operations; before, it asked for more. "
                "A routine may depend only on its arguments and on the results of its operations.",
                routine,
            )
        return _as_return(value, who, routine)


def _swallowed(who: str, asked: ops.Operation, did: str) -> str:
    return (
        f"{who} {did} after its operation {asked} was suspended: something caught the suspension. "
        "Do not catch BaseException, nor use a bare except, around operations of cpu."
    )


def _as_return(value: Any, who: str, routine: str) -> ops.Return:
    """`None` ends the chain; (routine, *arguments) goes on there; anything else is the call's value."""
    if value is None or isinstance(value, ops.Return):
        return value or ops.Return()
    if isinstance(value, Then):
        return ops.Return(then=(value.routine, *(str(a) if hasattr(a, "is_vcpu") else a for a in value.args)))
    if isinstance(value, bool | int | str | tuple):
        return ops.Return(value=value)
    raise Fault("CRASH", f"{who} returned {value!r}; return None, then(routine, ...), or a plain value", routine)


class Then:
    """Tail call: the thread goes on with this routine. State that outlives the call lives in shared locations."""

    def __init__(self, routine: str, *args: Any) -> None:
        self.routine, self.args = routine, args


@contextmanager
def _time_limit(who: str, routine: str) -> Iterator[None]:
    """Stops a routine that computes for ever. Only where a signal can: the main thread of a POSIX system."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise Fault(
            "TIMEOUT",
            f"{who} computed for {SECONDS_A_QUESTION:g} s without asking for an operation. Does it loop for ever on its own state?",
            routine,
        )

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_A_QUESTION)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
