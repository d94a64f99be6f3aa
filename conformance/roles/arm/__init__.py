"""The roles of Arm's virtual GIC, and the architectural state they share.

A role is what an implementation fills in: subclass one or several, write the routines, and the reference fills the
rest. Routines run on a `Cpu`, take vCPUs as `Vcpu` objects, and reach memory through fields: `vcpu.vmcr_sw` (whatever
`vcpu_state` declares), `self.world.cpus[cpu.id()].lr[0]` (the list registers of the pCPU it runs on),
`self.world.irq(vcpu, intid).line` (an interrupt's own state). A routine that goes on elsewhere returns
`Then(routine, arguments)`.

    device, SGI sender ──> distributor (software) ──> list registers ──> virtual CPU interface ──> guest
    ITS ──> virtual pending table, doorbell ─────────────────────────────^        │
                                       maintenance interrupt, a level <───────────┘

What a CPU's hardware holds is private to what runs on that CPU: list registers, GICH_HCR, GICH_VMCR, GICH_APR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from conformance.roles.arm.state import *  # noqa: F403 (registers, fields, vectors: code is written against them too)
from conformance.roles.arm.state import Vcpu, World
from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.role import BaseRole, Places


class Role(BaseRole):
    """Base of Arm's roles."""

    world: World


class VirtualInterface(Role):
    """Hardware: the virtual CPU interface and its list registers (Arm IHI 0048B, chapter 5; GICv3's ICH_* and ICV_* have
    the same shape).
    """

    hardware: ClassVar[bool] = True

    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The pCPU starts to run the vCPU's guest, with whatever its GICH registers hold.

        Called: where the vCPU's thread executes `enter_guest`, by the processor.
        May rely on: LR, HCR, VMCR and APR of this pCPU as software left them.
        Must leave: nothing in particular: what the interface signals follows from its registers at every boundary.
        Returns: nothing. The guest is at an instruction boundary then.
        """
        raise NotImplementedError

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """What the processor does at an instruction boundary of the guest. May only look.

        Called: by the processor, in the guest, before each instruction, and again when anything that it looked at
            changes, in a guest that waits in a WFI and after the program's end too. The host's interrupt flag plays no
            part.
        May rely on: `pending`, the host interrupts that are latched at this pCPU, in ascending order, without levels
            that are no longer asserted.
        Must leave: everything as it is. It may load, and nothing else that others could notice.
        Returns: ("acknowledge", interrupt) with one of `pending`, which is latched no more when `acknowledge` is called
            with it; ("deliver",), and `deliver` is called, for a guest that takes the virtual IRQ or whose WFI one
            ends; or None, and the guest executes its next instruction, if it has one.
        """
        raise NotImplementedError

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, interrupt: int) -> Any:
        """A physical interrupt is signalled while the guest runs: it exits.

        Called: by the processor, after `boundary` asked for it.
        May rely on: `interrupt` is latched no more.
        Must leave: the list registers as they were, a WFI ended, and `cpu.exit_guest("interrupt", interrupt)`, after
            which the host takes the interrupt when its own are on.
        Returns: nothing.
        """
        raise NotImplementedError

    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The guest takes the virtual IRQ and reads GICV_IAR; or it was masked, and only ends a WFI.

        Called: by the processor, after `boundary` answered ("deliver",).
        May rely on: what `boundary` saw still holds when this begins.
        Must leave: `halted` 0. If PSTATE.I was 0: PSTATE.I = 1, the interrupt that IAR answers active in its list
            register and its group priority in APR, and the guest told by `cpu.deliver(what it read)`, once: the INTID,
            for a GICv2 SGI with the source in bits 12:10, 1023 if there is none any more. A virtual LPI has no active
            state.
        Returns: nothing.
        """
        raise NotImplementedError

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> Any:
        """The guest executes an instruction that the interface or PSTATE hears of, or that exits.

        Called: by the processor, after `boundary` answered None, with the next instruction of the guest's program,
            which the guest has then executed, or as long as it has a handler to complete with what `completion` says:
            ("device_quiet", INTID) for a level, ("end_of_interrupt", what IAR answered), and with EOImode=1
            ("deactivate", the same). Programs are made of wfi, mask, unmask, write_pmr VALUE (GICV_PMR), write_ctlr
            VALUE (GICV_CTLR), pause and mmio REGISTER INTID VALUE, a write of the distributor (`Distributor`). And alone, on
            generated registers, where no scenario asks for them: read_iar, read_aiar, read_hppir and read_ahppir.
        May rely on: GICH registers of this pCPU and PSTATE are the processor's alone until this returns.
        Must leave: what the manual says of EOIR (of AEOIR, where AckCtl=0 and the interrupt is of group 1), DIR, PMR and
            CTLR; the last write of a completion unmasks too, for the handler's return. Where software set GICH_HCR.TDIR, a
            write of DIR does nothing else: it exits, ("deactivate", what it names). A WFI does nothing where the virtual
            IRQ is asserted, sets `halted` with the fact `wfi-not-trapped`, and exits otherwise. Any other exits:
            `cpu.exit_guest(what, *operands)`. The reasons that a run loop meets beside are ("interrupt", number) and
            ("tick",), an exit that nothing caused. A read of IAR or AIAR acknowledges what it answers, and leaves PSTATE.I;
            one of HPPIR or AHPPIR leaves everything as it is.
        Returns: what a read answers, of an SGI with the source; 1022 for one of group 1 that AckCtl=0 keeps from IAR and
            HPPIR, 1023 for nothing. Else nothing.
        """
        raise NotImplementedError

    def maintenance(self, cpu: Cpu, where: int) -> bool:
        """Whether the maintenance interrupt of pCPU `where` is asserted: GICH_HCR.En and GICH_MISR != 0. May only load.

        Called: by the interrupt controller, in any state, to see whether the level has risen or was withdrawn.
        May rely on: what memory holds, store buffers left aside.
        Must leave: everything as it is.
        Returns: whether it is asserted.
        """
        raise NotImplementedError

    def misr(self, cpu: Cpu, where: int) -> int:
        """What a read of GICH_MISR answers on pCPU `where`. May only load.

        Called: alone, on generated registers: no scenario asks for it.
        May rely on: the GICH registers as they are.
        Must leave: everything as it is.
        Returns: a bit for each cause that is enabled in GICH_HCR and there; for EOI, if any bit of GICH_EISR is set.
        """
        raise NotImplementedError

    def eisr(self, cpu: Cpu, where: int) -> int:
        """What a read of GICH_EISR answers on pCPU `where`. May only load.

        Called: alone, on generated registers: no scenario asks for it.
        May rely on: the GICH registers as they are.
        Must leave: everything as it is.
        Returns: a bit for each list register whose interrupt has ended (State is 0) and that asked to be told (EOI = 1,
            HW = 0).
        """
        raise NotImplementedError

    def elrsr(self, cpu: Cpu, where: int) -> int:
        """What a read of GICH_ELRSR answers on pCPU `where`. May only load.

        Called: alone, on generated registers: no scenario asks for it.
        May rely on: the GICH registers as they are.
        Must leave: everything as it is.
        Returns: a bit for each list register that is empty and has no end to tell: State is 0, and EOI = 0 or HW = 1.
        """
        raise NotImplementedError


