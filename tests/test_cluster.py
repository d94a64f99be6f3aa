"""Work on a Dask cluster: the same reports as here for any number of workers, whatever becomes of them; refusals that say why."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from conformance.commands.main import cli
from conformance.mutation.kill import Only
from conformance.mutation.parts import Auditing, together
from conformance.report import document, formats
from conformance.report.model import Report
from conformance.verdict import cluster as clusters
from conformance.verdict.cluster import Cluster, ClusterError, answers, connected, differing
from conformance.verdict.events import ScenarioExplored
from conformance.verdict.hunt import Hunting, hunted
from conformance.verdict.kept import work as keeping
from conformance.verdict.pool import Died, Here
from conformance.verdict.run import Run
from conformance.verdict.session import Session
from conformance.verdict.spread import Spread
from conformance.verdict.work import Done, Explore
from reference.x86.kvm import Kvm

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

FEW = ("one-sender", "core", "tso-running", "apicv-inhibited")


@contextmanager
def local(workers: int, *, processes: bool = True) -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=processes, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    """A cluster of one worker, in this process; its tasks are done in a process of their own all the same."""
    with local(1, processes=False) as made:
        yield made.scheduler_address


class Dies(Kvm):
    """Takes its process along."""

    def post_vector(self, *_: object) -> bool:  # type: ignore[override]
        os._exit(9)


def session(spec: str) -> Session:
    return Session(adapter=spec, scenario=FEW)


def told(made: Session, going: Run, after_first: Any = lambda: None) -> Report:
    """What the run comes to. `after_first` is done when the first scenario is known."""
    events, ended = iter(going.events()), None
    for event in events:
        if isinstance(event, ScenarioExplored):
            after_first()
            after_first = lambda: None  # noqa: E731
        ended = event
    return document.of_session(made, ended.verdicts)  # type: ignore[union-attr]


def plain(spec: str) -> str:
    made = session(spec)
    return formats.json(told(made, Run(made.judge, made.clauses, 0)))


def spread(spec: str, client: Any, after_first: Any = lambda: None) -> str:
    made = session(spec)
    going = Run(made.judge, made.clauses, 0, elsewhere=Spread(client, made.judge.work))
    return formats.json(told(made, going, after_first))


# What it comes to is the same


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_report_for_any_number_of_workers(workers: int) -> None:
    with local(workers) as made, connected(made.scheduler_address) as client:
        assert spread("known-bad:B17", client) == plain("known-bad:B17")


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_task() -> None:
    with local(2) as made, connected(made.scheduler_address) as client:
        pids = sorted(client.run(os.getpid).values())  # type: ignore[union-attr]
        assert spread("known-bad:B17", client, lambda: os.kill(pids[0], signal.SIGKILL)) == plain("known-bad:B17")


@pytest.mark.slow
def test_what_is_left_without_a_scheduler_is_done_here() -> None:
    with local(1) as made, connected(made.scheduler_address) as client:
        assert spread("known-bad:B17", client, made.close) == plain("known-bad:B17")


def test_code_that_ends_its_process_costs_its_scenario(here: str) -> None:
    with connected(here) as client, closing(Spread(client, session(f"{__name__}:Dies").judge.work)) as pool:
        pool.put(Explore(scenario="one-sender"))
        while not (done := pool.take(1.0)):
            pass
    assert done == [(Explore(scenario="one-sender"), Died("ended with exit status 9"))]


@pytest.mark.slow
def test_what_is_known_is_kept_here(here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes along with the task the next time."""
    monkeypatch.setattr("conformance.verdict.kept.user_cache", lambda: tmp_path)
    of = session("known-bad:B17")
    work = keeping(of.implementation, of.profile, of.suite)
    found: list[Any] = []
    for _ in range(2):
        with connected(here) as client, closing(Spread(client, work)) as pool:
            pool.put(Explore(scenario="one-sender"))
            while not (done := pool.take(1.0)):
                pass
        found.append(done[0][1])
    assert [isinstance(f, Done) and f.kept for f in found] == [False, True]
    assert found[0].result == found[1].result == work.do(Explore(scenario="one-sender"))


@pytest.mark.slow
def test_a_hunt_finds_the_same(here: str) -> None:
    """The first turn by number that finds something counts."""
    guarantees = frozenset({"E2E-1", "E2E-11"})
    hunting = Hunting("known-bad:B17", guarantees, 2_000, seed=3, kept=False)
    with connected(here) as client, closing(Cluster[int, Any](client, hunting)) as pool:
        found = hunted(pool, 600)
    assert found.found and found == hunted(Here(hunting.begin()[0]), 600)


