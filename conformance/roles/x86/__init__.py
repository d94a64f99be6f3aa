"""The roles of x86 posted interrupts, and the architectural state they share.

A role is what an implementation fills in: subclass one or several, write the routines, and the reference fills the
rest. Routines run on a `Cpu`, take vCPUs as `Vcpu` objects, and reach memory through their fields (`vcpu.pid.on`,
`vcpu.virr[w]`, and whatever `vcpu_state` and `cpu_state` declare). A routine that goes on elsewhere returns
`Then(routine, arguments)`.

    sender ──> PIR, ON ──> notification ──> processor ──> vIRR ──> guest
    IOMMU  ──┘   SN, NV, NDST <── residency (load, put)      run loop: entry, harvest, block
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.role import BaseRole, Places
from conformance.roles.x86.state import *  # noqa: F403 (registers, fields, vectors: code is written against them too)
from conformance.roles.x86.state import WAKEUP, Vcpu, World


class Role(BaseRole):
    """Base of x86's roles."""

    world: World


class Processor(Role):
    """The logical processor in non-root mode (Intel SDM vol. 3C, "APIC Virtualization and Virtual Interrupts")."""

    hardware: ClassVar[bool] = True

    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """VM entry: PPR virtualization, evaluation of pending virtual interrupts, and the event that software injects.

        Called: where the vCPU's thread executes `enter_guest`, by the processor, once the pCPU's store buffer is empty.
        May rely on: `rvi`, `injected` and `interrupt_window` as software left them; `vcpu` is the only guest here.
        Must leave: `vppr` and `recognized` evaluated. A vector in `injected` comes before every virtual interrupt: its
            handler is started with `cpu.deliver`, the guest's IF is 0 and `injected` 0 again.
        Returns: nothing. The guest is at an instruction boundary then, unless this was left by `cpu.exit_guest`.
        """
        raise NotImplementedError

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """What the processor does at an instruction boundary of the guest. May only look.

        Called: by the processor, in the guest, before each instruction, and again when anything that it looked at
            changes, in a halted guest and after the program's end too. The host's interrupt flag plays no part.
        May rely on: `pending`, the host vectors that are latched at this pCPU, in ascending order.
        Must leave: everything as it is. It may load, and nothing else that others could notice.
        Returns: ("deliver",), and `deliver` is called; ("acknowledge", vector) with one of `pending`, which is latched
            no more when `acknowledge` is called with it; or None, and the guest executes its next instruction, if it
            has one.
        """
        raise NotImplementedError

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """A host vector was acknowledged in non-root mode: posted-interrupt processing, or a VM exit.

        Called: by the processor, after `boundary` asked for it. Other agents come between any two of its operations on
            the descriptor, unless they are one `cpu.atomic` block.
        May rely on: `vector` is latched no more. The vCPU's other state is the processor's alone until this returns.
        Must leave: for the notification vector, if the VMCS has posted-interrupt processing on: ON cleared first, then
            each bit of PIR moved to vIRR, RVI the larger of what it was and the highest vector moved, and an
            evaluation. For any other, `cpu.exit_guest("interrupt", vector)`, after which the host takes the vector when
            its interrupts are on.
        Returns: nothing.
        """
        raise NotImplementedError

    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Virtual-interrupt delivery: the vector in RVI goes from vIRR into service, and the guest's handler starts.

        Called: by the processor, after `boundary` answered ("deliver",).
        May rely on: what `boundary` saw still holds when this begins.
        Must leave: the vector in vISR and SVI, VPPR its class, RVI the highest vector left in vIRR, nothing recognized,
            the guest's IF 0 and `halted` 0; and it has told the guest by `cpu.deliver(vector)`, once.
        Returns: nothing.
        """
        raise NotImplementedError

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> Any:
        """The guest executes an instruction that the processor virtualizes, or that exits.

        Called: by the processor, after `boundary` answered None, with the next instruction of the guest's program,
            which the guest has then executed, or with ("end_of_interrupt",) as long as it has a handler to complete:
            the EOI and the IRET behind it, which sets IF; with the fact `handlers-nest` each handler executes ("sti",)
            before. Programs are made of hlt, write_tpr VALUE, sti, cli, pause, self_ipi VECTOR, fastpath_ipi VECTOR (an
            IPI to itself that exits), save_restore VECTOR and reset OLD TIMER (see `StateTransfer`).
        May rely on: the vCPU's state is the processor's alone until this returns.
        Must leave: what the SDM says of a virtualized one: vISR, SVI and VPPR after an EOI, VPPR after a write of TPR,
            vIRR and RVI after a self-IPI, each with an evaluation. Any other exits: `cpu.exit_guest(what, *operands)`.
            The reasons that a run loop meets beside are ("interrupt", vector), ("tick",) for an exit that nothing
            caused, ("eoi", vector) by the EOI-exit bitmap and, with APICv inhibited, ("apic_eoi",),
            ("interrupt_window",) and ("tpr_below_threshold",), after a write of TPR that may unmask something.
        Returns: nothing.
        """
        raise NotImplementedError


class VmEntryChecks(Role):
    """What VM entry checks of the controls of posted-interrupt processing (Intel SDM vol. 3C, 26.2.1.1)."""

    hardware: ClassVar[bool] = True

    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> Any:
        """Whether VM entry goes on, with these VMCS fields and these of `CONTROLS` set to 1.

        Called: alone, on generated fields: no scenario asks for it.
        May rely on: `address` is the posted-interrupt descriptor address, `notification_vector` a 16-bit field, and
            `controls` names each control that is 1, once.
        Must leave: everything as it is.
        Returns: whether the checks of the controls pass.
        """
        raise NotImplementedError


class Iommu(Role):
    """VT-d interrupt posting (VT-d specification, "Interrupt-Posting Hardware Operation")."""

    hardware: ClassVar[bool] = True
    feature: ClassVar[str] = "device-posting"

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> Any:
        """A device's interrupt is posted to a vCPU: one coherent update of its descriptor, and perhaps a notification.

        Called: once for each device of a scenario, by the device, whatever the vCPU's thread and its pCPU are doing at
            the time: in the guest, half way through load or put, asleep. `urgent` is URG of the remapping entry.
        May rely on: the descriptor alone. Every other agent may have changed it one step before and may one step after.
        Must leave: PIR[vector] = 1. If ON was 0, and SN was 0 or the interrupt is urgent: ON = 1, and one interrupt
            message, `cpu.send_ipi`, with the NV and NDST that the descriptor held then. What it reads to decide this
            and what it writes is one step, `cpu.atomic`; the message leaves in that step or later, and may travel for
            ever.
        Returns: nothing.
        """
        raise NotImplementedError


class StateTransfer(Role):
    """What userspace does to a vCPU that is out of its guest, and when devices come and go."""

    goes_with: ClassVar[str] = "run_loop"

    def save_restore(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """The host posts `vector` to its own vCPU, then saves the local APIC and restores it.

        Called: by the vCPU's thread, to which its run loop sends it after an exit ("save_restore", vector); interrupts
            and preemption are on, the guest is not entered before this is over. Senders and devices go on meanwhile.
        May rely on: nobody else enters, loads or restores this vCPU.
        Must leave: every vector that was posted before still to be delivered, once, `vector` among them. What others post
            meanwhile may be delivered or forgotten.
        Returns: where the thread goes on: Then("vcpu_run", vcpu).
        """
        raise NotImplementedError

    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        """The vCPU gets a fresh local APIC whose timer has expired; `old` was posted in its former life.

        Called: by the vCPU's thread, as `save_restore` is, after an exit ("reset", old, timer).
        May rely on: nobody else enters, loads or restores this vCPU.
        Must leave: `old`, which it posts itself before anything else, nowhere, and nothing else that was posted before, so
            that it is never delivered; `timer`, which the timer posts while the new state is loaded, still to be
            delivered. With `timer` 0 none has expired. What others post meanwhile may be delivered or forgotten.
        Returns: where the thread goes on: Then("vcpu_run", vcpu).
        """
        raise NotImplementedError

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The VM gets its first device that can post.

        Called: by a thread of userspace on a pCPU that runs no vCPU, interrupts on, whatever the vCPU is doing.
        May rely on: no device posts before this has returned; one does then. A scenario that begins without a device
            sets `vm.assigned` to 0, which `vm_state` declares.
        Must leave: a vCPU that a device's post reaches, even if it blocked before.
        Returns: nothing.
        """
        raise NotImplementedError

    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The last device of the VM that could post is gone.

        Called: by a thread of userspace, as `assign_device` is. Software goes on posting.
        May rely on: no device posts any more, until one is assigned again.
        Must leave: a vCPU that software's posts reach, and that can block and be woken again, with a device or without.
        Returns: nothing.
        """
        raise NotImplementedError

    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The VM asks for APICv to be inhibited, by another vCPU's doing; this vCPU has not acted on it yet.

        Called: by a thread on a pCPU that does not run the vCPU, interrupts on, whatever the vCPU is doing.
        May rely on: the processor goes on with APICv for this vCPU throughout the scenario.
        Must leave: load and put in agreement: a load undoes what the put before it did, though this came in between.
        Returns: nothing.
        """
        raise NotImplementedError


