"""What an implementation fills in and writes against: roles, by architecture, and the operations of a routine.

An architecture is a folder here, in `reference` and in `properties`. It is found by the entry point group
`intack.architectures`, intack's own like anybody else's; docs/architecture.md says how one is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from conformance.roles.architecture import Architecture
from conformance.roles.registered import load, registered


@cache
def architectures() -> Mapping[str, Architecture]:
    """The architectures that are installed, by name. Raises RegistrationError."""
    loaded = (load(entry) for entry in registered("intack.architectures").values())
    return {architecture.name: architecture for architecture in loaded}


def environments() -> Mapping[str, str]:
    """What widens the hardware beyond an architecture, each in a few words."""
    return {name: what for architecture in architectures().values() for name, what in architecture.environments.items()}
