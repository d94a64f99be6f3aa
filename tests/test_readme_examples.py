"""Every command that the README and its pages tell is run as it stands; what would take long is told to look at less."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.commands.main import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PLUGGING = (ROOT / "docs" / "plugging.md").read_text()
PAGES = [README, PLUGGING, (ROOT / "docs" / "commands.md").read_text()]
BLOCKS = [block for page in PAGES for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
LINES = [re.split(r"  +#", line)[0].strip() for block in BLOCKS for line in block.splitlines()]
TOLD = [part.strip() for line in LINES for part in line.split("&&") if part.strip().startswith("intack ")]
COMMANDS = list(dict.fromkeys(told.replace(w, one) for told in TOLD for w in [told.split()[2]] for one in w.split("|")))
NATIVE = [command for command in COMMANDS if "mine.toml" in command or "scanner.c" in command or " new " in command]
"""These begin with code in C: tests/test_described.py and tests/test_scanner.py."""
KERNEL = [command for command in COMMANDS if command.startswith("intack linux ")]
"""These need a kernel's source and a patch to it: tests/test_linux.py."""
CLUSTER = [command for command in COMMANDS if "--cluster" in command]
"""These need a scheduler: tests/test_cluster.py."""

SHORTER = {
    "intack run": ["--scenario", "one-sender", "-n", "0"],
    "intack run -a known-bad:A19": ["--scenario", "vgic-late-maintenance", "-n", "0"],
    "intack run -a known-bad:B22a": ["--scenario", "one-device", "-n", "0"],
    "intack run -a mine.model:Sender --scenario": ["-n", "0", "--clause", "E2E-1"],
    "intack hunt": ["--minutes", "0.01", "--states", "2000"],
    "intack mutate": ["--scenario", "one-sender", "-n", "0"],
    "intack fences": ["--scenario", "tso-running", "--no-witness"],
    "intack litmus": ["--seconds", "5"],
    "intack order": ["--scenario", "one-sender"],
    "intack crowds": ["-s", "any-handlers", "--no-witness"],
}
"""By the beginning of a command, the longest that fits."""
VIOLATES = ("known-bad", "mine.model")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder, with the plug-in of docs/plugging.md as mine.model:Sender."""
    plugin = re.search(r"^```python\n(.*?)^```", PLUGGING, re.MULTILINE | re.DOTALL)
    assert plugin
    text = (
        plugin[1]
        .replace("import PINV, Sender", "import PINV, Sender as Role")
        .replace("MySender(Sender)", "Sender(Role)")
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").write_text(text)
    (tmp_path / "mine" / "scanner.py").write_text(
        "from reference.pir.harvest import harvest_many\n\n\ndef scan(pir, virr, on):\n    return harvest_many(pir, virr, on)\n"
    )
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n == "mine" or n.startswith("mine.")]:
        monkeypatch.delitem(sys.modules, name)


def words(command: str) -> list[str]:
    fits = [beginning for beginning in SHORTER if command.startswith(beginning)]
    return [*shlex.split(command)[1:], *SHORTER.get(max(fits, key=len, default=""), [])]


def test_there_are_many() -> None:
    assert len(COMMANDS) > 18 and len(NATIVE) >= 4


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c not in (*NATIVE, *KERNEL, *CLUSTER) and " replay " not in c]
)
def test_a_command_of_the_readme_does_what_it_says(command: str) -> None:
    ran = CliRunner().invoke(cli, words(command), standalone_mode=False)
    assert ran.exception is None, (ran.output, ran.exception)
    judges = command.split()[1] == "run"
    assert ran.return_value in ((1, 2) if judges and any(v in command for v in VIOLATES) else (None, 0, 1, 2)), (
        ran.output
    )
