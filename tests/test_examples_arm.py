"""Arm's examples, an injector in C and one in Python over the pipe: what `intack new` writes, and found when a line is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.adapters.registry import resolve
from conformance.commands.main import cli
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {"c": ("c/vgic.c", "c/vgic.toml"), "pipe": ("pipe/vgic.py",)}
SPECS = {"c": "native:vgic.toml", "pipe": "exec:python3 vgic.py"}
REQUEST = {
    "c": "    atomic_fetch_or(&v->requests, IRQ_PENDING);\n",
    "pipe": """    yield {"op": "rmw", "at": f"{vcpu}.requests", "how": "or", "value": IRQ_PENDING}\n""",
}
"""What an entry that is on its way looks at."""


def judged(language: str, folder: Path, monkeypatch: pytest.MonkeyPatch, without: str = "") -> Explored:
    if language == "c" and shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    for file in FILES[language]:
        text = (EXAMPLES / file).read_text()
        (folder / Path(file).name).write_text(text.replace(without, "") if without else text)
    monkeypatch.chdir(folder)
    (scenario,) = (s for s in SUITE.scenarios if s.name == "vgic-wfi-in-the-guest")
    return explore(resolve(SPECS[language]), scenario, SUITE)


@pytest.mark.parametrize("language", FILES)
def test_it_is_what_new_writes(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = ["new", "vgic", "--lang", language, "--arch", "arm", "--role", "injector"]
    assert CliRunner().invoke(cli, told).exit_code == 0
    for file in FILES[language]:
        assert (EXAMPLES / file).read_text() == (tmp_path / "vgic" / Path(file).name).read_text()


@pytest.mark.parametrize("language", FILES)
def test_it_passes(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(language, tmp_path, monkeypatch)
    assert not found.fault and found.complete and not found.counterexamples


@pytest.mark.parametrize("language", FILES)
def test_without_the_request_a_vcpu_sleeps_on(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (EXAMPLES / FILES[language][0]).read_text().count(REQUEST[language]) == 1
    found = judged(language, tmp_path, monkeypatch, without=REQUEST[language])
    assert "VGIC-EDGE-1" in found.counterexamples
