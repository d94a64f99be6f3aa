"""The items of a run on a cluster. What is known of one goes along to the worker, which asks whether it still holds; what
the worker finds out is kept here, so a run that is done again, on whatever cluster, finds out only what has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.adapters.registry import resolve
from conformance.roles.scenario import Scenario
from conformance.verdict.cluster import Cluster
from conformance.verdict.ingredients import plugged
from conformance.verdict.kept import KeptWork
from conformance.verdict.own_scenarios import joined
from conformance.verdict.pool import Died
from conformance.verdict.suite import load_suite
from conformance.verdict.work import Done, Item, Work

if TYPE_CHECKING:
    from distributed import Client

Records = dict[str, bytes]
"""By key, as in conformance.verdict.store."""


class Carried:
    """A store of what came with a task, and of what goes back with its answer."""

    def __init__(self) -> None:
        self.loaded: Records = {}
        self.saved: Records = {}

    def load(self, key: str) -> bytes | None:
        return self.loaded.get(key)

    def save(self, key: str, content: bytes) -> None:
        self.saved[key] = content


@dataclass(frozen=True)
class Judging:
    """A run of one implementation; `own` are scenarios that no suite here has. `kept`: what keys are made of."""

    spec: str
    profile: str
    own: tuple[Scenario, ...]
    kept: tuple[str, str, str] | None

    def begin(self) -> tuple[Callable[[tuple[Item, Records]], tuple[Done, Records]], str]:
        implementation, suite = resolve(self.spec), load_suite()
        suite = joined(suite, self.own) if self.own else suite
        store = Carried()
        work = Work(implementation, self.profile, suite)
        if self.kept:
            work = KeptWork(implementation, self.profile, suite, store, *self.kept)

        def do(task: tuple[Item, Records]) -> tuple[Done, Records]:
            item, store.loaded = task
            store.saved = {}
            return work.done(item), store.saved

        return do, plugged(implementation)


class Spread:
    """A pool of items for the work of a run. Raises ClusterError."""

    def __init__(self, client: Client, work: Work) -> None:
        self.work = work
        known = {s.name for s in load_suite().scenarios}
        own = tuple(s for s in work.suite.scenarios if s.name not in known)
        kept = (work.rests_on, work.code, work.before) if isinstance(work, KeptWork) else None
        job = Judging(work.implementation.spec, work.profile, own, kept)
        self.cluster: Cluster[tuple[Item, Records], tuple[Done, Records]] = Cluster(client, job)

    @property
    def free(self) -> int:
        return self.cluster.free

    def put(self, task: Item) -> None:
        self.cluster.put((task, self.work.records(task) if isinstance(self.work, KeptWork) else {}))

    def take(self, seconds: float) -> list[tuple[Item, Done | Died]]:
        return [(task[0], self._kept(answer)) for task, answer in self.cluster.take(seconds)]

    def _kept(self, answer: tuple[Done, Records] | Died) -> Done | Died:
        if isinstance(answer, Died):
            return answer
        done, saved = answer
        if isinstance(self.work, KeptWork):
            for key, content in saved.items():
                self.work.store.save(key, content)
        return done

    def close(self) -> None:
        self.cluster.close()
