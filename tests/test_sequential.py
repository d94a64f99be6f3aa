"""The sequential checks: they pass the reference, and each finds what breaks its clause, with the smallest example there is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest

from conformance.adapters import registry
from conformance.adapters.registry import Implementation
from conformance.engine.alone import Alone, after, run_alone
from conformance.engine.assembly import Assembly, Shared
from conformance.engine.operations import WORD, Rmw
from conformance.engine.scenario import Scenario
from conformance.engine.unfold import Fault
from conformance.roles.x86 import PINV, WAKEUP, Cpu, Sender, Then, Vcpu
from conformance.roles.x86 import Descriptor as Fields
from properties.sequential import CHECKS, check
from properties.sequential.state import LEGAL, State
from properties.suite import SUITE
from reference.known_bad import iommu, processor, residency
from reference.kvm import EVENT, Kvm
from reference.x86 import descriptor
from reference.x86.iommu import ReferenceIommu
from reference.x86.processor import ReferenceProcessor, priority_class


def implementation(cls: type[Any]) -> Implementation:
    return registry.of_class(cls, cls.__name__, cls.__name__)


# Every clause has a check, and the reference passes it

SEQUENTIAL = [clause.id for clause in SUITE.clauses if clause.check == "sequential"]
OWN_WORDS = {"KVM-PI-22": "NOT CHECKED"}
"""What the reference gives no occasion to check."""


def test_each_sequential_clause_has_a_check_and_each_check_a_clause() -> None:
    assert sorted(CHECKS) == sorted(SEQUENTIAL)


@pytest.mark.parametrize("clause", SEQUENTIAL)
def test_reference_passes(clause: str) -> None:
    checked = check(clause, registry.resolve("reference"))
    assert not checked.counterexample
    assert checked.fault_status == OWN_WORDS.get(clause, "")
    assert checked.evidence.startswith("one routine alone") or clause in OWN_WORDS


# Wrong implementations, beside those of reference.known_bad


class Checks4K(ReferenceProcessor):
    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> bool:
        return super().check_controls(cpu, vcpu, address, notification_vector, *controls) and address % 4096 == 0


class IgnoresHighVectorBits(ReferenceProcessor):
    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> bool:
        return super().check_controls(cpu, vcpu, address, notification_vector & 0xFF, *controls)


class PostsWithoutDelivery(ReferenceProcessor):
    """Xen cf6b3ccf28, seen from the other side: posted-interrupt processing is accepted without virtual delivery."""

    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> bool:
        rest = [c for c in controls if c != "process-posted-interrupts"]
        return super().check_controls(cpu, vcpu, address, notification_vector, *rest)


class BigEndian(ReferenceIommu):
    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, vector ^ 0x38, urgent)


class SetsByteForOn(ReferenceIommu):
    """ON is written as a whole byte."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, vector, urgent)
        cpu.fetch_or(vcpu.pid.control, 1 << 7)


class MarksLoaded(Kvm):
    """Software keeps a note of its own beside SN."""

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        super().load(cpu, vcpu, where)
        cpu.fetch_or(vcpu.pid.control, 4)


class WideVector(Kvm):
    """NV is written as 16 bits, with the delivery mode above the vector, as in an APIC register."""

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        super().load(cpu, vcpu, where)
        cpu.fetch_or(vcpu.pid.control, 1 << 24)


class SuppressedProcessing(ReferenceProcessor):
    """SN stops the processor too."""

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if not cpu.load(vcpu.pid.sn):
            super().acknowledge(cpu, vcpu, vector)


class ClearsOnPlainly(ReferenceProcessor):
    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.pid.on, 0)


class SwapsControl(ReferenceProcessor):
    """Locked, but what another agent changes between the two operations is undone."""

    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.swap(vcpu.pid.control, cpu.load(vcpu.pid.control) & ~1)


class ProcessesWithoutEvaluation(ReferenceProcessor):
    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.clear_on(cpu, vcpu)
        self.raise_rvi(cpu, vcpu, max(self.harvest_word(cpu, vcpu, word) for word in self.order(cpu)))


