"""docs/architecture.md says what is so: the files it names, the numbers it gives, and the order of packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from conformance.adapters.registry import resolve
from conformance.verdict.explore import explore
from properties.suite import SUITE

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_every_file_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:conformance|reference|properties|tests|docs)(?:/[\w./]+)?)`", PAGE))
    assert len(named) > 30
    assert not {path for path in named if not (ROOT / path).exists()}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert links and not {link for link in links if not (ROOT / "docs" / link).exists()}


def test_every_package_is_told_in_the_order_of_imports() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c["layers"] for c in lint["contracts"] if c.get("containers") == ["conformance"])
    table = PAGE[PAGE.index("| package |") : PAGE.index("**Imports**")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    told = re.findall(r"`conformance/(\w+)(?:\.py)?`", "".join(rows))
    assert told == layers[::-1]
    assert {p.name for p in (ROOT / "conformance").iterdir() if (p / "__init__.py").exists()} <= set(told)


def test_the_run_comes_to_what_it_says() -> None:
    scenario = next(s for s in SUITE.scenarios if s.name == "one-sender")
    found = explore(resolve("known-bad:B17"), scenario, SUITE)
    broken = found.counterexamples["E2E-11"]
    assert f"walks the {found.states} states" in PAGE
    assert f"{broken.switches} switches and {broken.steps} steps" in PAGE
    assert f"some {found.questions} questions" in PAGE
    assert resolve("known-bad:B17").roles.values() and "InterruptsOnAfterMode" in PAGE
