"""L1's notifications: each moves what is posted to its own L2 once, or is an interrupt to L1.

One monitor a vCPU. It counts PINV12s that were sent to the vCPU, by the calls of L0's sender, and takes one off where the
processor acknowledges NPINV in L2, where L0 clears ON12, and where L1 is delivered PINV12. What is moved out of PIR12 is `paid`
for if there was one to take off. If there was not, it is wrong only where L1 or L2 can tell: the last notification may have been
slow. It was not where L1 has seen that a bit in PIR12 is clear, or L2 has been delivered something, before the vector was posted.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.nested import L2, NPINV, PINV12, POSTING
from conformance.roles.scenario import Scenario
from properties.nested.catalogue import (
    CHRISTOPHERSON,
    CHRISTOPHERSON_2,
    KERNEL,
    KVM_LIST,
    KVM_NESTED,
    LINUX,
    MATTSON,
    SDM,
    VMX,
)
from properties.nested.monitors.levels import HARDWARE, bit, in_l2, notification, of, on12, posting, settled, wide, word

KVM_NST_1 = KVM_NESTED.must_not(
    "KVM-NST-1",
    "L0 does not act on PIR12 and ON12, which lie in L1's memory, before L1 has sent PINV12 to the vCPU.",
    SDM("29.6", "only the notification starts posted-interrupt processing"),
    LINUX(f"{VMX} vmx_deliver_nested_posted_interrupt", "comment"),
    premise="L1 posts, and notifies nobody",
    observe="What L0's software moves out of PIR12 of a vCPU that was never sent PINV12.",
)

KVM_NST_5 = KVM_NESTED.must(
    "KVM-NST-5",
    "PINV12 that waits in L1's vIRR when L1 enters L2 starts posted-interrupt processing for L2, and is no interrupt to L1.",
    SDM("29.6, step 1"),
    KERNEL("25bb2cf97139 (2020)"),
    premise="PINV12 waits in L1's vIRR at an entry to L2",
    observe="At rest it does not wait there while L2 runs; and L1 is delivered none of it between its vmlaunch and L2's exit.",
)

KVM_NST_6 = KVM_NESTED.must(
    "KVM-NST-6",
    "PINV12 that is found pending for L1 while L2 is active starts posted-interrupt processing, not an exit to L1.",
    SDM("29.6, steps 1 and 2"),
    KERNEL("6e0b456547f4 (2024)"),
    premise="PINV12 comes to L1's vIRR while L2 is active",
    observe=(
        "Deliveries of PINV12 to L1 after its vmlaunch, before L2 exits or another interrupt takes L1 out of it; and PINV12 in L1's "
        "vIRR at rest."
    ),
)

KVM_NST_9 = KVM_NESTED.must_not(
    "KVM-NST-9",
    "A vector that L1 posts when each notification is seen to be over, and notifies nobody of, does not reach L2: no notification "
    "can bring it. One is over when L1 sees that PIR12 is clear, or L2 is delivered what it brought.",
    SDM("29.6", "the notification's arrival is the only trigger"),
    KVM_LIST(CHRISTOPHERSON, "the program that waits for PIR12 to be empty"),
    profiles=("strict", "kvm"),
    waived={
        "kvm": "pi_pending stays set when the processor has taken the notification; to prevent it takes a shadow of the "
        f"descriptor, which was declined ({CHRISTOPHERSON})"
    },
    premise="no notification of any origin comes after ON12 was set",
    observe="What is moved out of PIR12, if it was posted when notifications were over, against those sent since.",
)

KVM_NST_10 = KVM_NESTED.must_not(
    "KVM-NST-10",
    "One PINV12 is not delivered twice, as posted-interrupt processing to L2 and again as an interrupt to L1.",
    SDM("29.6, step 4", "it is over when it is processed"),
    KVM_LIST(CHRISTOPHERSON_2, "on double delivery"),
    premise="a notification is processed for L2, or delivered to L1",
    observe="Deliveries of PINV12 to L1 against PINV12s sent that moved nothing to L2.",
)

KVM_NST_11 = KVM_NESTED.must_not(
    "KVM-NST-11",
    "NPINV that arrives while another vCPU's L2 runs on that pCPU does not move what was posted to that one.",
    SDM("29.6"),
    KVM_LIST(MATTSON),
    profiles=("strict", "kvm"),
    waived={
        "kvm": "a sender may be held up after it read where the vCPU runs, whatever put does to SN; accepted in that thread and, "
        f"of L1's own notification, in 6737557442e5 ({MATTSON})"
    },
    premise="NPINV arrives in L2 of a vCPU that it was not sent for",
    observe="What the processor moves out of PIR12 of a vCPU that was never sent PINV12.",
)


class Sent(NamedTuple):
    ever: bool = False
    unspent: int = 0
    unfelt: int = 0
    """Those that neither moved anything nor came to L1: nobody can tell a notification that found nothing from one to come."""
    idle: bool = False
    """Whether the last processing has moved nothing so far."""
    paid: bool = False
    """Whether the last processing used one up."""
    waited: bool = False
    """PINV12 was in L1's vIRR when L2 was entered."""
    over: bool = False
    """L1 or L2 has seen that no notification is left."""
    late: int = 0
    """Vectors posted since, as bits."""


