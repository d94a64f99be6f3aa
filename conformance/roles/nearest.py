"""What somebody may have meant who wrote a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], most: int = 10) -> str:
    """Did you mean a or b? If nothing is near, what there is: at most so many names."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, names, n=3)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There are: {', '.join(names[:most]) or 'none'}{', ...' * (len(names) > most)}."
