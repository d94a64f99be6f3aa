"""Whatever is plugged in or typed wrongly: one clear message that says what to do, the right verdict, and the rest goes
on.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_suite import ALONE, HALT, HELD, SUITE, UNCHECKED, UNSEEN

import properties.suite
from conformance.adapters import python
from conformance.adapters.registry import AdapterError, of_class, resolve
from conformance.machine import state
from conformance.roles.x86 import Cpu, Field, Sender, Shared, Then, Vcpu
from conformance.verdict.clause import Status, exit_status
from conformance.verdict.declarations import check_declared
from conformance.verdict.explore import Explored, explore
from conformance.verdict.judge import Judge
from conformance.verdict.session import BadInput, Session
from properties.suite import SUITE as X86
from reference.x86.kvm import Kvm

RESET = next(s for s in SUITE.scenarios if s.name == "reset")


class Lacks(Sender):
    """Fills a role without its routine."""


class NoRole:
    """Subclasses nothing of ours."""


class Raises(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().purge(cpu, vcpu)
        raise ValueError("purged twice")


class RaisesWhereItRuns(Kvm):
    """ON is set too late for the entry that looks at it, and one way through the sender raises."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        if cpu.load(vcpu.mode):
            raise ValueError("it runs")
        cpu.test_and_set(vcpu.pid.on)


