"""Each half of a clause is looked at: what breaks one half alone is told by that clause, and what breaks none is not.

These are clauses whose other half had a check, or which took a right way of doing a thing for a wrong one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from msgspec import structs
from variants_x86 import (
    ClearsOnWithTheWord,
    GoesInByExchange,
    HarvestsByCompareExchange,
    HarvestsWhateverOnSays,
    NotifiesAlways,
    TakesOffWhomItWakes,
)
from wrong_paths import MaskedFastpath
from wrong_x86 import HarvestsOne

from conformance.adapters.registry import of_class
from conformance.machine import events as ev
from conformance.machine.build import in_machine
from conformance.machine.clause import Clause
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Budget, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import PINV, Cpu, Shared, Then, Vcpu
from conformance.search.proof import prove
from conformance.search.results import Proof
from properties.arm.scenarios import EDGE, LEVEL, injector, register
from properties.nested.scenarios import LAUNCH
from properties.suite import SUITE
from properties.x86.monitors.devices import VTD_5, VTD_6, DevicePosts
from reference.alternatives.x86.kvm_vtd_only import KvmVtdOnly
from reference.arm.kvm import KvmArm
from reference.known_bad.x86.harvest import HarvestsForAnother
from reference.known_bad.x86.sender import PlainSetOn
from reference.nested.kvm import NestedKvm
from reference.x86.kvm import IN, OUT, UNBLOCK, Kvm
from reference.x86.processor import ReferenceProcessor

SCENARIOS = {s.name: s for s in SUITE.scenarios}
LOW, HIGH = SCENARIOS["core"].vectors


class NotifiesItself(Kvm):
    """The notification goes to the sender's own pCPU."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        if cpu.load(vcpu.mode) != IN:
            self.wake_up(cpu, vcpu)
        elif not self.is_running_here(cpu, vcpu):
            cpu.send_ipi(PINV, cpu.id())