class Its(Role):
    """Hardware: what an ITS and a redistributor do for vPEs (GICv4; Arm IHI 0069)."""

    hardware: ClassVar[bool] = True

    def vlpi(self, cpu: Cpu, vcpu: Vcpu, intid: int) -> Any:
        """A device writes an MSI that the ITS translates to a virtual LPI of this vPE.

        Called: once for each such device of a scenario, by hardware without a CPU, whatever software does at the time:
            while the vPE is resident, coming on or off, or off.
        May rely on: `vpe_affinity`, the pCPU at whose redistributor the ITS takes the vPE to be (VMOVP), and VPENDBASER
            there.
        Must leave: the LPI `intid` in the virtual pending table. If the vPE is resident there and its scan is over,
            `vlpis` there has it too. If it is not resident and its doorbell is enabled, the doorbell rings:
            `cpu.send_ipi(DOORBELL + number, pCPU)`, and with GICv4.1 that used up the request. What it reads to decide
            this and what it writes is one step.
        Returns: nothing.
        """
        raise NotImplementedError

    def redistributor(self, cpu: Cpu, where: int) -> Any:
        """What the redistributor of pCPU `where` does after a write of its VPENDBASER: scan or drain.

        Called: once for each redistributor of a scenario, by hardware without a CPU, as the first of a chain without
            end.
        May rely on: a write that changes Valid sets Dirty in the same step (`vpendbaser_word`), and software waits for
            Dirty = 0 before the next. Until there is one this waits, by `cpu.relax`.
        Must leave: after Valid:=1, `vlpis` what the vPE's table holds; after Valid:=0, `vlpis` 0, PendingLast 1 if the
            table holds anything (it may be 1 otherwise too) and, with GICv4.1, the doorbell enabled if it was asked
            for; last, Dirty = 0.
        Returns: where it goes on: Then("redistributor", where).
        """
        raise NotImplementedError


class Injector(Role):
    """Software that makes an interrupt pending: a device model, userspace, a host interrupt's handler."""

    def inject(self, cpu: Cpu, vcpu: Vcpu, intid: int, level: int) -> Any:
        """The interrupt's line is `level` now; an edge-triggered one is made pending by 1, and 0 is nothing to it.

        Called: by a thread on a pCPU of its own, interrupts on, or by a device's hard-interrupt handler on a vCPU's
            pCPU, interrupts off, on top of whatever runs there: the vCPU's thread between any two operations with
            interrupts on, where it holds no lock that is taken with interrupts off. Several calls may be under way at
            once. It may not sleep.
        May rely on: nothing about where the target is: in its guest, on its way in or out, about to sleep, asleep,
            preempted. `vcpu` says whose interrupt `intid` is where it is private (below 32), and nothing otherwise.
        Must leave: a level pending while its line is high, an edge pending until it is acknowledged; and, if it is
            enabled, a target that hears of it: one in its guest exits, one that sleeps is woken, one on its way in
            looks once more. An edge may be acknowledged from the call on, and is owed once this has returned.
        Returns: nothing.
        """
        raise NotImplementedError


