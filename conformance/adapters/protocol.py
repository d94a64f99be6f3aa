"""The pipe protocol: the pure function of an implementation, asked in lines of JSON. docs/protocol.md explains it.

    suite   {"type":"hello","version":1,"limit_ms":5000,"world":{...}}
    program {"type":"hello","version":1,"routines":["deliver_interrupt"]}
    suite   {"type":"step","id":1,"questions":[{"routine":"deliver_interrupt","arguments":["vcpu0",200],"results":[]}]}
    program {"type":"step","id":1,"answers":[{"op":"rmw","at":"vcpu0.pid.pir[3]","how":"or","value":256,"mask":256}]}
    suite   {"type":"bye"}

Python values here, JSON there: a tuple is an array, and an integer of more than 53 bits is written as a string of
hexadecimal digits ("0xffffffffffffffff"), because many languages read a JSON number as a double. Both sides may write
any integer so; no name begins with 0x. The schema is protocol.schema.json beside this file;
`python -m conformance.adapters.protocol` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from conformance.adapters.answers import wrong_words
from conformance.roles import operations as ops

VERSION = 1
EXACT = (1 << 53) - 1
"""The largest integer that every reader of JSON keeps exactly."""
WORD_BITS = 64

Kind: TypeAlias = Literal["crash", "timeout", "refused", "undeclared"]
LocationKind: TypeAlias = Literal["word", "list", "lock"]


class ProtocolError(Exception):
    """A line that is no message of this protocol, or not the one that is due. The message says what was wrong."""


class WorldMessage(msgspec.Struct, frozen=True):
    """One scenario, as far as a routine may know it."""

    vcpus: tuple[str, ...] = ()
    cpus: int = 0
    vectors: tuple[int, ...] = ()
    facts: tuple[str, ...] = ()
    locations: Mapping[str, LocationKind] = {}
    """Every shared location; words are 64 bits."""


class Initial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A location of the implementation's own; see conformance.roles.location.Shared."""

    initial: int | tuple[str, ...] = 0
    guarded_by: str = ""
    lock: bool = False


Locations: TypeAlias = Mapping[str, int | Initial]


class DeclaredState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Locations of its own, for each vCPU, each CPU and once, by name without owner."""

    vcpu: Locations = {}
    cpu: Locations = {}
    vm: Locations = {}
    irq: Locations = {}
    """For each interrupt, where the architecture has interrupts with state of their own."""


class Declaration(msgspec.Struct, frozen=True, tag_field="type", tag="hello", forbid_unknown_fields=True):
    """What a program offers: it fills each role whose routines it has, all of them."""

    version: int
    routines: tuple[str, ...]
    name: str = ""
    architecture: str = ""
    """Whose roles these are; needed only where several architectures ask for such routines."""
    profile: str = "generic"
    state: DeclaredState = DeclaredState()
    handlers: Mapping[str, str] = {}
    """Host interrupt vector, as hexadecimal digits, to routine."""
    not_applicable: Mapping[str, str] = {}
    lacks: tuple[str, ...] = ()


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first line: the version that the suite speaks, and the scenario. `layout` is for the native runtime alone."""

    version: int
    world: WorldMessage
    limit_ms: int
    layout: tuple[tuple[str, int, int, str, str], ...] = ()


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What does the routine, called with these arguments, do after these results of its operations? `follow` is for the
    native runtime alone: results that may come next. It answers ahead then, as far as it knows or can guess how this goes on.
    """

    routine: str
    arguments: tuple[Any, ...]
    results: tuple[Any, ...]
    follow: tuple[Any, ...] | None = None


class Step(msgspec.Struct, frozen=True, tag_field="type", tag="step"):
    """Questions that have nothing to do with each other; the answers come in their order, under the same id."""

    id: int
    questions: tuple[Question, ...]


class Bye(msgspec.Struct, frozen=True, tag_field="type", tag="bye"):
    """The last line: the program ends."""


class Ahead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What comes after an answer: the first answer after the first result, and so on. `results` are those that were guessed, when
    there are no more that may follow.
    """

    results: tuple[Any, ...]
    answers: tuple[Any, ...]


class Answers(msgspec.Struct, frozen=True, tag_field="type", tag="step", forbid_unknown_fields=True):
    """`ahead`: the native runtime's, of each question."""

    id: int
    answers: tuple[Any, ...]
    ahead: tuple[Ahead, ...] = ()


class Trouble(msgspec.Struct, frozen=True, tag_field="type", tag="error", forbid_unknown_fields=True):
    """The program cannot go on, and says why."""

    what: str


class Finish(msgspec.Struct, frozen=True, tag_field="op", tag="return"):
    """A Return. Flat, because msgspec does not read the recursive type of a Result."""

    then: tuple[Any, ...] = ()
    value: Any = None


class Failure(msgspec.Struct, frozen=True, tag_field="op", tag="error"):
    """In place of an operation: this run ended without one. The places are the native runtime's."""

    kind: Kind
    what: str
    at: tuple[int, ...] = ()
    """Where in the program: an address, then those of the calls that it is in, innermost first."""
    after: int = 0
    """Where it asked for the operation before."""
    object: int = 0
    """The memory that it is about."""


Message: TypeAlias = Hello | Step | Bye
Reply: TypeAlias = Declaration | Answers | Trouble

