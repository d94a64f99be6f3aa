"""Functions cut whole out of a C file, by name, with the lines that they have there.

tree-sitter finds them: it reads C that is not preprocessed, and goes on behind a macro that it cannot make sense of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import tree_sitter_c
from tree_sitter import Language, Node, Parser

from conformance.adapters.native import NativeError

NESTS = (
    "preproc_if",
    "preproc_ifdef",
    "preproc_else",
    "preproc_elif",
    "preproc_elifdef",
    "linkage_specification",
    "ERROR",
)
"""What top-level definitions may lie in."""


class Function(NamedTuple):
    name: str
    line: int
    """In its file, from 1."""
    text: str
    head: str
    """What stands before its body: with a semicolon, a prototype."""


class CFile:
    """The text of a file, and what it is called in error messages, in counterexamples and in #line."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    @property
    def functions(self) -> Mapping[str, tuple[Function, ...]]:
        """All that are defined at the top level; one that #if and #else define differently, more than once."""
        return _functions(self.text)

    def unseen(self, names: Iterable[str] = ()) -> list[str]:
        """Inline assembly with an operand in memory, or that may touch any: where it is (file:line: function), in these
        functions or all. The hooks do not see what it does there.
        """
        found: list[str] = []
        for function in (one for name in tuple(names) or self.functions for one in self.functions[name]):
            root = (
                Parser(Language(tree_sitter_c.language()))
                .parse(function.text.encode(errors="surrogateescape"))
                .root_node
            )
            for node in _below(root, "gnu_asm_expression"):
                template = node.child_by_field_name("assembly_code")
                empty = template is not None and template.text in (b'""', None)
                operands = [*_below(node, "gnu_asm_output_operand"), *_below(node, "gnu_asm_input_operand")]
                texts = [o.child_by_field_name("constraint") for o in operands]
                texts += _below(node, "gnu_asm_clobber_list")
                if not empty and any(b"m" in (text.text or b"") for text in texts if text is not None):
                    found.append(f"{self.name}:{function.line + node.start_point[0]}: {function.name}")
        return found

    def cut(self, names: Iterable[str]) -> str:
        """These functions in the order of the file, after a prototype of each, so that they may call one another. Raises
        NativeError for one that is not there, or there twice.
        """
        cut: list[Function] = []
        for name in dict.fromkeys(names):
            found = self.functions.get(name, ())
            if len(found) != 1:
                lines = ", ".join(str(function.line) for function in found)
                what = f"is defined {len(found)} times, at lines {lines}" if found else "is not in it"
                raise NativeError(f"{self.name}: {name} {what}", "build")
            cut.append(found[0])
        cut.sort(key=lambda function: function.line)
        parts = [f'#line {f.line} "{self.name}"\n{f.head};\n' for f in cut]
        parts += [f'#line {f.line} "{self.name}"\n{f.text}\n' for f in cut]
        return "".join(parts)


@lru_cache(64)
def _functions(text: str) -> Mapping[str, tuple[Function, ...]]:
    raw = text.encode(errors="surrogateescape")
    found: dict[str, tuple[Function, ...]] = {}
    for node in _definitions(Parser(Language(tree_sitter_c.language())).parse(raw).root_node):
        name, body = _name(node), node.child_by_field_name("body")
        if not name or body is None:
            continue
        whole = raw[node.start_byte : node.end_byte].decode(errors="surrogateescape")
        head = raw[node.start_byte : body.start_byte].decode(errors="surrogateescape").rstrip()
        found[name] = (*found.get(name, ()), Function(name, node.start_point[0] + 1, whole, head))
    return found


def _definitions(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.type == "function_definition":
            yield child
        elif child.type in NESTS:
            yield from _definitions(child)


def _below(node: Node, kind: str) -> list[Node]:
    return [node] * (node.type == kind) + [found for child in node.children for found in _below(child, kind)]


def _name(definition: Node) -> str:
    """Of the innermost declarator: a pointer may be around it."""
    node = definition.child_by_field_name("declarator")
    while node is not None and node.type != "identifier":
        node = node.child_by_field_name("declarator")
    return node.text.decode() if node is not None and node.text else ""
