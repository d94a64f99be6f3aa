"""The roles of nested posted interrupts: L0 runs L1, a hypervisor, and L1's guest L2.

    L1's other vCPU ──> PIR12, ON12 (L1's memory) ──> ICR: PINV12 ──> L0's sender ──> NPINV ──> processor ──> vIRR12 ──> L2
                                                                           └ pi_pending, request ──> L0's run loop ┘

x86's roles are not filled by these, nor these by them: an implementation that fills none is not judged by nested clauses. A
`vcpu` has L1's state by name (`vcpu.pid`, `vcpu.virr`) as on x86, and L2's in `vcpu.l2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.nested.state import *  # noqa: F403 (code is written against them too)
from conformance.roles.nested.state import Vcpu, World
from conformance.roles.role import BaseRole, Places
from conformance.roles.x86.state import WAKEUP


class Role(BaseRole):
    """Base of the roles of nested posted interrupts."""

    world: World


class NestedProcessor(Role):
    """The logical processor in non-root mode, by the current VMCS: vmcs01 for L1, vmcs02 for L2."""

    hardware: ClassVar[bool] = True

    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """VM entry to L1 or L2, as `vcpu.vmcs` says.

        Called: where the vCPU's thread executes `enter_guest`.
        May rely on: what x86's role may, of the level that is entered.
        Must leave: that level's vPPR and `recognized` evaluated; on vmcs01 a vector in `injected` is the exit from L2 that
            carries it, and L1 starts its handler.
        Returns: nothing.
        """
        raise NotImplementedError

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """What the processor does at an instruction boundary of L1 or L2. May only look.

        Called: as x86's `boundary`.
        May rely on: `pending`, the host vectors that are latched at this pCPU, in ascending order.
        Must leave: everything as it is.
        Returns: ("deliver",), ("acknowledge", vector) with one of `pending`, or None.
        """
        raise NotImplementedError

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """A host vector was acknowledged in non-root mode.

        Called: by the processor, after `boundary` asked for it.
        May rely on: `vector` is latched no more.
        Must leave: for the notification vector of the current VMCS (PINV in vmcs01; NPINV in vmcs02, if `l2.posting`)
            posted-interrupt processing of its descriptor; for any other an exit ("interrupt", vector).
        Returns: nothing.
        """
        raise NotImplementedError

    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Virtual-interrupt delivery to the level that runs.

        Called: by the processor, after `boundary` answered ("deliver",).
        May rely on: what `boundary` saw still holds when this begins.
        Must leave: what x86's `deliver` must, of that level; the guest is told by `cpu.deliver`, of L2's vectors with `L2`
            added.
        Returns: nothing.
        """
        raise NotImplementedError

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> Any:
        """L1 or L2 executes an instruction that the processor virtualizes, or that exits.

        Called: as x86's `instruction`; one program holds what L1 and L2 execute: vmlaunch VMCS12 (1 with posted interrupts,
            0 without), hlt, cli, sti, write_tpr VALUE, touch (an exit in which L0 walks shadow page tables), io (an exit of L2
            that L1 wants), apic_eoi (the end of what L1 has in service, by L2, which owns L1's local APIC on VMCS12 0).
        May rely on: the vCPU's state is the processor's alone until this returns.
        Must leave: what x86's `instruction` must, of the level that runs; `l2.vmcs12`, after a vmlaunch. Any other exits:
            `cpu.exit_guest(what, *operands)`.
            After the end of a handler that took L1 out of L2 (`interrupted`), L1 goes back: an exit ("vmresume",).
        Returns: nothing.
        """
        raise NotImplementedError


