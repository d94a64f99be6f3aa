"""Where the tool keeps things between runs: one directory of the user's, with a folder for each kind.

<cache>/intack/native     programs that were built
              /results    what was found out about implementations
              /judged     what was judged last, by folder
              /linux-*    sources of Linux, unpacked
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def user_cache() -> Path:
    """It need not exist, nor be one that can be made. XDG_CACHE_HOME moves it, on Linux."""
    return user_cache_path("intack")
