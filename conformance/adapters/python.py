"""Plug in a Python class: subclass a role, write each routine against a `Cpu`.

A routine is re-run from its start for every question, with the results recorded so far; the first operation past them
ends the run for good. Suspension is latched: while it unwinds through `with`, `finally` or a bare `except`, every
further operation raises it again and changes nothing, and a routine that returns after it is a broken adapter.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

from conformance.adapters.source import Fault, Line
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu, Suspension, Then
from conformance.roles.nearest import nearest
from conformance.roles.scenario import many

_CPU = Cpu.__module__
SECONDS_A_QUESTION = 5.0
"""Wall-clock limit on one question; containment, never an oracle."""


class PythonSource:
    """One Python object as a source of answers. `make` builds it again, for `fresh`; `name` turns a vCPU's name into
    its object.
    """

    def __init__(self, make: Callable[[], Any], name: Callable[[ops.Result], Any] = lambda value: value) -> None:
        self.make, self.name = make, name
        self.object = make()
        self.asked_from: tuple[Line, ...] = ()
        """Where the last operation was asked for: see `lines`."""

    def fresh(self) -> PythonSource:
        return PythonSource(self.make, self.name)

    def lines(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> tuple[Line, ...]:
        """Where in the code the operation that follows `results` is asked for: the routine's line first, then those of
        what it calls.
        """
        self.asked_from = ()
        self.next(routine, args, results)
        return self.asked_from

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        cpu = Cpu(results)
        who = f"{type(self.object).__name__}.{routine}({', '.join(map(str, args))})"
        try:
            with _time_limit(who, routine):
                value = getattr(self.object, routine)(cpu, *map(self.name, args))
        except Suspension as suspended:
            assert cpu._asked is not None
            self.asked_from = _lines(suspended.__traceback__)
            return cast(ops.AnyOperation, cpu._asked)
        except Fault:
            raise
        except Exception as error:
            if cpu._asked is not None:
                raise Fault("CRASH", _swallowed(who, cpu._asked, f"raised {error!r}"), routine) from error
            where = f"at {_blamed(error)} after {many(len(results), 'operation')}"
            if isinstance(error, AttributeError) and error.obj is not None:
                names = [name for name in dir(error.obj) if not name.startswith("_")]
                raise Fault(
                    "CRASH", f"{who}, {where}: {error}. {nearest(str(error.name), names, most=20)}", routine
                ) from error
            raise Fault(
                "CRASH",
                f"{who} raised {error!r} {where} (results {results}). Routines must not raise: fix it and run again.",
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


def _lines(trace: TracebackType | None) -> tuple[Line, ...]:
    """The lines of a suspended routine, from the routine itself to the line that asked."""
    found: list[Line] = []
    while trace is not None:
        module, code = trace.tb_frame.f_globals.get("__name__", ""), trace.tb_frame.f_code
        if module not in (__name__, _CPU, "contextlib"):
            found.append(Line(f"{module.replace('.', '/')}.py", trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    return tuple(found)


def _blamed(error: Exception) -> Line:
    """The innermost line that is the implementation's own, not of what it calls here."""
    lines = _lines(error.__traceback__)
    own = [line for line in lines if not line.file.startswith("conformance/")]
    return (own or lines)[-1]


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