_FIELDS: Mapping[str, frozenset[str]] = {
    str(cls.__struct_config__.tag): frozenset(cls.__struct_fields__) | {"op", "site"}
    for cls in (*ops.AnyOperation.__args__, Finish, Failure)
}


def encode(message: Message) -> bytes:
    """A message as its line, with the line feed."""
    plain = msgspec.to_builtins(message)
    return msgspec.json.encode(plain if isinstance(message, Bye) else _exact(plain)) + b"\n"


def decode(line: bytes) -> Reply:
    """The reply that a line holds. Raises ProtocolError."""
    try:
        plain = msgspec.json.decode(line)
        return msgspec.convert(_integers(plain) if b'"0x' in line else plain, Reply)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ProtocolError(f"no reply of this protocol: {error}") from None


def answer_of(raw: Any) -> tuple[ops.Answer | Failure, str]:
    """One answer, and where in the program it was asked for, if it says so. Raises ProtocolError."""
    if not isinstance(raw, dict):
        raise ProtocolError(f"an answer is an object with the key op, not {raw!r}")
    known = _FIELDS.get(str(raw.get("op")))
    if known is None:
        raise ProtocolError(f"no operation is called {raw.get('op')!r}; there are {', '.join(_FIELDS)}")
    if unknown := raw.keys() - known:
        raise ProtocolError(
            f"the operation {raw['op']} has no field {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}"
        )
    site = raw.pop("site", "")
    try:
        answer = msgspec.convert(raw, ops.AnyOperation | Finish | Failure)
        if isinstance(answer, Finish):
            return ops.Return(result_of(list(answer.then)), result_of(answer.value)), str(site)  # type: ignore[arg-type]
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the operation {raw['op']} is not complete or not of the right types: {error}") from None
    if wrong := wrong_words(answer):
        raise ProtocolError(wrong)
    return answer, f"{site:#x}" if isinstance(site, int) else str(site)


def result_of(value: Any) -> ops.Result:
    """A value of JSON as a result: arrays become tuples. Raises ProtocolError."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(result_of(item) for item in value)
    raise ProtocolError(f"{value!r} is neither null, true, false, an integer, a string nor an array of these")


def check_value(value: ops.Result | tuple[Any, ...]) -> None:
    """Raises ProtocolError for what a line cannot carry."""
    if isinstance(value, tuple):
        for item in value:
            check_value(item)
    elif isinstance(value, str):
        if not value.isascii() or not value.isprintable() or set(value) & {" ", '"', "\\"} or value.startswith("0x"):
            raise ProtocolError(
                f"a name is made of printable ASCII without spaces, quotes and backslashes, and does not begin with 0x, unlike {value!r}"
            )
    elif isinstance(value, int) and not -(1 << 63) <= value <= ops.WORD:
        raise ProtocolError(f"{value} does not fit into {WORD_BITS} bits")


def _exact(value: Any) -> Any:
    """With every integer that a double cannot hold as hexadecimal digits."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -EXACT <= value <= EXACT else f"{value:#x}"
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value


def _integers(value: Any) -> Any:
    """The inverse of `_exact`."""
    if isinstance(value, str):
        return int(value, 16) if value.startswith("0x") else value
    if isinstance(value, dict):
        return {key: _integers(item) for key, item in value.items()}
    return [_integers(item) for item in value] if isinstance(value, list) else value


def schema() -> dict[str, Any]:
    """The JSON schema of one line: what the suite may send, and what a program may reply."""
    answers = (*ops.AnyOperation.__args__, Finish, Failure)
    types = [*Message.__args__, *Reply.__args__, *answers]
    _, found = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    definitions = {name: _as_written(schema) for name, schema in found.items()}
    result: dict[str, Any] = {"anyOf": [{"type": kind} for kind in ("null", "boolean", "string")]}
    result["anyOf"] += [{"$ref": "#/$defs/Integer"}, {"type": "array", "items": {"$ref": "#/$defs/Result"}}]
    definitions["Result"] = result
    definitions["Integer"] = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?0x[0-9a-f]+$"}]}
    definitions["Answer"] = {"oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in answers]}
    for cls in answers:
        definitions[cls.__name__]["properties"]["site"] = {"type": "string"}
        definitions[cls.__name__]["additionalProperties"] = False
    several = {"type": "array", "items": {"$ref": "#/$defs/Result"}}
    definitions["Question"]["properties"] |= {"arguments": several, "results": several, "follow": several}
    definitions["Ahead"]["properties"] |= {"results": several}
    definitions["Finish"]["properties"] |= {"then": several, "value": {"$ref": "#/$defs/Result"}}
    definitions["Answers"]["properties"]["answers"] = {"type": "array", "items": {"$ref": "#/$defs/Answer"}}
    either = {
        side: {"oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in union.__args__]}
        for side, union in (("Message", Message), ("Reply", Reply))
    }
    title = f"intack.pipe/{VERSION}"
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, "anyOf": [{"$ref": f"#/$defs/{side}"} for side in either], "$defs": {**either, **definitions}}


def _as_written(schema: Any) -> Any:
    """With integers as the wire has them."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            return {"$ref": "#/$defs/Integer"} | {k: v for k, v in schema.items() if k == "default"}
        return {key: _as_written(value) for key, value in schema.items()}
    return [_as_written(item) for item in schema] if isinstance(schema, list) else schema


def schema_text() -> str:
    """The schema as committed."""
    return msgspec.json.format(msgspec.json.encode(_exact(schema())), indent=1).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
