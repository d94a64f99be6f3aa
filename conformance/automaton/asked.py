"""What an implementation was asked in the course of some work, as data; and whether it says the same now.

    assemblies ──asked_of──> Asked, one a scenario ──Again.same──> whether the same work would find the same

Work on automata knows an implementation by what its roles declare and by its answers, and by nothing else; each question
follows from the answers before it. So where what is declared is the same, and the answers to all that was asked are, the
same would be asked again, and found.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault, Question, Source, answers_of, close
from conformance.automaton.assembly import Assembled, Assembly, assemble, own_routines
from conformance.automaton.determinism import ask_in_fresh_process
from conformance.roles.operations import Answer
from conformance.roles.scenario import Scenario

AT_ONCE = 64
"""Questions between two looks at the answers: after one that differs the others make no sense."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """All questions in one scenario, in order, each once."""

    scenario: Scenario
    declares: str
    """A hash of what all roles declare there."""
    said: tuple[str, ...]
    """Different answers as JSON, each with its place in the code if places were wanted."""
    questions: tuple[tuple[int, Any, int], ...]
    """What it follows, by number, the result that came next there, and the number of its answer; of a call's first
    question -1, and [routine, *arguments].
    """


class DiffersError(Exception):
    """No record can stand for this: a question had no answer, or two."""


def asked_of(made: Iterable[Assembled], *, sites: bool) -> tuple[Asked, ...]:
    """What was asked of these assemblies. `sites`: where in the code an answer came from counts as part of it. Raises
    DiffersError.
    """
    by_scenario: dict[Scenario, list[Assembly]] = {}
    for scenario, assembly in made:
        by_scenario.setdefault(scenario, []).append(assembly)
    return tuple(_asked(scenario, assemblies, sites) for scenario, assemblies in by_scenario.items())


def _asked(scenario: Scenario, assemblies: Sequence[Assembly], sites: bool) -> Asked:
    """Of several, as those of a search that began anew, a question counts once."""
    said: dict[str, int] = {}
    numbers: dict[Question, int] = {}
    rows: list[tuple[int, Any, int]] = []
    for unfolding in (u for assembly in assemblies for u in assembly.unfoldings()):
        if unfolding.failed:
            raise DiffersError
        for question, answer in unfolding.asked:
            told = said.setdefault(_told(unfolding.source, question, answer, sites), len(said))
            routine, args, results = question
            if question not in numbers:
                numbers[question] = len(rows)
                before = numbers[routine, args, results[:-1]] if results else -1
                rows.append((before, results[-1] if results else [routine, *args], told))
            elif rows[numbers[question]][2] != told:
                raise DiffersError
    declares = _declared(assemblies[0])
    return Asked(scenario=scenario, declares=declares, said=tuple(said), questions=tuple(rows))


class Again:
    """Asks an implementation again, each question once, whatever it was asked for. `of`: the routines to be asked; None is
    all.
    """

    def __init__(self, implementation: Implementation, of: Collection[str] | None) -> None:
        self.implementation, self.of = implementation, of
        self.assemblies: dict[Scenario, tuple[Assembly, str]] = {}
        """With what is declared there."""
        self.answers: dict[Scenario, dict[Question, Answer]] = {}

    def same(self, asked: Asked, *, sites: bool, afresh: bool) -> bool:
        """Whether all answers are what they were, in another process; those of the implementation's own routines also in
        another order, of a source that could remember, and, `afresh`, from a fresh process.
        """
        try:
            return self._same(asked, sites, afresh)
        except Exception:  # whatever an implementation that has changed may raise: the work itself will tell of it
            return False

    def _same(self, asked: Asked, sites: bool, afresh: bool) -> bool:
        assembly, declares = self._assembly(asked.scenario)
        if declares != asked.declares:
            return False
        known = self.answers.setdefault(asked.scenario, {})
        due = {q: told for q, told in _questions(asked) if self.of is None or q[0] in self.of}
        own = own_routines(self.implementation, assembly)
        for source, questions in _by_source(assembly, [q for q in due if q not in known]):
            try:
                answers = dict(_answers(source, questions, due, sites))
                its_own = [q for q in questions if q[0] in own]
                random.Random(0).shuffle(its_own)
                if not getattr(source, "forgets", False):
                    _answers(source, its_own, due, sites)
            finally:
                close(source)
            known |= answers
        if any(_told(assembly.routines[q[0]].source, q, known[q], sites) != told for q, told in due.items()):
            return False
        if afresh:
            ask_in_fresh_process(self.implementation, asked.scenario, [(q, known[q]) for q in due if q[0] in own])
        return True

    def _assembly(self, scenario: Scenario) -> tuple[Assembly, str]:
        if scenario not in self.assemblies:
            made = assemble(self.implementation, scenario)
            self.assemblies[scenario] = made, _declared(made)
        return self.assemblies[scenario]


class Aside:
    """`Again` in a process of its own, so that an implementation which remembers what it was asked meets the work itself
    as it would without.
    """

    def __init__(self, again: Again) -> None:
        self.again = again
        self.connection: Connection | None = None

    def same(self, asked: Asked, *, sites: bool, afresh: bool) -> bool:
        try:
            self.connection = self.connection or self._begin()
            self.connection.send((asked, sites, afresh))
            return self.connection.recv()
        except (EOFError, OSError):  # an implementation may end the process that asks it
            self.connection = None
            return False

    def _begin(self) -> Connection:
        context = get_context("fork")
        here, there = context.Pipe()
        context.Process(target=self._serve, args=(here, there), daemon=True).start()
        there.close()
        return here

    def _serve(self, here: Connection, there: Connection) -> None:
        here.close()  # so that its end is seen
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the others' to end this, and by SIGTERM they do
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(EOFError, OSError):
            while True:
                asked, sites, afresh = there.recv()
                there.send(self.again.same(asked, sites=sites, afresh=afresh))


def _questions(asked: Asked) -> Iterator[tuple[Question, str]]:
    """With what was said."""
    questions: list[Question] = []
    for before, by, told in asked.questions:
        if before < 0:
            routine, *args = by
            question = (routine, _tuples(args), ())
        else:
            routine, args, results = questions[before]
            question = (routine, args, (*results, _tuples(by)))
        questions.append(question)
        yield question, asked.said[told]


def _by_source(assembly: Assembly, questions: Iterable[Question]) -> list[tuple[Source, list[Question]]]:
    grouped: dict[int, tuple[Source, list[Question]]] = {}
    for question in questions:
        source = assembly.routines[question[0]].source
        grouped.setdefault(id(source), (source, []))[1].append(question)
    return list(grouped.values())


def _answers(
    source: Source, questions: Sequence[Question], due: Mapping[Question, str], sites: bool
) -> list[tuple[Question, Answer]]:
    """Raises DiffersError at the first that is not what is due, or Fault."""
    answered: list[tuple[Question, Answer]] = []
    for first in range(0, len(questions), AT_ONCE):
        some = questions[first : first + AT_ONCE]
        for question, answer in zip(some, answers_of(source, some), strict=True):
            if isinstance(answer, Fault) or _told(source, question, answer, sites) != due[question]:
                raise DiffersError
            answered.append((question, answer))
    return answered


def _told(source: Source, question: Question, answer: Answer, sites: bool) -> str:
    site = getattr(source, "site", None) if sites else None
    return msgspec.json.encode((answer, site(*question)) if site else answer).decode()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _declared(assembly: Assembly) -> str:
    sources = {id(unfolding): n for n, unfolding in enumerate(assembly.unfoldings())}
    routines = [(routine, sources[id(unfolding)]) for routine, unfolding in assembly.routines.items()]
    roles = (assembly.role_of, assembly.handlers, assembly.filled_by)
    return hashlib.sha256(repr((routines, roles, assembly.locations)).encode()).hexdigest()
