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

from conformance.adapters import python
from conformance.adapters.registry import AdapterError, of_class, resolve
from conformance.roles.x86 import Cpu, Field, Sender, Vcpu
from conformance.verdict.clause import Status, exit_status
from conformance.verdict.declarations import check_declared
from conformance.verdict.explore import Explored, explore
from conformance.verdict.judge import Judge
from conformance.verdict.session import BadInput, Session
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
        ({"report": ["report.xml"]}, "only .json is known"),
        ({"replay": "hello"}, "this is no replay string: it must read intack2"),
        ({"replay": "intack0.AAAA.00000000"}, "is of version intack0; this suite reads intack2"),
        ({"replay": "intack2.AAAA.00000000"}, "this replay string is damaged"),
        ({"replay": "intack2.AAAA.00000000", "adapter": "xen"}, "names its own implementation"),
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
        f"  lacks ({here}:{start + 3}): 'apicv-inhibted' is no fact or feature that could be lacked. "
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
