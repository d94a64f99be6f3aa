"""The page about the proposal to count generations is what its command writes, but for the times."""

from __future__ import annotations

import re
from pathlib import Path

from properties.generation_count import page

PAGE = Path(__file__).parent.parent / "docs" / "generation-count.md"
TOOK = re.compile(r"\d+\.\d s\.$", re.MULTILINE)


def test_the_page_is_current() -> None:
    text = "\n".join(page()) + "\n"
    assert len(TOOK.findall(text)) == 5, "each schedule with the time it took"
    assert TOOK.sub("", PAGE.read_text()) == TOOK.sub("", text), (
        "python -m properties.generation_count > docs/generation-count.md"
    )
