"""What hangs, stops its guard, or lies damaged where something is kept: it ends, is told, and leaves nothing."""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

import pytest
from processes import descendants, left
from tiny_suite import SUITE, reference

from conformance.adapters.contained import Contained, GoneError
from conformance.adapters.native import cache, tool
from conformance.adapters.registry import AdapterError, resolve
from conformance.verdict.pool import Died, pool
from conformance.verdict.sharing import Shared
from conformance.verdict.work import Done, Explore, Item, Work

TOML = 'sources = ["a.c"]\nroutines = {{ deliver_interrupt = "f" }}\nobjects = {{ vcpu = "v" }}\n{}\n'


def test_a_program_that_stops_its_guard_is_ended() -> None:
    text = f"import os, time; os.kill(os.getppid(), {int(signal.SIGSTOP)}); time.sleep(600)"
    program = Contained([sys.executable, "-c", text])
    with pytest.raises(GoneError, match="no answer within"):
        program.ask(b"hello\n", 2.0)
    theirs = [program.process.pid, *descendants(program.process.pid)]
    program.close()
    assert not left(theirs)


def test_a_build_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it started."""
    monkeypatch.setattr(tool, "SECONDS", 1.0)
    (tmp_path / "p.toml").write_text(TOML.format(f'command = "sleep 600 & echo $! > {tmp_path}/pid; sleep 600"'))
    with pytest.raises(AdapterError, match=r"the command failed: .*it did not end within 1 s"):
        resolve(f"native:{tmp_path}/p.toml")
    assert not left([int((tmp_path / "pid").read_text())])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('sources = ["."]', "there is no source"),
        ('step_seconds = "x"', "step_seconds"),
        ("step_seconds = nan", "step_seconds"),
        ("step_seconds = inf", "step_seconds"),
        ("step_seconds = -1", "step_seconds"),
        ('name = "a\\u0000b"', "NUL"),
        ('cflags = ["\\u0000"]', "NUL"),
        ("not_applicable = []", "not_applicable"),
        (f"x = {'[' * 5000}", "does not describe a program"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, line: str, says: str) -> None:
    text = TOML.format("").partition("\n")[2] if line.startswith("sources") else TOML.format("")
    (tmp_path / "p.toml").write_text(f"{line}\n{text}")
    with pytest.raises(AdapterError, match=says):
        resolve(f"native:{tmp_path}/p.toml")


@pytest.mark.parametrize("damage", ["cut", "mode", "gone", "list"])
def test_a_damaged_program_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_own", None)
    program = tmp_path / "made"
    program.write_bytes(b"#!/bin/true\n")
    program.chmod(0o755)
    kept = cache.keep("key", program, [])
    assert cache.kept("key") == kept
    if damage == "cut":
        kept.write_bytes(b"")
    elif damage == "mode":
        kept.chmod(0o644)
    else:
        (kept if damage == "gone" else kept.with_name("linked.json")).unlink()
    assert cache.kept("key") is None
    cache.keep("key", program, [])
    assert cache.kept("key") == kept


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """And what another uses is not."""
    work = Work(reference(""), "kvm", SUITE)
    dead, living, new = (Shared(work.do, tmp_path / f"intack-{n}") for n in range(3))
    dead.do(())
    living.do(())
    assert dead.alive
    dead.alive.close()
    new.do(())
    assert [shared.folder.exists() for shared in (dead, living, new)] == [False, True, True]


def test_a_call_in_c_that_waits_for_ever_costs_its_item() -> None:
    """No handler of a signal runs there, and it uses no processor time."""
    items = [Explore(scenario=name) for name in ("before", "blocked", "after")]
    processes = pool(_blocks, 2)
    for item in items:
        processes.put(item)
    done: dict[Item, Done | Died] = {}
    while len(done) < len(items):
        done |= processes.take(0.1)
    processes.close()
    assert done == {
        items[0]: Done(None, 0),
        items[1]: Died("waits for ever in a call that no signal interrupts: it was killed", "TIMEOUT"),
        items[2]: Done(None, 0),
    }


def _blocks(item: Item) -> Done:
    if item == Explore(scenario="blocked"):
        mutex = (ctypes.c_long * 16)()
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        for _ in range(2):
            ctypes.CDLL(None).pthread_mutex_lock(mutex)
    return Done(None, 0)
