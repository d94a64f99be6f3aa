"""List registers: their layout, their four states, and which of them are free (IHI 0048B, GICH_LRn, GICH_ELRSR, GICH_EISR)."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume
from hypothesis import strategies as st

from conformance.automaton.alone import run_alone
from conformance.roles.arm import LPI
from conformance.roles.operations import Value
from properties.arm.catalogue import IHI_0048, IHI_0069, KERNEL, LINUX, LIST_REGISTERS, QEMU, REGISTERS
from properties.arm.sequential import manual
from properties.arm.sequential.state import (
    ACTIVE,
    DIR,
    EOI,
    EOIMODE0,
    EOIMODE1,
    INVALID,
    OPEN,
    PENDING,
    PENDING_AND_ACTIVE,
    Lr,
    State,
    choices,
    flag,
    states,
    which,
)
from properties.function import BrokenError, Property, Ran, Subject, function
from properties.x86.sequential.state import one_of

CHECKS: dict[str, Property] = {}

ALL = ("lrs", "apr", "eoi_count", "physical_active")
PRIVATE = "virtual_interface"


def read(subject: Subject, state: State, register: str) -> Value:
    """What a routine that looks answers for pCPU 0. Raises BrokenError if it changes anything."""
    alone = run_alone(subject.assembly(), register, (0,), state.memory())
    if alone.changes:
        raise BrokenError(f"{register}(0) on {state}: due is that it only looks; it changes {alone.changes[0].at}")
    value = alone.answer.value
    return value if isinstance(value, int) else 0


def must_read(subject: Subject, state: State, register: str, due: int) -> None:
    found = read(subject, state, register)
    if found != due:
        raise BrokenError(f"{register}(0) on {state}: due is {due:#x}; found {found:#x}")


def answers(ran: Ran[State], due: tuple[int, ...]) -> None:
    """What the guest read from GICV_IAR."""
    if ran.alone.delivered != due:
        found = ", ".join(f"{told:#x}" for told in ran.alone.delivered) or "nothing"
        ran.broken(f"due is that GICV_IAR answers {', '.join(f'{told:#x}' for told in due)}; it answers {found}")


def must_offer(subject: Subject, state: State) -> None:
    """The virtual IRQ is taken if and only if the manual asserts it."""
    ran = subject.run(state, "boundary", ())
    due = bool(manual.offered(state)) and not state.pstate_i
    if (ran.alone.answer.value == ("deliver",)) != due:
        ran.broken(f"due is that {'the' if due else 'no'} virtual IRQ is taken; the answer is {ran.alone.answer.value}")


def acknowledged(subject: Subject, state: State, taken: tuple[int, ...] = ()) -> Ran[State]:
    """The guest takes its virtual IRQ; what came of it is that of one of those that may be taken."""
    ran = subject.run(state, "deliver", choices=taken)
    ways = {n: manual.acknowledge(state, n) for n in sorted(manual.offered(state))}
    told = {n: (state.lrs[n].told,) for n in ways}
    fits = [n for n in ways if ran.alone.delivered == told[n]]
    answers(ran, ran.alone.delivered if fits else next(iter(told.values()), (manual.SPURIOUS,)))
    ran.must(ways[fits[0]] if fits else replace(state, pstate_i=1, halted=0), *ALL, "pstate_i")
    return ran


one_pending = states((PENDING,), **OPEN).map(lambda s: s.with_lr(1, state=INVALID))
ended = states((ACTIVE, PENDING_AND_ACTIVE, INVALID, PENDING), **EOIMODE0)


GICV2_LR_1 = LIST_REGISTERS.alone.must(
    "GICV2-LR-1",
    "GICH_LRn: VirtualID in bits 9:0, Priority in 27:23, State in 29:28 (0 invalid, 1 pending, 2 active, 3 both), "
    "Grp1 in 30, HW in 31; with HW=1 PhysicalID in 19:10, with HW=0 CPUID in 12:10 and EOI in 19.",
    REGISTERS("GICH_LR<n>", "HW, Group and State"),
    IHI_0048("5.3, GICH_LRn", "the other fields"),
    LINUX("include/linux/irqchip/arm-gic.h GICH_LR_*"),
    observe=(
        "One pending interrupt in a raw word: what IAR answers, which PMR and group enable admit it, what EISR says "
        "when it has ended, which physical interrupt its end deactivates."
    ),
)


@function(CHECKS, GICV2_LR_1, PRIVATE, one_pending, which)
def layout(subject: Subject, state: State, n: int) -> None:
    """One pending interrupt, anywhere: each field is seen to do its work, and nothing else does it."""
    lr = state.lrs[0]
    state = replace(State(lrs=(lr, Lr()) if n == 0 else (Lr(), lr)), **OPEN, bpr=2, abpr=3)
    for pmr, enabled in ((lr.priority + 1, lr.group), (lr.priority, lr.group), (lr.priority + 1, 1 - lr.group)):
        at = replace(state, pmr=min(pmr, 0x1F), enable0=int(enabled == 0), enable1=int(enabled == 1))
        must_offer(subject, at)
        if manual.offered(at):
            acknowledged(subject, at)
    invalid = state.with_lr(n, state=INVALID)
    must_read(subject, invalid, "eisr", manual.eisr(invalid))
    active = replace(state.with_lr(n, state=ACTIVE), eoi_mode=1, physical_active=frozenset({16, 27, 40, 63}))
    subject.run(active, "instruction", DIR, lr.told).must(manual.directed_deactivate(active, lr.told), *ALL)


GICV2_LR_2 = LIST_REGISTERS.alone.must(
    "GICV2-LR-2",
    "A read of IAR moves the interrupt it answers from pending to active and answers its VirtualID, for an SGI "
    "with the CPUID in bits 12:10.",
    REGISTERS("GICV_IAR"),
    observe="The list registers before and after the read; all others are as they were.",
)


@function(CHECKS, GICV2_LR_2, PRIVATE, states((PENDING, ACTIVE, INVALID), **OPEN), choices)
def acknowledge(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    assume(manual.offered(state))
    acknowledged(subject, state, taken)


GICV2_LR_3 = LIST_REGISTERS.alone.must(
    "GICV2-LR-3",
    "With EOImode=0 a write of EOIR for an active interrupt drops the running priority and deactivates: active "
    "becomes invalid, pending and active becomes pending.",
    REGISTERS("GICV_EOIR"),
    observe="List registers and APR before and after the write.",
)


@function(CHECKS, GICV2_LR_3, PRIVATE, ended, which)
def end_of_interrupt(subject: Subject, state: State, n: int) -> None:
    lr = state.lrs[n]
    assume(lr.state in (ACTIVE, PENDING_AND_ACTIVE))
    subject.run(state, "instruction", EOI, lr.told).must(manual.end_of_interrupt(state, lr.told), *ALL)


GICV2_LR_4 = LIST_REGISTERS.alone.must(
    "GICV2-LR-4",
    "With EOImode=1 a write of EOIR only drops the running priority, and a write of DIR deactivates.",
    REGISTERS("GICV_EOIR"),
    IHI_0048("5.5, GICV_DIR"),
    observe="List registers and APR before and after each write.",
)


@function(
    CHECKS, GICV2_LR_4, PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE, INVALID), **EOIMODE1), which, one_of((EOI, DIR))
)
def split_end_of_interrupt(subject: Subject, state: State, n: int, what: str) -> None:
    told = state.lrs[n].told
    assume(state.lrs[n].state in (ACTIVE, PENDING_AND_ACTIVE))
    due = manual.end_of_interrupt(state, told) if what == EOI else manual.directed_deactivate(state, told)
    subject.run(state, "instruction", what, told).must(due, *ALL)


GICV2_LR_5 = LIST_REGISTERS.alone.must_not(
    "GICV2-LR-5",
    "An interrupt that is active, or pending and active, is not offered again before it was deactivated.",
    IHI_0069("pseudocode HighestPriorityVirtualInterrupt", "quoted in QEMU 7.2"),
    QEMU("hw/intc/arm_gicv3_cpuif.c hppvi_index()"),
    observe="No virtual IRQ, and IAR answers 1023, where no list register is in state pending.",
)


@function(CHECKS, GICV2_LR_5, PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE, INVALID), **OPEN), choices)
def active_is_no_candidate(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    must_offer(subject, state)
    acknowledged(subject, state, taken)


UNRELATED = (("write_pmr", 0x50), ("write_ctlr", 0x201), ("mask",), ("unmask",), ("wfi",), ("pause",), (EOI, LPI))
LOOKS = ("misr", "eisr", "elrsr", "maintenance")


GICV2_LR_6 = LIST_REGISTERS.alone.must_not(
    "GICV2-LR-6",
    "No list register changes otherwise than by what the guest reads and writes there: entry, exit, masking and "
    "reading status leave it alone.",
    IHI_0048("5.2"),
    observe="The list registers before and after entry, boundary, exit, unrelated instructions and looks.",
)


@function(CHECKS, GICV2_LR_6, PRIVATE, states(), one_of(UNRELATED))
def nothing_by_itself(subject: Subject, state: State, action: tuple[str | int, ...]) -> None:
    """Entry, instructions that complete nothing, exits and looks leave every list register alone."""
    for routine, args in (("vm_entry", ()), ("boundary", ((),)), ("acknowledge", (34,)), ("instruction", action)):
        subject.run(state, routine, *args).must(state, "lrs")
    for register in LOOKS:
        read(subject, state, register)


GICV2_LR_7 = LIST_REGISTERS.alone.must(
    "GICV2-LR-7",
    "The guest's deactivation of an interrupt with HW=1 deactivates the physical interrupt named by PhysicalID.",
    REGISTERS("GICH_LR<n>, HW"),
    REGISTERS("GICV_EOIR"),
    premise="a physical interrupt below 64, on the pCPU that runs the vCPU",
    observe="Which physical interrupts are active before and after EOIR or DIR.",
)


@function(CHECKS, GICV2_LR_7, PRIVATE, states((ACTIVE,)), which)
def linked(subject: Subject, state: State, n: int) -> None:
    lr = state.lrs[n]
    assume(lr.physical is not None)
    what = DIR if state.eoi_mode else EOI
    ran = subject.run(state, "instruction", what, lr.told)
    ran.must(manual.deactivate(state, lr.told), "physical_active")


GICV2_LR_14 = LIST_REGISTERS.alone.must(
    "GICV2-LR-14",
    "The active state of a physical SPI is one for all CPUs, that of a physical PPI each CPU's own: the guest's deactivation "
    "ends the one whichever CPU acknowledged it, and the other on the CPU that runs the vCPU alone.",
    IHI_0048("4.3.9, GICD_ISACTIVERn", "GICD_ISACTIVER0 is banked for each CPU"),
    premise="an interrupt with HW=1 and PhysicalID below 64",
    observe="Which physical interrupts are active on each CPU before and after EOIR or DIR.",
)
PPIS = 1 << 16 | 1 << 27


@function(CHECKS, GICV2_LR_14, PRIVATE, states((ACTIVE,)), which)
def active_on_which_cpu(subject: Subject, state: State, n: int) -> None:
    """The other CPUs have the same PPIs active."""
    lr = state.lrs[n]
    assume(lr.physical is not None)
    what = DIR if state.eoi_mode else EOI
    others = {f"cpu{other}.physical_active": PPIS for other in (1, 2)}
    ran = subject.run(state, "instruction", what, lr.told, also=others)
    ran.must(manual.deactivate(state, lr.told), "physical_active")
    for at in others:
        if ran.alone.memory[at] != PPIS:
            ran.broken(f"due is that {at} stays {PPIS:#x}; found {ran.alone.memory[at]}")


GICV2_ELR_1 = LIST_REGISTERS.alone.must(
    "GICV2-ELR-1",
    "ELRSR[n] is 1 if and only if LRn is invalid and was not left with news of an end: HW=1 or EOI=0.",
    REGISTERS("GICH_ELRSR"),
    observe="ELRSR against all list registers.",
)


@function(CHECKS, GICV2_ELR_1, PRIVATE, states())
def empty_list_registers(subject: Subject, state: State) -> None:
    must_read(subject, state, "elrsr", manual.elrsr(state))


GICV2_EIS_1 = LIST_REGISTERS.alone.must(
    "GICV2-EIS-1",
    "EISR[n] is 1 if and only if LRn is invalid with HW=0 and EOI=1; rewriting LRn clears it.",
    REGISTERS("GICH_EISR"),
    observe="EISR against all list registers, before and after one is rewritten.",
)


@function(CHECKS, GICV2_EIS_1, PRIVATE, states(), which, st.booleans())
def end_of_interrupt_status(subject: Subject, state: State, n: int, rewritten: bool) -> None:
    if rewritten:
        state = state.with_lr(n, state=PENDING)
    must_read(subject, state, "eisr", manual.eisr(state))


GICV2_EIS_2 = LIST_REGISTERS.alone.must(
    "GICV2-EIS-2",
    "The first end of an interrupt that is pending and active leaves it pending: there is no news of an end yet, "
    "though EOI=1.",
    REGISTERS("GICH_EISR", "of a list register whose State is 0 only"),
    KERNEL("67b5b673ad4d (2018)", "about its consequence"),
    observe="EISR after the first and after the second EOIR.",
)


@function(CHECKS, GICV2_EIS_2, PRIVATE, states((PENDING_AND_ACTIVE, INVALID), **EOIMODE0), which, flag)
def first_end_of_two(subject: Subject, state: State, n: int, quiet: int) -> None:
    """The first end leaves the interrupt pending and no news of an end; the second one does, if LR.EOI asks for it."""
    lr = state.lrs[n]
    assume(lr.state == PENDING_AND_ACTIVE)
    state = state.with_lr(n, eoi=1 - quiet)
    first = subject.run(state, "instruction", EOI, lr.told)
    must_read(subject, first.after, "eisr", manual.eisr(manual.end_of_interrupt(state, lr.told)))
    again = replace(first.after.with_lr(n, state=ACTIVE), pstate_i=1)
    second = subject.run(again, "instruction", EOI, lr.told)
    must_read(subject, second.after, "eisr", manual.eisr(manual.end_of_interrupt(again, lr.told)))
