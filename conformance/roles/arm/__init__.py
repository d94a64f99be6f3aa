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

from conformance.roles import role
from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.role import Places
from conformance.roles.scenario import Scenario

KICK = 1
"""Host SGI that only forces an exit (Linux: IPI_RESCHEDULE)."""
MAINTENANCE = 25
"""The maintenance interrupt: a PPI, and a level."""
DEVICE = 34
"""A device's host interrupt, whose handler injects from hard-interrupt context."""
DOORBELL = 48
"""The doorbell of vcpu0's vPE; vcpu1's is the next one. An LPI in hardware; a small number stands for it here."""

SGI, PPI, LEVEL, EDGE, EDGE2, LPI = 3, 27, 40, 41, 42, 8192
"""The interrupts of most scenarios: a software-generated one, private, level-sensitive, edge-triggered (two), an LPI."""
PRIORITIES: Mapping[int, int] = {SGI: 0x0C, EDGE2: 0x10}
"""Priorities that are not the 0x14 of all others, in the five bits of a list register."""
SPURIOUS = 1023

PENDING, ACTIVE = 1, 2
"""Bits of LR.State."""


class ListRegister:
    """Fields of GICH_LRn (Arm IHI 0048B, 5.3; number from memory). CPUID and EOI share bits with PhysicalID: HW says."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.virtual_id = Field(at, 0x3FF)
        self.physical_id = Field(at, 0x3FF << 10, 10)
        self.cpuid = Field(at, 7 << 10, 10)
        self.eoi = Field(at, 1 << 19, 19)
        self.priority = Field(at, 0x1F << 23, 23)
        self.state = Field(at, 3 << 28, 28)
        self.group1 = Field(at, 1 << 30, 30)
        self.hw = Field(at, 1 << 31, 31)


def lr_word(
    intid: int,
    state: int,
    *,
    priority: int = 0x14,
    cpuid: int = 0,
    eoi: bool = False,
    group1: bool = False,
    hw: int | None = None,
) -> int:
    """A GICH_LRn word. `priority` has 5 bits; `hw` is the physical interrupt's number where the LR is linked to one."""
    word = intid | (priority & 0x1F) << 23 | state << 28 | group1 << 30
    return word | (1 << 31 | hw << 10 if hw is not None else cpuid << 10 | eoi << 19)  # fmt: skip


class Hcr:
    """Fields of GICH_HCR (IHI 0048B, 5.3)."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.en, self.uie, self.lrenpie, self.npie = (Field(at, 1 << n, n) for n in range(4))
        self.vgrp0eie, self.vgrp0die, self.vgrp1eie, self.vgrp1die = (Field(at, 1 << n, n) for n in range(4, 8))
        self.eoi_count = Field(at, 0x1F << 27, 27)


HCR_EN, HCR_UIE, HCR_LRENPIE, HCR_NPIE = 1, 2, 4, 8
MISR_EOI, MISR_U, MISR_LRENP, MISR_NP = 1, 2, 4, 8


class Vmcr:
    """Fields of GICH_VMCR (IHI 0048B, 5.3): what GICV_CTLR, GICV_PMR, GICV_BPR and GICV_ABPR show the guest."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.enable0, self.enable1, self.ack_ctl, self.fiq_en, self.cbpr = (Field(at, 1 << n, n) for n in range(5))
        self.eoi_mode = Field(at, 1 << 9, 9)
        self.abpr = Field(at, 7 << 18, 18)
        self.bpr = Field(at, 7 << 21, 21)
        self.pmr = Field(at, 0x1F << 27, 27)


VMCR_RESET = 1 | 1 << 1 | 2 << 21 | 0x1F << 27
"""Both groups enabled, the whole range of priorities unmasked, 5 bits of group priority: as a guest sets it up."""
VMCR_EOIMODE = 1 << 9


