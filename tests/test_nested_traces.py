"""The traces that were told on the list about nested posted interrupts and vcpu->mode, each as one line, with what is to be
said of it: accepted, or which guarantee it breaks, by which profile; and the proposal to count generations, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from conformance.adapters.registry import resolve
from conformance.ordering.names import parse
from conformance.ordering.order import Answer, order
from conformance.verdict.clause import Status
from conformance.verdict.explore import Explored, explore
from properties.suite import SUITE
from reference.alternatives.nested.generation_count import entered, exiting, left
from reference.known_bad.nested.register import KNOWN_BAD

SCENARIOS = {s.name: s for s in SUITE.scenarios}


class Told(NamedTuple):
    spec: str
    scenario: str
    profile: str
    line: str
    breaks: tuple[str, ...] = ()
    """What runs that fit violate."""


POLLED = (
    "cpu1.or PIR12[100] < cpu1.sends NPINV < cpu0.acknowledges NPINV < cpu2.reads PIR12[100] = 0 < cpu2.or PIR12[200] "
    "< cpu0.delivers L2's 200"
)
TOLD = {
    # Bonzini, 24 Nov 2020: "vector 200 would be delivered before vector 100", on bare metal and nested. No order is promised.
    "reordered": Told(
        "reference",
        "running",
        "strict",
        "cpu1.or PIR[100] < cpu1.or ON 1, was 0 < device.or PIR[200] < cpu0.delivers 200 < cpu0.delivers 100",
    ),
    "reordered-nested": Told(
        "reference",
        "nested-order",
        "strict",
        "cpu1.or PIR12[100] < cpu1.sends NPINV < cpu2.or PIR12[200] < cpu0.acknowledges NPINV < cpu0.delivers L2's 200 "
        "< cpu0.delivers L2's 100",
    ),
    # Christopherson, 24 Nov 2020: 200 must never be seen, for no notification comes after it.
    "never-notified": Told("reference", "nested-polled", "strict", POLLED, ("KVM-NST-9",)),
    "never-notified-waived": Told("reference", "nested-polled", "kvm", POLLED),
    # Christopherson, 24 Nov 2020: the notification comes after the exit, and mode still says that the vCPU is in its guest.
    "in-guest-no-more": Told(
        "generation-count",
        "nested-post",
        "strict",
        "exit cpu0.vcpu0 exits: tick < deliver_interrupt.sends NPINV < wire0.NPINV arrives at cpu0 "
        "< deliver_interrupt.reads mode = 9 #2 < cpu0.mode := 8 < cpu0.takes NPINV in root mode",
        ("NST-E2E-1", "NST-E2E-5"),
    ),
    # Mattson, 24 Nov 2020: when the notification comes another vCPU runs there.
    "another-vcpu": Told(
        "generation-count",
        "nested-shared",
        "strict",
        "deliver_interrupt.reads mode = 9 < cpu0.enters vcpu1 #2 < deliver_interrupt.sends NPINV < cpu0.acknowledges NPINV",
        ("KVM-NST-11",),
    ),
    "another-vcpu-kvm": Told(
        "reference",
        "nested-shared",
        "strict",
        "deliver_interrupt.reads mode = 1 < cpu0.enters vcpu1 #2 < deliver_interrupt.sends NPINV < cpu0.acknowledges NPINV",
        ("KVM-NST-11",),
    ),
    "another-vcpu-put-sn": Told(
        "reference.alternatives.nested.put_sn:NestedPutSn",
        "nested-shared",
        "strict",
        "deliver_interrupt.reads mode = 1 < cpu0.enters vcpu1 #2 < deliver_interrupt.sends NPINV < cpu0.acknowledges NPINV",
        ("KVM-NST-11",),
    ),
    # docs/findings.md, 7: what L0 has noted is gone when L1 enters L2 again. No clause asks for it.
    "forgotten": Told(
        "reference",
        "nested-again",
        "strict",
        "deliver_interrupt.pi_pending := 1 < cpu0.guest_mode := 0 < cpu0.pi_pending := 0 #2; "
        "not reached cpu0.delivers L2's 200; not reached cpu0.delivers L1's PINV12",
    ),
    # The two races of b95234c84004 (2016), and the window of d76fb40637fc (2021) without its self-IPI.
    "interrupts-on": Told(
        "known-bad:B17",
        "one-sender",
        "kvm",
        "cpu0.mode := 1 < deliver_interrupt.reads mode = 1 < cpu0.takes interrupt 0xf2 < cpu0.interrupts off",
        ("E2E-1", "E2E-11", "E2E-14"),
    ),
    "harvest-first": Told(
        "known-bad:B18",
        "one-sender",
        "kvm",
        "cpu0.reads ON = 0 < deliver_interrupt.or PIR < deliver_interrupt.reads mode = 0 < cpu0.mode := 1",
        ("E2E-1", "E2E-11", "E2E-14"),
    ),
    "no-self-ipi": Told(
        "known-bad:B22a",
        "one-device",
        "kvm",
        "put.reads blocking = 1 < device.sends 0xf2 < put.cmpxchg control",
        ("E2E-1", "E2E-10"),
    ),
}


def answer(told: Told) -> Answer:
    scenario = SCENARIOS[told.scenario]
    return order(resolve(told.spec), scenario, SUITE, parse([told.line]), profile=told.profile)


@pytest.mark.parametrize("name", TOLD)
def test_a_told_trace_is_one_line(name: str) -> None:
    told = TOLD[name]
    found = answer(told)
    assert found.fits, found.why_not or found.undecided
    assert {v.clause.id for v in found.verdicts if v.status is Status.VIOLATED} == set(told.breaks)


MENDED = {
    "never-notified": Told(
        "nested-emulated",
        "nested-polled",
        "strict",
        "cpu1.or PIR12[100] < cpu1.sends KICK < cpu2.reads PIR12[100] = 0 < cpu2.or PIR12[200] < cpu0.delivers L2's 200",
    ),
    "in-guest-no-more": Told(
        "reference",
        "nested-post",
        "strict",
        "exit cpu0.vcpu0 exits: tick < deliver_interrupt.sends NPINV < cpu0.takes NPINV in root mode",
    ),
}
"""What comes nearest to a told trace where it is mended: 200 was then taken with 100, by 100's notification."""


