"""What an implementation says of itself, against what the suite knows: a misspelt word would say nothing, unnoticed."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance.adapters.registry import AdapterError, Implementation
from conformance.roles import architectures
from conformance.roles.nearest import nearest
from conformance.roles.role import BaseRole
from conformance.roles.scenario import PLACEMENTS
from conformance.verdict.suite import Suite


def check_declared(implementation: Implementation, suite: Suite) -> None:
    """Raises AdapterError for a word in `lacks`, `not_applicable` or `profile` that means nothing."""
    own = [architectures()[name] for name in implementation.architectures]
    features = [base.feature for a in own for base in a.roles.values() if base.feature]
    lacks = [*features, *PLACEMENTS, *(fact for a in own for fact in a.facts)]
    profiles = [name for clause in suite.clauses for name in clause.profiles]
    clauses = [clause.id for clause in suite.clauses]
    wrong = [
        *_wrong(
            implementation,
            "lacks",
            implementation.lacks,
            lacks,
            "is no fact, feature or placement that could be lacked",
        ),
        *_wrong(implementation, "not_applicable", implementation.not_applicable, clauses, "is no clause"),
        *_wrong(implementation, "profile", [implementation.profile], profiles, "is no profile of any clause"),
    ]
    if wrong:
        raise AdapterError(f"{implementation.spec} declares what means nothing here.\n" + "\n".join(wrong))


def _wrong(
    implementation: Implementation, attribute: str, words: Iterable[str], known: Iterable[str], what: str
) -> Iterator[str]:
    names = set(known)
    for word in words:
        if word not in names:
            where = f" ({_site(implementation, attribute, word)})"
            yield f"  {attribute}{where}: {word!r} {what}. {nearest(word, known)}"


def _site(implementation: Implementation, attribute: str, word: str) -> str:
    """File and line of a word that is declared: in the class that says it, or in the file that describes a program."""
    for cls in dict.fromkeys(implementation.roles.values()):
        owner = next((c for c in cls.__mro__ if attribute in vars(c)), cls)
        if owner is not BaseRole and (line := _in_class(owner, attribute, word)):
            return line
    if implementation.file:
        for number, line in enumerate(Path(implementation.file).read_text().splitlines(), 1):
            if f'"{word}"' in line or f"{word} =" in line:
                return f"{implementation.file}:{number}"
    return implementation.spec


def _in_class(cls: type, attribute: str, word: str) -> str:
    """Empty where no source says it: the class of a program is made on the spot."""
    try:
        lines, first = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return ""
    body = ast.parse(textwrap.dedent("".join(lines))).body[0]
    for statement in body.body if isinstance(body, ast.ClassDef) else ():
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
            said = [n.lineno for n in ast.walk(statement) if isinstance(n, ast.Constant) and n.value == word]
            file, here = Path(inspect.getfile(cls)), Path.cwd()
            return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{first - 1 + min(said or [statement.lineno])}"
    return ""
