"""Arm's reference hardware, a routine at a time: what WFI does, which vLPIs are seen, and what an ITS and a redistributor
make of each state a vPE can be in. Worked out by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.adapters.registry import resolve
from conformance.automaton.alone import Alone, SentMessage, run_alone
from conformance.automaton.assembly import Assembly, assemble
from conformance.roles.arm import (
    DIRTY,
    DOORBELL,
    DOORBELL_REQUEST,
    EDGE,
    HCR_EN,
    LPI,
    PENDING,
    PENDING_LAST,
    VALID,
    VMCR_RESET,
    lr_word,
    vpendbaser_word,
)
from conformance.roles.operations import Result, Value
from conformance.roles.scenario import Scenario

HERE, THERE = 0, 1


def assembly(*facts: str) -> Assembly:
    scenario = Scenario(name="alone", about="hardware", architecture="arm", cpus=2, vectors=(EDGE, LPI), facts=facts)
    return assemble(resolve("reference"), scenario)


def alone(routine: str, args: tuple[Result, ...], memory: Mapping[str, Value], *facts: str) -> Alone:
    return run_alone(assembly(*facts), routine, args, memory)


INTERFACE: Mapping[str, Value] = {"cpu0.hcr": HCR_EN, "cpu0.vmcr": VMCR_RESET}
PENDING_EDGE: Mapping[str, Value] = {**INTERFACE, "cpu0.lr[0]": lr_word(EDGE, PENDING)}
CLOSED: Mapping[str, Value] = {**PENDING_EDGE, "vcpu0.pstate_i": 1}


# WFI


def test_wfi_traps_or_halts() -> None:
    trapped = alone("instruction", ("vcpu0", "wfi"), INTERFACE)
    assert trapped.exit_reason == ("wfi",)
    halted = alone("instruction", ("vcpu0", "wfi"), INTERFACE, "wfi-not-trapped")
    assert (halted.ended, halted.memory["vcpu0.halted"]) == ("returned", 1)


def test_wfi_does_nothing_while_a_masked_interrupt_is_there() -> None:
    for facts in ((), ("wfi-not-trapped",)):
        ran = alone("instruction", ("vcpu0", "wfi"), CLOSED, *facts)
        assert (ran.ended, ran.changes) == ("returned", ())


def test_a_masked_interrupt_ends_the_wait_and_is_not_taken() -> None:
    waiting = {**CLOSED, "vcpu0.halted": 1}
    assert alone("boundary", ("vcpu0", ()), waiting).answer.value == ("deliver",)
    woken = alone("deliver", ("vcpu0",), waiting)
    assert (woken.delivered, [c.at for c in woken.changes]) == ((), ["vcpu0.halted"])
    assert alone("boundary", ("vcpu0", ()), CLOSED).answer.value is None


def test_a_physical_interrupt_comes_first_and_ends_the_wait() -> None:
    assert alone("boundary", ("vcpu0", (1, 25)), PENDING_EDGE).answer.value == ("acknowledge", 25)
    taken = alone("acknowledge", ("vcpu0", 25), {"vcpu0.halted": 1})
    assert (taken.exit_reason, taken.memory["vcpu0.halted"]) == (("interrupt", 25), 0)


# vLPIs


@pytest.mark.parametrize(
    ("word", "seen"),
    [(VALID, True), (VALID | DIRTY, False), (DIRTY, False), (0, False), (VALID | 1, False)],
    ids=["resident", "scanned", "drained", "not resident", "another vPE"],
)
def test_a_vlpi_is_seen_where_its_vpe_is_resident(word: int, seen: bool) -> None:
    memory = {**INTERFACE, "cpu0.vpendbaser": word, "cpu0.vlpis": 1, "vcpu0.vpt": 1}
    ran = alone("deliver", ("vcpu0",), memory, "gicv4")
    assert ran.delivered == ((LPI if seen else 1023),)
    assert (ran.memory["cpu0.vlpis"], ran.memory["vcpu0.vpt"]) == ((0, 0) if seen else (1, 1))
    assert ran.memory["cpu0.apr"] == (1 << 0x14 if seen else 0)


def test_equals_are_taken_in_either_order() -> None:
    memory = {**PENDING_EDGE, "cpu0.vpendbaser": VALID, "cpu0.vlpis": 1, "vcpu0.vpt": 1}
    both = {run_alone(assembly("gicv4"), "deliver", ("vcpu0",), memory, (n,)).delivered for n in range(2)}
    assert both == {(EDGE,), (LPI,)}


RINGS = (SentMessage(DOORBELL, HERE),)


@pytest.mark.parametrize(
    ("word", "enabled", "told", "sent"),
    [
        (VALID, 1, 1, ()),
        (VALID | DIRTY, 1, 0, ()),
        (DIRTY | DOORBELL_REQUEST, 1, 0, ()),
        (0, 1, 0, RINGS),
        (0, 0, 0, ()),
        (VALID | 1, 1, 0, RINGS),
    ],
    ids=["resident", "scanned", "drained", "not resident", "nobody asked", "another vPE is resident"],
)
@pytest.mark.parametrize("version", ["gicv4", "gicv4.1"])
def test_what_an_its_makes_of_a_vlpi(
    version: str, word: int, enabled: int, told: int, sent: tuple[SentMessage, ...]
) -> None:
    memory = {"cpu0.vpendbaser": word, "vcpu0.doorbell_enabled": enabled, "vcpu0.vpt": 2}
    ran = alone("vlpi", ("vcpu0", LPI), memory, version)
    assert (ran.memory["vcpu0.vpt"], ran.memory["cpu0.vlpis"], ran.sent) == (3, told, sent)
    spent = bool(sent) and version == "gicv4.1"
    assert ran.memory["vcpu0.doorbell_enabled"] == (0 if spent else enabled)


def test_a_vlpi_goes_where_the_its_takes_the_vpe_to_be() -> None:
    """Resident on cpu0, while the ITS was told cpu1: it is recorded, not signalled, and rings there."""
    memory = {"cpu0.vpendbaser": VALID, "vcpu0.vpe_affinity": THERE, "vcpu0.doorbell_enabled": 1}
    ran = alone("vlpi", ("vcpu0", LPI), memory, "gicv4")
    assert (ran.memory["cpu0.vlpis"], ran.memory["vcpu0.vpt"]) == (0, 1)
    assert ran.sent == (SentMessage(DOORBELL, THERE),)


# What a redistributor does after a write of VPENDBASER


def test_a_scan_tells_the_resident_vpe_what_is_pending() -> None:
    memory = {"cpu0.vpendbaser": vpendbaser_word(0, valid=True), "vcpu0.vpt": 5, "vcpu0.doorbell_enabled": 1}
    ran = alone("redistributor", (0,), memory, "gicv4.1")
    assert (ran.memory["cpu0.vpendbaser"], ran.memory["cpu0.vlpis"]) == (VALID, 5)
    assert ran.memory["vcpu0.doorbell_enabled"] == 0


@pytest.mark.parametrize(("version", "asked"), [("gicv4", 0), ("gicv4.1", 1)])
@pytest.mark.parametrize("left", [0, 5])
def test_a_drain_says_what_is_left(version: str, asked: int, left: int) -> None:
    """A request for a doorbell is GICv4.1's; in 4.0 the LPI's enable is software's. PendingLast is exact only one way."""
    ends: set[Value] = set()
    for choice in range(2):
        word = vpendbaser_word(0, valid=False, doorbell=True)
        memory = {"cpu0.vpendbaser": word, "cpu0.vlpis": left, "vcpu0.vpt": left}
        ran = run_alone(assembly(version), "redistributor", (0,), memory, (choice,))
        assert (ran.memory["cpu0.vlpis"], ran.memory["vcpu0.vpt"]) == (0, left)
        assert ran.memory["vcpu0.doorbell_enabled"] == asked
        ends.add(ran.memory["cpu0.vpendbaser"])
    hinted = DOORBELL_REQUEST | PENDING_LAST
    assert ends == ({hinted} if left else {DOORBELL_REQUEST, hinted})


def test_a_redistributor_without_work_waits() -> None:
    assert alone("redistributor", (0,), {"cpu0.vpendbaser": VALID}, "gicv4").ended == "waiting"
