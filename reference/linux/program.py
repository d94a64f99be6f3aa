"""Files of a tree, whole or cut, and our harness, as a native program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from conformance.adapters import protocol
from conformance.adapters.kernel import Kernel
from conformance.adapters.native import NativeError, NativeProgram
from conformance.adapters.registry import AdapterError
from reference.linux.patch import changed_lines
from reference.linux.slice import CFile
from reference.linux.tree import Tree, tree_of

HERE = Path(__file__).parent
STUB = HERE / "stub"
FLAGS = ("-std=gnu11", "-fno-strict-aliasing", "-fms-extensions", "-Werror=implicit-function-declaration")

MISSING = re.compile(r"(?:implicit declaration of function|undefined reference to)\W*(\w+)|\W(\w+)\W undeclared")
"""What a compiler or linker says of a function that it does not know."""
ROUNDS = 8
"""Of finding out what else has to be cut."""


class Whole(NamedTuple):
    """A file that is compiled, or included by others, as it is."""

    file: str


class Cut(NamedTuple):
    """Functions of a file, between `prelude`, which includes the stub headers that they need, and `epilogue`, which makes
    static ones known to the harness. They go into a file of their own, or with others `into` one that the stubs include.
    """

    file: str
    functions: tuple[str, ...]
    prelude: str = "#include <linux/kvm_host.h>\n"
    epilogue: str = ""
    into: str = ""


Part = Whole | Cut


class Edit(NamedTuple):
    """Other text in one function. `old` is text, whose spaces stand for any white space; it must occur there once."""

    function: str
    old: str
    new: str


class KernelProgram(NativeProgram):
    """`parts` of `tree`, compiled with the stub headers of an architecture (`folder`/stub, then those that all share) and its
    harness. Functions that are called and not found are cut out of the same files, as far as they have them: `added`.

    `edits` are done before they are compiled.
    """

    def __init__(
        self,
        tree: Tree,
        folder: Path,
        parts: Sequence[Part],
        harness: Sequence[Path],
        *,
        edits: Sequence[Edit] = (),
        cflags: Sequence[str] = (),
        compiler: str = "",
        world: protocol.WorldMessage | None = None,
    ) -> None:
        include = (f"-I{folder / 'stub'}", f"-I{STUB}", f"-I{folder}")
        super().__init__(
            (*harness, STUB / "stub.c"), cflags=(*FLAGS, *include, *cflags), compiler=compiler, world=world
        )
        self.tree, self.parts, self.edits = tree, tuple(parts), tuple(edits)
        headers = (tree.root / part.file for part in parts if part.file.endswith(".h"))
        self.glue = (folder, STUB, *headers)
        self.added: dict[str, tuple[str, ...]] = {}
        """File to the functions of it that were cut because others call them."""

    def build(self) -> Path:
        for _ in range(ROUNDS):
            try:
                return super().build()
            except NativeError as error:
                if not self._add([one or other for one, other in MISSING.findall(str(error))]):
                    raise self._told(error) from None
        return super().build()

    def _told(self, error: NativeError) -> NativeError:
        """With what the compiler said, without how it was called."""
        _, _, said = str(error).partition("\n")
        of = self.tree.root if self.tree.release == "unknown" else f"Linux {self.tree.release}"
        what = f"{of} and the stub headers do not compile together:\n{said}"
        return NativeError(what, "build") if said else error

    def _add(self, names: Sequence[str]) -> bool:
        """Cut these, too, out of the files that define them; whether there are any."""
        more = False
        for part in self.parts:
            if isinstance(part, Cut):
                known = self.files[part.file].functions
                have = {*part.functions, *self.added.get(part.file, ())}
                new = [name for name in dict.fromkeys(names) if name in known and name not in have]
                self.added[part.file] = (*self.added.get(part.file, ()), *new)
                more |= bool(new)
        return more

    @property
    def files(self) -> Mapping[str, CFile]:
        """Each part's file by its name, edits done. Raises NativeError."""
        files = {part.file: CFile(part.file, self.tree.read(part.file)) for part in self.parts}
        for edit in self.edits:
            found = [name for name, file in files.items() if edit.function in file.functions]
            if len(found) != 1:
                where = f"is in {', '.join(found)}" if found else "is in no file that is taken"
                raise NativeError(f"{edit.function} {where} of Linux {self.tree.release}", "build")
            files[found[0]] = edited(files[found[0]], edit)
        return files

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        """Write the parts to where their includes find our stubs, not their neighbours."""
        files, texts, compiled = self.files, dict[str, str](), list[Path]()
        self._refuse_assembly(files)
        for part in self.parts:
            name = Path(part.file).name
            file = CFile(str(self.tree.root / part.file), files[part.file].text)
            if isinstance(part, Whole):
                name = f"asm/{name}" if "/asm/" in part.file else name
                text = f'#line 1 "{file.name}"\n{file.text}'
            else:
                name = part.into or name
                cut = file.cut((*part.functions, *self.added.get(part.file, ())))
                text = f'{part.prelude}{cut}#line 1 "{name}"\n{part.epilogue}'
            texts[name] = texts.get(name, "") + text
        for name, text in texts.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, errors="surrogateescape")
            if name.endswith(".c"):
                compiled.append(folder / name)
        return (*self.sources, *compiled), (*self.cflags, f"-I{folder}")

    def told(self, world: protocol.WorldMessage) -> protocol.WorldMessage:
        """Of a world what the harness and the stubs look at: where that is the same, so are the answers."""
        vectors, facts = self._looks_at
        return protocol.WorldMessage(
            vcpus=world.vcpus,
            cpus=world.cpus,
            vectors=world.vectors if vectors else (),
            facts=tuple(fact for fact in world.facts if fact in facts),
        )

    @cached_property
    def _looks_at(self) -> tuple[bool, frozenset[str]]:
        """Whether at the vectors, and at which facts."""
        text = "\n".join(path.read_text() for glue in self.glue for path in glue.rglob("*.[ch]"))
        return "intack_vector" in text, frozenset(re.findall(r"\bintack_fact\(\"([\w.-]+)\"\)", text))

    def _refuse_assembly(self, files: Mapping[str, CFile]) -> None:
        unseen: list[str] = []
        for part in self.parts:
            cut = (*part.functions, *self.added.get(part.file, ())) if isinstance(part, Cut) else ()
            unseen += files[part.file].unseen(name for name in cut if name in files[part.file].functions)
        if unseen:
            raise NativeError(
                f"inline assembly that may touch memory, which nobody would see: {'; '.join(unseen)}. Cut the functions "
                "without these, and give those a stub on the compiler's atomics (reference/linux/stub/linux/atomic.h).",
                "build",
            )