class IpiVirtualization(Role):
    """The sending processor's half of IPI virtualization (Intel SDM vol. 3C, "IPI Virtualization")."""

    hardware: ClassVar[bool] = True
    feature: ClassVar[str] = "ipi-virtualization"

    def virtual_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """A guest's processor sends an IPI to another vCPU by its descriptor, without a VM exit.

        Called: once, by the sending processor, which does nothing else here: for the machine it is a device. The vCPU
            that it sends to may be anywhere.
        May rely on: the descriptor alone, which every other agent may change between any two of its steps.
        Must leave: PIR[vector] = 1, by a locked operation; then, by another one, ON = 1 if ON and SN were both 0 in it,
            and in that case one interrupt message with the NV and NDST of that step.
        Returns: nothing.
        """
        raise NotImplementedError


class Sender(Role):
    """Software that posts an interrupt to a vCPU, from any context."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """Software posts an interrupt to a vCPU, and makes sure that somebody looks at it.

        Called: by a thread on a pCPU of its own, interrupts on, or by a device's hard-interrupt handler on the vCPU's
            own pCPU, interrupts off, on top of whatever runs there: the vCPU's thread between any two operations with
            interrupts on, another's, or none. Several calls may be under way at once. It may not sleep.
        May rely on: nothing about the vCPU, which may be in its guest, on its way in or out, about to sleep, asleep,
            preempted, or moving to another pCPU. With the fact `apicv-inhibited` its processor uses no descriptor.
        Must leave: the vector posted when it returns, in PIR (inhibited: in vIRR): from then on it counts, from the
            step that set the bit or, if none did, from the return. And somebody who will bring it in: a vCPU in its
            guest is notified or made to exit, one that sleeps is woken, one that is on its way in looks once more. It
            may leave that to whoever set ON before.
        Returns: nothing.
        """
        raise NotImplementedError


class RunLoop(Role):
    """The vCPU's thread: enters the guest, handles exits, blocks."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The vCPU's thread: enters the guest, handles the exit, blocks, and so on for ever, one short call at a time.

        Called: as the first call of the thread, which `load` has put on its pCPU; interrupts and preemption are on.
            While they are the thread may be interrupted before any operation, and preempted and moved.
        May rely on: `put` and `load` run around every time off the pCPU, this vCPU's private state is the thread's
            while the guest is not entered, and `cpu.enter_guest(vcpu)` answers the reason of the next exit
            (`Processor.instruction` has the list), with the interrupt flag as it was at entry.
        Must leave: a guest that is entered with every vector posted so far in vIRR and RVI, or with a notification
            still to come that the processor will take: with interrupts on, what comes in after the last look is spent
            in root mode. On ("hlt",) the thread blocks until there is a vector that the guest would take:
            `prepare_to_block`, a look, `schedule` (interrupts and preemption on, no lock held). On ("fastpath_ipi",
            vector) it posts the vector to its own vCPU. On ("save_restore", ...) and ("reset", ...) it goes to the
            routine of that name. With APICv inhibited it is the local APIC: on ("apic_eoi",) it ends what is in
            service, and it injects what is pending and not masked by TPR or what is in service, by `injected`, or asks
            for ("interrupt_window",) first; on ("tpr_below_threshold",) it looks again. On any other reason it goes
            round again.
        Returns: where the thread goes on, Then(routine, vcpu, ...): a thread that just returns is gone for good. What
            outlives a call lies in declared locations.
        """
        raise NotImplementedError


class Residency(Role):
    """The scheduler's hooks: what happens to the descriptor as the vCPU's thread comes and goes."""

    handles: ClassVar[tuple[int, ...]] = (WAKEUP,)

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """The vCPU's thread is on a pCPU again.

        Called: by the scheduler on pCPU `where`, which need not be the one that the thread left, before the thread goes
            on; and once for each vCPU before the scenario begins, undisturbed, unless it begins unloaded.
            Interrupts are on, preemption is off.
        May rely on: no `put` of this vCPU is under way; one has run since the thread last did, except the first time,
            when the descriptor is as declared: NV = PINV, SN = 1.
        Must leave: a descriptor by which posts reach the vCPU here (NDST this pCPU, NV the notification vector of a
            running vCPU, SN = 0), and nothing forgotten that was posted meanwhile: what came under SN set no ON.
        Returns: nothing, or Then(...) for more of the same: the thread goes on after the last of it.
        """
        raise NotImplementedError

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> Any:
        """The vCPU's thread is leaving its pCPU.

        Called: by the scheduler on the pCPU that is left, `cpu.id()`, interrupts off: what arrives there waits.
            `preempted` is False where the thread sleeps, by its own `schedule`. It is True where it may run on, between
            any two of its operations, even if it has announced its sleep: then it comes back, and sleeps.
        May rely on: the vCPU is not in its guest; whoever wakes it from now on makes it runnable.
        Must leave: if the thread sleeps, that it is woken by whatever is posted from now on, or was and has not been
            looked at, if the guest would take it. One that was preempted need not be told of anything before its next
            `load`. This may not sleep, nor wait for another thread of this pCPU; the thread is off it when its stores
            are visible.
        Returns: nothing, or Then(...) for more of the same.
        """
        raise NotImplementedError


ROLES: Mapping[str, type[Role]] = {
    "processor": Processor,
    "iommu": Iommu,
    "ipi_virtualization": IpiVirtualization,
    "sender": Sender,
    "run_loop": RunLoop,
    "residency": Residency,
    "state_transfer": StateTransfer,
    "vm_entry_checks": VmEntryChecks,
}

__all__ = ["Cpu", "Field", "Places", "Shared", "Then", "Vcpu", "World"]
