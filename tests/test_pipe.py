"""Programs over the pipe: the protocol, and what becomes of programs that break it, die, hang or outlive their time."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from processes import descendants, left

from conformance.adapters import contained, protocol
from conformance.adapters.contained import Contained, GoneError
from conformance.adapters.pipe import PipeError, PipeSource, adapter
from conformance.adapters.registry import AdapterError
from conformance.adapters.source import Fault
from conformance.automaton.unfold import Unfolding
from conformance.commands.main import cli
from conformance.roles.operations import WORD, EnterGuest, Load, Return, Rmw, Store
from conformance.verdict.explore import explore
from properties.suite import SUITE

VALIDATOR = Draft202012Validator(protocol.schema())
DOCS = Path(__file__).parent.parent / "docs"

PROGRAM = """
import json, os, sys, time
state = {"asked": 0}
def load(at, results):
    if not results:
        return {"op": "load", "at": at, "site": "program:7"}
    return {"op": "return", "value": results[0]}
def reply(message):
    return {"type": "step", "id": message["id"], "answers": [answer(q) for q in message["questions"]]}
def answer(question):
    return load("x", question["results"])
def greet(message):
    return {"type": "hello", "version": 1, "routines": ["deliver_interrupt"]}
def say(value):
    print(json.dumps(value), flush=True)
%s
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "bye":
        break
    state["asked"] += message["type"] == "step"
    say(greet(message) if message["type"] == "hello" else reply(message))
"""

Make = Callable[..., PipeSource]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a program of PROGRAM, some of its functions replaced."""
    made: list[PipeSource] = []

    def program(replaced: str = "", **limits: Any) -> PipeSource:
        path = tmp_path / f"program{len(made)}.py"
        path.write_text(PROGRAM % replaced)
        made.append(PipeSource([sys.executable, "-I", "-S", str(path)], **limits))
        return made[-1]

    yield program
    for source in made:
        source.close()


def ask(source: PipeSource, *results: Any) -> Any:
    return source.next("deliver_interrupt", ("vcpu0", 200), results)


