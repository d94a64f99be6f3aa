"""What a result rests on beside the answers of an implementation, as hashes: change any, and it is another result."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

from conformance import LOADED, PACKAGES
from conformance.adapters.registry import Implementation, reference_of
from conformance.roles.registered import registered

LIBRARIES = ("hypothesis", "msgspec", "numpy", "z3-solver")
"""Of what they import, that by which something is found out."""


def machinery() -> str:
    """The engine, the suites and architectures that are registered, Python and the libraries. Of somebody else's suite
    its top-level package counts.
    """
    versions = [(name, importlib.metadata.version(name)) for name in LIBRARIES]
    entries = [(entry.group, entry.name, entry.value) for entry in _entries()]
    return hashed(sys.version, *versions, *entries, *map(source, _packages()))


def machinery_code() -> str:
    """All code that is installed for it, without Python: the same on machines whose Python was built otherwise."""
    entries = [(entry.group, entry.name, entry.value) for entry in _entries()]
    return hashed(*entries, *map(source, sorted({*PACKAGES, *_packages()})))


def plugged(implementation: Implementation) -> str:
    """What it declares, and the files in which its classes stand."""
    classes = [*implementation.roles.values(), *map(type, implementation.replaces.values())]
    modules = {base.__module__ for cls in classes for base in cls.__mro__}
    own = sorted(name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names)
    places = [getattr(sys.modules.get(name), "__file__", None) for name in own]
    files = [Path(place).read_bytes() for place in places if place and Path(place).is_file()]
    return hashed(declared(implementation), implementation.content, *files)


def _entries() -> list[EntryPoint]:
    return [*registered("intack.suites").values(), *registered("intack.architectures").values()]


def _packages() -> list[str]:
    return sorted({"conformance", *(entry.module.partition(".")[0] for entry in _entries())})


def declared(implementation: Implementation) -> str:
    """What it says of itself. What its locations are in a scenario is left to the scenario."""
    told = [
        (base.__qualname__, cls.__qualname__, [getattr(cls, name) for name in _DECLARATIONS])
        for base, cls in implementation.roles.items()
    ]
    plain = (implementation.name, implementation.spec, implementation.profile, implementation.lacks)
    return hashed(*plain, sorted(implementation.not_applicable.items()), sorted(implementation.replaces), told)


_DECLARATIONS = ("handlers", "vcpu_state", "cpu_state", "vm_state", "irq_state")


def own_code(implementation: Implementation) -> str:
    """A hash of what ships with the suite, if no other Python takes part: a class of somebody else's might change what is
    loaded beside it. Else empty.
    """
    return hashed(*map(source, PACKAGES)) if ships(implementation) else ""


def ships(implementation: Implementation) -> bool:
    """Whether no Python takes part but what comes with the suite."""
    beside = [reference_of(name) for name in implementation.architectures]
    parts = [part for one in (implementation, *beside) for part in (*one.roles.values(), *one.replaces.values())]
    bases = [base for part in parts for base in (part.__mro__ if isinstance(part, type) else (part,))]
    packages = {str(getattr(base, "__module__", "")).partition(".")[0] for base in bases}
    return packages <= sys.stdlib_module_names | set(PACKAGES)


@cache
def source(package: str) -> str:
    """Every file of a package, or the one of a module. Raises OSError."""
    return hashed(*(part for name, path in files(package) for part in (name, path.read_bytes())))


def changed_since_loaded() -> bool:
    """Whether what runs may be other than what the files say. By ctime, which no copy carries over. Raises OSError."""
    packages = {*PACKAGES, *_packages()}
    return any(os.stat(path).st_ctime >= LOADED for package in packages for _, path in _paths(package))


def files(package: str) -> Iterator[tuple[str, Path]]:
    """With their names in the package, in the same order everywhere."""
    return ((name, Path(path)) for name, path in _paths(package))


def _paths(package: str) -> Iterator[tuple[str, str]]:
    """Strings: they are gone through whenever a result is kept."""
    module = importlib.import_module(package)
    folders: list[str] = list(getattr(module, "__path__", ()))
    if not folders:
        yield package, str(module.__file__)
    for folder in folders:
        for home, below, names in os.walk(folder):
            below[:] = sorted(name for name in below if name != "__pycache__")
            for path in (os.path.join(home, name) for name in sorted(names)):
                if os.path.isfile(path):
                    yield path.removeprefix(folder).lstrip(os.sep), path


def hashed(*parts: object) -> str:
    whole = hashlib.sha256()
    for part in parts:
        plain = part if isinstance(part, bytes) else repr(part).encode()
        whole.update(len(plain).to_bytes(8) + plain)
    return whole.hexdigest()
