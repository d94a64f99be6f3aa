"""Virtual-interrupt delivery (SDM 29.1, 29.2): evaluation, delivery, and the virtualization of PPR, EOI, TPR and self-IPI."""

from __future__ import annotations

from conformance.roles.x86 import DEVICE, PINV
from properties.sequential import manual
from properties.sequential.processing import HALTS
from properties.sequential.property import Property, Subject, clause
from properties.sequential.state import NONE, State, one_of, register, states, vector

CHECKS: dict[str, Property] = {}

ALL = ("pir", "on", "sn", "nv", "ndst", "virr", "visr", "rvi", "svi", "vtpr", "vppr", "recognized")


def reachable(state: State) -> bool:
    """Interrupt-window exiting changes outside the guest only, and the entry after that recognizes nothing."""
    return not (state.recognized and state.interrupt_window)


def due(state: State) -> bool:
    """A delivery may follow: RVI is a vector whose class is above vPPR's."""
    return manual.priority(state.rvi) > manual.priority(state.vppr)


delivering = states(due, recognized=1, rflags_if=1, blocking_by_sti=0, interrupt_window=0)


@clause(CHECKS, "VID-1", "processor", states(pir=NONE))
def recognizes_higher_class(subject: Subject, state: State) -> None:
    """The evaluation that ends a processing of an empty PIR: nothing else there touches RVI, vPPR or recognition."""
    subject.run(state, "acknowledge", PINV).must(manual.evaluate(state), "recognized")


@clause(CHECKS, "VID-3", "processor", states(reachable), one_of(((), (PINV,), (DEVICE,), (DEVICE, PINV))))
def delivers_at_a_boundary(subject: Subject, state: State, pending: tuple[int, ...]) -> None:
    """Blocking by MOV SS is not modelled: blocking by STI stands for both."""
    ran = subject.run(state, "boundary", pending)
    if (ran.alone.answer.value == ("deliver",)) != manual.deliverable(state):
        due = "the virtual interrupt is delivered" if manual.deliverable(state) else "no virtual interrupt is delivered"
        ran.broken(f"due is that {due}; the answer is {ran.alone.answer.value}")


@clause(CHECKS, "VID-4", "processor", delivering)
def delivery(subject: Subject, state: State) -> None:
    ran = subject.run(state, "deliver")
    ran.must(manual.deliver(state), *ALL)
    if ran.alone.delivered != (state.rvi,):
        ran.broken(f"due is that the guest's handler of {state.rvi:#x} starts; started were {ran.alone.delivered}")


@clause(CHECKS, "VID-5", "processor", states())
def ppr(subject: Subject, state: State) -> None:
    subject.run(state, "vm_entry").must(manual.virtualize_ppr(state), "vppr")


@clause(CHECKS, "VID-6", "processor", states())
def end_of_interrupt(subject: Subject, state: State) -> None:
    ran = subject.run(state, "instruction", "end_of_interrupt")
    ran.must(manual.end_of_interrupt(state), *ALL)
    exits = ("eoi", state.svi) if state.svi in state.eoi_exit else ()
    if ran.alone.exit_reason != exits:
        ran.broken(f"due is {f'the VM exit {exits}' if exits else 'no VM exit'}; found {ran.alone.exit_reason or 'none'}")


@clause(CHECKS, "VID-7", "processor", states(), vector)
def self_ipi(subject: Subject, state: State, vector: int) -> None:
    subject.run(state, "instruction", "self_ipi", vector).must(manual.self_ipi(state, vector), *ALL)


@clause(CHECKS, "VID-8", "processor", states(), register)
def write_tpr(subject: Subject, state: State, value: int) -> None:
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
        ran.broken(f"due is that the handlers of {first or 'nothing'} start in the entry; started were {ran.alone.delivered}")


@clause(
    CHECKS,
    "VID-11",
    "processor",
    states(due, recognized=1, rflags_if=1, blocking_by_sti=0, interrupt_window=0, halted=1),
    needs=(HALTS,),
)
def wakes_from_hlt(subject: Subject, state: State) -> None:
    """Shutdown and wait-for-SIPI are not modelled."""
    boundary = subject.run(state, "boundary", (), facts=(HALTS,))
    if boundary.alone.answer.value != ("deliver",):
        boundary.broken(f"due is a delivery, in HLT too; the answer is {boundary.alone.answer.value}")
    subject.run(state, "deliver", facts=(HALTS,)).must(manual.deliver(state), "halted")