class PostsByExchange(Kvm):
    """The bit by a compare-and-exchange of its word: a locked operation as good as another."""

    def post_vector(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        at, bit = vcpu.pid.pir[vector // 64], 1 << vector % 64
        word = cpu.load(at)
        while not word & bit:
            was = cpu.cmpxchg(at, word, word | bit)
            if was == word:
                return not cpu.test_and_set(vcpu.pid.on)
            word = was
        return False


class GoesInWithInterruptsOn(Kvm):
    def ready(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.swap(vcpu.mode, IN)
        cpu.irq_disable()
        self.sync_pir_to_irr(cpu, vcpu)


class OpensBeforeItSaysSo(Kvm):
    """After the exit a notification in root mode is for nothing: the next entry harvests."""

    def leave_guest(self, cpu: Cpu, vcpu: Vcpu, *reason: Any) -> Any:
        cpu.irq_enable()
        cpu.store(vcpu.mode, OUT)
        cpu.preempt_enable()
        return self.handle_exit(cpu, vcpu, reason)


class AsksForNoEvent(Kvm):
    """It writes its requests, and asks for nothing."""

    def publish(self, cpu: Cpu, vcpu: Vcpu, arrived: bool) -> int:
        cpu.fetch_and(vcpu.requests, ~UNBLOCK)
        return super().publish(cpu, vcpu, False)


class LooksAtRequestsFirst(Kvm):
    """Requests are checked before the sync, and not after it."""

    def vcpu_enter_guest(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.preempt_disable()
        cpu.irq_disable()
        cpu.store(vcpu.mode, IN)
        cpu.fence()
        if cpu.load(vcpu.requests):
            cpu.store(vcpu.mode, OUT)
            cpu.irq_enable()
            cpu.preempt_enable()
            return Then("vcpu_run", vcpu)
        self.sync_pir_to_irr(cpu, vcpu)
        return Then("leave_guest", vcpu, *cpu.enter_guest(vcpu))


class WakesBeforeItLooks(Kvm):
    """It wakes whoever blocks, and then reads mode."""

    def trigger(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.wake_up(cpu, vcpu)
        super().trigger(cpu, vcpu)


class PurgesByStores(Kvm):
    """Nothing is locked on the way through a restore."""

    def purge(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.pid.on, 0)
        for word in self.world.words:
            cpu.store(vcpu.pid.pir[word], 0)


class ExchangesBeforeItClearsOn(HarvestsByCompareExchange):
    def take(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return bool(cpu.load(vcpu.pid.on)) and self.harvest(cpu, vcpu) | cpu.test_and_clear(vcpu.pid.on)


class ExchangesForAnother(HarvestsForAnother, HarvestsByCompareExchange):
    """It harvests a vCPU that is loaded elsewhere."""


class ComparesWithPieces(Kvm):
    """What it takes the control word to hold is put together from fields, each read by itself."""

    def update_control(self, cpu: Cpu, vcpu: Vcpu, **fields: int) -> int:
        pid = vcpu.pid
        parts = {name: getattr(pid, name) for name in ("on", "sn", "nv", "ndst")}
        while True:
            found = {name: cpu.load(part) for name, part in parts.items()}
            old, new = (sum(v << parts[n].shift for n, v in x.items()) for x in (found, found | fields))
            if cpu.cmpxchg(pid.control, old, new) == old:
                return new


class AnnouncesByExchange(Kvm):
    """ON by a compare-exchange of the control word, until it holds."""

    def announce_left_over(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fence()
        if self.any_posted(cpu, vcpu):
            control = cpu.load(vcpu.pid.control)
            while (was := cpu.cmpxchg(vcpu.pid.control, control, control | 1)) != control:
                control = was


class LooksAtOneWord(Kvm):
    """What was posted under SN is looked for in the first word of PIR."""

    def any_posted(self, cpu: Cpu, vcpu: Vcpu) -> bool:
        return bool(cpu.load(vcpu.pid.pir[self.world.words[0]]))


class ListsOfItsOwn(Kvm):
    """The wakeup list has another name: who is on it is not seen."""

    cpu_state: ClassVar = {
        "running_vcpu": Shared(()),
        "wakeup_lock": Shared(lock=True),
        "sleepers": Shared((), guarded_by="wakeup_lock"),
    }

    def join_wakeup_list(self, cpu: Cpu, vcpu: Vcpu) -> None:
        here = self.world.cpus[cpu.id()]
        cpu.lock(here.wakeup_lock)
        cpu.store(here.sleepers, (*cpu.load(here.sleepers), vcpu.name))
        cpu.unlock(here.wakeup_lock)

    def leave_wakeup_list(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        there = self.world.cpus[where]
        cpu.lock(there.wakeup_lock)
        cpu.store(there.sleepers, tuple(n for n in cpu.load(there.sleepers) if n != vcpu.name))
        cpu.unlock(there.wakeup_lock)

    def wakeup_handler(self, cpu: Cpu, where: int) -> None:
        here = self.world.cpus[where]
        cpu.lock(here.wakeup_lock)
        for name in cpu.load(here.sleepers):
            if cpu.load(self.world.vcpus[name].pid.on):
                self.wake_up(cpu, self.world.vcpus[name])
        cpu.unlock(here.wakeup_lock)


class NotifiesOfHighOnes(Kvm):
    """A vector of a low class stays in PIR, and nobody is told."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if vector >= 0x80:
            super().deliver_interrupt(cpu, vcpu, vector)
        elif not cpu.test_and_set(vcpu.pid.bit(vector)):
            cpu.test_and_set(vcpu.pid.on)


class KeepsItsOwnIrr(Kvm):
    """With APICv inhibited no hardware looks at vIRR: what is pending is in a word of software's own."""

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "waiting": Shared(0)}

    def merge(self, cpu: Cpu, vcpu: Vcpu, word: int, bits: int) -> None:
        cpu.fetch_or(vcpu.waiting, bits)
        self.note_pending(cpu, vcpu)

    def find_highest(self, cpu: Cpu, vcpu: Vcpu) -> int:
        bits = cpu.load(vcpu.waiting)
        return 64 * self.world.words[0] + bits.bit_length() - 1 if bits else 0

    def inject(self, cpu: Cpu, vcpu: Vcpu) -> None:
        vector = self.highest(cpu, vcpu)
        free = vector and not cpu.load(vcpu.injected) and not self.interrupt_blocked(cpu, vcpu)
        super().inject(cpu, vcpu)
        if free and cpu.load(vcpu.injected):
            cpu.fetch_and(vcpu.waiting, ~(1 << vector % 64))
            cpu.store(vcpu.irr_pending, int(bool(cpu.load(vcpu.waiting))))


class KeepsMaskedBack(Kvm):
    """What the guest would not take yet waits in a word of software's own, and an exit is asked for when it opens interrupts."""

    vcpu_state: ClassVar = {**Kvm.vcpu_state, "waiting": Shared(0)}

    def merge(self, cpu: Cpu, vcpu: Vcpu, word: int, bits: int) -> None:
        cpu.fetch_or(vcpu.waiting if self.interrupt_blocked(cpu, vcpu) else vcpu.virr[word], bits)

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        arrived = self.take(cpu, vcpu)
        waiting = cpu.load(vcpu.waiting)
        if waiting and not self.interrupt_blocked(cpu, vcpu):
            cpu.fetch_or(vcpu.virr[self.world.words[0]], waiting)
            cpu.store(vcpu.waiting, waiting := 0)
        cpu.store(vcpu.interrupt_window, int(bool(waiting)))
        return self.publish(cpu, vcpu, arrived)


class DropsMasked(KeepsMaskedBack):
    """It forgets what waits."""

    def sync_pir_to_irr(self, cpu: Cpu, vcpu: Vcpu) -> int:
        cpu.store(vcpu.waiting, 0)
        return super().sync_pir_to_irr(cpu, vcpu)


class SleepsFirst(Kvm):
    """Its guest never comes to execute anything."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.prepare_to_block()
        cpu.schedule()
        return Then("vcpu_run", vcpu)


class ExternalFirst(ReferenceProcessor):
    """An external interrupt goes before a virtual one, which is recognized by a look at RVI and nothing else."""

    def evaluate(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.recognized, 0)

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        if pending:
            return ("acknowledge", max(pending))
        above = cpu.load(vcpu.rvi) >> 4 > cpu.load(vcpu.vppr) >> 4
        return ("deliver",) if above and cpu.load(vcpu.rflags_if) else None


class HasNoPriority(ReferenceProcessor):
    """vPPR is 0 whatever TPR says."""

    def virtualize_ppr(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.vppr, 0)


class GoesBySvi(ReferenceProcessor):
    """One vector in service at a time: SVI says which, and vISR stays 0."""

    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> None:
        with cpu.atomic():
            super().deliver(cpu, vcpu)
            self.clear_bit(cpu, vcpu.visr, cpu.load(vcpu.svi))


class Swallows(ReferenceProcessor):
    """Without posted-interrupt processing a notification does nothing at all."""

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> None:
        if vector != PINV or self.apicv():
            super().acknowledge(cpu, vcpu, vector)


class NeverDelivers(ReferenceProcessor):
    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        return ("acknowledge", max(pending)) if pending else None


class NeverUnblocks(KvmVtdOnly):
    """The first device is assigned, and nobody is told, nor is it noted."""

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.fence()


class HasNoBlockingFlag(Kvm):
    """Who is woken is asked of nobody: a wake of one that runs changes nothing."""

    def wake_up(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.wake(vcpu)

    def vcpu_block(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        return Then("block_once", vcpu)


def like(name: str, **changes: Any) -> Scenario:
    return structs.replace(SCENARIOS[name], **changes)


SENDER, DEVICE = like("one-sender"), like("one-device")
HALTS = like("one-sender", vcpus=(VcpuSetup(0, (("hlt",),)),))
UNDER_SN = like("preempt-running", cpus=1, vectors=(LOW, HIGH), budget=Budget(preempt=1))
TWICE = like(
    "one-sender", cpus=3, threads=tuple(Thread(f"sender{n}", "deliver_interrupt", ("vcpu0", HIGH), n) for n in (1, 2))
)
MASKED = like(
    "one-sender",
    vcpus=(VcpuSetup(0, (("write_tpr", 0x70),)),),
    threads=(Thread("sender", "deliver_interrupt", ("vcpu0", LOW), 1),),
    vectors=(LOW,),
)
LOWERED = like(
    "vgic-overflow",
    vcpus=(VcpuSetup(0, (register("ispendr", EDGE),)),),
    threads=(injector(LEVEL, 1), injector(LEVEL, 2, 0, after="injector1")),
    vectors=(LEVEL, EDGE),
)
"""A line that falls leaves nothing pending to put before what is active."""
BUFFERED = like("one-sender", buffer=2)
OPENS = like("one-sender", vcpus=(VcpuSetup(0, (("cli",), ("sti",))),))
EXITS_AT_EOI = like("eoi-exit-burst", devices=SCENARIOS["eoi-exit-burst"].devices[:1], vectors=(HIGH,))
INHIBITED = like("apicv-inhibited", budget=Budget(spurious=((PINV, 0),)))
POLLS = like("assign", devices=(), facts=("assignment-changes", "halt-polling"), budget=Budget())
"""What ends the poll may be a request alone, and the guest goes on halting."""
RESTORED = like(
    "save-restore",
    cpus=2,
    threads=(Thread("sender", "deliver_interrupt", ("vcpu0", LOW), 1),),
    vectors=(LOW, HIGH),
    facts=("apicv-inhibited",),
    buffer=2,
)
"""Who posts once the registers are restored posts to what was restored, not to what a store buffer still hides."""
CLOSED = like("inhibited-closed", vcpus=(VcpuSetup(0, (("cli",),)),))

BROKEN: tuple[tuple[type[BaseRole], Scenario, str], ...] = (
    (WakesBeforeItLooks, HALTS, "KVM-SND-1"),
    (PurgesByStores, SCENARIOS["restored-elsewhere"], "PID-8"),
    (PlainSetOn, SENDER, "PID-8"),
    (ExchangesBeforeItClearsOn, SENDER, "KVM-ENT-4"),
    (ExchangesForAnother, SCENARIOS["spin"], "KVM-ENT-12"),
    (NotifiesItself, SENDER, "KVM-SND-5"),
    (GoesInWithInterruptsOn, SENDER, "KVM-ENT-1"),
    (AsksForNoEvent, like("inhibited-closed"), "KVM-ENT-7"),
    (LooksAtRequestsFirst, SENDER, "KVM-ENT-8"),
    (MaskedFastpath, SCENARIOS["masked-fast-path"], "KVM-ENT-9"),
    (ComparesWithPieces, SCENARIOS["preempt-running"], "KVM-PI-1"),
    (LooksAtOneWord, UNDER_SN, "KVM-PI-4"),
    (TakesOffWhomItWakes, DEVICE, "KVM-PI-12"),
    (NotifiesOfHighOnes, MASKED, "E2E-11"),
    (Swallows, INHIBITED, "PIP-1"),
    (ExternalFirst, like("running"), "VID-10"),
    (HasNoPriority, MASKED, "VID-12"),
    (DropsMasked, OPENS, "E2E-1"),
    (DropsMasked, OPENS, "E2E-14"),
    (NeverUnblocks, like("assign", devices=(), budget=Budget()), "KVM-PI-18"),
)
KEPT: tuple[tuple[type[BaseRole], Scenario, tuple[str, ...]], ...] = (
    (Kvm, MASKED, ("E2E-11",)),
    (Kvm, UNDER_SN, ("KVM-PI-1", "KVM-PI-4")),
    (AnnouncesByExchange, UNDER_SN, ("KVM-PI-4",)),
    (PurgesByStores, SCENARIOS["save-restore"], ("PID-8", "KVM-ENT-13")),
    (HarvestsByCompareExchange, SENDER, ("KVM-ENT-4", "KVM-ENT-12")),
    (Kvm, POLLS, ("E2E-18",)),
    (Kvm, RESTORED, ("E2E-1", "E2E-14", "KVM-ENT-13")),
    (PostsByExchange, SENDER, ("KVM-SND-1",)),
    (GoesInByExchange, SENDER, ("KVM-ENT-1", "KVM-ENT-2", "KVM-ENT-8")),
    (OpensBeforeItSaysSo, SENDER, ("KVM-ENT-3",)),
    (ClearsOnWithTheWord, SENDER, ("KVM-ENT-4",)),
    (ListsOfItsOwn, DEVICE, ("KVM-PI-5", "KVM-PI-6", "KVM-PI-9")),
    (KeepsMaskedBack, OPENS, ("E2E-1", "E2E-11", "E2E-14", "VID-12")),
    (KeepsMaskedBack, structs.replace(OPENS, vcpus=(VcpuSetup(0, (("cli",),)),)), ("E2E-1", "E2E-14", "VID-12")),
    (GoesBySvi, EXITS_AT_EOI, ("E2E-15",)),
    (Kvm, INHIBITED, ("PIP-1",)),
    (KeepsItsOwnIrr, CLOSED, ("E2E-1", "VID-12")),
    (KeepsItsOwnIrr, like("inhibited-closed"), ("E2E-1", "E2E-3", "E2E-16")),
    (KvmVtdOnly, like("assign", devices=(), budget=Budget()), ("KVM-PI-18",)),
    (KvmArm, LOWERED, ("GICV2-PRI-5",)),
    (NestedKvm, like("nested-post", vcpus=(VcpuSetup(0, (*LAUNCH, ("cli",))),)), ("NST-E2E-1",)),
    (NestedKvm, like("nested-own", vcpus=(VcpuSetup(0, (("write_tpr", 0xF0), *LAUNCH)),)), ("NST-E2E-4", "KVM-NST-12")),
    (NestedKvm, like("nested-own", vcpus=(VcpuSetup(0, (("cli",),)),)), ("NST-E2E-4",)),
)
SHOWN: tuple[tuple[type[BaseRole], Scenario, tuple[str, ...]], ...] = (
    (Kvm, TWICE, ("KVM-SND-2", "KVM-SND-8")),
    (HasNoBlockingFlag, SENDER, ("KVM-SND-8",)),
    (Kvm, SENDER, ("KVM-ENT-5",)),
    (HarvestsByCompareExchange, SENDER, ("KVM-ENT-4", "KVM-ENT-12")),
    (Kvm, BUFFERED, ("KVM-SND-4",)),
)
NOT_SHOWN: tuple[tuple[type[BaseRole], Scenario, tuple[str, ...]], ...] = (
    (NotifiesAlways, TWICE, ("KVM-SND-2",)),
    (Kvm, SENDER, ("KVM-SND-4",)),
    (HarvestsWhateverOnSays, SENDER, ("KVM-ENT-5",)),
    (SleepsFirst, HALTS, ("E2E-10",)),
    (Kvm, SCENARIOS["save-restore"], ("PIP-15",)),
    (Kvm, INHIBITED, ("PIP-9",)),
    (NeverDelivers, SENDER, ("PIP-10",)),
)


def proved(role: type[BaseRole], scenario: Scenario) -> Proof:
    implementation = of_class(role, role.__name__, f"{role.__module__}:{role.__name__}")
    found = in_machine(implementation, scenario, SUITE, prove)
    assert found.complete
    return found


def broken(role: type[BaseRole], scenario: Scenario) -> set[str]:
    found = proved(role, scenario)
    return {*found.breached, *found.at_rest}


def told(given: object) -> str:
    return (
        "+".join(map(str, given))
        if type(given) is tuple
        else getattr(given, "__name__", "") or getattr(given, "name", str(given))
    )


@pytest.mark.parametrize(("role", "scenario", "clause"), BROKEN, ids=told)
def test_the_half_that_is_broken_is_told(role: type[BaseRole], scenario: Scenario, clause: str) -> None:
    assert clause in broken(role, scenario)


@pytest.mark.parametrize(("role", "scenario", "clauses"), KEPT, ids=told)
def test_another_right_way_is_no_breach(role: type[BaseRole], scenario: Scenario, clauses: tuple[str, ...]) -> None:
    assert not broken(role, scenario) & {*clauses}


@pytest.mark.parametrize(("role", "scenario", "clauses"), SHOWN, ids=told)
def test_a_premise_that_comes_true_is_seen(role: type[BaseRole], scenario: Scenario, clauses: tuple[str, ...]) -> None:
    assert proved(role, scenario).witnessed.keys() >= {*clauses}


@pytest.mark.parametrize(("role", "scenario", "clauses"), NOT_SHOWN, ids=told)
def test_what_is_less_than_the_premise_is_none(
    role: type[BaseRole], scenario: Scenario, clauses: tuple[str, ...]
) -> None:
    assert not {*clauses} & {*proved(role, scenario).witnessed}


def test_a_halt_with_nothing_posted_says_nothing_of_what_keeps_it_awake() -> None:
    assert "KVM-PI-19" in proved(Kvm, like("halt-closed")).witnessed
    assert "KVM-PI-19" not in proved(Kvm, like("halt-closed", devices=())).witnessed


def test_a_harvest_that_leaves_a_bit_in_pir_is_told_by_the_processor_alone() -> None:
    one = of_class(HarvestsOne, HarvestsOne.__name__, f"{HarvestsOne.__module__}:{HarvestsOne.__name__}")
    assert "due is PIR={}" in SUITE.sequential("PIP-7", one).counterexample


class Seen:
    """A look at memory of zeros, and what was reported."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def value(self, at: str) -> int:
        return 0

    def witness(self, clause: Clause, *subjects: object) -> None:
        pass

    def breach(self, clause: Clause, reason: str, *subjects: object) -> None:
        self.broken.append(clause.id)


def test_a_silent_post_that_is_over_hides_no_notification_that_comes_too_early() -> None:
    """Of LOW, while ON was 1; then ON is cleared, and the notification of HIGH leaves before its bit is set."""
    monitor, seen = DevicePosts(SCENARIOS["two-posts"], "vcpu0", "post", VTD_5, VTD_6), Seen()
    memory: Any = monitor.memory
    for event in (
        ev.Changed(-1, "post", f"vcpu0.pid.pir[{LOW // 64}]", 0, 1 << LOW % 64, 1 << LOW % 64),
        ev.Returned(-1, "post", ("vcpu0", LOW, False), None),
        ev.Changed(-1, "post", "vcpu0.pid.control", PINV << 16, PINV << 16 | 1, 1),
        ev.Sent(-1, "post", PINV, 0, True, ("vcpu0", HIGH, False)),
    ):
        memory = monitor.on(event, memory, seen)  # type: ignore[arg-type]
    assert seen.broken == ["VTD-6"]
