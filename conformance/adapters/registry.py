"""From the SPEC a user types to an implementation: a registered name, a name with an argument, or package.module:Class."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias

import msgspec

from conformance.adapters.answers import shown
from conformance.adapters.source import Source, from_outside
from conformance.roles import architectures
from conformance.roles.location import Shared
from conformance.roles.nearest import nearest
from conformance.roles.operations import WORD
from conformance.roles.registered import RegistrationError, load, registered
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario

DEFAULT = "reference"
"""The implementation that is judged where none is named."""
GROUP = "intack.adapters"


class AdapterError(Exception):
    """The SPEC names nothing that can be plugged in. The message says what to write instead."""


Initial: TypeAlias = int | tuple[str, ...]
MakeSource = Callable[[Any], Source]
"""From the world of one scenario to a source."""


@dataclass(frozen=True)
class Implementation:
    """What was plugged in: for each role it fills a class, the rest left to the architecture's reference.

    `replaces` maps single routines to something that is not Python: a maker of a source for one scenario.
    """

    name: str
    spec: str
    roles: Mapping[type[BaseRole], type[BaseRole]]
    """The base class of each role it fills, to the class that fills it."""
    profile: str = "generic"
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    replaces: Mapping[str, MakeSource] = field(default_factory=dict)
    file: str = ""
    """What describes it, where that is no class."""
    content: str = ""
    """A hash of all that the routines in `replaces` are made of, where each is asked in a process of its own: what was made of
    the same gives the same answers, and is not asked again.
    """
    base: str = ""
    """The SPEC of what it is a variant of: a result kept of that one counts where all that was asked is answered the same."""
    assumptions: tuple[str, ...] = ()
    """On which verdicts about it rest, beside the machine's rules."""

    def filled(self, architecture: str) -> Mapping[str, type[BaseRole]]:
        """The roles it fills of one architecture, by name."""
        bases = architectures()[architecture].roles.items()
        return {name: self.roles[base] for name, base in bases if base in self.roles}

    def fills(self) -> str:
        """Its roles, for people."""
        return "; ".join(f"{name}: {', '.join(self.filled(name))}" for name in self.architectures)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those of which it fills a role."""
        return tuple(name for name in architectures() if self.filled(name))

    def takes_part(self, scenario: Scenario) -> bool:
        """Whether it fills a role of the scenario's architecture, and lacks nothing that the scenario takes."""
        features = {base.feature for base in called_in(scenario).values()}
        taken = {*scenario.facts, *scenario.placements, *features}
        return bool(self.filled(scenario.architecture)) and not self.torn(scenario) and not taken & set(self.lacks)

    def torn(self, scenario: Scenario) -> Mapping[str, str]:
        """Roles that the scenario calls and that it does not fill, though each goes with one of its own: with which."""
        own = self.filled(scenario.architecture)
        called = called_in(scenario).items()
        return {role: base.goes_with for role, base in called if base.goes_with in own and role not in own}


def called_in(scenario: Scenario) -> Mapping[str, type[BaseRole]]:
    """The roles whose routines a scenario's agents and guests call."""
    roles = architectures()[scenario.architecture].roles
    return {role: base for role, base in roles.items() if scenario.calls & set(routines_of(base))}


def of_class(cls: type[BaseRole], name: str, spec: str) -> Implementation:
    """The implementation that a class which subclasses one or several roles is."""
    bases = {base: role for a in architectures().values() for role, base in a.roles.items() if issubclass(cls, base)}
    if not bases:
        offered = "; ".join(
            f"{next(iter(a.roles.values())).__module__}: {', '.join(b.__name__ for b in a.roles.values())}"
            for a in architectures().values()
        )
        raise AdapterError(
            f"{spec}: {cls.__name__} subclasses no role, so there is nothing to test. Subclass one of {offered}."
        )
    for base, role in bases.items():
        for routine in routines_of(base):
            if getattr(cls, routine) is getattr(base, routine):
                raise AdapterError(
                    f"{spec}: {cls.__name__} fills the role {role} but lacks its routine {routine}. "
                    f"Write {routine}, or subclass the reference's class and override only what differs."
                )
    said = _said(cls, spec)
    return Implementation(name, spec, dict.fromkeys(bases, cls), said.profile, said.not_applicable, said.lacks)


