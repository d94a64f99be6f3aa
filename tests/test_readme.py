"""The README and the page about counterexamples show what the suite prints today.

INTACK_GOLDEN=write pytest tests/test_readme.py      rewrites the shown counterexamples
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from textwrap import fill

import pytest

from conformance.adapters.registry import descriptions, resolve
from conformance.report.lanes import lane_table, plain
from conformance.report.reason import why
from conformance.verdict.explore import explore
from conformance.verdict.suite import load_suite

ROOT = Path(__file__).parent.parent
PAGES = {ROOT / "README.md": 1, ROOT / "docs" / "counterexamples.md": 2}
"""How many each shows."""
DEMO = re.compile(r"<!-- demo: (\S+) (\S+) (\S+) -->\n.*?<!-- end -->", re.DOTALL)
SUITE = load_suite()
WIDTH = 104


def demo(shown: re.Match[str]) -> str:
    """One counterexample as the report lays it out, without its replay line."""
    spec, clause, name = shown.groups()
    scenario = next(s for s in SUITE.scenarios if s.name == name)
    found = explore(resolve(spec), scenario, SUITE).counterexamples[clause]
    statement = next(c.statement for c in SUITE.clauses if c.id == clause)
    first = f"VIOLATED ({found.recovery})  {clause}  {statement}"
    table = plain(lane_table(found, clause, width=WIDTH)).rstrip()
    text = "\n".join([fill(first, WIDTH), "", table, "", *(fill(sentence, WIDTH) for sentence in why(found).sentences)])
    return f"<!-- demo: {spec} {clause} {name} -->\n\n```\n{text}\n```\n\n<!-- end -->"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_counterexamples_are_what_the_suite_finds(page: Path) -> None:
    text = page.read_text()
    assert len(DEMO.findall(text)) == PAGES[page]
    current = DEMO.sub(demo, text)
    if os.environ.get("INTACK_GOLDEN") == "write":
        page.write_text(current)
    assert page.read_text() == current


def test_every_adapter_is_in_the_table() -> None:
    text = (ROOT / "docs" / "plugging.md").read_text()
    assert all(f"`{name}" in text for name in descriptions())


def test_the_commands_it_tells_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "dev" in project["optional-dependencies"]
    assert project["scripts"] == {"intack": "conformance.commands.main:main"}
