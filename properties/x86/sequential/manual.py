"""The manual once more: what each routine of processor and IOMMU makes of a state.

Written from Intel SDM vol. 3C, 29.1 to 29.6 in the edition whose chapter 29 it is, and from the sources that the VTD
and IPIV clauses name; independent of the executable specification, which is judged by it like anything else.
"""

from __future__ import annotations

from dataclasses import replace

from properties.x86.sequential.state import NONE, State, Vectors


def priority(vector: int) -> int:
    """The class: bits 7:4."""
    return vector >> 4


def highest(vectors: Vectors) -> int:
    return max(vectors, default=0)


def evaluate(s: State) -> State:
    return replace(s, recognized=int(s.interrupt_window == 0 and priority(s.rvi) > priority(s.vppr)))


def virtualize_ppr(s: State) -> State:
    return replace(s, vppr=s.vtpr if priority(s.vtpr) >= priority(s.svi) else s.svi & 0xF0)


def settled(s: State) -> State:
    """As the guest runs: vPPR and recognition follow from the rest, for whatever changes the rest sees to that."""
    return evaluate(virtualize_ppr(s))


def enter(s: State) -> State:
    return replace(settled(s), injected=0)


def process(s: State) -> State:
    """Posted-interrupt processing."""
    return evaluate(replace(s, on=0, pir=NONE, virr=s.virr | s.pir, rvi=max(s.rvi, highest(s.pir))))


def deliverable(s: State) -> bool:
    return bool(s.recognized and s.rflags_if and not s.blocking_by_sti and not s.interrupt_window)


def deliver(s: State) -> State:
    left = s.virr - {s.rvi}
    return replace(
        s, visr=s.visr | {s.rvi}, svi=s.rvi, vppr=s.rvi & 0xF0, virr=left, rvi=highest(left), recognized=0, halted=0
    )


def end_of_interrupt(s: State) -> State:
    """With an EOI exit, recognition stays what it was."""
    left = s.visr - {s.svi}
    ended = virtualize_ppr(replace(s, visr=left, svi=highest(left)))
    return ended if s.svi in s.eoi_exit else evaluate(ended)


def write_tpr(s: State, value: int) -> State:
    return evaluate(virtualize_ppr(replace(s, vtpr=value)))


def self_ipi(s: State, vector: int) -> State:
    return evaluate(replace(s, virr=s.virr | {vector}, rvi=max(s.rvi, vector)))


def posts_bit(s: State, vector: int) -> State:
    return replace(s, pir=s.pir | {vector})


def notifies(s: State, urgent: bool = False) -> bool:
    """Whether a post into this descriptor sets ON and sends a notification."""
    return not s.on and (urgent or not s.sn)


def decides(s: State, urgent: bool = False) -> tuple[State, int]:
    """The second half of a post: the descriptor, and how many notifications are sent."""
    return (replace(s, on=1), 1) if notifies(s, urgent) else (s, 0)


def post(s: State, vector: int, urgent: bool) -> tuple[State, int]:
    return decides(posts_bit(s, vector), urgent)


def destination(ndst: int, xapic: bool) -> int:
    """The APIC id that NDST stands for."""
    return ndst >> 8 & 0xFF if xapic else ndst
