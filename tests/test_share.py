"""Only what can differ is run: where none of an implementation's routines would be asked anything, all is the reference's."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from conformance.adapters.registry import Implementation, of_class, resolve
from conformance.automaton.assembly import own_routines, recorded
from conformance.roles import nested
from conformance.roles.nested import NestedRunLoop
from conformance.roles.x86 import PINV, Cpu, Sender, Shared, Vcpu
from conformance.verdict.clause import Status, exit_status
from conformance.verdict.explore import explore
from conformance.verdict.judge import Judge
from conformance.verdict.share import Share
from properties.suite import SUITE
from reference.nested.kvm import NestedKvm
from reference.x86.kvm import Kvm

BY_NAME = {s.name: s for s in SUITE.scenarios}
CLAUSES = {c.id: c for c in SUITE.clauses}


class Plain(Sender):
    """The reference's sender, and no more."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        return Kvm(self.world).deliver_interrupt(cpu, vcpu, vector)


class Declares(Plain):
    vcpu_state: ClassVar = {"tries": Shared(0)}
    cpu_state: ClassVar = {"tries": Shared(1)}


class BeginsOtherwise(Plain):
    vcpu_state: ClassVar = {"mode": Shared(1)}


class Handles(Plain):
    handlers: ClassVar = {PINV: "deliver_interrupt"}


class HandlesAnother(Plain):
    handlers: ClassVar = {0x33: "deliver_interrupt"}


class TakesOver(Plain):
    """A routine that the reference chains to."""

    def vcpu_halt(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return Kvm(self.world).vcpu_halt(cpu, vcpu)


class KeepsToItself(Plain):
    """A name of the reference's that nothing chains to."""

    def request(self, cpu: Cpu, vcpu: Vcpu, bits: int) -> None: ...


def implementation(cls: type[Any]) -> Implementation:
    return of_class(cls, cls.__name__, f"{__name__}:{cls.__name__}")


def shares(cls: type[Any]) -> set[str]:
    share = Share(implementation(cls), "x86", SUITE)
    return {s.name for s in SUITE.scenarios if s.architecture == "x86" and share.has(s.name)}


def sends(name: str) -> bool:
    return "deliver_interrupt" in SUITE.routines[name]


X86 = [s.name for s in SUITE.scenarios if s.architecture == "x86"]
SENDING = set(filter(sends, X86))


@pytest.mark.parametrize("cls", [Plain, Declares, KeepsToItself])
def test_a_sender_has_a_share_where_something_is_sent(cls: type[Any]) -> None:
    assert shares(cls) == SENDING
    assert 10 < len(SENDING) < len(X86) - 10


@pytest.mark.parametrize("cls", [BeginsOtherwise, Handles, HandlesAnother])
def test_what_changes_what_others_find_has_a_share_everywhere(cls: type[Any]) -> None:
    assert shares(cls) == set(X86)


def test_what_takes_over_a_routine_has_a_share_where_that_runs() -> None:
    assert shares(TakesOver) == {name for name in X86 if sends(name) or "vcpu_halt" in SUITE.routines[name]}


def test_the_reference_has_a_share_in_everything() -> None:
    for architecture in ("x86", "nested", "arm"):
        share = Share(resolve("reference"), architecture, SUITE)
        names = [s.name for s in SUITE.scenarios if s.architecture == architecture]
        assert all(map(share.has, names))


def test_of_what_nothing_is_known_everything_has_a_share() -> None:
    assert Share(implementation(Plain), "x86", SUITE).has("a scenario that nobody has measured")
    assert Share(implementation(Plain), "x86", SUITE).has("KVM-PI-22")  # nothing runs with the reference


@pytest.mark.parametrize(
    "name", ["one-device", "halt-in-the-guest", "inhibited-closed", "save-restore", "unassign-running"]
)
def test_left_out_is_what_would_be_the_same(name: str) -> None:
    """Nothing of its own is asked, and what is found is what is found with the reference."""
    with recorded() as made:
        found = explore(implementation(Declares), BY_NAME[name], SUITE)
    own = own_routines(implementation(Declares), made[-1].assembly)
    assert own == {"deliver_interrupt"}
    asked = {routine for _, a in made for u in a.unfoldings() for routine, _ in u.roots}
    assert bool(own & asked) == sends(name)
    if not sends(name):
        assert found == explore(resolve("reference"), BY_NAME[name], SUITE)


def test_a_function_of_another_role_is_the_references() -> None:
    judge = Judge(implementation(Plain), "kvm", SUITE)
    verdict = judge.verdict(CLAUSES["PID-1"])
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.evidence == "the reference's: Plain brings none of the routines that this takes"
    assert judge.verdict(CLAUSES["KVM-SND-10"]).status is Status.HELD


def test_a_clause_that_is_put_to_the_test_only_where_it_has_no_share_is_not_undecided() -> None:
    """KVM-PI-14 is about blocking under preemption by a device's post. (The rows have a sender for every clause.)"""
    stories = {s.name for s in SUITE.scenarios if s.story}
    judge = Judge(implementation(Plain), "kvm", SUITE, scenarios=stories)
    alone = {c: names for c, names in judge.left_out.items() if c not in judge.watchers}
    verdict = judge.verdict(CLAUSES[min(alone)])
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.evidence.startswith("the reference's: Plain brings none of the routines that run in ")
    assert exit_status([verdict]) == 0
    assert set(judge.without_a_share(SUITE.clauses)) == (set(X86) - SENDING) & stories


class Loop(NestedRunLoop):
    """The reference's run loop, and no more."""

    def vcpu_run(self, cpu: Cpu, vcpu: nested.Vcpu) -> Any:
        return NestedKvm(self.world).vcpu_run(cpu, vcpu)


def test_what_takes_another_role_of_its_own_is_not_undecided() -> None:
    """Who requests something of a vCPU has to know how its run loop says what it is about, so both are one's own."""
    loop = of_class(Loop, "Loop", "Loop")
    assert loop.torn(BY_NAME["requests"]) == {"requester": "nested_run_loop"}
    judge = Judge(loop, "kvm", SUITE, scenarios={"nested-silent", "requests", "shadow-pages"})
    verdict = judge.verdict(CLAUSES["MODE-2"])
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.evidence == (
        "in 1 scenario (nested-silent) its premise never became true; in 2 scenarios (requests and shadow-pages) it may, but they take "
        "a requester of its own beside its nested_run_loop"
    )
    assert exit_status([verdict]) == 0
