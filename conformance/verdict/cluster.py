"""Tasks of a job on the workers of a Dask cluster, in place of processes of this machine.

    this process ──(job, task)──> scheduler ──> a worker ──> a process beside it, which has the implementation (served.py)

A task whose worker is lost is done again by another: Dask sees to it. What is lost with several, and what is left when no
worker or no scheduler is, this machine does itself. So the answers are those of one process, whatever becomes of workers.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import platform
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic
from uuid import uuid4

from conformance import __version__
from conformance.verdict.ingredients import LIBRARIES
from conformance.verdict.pool import Answer, Died, Task
from conformance.verdict.served import Begin, EndedError, Job, Refused, Served

if TYPE_CHECKING:
    from distributed import Client, Future

SECONDS = 10.0
"""For the scheduler to answer, and for a first worker to come."""


class ClusterError(Exception):
    """The cluster cannot do the work. The message says why, and what to do."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler there, whose workers have this Python and this intack. Raises ClusterError."""
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError("a cluster wants what is not installed: pip install 'intack[cluster]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # of a worker that is lost the client is not to speak
    client: Client | None = None
    said = ""
    try:
        with warnings.catch_warnings(action="ignore"):  # what differs is told below
            client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        said = str(error)
    if client is None:
        gc.collect()  # a client that failed stops its thread as it goes, which is not to be while another begins
        raise ClusterError(
            f"no Dask scheduler answers at {address}: {said}. Begin one: dask scheduler; it says its address."
        )
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError:
            raise ClusterError(f"the scheduler at {address} has no workers: dask worker {address}") from None
        try:
            found: Any = client.get_versions(packages=["intack", *LIBRARIES])
        except OSError as error:
            raise ClusterError(f"the scheduler at {address} is not there any more: {error}") from None
        if refused := differing(found["workers"]):
            raise ClusterError(refused)
        yield client


def differing(workers: Mapping[str, Any]) -> str:
    """The first worker that has another Python, intack or library than this process, by what each said of itself; else
    empty.
    """
    from importlib.metadata import version

    here = {"Python": platform.python_version(), "intack": __version__} | {name: version(name) for name in LIBRARIES}
    for address, said in sorted(workers.items()):
        if not said:
            return f"worker {address} does not say what it has: it was lost, or is too old"
        python = ".".join(str(said["host"]["python"]).split(".")[:3])
        there = {"Python": python} | {name: said["packages"].get(name) for name in here if name != "Python"}
        for name, mine in here.items():
            if there[name] != mine:
                has = f"{name} {there[name]}" if there[name] else f"no {name}"
                return f"worker {address} has {has}, and this machine has {mine}: install the same there, for one report is of one code"
    return ""


class Cluster(Generic[Task, Answer]):
    """A pool (conformance.verdict.pool) for one job. Raises ClusterError where a worker cannot begin it."""

    def __init__(self, client: Client, job: Job) -> None:
        self.client = client
        _, plugged = job.begin()
        self.begin = Begin(job, plugged, uuid4().hex)
        self.running: dict[Future, Task] = {}
        self.ready: SimpleQueue[Future] = SimpleQueue()
        self.left: deque[Task] = deque()
        """What this machine is to do itself."""
        self.here: Served | None = None
        self.threads = 0
        self._check()

    def _check(self) -> None:
        """Whether each worker can begin. One that comes later is found out by its first task."""
        asked = {at: self.client.submit(_begins, self.begin, workers=[at], pure=False) for at in self._count()}
        for at, future in sorted(asked.items()):
            try:
                answer = future.result(timeout=6 * SECONDS)
            except Exception:  # it was lost, or has other work
                continue
            self._refused(at, answer)

    def _count(self) -> Mapping[str, int]:
        try:
            known: Any = self.client.nthreads()
        except Exception:  # nor is there anybody who knows
            known = {}
        self.threads = sum(known.values())
        return known

    def _refused(self, at: str, answer: Any) -> None:
        if isinstance(answer, RefusedBy):
            raise ClusterError(
                f"worker {answer.worker or at} cannot begin: {answer.why}. What is plugged in has to be there, too, "
                f"installed or in a folder {self.begin.folder} that all workers share."
            )

    @property
    def free(self) -> int:
        return max(1, 2 * self.threads) - len(self.running) - len(self.left)

    def put(self, task: Task) -> None:
        try:
            future = self.client.submit(_do, self.begin, task, pure=False)
        except Exception:  # nobody takes it any more
            self.left.append(task)
            return
        self.running[future] = task
        future.add_done_callback(self.ready.put)

    def take(self, seconds: float) -> list[tuple[Task, Answer | Died]]:
        if self.left:
            return [self._here(self.left.popleft())]
        try:
            future = self.ready.get(timeout=seconds)
        except Empty:
            self._count()
            if self.running and not self.threads:
                future, task = self.running.popitem()
                return [self._here(task)]
            return []
        if future not in self.running:  # it was done here in the meantime
            return []
        task = self.running.pop(future)
        try:
            answer = future.result()
        except Exception:  # it was lost with worker after worker, or with the scheduler
            return [self._here(task)]
        self._refused("", answer)
        return [(task, answer)]

    def _here(self, task: Task) -> tuple[Task, Answer | Died]:
        try:
            self.here = self.here or Served(self.begin)
            return task, self.here.ask(task)
        except EndedError as ended:
            self.here = None
            return task, Died(str(ended))

    def close(self) -> None:
        """What is under way is dropped, on the workers too."""
        if self.here:
            self.here.end()
        with contextlib.suppress(Exception):  # of a cluster that is not there any more nothing is wanted
            self.client.cancel([*self.running])
            self.client.run(_end, self.begin.name, on_error="ignore")


def answers(pool: Cluster[Task, Answer], tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer | Died]]:
    """Of all tasks, as they come."""
    waiting, missing = deque(tasks), len(tasks)
    while missing:
        while waiting and pool.free > 0:
            pool.put(waiting.popleft())
        for done in pool.take(1.0):
            missing -= 1
            yield done


# On a worker


class RefusedBy:
    def __init__(self, worker: str, why: str) -> None:
        self.worker, self.why = worker, why


_idle: dict[str, list[Served]] = {}
"""By the name of a job: processes beside this worker that have begun it, and wait."""
_busy: dict[str, list[Served]] = {}


def _begins(begin: Begin) -> RefusedBy | None:
    with contextlib.suppress(EndedError), _beside(begin) as served:
        return served if isinstance(served, RefusedBy) else None
    return None


def _do(begin: Begin, task: Any) -> Any:
    """Raises EndedError where something else than the task ended the process beside this one."""
    with _beside(begin) as served:
        return served if isinstance(served, RefusedBy) else served.ask(task)


@contextlib.contextmanager
def _beside(begin: Begin) -> Iterator[Served | RefusedBy]:
    """A process that nobody else asks meanwhile. Those that wait for another job end."""
    from distributed import get_worker

    for name in {*_idle} - {begin.name}:
        for served in _idle.pop(name, []):
            served.end()
    try:
        waiting = _idle.setdefault(begin.name, [])
        served = waiting.pop() if waiting else Served(begin)
    except Refused as refused:
        yield RefusedBy(get_worker().address, str(refused))
        return
    _busy.setdefault(begin.name, []).append(served)
    try:
        yield served
    finally:
        _busy[begin.name].remove(served)
        if served.process.poll() is None:
            _idle.setdefault(begin.name, []).append(served)


def _end(name: str) -> None:
    for served in [*_idle.pop(name, ()), *_busy.get(name, ())]:
        served.end()
