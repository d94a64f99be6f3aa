"""From what a program declares to an implementation: its routines are those of roles, its locations join the others."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from conformance.adapters import protocol
from conformance.adapters.registry import AdapterError, Implementation, MakeSource, of_class, routines_of
from conformance.roles import architectures
from conformance.roles.location import Shared


def implementation_of(
    declared: protocol.Declaration, name: str, spec: str, make: MakeSource, also: tuple[str, ...] = ()
) -> Implementation:
    """The roles whose routines the program has. `also` are routines beside those it declares. Raises AdapterError."""
    offered = dict.fromkeys((*declared.routines, *also))
    roles = architectures()[_architecture(declared, tuple(offered), spec)].roles
    filled = [role for role, base in roles.items() if offered.keys() & set(routines_of(base))]
    for role in filled:
        missing = [routine for routine in routines_of(roles[role]) if routine not in offered]
        if missing:
            has = sorted(offered.keys() & set(routines_of(roles[role])))
            raise AdapterError(
                f"{spec}: it has {', '.join(has)} of the role {role}, but not {', '.join(missing)}. A role is filled whole."
            )
    _check_names(declared, name, spec)
    members: dict[str, Any] = {routine: _placeholder(routine) for routine in offered}
    for owner in ("vcpu", "cpu", "vm", "irq"):
        members[f"{owner}_state"] = _locations(spec, owner, getattr(declared.state, owner))
    members["handlers"] = _handlers(spec, declared.handlers, offered)
    members |= {
        "profile": declared.profile,
        "not_applicable": dict(declared.not_applicable),
        "lacks": declared.lacks,
        "__doc__": f"What {spec} declares.",
    }
    cls: Any = type(name, tuple(roles[role] for role in filled), members)
    return replace(of_class(cls, name, spec), replaces=dict.fromkeys(offered, make))


def _check_names(declared: protocol.Declaration, name: str, spec: str) -> None:
    """Raises AdapterError for what could not be told from anything else on a line."""
    state = (getattr(declared.state, owner) for owner in ("vcpu", "cpu", "vm", "irq"))
    try:
        for told in (*declared.routines, *chain(*state)):
            protocol.check_value(told)
        if not name.isprintable():
            raise protocol.ProtocolError(f"{name!r} cannot be printed")
    except protocol.ProtocolError as error:
        raise AdapterError(f"{spec}: {error}") from None


def _architecture(declared: protocol.Declaration, offered: tuple[str, ...], spec: str) -> str:
    """The one that the program names, or else the one whose roles ask for most of its routines, and of two for no others.
    Raises AdapterError.
    """
    known = architectures()
    if declared.architecture and declared.architecture not in known:
        raise AdapterError(f"{spec}: no architecture is called {declared.architecture!r}; there are {', '.join(known)}")
    named = [declared.architecture] if declared.architecture else list(known)
    roles = {name: [routines_of(base) for base in known[name].roles.values()] for name in named}
    begun = {name: [r for r in of if set(r) & set(offered)] for name, of in roles.items()}
    fit = {name: (len(set(chain(*of)) & set(offered)), set(chain(*of)) <= set(offered)) for name, of in begun.items()}
    best = [name for name in named if fit[name] == max(fit.values())]
    best = [name for name in best if known[name].extends not in best]
    if not begun[best[0]]:
        routines = list(dict.fromkeys(chain(*chain(*roles.values()))))
        near = [match for o in offered for match in difflib.get_close_matches(o, routines, n=1)]
        hint = f"Did you mean {near[0]}?" if near else f"Roles ask for: {', '.join(routines)}."
        raise AdapterError(
            f"{spec}: its routines ({', '.join(offered) or 'none'}) fill no role of {' or '.join(named)}, so there is "
            f"nothing to test. {hint}"
        )
    if len(best) > 1:
        raise AdapterError(f"{spec}: {' and '.join(best)} have roles with its routines: name one as architecture")
    return best[0]


def world_of(world: Any) -> protocol.WorldMessage:
    """A scenario as a program is told of it."""
    scenario = world.scenario
    return protocol.WorldMessage(
        vcpus=tuple(world.vcpus),
        cpus=scenario.cpus,
        vectors=tuple(scenario.vectors),
        facts=tuple(world.facts),
        locations={at: _kind(shared) for at, shared in world.locations.items()},
    )


def _kind(shared: Shared) -> protocol.LocationKind:
    if shared.lock:
        return "lock"
    return "list" if isinstance(shared.initial, tuple) else "word"


def _locations(spec: str, owner: str, state: protocol.Locations) -> Mapping[str, Shared]:
    made: dict[str, Shared] = {}
    for short, given in state.items():
        initial = given if isinstance(given, protocol.Initial) else protocol.Initial(given)
        if initial.guarded_by and initial.guarded_by not in state:
            raise AdapterError(
                f"{spec}: {owner}.{short} is guarded by {initial.guarded_by}, which is not declared for the {owner} too"
            )
        made[short] = Shared(initial.initial, guarded_by=initial.guarded_by, lock=initial.lock)
    return made


def _handlers(spec: str, handlers: Mapping[str, str], offered: Mapping[str, None]) -> Mapping[int, str]:
    made: dict[int, str] = {}
    for vector, routine in handlers.items():
        try:
            made[int(vector, 0)] = routine
        except ValueError:
            raise AdapterError(f"{spec}: the handler {routine} is for {vector!r}, which is no vector") from None
        if routine not in offered:
            raise AdapterError(f"{spec}: the handler of {vector} is {routine}, a routine that it does not offer")
    return made


def _placeholder(routine: str) -> Any:
    def elsewhere(*_: Any) -> Any:
        raise AssertionError(f"{routine} is answered by a program")

    return elsewhere