class _Said(msgspec.Struct):
    """What a class declares beside its routines."""

    profile: str
    not_applicable: dict[str, str]
    lacks: tuple[str, ...]
    handlers: dict[int, str]
    vcpu_state: dict[str, Initial]
    cpu_state: dict[str, Initial]
    vm_state: dict[str, Initial]
    irq_state: dict[str, Initial]


def _said(cls: type[BaseRole], spec: str) -> _Said:
    """Raises AdapterError for what is not of the type that it has to be."""
    told: dict[str, Any] = {name: getattr(cls, name, ()) for name in _Said.__struct_fields__}
    try:
        for name in [name for name in told if name.endswith("_state")]:
            state = dict(told[name])
            told[name] = {at: shared.initial if isinstance(shared, Shared) else shared for at, shared in state.items()}
            for at, initial in told[name].items():
                if isinstance(initial, int) and not 0 <= initial <= WORD:
                    raise ValueError(f"{at} begins with {shown(initial)}, which is no word of 64 bits")
        return msgspec.convert(told, _Said)
    except (TypeError, ValueError) as error:  # msgspec's too
        raise AdapterError(f"{spec}: what {cls.__name__} declares is not of the right type: {error}") from None


def of_classes(name: str, spec: str, *classes: type[BaseRole]) -> Implementation:
    """Several classes that fill roles together; the last one's profile counts."""
    parts = [of_class(cls, name, spec) for cls in classes]
    roles = {base: cls for part in parts for base, cls in part.roles.items()}
    return replace(parts[-1], roles=roles)


def routines_of(base: type[BaseRole]) -> tuple[str, ...]:
    """The routines a role asks for."""
    return tuple(n for n, member in vars(base).items() if callable(member) and not n.startswith("_"))


def resolve(spec: str) -> Implementation:
    """The implementation a SPEC names. A function of somebody's is an adapter without an argument. Raises AdapterError."""
    found = registered(GROUP)
    name, _, argument = spec.partition(":")
    try:
        architectures()
        target = load(found[name]) if name in found else None
    except RegistrationError as error:
        raise AdapterError(f"{spec}: {error}") from error
    if isinstance(target, type):
        if argument:
            raise AdapterError(f"{spec}: {name} takes no argument after a colon")
        return of_class(target, name, spec)
    if target is not None:
        return target(argument)
    if not argument:
        hint = nearest(spec, found, most=len(found))
        raise AdapterError(f"no adapter is called {spec!r}. {hint} Your own class is written package.module:Class.")
    found_there = _import(spec, name, argument)
    if isinstance(found_there, type):
        return of_class(found_there, argument, spec)
    made = found_there("")
    if not isinstance(made, Implementation):
        raise AdapterError(f"{spec}: {argument}('') answers {shown(made)}, and must answer an Implementation")
    return made


def reference_of(architecture: str) -> Implementation:
    """What fills the roles of an architecture that are left open. Raises AdapterError."""
    return resolve(architectures()[architecture].reference)


def _import(spec: str, module: str, name: str) -> Callable[..., Any]:
    """A class, or what is an adapter itself: a function of an argument."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    here = os.getpid()
    try:
        loaded = importlib.import_module(module)
    except BaseException as error:
        if from_outside(error):
            raise
        raise AdapterError(f"{spec}: importing {module} failed: {shown(error)}") from error
    finally:
        if os.getpid() != here:  # it has forked, and this is no process of the suite
            os._exit(0)
    cls = getattr(loaded, name, None)
    if not isinstance(cls, type | FunctionType):
        classes = [n for n, v in vars(loaded).items() if isinstance(v, type) and v.__module__ == loaded.__name__]
        raise AdapterError(f"{spec}: {module} has no class {name}; it has: {', '.join(classes) or 'none'}")
    return cls


def descriptions() -> dict[str, str]:
    """Registered adapter names, each with the first line of its documentation."""
    described: dict[str, str] = {}
    for name, entry in registered(GROUP).items():
        try:
            doc = load(entry).__doc__ or ""
        except RegistrationError as error:
            doc = str(error)
        described[name] = doc.strip().split("\n")[0]
    return described
