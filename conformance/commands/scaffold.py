"""`intack new`: a folder with a program that answers, how it is built, and a README of ten lines."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import NamedTuple

import jinja2

from conformance.adapters.registry import routines_of
from conformance.commands.smoke import parameters
from conformance.roles.x86 import ROLES

LANGUAGES = {"python": "python", "c": "c", "c++": "cpp", "rust": "rust", "pipe": "pipe"}
"""Language to the folder of its templates."""
NATIVE = {"c": ".c", "c++": ".cc", "rust": ".rs"}
"""Those that a description goes with, and the ending of the source."""
SPECS = {
    "python": "{name}:{camel}",
    "c": "native:{name}.toml",
    "c++": "native:{name}.toml",
    "rust": "native:{name}.toml",
    "pipe": "'exec:python3 {name}.py'",
}
CTYPES = {"Vcpu": "struct vcpu *", "int": "unsigned ", "bool": "bool ", "str": "const char *"}
CXXTYPES = {**CTYPES, "Vcpu": "Vcpu &"}
RUSTTYPES = {"Vcpu": "&Vcpu", "int": "u32", "bool": "bool", "str": "*const i8"}


class ScaffoldError(Exception):
    """Nothing was written; the message says why."""


class Routine(NamedTuple):
    """A routine that the role asks for, as each language declares it."""

    name: str
    about: str
    arguments: tuple[str, ...]
    more: str
    """What stands for arguments of any number, in Python."""
    c: str
    cpp: str
    rust: str


def create(folder: Path, language: str, role: str) -> list[Path]:
    """Write the files. Raises ScaffoldError if there is something already, or the name is no name."""
    name = folder.name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ScaffoldError(f"{name!r} cannot name a program: use small letters, digits and underscores")
    if folder.exists() and any(folder.iterdir()):
        raise ScaffoldError(f"{folder} is not empty: name a folder that does not exist yet")
    camel = "".join(part.capitalize() for part in name.split("_"))
    base = ROLES[role]
    known = {
        "name": name,
        "camel": camel,
        "role": role,
        "base": base.__name__,
        "module": base.__module__,
        "spec": SPECS[language].format(name=name, camel=camel),
        "language": language,
        "suffix": NATIVE.get(language, ""),
        "vcpus": "VCPUS" if language == "rust" else "vcpus",
        "cpus": "CPUS" if language == "rust" else "cpus",
        "routines": [_routine(role, routine) for routine in routines_of(ROLES[role])],
    }
    loader = jinja2.PackageLoader("conformance.commands")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    made: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    own = {"", LANGUAGES[language], *(("native",) if language in NATIVE else ())}
    for template in sorted(t for t in environment.list_templates() if t.rpartition("/")[0] in own):
        path = folder / template.rpartition("/")[2].removesuffix(".j2").replace("NAME", name)
        path.write_text(environment.get_template(template).render(known))
        made.append(path)
    return made


def _routine(role: str, routine: str) -> Routine:
    given = parameters(ROLES[role], routine)
    about = (getattr(ROLES[role], routine).__doc__ or "").strip().split("\n")[0]

    def typed(types: dict[str, str], separator: str = "") -> str:
        shown = [("place" if name == "where" else name, types[kind]) for name, kind in given if kind in types]
        return ", ".join(f"{n}{separator}{t}" if separator else f"{t}{n}" for n, t in shown)

    names = tuple(name for name, _ in given)
    asked = inspect.signature(getattr(ROLES[role], routine)).parameters.values()
    more = "".join(f", *{p.name}" for p in asked if p.kind is p.VAR_POSITIONAL)
    return Routine(routine, about, names, more, typed(CTYPES), typed(CXXTYPES), typed(RUSTTYPES, ": "))