def test_of_turns_the_first_by_number_counts() -> None:
    """Whatever ends first."""
    hunting = Hunting("known-bad:B17", frozenset({"E2E-1"}), 2_000, seed=3, kept=False)
    turn = hunting.begin()[0](0)

    class Backwards:
        def __init__(self) -> None:
            self.waiting: list[int] = []

        @property
        def free(self) -> int:
            return 4 - len(self.waiting)

        def put(self, task: int) -> None:
            self.waiting.append(task)

        def take(self, seconds: float) -> list[tuple[int, Any]]:
            number = self.waiting.pop()
            return [(number, turn._replace(looked={str(number): number}))]

        def close(self) -> None: ...

    assert hunted(Backwards(), 600).looked == {"0": 0}


@pytest.mark.slow
def test_mutants_meet_the_same_fate() -> None:
    job = Auditing("kvm-put-sn", ("one-sender",), ("x86",), 30_000, 0, None, Only(), parts=5)
    with local(2) as made, connected(made.scheduler_address) as client, closing(Cluster[int, Any](client, job)) as pool:
        parts: dict[int, Any] = dict(answers(pool, range(5)))
    whole = Auditing("kvm-put-sn", ("one-sender",), ("x86",), 30_000, 0, None, Only()).begin()[0](0)
    assert together([parts[n] for n in range(5)]) == together([whole])


# What a cluster cannot do


@pytest.mark.parametrize("command", [["run"], ["hunt", "-a", "kvm-put-sn"], ["mutate", "-a", "kvm-put-sn"]])
def test_where_nobody_answers(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SECONDS", 0.2)
    with pytest.raises(click.UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1: .* Begin one"):
        CliRunner().invoke(
            cli, [*command, "--cluster", "tcp://127.0.0.1:1"], standalone_mode=False, catch_exceptions=False
        )


@pytest.mark.parametrize("address", ["bogus", "foo://x:1", "tcp://", ""])
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SECONDS", 0.2)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at"), connected(address):
        pass


def test_without_workers(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_comes(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(distributed.Client, "wait_for_workers", nobody_comes)
    with pytest.raises(ClusterError, match="has no workers: dask worker inproc"), connected(here):
        pass


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'intack\[cluster\]'"), connected("tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize(
    ("name", "there", "says"),
    [
        ("Python", "3.99.1", "worker tcp://a:1 has Python 3.99.1, and this machine has "),
        ("intack", "9.9", "worker tcp://a:1 has intack 9.9, and this machine has 0.1.0"),
        ("intack", None, "worker tcp://a:1 has no intack, and this machine has 0.1.0"),
        ("z3-solver", "1", "worker tcp://a:1 has z3-solver 1, and this machine has "),
    ],
)
def test_workers_that_have_something_else(here: str, name: str, there: str | None, says: str) -> None:
    with connected(here) as client:
        versions: Any = client.get_versions(packages=["intack", *clusters.LIBRARIES])
    (said,) = versions["workers"].values()
    assert not differing({"tcp://a:1": said})
    part, key = (said["host"], "python") if name == "Python" else (said["packages"], name)
    part[key] = f"{there}.final.0" if name == "Python" else there
    assert differing({"tcp://a:1": said}).startswith(says)


def test_a_worker_that_lacks_the_module(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_here = ModuleType("only_here")
    only_here.Mine = type("Mine", (Kvm,), {"__module__": "only_here"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with connected(here) as client, pytest.raises(ClusterError) as refused:
        Spread(client, session("only_here:Mine").judge.work)
    assert "cannot begin: only_here:Mine: importing only_here failed" in str(refused.value)
    assert f"or in a folder {os.getcwd()} that all workers share" in str(refused.value)


@pytest.mark.slow
def test_a_worker_with_another_file(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.verdict.spread.plugged", lambda _: "another")
    with connected(here) as client, pytest.raises(ClusterError, match="is another than where the command runs"):
        Spread(client, session("xen").judge.work)


def test_a_folder_that_is_not_there(here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.verdict.served.os.getcwd", lambda: str(tmp_path / "gone"))
    with (
        connected(here) as client,
        pytest.raises(ClusterError, match=r"there is no folder .*gone, in which intack runs"),
    ):
        Spread(client, session("xen").judge.work)
