"""The sequential checks: they pass the reference, and each finds what breaks its clause, with the smallest example
there is.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import pytest
from turns import every_other
from wrong_apic import HighestBitOnly

from conformance.adapters import registry
from conformance.adapters.registry import Implementation
from conformance.adapters.source import Fault
from conformance.automaton.alone import Alone, run_alone
from conformance.automaton.assembly import Assembly, assemble
from conformance.automaton.meaning import after
from conformance.roles.location import Shared
from conformance.roles.operations import WORD, Rmw
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV, WAKEUP, Cpu, Sender, Then, Vcpu
from conformance.roles.x86 import Descriptor as Fields
from properties.suite import SUITE
from properties.x86.sequential import CHECKS
from properties.x86.sequential.state import State
from reference.known_bad.x86 import iommu, processor, residency
from reference.x86 import descriptor
from reference.x86.iommu import ReferenceIommu
from reference.x86.kvm import EVENT, Kvm
from reference.x86.processor import ReferenceProcessor, priority_class

check = SUITE.sequential


def implementation(cls: type[Any]) -> Implementation:
    return registry.of_class(cls, cls.__name__, cls.__name__)


# Every clause has a check, and the reference passes it

SEQUENTIAL = [c.id for c in SUITE.clauses if c.check == "sequential" and c.architecture == "x86"]
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


class RaisesLowVectors(ReferenceIommu):
    """0 to 15 are no vectors of interrupts, and become such."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, max(vector, 16), urgent)


class RefusesLowVectors(ReferenceIommu):
    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        if vector >= 16:
            super().post(cpu, vcpu, vector, urgent)