class Vpendbaser:
    """Fields of GICR_VPENDBASER (Arm IHI 0069, 9.11; number from memory), and which vPE it names."""

    def __init__(self, at: str) -> None:
        self.word = Field(at)
        self.vpe = Field(at, 0xFFFF)
        self.dirty = Field(at, 1 << 60, 60)
        self.pending_last = Field(at, 1 << 61, 61)
        self.doorbell = Field(at, 1 << 62, 62)
        self.valid = Field(at, 1 << 63, 63)


VALID, DOORBELL_REQUEST, PENDING_LAST, DIRTY = 1 << 63, 1 << 62, 1 << 61, 1 << 60


def vpendbaser_word(vpe: int, valid: bool, doorbell: bool = False) -> int:
    """What GICR_VPENDBASER holds right after a write that changes Valid: hardware sets Dirty in the same step, so the
    store that stands for the write carries it. Write it whole, to `vpendbaser.word`. `doorbell` is GICv4.1's.
    """
    return vpe | DIRTY | (VALID if valid else 0) | (DOORBELL_REQUEST if doorbell else 0)


class Pcpu(Places):
    """A physical CPU: its GICH registers and, with GICv4, its redistributor's VPENDBASER."""

    def __init__(self, name: str, registers: int, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.name = name
        self.lr = tuple(ListRegister(f"{name}.lr[{n}]") for n in range(registers))
        self.hcr = Hcr(f"{name}.hcr")
        self.vmcr = Vmcr(f"{name}.vmcr")
        self.vpendbaser = Vpendbaser(f"{name}.vpendbaser")


class Vcpu(role.BaseVcpu):
    """A virtual CPU. `number` is its CPU interface number, which a GICv2 SGI carries as its source."""

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.number = int(name.removeprefix("vcpu"))


HARDWARE: Mapping[str, Shared] = {
    "hcr": Shared(0, private_to="*"),
    "vmcr": Shared(0, private_to="*"),
    "apr": Shared(0, private_to="*"),
    "physical_active": Shared(0, private_to="*"),
}
"""Per pCPU, beside lr[n]; `physical_active` is the physical distributor's: bit n, interrupt n (below 64) is active.

With GICv4 also `vpendbaser` and `vlpis`, the vLPIs that the redistributor knows to be pending for the vPE that is
resident (bit n is LPI 8192+n): the ITS touches both.
"""

ARCHITECTURAL: Mapping[str, Shared] = {
    "pstate_i": Shared(0, private_to="*"),
    "halted": Shared(0, private_to="*"),
}
"""Per vCPU: PSTATE.I, and whether the guest waits in a WFI that did not trap. With GICv4 also `vpt`, the virtual pending
table (bit n is LPI 8192+n; a resident vPE's too), `vpe_affinity`, the pCPU whose redistributor the ITS takes the vPE to
be at (VMOVP), and `doorbell_enabled`: in 4.0 the enable of the doorbell's LPI, which software writes, in 4.1 whether
the redistributor was asked for a doorbell, which software does through VPENDBASER.
"""


class World(role.BaseWorld):
    """What a routine can name in one scenario: vCPUs, CPUs, interrupts, and what is so in it.

    Facts: `one-list-register` (else two), `gicv4` and `gicv4.1` (which implies it), `typer-dirty` (GICR_TYPER.Dirty),
    `eoi-mode-1`, `wfi-not-trapped`, `late-mi`.
    """

    vcpus: dict[str, Vcpu]
    cpus: list[Pcpu]

    def __init__(
        self,
        scenario: Scenario,
        vcpu_state: Mapping[str, Shared] | None = None,
        cpu_state: Mapping[str, Shared] | None = None,
        vm_state: Mapping[str, Shared] | None = None,
        irq_state: Mapping[str, Shared] | None = None,
    ) -> None:
        super().__init__(scenario)
        self.list_registers = 1 if self.fact("one-list-register") else 2
        self.gicv4 = self.fact("gicv4") or self.fact("gicv4.1")
        self.intids = tuple(sorted(scenario.vectors))
        self.vm = Places("vm", self._declare("vm", vm_state or {}))
        for n in range(len(scenario.vcpus)):
            v4 = self._of_vpe(scenario.vcpus[n].cpu) if self.gicv4 else {}
            declared = self._declare(f"vcpu{n}", {**ARCHITECTURAL, **v4, **(vcpu_state or {})})
            self.vcpus[f"vcpu{n}"] = Vcpu(f"vcpu{n}", declared)
        for n in range(scenario.cpus):
            v4 = {"vpendbaser": Shared(0), "vlpis": Shared(0)} if self.gicv4 else {}
            registers = {f"lr[{i}]": Shared(0, private_to="*") for i in range(self.list_registers)}
            declared = self._declare(f"cpu{n}", {**HARDWARE, **registers, **v4, **(cpu_state or {})})
            self.cpus.append(Pcpu(f"cpu{n}", self.list_registers, declared))
        self._irqs: dict[str, Places] = {}
        for owner in self._owners():
            self._irqs[owner] = Places(owner, self._declare(owner, irq_state or {}))

    def _of_vpe(self, home: int) -> dict[str, Shared]:
        return {"vpt": Shared(0), "vpe_affinity": Shared(home), "doorbell_enabled": Shared(0)}

    def _owners(self) -> list[str]:
        """Private interrupts exist once a vCPU, the others once."""
        return [
            *(f"irq{i}" for i in self.intids if i >= 32),
            *(f"{v}.irq{i}" for v in self.vcpus for i in self.intids if i < 32),
        ]

    def irq(self, vcpu: Vcpu, intid: int) -> Places:
        """The state that software keeps of an interrupt: for SGIs and PPIs, the vCPU's own."""
        return self._irqs[f"{vcpu.name}.irq{intid}" if intid < 32 else f"irq{intid}"]

    def level_sensitive(self, intid: int) -> bool:
        """Whether an interrupt is a level: `LEVEL` and PPIs are; SGIs, LPIs and other SPIs are edges."""
        return intid == LEVEL or 16 <= intid < 32

    def priority(self, intid: int) -> int:
        """The five bits of an interrupt's priority that a list register holds; a lower number goes first."""
        return PRIORITIES.get(intid, 0x14)

    def all_vcpus(self) -> tuple[Vcpu, ...]:
        return tuple(self.vcpus.values())


class Role(role.BaseRole):
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
            VALUE (GICV_CTLR), pause and mmio REGISTER INTID VALUE, a write of the distributor (`Distributor`).
        May rely on: GICH registers of this pCPU and PSTATE are the processor's alone until this returns.
        Must leave: what the manual says of EOIR, DIR, PMR and CTLR; the last write of a completion unmasks too, for the
            handler's return. A WFI does nothing where the virtual IRQ is asserted, sets `halted` with the fact
            `wfi-not-trapped`, and exits otherwise. Any other exits: `cpu.exit_guest(what, *operands)`. The reasons that
            a run loop meets beside are ("interrupt", number) and ("tick",), an exit that nothing caused.
        Returns: nothing.
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
        May rely on: `register` is sgir (`value`: mask of target CPU interfaces), isenabler, icenabler, ispendr,
            icpendr, isactiver, icactiver (each for `intid` alone), itargetsr (`value`: number of the target) or ctlr
            (`value`: 0 or 1). Other vCPUs may be in their guests, with the interrupt in a list register.
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
            to `distributor`; on ("device_quiet", intid) the line goes low, as by `inject`. On any other reason it goes
            round again.
        Returns: where the thread goes on, Then(routine, vcpu, ...): a thread that just returns is gone for good. What
            outlives a call lies in declared locations.
        """
        raise NotImplementedError


class Residency(Role):
    """The scheduler's hooks: what happens to the CPU interface and the vPE as the vCPU's thread comes and goes."""

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """The vCPU's thread is on a pCPU again.

        Called: by the scheduler on pCPU `where`, which need not be the one that the thread left, before the thread goes
            on; and once for each vCPU before the scenario begins, undisturbed, but for the fact `starts-unloaded`.
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
