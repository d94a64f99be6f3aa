"""A kernel's own source as what is judged: for each architecture an entry point says what it takes of a tree.

entry point "intack.kernels": name of the architecture = a function of a tree and a patch (or "") to a Kernel
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from conformance.roles.registered import load, registered

GROUP = "intack.kernels"


@dataclass(frozen=True)
class Kernel:
    """What is taken of a tree, and what stands in for the rest."""

    spec: str
    """The SPEC that plugs it in."""
    release: str
    taken: Mapping[str, Sequence[str]]
    """File to the functions that are cut out of it; none: the whole file."""
    lines: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """With a patch: file to the lines that it adds or changes, or that come after what it deletes."""
    touched: Sequence[str] = ()
    """With a patch: the functions taken that it changes."""
    elsewhere: Sequence[str] = ()
    """With a patch: files that it changes and that are not taken."""


Take = Callable[[str, str], Kernel]
"""Of a tree and a patch, or "". Raises AdapterError."""


def kernels() -> dict[str, Take]:
    """By architecture. Raises RegistrationError."""
    return {name: load(entry) for name, entry in registered(GROUP).items()}