class TestProtocol:
    def test_a_question_and_its_answer(self, make: Make) -> None:
        program = make()
        assert ask(program) == Load("x")
        assert ask(program, 5) == Return(value=5)
        assert program.site("deliver_interrupt", ("vcpu0", 200), ()) == "program:7"

    def test_integers_of_more_than_53_bits_cross_as_digits(self, make: Make) -> None:
        assert ask(make(), WORD) == Return(value=WORD)
        line = protocol.encode(protocol.Step(1, (protocol.Question("r", (WORD, 1 << 53, -1), (protocol.EXACT,)),)))
        question = json.loads(line)["questions"][0]
        assert question["arguments"] == ["0xffffffffffffffff", "0x20000000000000", -1]
        assert question["results"] == [9007199254740991]
        raw = {"op": "store", "at": "x", "value": "0xff00000000000000", "mask": "0xffff000000000000"}
        reply = protocol.decode(json.dumps({"type": "step", "id": 1, "answers": [raw]}).encode())
        assert isinstance(reply, protocol.Answers)
        assert protocol.answer_of(reply.answers[0])[0] == Store("x", 0xFF << 56, 0xFFFF << 48)

    def test_a_batch_is_one_line(self, make: Make) -> None:
        program = make('def answer(question): return {"op": "return", "value": state["asked"]}')
        many = [("deliver_interrupt", ("vcpu0", n), ()) for n in range(100)]
        assert [a.value for a in program.answers(many) if isinstance(a, Return)] == [1] * 64 + [2] * 36

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            ({"op": "lod", "at": "x"}, "no operation is called 'lod'; there are load, store"),
            ({"op": "load"}, "the operation load is not complete.*missing required field `at`"),
            ({"op": "load", "at": "x", "mak": 1}, "load has no field mak; it has at, mask"),
            ({"op": "load", "at": 3}, "Expected `str`, got `int`"),
            ({"op": "load", "at": "x", "mask": -1}, "mask is -1, not a word of 64 bits"),
            ({"op": "store", "at": "x", "value": 2, "mask": 1}, "bits outside of the mask 0x1"),
            ({"op": "return", "value": {"a": 1}}, "neither null, true, false"),
            (7, "an object with the key op"),
        ],
    )
    def test_an_answer_that_is_none_shows_what_was_sent_due_and_got(
        self, make: Make, raw: object, message: str
    ) -> None:
        with pytest.raises(PipeError, match=message) as error:
            ask(make(f"def answer(question): return {raw!r}"))
        assert error.value.kind == "protocol"
        shown = str(error.value)
        assert '"routine":"deliver_interrupt"' in shown and "was due" in shown and f"got: {raw!r}" in shown

    def test_the_schema_is_current(self) -> None:
        path = Path(protocol.__file__).with_name("protocol.schema.json")
        assert path.read_text() == protocol.schema_text(), f"python -m conformance.adapters.protocol > {path}"

    @pytest.mark.parametrize(
        ("line", "valid"),
        [
            ({"type": "step", "id": 1, "answers": [{"op": "load", "at": "x", "mask": "0xff00000000000000"}]}, True),
            ({"type": "step", "id": 1, "answers": [{"op": "choose", "options": ["a", "b"], "site": "x:1"}]}, True),
            (
                {"type": "step", "id": 1, "answers": [{"op": "return", "then": ["leave", ["hlt", 1]], "value": None}]},
                True,
            ),
            ({"type": "step", "id": 1, "answers": [{"op": "load"}]}, False),
            ({"type": "step", "id": 1, "answers": [{"op": "load", "at": "x", "mak": 1}]}, False),
            ({"type": "step", "id": 1, "answers": [{"op": "load", "at": "x", "mask": "255"}]}, False),
            ({"type": "step", "answers": []}, False),
            ({"type": "hello", "version": 1, "routines": ["r"], "nonsense": 1}, False),
        ],
    )
    def test_the_schema_and_the_code_are_of_one_mind(self, line: dict[str, Any], valid: bool) -> None:
        assert VALIDATOR.is_valid(line) == valid
        try:
            reply = protocol.decode(json.dumps(line).encode())
            understood = all(protocol.answer_of(a) for a in getattr(reply, "answers", ()))
        except protocol.ProtocolError:
            understood = False
        assert understood == valid

    def test_the_examples_of_the_page_are_messages(self) -> None:
        """Both ways: what the suite says is what the page says, and what the page has a program say is understood."""
        lines = [line for line in (DOCS / "protocol.md").read_text().splitlines() if line.startswith(("-> ", "<- "))]
        assert {json.loads(line[3:])["type"] for line in lines} == {"hello", "step", "bye", "error"}
        for line in lines:
            VALIDATOR.validate(json.loads(line[3:]))
            text = line[3:].encode()
            if line.startswith("<- "):
                reply = protocol.decode(text)
                for raw in reply.answers if isinstance(reply, protocol.Answers) else ():
                    protocol.answer_of(raw)
            else:
                raw = json.loads(text)
                assert raw == json.loads(protocol.encode(_message(dict(raw))))

    def test_every_operation_of_the_page_is_one(self) -> None:
        text = (DOCS / "protocol.md").read_text()
        for cls in (Load, Rmw, EnterGuest):
            assert f"`{cls.__struct_config__.tag}`" in text


def _message(raw: dict[str, Any]) -> protocol.Message:
    cls = {"hello": protocol.Hello, "step": protocol.Step, "bye": protocol.Bye}[raw["type"]]
    return msgspec.convert(_integer(raw), cls)


