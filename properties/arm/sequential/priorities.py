"""Priorities, preemption, groups, and GICH_VMCR as the guest's registers (IHI 0048B, 3.3 and chapter 5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hypothesis import assume

from properties.arm.catalogue import ARM_ARM, IHI_0048, IHI_0069, PRIORITY, QEMU, REGISTERS
from properties.arm.sequential import manual
from properties.arm.sequential.list_registers import ALL, PRIVATE, acknowledged, must_offer
from properties.arm.sequential.state import (
    ACTIVE,
    EOI,
    FOREIGN,
    INVALID,
    OPEN,
    PENDING,
    PENDING_AND_ACTIVE,
    PRIORITIES,
    VMCR,
    State,
    choices,
    flag,
    states,
    which,
)
from properties.function import Property, Ran, Subject, function
from properties.x86.sequential.state import Below, one_of

CHECKS: dict[str, Property] = {}


GICV2_PRI_1 = PRIORITY.alone.must(
    "GICV2-PRI-1",
    "The pending interrupt of numerically lowest priority is acknowledged first.",
    REGISTERS("GICV_IAR"),
    observe="What IAR answers against the list registers.",
)


@function(CHECKS, GICV2_PRI_1, PRIVATE, states((PENDING,), **OPEN), choices)
def highest_first(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    """Among equals either may be first."""
    assume(manual.offered(state))
    acknowledged(subject, state, taken)


running = one_of((frozenset[int](), *(frozenset({p}) for p in PRIORITIES)))
masks = one_of((0x1F, 0x1F, 0x1F, *range(0x20)))
AWAKE = {"en": 1, "enable0": 1, "enable1": 1, "fiq_en": 0, "pstate_i": 0}


GICV2_PRI_2 = PRIORITY.alone.must(
    "GICV2-PRI-2",
    "A pending interrupt is signalled only if its priority is below PMR, and its group priority, by BPR or ABPR, "
    "below the running priority.",
    REGISTERS("GICH_VMCR, VPMR, VBPR0 and VBPR1"),
    observe="The virtual IRQ against VMCR, APR and the list registers.",
)


@function(CHECKS, GICV2_PRI_2, PRIVATE, states((PENDING, INVALID), **AWAKE, apr=running, pmr=masks))
def preemption(subject: Subject, state: State) -> None:
    """An interrupt comes through if PMR admits it and its group priority is above the running one; PSTATE.I aside."""
    must_offer(subject, state)
    must_offer(subject, replace(state, pstate_i=1))


GICV2_PRI_3 = PRIORITY.alone.must(
    "GICV2-PRI-3",
    "IAR sets the bit of its group priority in APR, EOIR clears the lowest one; the running priority is the "
    "lowest that is set, or idle.",
    REGISTERS("GICV_IAR and GICV_EOIR"),
    IHI_0048("5.5, GICV_RPR"),
    observe="APR before and after; what is signalled then.",
)


@function(CHECKS, GICV2_PRI_3, PRIVATE, states((PENDING, ACTIVE), **AWAKE), choices, which)
def active_priorities(subject: Subject, state: State, taken: tuple[int, ...], n: int) -> None:
    """IAR adds a bit to APR, EOIR takes the lowest one: preempted priorities come back in order."""
    if manual.offered(state):
        state = acknowledged(subject, state, taken).after
    told = state.lrs[n].told
    assume(state.lrs[n].state in (ACTIVE, PENDING_AND_ACTIVE))
    ran = subject.run(state, "instruction", EOI, told)
    ran.must(manual.end_of_interrupt(state, told), "apr")
    must_offer(subject, ran.after)


GICV2_PRI_10 = PRIORITY.alone.must(
    "GICV2-PRI-10",
    "Taking an interrupt closes interrupts (PSTATE.I), the end of its handler, whose last write is that of EOIR or with EOImode=1 "
    "of DIR, opens them, and so does the guest itself; nothing else changes that.",
    ARM_ARM("PSTATE.I and exception return"),
    observe="PSTATE.I before and after each instruction, and after IAR is read.",
)
ENDS = ("end_of_interrupt", "deactivate")
ACTIONS = (
    *((what, told) for what in ENDS for told in FOREIGN),
    ("mask",),
    ("unmask",),
    ("write_pmr", 0x50),
    ("wfi",),
    ("pause",),
)


@function(CHECKS, GICV2_PRI_10, PRIVATE, states(), one_of(ACTIONS))
def interrupts_closed(subject: Subject, state: State, action: tuple[str | int, ...]) -> None:
    last = action[0] == ENDS[state.eoi_mode]
    due = 1 if action == ("mask",) else 0 if action == ("unmask",) or last else state.pstate_i
    assume(action[0] != "deactivate" or state.eoi_mode)
    subject.run(state, "instruction", *action).must(replace(state, pstate_i=due), "pstate_i")
    subject.run(state, "deliver", choices=(0,)).must(replace(state, pstate_i=1), "pstate_i")


GICV2_GRP_1 = PRIORITY.alone.must(
    "GICV2-GRP-1",
    "A pending interrupt of a group that is disabled does not hide one of lower priority whose group is enabled.",
    IHI_0069(
        "pseudocode HighestPriorityVirtualInterrupt",
        "quoted in QEMU 7.2 hppvi_index(); what IHI 0048B says of GICv2 is open",
    ),
    observe="The virtual IRQ and IAR with one of two groups disabled.",
)


@function(
    CHECKS,
    GICV2_GRP_1,
    PRIVATE,
    states((PENDING,), **{**OPEN, "enable0": Below(2).map(int), "enable1": Below(2).map(int)}),
)
def disabled_group_hides_nothing(subject: Subject, state: State) -> None:
    must_offer(subject, state)
    if manual.offered(state):
        acknowledged(subject, state)


GICV2_GRP_2 = PRIORITY.alone.must(
    "GICV2-GRP-2",
    "A read of IAR acknowledges and answers the pending interrupt of highest priority, unless the running priority holds it back, "
    "where it is of group 0 or AckCtl=1; one of AIAR where it is of group 1. Otherwise nothing changes, and IAR answers 1022 for "
    "group 1, AIAR 1023 for group 0.",
    IHI_0048("5.5, GICV_CTLR.AckCtl, GICV_IAR and GICV_AIAR"),
    QEMU("hw/intc/arm_gic.c gic_get_current_pending_irq()", "IAR; it has no AIAR"),
    premise="PMR admits what is pending, and its group is enabled",
    observe="What the read answers; list registers, APR and PSTATE.I before and after. A virtual FIQ's too.",
)
waiting = states((PENDING, ACTIVE, INVALID), **{**OPEN, "fiq_en": flag, "apr": running})


def admitted(state: State) -> bool:
    return all(lr.priority < state.pmr for lr in state.lrs)


@function(CHECKS, GICV2_GRP_2, PRIVATE, waiting, flag, choices)
def acknowledged_by_its_group(subject: Subject, state: State, aliased: int, taken: tuple[int, ...]) -> None:
    assume(manual.highest_pending(state) and admitted(state))
    ran = subject.run(state, "instruction", "read_aiar" if aliased else "read_iar", choices=taken)
    ways = manual.reads_and_acknowledges(state, bool(aliased))
    ran.must(ways[answered(ran, ways)], *ALL, "pstate_i")


GICV2_GRP_3 = PRIORITY.alone.must(
    "GICV2-GRP-3",
    "A read of HPPIR or AHPPIR answers the pending interrupt of highest priority, also if the running priority holds it back, or "
    "1022 and 1023 by its group as IAR and AIAR do, and changes nothing.",
    IHI_0048("5.5, GICV_CTLR.AckCtl, GICV_HPPIR and GICV_AHPPIR"),
    QEMU("hw/intc/arm_gic.c gic_get_current_pending_irq()", "HPPIR; it has no AHPPIR"),
    premise="PMR admits what is pending, and its group is enabled",
    observe="What the read answers; list registers, APR and PSTATE.I before and after.",
)


@function(CHECKS, GICV2_GRP_3, PRIVATE, waiting, flag, choices)
def only_looked_at(subject: Subject, state: State, aliased: int, taken: tuple[int, ...]) -> None:
    assume(admitted(state))
    ran = subject.run(state, "instruction", "read_ahppir" if aliased else "read_hppir", choices=taken)
    answered(ran, manual.reads(state, bool(aliased)) or {manual.SPURIOUS})
    ran.must(state, *ALL, "pstate_i")


def answered(ran: Ran[State], due: Collection[int]) -> int:
    """What the read answered, which must be one of these."""
    found = ran.alone.answer.value
    if not isinstance(found, int) or found not in due:
        ran.broken(f"due is that it answers {' or '.join(map(str, due))}; it answers {found}")
    return found


GICV2_VMCR_1 = PRIORITY.alone.must(
    "GICV2-VMCR-1",
    "GICH_VMCR and GICV_CTLR, PMR, BPR and ABPR are two views of one state.",
    REGISTERS("GICH_VMCR"),
    premise="BPR and ABPR in one direction only: no guest here writes them",
    observe="VMCR after the guest's writes; what is signalled after the hypervisor's.",
)


@function(CHECKS, GICV2_VMCR_1, PRIVATE, states(), Below(0x20), Below(0x100))
def two_views(subject: Subject, state: State, control: int, pmr: int) -> None:
    """What the guest writes to GICV_PMR and GICV_CTLR is in GICH_VMCR; what is in GICH_VMCR decides for the guest."""
    written = subject.run(state, "instruction", "write_pmr", pmr)
    written.must(replace(state, pmr=pmr // 8), *VMCR)
    bits = {name: control >> n & 1 for n, name in enumerate(("enable0", "enable1", "ack_ctl", "fiq_en", "cbpr"))}
    eoi_mode = control & 1
    written = subject.run(state, "instruction", "write_ctlr", control | eoi_mode << 9)
    written.must(replace(state, **bits, eoi_mode=eoi_mode), *VMCR)
    must_offer(subject, replace(written.after, pstate_i=0))