class Misspells(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.load(vcpu.modee):
            cpu.store(vcpu.requests, 0)


class MisspellsAField(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.test_and_clear(vcpu.pid.onn)  # pyright: ignore[reportAttributeAccessIssue]


class MisspellsWhatItDeclares(Kvm):
    lacks: ClassVar[tuple[str, ...]] = (
        "xapic",
        "apicv-inhibted",
    )
    not_applicable: ClassVar = {"KVM-PI-91": "this design has no such list"}
    profile: ClassVar[str] = "kmv"


class LoopsOverOperations(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while cpu.load(vcpu.cpu) == 0:
            cpu.fetch_add(vcpu.requests, 1)


class Spins(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while cpu.load(vcpu.cpu) == 0:
            pass


class LoopsOnItsOwn(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while True:
            time.sleep(0.001)


class AnswersDifferently(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.requests, random.getrandbits(60))


class HiddenState(Kvm):
    calls: ClassVar[Iterator[int]] = count()

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if next(self.calls) % 2:
            super().purge(cpu, vcpu)


class Hashes(Kvm):
    """As what follows the order of a set does: the same in a process, and different in the next."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().purge(cpu, vcpu)
        cpu.store(vcpu.requests, hash("vcpu0") & 0xFFFFFFFF)


class Swallows(Kvm):
    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        try:
            return super().reset(cpu, vcpu, old, timer)
        except BaseException:
            return None


class SwallowsAndGoesOn(Kvm):
    """Harmless: its next operation suspends it again."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with suppress(BaseException):
            super().purge(cpu, vcpu)


class Undeclared(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(Field(f"{vcpu}.purged"), 1)


class NoSuchField(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.purged, 1)


class ReturnsRubbish(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None: ...

    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        return {"done": True}


class WithAndFinally(Kvm):
    """As the reference, but its operations stand in with and finally, which unwind when a run is suspended."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with self.interrupts_off(cpu):
            super().purge(cpu, vcpu)

    @contextmanager
    def interrupts_off(self, cpu: Cpu) -> Iterator[None]:
        flag = cpu.irq_disable()
        try:
            yield
        finally:
            cpu.irq_restore(flag)


class SameWithout(Kvm):
    """What WithAndFinally means."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        flag = cpu.irq_disable()
        super().purge(cpu, vcpu)
        cpu.irq_restore(flag)


class Asks(Kvm):
    """For something that makes no sense, in the middle of a routine."""

    ask: ClassVar[Any] = None

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        type(self).ask(cpu, vcpu)


def line_of(cls: type[Any], line: int) -> str:
    return f"{__name__}.py:{inspect.getsourcelines(cls)[1] + line}"


def explored(cls: type[Any]) -> Explored:
    return explore(resolve(f"{cls.__module__}:{cls.__name__}"), RESET, SUITE)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "SECONDS_A_QUESTION", 0.3)


@pytest.mark.parametrize(
    ("cls", "status", "says", "advises"),
    [
        (Raises, "CRASH", "Raises.reset(vcpu0, 200, 100) raised ValueError('purged twice') at", "fix it and run again"),
        (LoopsOverOperations, "UNKNOWN", "asked for more than 400 operations", "must call relax()"),
        (LoopsOnItsOwn, "TIMEOUT", "computed for 0.3 s without asking", "loop for ever"),
        (AnswersDifferently, "NONDETERMINISTIC", "the same question twice and answered differently", "randomness"),
        (HiddenState, "NONDETERMINISTIC", "reset(vcpu0, 200, 100) was asked", "arguments and on the results"),
        (Hashes, "NONDETERMINISTIC", "answers differently in a fresh process", "order of a set"),
        (Swallows, "CRASH", "something caught the suspension", "Do not catch BaseException"),
        (Undeclared, "CRASH", "touched vcpu0.purged, which its role does not declare", "Declare it"),
        (NoSuchField, "CRASH", "vcpu0 has no location purged. There are: ", "blocking"),
        (
            Misspells,
            "CRASH",
            f"{line_of(Misspells, 2)} after 4 operations: vcpu0 has no location modee",
            "Did you mean mode?",
        ),
        (
            MisspellsAField,
            "CRASH",
            f"at {line_of(MisspellsAField, 2)} after 4 operations: ",
            "no attribute 'onn'. Did you mean on",
        ),
        (ReturnsRubbish, "CRASH", "returned {'done': True}", "return None"),
    ],
)
def test_a_broken_adapter_has_its_verdict(cls: type[Any], status: str, says: str, advises: str) -> None:
    found = explored(cls)
    assert found.fault_status == status
    assert says in found.fault
    assert advises in found.fault
    assert not found.complete


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda cpu, vcpu: cpu.send_ipi(8 * 10**9, 0), "0x1dcd65000 is no interrupt: they are numbered from 0 to 255"),
        (lambda cpu, vcpu: cpu.send_ipi(300, 0), "0x12c is no interrupt"),
        (lambda cpu, vcpu: cpu.send_ipi(-1, 0), "-0x1 is no interrupt"),
        (lambda cpu, vcpu: cpu.send_ipi(1.5, 0), "Expected `int`, got `float` - at `$.vector`"),
        (lambda cpu, vcpu: cpu.send_ipi(3, -7), "-0x7 is no CPU"),
        (lambda cpu, vcpu: cpu.send_ipi(3, 9), "sends 0x3 to CPU 9: there are 1"),
        (lambda cpu, vcpu: cpu.test_and_set(vcpu.pid.bit(-1)), "-1 is no vector: they are numbered from 0 to 255"),
        (lambda cpu, vcpu: cpu.test_and_set(vcpu.pid.bit(256)), "256 is no vector"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, 1 << 70), "value is 1180591620717411303424, not a word of 64 bits"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, 1 << 70000), "not a word of 64 bits"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, -1), "value is -1, not a word"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, 0.5), "Expected `int | array`, got `float` - at `$.value`"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, (1,)), "Expected `str`, got `int` - at `$.value[0]`"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, ("a",)), "a list is stored, and vcpu0.requests holds a word"),
        (lambda cpu, vcpu: cpu.store(vcpu.requests, vcpu), "Vcpu is unsupported"),
        (lambda cpu, vcpu: cpu.store(Field("vcpu0.requests", 1, 0), 2), "it has bits outside of the mask 0x1"),
        (lambda cpu, vcpu: cpu.load(Field(None)), "Expected `str`, got `null` - at `$.at`"),  # type: ignore[arg-type]
        (lambda cpu, vcpu: cpu._rmw(vcpu.requests, "nand", 1), "Invalid enum value 'nand' - at `$.how`"),
        (lambda cpu, vcpu: cpu.fetch_or(vcpu.requests, 1.5), "TypeError"),
        (lambda cpu, vcpu: cpu.choose(), "nothing to choose from"),
        (lambda cpu, vcpu: cpu._do("load"), "it is no operation"),
    ],
)
def test_values_are_looked_at_where_they_enter(ask: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who asks is told, with the line: not who reads it later, nor the suite."""
    monkeypatch.setattr(Asks, "ask", staticmethod(ask))
    found = explored(Asks)
    assert found.fault_status == "CRASH"
    assert says in found.fault
    assert "sends 0x3 to CPU 9" in says or f"{__name__}.py:" in found.fault


class NoArguments(Kvm):
    def reset(self) -> None: ...  # type: ignore[override]


class CannotBeMade(Kvm):
    def __init__(self, world: Any) -> None:
        raise ValueError("not today")


class CannotBeShown(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        class Rude(Exception):
            def __repr__(self) -> str:
                raise ValueError

        raise Rude


class ReturnsAList(Kvm):
    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        return (0, [1])


class CatchesTheLimit(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with suppress(Exception):
            time.sleep(600)
        super().purge(cpu, vcpu)


@pytest.mark.parametrize(
    ("cls", "status", "says"),
    [
        (NoArguments, "CRASH", "reset(vcpu0, 200, 100) raised TypeError"),
        (CannotBeMade, "CRASH", f"its constructor raised ValueError('not today') at {__name__}.py:"),
        (CannotBeShown, "CRASH", "raised a Rude at"),
        (ReturnsAList, "CRASH", "[1] is no integer, name, truth value or tuple"),
        (CatchesTheLimit, "TIMEOUT", "computed for 0.3 s without asking"),
    ],
)
def test_the_suite_itself_has_not_failed(cls: type[Any], status: str, says: str) -> None:
    judge = Judge(resolve(f"{__name__}:{cls.__name__}"), "kvm", SUITE)
    verdict = judge.verdict(next(c for c in SUITE.clauses if c.id == HELD))
    assert verdict.status.value == status
    assert says in verdict.evidence
    assert "the suite itself failed" not in verdict.evidence


class ChainsForEver(Kvm):
    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        super().deliver_interrupt(cpu, vcpu, vector)
        return Then("deliver_interrupt", vcpu, vector)


def test_a_chain_that_never_ends_is_told_before_the_bound_of_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a monitor remembers of it would grow for ever."""
    monkeypatch.setattr(state, "MOST_REMEMBERED", 200)
    found = explore(resolve(f"{__name__}:ChainsForEver"), next(s for s in X86.scenarios if s.name == "one-sender"), X86)
    assert found.fault_status == "UNKNOWN"
    assert "Does a routine chain to itself for ever?" in found.fault


class PlainState(Kvm):
    vcpu_state: ClassVar = {**Kvm.vcpu_state, "mine": 5, "names": ()}


def test_an_initial_value_alone_declares_a_location() -> None:
    assert not explored(PlainState).fault


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("not_applicable", ["KVM-ENT-13"], "Expected `object`, got `array` - at `$.not_applicable`"),
        ("not_applicable", {"KVM-ENT-13": 1}, "Expected `str`, got `int`"),
        ("lacks", "xapic", "Expected `array`, got `str` - at `$.lacks`"),
        ("profile", None, "Expected `str`, got `null` - at `$.profile`"),
        ("handlers", {"f2": "purge"}, "Expected `int`, got `str`"),
        ("vcpu_state", {"mine": 1.5}, "Expected `int | array`, got `float`"),
        ("vcpu_state", {"mine": Shared(1.5)}, "Expected `int | array`, got `float`"),  # type: ignore[arg-type]
        ("cpu_state", 5, "'int' object is not iterable"),
    ],
)
def test_what_it_declares_is_of_the_right_type(attribute: str, value: object, says: str) -> None:
    with pytest.raises(AdapterError, match=r"is not of the right type: ") as refused:
        of_class(type("Odd", (Kvm,), {attribute: value}), "odd", "mine:Odd")
    assert says in str(refused.value)


