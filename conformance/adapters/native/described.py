"""`native:FILE.toml`: a description of which functions of a native program are routines, and which objects are shared.

    sources = ["posted.c"]                 # C, C++, Rust; objects and archives are linked as they are
    [routines]                             # of roles, and of their handlers; and the functions they are
    deliver_interrupt = "deliver_interrupt"
    [objects]                              # vcpu0 is vcpus[0], and so on
    vcpu = "vcpus"
    [members]                              # where a location is not the member of that name
    "pid.control" = "pi_desc.control"

A location such as vcpu0.pid.pir[3] is then vcpus[0].pid.pir[3], whose address and size the program's debug information
tells. Members that are no location are private to each call.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec

from conformance.adapters import protocol
from conformance.adapters.declared import implementation_of, world_of
from conformance.adapters.filled import fill
from conformance.adapters.native import tool
from conformance.adapters.native.build import HERE, NativeError, from_first_error, hooks_of
from conformance.adapters.native.debuginfo import DebugInfoError, Object
from conformance.adapters.native.program import NativeProgram, Row
from conformance.adapters.pipe import STEP_SECONDS, PipeError
from conformance.adapters.registry import AdapterError, Implementation
from conformance.roles import architectures

PRIVATE = re.compile(r"^irq(\d+)\.")
"""Of a vCPU's location: whose it is among its private interrupts."""
OBJECTS = ("vcpu", "cpu", "vm", "irq")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A native program, as its TOML file describes it. Paths, in flags too, and `command` are relative to that file."""

    sources: tuple[str, ...]
    routines: Mapping[str, str]
    """Routine to function."""
    objects: Mapping[str, str]
    """vcpu, cpu: an array of the program with an element for each; vm: a variable; irq: an array by interrupt number,
    where the architecture has interrupts with state of their own. A vCPU's private ones are its member irq[n].
    """
    members: Mapping[str, str] = {}
    """Location, without its owner, to member; `:8` after it says how many bytes from there on the location has."""
    private: tuple[str, ...] = ()
    """Variables that calls leave for each other on purpose: statistics. A static of a function is function::name."""
    glue: tuple[str, ...] = ()
    """Files and folders that stand between the code under test and the suite: the line that called them is shown."""
    state: protocol.DeclaredState = protocol.DeclaredState()
    """Locations of its own."""
    name: str = ""
    architecture: str = ""
    profile: str = "generic"
    handlers: Mapping[str, str] = {}
    not_applicable: Mapping[str, str] = {}
    lacks: tuple[str, ...] = ()
    compiler: str = ""
    cflags: tuple[str, ...] = ()
    command: str = ""
    """Run by the shell before, to make the sources or objects; INTACK_CFLAGS is how to compile with the hooks."""
    step_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = STEP_SECONDS

    def declaration(self) -> protocol.Declaration:
        return protocol.Declaration(
            version=protocol.VERSION,
            routines=tuple(self.routines),
            name=self.name,
            architecture=self.architecture,
            profile=self.profile,
            state=self.state,
            handlers=self.handlers,
            not_applicable=self.not_applicable,
            lacks=self.lacks,
        )


class DescribedProgram(NativeProgram):
    """The program that the file describes."""

    def __init__(self, file: Path, description: Description, world: protocol.WorldMessage | None = None) -> None:
        super().__init__(
            [file.parent / source for source in description.sources],
            cflags=(f"-I{file.parent.absolute()}", *description.cflags) if _for_cc(description) else description.cflags,
            compiler=description.compiler,
            folder=file.parent,
            step_seconds=description.step_seconds,
            world=world,
        )
        self.file, self.description = file, description
        self.glue = tuple(file.parent / part for part in description.glue)

    def prepare(self, folder: Path) -> tuple[Sequence[Path], Sequence[str]]:
        if self.description.command:
            flags = " ".join(("-g", *hooks_of(self.compiler), f"-I{HERE}"))
            failed = f"{self.file}: the command failed: {self.description.command}"
            try:
                done = tool.run(self.description.command, self.file.parent, {**os.environ, "INTACK_CFLAGS": flags})
            except tool.HangsError as error:
                raise NativeError(f"{failed}: {error}", "build") from None
            if done.returncode:
                said = from_first_error((done.stdout + done.stderr).decode(errors="replace"))
                raise NativeError(f"{failed}\n{said}", "build")
        for source in self.sources:
            if not source.is_file():
                raise NativeError(f"{self.file}: there is no source {source}", "build")
        return self.sources, self.cflags

    def roots(self) -> Sequence[str]:
        """What an archive or a compiler must not leave out."""
        d = self.description
        variables = (o.partition("[")[0].partition(".")[0] for o in d.objects.values())
        return [n for n in dict.fromkeys((*d.routines.values(), *variables)) if "::" not in n]

    def layout(self) -> tuple[Row, ...]:
        """Where everything of this world is. Raises NativeError."""
        try:
            return (*self._routines(), *self._private(), *self._objects())
        except DebugInfoError as error:
            raise NativeError(f"{self.file}: {error}", "build") from None

    def _routines(self) -> Iterator[Row]:
        for routine, function in self.description.routines.items():
            address, types = self.debug.function(function)
            yield "routine", address, 0, routine, types

    def _private(self) -> Iterator[Row]:
        for variable in self.description.private:
            found = self.debug.object(variable)
            yield "private", found.address, found.bytes, variable, ""

    def _objects(self) -> Iterator[Row]:
        owners = dict.fromkeys(self.world.vcpus, "vcpu")
        owners |= {f"cpu{n}": "cpu" for n in range(self.world.cpus)} | {"vm": "vm"}
        owners |= {f"irq{n}": "irq" for n in self.world.vectors if "irq" in self.description.objects and self._has(n)}
        used: set[str] = set()
        for name, kind in owners.items():
            expression = self.description.objects.get(kind)
            if expression is None:
                continue
            one = name.removeprefix(kind)
            whole = self.debug.object(f"{expression}[{one}]" if one else expression)
            yield "object", whole.address, whole.bytes, one if kind == "irq" else name, ""
            for at, what in self.world.locations.items():
                owner, _, short = at.partition(".")
                if owner == name and (part := self._part(whole, kind, short)) is not None:
                    used.add(kind)
                    yield what, part[0], part[1], at, ""
        if unused := [o for k, o in self.description.objects.items() if k not in used and k in owners.values()]:
            known = sorted({at.partition(".")[2] for at in self.world.locations})
            raise DebugInfoError(
                f"nothing in {', '.join(unused)} is a location; write under [members] which member stands for which of: "
                + ", ".join(known)
            )

    def _has(self, interrupt: int) -> bool:
        """Whether the array of interrupts goes so far: what only hardware has need not be in it."""
        array = self.description.objects["irq"]
        self.debug.object(array)
        try:
            self.debug.object(f"{array}[{interrupt}]")
        except DebugInfoError:
            return False
        return True

    def _part(self, whole: Object, kind: str, short: str) -> tuple[int, int] | None:
        """Address and size of a location in its object, if the program has it there."""
        own = short in getattr(self.description.state, kind)
        short = PRIVATE.sub(r"irq[\1].", short)
        member, _, size = self.description.members.get(short, short).partition(":")
        try:
            part = self.debug.inside(whole, member)
        except DebugInfoError as error:
            if own or short in self.description.members:
                raise DebugInfoError(
                    f"the location {short} of a {kind} should be its member {member}: {error}"
                ) from None
            return None
        bytes_ = int(size) if size.isdecimal() else part.bytes
        locked = self.world.locations.get(short) in ("lock", "list")
        if not locked and not 0 < bytes_ <= 8 and own:
            raise DebugInfoError(f"the member {member} is of {bytes_} bytes; a location is of 8 at most")
        return part.address, min(bytes_, 8)


def adapter(argument: str) -> Implementation:
    """Native code of yours, instrumented by its own compiler: native:FILE.toml describes it (intack new, intack build)."""
    program = described(argument)
    try:
        program.build()
        _ = program.debug  # read once, for all worlds
    except NativeError as error:
        raise AdapterError(f"native:{argument}: {error}") from error
    description = program.description
    name = description.name or Path(argument).stem
    implementation = implementation_of(
        description.declaration(), name, f"native:{argument}", lambda world: program.in_world(world_of(world))
    )
    (architecture,) = implementation.architectures
    world = fill(implementation, architectures()[architecture].example).world
    try:
        program.in_world(world_of(world)).layout()  # is there what the file describes?
    except PipeError as error:
        raise AdapterError(f"native:{argument}: {error}") from None
    return replace(implementation, file=argument)


def described(argument: str) -> DescribedProgram:
    """The program that a file describes. Raises AdapterError."""
    file = Path(argument)
    if not argument:
        raise AdapterError(
            "native: needs the file that describes the program, native:FILE.toml (see intack new --help)"
        )
    try:
        told = tomllib.loads(file.read_text())
        if rb"\u0000" in msgspec.json.encode(told):
            raise msgspec.ValidationError("a name holds the character NUL")
        description = msgspec.convert(told, Description)
    except OSError as error:
        raise AdapterError(f"native:{argument}: cannot read it: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeError, RecursionError, ValueError) as error:
        raise AdapterError(f"native:{argument}: it does not describe a program: {error}") from None
    if unknown := sorted(set(description.objects) - set(OBJECTS)):
        raise AdapterError(f"native:{argument}: [objects] has {', '.join(unknown)}; there are {', '.join(OBJECTS)}")
    return DescribedProgram(file, description)


def _for_cc(description: Description) -> bool:
    return not any(source.endswith(".rs") for source in description.sources)
