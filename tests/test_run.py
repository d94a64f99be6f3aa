"""A run as a stream of events: the same verdicts for any number of processes, what dies contained, stopped before its time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_suite
from tiny_suite import ALONE, HALT, HELD, SUITE, UNCHECKED, UNSEEN

from conformance.adapters.registry import of_class
from conformance.roles.x86 import Cpu, Vcpu
from conformance.verdict.clause import Status, Verdict
from conformance.verdict.events import (
    BreachFound,
    ClauseJudged,
    Event,
    FunctionChecked,
    RunEnded,
    ScenarioExplored,
    ScheduleSought,
)
from conformance.verdict.judge import Judge
from conformance.verdict.pool import Died, Done, Processes
from conformance.verdict.run import Run
from conformance.verdict.work import Check, Explore, Item, Least
from reference.x86.kvm import Kvm


class Forgets(Kvm):
    """Breaks HELD in two scenarios: what was pending is not saved, nor purged."""

    def save(self, cpu: Cpu, vcpu: Vcpu) -> tuple[int, ...]:
        return tuple(0 for _ in super().save(cpu, vcpu))

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None: ...


class Dies(Kvm):
    """Takes its whole process along, in one scenario."""

    def restore(self, *_: object) -> None:  # type: ignore[override]
        os._exit(9)


class Raises(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        raise ValueError("purged")


def judge(cls: type[Any]) -> Judge:
    return Judge(of_class(cls, cls.__name__, f"{__name__}:{cls.__name__}"), "kvm", SUITE)


def run(cls: type[Any], workers: int, *, stop: bool = False) -> list[Event]:
    return list(Run(judge(cls), SUITE.clauses, workers, stop=stop).events())


def ended(events: list[Event]) -> RunEnded:
    assert isinstance(events[-1], RunEnded)
    return events[-1]


def verdicts(events: list[Event]) -> dict[str, Verdict]:
    return {v.clause.id: v for v in ended(events).verdicts}


@pytest.mark.parametrize("cls", [Kvm, Forgets, Raises])
def test_verdicts_are_the_same_for_any_number_of_processes(cls: type[Any]) -> None:
    """To the byte, and the same as those of one clause after the other."""
    alone = judge(cls)
    due = msgspec.json.encode([alone.verdict(clause) for clause in SUITE.clauses])
    for workers in (0, 1, 3):
        assert msgspec.json.encode(ended(run(cls, workers)).verdicts) == due


def test_each_item_is_done_once_and_told() -> None:
    events = run(Forgets, 2)
    items = [e.item for e in events if isinstance(e, ScenarioExplored | FunctionChecked | ScheduleSought)]
    assert len(items) == len(set(items))
    assert {i for i in items if isinstance(i, Explore)} == {Explore(scenario=s.name) for s in SUITE.scenarios}
    assert Check(clause=ALONE) in items
    assert sum(isinstance(i, Least) for i in items) == 2
    done = [e.progress for e in events if isinstance(e, ScenarioExplored | FunctionChecked | ScheduleSought)]
    assert [p.done for p in done] == list(range(1, len(items) + 1))
    assert (done[-1].done, done[-1].of, done[-1].violated) == (len(items), len(items), 1)


def test_a_breach_is_told_before_its_least_schedule_is_known() -> None:
    """Once, by the scenario that shows it first."""
    events = run(Forgets, 2)
    (breach,) = (n for n, e in enumerate(events) if isinstance(e, BreachFound))
    (judged,) = (n for n, e in enumerate(events) if isinstance(e, ClauseJudged) and e.verdict.clause.id == HELD)
    sought = [n for n, e in enumerate(events) if isinstance(e, ScheduleSought)]
    assert breach < min(sought) < judged


def test_only_a_lesser_schedule_is_looked_for() -> None:
    """The smallest scenario is searched without a bound, the other below what was found there."""
    items = [e.item for e in run(Forgets, 1) if isinstance(e, ScheduleSought)]
    least = verdicts(run(Forgets, 0))[HELD].counterexample
    assert least
    assert items == [
        Least(scenario="save-restore", clause=HELD),
        Least(scenario="reset", clause=HELD, below=(least.switches, least.steps)),
    ]


def test_what_dies_takes_nothing_along() -> None:
    """The item whose process dies has its CRASH; those under way beside it are done again."""
    events = run(Dies, 2)
    found = verdicts(events)
    assert {c: v.status for c, v in found.items()} == {
        **dict.fromkeys((HELD, HALT, UNSEEN), Status.CRASH),
        ALONE: Status.HELD,
        UNCHECKED: Status.NOT_CHECKED,
    }
    faults = {e.result.scenario: e.result.fault for e in events if isinstance(e, ScenarioExplored)}
    assert not faults["halt-closed"]
    assert "scenario save-restore: the process in which this ran ended with exit status 9" in found[HELD].evidence
    assert not ended(events).missing


def test_a_suite_that_fails_is_a_crash_of_what_it_failed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, clause: str, implementation: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(tiny_suite.TinySuite, "sequential", fails)
    found = verdicts(run(Kvm, 2))
    assert found[ALONE].status is Status.CRASH
    assert found[ALONE].evidence.startswith("the suite itself failed: ZeroDivisionError: a bug of ours at ")
    assert found[HELD].status is Status.HELD


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_it_stops_at_the_first_violation(workers: int) -> None:
    """Whichever is known first: the first in the catalogue's order, judged by that scenario alone."""
    events = run(Forgets, workers, stop=True)
    assert msgspec.json.encode(ended(events)) == msgspec.json.encode(ended(run(Forgets, 0, stop=True)))
    assert ended(events).why == "stopped at the first violation"
    assert verdicts(events)[HELD].evidence.startswith("in 1 of 1 scenarios; least in save-restore")
    assert {HALT, ALONE, UNSEEN} <= set(ended(events).missing)


