"""What a program's own debug information says: where objects and functions are, of what types, and which line is where.

DWARF 5 and earlier, through pyelftools, as gcc, clang and rustc write it. A type with one member of its own size
(std::atomic, AtomicU64, UnsafeCell) is taken for that member.
"""

from __future__ import annotations

import bisect
import difflib
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

STEP = re.compile(r"\.?(\w+)|\[(\d+)\]")
NAMES_ONLY = (
    "DW_TAG_typedef",
    "DW_TAG_const_type",
    "DW_TAG_volatile_type",
    "DW_TAG_atomic_type",
    "DW_TAG_restrict_type",
)
LIBRARY = re.compile(r"^/usr/|^/rustc/|/rustlib/|/intack\.h$")
"""Files that are nobody's own code."""
STRUCTS = ("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type")
DW_OP_ADDR, DW_OP_ADDRX = 0x03, 0xA1
ENCODINGS = {2: "b", 4: "", 5: "i", 6: "i", 7: "u", 8: "u", 16: "u"}
"""DW_ATE_*: boolean, float (not passed), signed, unsigned, characters."""


class DebugInfoError(Exception):
    """The program has nothing of that name or type. The message says what it has."""


class Object(NamedTuple):
    """Some bytes of memory and their type."""

    address: int
    type: DIE | None

    @property
    def bytes(self) -> int:
        return _size(self.type)


