"""What the register says of one known-bad implementation, and of one that must pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conformance.roles.role import BaseRole

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class KnownBad:
    """One wrong implementation, and where it shows."""

    id: str
    title: str
    cls: type[BaseRole]
    breaks: tuple[str, ...]
    """Guarantees that are VIOLATED, the one it is about first: those checked by interleaving in `scenario`, those
    checked as functions by a routine alone. Empty for those that deviate from a discipline and harm no
    guarantee.
    """
    deviates: tuple[str, ...]
    """Disciplines it is about: they DEVIATE in `scenario`, and do not where `base` is run unchanged. Others may too."""
    scenario: str
    """Where exploration finds it; empty if only a routine alone does."""
    source: str
    base: str = "reference"
    """The SPEC of what it is a change to."""
    memory: Literal["sc", "tso"] = "sc"
    """tso: found only where store buffers are modelled."""


@dataclass(frozen=True)
class MustPass:
    """A right implementation that looks different, or a right one against which something wrong was once asserted."""

    id: str
    title: str
    cls: type[BaseRole]
    source: str
    scenario: str = ""
    """Where the difference shows; empty: wherever it takes part."""
