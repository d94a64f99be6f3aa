"""Arm's sequential checks: the manual they judge by says what is known from elsewhere, they pass the reference, and each
finds what breaks its clause, with the smallest example there is.
"""

from __future__ import annotations

import pytest
from turns import every_other

from conformance.adapters.registry import of_class, resolve
from conformance.roles import arm as role
from conformance.roles.arm import Cpu, Vcpu
from properties.arm.sequential import CHECKS, manual
from properties.arm.sequential.state import ACTIVE, INVALID, PENDING, PENDING_AND_ACTIVE, Lr, State
from properties.function import check
from properties.suite import SUITE
from reference.arm.kvm import KvmArm
from reference.known_bad.arm.register import KNOWN_BAD

SEQUENTIAL = [c.id for c in SUITE.clauses if c.check == "sequential" and c.architecture == "arm"]
OPEN = State(en=1, enable0=1, enable1=1, pmr=0x1F, bpr=2, abpr=3)


def state(*lrs: Lr, **fields: int) -> State:
    return State(**{**OPEN.__dict__, "lrs": (*lrs, *(Lr() for _ in range(2 - len(lrs)))), **fields})


def test_each_sequential_clause_has_a_check_and_each_check_a_clause() -> None:
    assert sorted(CHECKS) == sorted(SEQUENTIAL)


@pytest.mark.parametrize("clause", SEQUENTIAL)
def test_reference_passes(clause: str) -> None:
    checked = check(clause, resolve("reference"), CHECKS)
    assert not checked.counterexample
    assert not checked.fault_status
    assert checked.evidence.startswith("one routine alone")


# Two writings of the layout, and words read from QEMU's GICv2


def test_the_two_writings_of_a_list_register_agree() -> None:
    """conformance.roles.arm and the sequential state were written apart."""
    for lr in (
        Lr(PENDING, 3, 0x14, 0, 5, 0),
        Lr(PENDING_AND_ACTIVE, 1019, 0x1F, 1, 0, 1),
        Lr(ACTIVE, 27, 1, 1, 0, 0, 0x3FF),
    ):
        word = role.lr_word(
            lr.intid,
            lr.state,
            priority=lr.priority,
            cpuid=lr.source,
            eoi=bool(lr.eoi),
            group1=bool(lr.group),
            hw=lr.physical,
        )
        assert (word, Lr.of(word)) == (lr.word(), lr)


def test_a_word_that_qemu_left() -> None:
    """After the first EOIR of a pending and active interrupt 50 of priority 40H with EOI=1 (QEMU 7.2, GICv2 over qtest)."""
    after = manual.end_of_interrupt(
        state(Lr(PENDING_AND_ACTIVE, 0x32, 8, eoi=1), apr=frozenset({8})),  # pyright: ignore[reportArgumentType]
        0x32,
    )
    assert after.lrs[0].word() == 0x14080032
    assert manual.eisr(after) == 0


def test_vmcr_of_the_reset() -> None:
    """GIC-400 comes out of reset with 004C0000H: binary points 2 and 3, everything masked."""
    reset = State.of({**State().memory(), "cpu0.vmcr": 0x004C0000})
    assert (reset.bpr, reset.abpr, reset.pmr, reset.enable0, reset.eoi_mode) == (2, 3, 0, 0, 0)


# What the manual's second writing says, worked out by hand