class WakesOnProcessing(ReferenceProcessor):
    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().clear_on(cpu, vcpu)
        cpu.store(vcpu.halted, 0)


class EmptyMeansNone(ReferenceProcessor):
    """RVI becomes the highest of an empty PIR: none."""

    def raise_rvi(self, cpu: Cpu, vcpu: Vcpu, found: int) -> None:
        cpu.store(vcpu.rvi, max(found, cpu.load(vcpu.rvi)) if found else 0)


class ForgetsStiShadow(ReferenceProcessor):
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        return ("deliver",) if cpu.load(vcpu.recognized) and cpu.load(vcpu.rflags_if) else None


class PprKeepsLowNibble(ReferenceProcessor):
    def virtualize_ppr(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.vppr, max(cpu.load(vcpu.vtpr), cpu.load(vcpu.svi)))


class PprBySvi(ReferenceProcessor):
    """Of equal classes SVI counts, not vTPR."""

    def virtualize_ppr(self, cpu: Cpu, vcpu: Vcpu) -> None:
        vtpr, svi = cpu.load(vcpu.vtpr), cpu.load(vcpu.svi)
        cpu.store(vcpu.vppr, vtpr if priority_class(vtpr) > priority_class(svi) else svi & 0xF0)


class ExitsAndEvaluates(ReferenceProcessor):
    """An EOI exit does not stand in for the evaluation."""

    def end_of_interrupt(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.recognized, 0)
        super().end_of_interrupt(cpu, vcpu)


class SelfIpiLowersRvi(ReferenceProcessor):
    def self_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.set_bit(cpu, vcpu.virr, vector)
        cpu.store(vcpu.rvi, vector)
        self.evaluate(cpu, vcpu)


class EntersWithoutPpr(ReferenceProcessor):
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.evaluate(cpu, vcpu)


class StaysHalted(ReferenceProcessor):
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        return None if cpu.load(vcpu.halted) else super().boundary(cpu, vcpu, pending)


class PostsInTwoSteps(ReferenceIommu):
    """A device that posts as IPI virtualization does."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        super().post(cpu, vcpu, vector, urgent)


class DecidesEarly(ReferenceIommu):
    """SN is read before the atomic operation."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        sn = cpu.load(vcpu.pid.sn)
        with cpu.atomic():
            cpu.test_and_set(vcpu.pid.bit(vector))
            notify = (urgent or not sn) and not cpu.test_and_set(vcpu.pid.on)
            nv, ndst = cpu.load(vcpu.pid.nv), cpu.load(vcpu.pid.ndst)
        if notify:
            cpu.send_ipi(nv, self.apic_id(ndst))


class SendsInOneStep(ReferenceIommu):
    """IPI virtualization in one atomic operation, as a device posts."""

    def virtual_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.post(cpu, vcpu, vector, urgent=False)


class SendsUnderSn(ReferenceIommu):
    def virtual_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.test_and_set(vcpu.pid.bit(vector))
        if not cpu.test_and_set(vcpu.pid.on):
            cpu.send_ipi(cpu.load(vcpu.pid.nv), self.apic_id(cpu.load(vcpu.pid.ndst)))


class RequestsTooEarly(Kvm):
    def set_irr(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        self.request(cpu, vcpu, EVENT)
        super().set_irr(cpu, vcpu, vector)


class KicksNobody(Kvm):
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.wake_up(cpu, vcpu)


class LoadsInFull(Kvm):
    def pi_load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        if cpu.load(vcpu.pid.nv) == WAKEUP:
            super().pi_load(cpu, vcpu, where)
            return
        self.update_control(cpu, vcpu, ndst=self.destination(where), sn=0, nv=PINV)
        self.announce_left_over(cpu, vcpu)


class NeverSuppresses(Kvm):
    def pi_put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None:
        super().pi_put(cpu, vcpu, preempted=False)


class StartsUnsuppressed(Kvm):
    vcpu_state: ClassVar = {**Kvm.vcpu_state, "pid.control": Shared(PINV << 16)}


FOUND: list[tuple[type[Any], str, str]] = []