def test_a_loop_that_nobody_ends_is_a_livelock() -> None:
    found = explored(Spins)
    assert found.complete and not found.fault
    assert set(found.counterexamples) == {"LIVELOCK"}
    assert "go round for ever" in found.counterexamples["LIVELOCK"].reason


@pytest.mark.parametrize(("cls", "plain"), [(WithAndFinally, SameWithout), (SwallowsAndGoesOn, Kvm)])
def test_with_and_finally_are_fine(cls: type[Any], plain: type[Any]) -> None:
    """The unwinding of a suspended run leaves no trace in the automaton."""
    unwinding = explored(cls)
    assert not unwinding.fault
    assert unwinding.counterexamples == {}
    assert unwinding == explored(plain)


def test_what_is_broken_beside_a_crash_has_its_schedule() -> None:
    """The search for it goes around the steps that crash."""
    whole = properties.suite.SUITE
    sender = next(s for s in whole.scenarios if s.name == "one-sender")
    found = explore(resolve(f"{__name__}:RaisesWhereItRuns"), sender, whole)
    assert found.fault_status == "CRASH" and "it runs" in found.fault
    least = found.counterexamples["E2E-11"]
    assert (least.switches, least.steps) == (2, 9)
    assert least.trace and "schedule" not in least.reason


