"""docs/reference.md: what the routines of the reference and of its alternatives mirror, and what differs on purpose.

python -m reference.page > docs/reference.md
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import reference
from conformance.roles.mirrors import Difference, originals
from conformance.roles.role import BaseRole

FAMILIES = (
    "reference.x86",
    "reference.nested",
    "reference.arm",
    "reference.alternatives.x86",
    "reference.alternatives.nested",
    "reference.alternatives.arm",
)
ROOT = Path(reference.__file__).parent.parent


def modules() -> Iterator[ModuleType]:
    """Those that have implementations, in the order of the page."""
    for family in FAMILIES:
        for found in pkgutil.iter_modules(importlib.import_module(family).__path__, f"{family}."):
            module = importlib.import_module(found.name)
            if any(_routines(module)):
                yield module


def implementations(module: ModuleType) -> list[type[BaseRole]]:
    """The classes that are written there."""
    classes = [member for member in vars(module).values() if inspect.isclass(member)]
    return [cls for cls in classes if issubclass(cls, BaseRole) and cls.__module__ == module.__name__]


def _routines(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The routines and parts of routines that are written there: whatever runs on a CPU, and functions that say so."""
    yield from (
        (name, member) for name, member in vars(module).items() if inspect.isfunction(member) and originals(member)
    )
    for cls in implementations(module):
        for name, member in vars(cls).items():
            if inspect.isfunction(member) and "cpu" in inspect.signature(member).parameters:
                yield f"{cls.__name__}.{name}", member


def routines(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """By class and name."""
    return dict(_routines(module))


def differences(module: ModuleType) -> tuple[Difference, ...]:
    return getattr(module, "DIFFERENCES", ())


INTRODUCTION = """\
# What the reference mirrors

Each routine of the reference, and of the alternatives beside it, names the function of a kernel or the section of a manual that it
mirrors (`mirrors`, in [conformance/roles/mirrors.py](../conformance/roles/mirrors.py)), and each module what it does differently on
purpose. This page lists both: `python -m reference.page > docs/reference.md` writes it, and a test fails when it is out of date. Where
Debian's linux-source-6.1 is installed, a test looks each function of Linux 6.1 up in its file.

What is left out for the search alone, because no agent of a scenario could tell, asks `world.abridged(when, because)`; with the fact
`unabridged` nothing is left out, and a test compares what is found.
"""


def page() -> str:
    return "\n".join([INTRODUCTION, *(_section(module) for module in modules())])


def _section(module: ModuleType) -> str:
    path = Path(str(module.__file__)).relative_to(ROOT).as_posix()
    lines = [f"## [{path}](../{path})", "", (module.__doc__ or "").split("\n\n")[0].replace("\n", " "), ""]
    for original, names in _mirrored(module).items():
        listed = ", ".join(f"{name} ({', '.join(f'`{h}`' for h in here)})" for name, here in names.items())
        lines.append(f"- **{original}**: {listed}")
    since: Mapping[str, str] = getattr(module, "SINCE_6_1", {})
    if since:
        told = "; ".join(f"{name}, where it is {there}" for name, there in since.items())
        lines += ["", f"Not in Linux 6.1: {told}."]
    if differences(module):
        lines += ["", "| here | there | instead | why |", "| --- | --- | --- | --- |"]
        lines += [f"| `{d.here}` | {d.original} | {d.instead} | {d.why} |" for d in differences(module)]
    return "\n".join([*lines, ""])


def _mirrored(module: ModuleType) -> dict[str, dict[str, list[str]]]:
    """Original to its functions or sections, each with the routines that mirror it."""
    found: dict[str, dict[str, list[str]]] = {}
    several = len(implementations(module)) > 1
    for name, routine in _routines(module):
        for original, names in originals(routine):
            for of in names:
                here = found.setdefault(str(original), {}).setdefault(of, [])
                here.append(name if several else name.rpartition(".")[2])
    return found


if __name__ == "__main__":
    print(page(), end="")