class SetsByteForOn(ReferenceIommu):
    """ON is written as a whole byte."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> None:
        super().post(cpu, vcpu, vector, urgent)
        cpu.fetch_or(vcpu.pid.control, 1 << 7)


class ClearsOnWithSn(ReferenceProcessor):
    """ON and SN are cleared together."""

    def clear_on(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fetch_and(vcpu.pid.control, ~3)


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
        cpu.store(vcpu.vppr, vtpr if not svi or priority_class(vtpr) > priority_class(svi) else svi & 0xF0)


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


class TakesLowHalf(ReferenceProcessor):
    def harvest_word(self, cpu: Cpu, vcpu: Vcpu, word: int) -> int:
        bits = cpu.load(vcpu.pid.pir[word]) & 0xFFFFFFFF
        cpu.fetch_and(vcpu.pid.pir[word], ~bits)
        cpu.store(vcpu.virr[word], cpu.load(vcpu.virr[word]) | bits)
        return 64 * word + bits.bit_length() - 1 if bits else 0


class LooksAtOneWord(Kvm):
    def any_posted(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return bool(cpu.load(vcpu.pid.pir[0]))


class WakesTwo(Kvm):
    """The wakeup handler wakes the first two that were posted to."""

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        due = [self.world.vcpus[n] for n in cpu.load(here.wakeup_list) if cpu.load(self.world.vcpus[n].pid.on)]
        for vcpu in due[:2]:
            self.wake_up(cpu, vcpu)
        cpu.unlock(here.wakeup_lock)


class LeavesWithTheRest(Kvm):
    """Who leaves the wakeup list takes those along that are behind it."""

    def leave_wakeup_list(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        there = self.world.cpus[where]
        cpu.lock(there.wakeup_lock)
        listed = cpu.load(there.wakeup_list)
        cpu.store(there.wakeup_list, listed[: listed.index(vcpu.name)] if vcpu.name in listed else listed)
        cpu.unlock(there.wakeup_lock)


class PurgesOneWord(Kvm):
    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.test_and_clear(vcpu.pid.on)
        cpu.swap(vcpu.pid.pir[0], 0)

    def restore(self, cpu: Cpu, vcpu: Vcpu, image: tuple[int, ...], timer: int | None = None) -> None:
        super().restore(cpu, vcpu, image, timer)
        cpu.test_and_set(vcpu.pid.on)


class StartsUnsuppressed(Kvm):
    vcpu_state: ClassVar = {**Kvm.vcpu_state, "pid.control": Shared(PINV << 16)}


FOUND: list[tuple[type[Any], str, str]] = [
    (
        Checks4K,
        "PID-1",
        "VM entry with the descriptor at 0x40, notification vector 0xf2 and all controls set: "
        "due is that it goes on; it fails",
    ),
    (
        IgnoresHighVectorBits,
        "PID-9",
        "VM entry with the descriptor at 0x8000, notification vector 0x100 and all controls set: "
        "due is that it fails; it goes on",
    ),
    (
        PostsWithoutDelivery,
        "PID-10",
        "VM entry with the descriptor at 0x8000, notification vector 0xf2 and process-posted-interrupts set: "
        "due is that it fails; it goes on",
    ),
    (
        BigEndian,
        "PID-2",
        "post(vcpu0, 0x10, False) into an empty descriptor: due is byte 2 bit 0; set are byte 5 bit 0",
    ),
    (
        RaisesLowVectors,
        "PID-2",
        "post(vcpu0, 0x0, False) into an empty descriptor: due is byte 0 bit 0; set are byte 2 bit 0",
    ),
    (
        SetsByteForOn,
        "PID-3",
        "post(vcpu0, 0x10, False) on a state of zeros: only byte 32 bit 0 of the bytes from 32 on is its to set; "
        "changed are byte 32 bit 0, byte 32 bit 7",
    ),
    (
        ClearsOnWithSn,
        "PID-3",
        "acknowledge(vcpu0, 0xf2) on SN=1: only byte 32 bit 0 of the bytes from 32 on is its to clear; "
        "changed are byte 32 bit 1",
    ),
    (
        MarksLoaded,
        "PID-4",
        "load(vcpu0, 0x0): due is 0 in bits 271:258 of the descriptor; set are byte 32 bit 2",
    ),
    (
        WideVector,
        "PID-5",
        "load(vcpu0, 0x0): due is 0 in byte 35 of the descriptor; set are byte 35 bit 0",
    ),
    (
        residency.UnshiftedXapicId,
        "PID-6",
        "load(vcpu0, 0x0), put(vcpu0, True), load(vcpu0, 0x1): in xapic mode 0x100 is due in bytes 36 to 39; found 0x1",
    ),
    (SuppressedProcessing, "PID-7", "acknowledge(vcpu0, 0xf2) on ON=1, SN=1: due is ON=0; found ON=1"),
    (processor.LeavesOn, "PIP-2", "acknowledge(vcpu0, 0xf2) on ON=1: due is ON=0; found ON=1"),
    (
        ClearsOnPlainly,
        "PIP-2",
        "acknowledge(vcpu0, 0xf2) on ON=1: ON is cleared by a plain store; due is a locked operation",
    ),
    (
        SwapsControl,
        "PIP-2",
        "acknowledge(vcpu0, 0xf2) on ON=1: due is an operation on bit 0 alone; "
        "the one that clears ON writes 0xffffffffffffffff",
    ),
    (
        processor.ForgetsRvi,
        "PIP-7",
        "acknowledge(vcpu0, 0xf2) on PIR={0x10}, RVI=0x11, recognized=1: due is RVI=0x11; found RVI=0x10",
    ),
    (
        ProcessesWithoutEvaluation,
        "PIP-8",
        "acknowledge(vcpu0, 0xf2) on PIR={0x10}: due is recognized=1; found recognized=0",
    ),
    (WakesOnProcessing, "PIP-11", "acknowledge(vcpu0, 0xf2) on halted=1: due is halted=1; found halted=0"),
    (EmptyMeansNone, "E2E-9", "acknowledge(vcpu0, 0xf2) on RVI=0x10, recognized=1: due is RVI=0x10; found RVI=0"),
    (
        processor.AdmitsEqualClass,
        "VID-1",
        "acknowledge(vcpu0, 0xf2) on RVI=0x10, SVI=0x10, vPPR=0x10: due is recognized=0; found recognized=1",
    ),
    (
        processor.ComparesWholeVector,
        "VID-1",
        "acknowledge(vcpu0, 0xf2) on RVI=0x11, vTPR=0x10, vPPR=0x10: due is recognized=0; found recognized=1",
    ),
    (
        ForgetsStiShadow,
        "VID-3",
        "boundary(vcpu0, ()) on RVI=0x10, recognized=1, IF=1, blocking by STI=1: "
        "due is that no virtual interrupt is delivered; the answer is ('deliver',)",
    ),
    (
        processor.LeavesIrr,
        "VID-4",
        "deliver(vcpu0) on vIRR={0x10}, RVI=0x10, recognized=1, IF=1: "
        "due is vIRR={}, RVI=0; found vIRR={0x10}, RVI=0x10",
    ),
    (PprKeepsLowNibble, "VID-5", "vm_entry(vcpu0) on SVI=0x11: due is vPPR=0x10; found vPPR=0x11"),
    (PprBySvi, "VID-5", "vm_entry(vcpu0) on SVI=0x10, vTPR=0x11: due is vPPR=0x11; found vPPR=0x10"),
    (
        processor.WrongSvi,
        "VID-6",
        "instruction(vcpu0, end_of_interrupt) on vIRR={0x10}: due is SVI=0, vPPR=0; found SVI=0x10, vPPR=0x10",
    ),
    (
        processor.EoiWithoutEvaluation,
        "VID-6",
        "instruction(vcpu0, end_of_interrupt) on RVI=0x10, SVI=0x10, vPPR=0x10: "
        "due is recognized=1; found recognized=0",
    ),
    (
        ExitsAndEvaluates,
        "VID-6",
        "instruction(vcpu0, end_of_interrupt) on RVI=0x20, SVI=0x10, vPPR=0x10, recognized=1, "
        "EOI-exit bitmap={0x10}: due is recognized=1; found recognized=0",
    ),
    (
        SelfIpiLowersRvi,
        "VID-7",
        "instruction(vcpu0, self_ipi, 0x10) on RVI=0x11, recognized=1: due is RVI=0x11; found RVI=0x10",
    ),
    (
        processor.TprWithoutEvaluation,
        "VID-8",
        "instruction(vcpu0, write_tpr, 0x10) on RVI=0x10, recognized=1: due is recognized=0; found recognized=1",
    ),
    (EntersWithoutPpr, "VID-9", "vm_entry(vcpu0) on vPPR=0x10: due is vPPR=0; found vPPR=0x10"),
    (
        StaysHalted,
        "VID-11",
        "boundary(vcpu0, ()) on RVI=0x10, recognized=1, IF=1, halted=1: "
        "due is a delivery, in HLT too; the answer is None",
    ),
    (
        PostsInTwoSteps,
        "VTD-1",
        "post(vcpu0, 0x10, False) on a state of zeros: due is one step that changes the descriptor; found 2",
    ),
    (
        DecidesEarly,
        "VTD-1",
        "post(vcpu0, 0x10, False) on a state of zeros: another agent sets SN before its step 1: "
        "due is PIR={0x10}, ON=0, SN=1 with 0 notifications; found PIR={0x10}, ON=1, SN=1 with 1 notifications",
    ),
    (iommu.IgnoresSn, "VTD-2", "post(vcpu0, 0x10, False) on SN=1: due is ON=0; found ON=1"),
    (iommu.SetsOnUnderSn, "VTD-3", "post(vcpu0, 0x10, False) on SN=1: due is ON=0; found ON=1"),
    (iommu.IgnoresUrgent, "VTD-4", "post(vcpu0, 0x10, True) on SN=1: due is ON=1; found ON=0"),
    (
        SendsInOneStep,
        "IPIV-1",
        "virtual_ipi(vcpu0, 0x10) on a state of zeros: ON is set with the PIR bit or before it; "
        "due is a locked operation of its own, after it",
    ),
    (SendsUnderSn, "IPIV-2", "virtual_ipi(vcpu0, 0x10) on SN=1: due is ON=0; found ON=1"),
    (
        RequestsTooEarly,
        "KVM-SND-10",
        "load(vcpu0, 0x0), deliver_interrupt(vcpu0, 0x10): an event is requested after vIRR is set; it was before",
    ),
    (
        KicksNobody,
        "KVM-SND-10",
        "load(vcpu0, 0x0), vcpu_run(vcpu0) to its guest, deliver_interrupt(vcpu0, 0x10): "
        "the vCPU, in guest, is kicked after that; it was not",
    ),
    (
        LoadsInFull,
        "KVM-PI-3",
        "load(vcpu0, 0x0), put(vcpu0, True), load(vcpu0, 0x0): "
        "due is that only SN is cleared, and ON set; a locked cas may change the bits 0xffffffffffffffff",
    ),
    (
        NeverSuppresses,
        "KVM-PI-10",
        "on pCPU 0 put leaves SN=0 if preempted, 0 if leaving for userspace, 0 if blocking with guest interrupts closed; "
        "due is 1, 0, 0 (until Linux 6.15) or 1, 1, 1 (since)",
    ),
    (
        residency.PendingMeansOn,
        "KVM-PI-20",
        "has_pending(vcpu0) on PIR={0x10}, SN=1: due is True; the answer is False",
    ),
    (
        TakesLowHalf,
        "PIP-16",
        "acknowledge(vcpu0, 0xf2) on PIR={0x20}, ON=1, IF=1: "
        "due is PIR={}, vIRR={0x20}, RVI=0x20; found PIR={0x20}, vIRR={}, RVI=0",
    ),
    (
        LooksAtOneWord,
        "E2E-21",
        "load(vcpu0, 0x0), put(vcpu0, True), post of 0x40, load(vcpu0, 0x0), vcpu_run(vcpu0) to its guest: "
        "due at the entry are 0x40; missing are 0x40, and too many none",
    ),
    (
        HighestBitOnly,
        "E2E-22",
        "load(vcpu0, 0x0), post of 0x10 to 0x1f, vcpu_run(vcpu0) to its guest: "
        "due is that 0x1f is injected, and 0x10 to 0x1e in vIRR; found are 0x1f and none",
    ),
    (
        PurgesOneWord,
        "E2E-23",
        "load(vcpu0, 0x0), deliver_interrupt of 0x40, reset(vcpu0, 0x10, 0x0), vcpu_run(vcpu0) to its guest: "
        "due at the entry are none; missing are none, and too many 0x40",
    ),
    (
        WakesTwo,
        "E2E-25",
        "vcpu0, vcpu1, vcpu2 go to sleep on cpu0, post(vcpu0, 0x40, False), post(vcpu1, 0x40, False), post(vcpu2, 0x40, False), "
        "wakeup_handler(0): due is that vcpu0, vcpu1, vcpu2 wake; not woken: vcpu2",
    ),
    (
        LeavesWithTheRest,
        "E2E-25",
        "vcpu0, vcpu1 go to sleep on cpu0, load(vcpu0, 0x1), put(vcpu0, True), post(vcpu1, 0x40, False), wakeup_handler(0): "
        "due is that vcpu1 wake; not woken: vcpu1",
    ),
    (StartsUnsuppressed, "KVM-PI-22", "a fresh descriptor has NV=0xf2, SN=0; due is NV=0xf2, SN=1"),
]


@pytest.mark.parametrize(("cls", "clause", "smallest"), FOUND, ids=[f"{c.__name__}-{i}" for c, i, _ in FOUND])
def test_broken_clause_is_found_with_its_smallest_example(cls: type[Any], clause: str, smallest: str) -> None:
    checked = check(clause, implementation(cls))
    assert checked.counterexample == smallest
    assert not checked.fault


def test_every_check_can_fail() -> None:
    assert {clause for _, clause, _ in FOUND} == set(CHECKS)


# What a check says when it cannot judge, and who it judged


class Raises(ReferenceProcessor):
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        raise ZeroDivisionError


class GoesOnForEver(ReferenceProcessor):
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while True:
            cpu.load(vcpu.rvi)


class Remembers(ReferenceProcessor):
    """State that outlives a call, outside every location."""

    calls = 0

    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.calls += 1
        super().vm_entry(cpu, vcpu)
        cpu.store(vcpu.rvi, self.calls)


class Waits(ReferenceProcessor):
    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.load(vcpu.pid.on)
        cpu.relax()


@pytest.mark.parametrize(
    ("cls", "status"), [(Raises, "CRASH"), (GoesOnForEver, "UNKNOWN"), (Remembers, "NONDETERMINISTIC")]
)
def test_fault_is_the_verdict(cls: type[Any], status: str) -> None:
    checked = check("VID-5", implementation(cls))
    assert checked.fault_status == status
    assert "vm_entry" in checked.fault
    assert not checked.counterexample


def test_routine_that_waits_alone_is_broken() -> None:
    assert "it does not end, but is waiting" in check("VID-5", implementation(Waits)).counterexample


def test_declared_lack_is_not_applicable() -> None:
    checked = check("VTD-2", registry.resolve("bhyve"))
    assert (checked.fault_status, checked.fault) == (
        "NOT APPLICABLE",
        "the implementation declares that it lacks device-posting",
    )


def test_who_fills_a_role_without_what_goes_with_it_is_not_judged_by_that() -> None:
    checked = check("E2E-23", registry.resolve("bhyve"))
    assert checked.fault_status == "NOT APPLICABLE"
    assert checked.fault == "the implementation fills run_loop, and not state_transfer, which goes with it"


def test_evidence_names_who_fills_the_role() -> None:
    assert check("PID-10", implementation(Kvm)).evidence == (
        "one routine alone, all 32 cases; Kvm leaves vm_entry_checks to ReferenceProcessor"
    )
    assert check("PID-10", implementation(ReferenceProcessor)).evidence == "one routine alone, all 32 cases"
    assert check("PID-2", implementation(ReferenceProcessor)).evidence == (
        "one routine alone, all 256 cases; ReferenceProcessor leaves iommu to ReferenceIommu and sender to Kvm"
    )


@pytest.mark.parametrize("spec", every_other(["xen", "bhyve", "kvm-put-sn", "kvm-pre-block", "kvm-vtd-only"]))
def test_right_implementations_keep_the_layout(spec: str) -> None:
    for clause in ("PID-2", "PID-3", "PID-4", "PID-5", "PID-6", "PID-7"):
        assert not check(clause, registry.resolve(spec)).counterexample


def test_who_posts_may_refuse_what_is_no_vector() -> None:
    assert not check("PID-2", implementation(RefusesLowVectors)).counterexample


@pytest.mark.parametrize("spec", ["reference", "kvm-put-sn"])
def test_either_put_rule_is_right(spec: str) -> None:
    rules = {"reference": "SN only if preempted", "kvm-put-sn": "SN unless the wakeup vector is set"}
    assert rules[spec] in check("KVM-PI-10", registry.resolve(spec)).evidence


CASES = """
import dataclasses, hashlib, sys
from conformance.adapters import registry
from properties.x86.sequential import CHECKS