class Notifications(Monitor):
    clauses = (KVM_NST_1, KVM_NST_5, KVM_NST_6, KVM_NST_9, KVM_NST_10, KVM_NST_11)
    events = (ev.Called, ev.Taken, ev.Changed, ev.Delivered, ev.GuestActed, ev.Asked)
    memory = Sent()

    def __init__(self, vcpu: str, strays: bool) -> None:
        """`strays`: NPINV comes for nothing too, and may move what it finds."""
        self.vcpu, self.strays, self.name = vcpu, strays, f"{vcpu}.notifications"
        self.pir, self.control = f"{vcpu}.l2.pid.pir[", f"{vcpu}.l2.pid.control"
        self.irr = bit(vcpu, "virr", PINV12)

    def on(self, event: ev.Event, memory: Sent, look: Look) -> Sent:
        match event:
            case ev.Called(routine="deliver_interrupt", args=(self.vcpu, vector)) if vector == PINV12:
                return memory._replace(
                    ever=True, unspent=memory.unspent + 1, unfelt=memory.unfelt + 1, over=False, late=0
                )
            case ev.Taken(vector=vector, guest=self.vcpu) if vector == NPINV and posting(look, self.vcpu):
                if not memory.ever and not self.strays:
                    look.witness(KVM_NST_11)
                return self._spend(memory, look)
            case ev.Changed(at=self.control, old=int(old), new=int(new)) if old & ~new & 1:
                return memory if event.routine in HARDWARE else self._spend(memory, look)
            case ev.Changed(at=at, old=int(old), new=int(new)) if at.startswith(self.pir) and old != new:
                first = 64 * int(at[-2])
                if old & ~new:
                    self._moved(memory, look, event.routine, (old & ~new) << first)
                    if memory.idle:
                        memory = memory._replace(idle=False, unfelt=max(0, memory.unfelt - 1))
                late = (new & ~old) << first if memory.over else 0
                return memory._replace(late=memory.late & ~((old & ~new) << first) | late)
            case ev.Asked(operation=ops.Load(at=at), result=0) if at.startswith(self.pir):
                return self._sees(memory) if event.routine.startswith("l1_") else memory
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if vector >= L2:
                return self._sees(memory)
            case ev.Changed(at=self.irr.name, set_bits=bits) if bits & self.irr.mask and posting(look, self.vcpu):
                look.witness(KVM_NST_6)
            case ev.GuestActed(vcpu=self.vcpu, action=("vmlaunch", *_)):
                return memory._replace(waited=bool(word(look.value(self.irr.name)) & self.irr.mask))
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if vector == PINV12:
                return self._to_l1(memory, look)
            case _:
                pass
        return memory

    def _spend(self, memory: Sent, look: Look) -> Sent:
        if memory.unspent:
            look.witness(KVM_NST_10)
        return memory._replace(idle=True, paid=memory.unspent > 0, unspent=max(0, memory.unspent - 1))

    def _sees(self, memory: Sent) -> Sent:
        return memory._replace(over=not memory.unspent)

    def _moved(self, memory: Sent, look: Look, routine: str, moved: int) -> None:
        if memory.paid or self.strays or (memory.ever and not moved & memory.late):
            return
        about = (*of(self.vcpu, "l2.pid.pir"), on12(self.vcpu), f"{self.vcpu}.l2.posting", self.vcpu)
        if memory.ever:
            said = f"{routine} moves what is in PIR12 of {self.vcpu}, and no notification is left that could bring it"
            look.breach(KVM_NST_9, said, *about)
        elif routine in HARDWARE:
            said = f"the processor moves what is in PIR12 of {self.vcpu}, to which no notification was ever sent"
            look.breach(KVM_NST_11, said, *about)
        else:
            said = f"{routine} moves what is in PIR12 of {self.vcpu}, and L1 never sent PINV12"
            look.breach(KVM_NST_1, said, *about)

    def _to_l1(self, memory: Sent, look: Look) -> Sent:
        look.witness(KVM_NST_10)
        about = (notification(self.vcpu), f"{self.vcpu}.vmcs", self.vcpu)
        if takes_l1_out(look, self.vcpu):
            clause = KVM_NST_5 if memory.waited else KVM_NST_6
            look.breach(clause, f"L2 of {self.vcpu} exits to L1 with PINV12, which is its own notification", *about)
        if not memory.unfelt:
            look.breach(KVM_NST_10, f"L1 is delivered PINV12 on {self.vcpu} more often than it was sent", *about)
        return memory._replace(unspent=max(0, memory.unspent - 1), unfelt=max(0, memory.unfelt - 1))

    def at_rest(self, memory: Sent, look: Look) -> None:
        if not (where := settled(look, self.vcpu)):
            return
        if wide(look, f"{self.vcpu}.l2.pid.pir") and not self.strays and (memory.late or not memory.ever):
            look.witness(KVM_NST_9 if memory.ever else KVM_NST_1)
        if not posting(look, self.vcpu):
            return
        if memory.waited:
            look.witness(KVM_NST_5)
        if in_l2(look, self.vcpu) and word(look.value(self.irr.name)) & self.irr.mask:
            clause = KVM_NST_5 if memory.waited else KVM_NST_6
            said = f"{where}, and PINV12 waits in L1's vIRR"
            look.breach(clause, said, notification(self.vcpu), f"{self.vcpu}.vmcs", self.vcpu)


def takes_l1_out(look: Look, vcpu: str) -> bool:
    """Whether what is delivered to L1 now took it out of an L2 with posted interrupts: L1's last step was to enter that, L2 has
    made no exit that L1 wants, and L1 handles nothing else.
    """
    levels = [action for action in look.executed(vcpu) if action[0] in ("vmlaunch", "io")]
    return levels[-1:] == [("vmlaunch", POSTING)] and all(v >= L2 for v in look.in_service(vcpu)[:-1])


def monitors(scenario: Scenario) -> list[Monitor]:
    strays = any(vector == NPINV for vector, _ in scenario.budget.spurious)
    return [Notifications(f"vcpu{n}", strays) for n in range(len(scenario.vcpus))]
