"""Native code answers ahead: fewer runs, the same answers, and no trace of what nobody comes to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import msgspec
import pytest
from played import play

from conformance.adapters.contained import Contained
from conformance.adapters.native import NativeProgram
from conformance.adapters.pipe import PipeError, PipeSource
from conformance.adapters.source import Question
from conformance.roles.operations import Answer, Load, Return, Store

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

PROGRAM = r"""
#include "intack.h"

static volatile uint64_t word, other;
static uint64_t hidden;

static void count(void) { for (int n = 0; n < 10; n++) word = word + 1; intack_return_integer(word); }
static void look(void) { other = word; }
static void crash(void) { if (word == 7) *(volatile int *)8 = 1; other = 1; }
static void hang(void) { if (word == 7) for (;;) ; other = 1; }
static void leave(void) { if (word == 7) hidden = 1; other = 1; }
static void find(void) { other = hidden; }

void intack_setup(void)
{
    intack_share((void *)&word, sizeof word, "word");
    intack_share((void *)&other, sizeof other, "other");
#define ROUTINE(name) intack_routine(#name, name);
    ROUTINE(count) ROUTINE(look) ROUTINE(crash) ROUTINE(hang) ROUTINE(leave) ROUTINE(find)
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> NativeProgram:
    source = tmp_path_factory.mktemp("ahead") / "ahead.c"
    source.write_text(PROGRAM)
    return NativeProgram([source], compiler="gcc")


@pytest.fixture
def program(compiled: NativeProgram) -> Iterator[PipeSource]:
    """A process that was asked nothing."""
    fresh = compiled.fresh()
    yield fresh
    fresh.close()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The questions that reach the program: a run each."""
    sent: list[object] = []
    ask = Contained.ask

    def counting(self: Contained, line: bytes, seconds: float) -> bytes:
        sent.extend(msgspec.json.decode(line).get("questions", ()))
        return ask(self, line, seconds)

    monkeypatch.setattr(Contained, "ask", counting)
    return sent


def test_what_follows_is_known_by_the_time_it_is_asked_for(program: PipeSource, runs: list[object]) -> None:
    counted: list[Answer] = [
        answer for n in range(10) for answer in (Load("word", order="relaxed"), Store("word", n + 6, order="relaxed"))
    ]
    assert play(program, "count", memory={"word": 5}) == [*counted, Load("word", order="relaxed"), Return(value=15)]
    assert len(runs) == 2  # what the first load finds, nobody knows


def test_questions_that_follow_each_other_are_one_run(program: PipeSource, runs: list[object]) -> None:
    results = (5, None, 9, None, 13, None, 20)
    questions: list[Question] = [("count", (), results[:n]) for n in range(len(results) + 1)]
    answers = program.answers(reversed(questions))
    assert answers[::-1] == [
        Load("word", order="relaxed") if n % 2 == 0 else Store("word", int(results[n - 1] or 0) + 1, order="relaxed")
        for n in range(len(questions))
    ]
    assert len(runs) == 1


@pytest.mark.parametrize("routine", ["crash", "hang", "leave"])
def test_what_nobody_comes_to_does_no_harm(program: PipeSource, routine: str) -> None:
    """A word that held 7 may well hold 7 again."""
    assert program.next("look", (), (7,)) == Store("other", 7, order="relaxed")
    assert program.next(routine, (), ()) == Load("word", order="relaxed")
    assert program.next(routine, (), (1,)) == Store("other", 1, order="relaxed")
    assert program.next("find", (), ()) == Store("other", 0, order="relaxed")


def test_what_somebody_comes_to_is_told(program: PipeSource) -> None:
    program.step_seconds = 0.3
    program.next("look", (), (7,))
    for routine, kind in (("crash", "crash"), ("hang", "timeout")):
        program.next(routine, (), ())
        with pytest.raises(PipeError) as error:
            program.next(routine, (), (7,))
        assert error.value.kind == kind
    assert program.next("leave", (), (7,)) == Store("other", 1, order="relaxed")
    with pytest.raises(PipeError, match="hidden is not shared, but outlives the call: leave writes it"):
        program.next("find", (), ())