class L1(Role):
    """L1, as far as it posts to its guest from another vCPU of its own: what the architecture lets a hypervisor do."""

    def l1_posts(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """L1 posts a vector to L2: PIR12, ON12, and the notification if ON12 was clear.

        Called: by a thread on a pCPU that runs none of the scenario's vCPUs: another vCPU of L1.
        May rely on: nothing about the vCPU.
        Must leave: PIR12[vector] and ON12 set by locked operations, in that order.
        Returns: where it goes on: L0's `deliver_interrupt` with PINV12, which is what a write of the ICR comes to; or nothing.
        """
        raise NotImplementedError

    def l1_prepares(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """L1 posts a vector to L2 and notifies nobody.

        Called: as `l1_posts`.
        May rely on: nothing about the vCPU.
        Must leave: PIR12[vector] and ON12 set by locked operations, in that order.
        Returns: nothing.
        """
        raise NotImplementedError

    def l1_waits(self, cpu: Cpu, vcpu: Vcpu, first: int, second: int) -> Any:
        """L1 waits until PIR12[first] is clear, then posts `second` and notifies nobody.

        Called: as `l1_posts`, where another thread has posted `first`.
        May rely on: `first` is posted, and its notification sent.
        Must leave: what `l1_prepares` must, of `second`, after PIR12[first] was seen clear.
        Returns: Then("l1_prepares", vcpu, second).
        """
        raise NotImplementedError


class NestedSender(Role):
    """L0's software that sends an interrupt to a vCPU of L1."""

    goes_with: ClassVar[str] = "nested_run_loop"

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """An interrupt for a vCPU of L1: one of L1's own, or PINV12, which L1 means for L2.

        Called: by a thread on a pCPU of its own, interrupts on: what L0 does when another vCPU of L1 writes its ICR.
        May rely on: nothing about the vCPU, which may run L1, L2, or nothing, and change between.
        Must leave: L1's vector posted (`vcpu.pid`) and somebody who brings it in, as on x86. PINV12, where L2 is active with
            posted interrupts: posted-interrupt processing of L2's descriptor by the processor or by L0, once, and no
            interrupt to L1; where it is not, an interrupt to L1 like any other.
        Returns: nothing.
        """
        raise NotImplementedError


class Requester(Role):
    """L0's software that asks something of a vCPU, by vcpu->requests and vcpu->mode."""

    goes_with: ClassVar[str] = "nested_run_loop"

    def make_request(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Make a request and kick the vCPU.

        Called: by a thread on a pCPU of its own, interrupts on; several at once.
        May rely on: nothing about the vCPU.
        Must leave: a bit of `vcpu.requests` set, and the vCPU's thread sure to look at it: before the next entry, or after an
            exit that this forces.
        Returns: nothing.
        """
        raise NotImplementedError

    def free_page(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Take a shadow page out of the tables and free it, once no vCPU can be reading it.

        Called: by a thread on a pCPU of its own, interrupts on.
        May rely on: nothing about the vCPU, which may be walking the tables with interrupts off.
        Must leave: `vm.sptes` 0; then, when no walk that began before can go on, `vm.page` 0, which frees it.
        Returns: nothing.
        """
        raise NotImplementedError


class NestedRunLoop(Role):
    """The vCPU's thread in L0: enters L1 or L2, handles exits, and is L1's VMX."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The vCPU's thread, one short call at a time, for ever.

        Called: as x86's `vcpu_run`.
        May rely on: as there. ("vmlaunch", n) and ("vmresume",) are L1's entry to L2; ("io",) is an exit of L2 that L1 wants;
            ("apic_eoi",) ends what L1 has in service; ("touch",) makes L0 read `vm.sptes` and, if that is 1, `vm.page`.
        Must leave: what x86's must, of L1's vectors, while L2 runs too: an interrupt for L1 makes L2 exit to L1, acknowledged,
            as `injected`, with `interrupted` 1. PINV12 in L1's vIRR at an entry to L2, or found while L2 is active, is a
            notification of L2 if L2 has posted interrupts. L2 that halts waits in L0, for L1's interrupts and its own.
        Returns: Then(routine, vcpu, ...).
        """
        raise NotImplementedError


class NestedResidency(Role):
    """The scheduler's hooks."""

    goes_with: ClassVar[str] = "nested_run_loop"
    handles: ClassVar[tuple[int, ...]] = (WAKEUP,)

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """The vCPU's thread is on a pCPU again.

        Called: as x86's `load`, on pCPU `where`.
        May rely on: as there.
        Must leave: what x86's must, of L1's descriptor. L2's is L1's memory.
        Returns: nothing.
        """
        raise NotImplementedError

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> Any:
        """The vCPU's thread is leaving its pCPU.

        Called: as x86's `put`; `preempted` as there.
        May rely on: as there.
        Must leave: what x86's must.
        Returns: nothing.
        """
        raise NotImplementedError


ROLES: Mapping[str, type[Role]] = {
    "nested_processor": NestedProcessor,
    "l1": L1,
    "nested_sender": NestedSender,
    "requester": Requester,
    "nested_run_loop": NestedRunLoop,
    "nested_residency": NestedResidency,
}

__all__ = ["Cpu", "Field", "Places", "Shared", "Then", "Vcpu", "World"]