def test_group_priorities_by_binary_point() -> None:
    """Priority B8H: group 0 keeps bits 7:b+1, group 1 bits 7:b."""
    lr = Lr(PENDING, 40, 0xB8 // 8)
    kept = [manual.group_priority(state(bpr=b), lr) for b in range(8)]
    assert kept == [0xB8, 0xB8, 0xB8, 0xB0, 0xA0, 0x80, 0x80, 0]
    one = Lr(PENDING, 40, 0xB8 // 8, group=1)
    kept = [manual.group_priority(state(abpr=b), one) for b in range(8)]
    assert kept == [0xB8, 0xB8, 0xB8, 0xB8, 0xB0, 0xA0, 0x80, 0x80]
    assert manual.group_priority(state(cbpr=1, bpr=7), one) == 0


def test_priority_equal_to_the_mask_is_masked() -> None:
    lr = Lr(PENDING, 40, 4)
    assert not manual.offered(state(lr, pmr=4))
    assert manual.offered(state(lr, pmr=5)) == {0}


def test_underflow_by_valid_list_registers() -> None:
    """Seen over qtest: asserted with none or one, not with two; active ones count."""
    one, two = Lr(ACTIVE, 40), Lr(PENDING, 41)
    assert [manual.misr(state(*lrs, uie=1))["U"] for lrs in ((), (one,), (one, two))] == [True, True, False]


def test_eoi_count_wraps() -> None:
    assert manual.directed_deactivate(state(eoi_count=31), 40).eoi_count == 0
    assert manual.end_of_interrupt(state(eoi_count=3), 40).eoi_count == 3


def test_free_and_ended_list_registers_exclude_each_other() -> None:
    for lr in (Lr(INVALID, 40, eoi=1), Lr(INVALID, 40), Lr(INVALID, 40, physical=0x210), Lr(ACTIVE, 40, eoi=1)):
        both = manual.eisr(state(lr)) & 1, manual.elrsr(state(lr)) & 1
        assert both == ((0, 0) if lr.state else (lr.eoi, 1 - lr.eoi))


# What the checks find

OPENED = "HCR.En=1, VMCR.VMGrp0En=1, VMCR.VMGrp1En=1"
LEAST = {
    "H03": f"boundary(vcpu0, ()) on LRs=[active 3; pending and active 0], {OPENED}, VMCR.VMPriMask=0x1f: "
    "due is that no virtual IRQ is taken; the answer is ('deliver',)",
    "H05": "instruction(vcpu0, end_of_interrupt, 0x3) on LRs=[active 3; active 0], VMCR.VEM=1: "
    "due is LRs=[active 3; active 0]; found LRs=[invalid 3; active 0]",
    "H09": "eisr(0) on LRs=[invalid 3; invalid 16 HW 528]: due is 0x0; found 0x2",
    "H12": "misr(0) on LRs=[active 3; pending 0], HCR.UIE=1: due is 0 in MISR.U; found 1",
    "H18": "instruction(vcpu0, end_of_interrupt, 0x5) on LRs=[invalid 3; invalid 0]: "
    "due is HCR.EOICount=0; found HCR.EOICount=1",
    "H20": f"boundary(vcpu0, ()) on LRs=[pending 3; pending 0], {OPENED}: "
    "due is that no virtual IRQ is taken; the answer is ('deliver',)",
}
"""The smallest counterexamples of some wrong virtual CPU interfaces; that all are found is tests/test_known_bad.py's."""


@pytest.mark.parametrize("number", every_other(LEAST))
def test_the_least_counterexample(number: str) -> None:
    bad = next(b for b in KNOWN_BAD if b.id == number)
    assert check(bad.breaks[0], resolve(f"known-bad:{number}"), CHECKS).counterexample == LEAST[number]


# The software around list registers


class MovesOne(KvmArm):
    """The walk that hands over what has become another's ends with the first."""

    def prune(self, cpu: Cpu, vcpu: Vcpu) -> None:
        for name in cpu.load(vcpu.ap_list):
            target = self.world.vcpus[f"vcpu{cpu.load(self.world.irq(vcpu, int(name)).target)}"]
            if target is not vcpu:
                self.migrate(cpu, vcpu, int(name), target)
                return
        super().prune(cpu, vcpu)


class Unsorted(KvmArm):
    """Both lists are locked, that of who has it first."""

    def move(self, cpu: Cpu, vcpu: Vcpu, intid: int, target: Vcpu) -> bool:
        irq = self.world.irq(vcpu, intid)
        flag = self.lock_irqsave(cpu, vcpu.ap_list_lock)
        cpu.lock(target.ap_list_lock)
        cpu.lock(irq.irq_lock)
        moves = self.movable(cpu, vcpu, intid) and self.oracle(cpu, vcpu, intid) is target
        if moves:
            cpu.store(vcpu.ap_list, tuple(i for i in cpu.load(vcpu.ap_list) if i != str(intid)))
            cpu.store(target.ap_list, (*cpu.load(target.ap_list), str(intid)))
            cpu.store(irq.owner, (target.name,))
        cpu.unlock(irq.irq_lock)
        cpu.unlock(target.ap_list_lock)
        self.unlock_irqrestore(cpu, vcpu.ap_list_lock, flag)
        return moves


class ListsFour(KvmArm):
    """A list of which only the first four are looked at, and nobody moves up."""

    def summarize(self, cpu: Cpu, vcpu: Vcpu, listed: list[int]) -> tuple[list[int], int]:
        return super().summarize(cpu, vcpu, sorted(listed)[:4])


TOO_MANY: list[tuple[type[KvmArm], str, str]] = [
    (
        MovesOne,
        "VGIC-RT-5",
        "inject 41, 42, vcpu0 enters, vcpu1 takes 41, 42 over, vcpu0 exits and enters, vcpu1 enters: due in list registers, "
        "entry by entry, are 41, 42; found are 41",
    ),
    (
        Unsorted,
        "VGIC-RT-6",
        "inject 41, vcpu1 takes over, and vcpu0 takes back: leave_guest takes vcpu0.ap_list_lock and then vcpu1.ap_list_lock, "
        "leave_guest takes vcpu1.ap_list_lock and then vcpu0.ap_list_lock",
    ),
    (
        ListsFour,
        "VGIC-OVF-4",
        "inject 41, 42, 43, 44, 45, 46, 47, vcpu0 enters: due in list registers, entry by entry, are 41, 42, 43, 44, 45, 46, 47; "
        "found are 41, 42, 43, 44",
    ),
]


@pytest.mark.parametrize(("cls", "clause", "smallest"), TOO_MANY)
def test_one_too_many_is_found(cls: type[KvmArm], clause: str, smallest: str) -> None:
    checked = check(clause, of_class(cls, cls.__name__, f"{__name__}:{cls.__name__}"), CHECKS)
    assert checked.counterexample == smallest


def test_each_check_finds_something() -> None:
    assert {c for bad in KNOWN_BAD for c in bad.breaks} | {clause for _, clause, _ in TOO_MANY} >= set(CHECKS)
