"""Which functions of the kernel the lines of a counterexample lie in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conformance.search.trace import TraceStep
from reference.linux.program import Part
from reference.linux.slice import CFile
from reference.linux.tree import Tree


def functions_named(tree: Tree, parts: Iterable[Part], trace: Iterable[TraceStep]) -> set[str]:
    sites = {fact.site.rpartition(":")[::2] for step in trace for fact in step.facts if ":" in fact.site}
    found: set[str] = set()
    for file in {part.file for part in parts if Path(part.file).name in {name for name, _ in sites}}:
        lines = {int(line) for name, line in sites if name == Path(file).name}
        for functions in CFile(file, tree.read(file)).functions.values():
            for function in functions:
                last = function.line + function.text.count("\n")
                found |= {function.name} if lines & set(range(function.line, last + 1)) else set()
    return found
