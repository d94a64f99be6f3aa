"""intack's engine: roles, adapters, exploration, verdicts and reports."""

import time

__version__ = "0.1.0"

LOADED = time.time()
"""When this process began to load it: of a file that has changed since, nobody knows what of it runs."""
