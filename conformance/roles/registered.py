"""What installed packages register under a group of entry points: architectures, adapters, suites."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class RegistrationError(Exception):
    """A registered name leads nowhere. The message says which, and of what."""


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group in the order of their names; of two with one name the first on the path counts."""
    return dict(_registered(group, tuple(sys.path)))


@cache
def _registered(group: str, _path: tuple[str, ...]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):  # reads a file of every installed package
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


def load(entry: EntryPoint) -> Any:
    """What an entry point names. Raises RegistrationError."""
    try:
        return entry.load()
    except Exception as error:
        raise RegistrationError(
            f"{entry.name}, registered as {entry.value} in the entry points {entry.group}, does not load: {error!r}"
        ) from error
