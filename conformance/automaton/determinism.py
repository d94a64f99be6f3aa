"""Ask an implementation everything again in a fresh process, in another order and with other hashes of strings.

    this process ──questions──> python -m conformance.automaton.determinism ──fork──> child: answers, and ends

What a module keeps in its globals survives a fresh object; it does not survive a fresh process. Nor does the order of a
set. The process that is
started here has loaded the implementation and asked it nothing. For each lot of questions it forks a child, which
builds the same assembly from the SPEC and the scenario, and answers; the first answer that differs is a Fault
NONDETERMINISTIC.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from conformance.adapters.registry import Implementation, reference_of, resolve
from conformance.adapters.source import Fault, Question, Source
from conformance.automaton.assembly import Assembly, assemble, own_routines
from conformance.roles.operations import Answer
from conformance.roles.scenario import Scenario

SECONDS = 120.0
"""For all answers together; containment, never an oracle."""
ELSEWHERE = -256
"""In place of an exit status: the SPEC leads to another implementation, or to none."""


def in_fresh_process(implementation: Implementation, scenario: Scenario, assembly: Assembly) -> None:
    """Raises Fault NONDETERMINISTIC. An implementation that its SPEC does not lead back to is asked in this process
    only.
    """
    own = own_routines(implementation, assembly)
    nodes = [n for u in assembly.unfoldings() for n in u.nodes() if n.routine in own]
    ask_in_fresh_process(implementation, scenario, [((n.routine, n.args, n.results), n.answer) for n in nodes])


def ask_in_fresh_process(
    implementation: Implementation, scenario: Scenario, answered: Sequence[tuple[Question, Answer]]
) -> None:
    """The same, of these questions and the answers that they had."""
    asked = list(answered)
    random.Random(1).shuffle(asked)
    ended, answers = _fresh().ask(implementation, scenario, [question for question, _ in asked])
    if ended == ELSEWHERE:
        return
    if ended:
        raise Fault(
            "NONDETERMINISTIC",
            f"{implementation.spec} answered here, but not in a fresh process: asked the same, that one ended with status {ended}.",
        )
    for ((routine, args, results), answer), again in zip(asked, answers, strict=True):
        if again != answer:
            raise Fault(
                "NONDETERMINISTIC",
                f"{routine}{args} answers differently in a fresh process: after {len(results)} operations it first asked for "
                f"{answer}, then for {again}. Something outlives the call: a global, a cache, the environment, the clock; or it "
                "follows the order of a set. Keep state in declared locations, and sort.",
                routine,
            )


class _Fresh:
    """The process that has been asked nothing, and what it was started with."""

    def __init__(self) -> None:
        self.key = _surroundings()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "conformance.automaton.determinism"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"},
            start_new_session=True,
        )
        self.asked: dict[str, Implementation] = {}
        """By SPEC: what it led to when that was last asked for."""
        self._send(sys.path)

    def _send(self, message: object) -> None:
        assert self.process.stdin
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def ask(
        self, implementation: Implementation, scenario: Scenario, questions: list[Question]
    ) -> tuple[int, list[Answer | str]]:
        """The status with which the child ended, and its answers."""
        assert self.process.stdout
        try:
            anew = self.asked.get(implementation.spec) is not implementation
            self.asked[implementation.spec] = implementation
            self._send((anew, implementation.spec, implementation.name, scenario, questions))
            if not select.select([self.process.stdout], [], [], SECONDS)[0]:
                raise Fault("TIMEOUT", f"{implementation.spec} gives no answer in a fresh process within {SECONDS:g} s")
            return pickle.load(self.process.stdout)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


_running: _Fresh | None = None


def _surroundings() -> tuple[Any, ...]:
    """What a process inherits when it starts."""
    return os.getpid(), os.getcwd(), tuple(sys.path), tuple(sorted(os.environ.items()))


def _fresh() -> _Fresh:
    global _running
    if _running is not None and (_running.key != _surroundings() or _running.process.poll() is not None):
        if _running.key[0] == os.getpid():  # a fork has inherited its parent's
            _running.end()
        _running = None
    if _running is None:
        _running = _Fresh()
        atexit.register(_running.end)
    return _running


# The process that is asked nothing


def serve() -> None:
    """Pickled requests on stdin, each answered on stdout with (exit status of the child, answers)."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an implementation prints is no answer
    sys.path[:] = pickle.load(sys.stdin.buffer)
    loaded: dict[str, Implementation | None] = {}
    while True:
        try:
            anew, spec, *request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if anew:
            loaded[spec] = _loaded(spec)
        pickle.dump(_in_child(loaded[spec], *request), answers)
        answers.flush()


def _loaded(spec: str) -> Implementation | None:
    """With its modules and the reference's: what is not loaded here each child would load for itself."""
    try:
        implementation = resolve(spec)
        for architecture in implementation.architectures:
            reference_of(architecture)
    except Exception:
        return None
    return implementation


def _in_child(
    implementation: Implementation | None, name: str, scenario: Scenario, questions: list[Question]
) -> tuple[int, list[Answer | str]]:
    if implementation is None or implementation.name != name:
        return ELSEWHERE, []
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            status = _answer(implementation, scenario, questions, writing)
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, pickle.loads(said) if not status else []


def _answer(implementation: Implementation, scenario: Scenario, questions: list[Question], to: int) -> int:
    assembly = assemble(implementation, scenario)
    answers: dict[Question, Answer | str] = {}
    for unfolding in assembly.unfoldings():
        answers |= _answers(unfolding.source, [q for q in questions if assembly.routines[q[0]] is unfolding])
    with os.fdopen(to, "wb") as pipe:
        pickle.dump([answers[question] for question in questions], pipe)
    return 0


def _answers(source: Source, questions: list[Question]) -> Iterator[tuple[Question, Answer | str]]:
    at_once = getattr(source, "answers", None)
    if at_once:
        yield from zip(questions, (str(a) if isinstance(a, Fault) else a for a in at_once(questions)), strict=True)
        return
    for question in questions:
        try:
            yield question, source.next(*question)
        except Fault as fault:
            yield question, str(fault)


if __name__ == "__main__":
    serve()
