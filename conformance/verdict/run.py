"""A run: items of work on a pool, and what becomes known as a stream of events.

    clauses ──Judge──> items ──Pool──> results ──Judge──> verdicts
                         └───────────────┴──────────────────┴──> events ──> command line, progress, reports

Events come in the order in which things become known. What they come to does not depend on it: verdicts are the same
for any number of processes.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Generator, Iterator, Sequence
from statistics import fmean
from typing import Literal

from conformance.verdict.clause import Clause, Verdict
from conformance.verdict.events import (
    BreachFound,
    ClauseJudged,
    Event,
    FunctionChecked,
    Progress,
    RunEnded,
    ScenarioExplored,
    ScheduleSought,
    Waiting,
)
from conformance.verdict.explore import Explored
from conformance.verdict.judge import Judge, Judging, broken_by
from conformance.verdict.pool import Died, Done, Pool, pool, result_of
from conformance.verdict.suite import Checked
from conformance.verdict.work import Check, Explore, Item, Result

TICK = 0.25
"""Seconds without an event after which one says so."""

Rank = tuple[int, int]
"""Which items go first: first what a verdict wants at the last, then scenarios, those that are sampled, functions. Sampling takes
longest by far: where others go on meanwhile, it begins before them, lest they wait for it in the end.
"""
SCHEDULES, LONG, SCENARIOS, SAMPLED, FUNCTIONS, LAST = range(6)
FIRST: Rank = (SCHEDULES, -1)


class Run:
    """Judges clauses. With `stop` it ends at the first violation: the first by rank, whatever is known first. `elsewhere`: a
    pool that does the work, in place of so many processes here.
    """

    def __init__(
        self,
        judge: Judge,
        clauses: Sequence[Clause],
        workers: int,
        *,
        stop: bool = False,
        elsewhere: Pool[Item, Done] | None = None,
    ) -> None:
        self.judge, self.clauses, self.stop = judge, {c.id: c for c in clauses}, stop
        self.pool = elsewhere or pool(judge.work.done, workers)
        self.workers = max(1, workers)
        self.begun = time.monotonic()
        self.ranks: dict[Item, Rank] = {}
        self.queue: list[tuple[Rank, Item]] = []
        """A heap."""
        self.results: dict[Item, Result] = {}
        self.seconds: dict[Item, float] = {}
        self.waiting: dict[Item, list[tuple[Judging, tuple[Item, ...]]]] = {}
        """By an item that is not done: who wants it, and what else."""
        self.verdicts: dict[str, Verdict] = {}
        self.last: dict[Judging, Rank] = {}
        self.rests_on: dict[str, Rank] = {}
        """By clause: the last item by rank that its verdict rests on."""
        self.violated: dict[str, Item] = {}
        """Guarantees known to be broken, and the first item by rank that says so."""

    def events(self) -> Generator[Event, None, None]:
        """Ends with RunEnded, whatever it is ended by."""
        try:
            for clause in self.clauses.values():
                yield from self._go_on(self.judge.judging(clause), None)
            yield from self._work()
            if self.stop and self.violated:
                yield from self._judge_violated()
            ended = self.ended("stopped at the first violation")
        except KeyboardInterrupt:
            ended = self.ended("interrupted")
        finally:
            self.pool.close()
        yield ended

    def ended(self, why: Literal["interrupted", "stopped at the first violation"]) -> RunEnded:
        """How things stand. `why` only counts if something is missing. What was found broken by then stays found."""
        for clause, item in self.violated.items() if why == "interrupted" else ():
            result = self.results[item]
            assert isinstance(result, Explored | Checked)
            self.verdicts.setdefault(clause, self.judge.cut_short(self.clauses[clause], item, result))
        verdicts = tuple(self.verdicts[c] for c in self.clauses if c in self.verdicts)
        missing = tuple(c for c in self.clauses if c not in self.verdicts)
        return RunEnded(verdicts, missing, why if missing else "")

    def _work(self) -> Iterator[Event]:
        while any(map(self._counts, self.waiting)):
            while self.queue and self.pool.free > 0 and self._counts(self.queue[0][1]):
                self.pool.put(heapq.heappop(self.queue)[1])
            done = self.pool.take(TICK)
            if not done:
                yield Waiting(self.progress())
            for item, outcome in done:
                yield from self._done(item, outcome)

    def _counts(self, item: Item) -> bool:
        """Whether it comes before the first violation, where that is the end."""
        return not (self.stop and self.violated) or self.ranks[item] < min(
            map(self.ranks.__getitem__, self.violated.values())
        )

    def _done(self, item: Item, outcome: Done | Died) -> Iterator[Event]:
        if item not in self.ranks:  # nobody wants it any more
            return
        result = result_of(self.judge.work, item, outcome)
        _, seconds, kept = outcome if isinstance(outcome, Done) else Done(result, 0.0)
        self.results[item] = result
        if not kept:  # it says nothing of what is to come
            self.seconds[item] = seconds
        yield from self._breaches(item, result)
        match item, result:
            case Explore(), Explored():
                yield ScenarioExplored(item, result, seconds, self.progress(), kept)
            case Check(), Checked():
                yield FunctionChecked(item, result, seconds, self.progress(), kept)
            case _:
                assert not isinstance(result, Explored | Checked)
                yield ScheduleSought(item, result, seconds, self.progress(), kept)
        for judging, wanted in self.waiting.pop(item, ()):
            if all(i in self.results for i in wanted):
                yield from self._go_on(judging, tuple(self.results[i] for i in wanted))

    def _breaches(self, item: Item, result: Result) -> Iterator[BreachFound]:
        """Guarantees that were not known to be broken."""
        for clause in self.clauses.values():
            broken = broken_by(result, clause, item)
            if broken is None or not self.judge.guaranteed(clause):
                continue
            if clause.id not in self.violated:
                yield BreachFound(clause, broken.scenario, broken.reason)
            self.violated[clause.id] = min(self.violated.get(clause.id, item), item, key=self.ranks.__getitem__)

    def _go_on(self, judging: Judging, results: tuple[Result, ...] | None) -> Iterator[Event]:
        """As far as what is known goes; then the items that are wanted next are put into the queue."""
        while True:
            try:
                wanted = judging.send(results)
            except StopIteration as judged:
                verdict: Verdict = judged.value
                self.verdicts[verdict.clause.id] = verdict
                self.rests_on[verdict.clause.id] = self.last.pop(judging, FIRST)
                yield ClauseJudged(verdict)
                return
            for item in wanted:
                self._enqueue(item)
            self.last[judging] = max([self.last.get(judging, FIRST), *map(self.ranks.__getitem__, wanted)])
            missing = [item for item in wanted if item not in self.results]
            for item in missing:
                self.waiting.setdefault(item, []).append((judging, wanted))
            if missing:
                return
            results = tuple(self.results[item] for item in wanted)

    def _enqueue(self, item: Item) -> None:
        if item not in self.ranks:
            self.ranks[item] = (self._stage(item), len(self.ranks))
            heapq.heappush(self.queue, (self.ranks[item], item))

    def _stage(self, item: Item) -> int:
        match item:
            case Explore(scenario=name):
                if not self.judge.work.scenarios[name].samples:
                    return SCENARIOS
                return SAMPLED if self.stop or self.workers == 1 else LONG
            case Check():
                return FUNCTIONS
            case _:
                return LAST if self.stop else SCHEDULES

    def _judge_violated(self) -> Iterator[Event]:
        """What the first item breaks, by that alone. What other processes had done ahead of their turn is left out."""
        first = min(self.violated.values(), key=self.ranks.__getitem__)
        for clause, last in self.rests_on.items():
            if last > self.ranks[first]:
                del self.verdicts[clause]
        broken = [clause for clause, item in self.violated.items() if item == first]
        self.stop = False
        self.queue.clear()
        self.waiting.clear()
        self.ranks = {item: self.ranks[item] for item in self.results}
        result = self.results[first]
        assert isinstance(result, Explored | Checked)
        for name, clause in self.clauses.items():
            if name in broken:
                yield from self._go_on(self.judge.judging_by(clause, result), None)
        yield from self._work()

    def progress(self) -> Progress:
        seconds = time.monotonic() - self.begun
        return Progress(len(self.results), len(self.ranks), len(self.violated), seconds, self._to_go())

    def _to_go(self) -> float:
        """By how long items of the same stage took; of a stage that has not begun, as long as all others."""
        took: dict[int, list[float]] = {}
        for item, seconds in self.seconds.items():
            took.setdefault(self.ranks[item][0], []).append(seconds)
        overall = fmean(self.seconds.values()) if self.seconds else 0.0
        left = [rank[0] for item, rank in self.ranks.items() if item not in self.results]
        return sum(fmean(took[stage]) if stage in took else overall for stage in left) / self.workers
