"""The kernel's own source commit by commit: a repository made here of a release, a fix undone in it, and made again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conformance.adapters import git
from conformance.adapters.native import NativeError
from conformance.commands.history import History
from conformance.commands.main import cli
from reference.linux.program import Edit, edited, taken
from reference.linux.slice import CFile
from reference.linux.tree import PACKAGES, tree_of
from reference.linux.x86 import parts_of
from reference.linux.x86.undone import UNDONE

NEW = "linux-source-6.12"
POSTED, VMX = "arch/x86/kvm/vmx/posted_intr.c", "arch/x86/kvm/vmx/vmx.c"
SCENARIO = "--scenario=preempt-running"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Without a commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    run(tmp_path, "init", "-q", "-b", "main")
    return tmp_path


@pytest.fixture
def linux(repository: Path) -> Path:
    """With a first commit, tagged: what is taken of 6.12."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    if not (PACKAGES / f"{NEW}.tar.xz").exists():
        pytest.skip(f"no kernel source is installed: apt-get install {NEW}")
    tree = tree_of(NEW)
    for file in taken("linux-x86", NEW, "", parts_of).taken:
        write(repository, file, tree.read(file))
    commit(repository, "6.12")
    run(repository, "tag", "first")
    return repository


def run(repository: Path, *arguments: str) -> None:
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repository), *who, *arguments], check=True, capture_output=True)


def write(repository: Path, file: str, text: str) -> None:
    (repository / file).parent.mkdir(parents=True, exist_ok=True)
    (repository / file).write_text(text, errors="surrogateescape")


def commit(repository: Path, subject: str) -> None:
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", subject)


def edit(repository: Path, file: str, *edits: Edit) -> None:
    text = CFile(file, (repository / file).read_text(errors="surrogateescape"))
    for one in edits:
        text = edited(text, one)
    write(repository, file, text.text)


def history(repository: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["linux", str(repository), "--history", "--arch=x86", "-n0", SCENARIO, *options])


def table(told: str) -> dict[str, str]:
    """The marks of each commit, by its subject."""
    rows = re.findall(r"^[0-9a-f]{12} ([X+?.\s-]*) (\S.*?)(?:  \(the same code\))?$", told, re.MULTILINE)
    return {subject: "".join(marks.split()) for marks, subject in rows}


def test_a_commit_is_read_and_not_checked_out(repository: Path) -> None:
    write(repository, "Makefile", "VERSION = 6\nPATCHLEVEL = 13\n")
    commit(repository, "One")
    write(repository, "Makefile", "VERSION = 6\nPATCHLEVEL = 14\n")
    write(repository, "virt/a.c", "")
    commit(repository, "Two")
    write(repository, "Makefile", "not committed\n")
    tree = tree_of(f"{repository}@HEAD^")
    assert tree.release == "6.13" and not tree.has("virt/a.c") and tree_of(f"{repository}@main").release == "6.14"
    with pytest.raises(NativeError, match=r"commit [0-9a-f]{12} of .* has no virt/a.c"):
        tree.read("virt/a.c")
    assert [one.subject for one in git.commits(repository, "HEAD^", "HEAD", ["virt/a.c", "Makefile"])] == ["Two"]
    assert [one.subject for one in git.commits(repository, "", "HEAD", ["Makefile"])] == ["One", "Two"]


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", "HEAD"])
def test_what_is_no_commit_is_told(repository: Path, revision: str) -> None:
    with pytest.raises(NativeError, match=f"is no git repository, or has no commit {revision}"):
        tree_of(f"{repository}@{revision}")
    told = history(repository, f"--since={revision}")
    assert "has no commit" in told.output


def test_a_fix_undone_and_made_again_shows_in_two_commits(
    linux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (undone,) = (one for one in UNDONE if one.name == "c112b5f50232")
    before = (linux / POSTED).read_text()
    write(linux, VMX, (linux / VMX).read_text() + "\n/* At the end, where nothing is taken. */\n")
    commit(linux, "A comment")
    edit(linux, POSTED, *undone.edits)
    commit(linux, "Fix undone")
    write(linux, "Makefile", "VERSION = 6\n")
    commit(linux, "Elsewhere")
    edit(linux, POSTED, Edit("vmx_vcpu_pi_load", "!enable_apicv", "!no_such_thing"))
    commit(linux, "Broken")
    write(linux, POSTED, before)
    commit(linux, "Made again")
    (linux / POSTED).write_text("what lies in the folder is not looked at")

    report = linux / "report.json"
    told = history(linux, "--since=first", f"--report={report}", f"--report={linux / 'report.html'}")
    marks = table(told.output)
    assert list(marks) == ["6.12", "A comment", "Fix undone", "Broken", "Made again"], told.output
    assert (
        "X" in marks["Fix undone"] and set(marks["6.12"]) == {"+"} == set(marks["Made again"]) and not marks["Broken"]
    )
    assert re.search(r"A comment  \(the same code\)", told.output) and told.output.count("the same code") == 1
    assert re.search(r"cannot be judged: .*posted_intr.c:\d+:\d+: error: .no_such_thing. undeclared", told.output)

    document = json.loads(report.read_text())
    assert len(document["run"]["implementations"]) == 5
    by_commit: dict[str, set[str]] = {}
    for row in document["clauses"]:
        by_commit.setdefault(row["implementation"], set()).add(row["status"])
    assert ["VIOLATED" in by_commit.get(name, set()) for name in document["run"]["implementations"]] == [
        *(False, False),
        *(True, False, False),
    ]
    assert all(name in (linux / "report.html").read_text() for name in document["run"]["implementations"])


def test_a_history_goes_by_commits(repository: Path) -> None:
    assert History(()).text("x86") == "x86: no commit touches what is taken of the tree.\n"
    for wrong in ("--patch=a.patch", "--against=other"):
        assert "give no --patch or --against" in history(repository, wrong).output
    told = CliRunner().invoke(cli, ["linux", str(repository), "--since=HEAD"])
    assert "--since is for --history" in told.output
