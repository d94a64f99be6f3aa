"""Where a report is written to: what was there is never destroyed but by the whole report."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny_suite
from tiny_suite import ALONE

from conformance.report import document, formats
from conformance.verdict import output
from conformance.verdict.session import BadInput, writable

REPORT = document.report([])
COMMAND = f"{sys.executable} -m conformance run -n 0 --clause {ALONE}"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **tiny_suite.installed(folder / "installed")}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=folder, env=environment, timeout=300
    )


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.json").symlink_to("elsewhere/r.json")
    for _ in range(2):  # what it leads to is made, and then replaced
        formats.write(tmp_path / "link.json", REPORT)
        assert (tmp_path / "link.json").is_symlink()
        assert document.read(tmp_path / "elsewhere/r.json") == REPORT
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["r.json"]


def test_what_is_read_only_is_refused_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("mine")
    path.chmod(0o444)
    with pytest.raises(BadInput, match="it is read-only"):
        writable(str(path))
    with pytest.raises(document.ReportError, match="it is read-only"):
        formats.write(path, REPORT)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_permissions_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "r.json"
    path.touch()
    path.chmod(mode)
    formats.write(path, REPORT)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    formats.write(path, REPORT)
    reader.join()
    assert json.loads(read[0])["clauses"] == []
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "a" * 251 + ".json", "no\0such.json", "loop.json"])
def test_names_that_are_refused_are_refused_beforehand(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.json").symlink_to("loop.json")
    path = tmp_path / name
    if len(name) == 255:
        formats.write(writable(str(path)), REPORT)
        assert document.read(path) == REPORT
        return
    with pytest.raises(BadInput, match="cannot write the report to"):
        writable(str(path))
    with pytest.raises(document.ReportError, match="cannot write the report to"):
        formats.write(path, REPORT)
    assert [p.name for p in tmp_path.iterdir()] == ["loop.json"]


def test_half_of_it_is_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text("before")
    monkeypatch.setattr(output.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(document.ReportError, match="no space left"):
        formats.write(path, REPORT)
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output(tmp_path: Path, name: str) -> None:
    """`-` leaves it to the report alone."""
    done = shell(f"{COMMAND} --report {name} > out; cat out", tmp_path)
    text = done.stdout if name == "-" else done.stdout[: done.stdout.index("\n}\n") + 2]
    assert json.loads(text)["run"]["exit_status"] == 0
    assert "PASS (exit status 0)" in (done.stderr if name == "-" else done.stdout)
    assert done.returncode == 0


def test_a_report_that_cannot_be_written_costs_no_verdict(tmp_path: Path) -> None:
    done = shell(f"{COMMAND} --report /dev/full", tmp_path)
    assert done.returncode == 4
    assert "cannot write the report to /dev/full: no space left on device" in done.stderr
    assert "PASS" in done.stdout
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