class DebugInfo:
    """The debug information of one executable."""

    def __init__(self, path: Path, glue: Sequence[Path] = ()) -> None:
        self.path = path
        self._glue = tuple(os.path.realpath(part) for part in glue)
        self._parts_found: dict[tuple[Object, str], Object | DebugInfoError] = {}
        self._places_found: dict[int, list[tuple[str, int]]] = {}
        self._file = path.open("rb")
        try:
            self._elf = ELFFile(self._file)
            self._dwarf = self._elf.get_dwarf_info() if self._elf.has_dwarf_info() else None
        except (ELFError, DWARFError) as error:
            raise DebugInfoError(f"{path} has no debug information that can be read: {error}") from None

    def object(self, expression: str) -> Object:
        """The object that a variable is, or a member of it: vcpus, vms[0].vcpus. Raises DebugInfoError."""
        variable, rest = re.match(r"((?:\w+::)*\w*)(.*)", expression).groups()  # type: ignore[union-attr]
        if variable not in self._variables:
            near = difflib.get_close_matches(variable, self._variables, n=3) or sorted(self._variables)[:10]
            raise DebugInfoError(
                f"there is no global variable {variable or expression!r} with debug information (compile with -g, and keep "
                f"it outside of functions, and of unnamed namespaces); there are: {', '.join(near) or 'none'}"
            )
        found = self._variables[variable]
        if not found.address:
            raise DebugInfoError(f"the variable {variable} is not in the program: nothing uses it")
        return self.inside(found, rest)

    def inside(self, whole: Object, path: str) -> Object:
        """A part of an object: pid.pir[3]. Raises DebugInfoError."""
        if (whole, path) not in self._parts_found:  # each scenario asks for the same
            try:
                self._parts_found[whole, path] = self._inside(whole, path)
            except DebugInfoError as error:
                self._parts_found[whole, path] = error
        found = self._parts_found[whole, path]
        if isinstance(found, DebugInfoError):
            raise found
        return found

    def _inside(self, whole: Object, path: str) -> Object:
        at, part = 0, whole
        while at < len(path):
            step = STEP.match(path, at)
            if not step:
                raise DebugInfoError(f"{path!r} is not of the form member.member[index]")
            at = step.end()
            name, index = step.groups()
            found = _member(part, name) if name else _element(part, int(index))
            if found is None:
                has = ", ".join(dict.fromkeys(_names(part.type))) or "no members"
                where = path[: step.start()].lstrip(".") or "it"
                raise DebugInfoError(f"{where} has no {step.group().lstrip('.')}; it has {has}")
            part = found
        return Object(part.address, _unwrapped(part.type))

    def function(self, name: str) -> tuple[int, str]:
        """Address of a function, and its types as the runtime wants them: result, then parameters."""
        die = self._functions.get(name)
        address = self._symbols.get(name) or (die and self._symbols.get(_text(die, "DW_AT_linkage_name")))
        if not address:
            near = difflib.get_close_matches(name, [f for f in self._functions if f in self._symbols], n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else 'Is it static, or C++ without extern "C"?'
            raise DebugInfoError(f"there is no function {name}: {hint}")
        if die is None:
            raise DebugInfoError(f"the function {name} has no debug information: compile it with -g")
        parameters = [d for d in die.iter_children() if d.tag == "DW_TAG_formal_parameter"]
        types = [_passed(_typed(d)) for d in (die, *parameters)]
        if None in types or "s" in types[:1] or "p" in types[:1]:
            raise DebugInfoError(
                f"the function {name} takes or returns something else than integers, booleans, names (const char *) and "
                "pointers to objects; write a small function that does not"
            )
        return address, " ".join(map(str, types))

    def line(self, *addresses: int) -> str:
        """file:line of the instruction before an address (a return address), or nothing.

        `addresses` go on with those of the calls that it is in, innermost first. Of code that stands between, a library
        or glue, it is the line that called it, whether the compiler put it in line or not.
        """
        places = [place for address in addresses for place in self._places(address - 1)]
        file, line = next((p for p in places if not self._between(p[0])), places[0] if places else ("", 0))
        return f"{Path(file).name}:{line}" if file else ""

    def _places(self, address: int) -> list[tuple[str, int]]:
        """File and line of an instruction, then of each call that was put in line there, innermost first."""
        if address not in self._places_found:  # steps of one function have the same callers
            at = bisect.bisect_right(self._lines, address, key=lambda line: line[0]) - 1
            calls = sorted((call for call in self._inlined if call[0] <= address < call[1]), key=lambda c: -c[2])
            known = at >= 0 and bool(self._lines[at][1])
            self._places_found[address] = [self._lines[at][1:], *(call[3:] for call in calls)] if known else []
        return self._places_found[address]

    def _between(self, file: str) -> bool:
        real = os.path.realpath(file)
        return bool(LIBRARY.search(file)) or any(real == g or real.startswith(g + os.sep) for g in self._glue)

    def name_of(self, address: int) -> str:
        """The variable, and the member of it, at this address; or the address. A static of a function is function::name."""
        for name, whole in self._variables.items():
            if whole.address <= address < whole.address + max(1, whole.bytes):
                return name + _path(whole, address)
        return f"{address:#x}"

    # Tables

    @cached_property
    def _symbols(self) -> dict[str, int]:
        table: Any = self._elf.get_section_by_name(".symtab")
        if table is None:
            raise DebugInfoError(f"{self.path} has no symbols: do not strip it")
        defined = [s for s in table.iter_symbols() if s["st_shndx"] != "SHN_UNDEF" and s["st_value"]]
        defined.sort(key=lambda s: s["st_info"]["bind"] != "STB_LOCAL")  # a global one counts, where both are
        return {s.name: s["st_value"] for s in defined}

    @cached_property
    def _units(self) -> list[Any]:
        """Compilation units, but for those of the languages' own libraries."""
        units = self._dwarf.iter_CUs() if self._dwarf else ()
        return [u for u in units if "/rustc/" not in _text(u.get_top_DIE(), "DW_AT_comp_dir") + _name(u.get_top_DIE())]

    @cached_property
    def _globals(self) -> list[tuple[str, DIE]]:
        return [pair for unit in self._units for pair in _top(unit.get_top_DIE(), "")]

    @cached_property
    def _variables(self) -> dict[str, Object]:
        """By name, with and without what it is qualified by. Address 0: nothing uses it."""
        found: dict[str, Object] = {}
        for name, die in self._globals:
            if die.tag == "DW_TAG_variable" and "DW_AT_location" in die.attributes:
                made = Object(self._address(name, die), _typed(die))
                found.setdefault(name, made)
                found.setdefault(name.rpartition("::")[2], made)
        return found

    def _address(self, name: str, die: DIE) -> int:
        """Of a variable: where its debug information says, or else its symbol, which Rust's no_mangle makes plain."""
        location: Any = die.attributes["DW_AT_location"].value
        if isinstance(location, list) and location[:1] == [DW_OP_ADDR]:
            return int.from_bytes(bytes(location[1:9]), "little")
        if isinstance(location, list) and location[:1] == [DW_OP_ADDRX] and self._dwarf:
            index = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(location[1:]))
            return self._dwarf.get_addr(die.cu, index)
        return self._symbols.get(_text(die, "DW_AT_linkage_name")) or self._symbols.get(name) or 0

    @cached_property
    def _functions(self) -> dict[str, DIE]:
        return {
            name.rpartition("::")[2]: die
            for name, die in self._globals
            if die.tag == "DW_TAG_subprogram" and "DW_AT_declaration" not in die.attributes
        }

    @cached_property
    def _lines(self) -> list[tuple[int, str, int]]:
        """Addresses from which on the instructions belong to a file and line; to none where a sequence ends."""
        lines: list[tuple[int, str, int]] = []
        for unit in self._units:
            program = self._dwarf.line_program_for_CU(unit) if self._dwarf else None
            files = self._files(unit)
            for entry in program.get_entries() if program is not None else ():
                state = entry.state
                if state is not None:
                    file = "" if state.end_sequence or not state.line else files.get(state.file, "")
                    lines.append((state.address, file, state.line))
        # Of several at one address the last counts, as the program has them; one that only ends a sequence does not.
        return sorted(lines, key=lambda line: (line[0], bool(line[1])))

    @cached_property
    def _inlined(self) -> list[tuple[int, int, int, str, int]]:
        """Calls that were put in line: from, to, depth, and the file and line of the call."""
        found: list[tuple[int, int, int, str, int]] = []
        for unit in self._units:
            files = self._files(unit)
            pending = [(unit.get_top_DIE(), 0)]
            while pending:
                die, depth = pending.pop()
                inline = die.tag == "DW_TAG_inlined_subroutine"
                if inline:
                    file, line = files.get(_number(die, "DW_AT_call_file"), ""), _number(die, "DW_AT_call_line")
                    found.extend((low, high, depth, file, line) for low, high in self._ranges(die))
                if die.tag not in ("DW_TAG_variable", *STRUCTS):
                    pending.extend((child, depth + inline) for child in die.iter_children())
        return found

    def _files(self, unit: Any) -> dict[int, str]:
        """Paths by the number that this unit gives them."""
        program = self._dwarf.line_program_for_CU(unit) if self._dwarf else None
        if program is None:
            return {}
        first = 0 if program["version"] >= 5 else 1
        directories = [os.fsdecode(d) for d in program["include_directory"]]
        if first:
            directories.insert(0, _text(unit.get_top_DIE(), "DW_AT_comp_dir"))
        paths: dict[int, str] = {}
        for number, entry in enumerate(program["file_entry"], first):
            folder = directories[entry.dir_index] if entry.dir_index < len(directories) else ""
            paths[number] = os.path.join(directories[0] if directories else "", folder, os.fsdecode(entry.name))
        return paths

    def _ranges(self, die: DIE) -> list[tuple[int, int]]:
        """The addresses that a DIE covers."""
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
            return [(low.value, end)]
        lists = self._dwarf.range_lists() if self._dwarf else None
        if lists is None or "DW_AT_ranges" not in die.attributes:
            return []
        unit: Any = die.cu
        base = _number(unit.get_top_DIE(), "DW_AT_low_pc")
        made: list[tuple[int, int]] = []
        entries: list[Any] = lists.get_range_list_at_offset(die.attributes["DW_AT_ranges"].value, unit)
        for entry in entries:
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                start = 0 if entry.is_absolute else base
                made.append((start + entry.begin_offset, start + entry.end_offset))
        return made