@pytest.mark.parametrize(
    "early",
    [
        pytest.param([Check(clause=ALONE)], id="what comes later"),
        pytest.param([Explore(scenario=s.name) for s in reversed(SUITE.scenarios)], id="every scenario"),
    ],
)
def test_what_was_done_ahead_of_its_turn_is_left_out(early: list[Item]) -> None:
    """Else what a stopped run reports would depend on how fast its processes were."""
    going = Run(judge(Forgets), SUITE.clauses, 0, stop=True)
    ahead = [(item, Done(going.judge.work.do(item), 0.0)) for item in early]
    take = going.pool.take

    def taken(seconds: float) -> list[tuple[Item, Done | Died]]:
        taken = [*ahead, *take(seconds)]
        ahead.clear()
        return taken

    going.pool.take = taken  # type: ignore[method-assign]
    events = list(islice(going.events(), 100))
    assert msgspec.json.encode(ended(events)) == msgspec.json.encode(ended(run(Forgets, 0, stop=True)))


def test_without_a_violation_there_is_nothing_to_stop_at() -> None:
    assert ended(run(Kvm, 2, stop=True)) == ended(run(Kvm, 2))


def test_an_interrupted_run_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    judging = judge(Kvm)
    done = judging.work.done

    def interrupted(item: Item) -> Any:
        if item == Check(clause=ALONE):
            raise KeyboardInterrupt
        return done(item)

    going = Run(judging, SUITE.clauses, 0)
    monkeypatch.setattr(going.pool, "do", interrupted)
    end = ended(list(going.events()))
    assert (end.why, end.missing) == ("interrupted", (ALONE,))


def test_what_was_found_before_an_interrupt_stays_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its least schedule, and with the command that looks for it."""
    judging = judge(Forgets)
    done = judging.work.done

    def interrupted(item: Item) -> Any:
        if isinstance(item, Least):
            raise KeyboardInterrupt
        return done(item)

    going = Run(judging, SUITE.clauses, 0)
    monkeypatch.setattr(going.pool, "do", interrupted)
    events = list(going.events())
    (breach,) = [event for event in events if isinstance(event, BreachFound)]
    told = verdicts(events)[breach.clause.id]
    assert (told.status, breach.clause.id) == (Status.VIOLATED, HELD)
    assert told.counterexample is not None
    assert told.counterexample.reason == f"{breach.reason} (without its shortest schedule: the run was interrupted)"
    assert told.counterexample.replay == f"intack run -a {__name__}:Forgets --clause {HELD} --scenario {breach.where}"


def test_no_process_is_left_behind() -> None:
    going = Run(judge(Kvm), SUITE.clauses, 2)
    events = going.events()
    while not isinstance(next(events), ScenarioExplored):
        pass
    assert isinstance(going.pool, Processes)
    processes = list(going.pool.processes)
    assert processes
    events.close()
    assert not any(process.is_alive() for process in processes)


SLOW = """
import os, pathlib, time
from reference.x86.kvm import Kvm

class Slow(Kvm):
    def purge(self, cpu, vcpu):
        pathlib.Path("begun").touch()
        time.sleep(4)
        super().purge(cpu, vcpu)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c(tmp_path: Path, workers: str) -> None:
    """Exit status 130; what is missing is told, and that nothing passed; the report says so too."""
    (tmp_path / "slow.py").write_text(SLOW)
    environment = {**os.environ, **tiny_suite.installed(tmp_path / "installed")}
    command = [sys.executable, "-m", "conformance", "run", "-a", "slow:Slow", "-n", workers, "--report", "report.json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"{HELD}" in err
    assert "interrupted: " in err
    assert "Traceback" not in err
    assert "INCOMPLETE (exit status 130): nothing violated so far" in out
    assert "PASS" not in out
    assert HELD in json.loads((tmp_path / "report.json").read_text())["run"]["missing"]
