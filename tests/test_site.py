"""The pages as a site: every one is in the navigation, and where mkdocs is installed it builds, and asks nothing of a network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"^ +- (\S+\.md)$", re.MULTILINE)
FETCHED = re.compile(
    rb"""(?:<link[^>]+href|src)=["']?https?://[^"'> ]+|url\(["']?https?://[^)]+|@import[^;]+https?:[^;]+"""
)
"""What a browser would fetch: not the links that a reader may follow."""


def test_the_navigation_names_every_page() -> None:
    named = NAMED.findall((ROOT / "mkdocs.yml").read_text())
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    assert sorted(named) == pages, "a page of docs/ stands once in the nav of mkdocs.yml"


def test_pictures_are_small_and_fetch_nothing() -> None:
    pictures = [*(ROOT / "docs" / "images").glob("*.svg"), *(ROOT / "docs" / "images").glob("*.png")]
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.stat().st_size < 150_000, picture.name
        assert not FETCHED.search(picture.read_bytes()), picture.name


def test_it_builds(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'intack[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {m[0] for page in tmp_path.rglob("*.html") for m in FETCHED.finditer(page.read_bytes())}
    found |= {m[0] for page in tmp_path.rglob("*.css") for m in FETCHED.finditer(page.read_bytes())}
    assert not found
    assert (tmp_path / "source/examples/c/vgic.c.txt").read_text() == (ROOT / "examples/c/vgic.c").read_text()