def taken(spec: str, name: str, patch: str, parts_of: Callable[[Tree], Sequence[Part]]) -> Kernel:
    """What an architecture takes of the tree called `name`, and what a patch to it changes of that; what comes after a tilde is
    the adapter's to know. Raises AdapterError.
    """
    name, tilde, edit = name.partition("~")
    try:
        tree = tree_of(name)
        then = tree_of(f"{name or tree.root}+{patch}") if patch else tree
        parts = {part.file: part.functions if isinstance(part, Cut) else () for part in parts_of(then)}
        lines = {
            file: changed_lines(tree.read(file) if tree.has(file) else "", text)
            for file, text in then.patched.items()
            if file in parts
        }
        touched = [
            function.name
            for file, numbers in lines.items()
            for functions in CFile(file, then.read(file)).functions.values()
            for function in functions
            if numbers & set(range(function.line, function.line + function.text.count("\n") + 1))
            and (not parts[file] or function.name in parts[file])
        ]
    except NativeError as error:
        raise AdapterError(f"{spec}: {error}") from None
    elsewhere = tuple(file for file in then.patched if file not in parts)
    full = (f"{name or tree.root}+{patch}" if patch else name) + tilde + edit
    return Kernel(f"{spec}:{full}" if full else spec, then.release, parts, lines, touched, elsewhere)


def edited(file: CFile, edit: Edit) -> CFile:
    """Later lines keep their numbers. Raises NativeError."""
    (function,) = file.functions[edit.function]
    pattern = r"\s+".join(map(re.escape, edit.old.split()))
    found = list(re.finditer(pattern, function.text))
    if len(found) != 1:
        raise NativeError(f"{edit.old!r} occurs {len(found)} times in {file.name}: {edit.function}, not once", "build")
    new = edit.new + "\n" * (found[0][0].count("\n") - edit.new.count("\n"))
    text = function.text[: found[0].start()] + new + function.text[found[0].end() :]
    return CFile(file.name, file.text.replace(function.text, text, 1))
