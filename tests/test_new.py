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


def judged(spec: str, architecture: str, role: str) -> None:
    """In a small scenario it does what the reference does, to the number of states."""
    called = set(routines_of(architectures()[architecture].roles[role]))
    small = [s for name in QUICK[architecture] for s in SUITE.scenarios if s.name == name]
    scenario = next((s for s in small if called & s.calls), small[0])
    found = explore(resolve(spec), scenario, SUITE)
    assert not found.fault and not found.counterexamples
    assert found.states == STATES[scenario.name]


@pytest.mark.parametrize(("architecture", "role"), ROLES)
def test_a_role_in_python_does_what_the_reference_does(
    architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made("python", architecture, role, tmp_path, monkeypatch)
    smoke = CliRunner().invoke(cli, ["smoke", "-a", spec], standalone_mode=False)
    assert smoke.return_value == 0, smoke.output
    judged(spec, architecture, role)
    (source,) = Path.cwd().glob("*.py")
    assert max(len(line) for line in source.read_text().splitlines()) <= 140
    assert "mirrors" not in source.read_text() and "NotImplementedError" not in source.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "role"), ROLES)
def test_all_of_it_passes(architecture: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = made("python", architecture, role, tmp_path, monkeypatch)
    ran = CliRunner().invoke(cli, ["run", "-q", "-n", "0", "-a", spec], standalone_mode=False)
    assert ran.return_value == 0, ran.output
