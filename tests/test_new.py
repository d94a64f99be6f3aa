"""`intack new`: each role begins with code that passes, and says what it cannot begin with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.adapters.native.build import compiler_for
from conformance.adapters.registry import resolve, routines_of
from conformance.commands.main import cli
from conformance.commands.scaffold import LANGUAGES
from conformance.roles import architectures
from conformance.verdict.explore import explore
from properties.arm.scenarios import GOLDEN as ARM
from properties.nested.scenarios import GOLDEN as NESTED
from properties.suite import SUITE
from properties.x86.scenarios import GOLDEN as X86

STATES = {**X86, **ARM, **NESTED}
ROLES = [(architecture, role) for architecture, known in architectures().items() for role in known.roles]
QUICK = {
    "x86": ("one-sender", "one-device", "save-restore", "halt-in-the-guest"),
    "arm": ("vgic-active-registers", "vgic-handler", "gicv4.1-closed-wfi"),
    "nested": ("nested-silent", "nested-own", "requests"),
}
"""Small ones, of which a role is tried in the first that calls it."""


def needs(language: str) -> None:
    tool = {"c": "gcc", "c++": "g++", "rust": compiler_for(".rs", "")}.get(language)
    if tool and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def made(language: str, architecture: str, role: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The SPEC of a new implementation, from within its folder."""
    needs(language)
    name = f"{architecture}_{role}_{LANGUAGES[language]}"
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(cli, ["new", name, "--lang", language, "--role", role, "--arch", architecture])
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(folder / name)
    (line,) = (line for line in done.output.splitlines() if line.startswith("Next: "))
    return line.partition("smoke -a ")[2].partition(" && ")[0].strip("'")


def judged(spec: str, architecture: str, role: str) -> float:
    """Nothing is broken in a small scenario that calls the role. Answers its states, by those of the reference."""
    called = set(routines_of(architectures()[architecture].roles[role]))
    small = [s for name in QUICK[architecture] for s in SUITE.scenarios if s.name == name]
    scenario = next((s for s in small if called & s.calls), small[0])
    found = explore(resolve(spec), scenario, SUITE)
    assert not found.fault and not found.counterexamples
    assert found.complete
    return found.states / STATES[scenario.name]


@pytest.mark.parametrize(("architecture", "role"), ROLES)
def test_a_role_in_python_does_what_the_reference_does(
    architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made("python", architecture, role, tmp_path, monkeypatch)
    smoke = CliRunner().invoke(cli, ["smoke", "-a", spec], standalone_mode=False)
    assert smoke.return_value == 0, smoke.output
    assert judged(spec, architecture, role) == 1
    (source,) = Path.cwd().glob("*.py")
    assert max(len(line) for line in source.read_text().splitlines()) <= 140
    assert "mirrors" not in source.read_text() and "NotImplementedError" not in source.read_text()


IN_C = [(architecture, role) for architecture, role in ROLES if architecture != "nested" and role != "sender"]
"""As one file: x86's sender is an example, for it shows how a role is begun."""


SHORT = (("x86", "iommu"), ("arm", "injector"))
"""To compile takes a second or two."""


@pytest.mark.parametrize(
    ("architecture", "role"),
    [pytest.param(*role, marks=() if role in SHORT else pytest.mark.slow) for role in IN_C],
)
def test_a_role_in_c_does_what_the_reference_does(
    architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made("c", architecture, role, tmp_path, monkeypatch)
    assert 0.9 < judged(spec, architecture, role) < 1.1  # a lock that nobody contends for is taken in steps of its own


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_nothing_to_a_first_answer_and_a_verdict(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made(language, "x86", "sender", tmp_path, monkeypatch)
    assert 8 <= len(Path("README.md").read_text().splitlines()) <= 11
    smoke = CliRunner().invoke(cli, ["smoke", "-a", spec], standalone_mode=False)
    assert smoke.return_value == 0, smoke.output
    assert "or vcpu0.PIR[200] 1" in smoke.output and "returned after 4 operations" in smoke.output
    assert "asked again in another process: the same answers" in smoke.output
    judged(spec, "x86", "sender")


@pytest.mark.parametrize(("language", "role"), [("c++", "processor"), ("rust", "processor"), ("pipe", "iommu")])
def test_what_is_not_written_yet_says_so(
    language: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made(language, "x86", role, tmp_path, monkeypatch)
    smoke = CliRunner().invoke(cli, ["smoke", "-a", spec], standalone_mode=False)
    assert smoke.return_value == 2, smoke.output
    said = " ".join(smoke.output.split())  # it is wrapped to the terminal's width
    assert "is not written yet" in said and "Not all of it works" in said


def test_what_it_cannot_begin_with(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    other = str(tmp_path / "other")
    for arguments, message in (
        ([str(tmp_path / "mine"), "--lang", "c"], "is not empty"),
        ([str(tmp_path / "Not A Name"), "--lang", "c"], "cannot name a program"),
        ([other, "--lang", "c", "--role", "sendr"], "no role is called 'sendr'; there are: "),
        ([other, "--lang", "c", "--role", "run_loop"], "have a role run_loop: say which with --arch"),
        (
            [other, "--lang", "rust", "--role", "its"],
            "has no its in rust to begin with yet: python, c and pipe can be had",
        ),
    ):
        done = CliRunner().invoke(cli, ["new", *arguments])
        assert done.exit_code and message in " ".join(done.output.split())


@pytest.mark.parametrize(("architecture", "role"), [("", "sender"), ("x86", "sender"), ("arm", "injector")])
def test_who_posts_where_no_role_is_named(
    architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["new", "mine", "--lang", "c", *(["--arch", architecture] if architecture else [])])
    assert done.exit_code == 0, done.output
    assert f"Fills the role `{role}`" in (tmp_path / "mine" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "architecture", "role"),
    [*(("python", *role) for role in ROLES), *(("c", *role) for role in IN_C), ("c", "x86", "sender")],
)
def test_all_of_it_passes(
    language: str, architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made(language, architecture, role, tmp_path, monkeypatch)
    ran = CliRunner().invoke(cli, ["run", "-q", "-n", "0", "-a", spec], standalone_mode=False)
    assert ran.return_value == 0, ran.output
