"""intack's engine: roles, adapters, exploration, verdicts and reports."""

__version__ = "0.1.0"
