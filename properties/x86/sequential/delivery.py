"""Virtual-interrupt delivery (SDM 29.1, 29.2): evaluation, delivery, virtualization of PPR, EOI, TPR and self-IPI."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.x86 import DEVICE, PINV
from properties.function import Property, Subject
from properties.x86.sequential import manual
from properties.x86.sequential.processing import HALTS, in_guest
from properties.x86.sequential.state import NONE, Operand, State, clause, one_of, operands, shown, states

CHECKS: dict[str, Property] = {}

ALL = ("pir", "on", "sn", "nv", "ndst", "virr", "visr", "rvi", "svi", "vtpr", "vppr", "recognized")


def in_guest_with(how: Operand) -> st.SearchStrategy[tuple[State, int]]:
    """A state that a running guest can be in, and an operand."""
    return operands(how, {"vppr": 0, "recognized": 0}).map(lambda case: (manual.settled(case[0]), case[1]))


open_to_interrupts = {"rflags_if": 1, "blocking_by_sti": 0, "interrupt_window": 0}


@clause(CHECKS, "VID-1", "processor", in_guest(pir=NONE))
def recognizes_higher_class(subject: Subject, state: State) -> None:
    """The evaluation that ends a processing of an empty PIR: nothing else there touches RVI, vPPR or recognition."""
    subject.run(state, "acknowledge", PINV).must(manual.evaluate(state), "recognized")


@clause(CHECKS, "VID-3", "processor", in_guest(), one_of(((), (PINV,), (DEVICE,), (DEVICE, PINV))))
def delivers_at_a_boundary(subject: Subject, state: State, pending: tuple[int, ...]) -> None:
    subject.notes.add("blocking by MOV SS is not modelled")
    ran = subject.run(state, "boundary", pending)
    if (ran.alone.answer.value == ("deliver",)) != manual.deliverable(state):
        due = "the virtual interrupt is delivered" if manual.deliverable(state) else "no virtual interrupt is delivered"
        ran.broken(f"due is that {due}; the answer is {ran.alone.answer.value}")


@clause(CHECKS, "VID-4", "processor", in_guest(**open_to_interrupts))
def delivery(subject: Subject, state: State) -> None:
    assume(state.recognized)
    ran = subject.run(state, "deliver")
    ran.must(manual.deliver(state), *ALL)
    if ran.alone.delivered != (state.rvi,):
        ran.broken(f"due is that the handlers of {shown((state.rvi,))} start; started are {shown(ran.alone.delivered)}")


@clause(CHECKS, "VID-5", "processor", states())
def ppr(subject: Subject, state: State) -> None:
    subject.run(state, "vm_entry").must(manual.virtualize_ppr(state), "vppr")


@clause(CHECKS, "VID-6", "processor", in_guest())
def end_of_interrupt(subject: Subject, state: State) -> None:
    ran = subject.run(state, "instruction", "end_of_interrupt")
    ran.must(manual.end_of_interrupt(state), *ALL)
    exits = ("eoi", state.svi) if state.svi in state.eoi_exit else ()
    if ran.alone.exit_reason != exits:
        ran.broken(f"due is {exits or 'none'} as the reason of a VM exit; found {ran.alone.exit_reason or 'none'}")


@clause(CHECKS, "VID-7", "processor", in_guest_with("vector"))
def self_ipi(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    subject.run(state, "instruction", "self_ipi", vector).must(manual.self_ipi(state, vector), *ALL)


@clause(CHECKS, "VID-8", "processor", in_guest_with("register"))
def write_tpr(subject: Subject, case: tuple[State, int]) -> None:
    state, value = case
    ran = subject.run(state, "instruction", "write_tpr", value)
    ran.must(manual.write_tpr(state, value), *ALL)
    if ran.alone.exit_reason:
        ran.broken(f"due is no VM exit; found {ran.alone.exit_reason}")


@clause(CHECKS, "VID-9", "processor", states(injected=one_of((0, 0x10, 0x20, 0xC8, 0xFF))))
def entry(subject: Subject, state: State) -> None:
    ran = subject.run(state, "vm_entry")
    ran.must(manual.enter(state), *ALL, "injected")
    first = (state.injected,) if state.injected else ()
    if ran.alone.delivered != first:
        ran.broken(f"due is that the handlers of {shown(first)} start; started are {shown(ran.alone.delivered)}")


@clause(CHECKS, "VID-11", "processor", in_guest(**open_to_interrupts, halted=1), needs=(HALTS,))
def wakes_from_hlt(subject: Subject, state: State) -> None:
    subject.notes.add("shutdown and wait-for-SIPI are not modelled")
    assume(state.recognized)
    boundary = subject.run(state, "boundary", (), facts=(HALTS,))
    if boundary.alone.answer.value != ("deliver",):
        boundary.broken(f"due is a delivery, in HLT too; the answer is {boundary.alone.answer.value}")
    subject.run(state, "deliver", facts=(HALTS,)).must(manual.deliver(state), "halted")
