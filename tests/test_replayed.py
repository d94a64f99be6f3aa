"""A replay string is pasted from a bug report: what it runs is shown, and asked for; what it holds is bounded."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
import tiny_suite
from tiny_suite import HELD, SUITE

from conformance.search.replay import LONGEST, VERSION, Replay, ReplayError, _checksum, decode, scenario_hash
from conformance.verdict.unasked import KEPT, remember, unasked

RESET = next(s for s in SUITE.scenarios if s.name == "reset")


def string(raw: bytes) -> str:
    body = base64.urlsafe_b64encode(zlib.compress(raw, 9)).decode().rstrip("=")
    return f"{VERSION}.{body}.{_checksum(body)}"


def naming(implementation: str) -> str:
    """A string that fits the tiny suite in everything."""
    return string(msgspec.json.encode(Replay(implementation, "kvm", "reset", HELD, scenario_hash(RESET), ())))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {**os.environ, **tiny_suite.installed(tmp_path / "installed")}


def intack(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=300
    )


@pytest.mark.parametrize("spec", ["exec:touch PWNED", "mine:Mine", "native:mine.toml", "exec:touch\x1b[2J PWNED"])
def test_nothing_runs_unasked(environment: dict[str, str], spec: str) -> None:
    Path("mine.py").write_text("open('PWNED', 'w')")
    Path("mine.toml").write_text('sources=["a.c"]\ncommand="touch PWNED"\nroutines={wakeup="w"}\nobjects={}\n')
    done = intack(environment, "replay", naming(spec))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"would run what is not installed, and was not judged last in this folder: {spec!a}" in done.stderr
    assert not Path("PWNED").exists()
    plugin = [sys.executable, "-m", "pytest", "--pyargs", "properties", f"--intack-replay={naming(spec)}"]
    assert subprocess.run(plugin, capture_output=True, env=environment, timeout=300).returncode == 4
    assert not Path("PWNED").exists()


def test_what_was_judged_here_last_runs(environment: dict[str, str]) -> None:
    Path("mine.py").write_text("from reference.x86.kvm import Kvm\nclass Mine(Kvm): pass\nclass Other(Kvm): pass\n")
    assert intack(environment, "run", "-a", "mine:Mine", "-n", "0", "--clause", HELD).returncode == 0
    assert "FIXED" in intack(environment, "replay", naming("mine:Mine")).stdout
    assert intack(environment, "replay", naming("mine:Other")).returncode == 3
    assert "FIXED" in intack(environment, "replay", "-a", "mine:Other", naming("mine:Other")).stdout
    assert "FIXED" in intack(environment, "replay", naming("mine:Other")).stdout


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 130)])
def test_on_a_terminal_it_is_asked(environment: dict[str, str], answer: str, status: int) -> None:
    Path("mine.py").write_text("open('ran', 'w')\nfrom reference.x86.kvm import Kvm\nclass Mine(Kvm): pass\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "conformance", "replay", naming("mine:Mine")]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    _, err = process.communicate(timeout=300)
    os.close(ours)
    assert b"This replay string runs 'mine:Mine'. Run it? [y/N]" in err
    assert process.returncode == status
    assert Path("ran").exists() == (answer == "y")


def test_what_is_installed_runs(environment: dict[str, str]) -> None:
    assert unasked("reference") and unasked("xen") and unasked("known-bad:B17")
    assert not unasked("native:a.toml") and not unasked("exec:") and not unasked("mine:Mine")


def test_no_more_is_remembered_than_needed(environment: dict[str, str], tmp_path: Path) -> None:
    for n in range(KEPT + 5):
        folder = tmp_path / str(n)
        folder.mkdir()
        os.chdir(folder)
        remember("mine:Mine")
    assert unasked("mine:Mine")
    assert len(list((tmp_path / "cache/intack/judged").iterdir())) == KEPT


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (string(b"0" * (LONGEST + 1)), "unpacks to more than 4 MiB"),
        (string(b"[" * 100_000), "damaged"),
        (string(b'{"steps":' + b"[" * 100_000), "damaged"),
        (string(b"\xff\xfe"), "damaged"),
        ("", "this is no replay string"),
    ],
)
def test_what_it_holds_is_bounded(made: str, says: str) -> None:
    with pytest.raises(ReplayError, match=says):
        decode(made)
