"""`intack smoke`: does it answer? Each routine's first steps, whether it answers the same twice, and what is wrong.

No verdict on any clause: every routine runs once, alone, on a vCPU that a scenario has just set up.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from conformance.adapters.registry import Implementation, routines_of
from conformance.adapters.source import Fault
from conformance.automaton.alone import run_alone
from conformance.automaton.assembly import Assembly, assemble
from conformance.roles import architectures
from conformance.roles import operations as ops
from conformance.roles.role import BaseRole
from conformance.search.words import Words

SAMPLES: Mapping[str, ops.Result] = {"Vcpu": "vcpu0", "int": 0, "bool": False, "str": "", "tuple[int, ...]": ()}
"""An argument of each type that a role's routines have, where the architecture's example says nothing of its name."""
CPU_NUMBER = (0,)
"""What a handler is called with."""


class Tried(NamedTuple):
    """One routine, run once. `first` is its first operation with its place in the code; `fault` what went wrong."""

    role: str
    call: str
    first: str = ""
    ended: str = ""
    fault: str = ""


class Smoke(NamedTuple):
    """What came out: the routines, the number of questions, and what answered differently when asked again."""

    tried: tuple[Tried, ...]
    questions: int
    differs: str = ""

    @property
    def works(self) -> bool:
        return not self.differs and not any(t.fault for t in self.tried)


def smoke(implementation: Implementation) -> Smoke:
    """Run each routine of the roles that are filled, and their handlers, once; then ask everything again."""
    tried: list[Tried] = []
    questions = 0
    differs = ""
    for name in implementation.architectures:
        assembly = assemble(implementation, architectures()[name].example)
        filled = implementation.filled(name)
        tried += [_tried(assembly, *call) for call in _calls(filled, assembly)]
        own = {id(u): u for r, u in assembly.routines.items() if assembly.role_of.get(r) in filled}
        try:
            for unfolding in own.values():
                unfolding.recheck()
        except Fault as fault:
            differs = differs or str(fault)
        questions += assembly.questions()
    return Smoke(tuple(tried), questions, differs)


def _calls(
    filled: Mapping[str, type[BaseRole]], assembly: Assembly
) -> Iterator[tuple[str, str, tuple[ops.Result, ...]]]:
    """(role, routine, arguments) of all that can be called out of the blue."""
    for role in filled:
        base = assembly.architecture.roles[role]
        for routine in routines_of(base):
            given = assembly.architecture.arguments
            yield role, routine, tuple(_sample(given, routine, name, kind) for name, kind in parameters(base, routine))
    handlers = {h for cls in set(filled.values()) for h in cls.handlers.values()}
    for handler in sorted(handlers & assembly.routines.keys()):
        yield assembly.role_of.get(handler, ""), handler, CPU_NUMBER


def parameters(role: type[BaseRole], routine: str) -> tuple[tuple[str, str], ...]:
    """Name and type of each argument that a role's routine is called with; those of any number left out."""
    found = list(inspect.signature(getattr(role, routine)).parameters.values())[2:]
    return tuple((p.name, str(p.annotation)) for p in found if p.kind is not p.VAR_POSITIONAL)


def _sample(given: Mapping[str, ops.Result], routine: str, name: str, kind: str) -> ops.Result:
    return given.get(f"{routine} {name}", given.get(name, SAMPLES.get(kind, 0)))


def _tried(assembly: Assembly, role: str, routine: str, args: tuple[ops.Result, ...]) -> Tried:
    call = f"{routine}({', '.join(map(str, args))})"
    first = ""
    try:
        root = assembly.root(routine, args)
        first = _first(root.answer, Words(assembly.architecture)) + (f" @{root.site}" if root.site else "")
        alone = run_alone(assembly, routine, args, {}, interrupts=False)
    except Fault as fault:
        return Tried(role, call, first, fault=f"{fault.status}: {fault}")
    count = len(alone.asked)
    return Tried(role, call, first, f"{alone.ended} after {count} operation{'s' * (count != 1)}")


def _first(answer: ops.Answer, words: Words) -> str:
    if isinstance(answer, ops.Return):
        return "returns at once" + (f", then {answer.then[0]}" if answer.then else "")
    return words.asked(answer)
