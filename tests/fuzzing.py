"""A fuzzer for each door by which something comes in from outside: whatever is thrown at it is taken, or refused in words.

    python tests/fuzzing.py 10000            # so many cases of each door; nox -s fuzz
    python tests/fuzzing.py 1 litmus 4711    # one again

A case is known by its door and number alone. What a door may raise is what its callers turn into a message; anything else
is a finding, and so is a case that takes long.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import click
import msgspec
from tiny_reports import many, some_verdicts

from conformance.adapters import protocol
from conformance.adapters.answers import Allowed
from conformance.adapters.declared import implementation_of
from conformance.adapters.native.described import described
from conformance.adapters.registry import AdapterError, of_class, resolve
from conformance.adapters.source import Fault
from conformance.commands.main import cli
from conformance.litmus.grammar import Damaged
from conformance.litmus.observe import observe
from conformance.litmus.parse import parse
from conformance.litmus.program import build
from conformance.litmus.values import Unsupported
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.ordering import names
from conformance.report import difference, document, expected, formats
from conformance.report.document import ReportError
from conformance.roles import operations as ops
from conformance.roles.x86 import Cpu, Field, Vcpu
from conformance.search.proof import prove, shortest
from conformance.search.replay import VERSION, ReplayError, _checksum, decode, encode, follow
from conformance.verdict import again
from properties.suite import SUITE
from reference.x86.kvm import Kvm

ROOT = Path(__file__).parent.parent
SECONDS = 30.0
"""For one case."""
RANDOM = random.Random

NUMBERS = (
    *("0", "-1", "1", "255", "256", "300", "4294967296", "18446744073709551616", "8000000000", "9" * 90),
    *("0x", "0x-1", "1e999", "nan"),
)
SCRAPS = (
    *(
        "",
        " ",
        "\n",
        "\t",
        "\0",
        "\x1b[2J",
        "é",
        "\udcff",
        "\u202e",
        "((((",
        "))",
        "[[[[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "\\",
    ),
    *(",", ";", ":", "|", "=", "<", "#", "%", "$", "&", "*", "~", "/\\", "\\/", "=>", "null", "true", "[]", "{}"),
)


def mutated(rng: RANDOM, text: str) -> str:
    """A few changes, each of a piece of the text."""
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        a = rng.randrange(len(text) + 1)
        b = min(len(text), a + rng.choice((0, 1, 2, 5, 40)))
        match rng.randrange(6):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:b] * rng.choice((1, 2, 50)) + text[b:]
            case 2:
                text = text[:a] + rng.choice(SCRAPS) * rng.choice((1, 1, 1, 300)) + text[b:]
            case 3:
                text = text[:a] + rng.choice(NUMBERS) + text[b:]
            case 4:
                c = rng.randrange(len(text) + 1)
                text = text[:a] + text[c : c + 30] + text[b:]
            case _:
                text = text[:a] + chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x800)))) + text[b:]
    return text


# The doors


def litmus(rng: RANDOM) -> None:
    text = mutated(rng, rng.choice(litmus_files()))
    with contextlib.suppress(Damaged, Unsupported):
        if rng.random() < 0.02:
            str(observe(text, seconds=1))
        else:
            build(parse(text))


def manifest(rng: RANDOM) -> None:
    file = folder() / "m.toml"
    file.write_text(mutated(rng, rng.choice(manifests())), errors="surrogatepass")
    with contextlib.suppress(AdapterError):
        description = described(str(file)).description
        implementation_of(description.declaration(), description.name or "m", "native:m.toml", lambda world: world)


def reply(rng: RANDOM) -> None:
    line = mutated(rng, rng.choice(replies()))
    with contextlib.suppress(protocol.ProtocolError, AdapterError):
        message = protocol.decode(line.encode(errors="surrogatepass"))
        if isinstance(message, protocol.Declaration):
            implementation_of(message, message.name or "program", "exec:program", lambda world: world)
        for raw in message.answers if isinstance(message, protocol.Answers) else ():
            Allowed(256).wrong(protocol.answer_of(raw)[0])


def replay(rng: RANDOM) -> None:
    machine, string = replayed()
    if rng.random() < 0.3:
        string = mutated(rng, string)
    else:
        body = string.split(".")[1]
        raw = zlib.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))).decode()
        body = base64.urlsafe_b64encode(zlib.compress(mutated(rng, raw).encode(errors="surrogatepass"))).decode()
        string = f"{VERSION}.{body.rstrip('=')}.{_checksum(body.rstrip('='))}"
    with contextlib.suppress(ReplayError):
        follow(machine, decode(string).steps)
        again.fitting(string, SUITE)


def stored(rng: RANDOM) -> None:
    """A report, and what is made of one that is taken."""
    file = folder() / "r.json"
    file.write_text(mutated(rng, rng.choice(stored_reports())), errors="surrogatepass")
    with contextlib.suppress(ReportError):
        report = document.read(file)
        rng.choice(list(formats.FORMS.values()))(report).encode()
        difference.text(difference.difference(report, report))


def expectation(rng: RANDOM) -> None:
    file = folder() / "e.toml"
    file.write_text(mutated(rng, EXPECTED), errors="surrogatepass")
    with contextlib.suppress(ReportError):
        report = document.report(some_verdicts())
        entries = expected.read(file)
        expected.written(expected.applied(report, entries, ["E2E-1"], date(2026, 11, 21)), entries)


def order(rng: RANDOM) -> None:
    text = "cpu1.reads mode#2 < cpu0.mode := 1 < cpu0.enters; not reached cpu1.sends; reached wire0.0xf2 arrives"
    with contextlib.suppress(names.BadConstraint):
        names.names(names.parse([mutated(rng, text)]))


class Odd(Kvm):
    """Asks for anything, anywhere."""

    does: ClassVar[Callable[[Any, Any], Any]] = staticmethod(lambda cpu, vcpu: None)

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        type(self).does(cpu, vcpu)
        super().purge(cpu, vcpu)


ODD: tuple[Any, ...] = (
    *(0, 1, -1, 255, 256, 300, 1 << 63, 1 << 64, 1 << 70, 8 * 10**9, 1.5, float("nan"), None, True, "", "vcpu0", "vcpu9", "cpu0"),
    *("vcpu0.mode", "vcpu0.pid.control", "vcpu0.pid.pir[3]", "cpu0.wakeup_list", "cpu0.wakeup_lock", "a\0b", "é"),
    *((), (1,), ("a",), ("hlt",), ("interrupt", 9), ("interrupt", -1), ("interrupt", 10**12), [], {}, Odd, Field("vcpu0.mode")),
)  # fmt: skip


def routine(rng: RANDOM) -> None:
    asked = [rng.choice(ops.AnyOperation.__args__) for _ in range(rng.choice((1, 1, 2, 4)))]
    made: list[Any] = []
    for of in asked:
        fields = msgspec.structs.fields(of)
        needed = sum(field.required for field in fields)
        made.append(of(*(rng.choice(ODD) for _ in range(rng.randrange(needed, len(fields) + 1)))))

    def does(cpu: Any, vcpu: Any) -> None:
        for operation in made:
            cpu._do(operation)

    Odd.does = staticmethod(does)
    scenario = next(s for s in SUITE.scenarios if s.name == "reset")
    with contextlib.suppress(Fault):
        in_machine(of_class(Odd, "odd", "odd:Odd"), scenario, SUITE, lambda machine: prove(machine, most=3000))


WORDS = ("--report", "--clause", "--profile", "-n", "--environment", "-x", "--durations", "--scenario", "--model", "--seconds",
         "--lang", "--role", "--arch", "-o", "--witness", "-h", "--help", "--", "-", "E2E-*", "strict", "kvm", "core", "0", "auto", "c",
         "python", "x86", "nowhere/r.json", ".", "/dev/full", "intack2.AAAA.00000000", "a" * 300, *NUMBERS, *SCRAPS)  # fmt: skip
NOBODY = ("", ":", "a:b", "nobody", "known-bad:", "known-bad:B99", "native:", "native:/", "native:m", "exec:", "exec:'", "no.such:X",
          "os:path", "json:JSONDecoder", "c:", "\udcff:é", "..:X", ".x:Y", "xen:fast", "reference:1")  # fmt: skip
TAKES_AN_ADAPTER = ("run", "smoke", "scan", "export", "order", "fences", "mutate", "replay")


def command(rng: RANDOM) -> None:
    """None of these can be done: each names an implementation that is not there, or a file."""
    name = rng.choice((*TAKES_AN_ADAPTER, "list", "litmus", "build", "new", *SCRAPS))
    words = [rng.choice(WORDS) for _ in range(rng.randrange(5))]
    if name == "litmus":
        (folder() / "m.litmus").write_text(mutated(rng, rng.choice(litmus_files())), errors="surrogatepass")
        words = [*words, "--seconds", "1", "m.litmus"]
    adapter = ["-a", rng.choice(NOBODY)] if name in TAKES_AN_ADAPTER else []
    before = Path.cwd()
    os.chdir(folder())
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = cli.main([name, *adapter, *words], standalone_mode=False)
            if "--help" in words or "-h" in words or name in ("list", "litmus", "new"):
                return
            assert status in (2, 3, 4), f"{[name, *adapter, *words]} ended with {status}"
    except click.ClickException:
        pass
    except ValueError as error:
        if "embedded null" not in str(error):  # no command line can hold one
            raise
    finally:
        os.chdir(before)


DOORS: dict[str, Callable[[RANDOM], None]] = {
    door.__name__: door for door in (litmus, manifest, reply, replay, stored, expectation, order, routine, command)
}


# What is mutated


@cache
def litmus_files() -> list[str]:
    return [path.read_text() for path in sorted((ROOT / "tests/litmus").rglob("*.litmus"))]


@cache
def manifests() -> list[str]:
    state = '[state.vcpu]\nmine = 5\nlist = { initial = ["a"], guarded_by = "lock" }\nlock = { lock = true }\n'
    return [path.read_text() + state for path in sorted((ROOT / "examples").rglob("*.toml"))]


@cache
def replies() -> list[str]:
    declared = {"type": "hello", "version": 1, "routines": ["deliver_interrupt", "wakeup"], "handlers": {"0xf1": "wakeup"},
                "name": "mine", "profile": "kvm", "lacks": ["xapic"], "not_applicable": {"E2E-1": "no"},
                "state": {"vcpu": {"mine": 5, "l": {"initial": ["a"], "guarded_by": "k"}, "k": {"lock": True}}}}  # fmt: skip
    samples: dict[Any, Any] = {str: "vcpu0.mode", int: 1, bool: True}
    lines = [msgspec.json.encode(declared).decode()]
    for of in ops.AnyOperation.__args__:
        fields = msgspec.structs.fields(of)
        told = {"op": of.__struct_config__.tag, "site": "a.c:5"}
        for field in fields:
            told[field.name] = (
                field.default if field.default is not msgspec.NODEFAULT else samples.get(field.type, "or")
            )
        lines.append(msgspec.json.encode({"type": "step", "id": 1, "answers": [told]}).decode())
    returned = {"op": "return", "then": ["run", "vcpu0", 5], "value": ["0xff", [True]]}
    return [*lines, msgspec.json.encode({"type": "step", "id": 1, "answers": [returned]}).decode()]


EXPECTED = """\
[[expected]]
clause = "E2E-1"
implementation = "mi*"
reason = "known"
link = "https://example.org/1"
expires = 2027-06-30

