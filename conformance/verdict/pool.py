"""Where items of work are done: in processes, or in this one.

A process that dies takes no other item along: what was under way with it is done again, each item alone in a process,
and the item that kills that one too has its CRASH.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from conformance.adapters.ended import by
from conformance.verdict.work import Done, Item, Result, Work

PR_SET_PDEATHSIG = 1
TIMERS = (signal.SIGALRM, signal.SIGPROF)
"""Signals that end a process in which one question takes too long, whatever it does (conformance.adapters.python)."""
DEAF = 4
"""Alarms in processes of which no item gets done in the meantime: a call in C waits for ever, and no handler can run."""


class Died(NamedTuple):
    """The process that did an item ended; `how` says with what."""

    how: str
    status: str = "CRASH"


Do = Callable[[Item], Done]
Task = TypeVar("Task")
Answer = TypeVar("Answer")
"""Of a pool that does other than items: whatever can be found out on its own."""


class Pool(Protocol[Task, Answer]):
    """Takes tasks, gives answers, in any order."""

    @property
    def free(self) -> int:
        """How many may be put in now."""
        ...

    def put(self, task: Task) -> None: ...

    def take(self, seconds: float) -> list[tuple[Task, Answer | Died]]:
        """What is done, waiting for it as long as that if need be."""
        ...

    def close(self) -> None:
        """At once: what is under way is dropped."""
        ...


def pool(do: Do, workers: int) -> Pool[Item, Done]:
    """So many processes; 0: this one."""
    return Processes(do, workers) if workers else Here(do)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def result_of(work: Work, item: Item, outcome: Done | Died) -> Result:
    if isinstance(outcome, Died):
        return work.crashed(item, f"the process in which this ran {outcome.how}", outcome.status)
    return outcome.result


class Here(Generic[Task, Answer]):
    """One task at a time, done when it is waited for."""

    def __init__(self, do: Callable[[Task], Answer]) -> None:
        self.do = do
        self.tasks: list[Task] = []

    @property
    def free(self) -> int:
        return 1 - len(self.tasks)

    def put(self, task: Task) -> None:
        self.tasks.append(task)

    def take(self, seconds: float) -> list[tuple[Task, Answer | Died]]:
        with contextlib.redirect_stdout(sys.stderr):  # what an implementation prints is no part of the report
            task = self.tasks.pop()
            return [(task, self.do(task))]

    def close(self) -> None:
        self.tasks.clear()


class Processes(Generic[Task, Answer]):
    """Forked, so that they have all modules and the implementation at once. They end with this process."""

    def __init__(self, do: Callable[[Task], Answer], workers: int) -> None:
        self.do, self.workers = do, workers
        self.executor: ProcessPoolExecutor | None = None
        self.processes: list[BaseProcess] = []
        self.running: dict[Future[Answer], Task] = {}
        self.suspects: deque[Task] = deque()
        """Items that were under way when a process died: each is done alone."""
        self.alarms, self.alarmed = os.pipe()
        """A byte for each signal that reaches one of the processes, even where Python does not get to run."""
        os.set_blocking(self.alarms, False)
        os.set_blocking(self.alarmed, False)
        self.rung = 0
        """Alarms since an item was done."""

    @property
    def free(self) -> int:
        return 0 if self.suspects else 2 * self.workers - len(self.running)

    def put(self, task: Task) -> None:
        if self.executor is None:
            context = multiprocessing.get_context("fork")
            self.executor = ProcessPoolExecutor(
                self.workers, context, initializer=_begin, initargs=(self.do, os.getpid(), self.alarmed)
            )
            others = set(multiprocessing.active_children())
            self.running[self.executor.submit(_work, task)] = task
            self.processes = [p for p in multiprocessing.active_children() if p not in others]
        else:
            self.running[self.executor.submit(_work, task)] = task

    def take(self, seconds: float) -> list[tuple[Task, Answer | Died]]:
        if self.suspects and not self.running:
            self.put(self.suspects[0])
        done, _ = wait(self.running, seconds, FIRST_COMPLETED)
        self.rung = 0 if done else self.rung + self._rings()
        if self.rung >= DEAF:
            for process in self.processes:
                process.kill()
            done, _ = wait(self.running)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            return self._died()
        taken: list[tuple[Task, Answer | Died]] = []
        for future in done:
            item = self.running.pop(future)
            taken.append((item, future.result()))
            if self.suspects:
                self.suspects.popleft()
        return taken

    def _rings(self) -> int:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.alarms, 1 << 10).count(signal.SIGALRM)
        return 0

    def _died(self) -> list[tuple[Task, Answer | Died]]:
        wait(self.running)  # all of them know by now
        under_way, self.running = self.running, {}
        processes = self.processes
        self._end()
        taken: list[tuple[Task, Answer | Died]] = []
        lost: list[Task] = []
        for future, item in under_way.items():
            if future.exception() is None:
                taken.append((item, future.result()))
            else:
                lost.append(item)
        if self.suspects:
            taken.append((self.suspects.popleft(), _how(processes, deaf=self.rung >= DEAF)))
        else:
            self.suspects.extend(lost)
        self.rung = 0
        return taken

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self._end()
        os.close(self.alarms)
        os.close(self.alarmed)

    def _end(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)
        self.executor, self.processes = None, []


class Apart:
    """Work in one process beside this one, which waits for it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.process = Processes(work.done, 1)

    def do(self, item: Item) -> Result:
        self.process.put(item)
        while not (done := self.process.take(1.0)):
            pass
        ((_, outcome),) = done
        return result_of(self.work, item, outcome)

    def close(self) -> None:
        self.process.close()


def _how(processes: list[BaseProcess], *, deaf: bool) -> Died:
    """With what the process ended that ended by itself: the executor terminates the others."""
    if deaf:
        return Died("waits for ever in a call that no signal interrupts: it was killed", "TIMEOUT")
    codes = [p.exitcode for p in processes if p.exitcode not in (None, 0, -signal.SIGTERM)]
    code = codes[0] if codes else 0
    if -code in TIMERS:
        return Died(f"computed for ever, and could not be stopped: it {by(code)}", "TIMEOUT")
    return Died(by(code))


_do: Callable[[Any], Any] | None = None
"""Of this process, if it is one of a pool's."""


def _begin(do: Callable[[Any], Any], parent: int, alarmed: int) -> None:
    global _do
    _do = do
    signal.set_wakeup_fd(alarmed, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent's to end this
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    os.dup2(2, 1)  # what an implementation prints is no part of the report


def _work(item: Any) -> Any:
    assert _do
    return _do(item)
