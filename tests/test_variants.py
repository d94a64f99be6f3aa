"""Correct variants: what somebody may write otherwise than KVM does, and nothing is lost by it. None may be VIOLATED.

Each is run in the smallest scenarios; `python tests/test_variants.py` runs them in all.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from conformance.adapters.registry import of_class
from conformance.machine.build import in_machine
from conformance.roles.cpu import Cpu, Then
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import Vcpu
from conformance.search.proof import prove
from properties.golden import GOLDEN
from properties.suite import SUITE
from reference.arm.kvm import KvmArm as Vgic
from reference.x86.kvm import OUT, Kvm
from reference.x86.processor import ReferenceProcessor

FEW = 8
"""Scenarios, the smallest."""
GUARANTEES = frozenset(c.id for c in SUITE.clauses if c.kind == "guarantee")


class LooksAtItsBitFirst(Kvm):
    """Who set the bit sees to the rest."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        return not cpu.load(vcpu.pid.bit(vector)) and super().post_vector(cpu, vcpu, vector)


class SetsOnByExchange(Kvm):
    """ON by a compare-and-exchange of the control word, in a loop."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        if cpu.test_and_set(vcpu.pid.bit(vector)):
            return False
        while True:
            control = cpu.load(vcpu.pid.control)
            if control & 1:
                return False
            if cpu.cmpxchg(vcpu.pid.control, control, control | 1) == control:
                return True


class NotifiesAlways(Kvm):
    """One notification too many harms nobody."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        cpu.test_and_set(vcpu.pid.bit(vector))
        cpu.test_and_set(vcpu.pid.on)
        return True


class WakesToo(Kvm):
    """Wakes whatever the mode is."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().trigger(cpu, vcpu)
        self.wake_up(cpu, vcpu)


class FencesMore(Kvm):
    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fence()
        super().trigger(cpu, vcpu)
        cpu.fence()


class HarvestsFromTheTop(Kvm):
    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in reversed(self.world.words):
            if bits := cpu.swap(vcpu.pid.pir[word], 0):
                self.merge(cpu, vcpu, word, bits)
                arrived = True
        return arrived


class HarvestsBitByBit(Kvm):
    def harvest(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        arrived = False
        for word in self.world.words:
            seen = cpu.load(vcpu.pid.pir[word])
            for bit in (b for b in range(64) if seen >> b & 1):
                if cpu.test_and_clear(vcpu.pid.bit(64 * word + bit)):
                    self.merge(cpu, vcpu, word, 1 << bit)
                    arrived = True
        return arrived


class HarvestsWhateverOnSays(Kvm):
    """ON is cleared if it is set; PIR is read in any case."""

    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        if cpu.load(vcpu.pid.on):
            cpu.test_and_clear(vcpu.pid.on)
        cpu.fence()
        return self.harvest(cpu, vcpu)


class HarvestsTwice(Kvm):
    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        super().sync_pir_to_irr(cpu, vcpu)
        return super().sync_pir_to_irr(cpu, vcpu)


class AsksForRequestsTwice(Kvm):
    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.load(vcpu.requests)
        return super().vcpu_run(cpu, vcpu)


class LooksBeforeItAnnounces(Kvm):
    """One look more, before it announces that it blocks."""

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        if self.check_block(cpu, vcpu):
            return Then("vcpu_run", vcpu)
        return super().vcpu_block(cpu, vcpu)


class KicksTwice(Kvm):
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().kick(cpu, vcpu)
        super().kick(cpu, vcpu)


class LeavesTwice(Kvm):
    """OUT is written again."""

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.store(vcpu.mode, OUT)
        return super().leave_guest(cpu, vcpu, *reason)


class ClearsOnInOneStep(ReferenceProcessor):
    """Posted-interrupt processing in one step: nobody comes between."""

    def process_posted(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with cpu.atomic():
            super().process_posted(cpu, vcpu)


class FromTheTop(ReferenceProcessor):
    """The words of PIR in another order."""

    def order(self, cpu: Cpu) -> tuple[int, ...]:
        return tuple(reversed(self.world.words))


class KicksTwiceOnArm(Vgic):
    def kick(self, cpu: Cpu, vcpu: Any) -> None:
        super().kick(cpu, vcpu)
        super().kick(cpu, vcpu)


class LooksForWorkTwice(Vgic):
    def runnable(self, cpu: Cpu, vcpu: Any) -> bool:
        return super().runnable(cpu, vcpu) or super().runnable(cpu, vcpu)


class WakesWhoIsKicked(Vgic):
    """Wakes a second time, last."""

    def notify(self, cpu: Cpu, vcpu: Any) -> None:
        super().notify(cpu, vcpu)
        cpu.wake(vcpu)


VARIANTS: tuple[type[BaseRole], ...] = (
    LooksAtItsBitFirst, SetsOnByExchange, NotifiesAlways, WakesToo, FencesMore, HarvestsFromTheTop, HarvestsBitByBit,
    HarvestsWhateverOnSays, HarvestsTwice, AsksForRequestsTwice, LooksBeforeItAnnounces, KicksTwice, LeavesTwice, ClearsOnInOneStep,
    FromTheTop, KicksTwiceOnArm, LooksForWorkTwice, WakesWhoIsKicked,
)  # fmt: skip


def broken(variant: type[BaseRole], scenario: Scenario) -> list[str]:
    implementation = of_class(variant, variant.__name__, f"{__name__}:{variant.__name__}")
    if not implementation.takes_part(scenario):
        return []
    found = in_machine(implementation, scenario, SUITE, prove)
    assert found.complete
    clauses = {*found.breached, *found.at_rest, *(("LIVELOCK",) if found.livelock else ())}
    return sorted(clauses & GUARANTEES)


def scenarios(variant: type[BaseRole]) -> list[Scenario]:
    """All of its architecture, the smallest first."""
    own = of_class(variant, "", "").architectures
    exhausted = [s for s in SUITE.scenarios if s.architecture in own and s.name in GOLDEN]
    return sorted(exhausted, key=lambda s: GOLDEN[s.name])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_correct_variant_breaks_nothing(variant: type[BaseRole]) -> None:
    assert {s.name: found for s in scenarios(variant)[:FEW] if (found := broken(variant, s))} == {}


if __name__ == "__main__":
    for each in VARIANTS:
        found = {s.name: bad for s in scenarios(each) if (bad := broken(each, s))}
        print(each.__name__, found or "breaks nothing")
        sys.stdout.flush()