def _integer(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _integer(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integer(item) for item in value]
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else value


class TestBroken:
    """What a program can do wrong, each with its verdict. None of it ends the suite."""

    @pytest.mark.parametrize(
        ("replaced", "status", "kind", "message"),
        [
            ("def answer(q): os.abort()", "CRASH", "crash", r"signal 6 \(Aborted\).*\nIt was started anew.*twice"),
            ("def answer(q): os._exit(3)", "CRASH", "crash", "it ended with exit status 3"),
            ("def answer(q): sys.exit('no more')", "CRASH", "crash", "(?s)exit status 1.*standard error.*no more"),
            ("def answer(q): time.sleep(60)", "TIMEOUT", "timeout", "no answer within 0.4 s"),
            (
                "def reply(m): sys.stdout.write('{\"type\":'); sys.exit()",
                "CRASH",
                "crash",
                "in the middle of a line: '{",
            ),
            ("def say(v): print('hello there', flush=True)", "CRASH", "protocol", "no reply of this protocol"),
            (
                "def reply(m): print('x' * (1 << 21)); return 1",
                "CRASH",
                "refused",
                "a line of more than 1048576 bytes: 'xxx",
            ),
            ("def reply(m): print('{}'); return 1", "CRASH", "(protocol|refused)", "several lines|no reply of this"),
            (
                "def greet(m): return {'type': 'hello', 'version': 2, 'routines': []}",
                *("CRASH", "protocol", "answered with version 2, not with version 1"),
            ),
            (
                "def greet(m): return {'type': 'error', 'what': 'version 1 is too old'}",
                *("CRASH", "refused", "it gave up: version 1 is too old"),
            ),
            (
                "def reply(m): return {'type': 'step', 'id': m['id'] + 1, 'answers': [load('x', [])]}",
                *(
                    "CRASH",
                    "protocol",
                    "an answer to step 1 with 1 answers was due\n.*sent: .*\n.*got: answers to step 2, 1 of",
                ),
            ),
            (
                "def reply(m): return {'type': 'step', 'id': m['id'], 'answers': []}",
                *("CRASH", "protocol", "got: answers to step 1, 0 of them"),
            ),
            (
                "def reply(m): return {'type': 'error', 'what': 'no such routine'}",
                *("CRASH", "refused", "got: that it gave up: no such routine"),
            ),
            (
                "def answer(q): x = bytearray(1 << 30); return load('x', [])",
                *("CRASH", "crash", "(?s)exit status 1.*MemoryError"),
            ),
        ],
    )
    def test_its_verdict(self, make: Make, replaced: str, status: str, kind: str, message: str) -> None:
        program = make(replaced, step_seconds=0.4 if "sleep" in replaced else 5.0, memory=256 << 20)
        with pytest.raises(PipeError, match=message) as error:
            ask(program)
        assert error.value.status == status
        assert error.value.kind in kind
        with pytest.raises(PipeError):  # the next question is asked as well
            ask(program)

    def test_a_changed_answer(self, make: Make) -> None:
        changed = "def answer(q): return load(f'at{time.time_ns()}', q['results'])"
        unfolding = Unfolding(make(changed))
        unfolding.root("deliver_interrupt", ("vcpu0", 200)).child(0)
        with pytest.raises(Fault, match="same question twice and answered differently") as error:
            unfolding.recheck()
        assert error.value.status == "NONDETERMINISTIC"

    def test_only_the_last_lines_of_standard_error_are_shown(self, make: Make) -> None:
        program = make("def answer(q): [print('line', n, file=sys.stderr) for n in range(500)]; os._exit(1)")
        with pytest.raises(PipeError) as error:
            ask(program)
        said = [line for line in str(error.value).splitlines() if line.startswith("line ")]
        assert said == [f"line {n}" for n in range(300, 500)] and len(said) == contained.STDERR_LINES

    def test_one_bad_question_of_a_batch_is_found(self, make: Make) -> None:
        program = make("def answer(q): os._exit(4) if q['arguments'] == [3] else None; return load('x', [])")
        answers = program.answers([("r", (n,), ()) for n in range(6)])
        assert [isinstance(a, Fault) for a in answers] == [False, False, False, True, False, False]

    def test_smoke_shows_what_does_not_work(self, make: Make) -> None:
        for replaced, message in (
            ("def answer(q): return load(f'at{time.time_ns()}', q['results'])", "CRASH: deliver_interrupt touched at"),
            ("def answer(q): return {'op': 'wake', 'thread': f'v{time.time_ns()}'}", "answered differently"),
            ("def answer(q): os._exit(7)", "CRASH: the program failed: .*exit status 7.* asked for deliver_interrupt"),
        ):
            spec = "exec:" + shlex.join(make(replaced).command)
            done = CliRunner().invoke(cli, ["smoke", "-a", spec], standalone_mode=False)
            assert done.return_value == 2 and re.search(message, " ".join(done.output.split())), done.output


class TestRestart:
    DIES_AT = "def answer(q): os._exit(9) if state['asked'] == %d else None; return load('x', q['results'])"

    def test_it_is_brought_back_to_where_it_was(self, make: Make) -> None:
        program = make(self.DIES_AT % 3)
        assert [ask(program, *([n] if n else [])) for n in range(6)] == [
            Load("x"),
            *(Return(value=n) for n in range(1, 6)),
        ]

    def test_so_often_and_no_more(self, make: Make) -> None:
        program = make(self.DIES_AT % 2, restarts=3)
        with pytest.raises(PipeError, match="has failed 4 times: 3 restarts are allowed"):
            [ask(program) for _ in range(9)]

    def test_a_run_has_a_limit_too(self, make: Make) -> None:
        program = make("def answer(q): time.sleep(0.2); return load('x', [])", run_seconds=0.3)
        with pytest.raises(PipeError, match="its limit") as error:
            [ask(program) for _ in range(5)]
        assert error.value.status == "TIMEOUT"

    def test_killed_from_outside_it_is_started_again(self, make: Make) -> None:
        program = make("def answer(q): return {'op': 'return', 'value': os.getpid()}")
        first = ask(program)
        os.kill(first.value, signal.SIGKILL)
        assert ask(program) != first

    def test_what_was_found_before_a_fault_stays_found(self, make: Make) -> None:
        """A sender that forgets the notification, and dies when it meets another sender's ON."""
        program = make(
            """def answer(q):
    n, results = 3, q["results"]
    if len(results) == 2 and results[1]: os._exit(5)
    steps = [{"op": "rmw", "at": "vcpu0.pid.pir[3]", "how": "or", "value": 256, "mask": 256},
             {"op": "rmw", "at": "vcpu0.pid.control", "how": "or", "value": 1, "mask": 1}]
    return steps[len(results)] if len(results) < 2 else {"op": "return"}"""
        )
        implementation = adapter(shlex.join(program.command))
        (scenario,) = (s for s in SUITE.scenarios if s.name == "core")
        found = explore(implementation, scenario, SUITE)
        assert found.fault_status == "CRASH" and "exit status 5" in found.fault
        assert "E2E-11" in found.counterexamples or "E2E-10" in found.counterexamples


class TestContained:
    def test_all_that_it_started_ends_with_it(self) -> None:
        script = "sleep 60 & setsid sleep 61 & (setsid sh -c 'sleep 62 & sleep 63; :' &); cat; :"
        program = Contained(["sh", "-c", script])
        assert program.ask(b"x\n", 5) == b"x\n"
        before = descendants(program.process.pid)
        assert len(before) >= 5
        program.close()
        assert not left(before, seconds=0.0)

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
    def test_no_process_outlives_the_runner(self, tmp_path: Path, end: signal.Signals) -> None:
        runner = tmp_path / "runner.py"
        runner.write_text(
            "from conformance.adapters.contained import Contained\n"
            "import time\n"
            "program = Contained(['sh', '-c', 'setsid sleep 60 & echo x; exec sleep 61'])\n"
            "program.ask(b'x', 5)\n"
            "print(program.process.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen([sys.executable, str(runner)], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        guard = int(process.stdout.readline())
        before = [guard, *descendants(guard)]
        assert len(before) >= 3
        process.send_signal(end)
        process.communicate()
        assert not left(before)

    def test_a_command_that_is_not_there(self) -> None:
        program = Contained(["no-such-command"])
        with pytest.raises(GoneError, match="does not start") as error:
            program.ask(b"x\n", 5)
        assert error.value.kind == "refused" and "No such file" in program.words()
        program.close()


class TestSpec:
    @pytest.mark.parametrize(
        ("greeting", "message"),
        [
            ({"architecture": "x86", "routines": ["load"]}, "has load of the role residency, but not put"),
            ({"routines": ["load", "put"]}, "arm and x86 have roles with its routines: name one as architecture"),
            (
                {"architecture": "x68", "routines": ["post"]},
                "no architecture is called 'x68'; there are arm, nested, x86",
            ),
            ({"routines": ["deliver_interupt"]}, "fill no role.*Did you mean deliver_interrupt"),
            ({"routines": []}, r"its routines \(none\) fill no role"),
            ({"routines": ["deliver_interrupt"], "handlers": {"0xf1": "wakeup"}}, "a routine that it does not offer"),
            ({"routines": ["deliver_interrupt"], "handlers": {"x": "deliver_interrupt"}}, "'x', which is no vector"),
            (
                {"routines": ["deliver_interrupt"], "state": {"vcpu": {"a": {"guarded_by": "b"}}}},
                "guarded by b, which is",
            ),
            ({"routines": ["deliver_interrupt"], "stat": {}}, "unknown field `stat`"),
            ({}, "missing required field `routines`"),
        ],
    )
    def test_what_it_declares_is_checked(self, make: Make, greeting: dict[str, Any], message: str) -> None:
        program = make(f"def greet(m): return { ({'type': 'hello', 'version': 1} | greeting)!r}")
        with pytest.raises(AdapterError, match=message):
            adapter(shlex.join(program.command))

    @pytest.mark.parametrize(
        ("argument", "message"),
        [("", "needs a command"), ("'", "cannot be split"), ("no-such-command x", "does not start")],
    )
    def test_a_command_that_is_none(self, argument: str, message: str) -> None:
        with pytest.raises(AdapterError, match=message):
            adapter(argument)
