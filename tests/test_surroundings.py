"""What a hostile or broken surrounding does to a command: a run that did not do its work never looks like one that did, and
nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_suite
from processes import descendants, left
from tiny_suite import ALONE, HELD

MINE = """\
import os, signal, sys, time
from pathlib import Path
import pytest
from reference.x86.kvm import Kvm

def stop():
    Path("begun").touch()
    time.sleep(600)

def blocks():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    Path("begun").touch()
    sum(range(10 ** 12))

class Mine(Kvm):
    def purge(self, cpu, vcpu):
        %s
        super().purge(cpu, vcpu)
"""
COMMAND = (sys.executable, "-c", "import sys; sys.path.pop(0); from conformance.commands.main import main; main()")
"""As the installed script: the working directory is on no path."""
Place = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Runs everything in an empty folder, with the tiny suite."""
    monkeypatch.chdir(tmp_path)
    return {**os.environ, **tiny_suite.installed(tmp_path / "installed")}


def intack(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def shell(environment: dict[str, str], line: str) -> subprocess.CompletedProcess[str]:
    """The line as a user's bash runs it; `intack` is the command."""
    text = f'set -o pipefail; intack() {{ {shlex.join(COMMAND)} "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, env=environment, timeout=300)


def plugged(body: str) -> None:
    Path("mine.py").write_text(MINE % body)


def begun(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """A run that has come to the routine that is plugged in."""
    process = subprocess.Popen(
        [*COMMAND, "run", "-a", "mine:Mine", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    while not Path("begun").exists():
        assert process.poll() is None, process.communicate()
    return process


# What ends the process in which a command runs


@pytest.mark.parametrize("what", ["os._exit(0)", "os._exit(1)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_a_module_that_ends_the_process_is_no_verdict(environment: dict[str, str], what: str) -> None:
    Path("mine.py").write_text(f"import os, signal\n{what}\n")
    done = intack(environment, "run", "-a", "mine:Mine", "--report", "r.json")
    assert (done.returncode, done.stdout) == (4, "")
    assert "before its work was done: nothing can be said" in done.stderr
    assert not Path("r.json").exists()


@pytest.mark.parametrize(
    "what",
    ["raise SystemExit(0)", "raise KeyboardInterrupt", "import pytest; pytest.skip('x', allow_module_level=True)"],
)
def test_a_module_that_raises_anything_is_bad_usage(environment: dict[str, str], what: str) -> None:
    Path("mine.py").write_text(what)
    done = intack(environment, "run", "-a", "mine:Mine")
    assert (done.returncode, done.stdout) == (3, "")
    assert "importing mine failed: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit(0)", "raised SystemExit(0)"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt()"),
        ("pytest.skip('not today')", "raised not today"),
    ],
)
def test_what_a_routine_raises_is_its_own(environment: dict[str, str], workers: str, body: str, says: str) -> None:
    plugged(body)
    done = intack(environment, "run", "-a", "mine:Mine", "-n", workers, "--clause", HELD, "--report", "r.json")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    report = json.loads(Path("r.json").read_text())
    assert report["run"]["exit_status"] == 2
    (row,) = report["clauses"]
    assert row["status"] == "CRASH"
    assert says in row["evidence"]


def test_what_an_adapter_prints_is_no_answer(environment: dict[str, str]) -> None:
    """Neither of the report nor of the process that is asked again."""
    Path("mine.py").write_text(MINE.replace("super().purge(cpu, vcpu)", "pass") % "print('hello')")
    done = intack({**environment, "PYTHONUNBUFFERED": "1"}, "run", "-a", "mine:Mine", "--clause", HELD)
    assert done.returncode == 1
    assert "hello" not in done.stdout
    assert f"FAIL (exit status 1): 1 VIOLATED. Violated: {HELD}" in done.stdout


def test_a_routine_that_forks_leaves_nothing(environment: dict[str, str]) -> None:
    """The fork does not go on with the suite's work, and what it does not end is ended."""
    plugged("os.fork()")
    done = intack(environment, "run", "-a", "mine:Mine", "--clause", HELD)
    assert done.returncode == 0
    assert done.stdout.count("PASS") == 1


def test_what_is_left_running_ends_with_the_command(environment: dict[str, str]) -> None:
    Path("mine.py").write_text(
        f"import subprocess\np = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open('pid', 'w').write(str(p.pid))\n{MINE % 'pass'}"
    )
    assert intack(environment, "run", "-a", "mine:Mine", "-n", "0", "--clause", HELD).returncode == 0
    assert not left([int(Path("pid").read_text())])


def test_what_else_lies_in_the_folder_is_not_run(environment: dict[str, str]) -> None:
    for name in ("conftest.py", "sitecustomize.py", "tests.py"):
        Path(name).write_text("open('RAN', 'w')")
    plugged("pass")
    assert intack(environment, "run", "-a", "mine:Mine", "-n", "0", "--clause", HELD, "--clause", ALONE).returncode == 0
    assert not Path("RAN").exists()


# Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_is_ended_before_its_time_says_so(environment: dict[str, str], number: int, workers: str) -> None:
    """To the one process that is known of it; and in every place that tells an exit status."""
    plugged("stop()")
    process = begun(environment, "-n", workers, "--clause", HELD, "--report", "r.json")
    ours = descendants(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "INCOMPLETE (exit status 130)" in out
    assert "PASS" not in out
    assert f"0 of 1 clauses judged; no verdict on {HELD} (exit status 130)" in err
    run = json.loads(Path("r.json").read_text())["run"]
    assert (run["exit_status"], run["complete"], run["ended"]) == (130, False, "interrupted")
    assert (run["asked"]["adapters"], run["asked"]["clauses"], run["missing"]) == (["mine:Mine"], [HELD], [HELD])
    assert not left(ours)


def test_a_whole_run_says_so(environment: dict[str, str]) -> None:
    intack(environment, "run", "-n", "0", "--clause", ALONE, "--profile", "strict", "--report", "r.json")
    run = json.loads(Path("r.json").read_text())["run"]
    assert (run["exit_status"], run["complete"], run["ended"]) == (0, True, "")
    assert run["asked"] == {
        "adapters": [],
        "profile": "strict",
        "clauses": [ALONE],
        "scenarios": [],
        "scenario_files": [],
        "draw": 0,
        "unbounded": False,
        "environments": [],
        "replay": "",
    }


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_call_that_hears_of_no_signal_can_be_ended(environment: dict[str, str], workers: str) -> None:
    """A second Ctrl-C does not ask."""
    plugged("blocks()")
    process = begun(environment, "-n", workers, "--clause", HELD)
    ours = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert not left(ours)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_nothing_is_left_of_a_command_that_is_killed(environment: dict[str, str], workers: str) -> None:
    plugged("stop()")
    process = begun(environment, "-n", workers, "--clause", HELD)
    ours = descendants(process.pid)
    process.kill()
    process.communicate(timeout=120)
    assert not left(ours)


# Standard streams


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (f"intack run -n 0 --clause {ALONE} | head -1", 0, ""),
        ("intack list clauses | true", 0, ""),
        ("intack --version >&-", 0, ""),
        ("intack --version <&- 2>&-", 0, ""),
        ("intack run --clause nothing 2>&-", 3, ""),
        ("intack run --clause nothing 2>&1 | true", 3, ""),
        (f"intack run -n 0 --clause {ALONE} >&- 2>&- --report r.json", 0, ""),
        ("intack list clauses > /dev/full", 4, "cannot write to standard output: no space left on device\n"),
        ("LC_ALL=C PYTHONIOENCODING=ascii intack list clauses > out", 0, ""),
        (
            "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 intack run -a mïne:Mine 2> e; s=$?; grep Traceback e >&2; exit $s",
            3,
            "",
        ),
        ("mkdir gone; cd gone; rmdir ../gone; intack list clauses", 3, "the working directory is not there any more"),
    ],
)
def test_standard_streams_are_no_verdict(environment: dict[str, str], line: str, status: int, said: str) -> None:
    done = shell(environment, line)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