def _top(die: DIE, prefix: str) -> Iterator[tuple[str, DIE]]:
    """Variables and functions with their qualified names, those in namespaces and the statics of functions included."""
    for child in die.iter_children():
        origin = child
        for attribute in ("DW_AT_specification", "DW_AT_abstract_origin"):
            if attribute in child.attributes and not _name(child):
                origin = child.get_DIE_from_attribute(attribute)
        name = _name(origin)
        if child.tag == "DW_TAG_namespace":
            yield from _top(child, f"{prefix}{name}::" if name else prefix)
        elif child.tag == "DW_TAG_subprogram":  # without a name, where clang has put all its calls in line
            yield from _statics(child, f"{prefix}{name}::" if name else prefix)
        if child.tag in ("DW_TAG_variable", "DW_TAG_subprogram") and name:
            if origin is not child and "DW_AT_type" not in child.attributes:
                yield prefix + name, (origin if child.tag == "DW_TAG_subprogram" else child)
            else:
                yield prefix + name, child


def _statics(scope: DIE, prefix: str) -> Iterator[tuple[str, DIE]]:
    """Variables of a function, and of the blocks in it, that have one place for good."""
    for child in scope.iter_children():
        if child.tag == "DW_TAG_lexical_block":
            yield from _statics(child, prefix)
        elif child.tag == "DW_TAG_variable" and _name(child):
            location: Any = child.attributes["DW_AT_location"].value if "DW_AT_location" in child.attributes else None
            if isinstance(location, list) and location[:1] in ([DW_OP_ADDR], [DW_OP_ADDRX]):
                yield prefix + _name(child), child


def _text(die: DIE, attribute: str) -> str:
    found = die.attributes.get(attribute)
    return os.fsdecode(found.value) if found is not None and isinstance(found.value, bytes) else ""


