"""The proposal to count vcpu->mode's generations, instead of noting that a notification for L2 is pending.

P. Bonzini, 24 Nov 2020, in the thread of "KVM: nVMX: Wake L2 from HLT when nested posted-interrupt pending". What is not told
here is as in `reference.nested.kvm`. The thread refuted it twice; docs/generation-count.md has both holes as found here.

    mode: generation above, OUTSIDE, IN, EXITING or READING in bits 1:0; each entry to IN counts one up
    sender: read mode ── IN ── NPINV ── read mode again ── the same: done
                └─ other: PINV12 is an interrupt to L1   └─ differs: once more

What the message does not say: a notification that finds the vCPU out of its guest waits in L1's local APIC, as an interrupt of
L1's would, and the next look at L1's interrupts takes it for L2's (25bb2cf97139, 6e0b456547f4).
"""

from __future__ import annotations

from typing import ClassVar

from conformance.roles.mirrors import Original, mirrors
from conformance.roles.nested import NPINV, Cpu, Vcpu
from reference.nested.kvm import NestedKvm
from reference.nested.mode import READING
from reference.x86.kvm import EXITING, IN

PROPOSAL = Original("KVM mailing list, Message-ID e140ed23-df91-5da2-965a-e92b4a54e54e@redhat.com")
MASK = 3
"""GUEST_MODE_MASK."""


def entered(mode: int) -> int:
    """From any of the four values to IN, with the generation one up: the low bits are filled, and the carry leaves them 0."""
    return (mode | MASK) + 1 + IN


def left(mode: int) -> int:
    return mode & ~MASK


def exiting(mode: int) -> int:
    """Of a mode whose low bits are IN."""
    return mode ^ IN ^ EXITING


class GenerationCount(NestedKvm):
    """A proposal of 2020: vcpu->mode counts entries, and nothing else remembers L2's notification."""

    profile: ClassVar[str] = "strict"

    @mirrors(PROPOSAL, "vcpu->mode = (vcpu->mode | GUEST_MODE_MASK) + 1 + IN_GUEST_MODE")
    def enter_mode(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, entered(cpu.load(vcpu.mode)))
        cpu.fence()

    @mirrors(PROPOSAL, "vcpu->mode &= ~GUEST_MODE_MASK")
    def leave_mode(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, left(cpu.load(vcpu.mode)))

    @mirrors(PROPOSAL, "smp_store_mb")
    def begin_walk(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.irq_disable()
        cpu.store(vcpu.mode, cpu.load(vcpu.mode) | READING)
        cpu.fence()

    @mirrors(PROPOSAL, "smp_store_release")
    def end_walk(self, cpu: Cpu, vcpu: Vcpu) -> None:
        cpu.store(vcpu.mode, left(cpu.load(vcpu.mode)), "release")
        cpu.irq_enable()

    @mirrors(PROPOSAL, "try_cmpxchg")
    def exiting(self, cpu: Cpu, vcpu: Vcpu) -> int:
        mode = cpu.load(vcpu.mode)
        while mode & MASK == IN:
            was = cpu.cmpxchg(vcpu.mode, mode, exiting(mode))
            if was == mode:
                return IN
            mode = was
        return mode & MASK

    @mirrors(PROPOSAL, "READ_ONCE")
    def mode(self, cpu: Cpu, vcpu: Vcpu) -> int:
        return cpu.load(vcpu.mode) & MASK

    @mirrors(PROPOSAL, "reread vcpu->mode after sending the IPI, and retry if it does not match")
    def deliver_nested(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> bool:
        """Each try looks at all of it again. Answers whether the last one was for L2."""
        while cpu.load(vcpu.guest_mode) and vector == cpu.load(vcpu.posted_intr_nv):
            mode = cpu.load(vcpu.mode)
            if mode & MASK != IN:
                return False
            cpu.send_ipi(NPINV, cpu.load(vcpu.cpu))
            if cpu.load(vcpu.mode) == mode:
                return True
        return False
