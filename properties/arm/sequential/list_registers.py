"""List registers: their layout, their four states, and which of them are free (IHI 0048B, GICH_LRn, GICH_ELRSR, GICH_EISR)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hypothesis import assume
from hypothesis import strategies as st

from conformance.automaton.alone import run_alone
from conformance.roles.arm import LPI
from conformance.roles.operations import Value
from properties import function as sequential
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
from properties.function import BrokenError, Property, Ran, Subject
from properties.x86.sequential.state import one_of

CHECKS: dict[str, Property] = {}
clause = partial(sequential.clause, CHECKS, architecture="arm")

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


@clause("GICV2-LR-1", PRIVATE, one_pending, which)
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


@clause("GICV2-LR-2", PRIVATE, states((PENDING, ACTIVE, INVALID), **OPEN), choices)
def acknowledge(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    assume(manual.offered(state))
    acknowledged(subject, state, taken)


@clause("GICV2-LR-3", PRIVATE, ended, which)
def end_of_interrupt(subject: Subject, state: State, n: int) -> None:
    lr = state.lrs[n]
    assume(lr.state in (ACTIVE, PENDING_AND_ACTIVE))
    subject.run(state, "instruction", EOI, lr.told).must(manual.end_of_interrupt(state, lr.told), *ALL)


@clause("GICV2-LR-4", PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE, INVALID), **EOIMODE1), which, one_of((EOI, DIR)))
def split_end_of_interrupt(subject: Subject, state: State, n: int, what: str) -> None:
    told = state.lrs[n].told
    assume(state.lrs[n].state in (ACTIVE, PENDING_AND_ACTIVE))
    due = manual.end_of_interrupt(state, told) if what == EOI else manual.directed_deactivate(state, told)
    subject.run(state, "instruction", what, told).must(due, *ALL)


@clause("GICV2-LR-5", PRIVATE, states((ACTIVE, PENDING_AND_ACTIVE, INVALID), **OPEN), choices)
def active_is_no_candidate(subject: Subject, state: State, taken: tuple[int, ...]) -> None:
    must_offer(subject, state)
    acknowledged(subject, state, taken)


UNRELATED = (("write_pmr", 0x50), ("write_ctlr", 0x201), ("mask",), ("unmask",), ("wfi",), ("pause",), (EOI, LPI))
LOOKS = ("misr", "eisr", "elrsr", "maintenance")


@clause("GICV2-LR-6", PRIVATE, states(), one_of(UNRELATED))
def nothing_by_itself(subject: Subject, state: State, action: tuple[str | int, ...]) -> None:
    """Entry, instructions that complete nothing, exits and looks leave every list register alone."""
    for routine, args in (("vm_entry", ()), ("boundary", ((),)), ("acknowledge", (34,)), ("instruction", action)):
        subject.run(state, routine, *args).must(state, "lrs")
    for register in LOOKS:
        read(subject, state, register)


@clause("GICV2-LR-7", PRIVATE, states((ACTIVE,)), which)
def linked(subject: Subject, state: State, n: int) -> None:
    lr = state.lrs[n]
    assume(lr.physical is not None)
    what = DIR if state.eoi_mode else EOI
    ran = subject.run(state, "instruction", what, lr.told)
    ran.must(manual.deactivate(state, lr.told), "physical_active")


@clause("GICV2-ELR-1", PRIVATE, states())
def empty_list_registers(subject: Subject, state: State) -> None:
    must_read(subject, state, "elrsr", manual.elrsr(state))


@clause("GICV2-EIS-1", PRIVATE, states(), which, st.booleans())
def end_of_interrupt_status(subject: Subject, state: State, n: int, rewritten: bool) -> None:
    if rewritten:
        state = state.with_lr(n, state=PENDING)
    must_read(subject, state, "eisr", manual.eisr(state))


@clause("GICV2-EIS-2", PRIVATE, states((PENDING_AND_ACTIVE, INVALID), **EOIMODE0), which, flag)
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
