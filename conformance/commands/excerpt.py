"""What `intack new` begins a role in Python with: the reference's own code for it, as a file that stands alone.

Only the routines of that role, what they call, and the names that both use: nobody has to keep a second copy in step.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from conformance.adapters.registry import resolve, routines_of
from conformance.roles import architectures
from conformance.roles.role import BaseRole

ROLES = "conformance.roles"
OURS = ("conformance", "reference")
LINE = 120
NOTES = ("mirrors",)
"""Decorators that say where the reference's code comes from: a copy comes from there no more."""


class Part(NamedTuple):
    """A statement of a module, or of a class in it."""

    module: str
    node: ast.stmt

    def text(self) -> str:
        """Its lines, without decorators that are notes."""
        first = self.node.lineno
        if kept := [d for d in getattr(self.node, "decorator_list", ()) if _name_of(d) not in NOTES]:
            first = min(first, *(d.lineno for d in kept))
        return "\n".join(_lines(self.module)[first - 1 : self.node.end_lineno])


class Excerpt(NamedTuple):
    """`methods` in the order of the reference; `imports` and `definitions` are what they use."""

    about: str
    imports: tuple[str, ...]
    definitions: tuple[str, ...]
    handlers: Mapping[str, str]
    methods: tuple[str, ...]


def excerpt(architecture: str, role: str) -> Excerpt | None:
    """What the reference fills the role with; None where it is no class in Python."""
    known = architectures()[architecture]
    filled = resolve(known.reference).filled(architecture).get(role)
    if filled is None:
        return None
    members = _members(filled)
    others = {r for name, base in known.roles.items() if name != role for r in routines_of(base)}
    handlers = _handlers(filled, known.roles, role)
    wanted = _closure(["__init__", *routines_of(known.roles[role]), *handlers.values()], members, others)
    parts = [part for name, part in members.items() if name in wanted]
    imports, definitions = _names(parts, known.roles[role])
    modules = dict.fromkeys(part.module for part in parts)
    return Excerpt(
        " and ".join(f"{module.replace('.', '/')}.py" for module in modules),
        tuple(_imported(imports)),
        tuple(definitions),
        {f"0x{v:X}" if v >= 0xF0 else str(v): routine for v, routine in handlers.items()},
        tuple(part.text() for part in parts),
    )


def _members(cls: type[BaseRole]) -> dict[str, Part]:
    """Methods and attributes of a class and those that it is made of, the outermost of a name, in the order of the files."""
    found: dict[str, Part] = {}
    for part_of in reversed([c for c in cls.__mro__ if not c.__module__.startswith(ROLES) and c is not object]):
        body = next(
            n for n in _tree(part_of.__module__).body if isinstance(n, ast.ClassDef) and n.name == part_of.__name__
        )
        for node in body.body:
            for name in _defines(node):
                found[name] = Part(part_of.__module__, node)
    return found


def _handlers(cls: type[BaseRole], roles: Mapping[str, type[BaseRole]], role: str) -> dict[int, str]:
    """The host interrupts whose handlers belong to the role."""
    elsewhere = {vector for name, base in roles.items() if name != role for vector in base.handles}
    runs = "vcpu_run" in routines_of(roles[role])
    return {v: r for v, r in cls.handlers.items() if v in roles[role].handles or (runs and v not in elsewhere)}


def _closure(wanted: list[str], members: Mapping[str, Part], others: set[str]) -> set[str]:
    """The members that are needed for these: called through self, or gone on with by Then."""
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in found or name not in members:
            continue
        found.add(name)
        for node in ast.walk(members[name].node):
            match node:
                case ast.Attribute(value=ast.Name(id="self"), attr=attr):
                    wanted.append(attr)
                case ast.Call(func=ast.Name(id="Then"), args=[ast.Constant(value=str(routine)), *_]):
                    wanted += [routine] * (routine not in others)
    return found


def _names(parts: list[Part], base: type[BaseRole]) -> tuple[dict[str, str], list[str]]:
    """Imports, name to module, and definitions, of all that the parts use."""
    imports = {base.__name__: _public(base.__module__)}
    definitions: dict[str, tuple[int, str]] = {}
    pending = [(part.module, name) for part in parts for name in _used(part.node)]
    seen: set[tuple[str, str]] = set()
    while pending:
        module, name = pending.pop()
        if (module, name) in seen or name in NOTES:
            continue
        seen.add((module, name))
        node = _defined(module).get(name)
        match node:
            case None:
                pass
            case ast.ImportFrom(module=str(source)) if source.startswith(ROLES) or source.partition(".")[0] != _root(
                module
            ):
                imports[name] = source
            case ast.ImportFrom(module=str(source)):
                definition = _defined(source)[name]
                if isinstance(definition, ast.Assign | ast.AnnAssign) and not list(_used(definition)):
                    pending.append((source, name))
                else:
                    imports[name] = source
            case _:
                definitions[Part(module, node).text()] = (node.lineno, _described(module, node))
                pending += [(module, used) for used in _used(node)]
    return imports, [text for _, text in sorted(definitions.values())]


def _imported(names: Mapping[str, str]) -> Iterator[str]:
    """Lines as ruff orders them: what Python brings first, then the project's."""
    modules: dict[str, list[str]] = {}
    for name, module in sorted(names.items(), key=lambda item: _rank(item[0])):
        modules.setdefault(module, []).append(name)
    before = False
    for module in sorted(modules, key=lambda module: (_root(module) in OURS, module)):
        if before is not (before := _root(module) not in OURS) and not before:
            yield ""
        line = f"from {module} import {', '.join(modules[module])}"
        if len(line) <= LINE:
            yield line
        else:
            yield f"from {module} import (\n" + "".join(f"    {name},\n" for name in modules[module]) + ")"


def _rank(name: str) -> tuple[int, str]:
    """Constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _used(node: ast.AST) -> Iterator[str]:
    """Names that a statement reads, but for its decorators."""
    hidden = {id(n) for d in getattr(node, "decorator_list", ()) if _name_of(d) in NOTES for n in ast.walk(d)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and id(inner) not in hidden:
            yield inner.id


def _described(module: str, node: ast.stmt) -> str:
    """A definition with the string below it that says what it is."""
    body = _tree(module).body
    after = body[body.index(node) + 1 : body.index(node) + 2]
    said = [n for n in after if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    return "\n".join(Part(module, n).text() for n in (node, *said))


@cache
def _defined(module: str) -> dict[str, ast.stmt]:
    """What the statements of a module define, by name."""
    return {name: node for node in _tree(module).body for name in _defines(node)}


def _defines(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [n.asname or n.name for n in names]
        case _:
            return []


def _name_of(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _public(module: str) -> str:
    return module.removesuffix(".state") if module.startswith(ROLES) else module


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse("\n".join(_lines(module)))


@cache
def _lines(module: str) -> list[str]:
    return inspect.getsource(sys.modules.get(module) or importlib.import_module(module)).splitlines()