@pytest.mark.parametrize("name", MENDED)
def test_and_breaks_nothing_where_it_is_mended(name: str) -> None:
    found = answer(MENDED[name])
    assert found.fits, found.why_not
    assert not found.violated


# An NMI or SMI of any length


@pytest.mark.parametrize("step", ["reads guest_mode", "or requests", "reads mode"])
def test_a_sender_may_be_held_up_after_any_step(step: str) -> None:
    """Until L2 has exited and is in its guest again; nothing is lost in any such run."""
    line = f"deliver_interrupt.{step} < exit cpu0.vcpu0 exits: tick < cpu0.enters vcpu0 #3 ; reached cpu0.delivers L2's 200"
    found = order(resolve("reference"), SCENARIOS["nested-post"], SUITE, parse([line]))
    assert found.fits, found.why_not
    assert not found.violated


def test_every_rule_is_broken_by_something() -> None:
    rules = {c.id for c in SUITE.clauses if c.architecture == "nested" and c.modality != "MAY"}
    assert rules <= {clause for bad in KNOWN_BAD for clause in (*bad.breaks, *bad.deviates)}


# The proposal to count generations


def test_the_count_is_above_and_mode_in_the_low_two_bits() -> None:
    """The transitions as the message writes them, from each of the four values and any generation."""
    for generation in (0, 1, 2, 1 << 20):
        for mode in range(4):
            assert entered(generation << 2 | mode) == (generation + 1) << 2 | 1
            assert left(generation << 2 | mode) == generation << 2
        assert exiting(generation << 2 | 1) == generation << 2 | 2


def test_the_proposal_is_judged_by_the_manual() -> None:
    assert resolve("generation-count").profile == "strict"


@pytest.mark.parametrize("allowed", ["MODE-9", "NST-E2E-6"])
def test_what_the_message_says_is_fine_is_fine(allowed: str) -> None:
    """Notifications in root mode, and the higher vector first: seen, and no failure."""
    seen = {c for name in ("nested-hlt", "nested-order") for c in explored(name).witnessed}
    assert allowed in seen
    clause = next(c for c in SUITE.clauses if c.id == allowed)
    assert clause.modality == "MAY"


def explored(scenario: str) -> Explored:
    return explore(resolve("generation-count"), SCENARIOS[scenario], SUITE)