def _name(die: DIE) -> str:
    return _text(die, "DW_AT_name")


def _number(die: DIE, attribute: str) -> int:
    found = die.attributes.get(attribute)
    return found.value if found is not None and isinstance(found.value, int) else 0


def _typed(die: DIE | None) -> DIE | None:
    """The type of a variable, member, parameter, function or type, names taken off."""
    while die is not None:
        for attribute in ("DW_AT_specification", "DW_AT_abstract_origin"):
            if "DW_AT_type" not in die.attributes and attribute in die.attributes:
                die = die.get_DIE_from_attribute(attribute)
        if "DW_AT_type" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag not in NAMES_ONLY:
            return die
    return None


def _size(type_: DIE | None) -> int:
    if type_ is None:
        return 0
    if type_.tag != "DW_TAG_array_type":
        return _number(type_, "DW_AT_byte_size") or (8 if "pointer" in str(type_.tag) else 0)
    size = _size(_typed(type_))
    for count in _counts(type_):
        size *= count
    return size


def _counts(array: DIE) -> list[int]:
    ranges = [d for d in array.iter_children() if d.tag == "DW_TAG_subrange_type"]
    return [_number(d, "DW_AT_count") or _number(d, "DW_AT_upper_bound") + 1 for d in ranges]


def _parts(type_: DIE | None) -> Iterator[tuple[str, int, DIE | None]]:
    """Members and bases of a struct: name, offset, type. Those without a name are their own members."""
    if type_ is None or type_.tag not in STRUCTS:
        return
    for child in type_.iter_children():
        if child.tag not in ("DW_TAG_member", "DW_TAG_inheritance") or "DW_AT_external" in child.attributes:
            continue
        offset, inner = _number(child, "DW_AT_data_member_location"), _typed(child)
        if _name(child):
            yield _name(child), offset, inner
        else:
            for name, more, part in _parts(inner):
                yield name, offset + more, part


def _unwrapped(type_: DIE | None) -> DIE | None:
    while type_ is not None and type_.tag in STRUCTS:
        whole = [part for _, offset, part in _parts(type_) if offset == 0 and _size(part) == _size(type_)]
        others = [part for _, offset, part in _parts(type_) if _size(part) and part not in whole]
        if len(whole) != 1 or others:
            return type_
        type_ = whole[0]
    return type_


def _member(whole: Object, name: str) -> Object | None:
    for type_ in (whole.type, _unwrapped(whole.type)):
        for known, offset, part in _parts(type_):
            if known == name:
                return Object(whole.address + offset, part)
    return None


def _element(whole: Object, index: int) -> Object | None:
    array = _unwrapped(whole.type)
    if array is None or array.tag != "DW_TAG_array_type":
        return None
    counts = _counts(array)
    if len(counts) != 1 or index >= counts[0]:
        return None
    inner = _typed(array)
    return Object(whole.address + index * _size(inner), inner)


def _names(type_: DIE | None) -> Iterator[str]:
    inner = _unwrapped(type_)
    if inner is not None and inner.tag == "DW_TAG_array_type":
        yield f"{_counts(inner)[0]} elements"
    yield from (name for name, _, _ in _parts(type_))


def _path(whole: Object, address: int) -> str:
    """The way to the innermost part at an address: .pid.pir[2]."""
    type_ = _unwrapped(whole.type)
    if type_ is not None and type_.tag == "DW_TAG_array_type":
        inner = _typed(type_)
        index = (address - whole.address) // max(1, _size(inner))
        return f"[{index}]" + _path(Object(whole.address + index * _size(inner), inner), address)
    for name, offset, part in _parts(type_):
        if whole.address + offset <= address < whole.address + offset + _size(part):
            return f".{name}" + _path(Object(whole.address + offset, part), address)
    return ""


def _passed(type_: DIE | None) -> str | None:
    """How a value of this type is passed, in the runtime's letters."""
    if type_ is None:
        return "v"
    size = _number(type_, "DW_AT_byte_size") or 8
    if type_.tag == "DW_TAG_base_type":
        letter = ENCODINGS.get(_number(type_, "DW_AT_encoding"), "")
        return letter if letter == "b" else f"{letter}{size}" if letter and size <= 8 else None
    if type_.tag == "DW_TAG_enumeration_type":
        return f"u{size}"
    if type_.tag in ("DW_TAG_pointer_type", "DW_TAG_reference_type"):
        inner = _typed(type_)
        text = inner is not None and inner.tag == "DW_TAG_base_type" and _number(inner, "DW_AT_encoding") in (6, 8)
        return "s" if text and _size(inner) == 1 else "p"
    return None
