"""Pages to follow: their files are written, their commands run in order, and what they print is what the page shows.

`<!-- file: NAME -->` stands before the text of a file, `<!-- replace: NAME: OLD -> NEW -->` changes one, in a `console` block
`$` stands before a command; a line `...`, or one that ends
so, stands for whatever comes.

INTACK_GOLDEN=write pytest tests/test_tutorial.py      rewrites outputs that have no `...`
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = (
    "tutorial.md",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("device-model.md", "kernel-patch.md", "adding.md")),
)
PART = re.compile(
    r"<!-- file: (\S+) -->\n\n```\w+\n(.*?)^```$"
    r"|<!-- replace: (\S+): (.*?) -> (.*?) -->$"
    r"|^```console\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("INTACK_NO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command with what it should print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def printed(command: str) -> str:
    """What it prints: standard output, or if there is nothing, what was wrong."""
    words = shlex.split(command)
    if words[0] == "cd":
        os.chdir(words[1])
        return ""
    assert words[0] == "intack", command
    more = ["-n", "0"] if words[1] == "run" else []
    ran = subprocess.run([sys.executable, "-m", "conformance", *words[1:], *more], capture_output=True, text=True)
    return ran.stdout or ran.stderr


def fits(output: str, shown: str) -> bool:
    """`...` alone is any lines; at the end of a line, the rest of it."""
    lines = [
        r"(?:.*\n)*?" if line == "..." else re.escape(line.removesuffix("...")) + ".*" * line.endswith("...") + r"\n"
        for line in shown.splitlines()
    ]
    return re.fullmatch("".join(lines), output) is not None


def trimmed(output: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())


@pytest.mark.parametrize("name", PAGES)
def test_what_the_page_shows_is_what_happens(name: str, folder: Path) -> None:
    page = DOCS / name
    text = page.read_text()
    for found in PART.finditer(text):
        file, content, changed, old, new, block = found.groups()
        if file:
            Path(file).write_text(content)
            continue
        if changed:
            assert Path(changed).read_text().count(old) == 1
            Path(changed).write_text(Path(changed).read_text().replace(old, new))
            continue
        if any("native:" in command for command, _ in commands(block)) and not shutil.which("gcc"):
            pytest.skip("gcc is not installed")
        for command, shown in commands(block):
            output = trimmed(printed(command))
            if os.environ.get("INTACK_GOLDEN") == "write" and "..." not in shown:
                page.write_text(page.read_text().replace(f"$ {command}\n{shown}", f"$ {command}\n{output}", 1))
                continue
            assert fits(output, shown), f"{command}\nprints\n{output}"