[[expected]]
clause = "PID-2"
reason = "known, too"
"""


@cache
def stored_reports() -> list[str]:
    return [msgspec.json.encode(report).decode() for report in (document.report(some_verdicts()), many(2))]


@cache
def replayed() -> tuple[Machine, str]:
    scenario = next(s for s in SUITE.scenarios if s.name == "one-sender")

    def found(machine: Machine) -> tuple[Machine, str]:
        return machine, encode(machine, shortest(machine, {"E2E-11"})["E2E-11"], "known-bad:B17", "kvm")

    return in_machine(resolve("known-bad:B17"), scenario, SUITE, found)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="intack-fuzz-")


def folder() -> Path:
    return Path(_temporary().name)


# Cases


class Finding(NamedTuple):
    door: str
    number: int
    what: str


class TooLongError(BaseException):
    """A case that takes more than SECONDS."""


def cases(door: str, numbers: range) -> Iterator[Finding]:
    """What comes of them; nothing, where all is well."""

    def stop(*_: object) -> None:
        raise TooLongError

    for number in numbers:
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            DOORS[door](RANDOM(f"{door} {number}"))
        except TooLongError:
            yield Finding(door, number, f"more than {SECONDS:g} s: {traceback.format_exc(limit=-4)}")
        except BaseException:
            yield Finding(door, number, traceback.format_exc(limit=-6))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def main(count: int, *only: str) -> int:
    doors, first = (only[:1] or tuple(DOORS)), int(only[1]) if len(only) > 1 else 0
    findings = 0
    for door in doors:
        begun = time.monotonic()
        for finding in cases(door, range(first, first + count)):
            findings += 1
            print(f"{finding.door} {finding.number}: {finding.what}", flush=True)
        print(f"{door}: {count} cases in {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{count * len(doors)} cases, {findings} findings")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
