"""Pictures of both reports, for the README and the site: python docs/.site/pictures.py. Needs Chromium for the page's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from conformance.report.document import read
from conformance.report.terminal import show

IMAGES = Path(__file__).parent.parent / "images"
ASKED = ("-a", "known-bad:B17", "--scenario", "one-sender", "--clause", "E2E-*")
WIDTH = 112
FETCHED = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Rich names a font of the network: whoever has none sees another monospaced one."""
SIZE = {"width": 860, "height": 1000}


def terminal(report: Path) -> None:
    console = Console(record=True, file=StringIO(), width=WIDTH, force_terminal=True, color_system="standard")
    show(read(report), console)
    svg = console.export_svg(title=f"intack run {' '.join(ASKED[:4])}", theme=DIMMED_MONOKAI)
    (IMAGES / "terminal.svg").write_text(FETCHED.sub("", svg))


def page(report: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport=SIZE)
        opened.goto(report.as_uri())
        opened.wait_for_load_state()
        above = opened.locator(".broken").first.bounding_box()
        below = opened.locator("figure").first.bounding_box()
        assert above and below
        around = {"x": 0, "y": above["y"] - 12, "width": SIZE["width"]}
        around["height"] = below["y"] + below["height"] - around["y"] + 12
        opened.screenshot(path=IMAGES / "page.png", clip=around, full_page=True)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "report.json"), Path(folder, "report.html")
        told = [word for path in paths for word in ("--report", str(path))]
        subprocess.run([sys.executable, "-m", "conformance", "run", "-q", "-n", "0", *ASKED, *told])
        terminal(paths[0])
        page(paths[1])


if __name__ == "__main__":
    main()
