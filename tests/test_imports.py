"""Which way imports go: the contracts of pyproject.toml, checked by import-linter."""

from __future__ import annotations

from pathlib import Path

import pytest

linter = pytest.importorskip("importlinter.cli", reason="the extra dev brings import-linter")

UPSIDE_DOWN = """\
[importlinter]
root_package = conformance

[importlinter:contract:upside-down]
name = upside down
type = layers
layers =
    conformance.roles
    conformance.adapters
"""


def test_imports_go_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert linter.lint_imports(config_filename="pyproject.toml", cache_dir=None) == linter.EXIT_STATUS_SUCCESS


def test_an_arrow_that_runs_up_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "contracts.ini"
    config.write_text(UPSIDE_DOWN)
    assert linter.lint_imports(config_filename=str(config), cache_dir=None) == linter.EXIT_STATUS_ERROR
    assert "conformance.adapters.registry -> conformance.roles" in capsys.readouterr().out