def test_the_other_clauses_are_still_judged() -> None:
    """Every clause has a verdict; only those that need the broken routine are without a decision."""
    judge = Judge(resolve(f"{__name__}:Raises"), "kvm", SUITE)
    verdicts = {c.id: judge.verdict(c) for c in SUITE.clauses}
    assert verdicts[HELD].status is Status.CRASH
    assert "purged twice" in verdicts[HELD].evidence
    assert verdicts[ALONE].status is Status.HELD
    assert verdicts[UNCHECKED].status is Status.NOT_CHECKED
    assert set(verdicts) == {HELD, HALT, ALONE, UNSEEN, UNCHECKED}
    assert exit_status(list(verdicts.values())) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("refrence", "no adapter is called 'refrence'. Did you mean reference?"),
        ("mine", "no adapter is called 'mine'. There are: .*package.module:Class"),
        ("kvm-put-sn:fast", "kvm-put-sn takes no argument"),
        ("no.such:Thing", "importing no.such failed: ModuleNotFoundError"),
        (f"{__name__}:Missing", "has no class Missing; it has: .*Raises"),
        (f"{__name__}:NoRole", "subclasses no role.*Subclass one of"),
        (f"{__name__}:Lacks", "fills the role sender but lacks its routine deliver_interrupt. Write deliver_interrupt"),
    ],
)
def test_what_cannot_be_plugged_in(spec: str, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        resolve(spec)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"adapter": "knwon-bad"}, "no adapter is called 'knwon-bad'. Did you mean known-bad?"),
        ({"profile": "kmv"}, "no profile is called 'kmv'. Did you mean kvm?"),
        ({"profile": "x"}, "There are: strict, kvm, generic"),
        ({"clause": ["E2E-*", "KVM-PI19"]}, "no clause matches 'KVM-PI19'. Did you mean KVM-PI-19"),
        ({"clause": ["nothing*"]}, "no clause matches 'NOTHING\\*'. There are: .*intack list clauses"),
        ({"report": ["nowhere/report.json"]}, "cannot write the report to nowhere/report.json: no such file"),
        ({"report": ["."]}, "cannot write the report to .: it is a directory"),
        ({"report": ["report.pdf"]}, "the ending of report.pdf says what to write, and only .json"),
        ({"replay": "hello"}, "this is no replay string: it must read intack2"),
        ({"replay": "intack0.AAAA.00000000"}, "is of version intack0; this suite reads intack2"),
        ({"replay": "intack2.AAAA.00000000"}, "this replay string is damaged"),
        ({"replay": "intack2.AAAA.00000000", "profile": "kvm"}, "names its own profile and clause"),
        ({"replay": ""}, "this is no replay string: it must read intack2"),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Session(**asked)


def test_what_it_declares_must_mean_something() -> None:
    """Each word with its line, and the nearest that is known; all at once."""
    with pytest.raises(BadInput) as refused:
        Session(adapter=f"{__name__}:MisspellsWhatItDeclares", profile="kvm")
    first, *wrong = str(refused.value).splitlines()
    assert first == f"{__name__}:MisspellsWhatItDeclares declares what means nothing here."
    start = inspect.getsourcelines(MisspellsWhatItDeclares)[1]
    here = f"tests/{__name__}.py" if Path.cwd() == Path(__file__).parent.parent else __file__
    assert wrong == [
        f"  lacks ({here}:{start + 3}): 'apicv-inhibted' is no fact, feature or placement that could be lacked. "
        "Did you mean apicv-inhibited?",
        f"  not_applicable ({here}:{start + 5}): 'KVM-PI-91' is no clause. "
        "Did you mean KVM-PI-9 or KVM-PI-1 or KVM-PI-21?",
        f"  profile ({here}:{start + 6}): 'kmv' is no profile of any clause. Did you mean kvm?",
    ]


def test_a_word_in_a_file_has_its_line_too(tmp_path: Path) -> None:
    cls = type("Described", (Sender,), {"deliver_interrupt": Raises.purge, "lacks": ("xpic",)})
    file = tmp_path / "described.toml"
    file.write_text('profile = "kvm"\nlacks = ["xpic"]\n')
    described = replace(of_class(cls, "described", "native:described.toml"), file=str(file))
    with pytest.raises(AdapterError, match=r"lacks \(.*described.toml:2\): 'xpic' .* Did you mean xapic"):
        check_declared(described, SUITE)


def test_a_report_path_is_tried_before_anything_runs(tmp_path: Path) -> None:
    """What stood there before is left alone, and nothing new is left behind."""
    old = tmp_path / "old.json"
    old.write_text("{}")
    Session(report=[str(old), str(tmp_path / "new.json")])
    assert [p.name for p in tmp_path.iterdir()] == ["old.json"]
    assert old.read_text() == "{}"


def no_adapter(argument: str) -> str:
    return argument


def test_a_function_that_is_no_adapter() -> None:
    with pytest.raises(AdapterError, match=r"no_adapter\(''\) answers '', and must answer an Implementation"):
        resolve(f"{__name__}:no_adapter")
