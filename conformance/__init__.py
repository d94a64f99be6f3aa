"""intack's engine: roles, adapters, exploration, verdicts and reports."""

import time

__version__ = "0.1.0"

PACKAGES = ("conformance", "reference", "properties")
"""Those that ship together. A folder of the user's with such a name would shadow one."""

LOADED = time.time()
"""When this process began to load it: of a file that has changed since, nobody knows what of it runs."""
