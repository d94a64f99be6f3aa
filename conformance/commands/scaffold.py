"""`intack new`: a folder with a program that answers, how it is built, and a README of ten lines."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from conformance.adapters.registry import routines_of
from conformance.commands.excerpt import excerpt
from conformance.commands.smoke import parameters
from conformance.roles import architectures
from conformance.roles.role import BaseRole

FIRST = "x86"
"""The architecture whose poster is written where nothing is named."""
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


NO_EXAMPLE = """\
{% set written, lacks, names = [], {}, [] %}
{% macro declarations() %}{% endmacro %}
"""


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


class Asked(NamedTuple):
    role: str
    architecture: str
    base: type[BaseRole]


def role_of(role: str, architecture: str = "") -> Asked:
    """Whose role it is, and its base class; who posts if none is named. Raises ScaffoldError where it is nobody's, or several
    architectures have one.
    """
    known = architectures()
    if architecture and architecture not in known:
        raise ScaffoldError(f"no architecture is called {architecture!r}; there are: {', '.join(known)}")
    if not role:
        architecture = architecture or FIRST
        role = known[architecture].posts or next(iter(known[architecture].roles))
    found = {name: a.roles[role] for name, a in known.items() if role in a.roles and architecture in ("", name)}
    if not found:
        offered = "; ".join(f"{n}: {', '.join(a.roles)}" for n, a in known.items() if architecture in ("", n))
        raise ScaffoldError(
            f"no role{f' of {architecture}' * bool(architecture)} is called {role!r}; there are: {offered}"
        )
    if len(found) > 1:
        raise ScaffoldError(f"{' and '.join(found)} have a role {role}: say which with --arch")
    ((architecture, base),) = found.items()
    return Asked(role, architecture, base)


def create(folder: Path, language: str, role: str, architecture: str, base: type[BaseRole]) -> list[Path]:
    """Write the files that fill `role`, whose base class is `base`. Raises ScaffoldError if there is something already, if
    the name is no name, or if there is nothing to begin with.
    """
    name = folder.name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ScaffoldError(f"{name!r} cannot name a program: use small letters, digits and underscores")
    if folder.exists() and any(folder.iterdir()):
        raise ScaffoldError(f"{folder} is not empty: name a folder that does not exist yet")
    camel = "".join(part.capitalize() for part in name.split("_"))
    own = Path(inspect.getfile(base)).parent / "templates"
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader("conformance.commands"), jinja2.FileSystemLoader(own)])
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    whole: Any = _whole(environment, language, role)
    example: Any = whole or _example(environment, language, role, base)
    written = [routine for routine in routines_of(base) if whole or routine in example.written]
    known = {
        "name": name,
        "camel": camel,
        "role": role,
        "architecture": architecture,
        "base": base.__name__,
        "module": base.__module__,
        "spec": SPECS[language].format(name=name, camel=camel),
        "language": language,
        "whole": whole,
        "example": example,
        "written": written,
        "excerpt": excerpt(architecture, role) if language == "python" and not written else None,
        "suffix": NATIVE.get(language, ""),
        "vcpus": "VCPUS" if language == "rust" else "vcpus",
        "cpus": "CPUS" if language == "rust" else "cpus",
        "routines": [_routine(base, routine) for routine in routines_of(base)],
    }
    made: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    folders = {"", LANGUAGES[language], *(("native",) if language in NATIVE else ())}
    for template in sorted(t for t in environment.list_templates() if _folder(t) in folders):
        path = folder / template.rpartition("/")[2].removesuffix(".j2").replace("NAME", name)
        path.write_text(environment.get_template(template).render(known))
        made.append(path)
    return made


def _folder(template: str) -> str | None:
    """The folder of a file to write; None of an example."""
    return None if template.startswith("example.") else template.rpartition("/")[0]


def _whole(environment: jinja2.Environment, language: str, role: str) -> Any:
    """All routines of a role, where an architecture has them in this language: `text`, and what the description says."""
    try:
        return environment.get_template(f"in_{LANGUAGES[language]}/{role}.{LANGUAGES[language]}.j2").module
    except jinja2.TemplateNotFound:
        return None


def _example(environment: jinja2.Environment, language: str, role: str, base: type[BaseRole]) -> Any:
    """What an architecture has of its own to begin with: declarations, and a routine or two that are written."""
    try:
        return environment.get_template(f"example.{LANGUAGES[language]}.j2").module
    except jinja2.TemplateNotFound:
        if language in NATIVE:  # whose structures they would be, nobody has said
            others = ", ".join(["python", *["c"] * bool(_whole(environment, "c", role))])
            raise ScaffoldError(
                f"{base.__module__} has no {role} in {language} to begin with yet: {others} and pipe can be had"
            ) from None
        return environment.from_string(NO_EXAMPLE).module


def _routine(base: type[BaseRole], routine: str) -> Routine:
    given = parameters(base, routine)
    about = (getattr(base, routine).__doc__ or "").strip().split("\n")[0]

    def typed(types: dict[str, str], separator: str = "") -> str:
        shown = [("place" if name == "where" else name, types[kind]) for name, kind in given if kind in types]
        return ", ".join(f"{n}{separator}{t}" if separator else f"{t}{n}" for n, t in shown)

    names = tuple(name for name, _ in given)
    asked = inspect.signature(getattr(base, routine)).parameters.values()
    more = "".join(f", *{p.name}" for p in asked if p.kind is p.VAR_POSITIONAL)
    return Routine(routine, about, names, more, typed(CTYPES), typed(CXXTYPES), typed(RUSTTYPES, ": "))
