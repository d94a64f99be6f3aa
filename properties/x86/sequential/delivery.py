"""Virtual-interrupt delivery (SDM 29.1, 29.2): evaluation, delivery, virtualization of PPR, EOI, TPR and self-IPI."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.x86 import DEVICE, PINV
from properties.function import Property, Subject, function
from properties.x86.catalogue import BOCHS, DELIVERY, KVM_UNIT_TESTS, SDM
from properties.x86.sequential import manual
from properties.x86.sequential.processing import HALTS, in_guest
from properties.x86.sequential.state import NONE, Operand, State, one_of, operands, shown, states

CHECKS: dict[str, Property] = {}

ALL = ("pir", "on", "sn", "nv", "ndst", "virr", "visr", "rvi", "svi", "vtpr", "vppr", "recognized")


def in_guest_with(how: Operand) -> st.SearchStrategy[tuple[State, int]]:
    """A state that a running guest can be in, and an operand."""
    return operands(how, {"vppr": 0, "recognized": 0}).map(lambda case: (manual.settled(case[0]), case[1]))


open_to_interrupts = {"rflags_if": 1, "blocking_by_sti": 0, "interrupt_window": 0}


VID_1 = DELIVERY.alone.must(
    "VID-1",
    "An evaluation recognizes a pending virtual interrupt exactly if interrupt-window exiting is 0 and RVI[7:4] "
    "is greater than vPPR[7:4].",
    SDM("29.2.1"),
    observe="Recognized after an evaluation, against RVI, vPPR and the control, over all classes.",
)


@function(CHECKS, VID_1, "processor", in_guest(pir=NONE))
def recognizes_higher_class(subject: Subject, state: State) -> None:
    """The evaluation that ends a processing of an empty PIR: nothing else there touches RVI, vPPR or recognition."""
    subject.run(state, "acknowledge", PINV).must(manual.evaluate(state), "recognized")


VID_3 = DELIVERY.alone.must(
    "VID-3",
    "A recognized interrupt is delivered at an instruction boundary exactly when RFLAGS.IF is 1, neither STI nor "
    "MOV SS blocks, and interrupt-window exiting is 0.",
    SDM("29.2.2"),
    observe="Whether delivery is enabled, over all settings of recognized, IF, the two blockings and the control.",
)


@function(CHECKS, VID_3, "processor", in_guest(), one_of(((), (PINV,), (DEVICE,), (DEVICE, PINV))))
def delivers_at_a_boundary(subject: Subject, state: State, pending: tuple[int, ...]) -> None:
    subject.notes.add("blocking by MOV SS is not modelled")
    ran = subject.run(state, "boundary", pending)
    if (ran.alone.answer.value == ("deliver",)) != manual.deliverable(state):
        due = "the virtual interrupt is delivered" if manual.deliverable(state) else "no virtual interrupt is delivered"
        ran.broken(f"due is that {due}; the answer is {ran.alone.answer.value}")


VID_4 = DELIVERY.alone.must(
    "VID-4",
    "Delivery takes v=RVI: vISR[v] becomes 1, SVI v, vPPR v&F0H, vIRR[v] 0, RVI the highest vector left in vIRR "
    "or 0. Recognition ends.",
    SDM("29.2.2"),
    observe="State after a delivery against state before it.",
)


@function(CHECKS, VID_4, "processor", in_guest(**open_to_interrupts))
def delivery(subject: Subject, state: State) -> None:
    assume(state.recognized)
    ran = subject.run(state, "deliver")
    ran.must(manual.deliver(state), *ALL)
    if ran.alone.delivered != (state.rvi,):
        ran.broken(f"due is that the handlers of {shown((state.rvi,))} start; started are {shown(ran.alone.delivered)}")


VID_5 = DELIVERY.alone.must(
    "VID-5",
    "PPR virtualization sets vPPR to vTPR&FFH if vTPR[7:4] >= SVI[7:4], else to SVI&F0H.",
    SDM("29.1.3"),
    BOCHS("VMX_PPR_Virtualization"),
    observe="vPPR over all vTPR and SVI.",
)


@function(CHECKS, VID_5, "processor", states())
def ppr(subject: Subject, state: State) -> None:
    subject.run(state, "vm_entry").must(manual.virtualize_ppr(state), "vppr")


VID_6 = DELIVERY.alone.must(
    "VID-6",
    "EOI virtualization takes v=SVI, clears vISR[v], sets SVI to the highest vector left in vISR or 0 and "
    "virtualizes PPR. If v is in the EOI-exit bitmap a trap-like exit with v follows; otherwise pending virtual "
    "interrupts are evaluated.",
    SDM("29.1.4"),
    observe="State after an EOI against state before it, and exactly one of exit and evaluation.",
)


@function(CHECKS, VID_6, "processor", in_guest())
def end_of_interrupt(subject: Subject, state: State) -> None:
    ran = subject.run(state, "instruction", "end_of_interrupt")
    ran.must(manual.end_of_interrupt(state), *ALL)
    exits = ("eoi", state.svi) if state.svi in state.eoi_exit else ()
    if ran.alone.exit_reason != exits:
        ran.broken(f"due is {exits or 'none'} as the reason of a VM exit; found {ran.alone.exit_reason or 'none'}")


VID_7 = DELIVERY.alone.must(
    "VID-7",
    "Self-IPI virtualization of v sets vIRR[v], raises RVI to v if that is larger, and evaluates.",
    SDM("29.1.5"),
    observe="State after a self-IPI against state before it.",
)


@function(CHECKS, VID_7, "processor", in_guest_with("vector"))
def self_ipi(subject: Subject, case: tuple[State, int]) -> None:
    state, vector = case
    subject.run(state, "instruction", "self_ipi", vector).must(manual.self_ipi(state, vector), *ALL)


VID_8 = DELIVERY.alone.must(
    "VID-8",
    "With virtual-interrupt delivery a write of the TPR virtualizes PPR and then evaluates; there is no "
    "TPR-threshold exit.",
    SDM("29.1.2"),
    observe="State after a vTPR write, in particular a lower vTPR that makes a pending vector deliverable.",
)


@function(CHECKS, VID_8, "processor", in_guest_with("register"))
def write_tpr(subject: Subject, case: tuple[State, int]) -> None:
    state, value = case
    ran = subject.run(state, "instruction", "write_tpr", value)
    ran.must(manual.write_tpr(state, value), *ALL)
    if ran.alone.exit_reason:
        ran.broken(f"due is no VM exit; found {ran.alone.exit_reason}")


VID_9 = DELIVERY.alone.must(
    "VID-9",
    "VM entry with virtual-interrupt delivery virtualizes PPR and evaluates. A recognized interrupt is delivered "
    "after the injected event, if there is one.",
    SDM("29.1.3 and 29.2.1"),
    SDM("26.3.2.5", "quoted in the message of ACRN 7f2b9a1c7, which relies on it", read=False),
    observe="vPPR and recognition after an entry with any RVI, SVI and vTPR; an injected event is first.",
)


@function(CHECKS, VID_9, "processor", states(injected=one_of((0, 0x10, 0x20, 0xC8, 0xFF))))
def entry(subject: Subject, state: State) -> None:
    ran = subject.run(state, "vm_entry")
    ran.must(manual.enter(state), *ALL, "injected")
    first = (state.injected,) if state.injected else ()
    if ran.alone.delivered != first:
        ran.broken(f"due is that the handlers of {shown(first)} start; started are {shown(ran.alone.delivered)}")


VID_11 = DELIVERY.alone.must(
    "VID-11",
    "Delivery of a virtual interrupt wakes the processor from HLT, but not from shutdown or wait-for-SIPI.",
    SDM("29.2.2"),
    KVM_UNIT_TESTS("x86/vmx_tests.c vmx_hlt_with_rvi_test"),
    premise="HLT not intercepted",
    observe="Activity state and delivery, from each activity state with a deliverable interrupt.",
)


@function(CHECKS, VID_11, "processor", in_guest(**open_to_interrupts, halted=1), needs=(HALTS,))
def wakes_from_hlt(subject: Subject, state: State) -> None:
    subject.notes.add("shutdown and wait-for-SIPI are not modelled")
    assume(state.recognized)
    boundary = subject.run(state, "boundary", (), facts=(HALTS,))
    if boundary.alone.answer.value != ("deliver",):
        boundary.broken(f"due is a delivery, in HLT too; the answer is {boundary.alone.answer.value}")
    subject.run(state, "deliver", facts=(HALTS,)).must(manual.deliver(state), "halted")
