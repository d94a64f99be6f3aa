"""Plug in a Python class: subclass a role, write each routine against a `Cpu`.

A routine is re-run from its start for every question, with the results recorded so far; the first operation past them
ends the run for good. Suspension is latched: while it unwinds through `with`, `finally` or a bare `except`, every
further operation raises it again and changes nothing, and a routine that returns after it is a broken adapter.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

from conformance.adapters.answers import shown
from conformance.adapters.source import Fault, Line, from_outside
from conformance.roles import operations as ops
from conformance.roles.cpu import Cpu, Suspension, Then
from conformance.roles.nearest import nearest
from conformance.roles.scenario import many

_CPU = Cpu.__module__
SECONDS_A_QUESTION = 5.0
"""Wall-clock limit on one question; containment, never an oracle."""
SECONDS_IN_C = 20.0
"""Of computing time, after which the process ends: a call in C lets no handler of a signal run. Its line is told before."""


class PythonSource:
    """One Python object as a source of answers. `make` builds it again, for `fresh`; `name` turns a vCPU's name into
    its object.
    """

    def __init__(self, make: Callable[[], Any], name: Callable[[ops.Result], Any] = lambda value: value) -> None:
        self.make, self.name = make, name
        self.object = _made(make)
        self.asked_from: tuple[Line, ...] | None = None
        """Where the last operation was asked for, if that is wanted: see `lines`."""

    def fresh(self) -> PythonSource:
        return PythonSource(self.make, self.name)

    def lines(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> tuple[Line, ...]:
        """Where in the code the operation that follows `results` is asked for: the routine's line first, then those of
        what it calls.
        """
        self.asked_from = ()
        try:
            self.next(routine, args, results)
            return self.asked_from
        finally:
            self.asked_from = None

    def next(self, routine: str, args: tuple[ops.Result, ...], results: tuple[ops.Result, ...]) -> ops.Answer:
        cpu = Cpu(results)
        who = f"{type(self.object).__name__}.{routine}({', '.join(map(str, args))})"
        try:
            with _contained(who, routine):
                value = getattr(self.object, routine)(cpu, *map(self.name, args))
        except Suspension as suspended:
            assert cpu._asked is not None
            if self.asked_from is not None:
                self.asked_from = _lines(suspended.__traceback__)
            return cast(ops.AnyOperation, cpu._asked)
        except Fault:
            raise
        except BaseException as error:
            if from_outside(error):
                raise
            if cpu._asked is not None:
                raise Fault("CRASH", _swallowed(who, cpu._asked, f"raised {shown(error)}"), routine) from error
            at = str(_blamed(error, getattr(type(self.object), routine, None)))
            where = f"at {at} after {many(len(results), 'operation')}"
            what = f"{type(self.object).__name__}.{routine} raised {shown(error)} at {at}"
            if isinstance(error, AttributeError) and error.obj is not None:
                names = [name for name in dir(error.obj) if not name.startswith("_")]
                said = f"{who}, {where}: {error}. {nearest(str(error.name), names, most=20)}"
                raise Fault("CRASH", said, routine, what=what, at=at) from error
            raise Fault(
                "CRASH",
                f"{who} raised {shown(error)} {where} (results {results}). Routines must not raise: fix it and run again.",
                routine,
                what=what,
                at=at,
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


def _made(make: Callable[[], Any]) -> Any:
    """The object. Raises Fault where its constructor does."""
    try:
        with _contained("its constructor", ""):
            return make()
    except Fault:
        raise
    except BaseException as error:
        if from_outside(error):
            raise
        what = f"its constructor raised {shown(error)} at {_blamed(error, make)}"
        raise Fault("CRASH", f"{what}: nothing can be asked. An object is made for each scenario.") from error


def _lines(trace: TracebackType | None) -> tuple[Line, ...]:
    """The lines of a suspended routine, from the routine itself to the line that asked."""
    found: list[Line] = []
    while trace is not None:
        module, code = trace.tb_frame.f_globals.get("__name__", ""), trace.tb_frame.f_code
        if module not in (__name__, _CPU, "contextlib"):
            found.append(Line(f"{module.replace('.', '/')}.py", trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    return tuple(found)


def _blamed(error: BaseException, called: Any) -> Line:
    """The innermost line that is the implementation's own, not of what it calls here: of `called`, if it was not reached."""
    lines = _lines(error.__traceback__)
    own = [line for line in lines if not line.file.startswith("conformance/")]
    code = getattr(called, "__code__", None)
    defined = (
        Line(f"{str(called.__module__).replace('.', '/')}.py", code.co_firstlineno, "") if code else Line("", 0, "")
    )
    return (own or lines or [defined])[-1]


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
    raise Fault("CRASH", f"{who} returned {shown(value)}; return None, then(routine, ...), or a plain value", routine)


@contextmanager
def _contained(who: str, routine: str) -> Iterator[None]:
    """Stops code under test that computes for ever, and what it forks. Only the main thread hears of signals."""
    here = os.getpid()
    late: list[Fault] = []

    def stop(*_: Any) -> None:
        if late:  # it was caught
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)
        what = f"{who} computed for {SECONDS_A_QUESTION:g} s without asking for an operation."
        late.append(Fault("TIMEOUT", f"{what} Does it loop for ever on its own state?", routine))
        raise late[0]

    before: Any = signal.SIG_DFL
    timed = threading.current_thread() is threading.main_thread()
    if timed:
        faulthandler.register(signal.SIGPROF, file=2, all_threads=False, chain=True)
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_A_QUESTION, SECONDS_A_QUESTION)
        signal.setitimer(signal.ITIMER_PROF, SECONDS_IN_C)
    try:
        yield
    finally:
        if os.getpid() != here:  # it has forked, and this is no process of the suite
            os._exit(0)
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGALRM, before)
        if late:
            raise late[0]
