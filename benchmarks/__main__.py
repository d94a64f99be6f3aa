"""All benchmarks, or those named: python -m benchmarks [--write] [scenarios|spin|stateful|pir|litmus|native|predict ...]

With --write those that docs/benchmarks.md shows are written into it, with the command and today's date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from benchmarks import litmus, native, pir, predict, scenarios, spin, stateful

BENCHMARKS: dict[str, Callable[[], str | None]] = {
    "scenarios": scenarios.main,
    "spin": spin.main,
    "stateful": stateful.main,
    "pir": pir.main,
    "litmus": litmus.main,
    "native": native.main,
    "predict": predict.main,
}
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main(arguments: list[str]) -> None:
    names = [a for a in arguments if a != "--write"] or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}")
    for name in names:
        text = BENCHMARKS[name]()
        if text:
            print(f"\n{name}\n\n{text}", flush=True)
        if text and "--write" in arguments:
            show(name, text)


def show(name: str, text: str) -> None:
    """Between the marks of the page for this benchmark."""
    begin, end = f"<!-- benchmark: {name} -->", "<!-- end -->"
    command = f"`python -m benchmarks {name}`, {date.today()}:"
    section = f"{begin}\n\n{command}\n\n{text}\n\n{end}"
    PAGE.write_text(re.sub(f"{begin}.*?{end}", lambda _: section, PAGE.read_text(), count=1, flags=re.DOTALL))


main(sys.argv[1:])