class Distributor(Role):
    """Software: what a guest's access to the distributor does."""

    def distributor(self, cpu: Cpu, vcpu: Vcpu, register: str, intid: int, value: int) -> Any:
        """A guest wrote a register of the distributor.

        Called: by the thread of the vCPU that wrote, to which its run loop sends it after an exit ("mmio", register,
            intid, value); interrupts and preemption are on, the guest is not entered before this is over.
        May rely on: `register` is sgir (`value`: mask of target CPU interfaces), spendsgir, cpendsgir (mask of source CPU
            interfaces, of the writer's own SGI), isenabler, icenabler, ispendr, icpendr, isactiver, icactiver (each for
            `intid` alone), itargetsr (`value`: number of the target) or ctlr (`value`: 0 or 1). Other vCPUs may be in
            their guests, with the interrupt in a list register.
        Must leave: the register's effect (Arm IHI 0048B, 4.3), which may be seen from the call on, and must be once the
            last call of the chain has returned: what is pending and enabled now reaches its target as after `inject`;
            what is not is forwarded to no guest that is entered after that.
        Returns: where the thread goes on: Then("vcpu_run", vcpu), or a routine of its own that ends so.
        """
        raise NotImplementedError


class RunLoop(Role):
    """The vCPU's thread: fills list registers, enters the guest, folds them back, handles exits, blocks."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The vCPU's thread: enters the guest, handles the exit, waits, and so on for ever, one short call at a time.

        Called: as the first call of the thread, which `load` has put on its pCPU; interrupts and preemption are on.
            While they are the thread may be interrupted before any operation, and preempted and moved.
        May rely on: `put` and `load` run around every time off the pCPU; the GICH registers of the pCPU are the
            thread's from where it turns preemption or interrupts off until it turns them on, but for the guest;
            `cpu.enter_guest(vcpu)` answers the reason of the next exit (`VirtualInterface.instruction` has the list),
            the interrupt flag as it was at entry.
        Must leave: a guest that is entered with all that is pending for it in list registers, or asked for by a
            maintenance interrupt where they are too few, and with nothing that came after the look at it but what makes
            it exit. On ("wfi",) the thread blocks until there is an interrupt that ends the wait: `prepare_to_block`, a
            look, `schedule` (interrupts and preemption on, no lock held). On ("mmio", register, intid, value) it goes
            to `distributor`; on ("device_quiet", intid) the line goes low, as by `inject`; on ("deactivate", what GICV_IAR
            answered), which it gets only where it set GICH_HCR.TDIR, that interrupt is active no more. On any other
            reason it goes round again.
        Returns: where the thread goes on, Then(routine, vcpu, ...): a thread that just returns is gone for good. What
            outlives a call lies in declared locations.
        """
        raise NotImplementedError


class Residency(Role):
    """The scheduler's hooks: what happens to the CPU interface and the vPE as the vCPU's thread comes and goes."""

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """The vCPU's thread is on a pCPU again.

        Called: by the scheduler on pCPU `where`, which need not be the one that the thread left, before the thread goes
            on; and once for each vCPU before the scenario begins, undisturbed, unless it begins unloaded.
            Interrupts are on, preemption is off.
        May rely on: no `put` of this vCPU is under way; one has run since the thread last did, except the first time.
            Whatever the GICH registers here hold is somebody else's.
        Must leave: VMCR and APR here as the vCPU's guest left them, and with GICv4 the vPE resident here, the ITS told
            first (`vpe_affinity`), unless the thread is on its way to sleep: then making it resident would cost it the
            doorbell.
        Returns: nothing, or Then(...) for more of the same: the thread goes on after the last of it.
        """
        raise NotImplementedError

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> Any:
        """The vCPU's thread is leaving its pCPU.

        Called: by the scheduler on the pCPU that is left, `cpu.id()`, interrupts off: what arrives there waits.
            `preempted` is False where the thread sleeps, by its own `schedule`. It is True where it may run on, between
            any two of its operations, even if it has announced its sleep: then it comes back, and sleeps.
        May rely on: the vCPU is not in its guest; whoever wakes it from now on makes it runnable.
        Must leave: VMCR and APR in memory of its own, for the next vCPU overwrites them here, and with GICv4 the vPE
            not resident, with a doorbell if the thread sleeps. It may not sleep, nor wait for another thread of this
            pCPU.
        Returns: nothing, or Then(...) for more of the same.
        """
        raise NotImplementedError


ROLES: Mapping[str, type[Role]] = {
    "virtual_interface": VirtualInterface,
    "its": Its,
    "injector": Injector,
    "distributor": Distributor,
    "run_loop": RunLoop,
    "residency": Residency,
}

__all__ = ["Cpu", "Field", "Places", "Shared", "Then", "Vcpu", "World"]
