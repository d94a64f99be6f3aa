"""Arm's monitors: on software that shares no name with Linux's, and what they say of it when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import wrong_arm

from conformance.adapters.registry import of_class, resolve
from conformance.machine.build import in_machine
from conformance.machine.machine import Machine
from conformance.report.reason import why
from conformance.roles.arm import (
    DEVICE,
    EDGE,
    EDGE2,
    KICK,
    LEVEL,
    LPI,
    PENDING,
    VMCR_RESET,
    Cpu,
    Distributor,
    Injector,
    Residency,
    RunLoop,
    Shared,
    Then,
    Vcpu,
    lr_word,
    vpendbaser_word,
)
from conformance.roles.arm.architecture import completion
from conformance.roles.role import BaseRole
from conformance.roles.scenario import Action, Budget, DeviceInterrupt, Scenario, VcpuSetup
from conformance.search.proof import visits
from conformance.verdict.explore import Explored, explore
from conformance.verdict.session import Session
from properties.arm.scenarios import WFI, its, redistributors, register
from properties.suite import SUITE
from reference.arm.kvm import KvmArm

NOTE = Path(__file__).parent.parent.parent / "shared" / "research" / "arm.md"


class Plain(Injector, Distributor, RunLoop, Residency):
    """One vCPU, edges only: each has a list register of its own, which is never emptied, and every injection is kicked."""

    irq_state: ClassVar = {"raised": Shared(0)}
    vcpu_state: ClassVar = {"where": Shared(0)}
    handlers: ClassVar = {KICK: "kicked"}

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> None:
        if level:
            cpu.swap(self.world.irq(vcpu, intid).raised, 1)
            self.kick(cpu, vcpu)

    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.wake(vcpu)
        cpu.send_ipi(KICK, cpu.load(vcpu.where))

    def kicked(self, cpu: Cpu, where: int) -> None: ...

    def distributor(self, cpu: Cpu, vcpu: Vcpu, register: str, intid: int, value: int) -> Any:
        return Then("vcpu_run", vcpu)

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Interrupts are off from the first look on: a kick that comes later ends the entry at once."""
        cpu.irq_disable()
        here = self.world.cpus[cpu.id()]
        for lr, intid in zip(here.lr, self.world.intids, strict=False):
            if cpu.swap(self.world.irq(vcpu, intid).raised, 0):
                self.fill(cpu, lr, intid)
        cpu.store(here.hcr.word, 1)
        reason = cpu.enter_guest(vcpu)
        cpu.irq_enable()
        return Then("wait" if reason == ("wfi",) else "vcpu_run", vcpu)

    def fill(self, cpu: Cpu, lr: Any, intid: int) -> None:
        state = cpu.load(lr.state) | PENDING
        cpu.store(lr.word, lr_word(intid, state, priority=self.world.priority(intid)))

    def wait(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.prepare_to_block()
        if any(cpu.load(self.world.irq(vcpu, i).raised) for i in self.world.intids):
            cpu.finish_block()
            return Then("vcpu_run", vcpu)
        cpu.schedule()
        return Then("vcpu_run", vcpu)

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> None:
        cpu.store(vcpu.where, where)
        cpu.store(self.world.cpus[where].vmcr.word, VMCR_RESET)

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> None: ...


class NeverKicks(Plain):
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.wake(vcpu)


class NeverWakes(Plain):
    def kick(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.send_ipi(KICK, cpu.load(vcpu.where))


class DropsWhileActive(Plain):
    """What comes while the list register is in use is dropped."""

    def fill(self, cpu: Cpu, lr: Any, intid: int) -> None:
        if not cpu.load(lr.state):
            super().fill(cpu, lr, intid)


class Repeats(Plain):
    """An interrupt stays raised when it is in a list register."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        cpu.irq_disable()
        here = self.world.cpus[cpu.id()]
        for lr, intid in zip(here.lr, self.world.intids, strict=False):
            if cpu.load(self.world.irq(vcpu, intid).raised):
                self.fill(cpu, lr, intid)
        cpu.store(here.hcr.word, 1)
        cpu.enter_guest(vcpu)
        cpu.irq_enable()
        return Then("vcpu_run", vcpu)


def found(cls: type[BaseRole], scenario: str) -> Explored:
    where = next(s for s in SUITE.scenarios if s.name == scenario)
    explored = explore(of_class(cls, cls.__name__, f"test_arm_monitors:{cls.__name__}"), where, SUITE)
    assert not explored.fault
    return explored


@pytest.mark.parametrize("scenario", ["vgic-edge", "vgic-edge-wfi", "vgic-two-edges", "vgic-edge-falls"])
def test_software_with_names_of_its_own_keeps_the_guarantees(scenario: str) -> None:
    guarantees = {c.id for c in SUITE.clauses if c.kind == "guarantee"}
    explored = found(Plain, scenario)
    assert not guarantees & explored.counterexamples.keys()
    assert {"VGIC-EDGE-1", "VGIC-EDGE-5", "VGIC-Q-1"} <= set(explored.witnessed)


def test_it_deviates_from_linux_in_what_it_does_not_look_at() -> None:
    assert set(found(Plain, "vgic-edge-wfi").counterexamples) == {"VGIC-WFI-1", "GICV2-VMCR-2"}


@pytest.mark.parametrize(
    ("cls", "scenario", "clause", "recovery", "reason"),
    [
        (NeverKicks, "vgic-edge", "VGIC-Q-1", "DELAYED",
         "at rest vcpu0 is in its guest on cpu0, and interrupt 41 was made pending and not acknowledged since; "
         "no list register of a running vCPU holds it"),
        (NeverWakes, "vgic-edge-wfi", "VGIC-WFI-2", "LOST",
         "at rest vcpu0 sleeps, and interrupt 41 was made pending and not acknowledged since; "
         "no list register of a running vCPU holds it"),
        (DropsWhileActive, "vgic-two-edges", "VGIC-EDGE-3", "LOST",
         "at rest vcpu0 sleeps, and interrupt 41 was made pending and not acknowledged since; "
         "no list register of a running vCPU holds it"),
        (Repeats, "vgic-edge", "VGIC-EDGE-5", "",
         "vcpu0 acknowledges interrupt 41, more often than it was made pending"),
    ],
)  # fmt: skip
def test_what_is_said_of_wrong_software(
    cls: type[Plain], scenario: str, clause: str, recovery: str, reason: str
) -> None:
    counterexample = found(cls, scenario).counterexamples[clause]
    assert (counterexample.recovery, counterexample.reason) == (recovery, reason)


HALTED, MASKED = "peer-edge/own-crowd/deactivates/retargets/shared", "peer-sgi/elsewhere/masks-waits/off/split/shared"
CLOSED = "own-edge/own-sgi/off/retargets/shared"


@pytest.mark.parametrize(
    ("cls", "scenario", "clause", "reason"),
    [
        (wrong_arm.ResumesNobody, HALTED, "VGIC-WFI-7",
         "at rest vcpu0 sleeps, whose guest does not wait for an interrupt"),
        (wrong_arm.WaitsOn, "vgic-wfi-in-the-guest", "VGIC-WFI-7",
         "at rest vcpu0 waits in its guest on cpu0, which has executed no WFI that an interrupt did not end"),
        (wrong_arm.ForgetsTheMask, MASKED, "GICV2-VMCR-5",
         "vcpu0 enters its guest with PMR and CTLR as 0xf8000003 in cpu0.vmcr, and the guest has made them 0xa8000203"),
        (wrong_arm.ReturnsClosed, CLOSED, "VGIC-EDGE-1",
         "at rest vcpu0 is in its guest on cpu0, and interrupt 41 was made pending and not acknowledged since; "
         "cpu0.lr[0] holds it, and it is not taken"),
    ],
)  # fmt: skip
def test_what_is_followed_from_what_the_guest_does(
    cls: type[BaseRole], scenario: str, clause: str, reason: str
) -> None:
    """Whether it waits, its mask and PSTATE.I are its own doing: what the code under test keeps of them may be wrong."""
    of = next(s for s in SUITE.scenarios if s.name == scenario)
    assert (
        explore(of_class(cls, cls.__name__, f"wrong_arm:{cls.__name__}"), of, SUITE).counterexamples[clause].reason
        == reason
    )


class NoSuchVpe(KvmArm):
    """Makes a vPE resident whose number it counts from one."""

    def v4_load(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.vpe_affinity, cpu.id())
        cpu.store(self.world.cpus[cpu.id()].vpendbaser.word, vpendbaser_word(vcpu.number + 1, valid=True))


def test_a_vpe_that_no_vcpu_has() -> None:
    scenario = next(s for s in SUITE.scenarios if s.name == "gicv4-wfi")
    found = explore(of_class(NoSuchVpe, "NoSuchVpe", "test_arm_monitors:NoSuchVpe"), scenario, SUITE)
    reason = found.counterexamples["GICV4-RES-4"].reason
    assert (reason, found.fault) == ("vPE 1 is made resident on cpu0, and no vCPU has it", "")


def small(name: str, *programs: tuple[Action, ...], **more: Any) -> Scenario:
    """A vCPU for each program, each on a pCPU of its own."""
    given = {"cpus": len(programs), "vcpus": tuple(VcpuSetup(n, p) for n, p in enumerate(programs)), **more}
    return Scenario(name=name, about=name, architecture="arm", **given)


def handler(intid: int, vector: int = DEVICE) -> DeviceInterrupt:
    return DeviceInterrupt(vector, 0, "inject", ("vcpu0", intid, 1))


ACTIVATED = (register("isactiver", EDGE), register("icactiver", EDGE))
RIGHT = (
    small(
        "PendingLast, which tells no priority, ends a wait with all masked",
        (("write_pmr", 0), ("wfi",)),
        devices=(its(), *redistributors()),
        vectors=(LPI,),
        facts=("gicv4",),
    ),
    small(
        "a write latches a level as another clears it",
        (register("ispendr", LEVEL),),
        (register("icpendr", LEVEL),),
        vectors=(LEVEL,),
    ),
    small(
        "who made an interrupt active by a register is preempted for good, before or while it takes that back",
        cpus=1,
        vcpus=(VcpuSetup(0, (register("ispendr", EDGE),)), VcpuSetup(0, ACTIVATED)),
        vectors=(EDGE,),
        budget=Budget(preempt=1),
        loaded=False,
    ),
    small(
        "the only list register is another's while an interrupt is pending again and active",
        ACTIVATED,
        interrupts=(handler(EDGE), handler(LEVEL, DEVICE + 1)),
        vectors=(LEVEL, EDGE),
        facts=("one-list-register", "injects-from-handler"),
    ),
    small(
        "a level is deactivated by a register before its handler quiets the device",
        (),
        (register("icactiver", LEVEL),),
        interrupts=(handler(LEVEL),),
        vectors=(LEVEL,),
        facts=("injects-from-handler",),
    ),
    small(
        "the ITS takes a doorbell's request after another vPE has used the register, and is about to send as the vCPU sleeps",
        cpus=1,
        vcpus=(VcpuSetup(0, WFI), VcpuSetup(0)),
        devices=(its(), *redistributors()),
        vectors=(LPI,),
        budget=Budget(preempt=2),
        facts=("gicv4.1",),
        loaded=False,
    ),
    small(
        "a doorbell's handler is slow, and disables what the vCPU has asked for elsewhere, for its next sleep: it wakes it",
        cpus=2,
        vcpus=(VcpuSetup(0, WFI),),
        devices=(its(), *redistributors(2)),
        vectors=(LPI,),
        budget=Budget(preempt=1, migrate=1, again=1),
        facts=("gicv4",),
    ),
)


@pytest.mark.parametrize("scenario", RIGHT, ids=lambda s: s.name)
def test_nothing_is_said_of_right_software(scenario: Scenario) -> None:
    explored = explore(resolve("reference"), scenario, SUITE)
    assert (explored.counterexamples, explored.fault) == ({}, "")
    assert explored.complete


@pytest.mark.parametrize(("facts", "nests"), [(("handlers-nest",), True), ((), False)])
def test_handlers_nest_where_the_scenario_says_so(facts: tuple[str, ...], nests: bool) -> None:
    """An edge of higher priority comes as another may be handled: both priorities are active then, or one after the other."""
    scenario = small(
        "nesting",
        (register("ispendr", EDGE),),
        interrupts=(handler(EDGE2),),
        vectors=(EDGE, EDGE2),
        facts=(*facts, "injects-from-handler"),
    )

    def both_are_active(machine: Machine) -> bool:
        apr = machine.memory["cpu0.apr"]
        return any(apr.unpack(state) == 1 << 0x14 | 1 << 0x10 for state, _, _ in visits(machine))

    assert in_machine(resolve("reference"), scenario, SUITE, both_are_active) is nests


def test_a_handler_that_nests_opens_interrupts_before_it_ends_its_own() -> None:
    scenario = small("all of it", vectors=(LEVEL,), facts=("handlers-nest", "eoi-mode-1"))
    steps: list[str | int] = []
    left: tuple[int, ...] = (LEVEL,)
    while left:
        action, left = completion(left[-1], scenario)
        steps.append(action[0])
        assert action[0] == "unmask" or action[1] == LEVEL
    assert steps == ["unmask", "device_quiet", "end_of_interrupt", "deactivate"]


class LeavesAPriorityActive(KvmArm):
    def flush(self, cpu: Cpu, vcpu: Vcpu) -> None:
        super().flush(cpu, vcpu)
        cpu.store(self.world.cpus[cpu.id()].apr, 1)


def test_an_active_priority_that_blocks_an_interrupt_is_named() -> None:
    told = found(LeavesAPriorityActive, "vgic-edge").counterexamples["VGIC-Q-1"]
    assert (
        "cpu0.lr[0] holds it, and it is not taken: an active priority that is as high blocks it, cpu0.apr = 0x1"
        in told.reason
    )
    assert any("cpu0.apr" in sentence for sentence in why(told).sentences)


def test_the_story_of_a_lost_interrupt_begins_where_it_is_raised() -> None:
    told = why(found(NeverKicks, "vgic-edge").counterexamples["VGIC-Q-1"]).sentences
    assert re.match(r"Let P be step \d+, where inject on cpu1 sets irq41.raised", told[0])


def test_assumptions_are_those_of_the_architectures_judged() -> None:
    arm, both = Session(clause=["VGIC-*"]).assumptions, Session().assumptions
    assert any("maintenance interrupt" in rule for rule in arm)
    assert not any("x2APIC" in rule for rule in arm)
    assert set(arm) < set(both)
    assert any("x2APIC" in rule for rule in both)


@pytest.mark.skipif(not NOTE.exists(), reason="the note that the clauses were collected in is not here")
def test_every_clause_that_was_collected_is_in_the_catalogue() -> None:
    section = NOTE.read_text().split("\n## 2.")[0]
    collected = set(re.findall(r"^\| ((?:GICV|VGIC)[\w-]+) \|", section, re.MULTILINE))
    assert len(collected) > 90
    assert collected <= {c.id for c in SUITE.clauses}
