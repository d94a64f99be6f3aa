"""A plugged PIR scanner where it can do no harm: a process of its own, and each input twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from conformance.adapters.registry import AdapterError
from conformance.adapters.scanner import Descriptors, Scan, Scanned, call, resolve
from conformance.adapters.source import Fault

SECONDS, SECONDS_TO_START = 10.0, 60.0
"""For one input, and until the scanner is imported or compiled."""


class ScannerProcess:
    """A scanner in a process of its own, started when first called and again after it has died."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.process: Any = None
        self.connection: Any = None

    def __enter__(self) -> ScannerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Raises AdapterError."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.spec, sys.path), daemon=True)
        self.process.start()
        theirs.close()
        trouble = self._answer(SECONDS_TO_START)
        if isinstance(trouble, Fault):
            self.stop()
            raise AdapterError(f"{self.spec} cannot be plugged in: {trouble}")

    def stop(self) -> None:
        if self.process is not None:
            self.connection.close()
            self.process.kill()
            self.process.join()
            self.process = None

    def __call__(self, given: Descriptors) -> Scanned:
        """Raises Fault: CRASH, TIMEOUT or NONDETERMINISTIC; AdapterError where the SPEC leads nowhere."""
        if self.process is None:
            self.start()
        with suppress(ConnectionError):  # it has died since: the answer says so
            self.connection.send(given)
        answer = self._answer(SECONDS)
        if isinstance(answer, Fault):
            raise answer
        return answer

    def _answer(self, seconds: float) -> Any:
        if not self.connection.poll(seconds):
            self.stop()
            return Fault("TIMEOUT", f"it has not returned after {seconds:g} s")
        try:
            status, found = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            names = {int(number): number.name for number in signal.Signals}
            code = self.process.exitcode
            how = f"signal {names.get(-code, -code)}" if code < 0 else f"exit status {code}"
            self.stop()
            return Fault("CRASH", f"its process ended: {how}")
        return Fault(status, found) if status else found


def _serve(connection: Connection, spec: str, path: list[str]) -> None:
    """The child: descriptors in, (status of the fault or "", what was found) out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops this process
    os.dup2(2, 1)  # what the scanner prints is no part of the report
    sys.path[:] = path
    try:
        scan = resolve(spec)
    except AdapterError as error:
        connection.send(("CRASH", str(error)))
        return
    connection.send(("", None))
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("", _twice(scan, given)))
        except Fault as fault:
            connection.send((fault.status, str(fault)))


def _twice(scan: Scan, given: Descriptors) -> Scanned:
    found, again = call(scan, given), call(scan, given)
    for name, one, other in zip(found._fields, found, again, strict=True):
        if not np.array_equal(one, other):
            raise Fault("NONDETERMINISTIC", f"the same input gives another `{name}` the second time")
    return found