drawn = hashlib.sha256()


def record(subject, state):
    subject.assembly()
    drawn.update(str(state).encode())


dataclasses.replace(CHECKS["VID-6"], body=record)(registry.resolve("reference"))
print(drawn.hexdigest())
"""


def test_cases_do_not_depend_on_what_else_is_imported() -> None:
    def digest(before: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", before + CASES], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert digest("") == digest(
        "import properties.x86.scenarios, reference.alternatives.x86.xen, reference.known_bad\n"
    )


# One routine alone


class Probe(Sender):
    vcpu_state: ClassVar = {"word": Shared(5), "other": Shared(0), "list": Shared(()), "lock": Shared(lock=True)}

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        cpu.store(vcpu.word, vector)

    def chains(self, cpu: Cpu, vcpu: Vcpu, left: int) -> Any:
        cpu.fetch_add(vcpu.word, 1)
        return Then("chains", vcpu, left - 1) if left else 7

    def answers(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        flag = cpu.irq_disable()
        woken = cpu.wake(vcpu)
        cpu.send_ipi(PINV, 2)
        cpu.send_ipi_self(WAKEUP)
        return (flag, cpu.irq_disable(), woken, cpu.choose("a", "b", "c"), cpu.choose("a", "b"), cpu.id())

    def exits(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.deliver(0x20)
        cpu.exit_guest("eoi", 0x20)
        cpu.store(vcpu.word, 0)

    def in_blocks(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.word, 1)
        with cpu.atomic():
            cpu.store(vcpu.word, 2)
            cpu.store(vcpu.other, 3)
        cpu.store(vcpu.word, 2)

    def sleeps(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.schedule()
        cpu.store(vcpu.word, 0)
        cpu.prepare_to_block()
        cpu.schedule()
        cpu.store(vcpu.word, 1)

    def enters(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return (cpu.enter_guest(vcpu), cpu.enter_guest(vcpu))

    def locks_twice(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.lock(vcpu.lock)
        cpu.unlock(vcpu.lock)
        cpu.lock(vcpu.lock)
        cpu.lock(vcpu.lock)

    def spins(self, cpu: Cpu, vcpu: Vcpu) -> None:
        while cpu.load(vcpu.word) != 9:
            cpu.relax()

    def adds_to_a_list(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fetch_add(vcpu.list, 1)


@pytest.fixture
def probe() -> Assembly:
    scenario = Scenario(name="alone", about="one routine alone", architecture="x86", cpus=3, vectors=(0, 64, 128, 192))
    return assemble(implementation(Probe), scenario)


def alone(probe: Assembly, routine: str, *args: Any, **more: Any) -> Alone:
    return run_alone(probe, routine, ("vcpu0", *args), more.pop("memory", {}), **more)


def test_memory_starts_as_declared_or_given(probe: Assembly) -> None:
    assert alone(probe, "chains", 0).memory["vcpu0.word"] == 6
    assert alone(probe, "chains", 0, memory={"vcpu0.word": 41}).memory["vcpu0.word"] == 42


def test_chains_are_followed_as_far_as_asked(probe: Assembly) -> None:
    assert alone(probe, "chains", 3).answer.then == ("chains", "vcpu0", 2)
    assert alone(probe, "chains", 3, follow=2).answer.then == ("chains", "vcpu0", 0)
    done = alone(probe, "chains", 3, follow=9)
    assert (done.ended, done.answer.value, done.memory["vcpu0.word"]) == ("returned", 7, 9)


def test_what_the_world_answers(probe: Assembly) -> None:
    run = alone(probe, "answers", choices=(5,), cpu=1, asleep=("vcpu0",))
    assert run.answer.value == (True, False, True, "c", "a", 1)
    assert run.sent == ((PINV, 2), (WAKEUP, 1))
    assert run.woken == ("vcpu0",)
    last = alone(probe, "answers", choices=lambda options: len(options) - 1, interrupts=False)
    assert last.answer.value == (False, False, False, "c", "b", 0)


def test_nothing_comes_after_a_vm_exit(probe: Assembly) -> None:
    run = alone(probe, "exits")
    assert (run.ended, run.exit_reason, run.delivered) == ("exited", ("eoi", 0x20), (0x20,))
    assert run.memory["vcpu0.word"] == 5


def test_an_atomic_block_is_one_step(probe: Assembly) -> None:
    run = alone(probe, "in_blocks")
    assert [c.by.locked for c in run.changes] == [False, True, True]
    first, block = run.steps_changing("vcpu0.")
    assert [c.by.step for c in run.changes] == [first, block, block]
    assert run.steps_changing("vcpu0.other") == (block,)


def test_another_agent_comes_between_steps_only(probe: Assembly) -> None:
    seen: list[tuple[int, int]] = []

    def look(step: int, memory: dict[str, Any]) -> None:
        seen.append((memory["vcpu0.word"], memory["vcpu0.other"]))

    run = alone(probe, "in_blocks", between=look)
    assert len(seen) == run.steps
    assert set(seen) == {(5, 0), (1, 0), (2, 3)}


def test_how_a_thread_can_stop(probe: Assembly) -> None:
    asleep = alone(probe, "sleeps")
    assert (asleep.ended, asleep.memory["vcpu0.word"]) == ("asleep", 0)
    assert alone(probe, "enters", exits=[("hlt",)]).ended == "in guest"
    assert alone(probe, "enters", exits=[("hlt",), ("a", 1)]).answer.value == (("hlt",), ("a", 1))
    assert alone(probe, "locks_twice").ended == "waiting"
    assert alone(probe, "spins").ended == "waiting"


def test_a_list_is_no_number(probe: Assembly) -> None:
    with pytest.raises(Fault, match="which holds a list"):
        alone(probe, "adds_to_a_list")


@pytest.mark.parametrize(
    ("how", "value", "mask", "left"),
    [
        ("swap", 0b0011, WORD, 0b0011),
        ("swap", 0b0011, 0b0110, 0b1010),
        ("or", 0b0011, 0b0001, 0b1101),
        ("and", 0b0110, WORD, 0b0100),
        ("and", 0, 0b0100, 0b1000),
        ("xor", 0b0110, WORD, 0b1010),
        ("add", 0b0100, 0b1100, 0b0000),
        ("cas", 0b0001, WORD, 0b1100),
        ("cas", 0b0001, 0b0001, 0b1101),
    ],
)
def test_locked_operations(how: Any, value: int, mask: int, left: int) -> None:
    """On 1100B; what a compare-exchange expects is 0."""
    assert after(Rmw("somewhere", how, value, mask), 0b1100) == left


# The reference's descriptor


def test_descriptor_survives_its_bytes() -> None:
    for pir in (0, 1, 1 << 200 | 1 << 100, (1 << 256) - 1):
        for nv, ndst in ((0, 0), (0xF2, 0x12345678), (0xFF, 0xFFFFFFFF)):
            for on, sn in ((False, False), (True, False), (False, True)):
                made = descriptor.DescriptorImage(pir, on, sn, nv, ndst)
                raw = descriptor.encode(made)
                assert len(raw) == 64
                assert descriptor.decode(raw) == made


def test_bytes_and_locations_agree() -> None:
    """The descriptor as bytes, as the fields that roles name, and as the checks read it."""
    raw = descriptor.encode(descriptor.DescriptorImage(1 << 200, on=True, sn=True, nv=0xF2, ndst=0x12345678))
    words = [int.from_bytes(raw[n : n + 8], "little") for n in range(0, 40, 8)]
    fields = Fields("vcpu0.pid")
    named = (fields.on, fields.sn, fields.nv, fields.ndst)
    assert [(words[4] & f.mask) >> f.shift for f in named] == [1, 1, 0xF2, 0x12345678]
    state = State(pir=frozenset({200}), on=1, sn=1, nv=0xF2, ndst=0x12345678)
    memory = state.memory()
    assert [memory[at] for at in (*(f.at for f in fields.pir), fields.control.at)] == words
    assert State.of(memory) == state
    assert fields.bit(200).at == fields.pir[3].at


@pytest.mark.parametrize("bit", [258, 271, 280, 287, 320, 511])
def test_reserved_bit_is_no_descriptor(bit: int) -> None:
    with pytest.raises(ValueError, match=f"bit {bit} of the descriptor is reserved"):
        descriptor.decode((1 << bit).to_bytes(64, "little"))


def test_field_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="nv is 0x100"):
        descriptor.encode(descriptor.DescriptorImage(nv=0x100))
    with pytest.raises(ValueError, match="not 63"):
        descriptor.decode(bytes(63))


def test_vm_entry_says_all_that_is_wrong() -> None:
    assert descriptor.check_vm_entry(0x1001, 0x1F2, ["process-posted-interrupts"]) == (
        "process-posted-interrupts is 1 and virtual-interrupt-delivery is 0",
        "process-posted-interrupts is 1 and acknowledge-interrupt-on-exit is 0",
        "notification vector 0x1f2: bits 15:8 are not 0",
        "descriptor address 0x1001: bits 5:0 are not 0",
    )
    assert descriptor.check_vm_entry(0x1001, 0x1F2, []) == ()
