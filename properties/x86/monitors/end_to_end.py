"""From a post to the guest's handler: nothing lost, nothing invented, nobody left asleep.

One monitor for each vCPU and vector. A post is a call: what it does inside is the sender's business. From the call on there
may be a delivery more (`credit`). There must be one that starts after the step that sets the bit, if one does; else after
the call began (`owed`: there was none yet). A call without a step that sets the bit may have seen it set.

A save and restore, or a reset, is judged by its arguments too, at its end: what was posted before is owed still, or gone; what
others post meanwhile may be either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import about
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import (
    ACRN,
    BHYVE,
    BONZINI,
    CHRISTOPHERSON,
    END_TO_END,
    KERNEL,
    KVM_ENTRY,
    KVM_LIST,
    KVM_SENDER,
    LAPIC,
    LINUX,
    POSTED_INTR,
    PROCESSING,
    SDM,
    SDM_3A,
    VMX,
    X86,
    XEN,
)
from properties.x86.monitors.delivery import VID_12
from properties.x86.monitors.guest import POSTING, open_to
from properties.x86.monitors.registers import HARDWARE, word
from properties.x86.monitors.subjects import latched, pir, virr

TRANSFERS = ("save_restore", "reset")


MIGRATES = "the vCPU may migrate"
BY_SOFTWARE, BY_DEVICE = "software posted the vector", "a device posted the vector"
RESTORED = "the vCPU is saved and restored, or reset"
INHIBITED = "APICv is inhibited"
"""Conditions under which a clause here is another one, too."""

E2E_1 = END_TO_END.must(
    "E2E-1",
    "Each post of v, to a vCPU that is runnable and stays interruptible with v's class above its priority, is "
    "followed by a delivery of v that starts after the post.",
    SDM("29.2 and 29.6"),
    KVM_LIST(BONZINI),
    observe=(
        "At quiescence no vector that was posted and that the vCPU could take waits for its delivery, in PIR, in vIRR or anywhere "
        "else. Where it keeps what it could not take, VID-12 asks."
    ),
)

E2E_2 = END_TO_END.must_not(
    "E2E-2",
    "No vector is delivered that was never posted; not 0 or FFH either, which stand for 'none' somewhere inside.",
    KERNEL("bf672720e83c (2023)"),
    observe="Delivered vectors are a subset of those posted so far (guest's self-IPIs count as posts).",
)

E2E_3 = END_TO_END.must_not(
    "E2E-3",
    "A vector is not delivered more often than it was posted.",
    SDM("29.1.1 and 29.6", "PIR, vIRR and vISR hold one bit a vector"),
    KVM_LIST(CHRISTOPHERSON, "on double delivery"),
    observe="At each step deliveries of v against posts of v, a post that merges with an earlier one counted too.",
)

E2E_4 = END_TO_END.may(
    "E2E-4",
    "A vector may be delivered less often than it was posted: posts of one vector merge while it is in PIR or in vIRR.",
    SDM("29.6", "one PIR bit a vector"),
    LINUX(f"{VMX} vmx_deliver_posted_interrupt"),
    observe="A trace at quiescence with at least one delivery of v and fewer deliveries than posts.",
)

E2E_6 = END_TO_END.may(
    "E2E-6",
    "A lower vector may be delivered before a higher one even when both posts precede the acknowledge of the "
    "notification: a harvest may have passed the higher one's word before its bit was set. It is wrong only if "
    "both were in vIRR and deliverable at that moment (VID-13).",
    SDM("29.2.2 and 29.6, step 5"),
    observe="A trace where the lower vector is delivered while the higher one is posted, still in PIR and not in vIRR.",
)

E2E_8 = END_TO_END.may(
    "E2E-8",
    "Spurious notification, wakeup and kick IPIs may occur anywhere and any number of times, at pCPUs that do not "
    "run the vCPU too, without harm to the guest.",
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt", "comment, cases 2 and 3"),
    XEN("4b759ce163"),
    KVM_LIST(BONZINI),
    observe="A trace with a notification, wakeup or kick that finds nothing to do.",
)

E2E_10 = END_TO_END.must(
    "E2E-10",
    "A blocked vCPU that has a posted vector it could take is woken.",
    KERNEL("d76fb40637fc (2021)"),
    observe="At quiescence no vCPU sleeps with such a vector in PIR or vIRR.",
)

E2E_11 = END_TO_END.must_not(
    "E2E-11",
    "A vCPU does not rest in the guest with a vector in PIR, SN=0 and no notification latched or in flight for "
    "it. It would wait for a VM exit that may never come.",
    KERNEL("b95234c84004 (2016)"),
    observe="At quiescence, for each vCPU in the guest: PIR, whether or not the guest would take the vector, and SN.",
)

E2E_13 = END_TO_END.must(
    "E2E-13",
    "A vector posted to a vCPU that moves between pCPUs arrives at least once and at most as often as it was "
    "posted, wherever the vCPU runs then.",
    LINUX(f"{POSTED_INTR} vmx_vcpu_pi_load"),
    LINUX("virt/kvm/kvm_main.c kvm_vcpu_kick", "comment"),
    observe="Posts and deliveries at quiescence, in scenarios with migration.",
    of=(
        E2E_1,
        E2E_3,
    ),
    where=(MIGRATES,),
)

E2E_14 = END_TO_END.must(
    "E2E-14",
    "A sender that is delayed between any two of its steps, however long (by an NMI or SMI, say), loses nothing.",
    KVM_LIST(BONZINI, "its NMI example"),
    observe="Quiescence after every schedule, with each sender's next step held back as long as others can move.",
    of=(
        E2E_1,
        VID_12,
    ),
    where=(BY_SOFTWARE,),
)

PIP_15 = PROCESSING.must(
    "PIP-15",
    "A notification that reaches the local APIC while the host has interrupts off stays pending there and is "
    "processed after VM entry.",
    SDM_3A("10.9.1, steps 3 and 4", "an accepted interrupt waits in the IRR"),
    SDM("29.6, step 1"),
    KERNEL("b95234c84004 (2016)", "relies on it"),
    BHYVE("sys/amd64/vmm/intel/vmx.c vmx_run", "relies on it"),
    ACRN("0397cb717", "relies on it"),
    observe="At rest no pCPU runs a guest with an interrupt latched that it never acknowledges.",
)

KVM_SND_7 = KVM_SENDER.must(
    "KVM-SND-7",
    "If vcpu->mode is not IN_GUEST_MODE the sender wakes the vCPU if it is blocking, even when that vCPU is the "
    "one running on this pCPU.",
    KERNEL("fdba608f15e2 (2021)"),
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt"),
    kind="guarantee",
    observe="At quiescence no vCPU sleeps that could take a vector a software sender posted.",
    of=(E2E_10,),
    where=(BY_SOFTWARE,),
)

KVM_ENT_10 = KVM_ENTRY.must(
    "KVM-ENT-10",
    "A device's post reaches a vCPU whose APICv is inhibited too: devices go on posting, so the sync does not "
    "depend on APICv being active.",
    KERNEL("37c4dbf337c5 (2021)"),
    LINUX(f"{X86} vcpu_enter_guest", "comment"),
    kind="guarantee",
    premise="APICv inhibited",
    observe="As E2E-1, of a device's post to such a vCPU.",
    of=(E2E_1,),
    where=(INHIBITED, BY_DEVICE),
)

KVM_ENT_11 = KVM_ENTRY.must(
    "KVM-ENT-11",
    "The merge of PIR into vIRR loses no bit that a peer sets in vIRR at the same time, and it marks vIRR as "
    "non-empty (irr_pending).",
    KERNEL("514946d14363 and cff540ebef38 (2023)"),
    LINUX(f"{LAPIC} __kvm_apic_update_irr", "still merges with a plain store and does not mark"),
    kind="guarantee",
    premise="APICv inhibited",
    observe="As E2E-1, of a vCPU whose APICv is inhibited.",
    of=(E2E_1,),
    where=(INHIBITED,),
)

KVM_ENT_13 = KVM_ENTRY.must_not(
    "KVM-ENT-13",
    "Save and restore lose no posted vector and deliver none from an earlier life: saving takes PIR along, and "
    "restoring clears a stale PIR before the local APIC's state is loaded, not after.",
    KERNEL("967235d32032 (2016) and 9cfec6d097c6 (2023)"),
    LINUX(f"{VMX} vmx_apicv_pre_state_restore"),
    XEN("607e8494c42 (2014)"),
    kind="guarantee",
    premise="save and restore",
    observe="Posts and deliveries counted across a save and a restore, with a post at any point of either.",
    of=(
        E2E_1,
        E2E_2,
        E2E_3,
        VID_12,
    ),
    where=(RESTORED,),
)


class Posts(NamedTuple):
    credit: int = 0
    """Posts not yet matched by a delivery."""
    posted: bool = False
    """Whether there was any."""
    calls: int = 0
    """Calls under way."""
    unset: int = 0
    """Those of them that have not set the bit."""
    served: int = 0
    """And since whose beginning there was a delivery."""
    owed: bool = False
    stays: bool = False
    """Whether it will be owed when the save and restore, or the reset, is over."""
    in_virr: bool = False
    """It has been there since its last delivery, or the processor has taken it from PIR."""
    own: bool = False
    """One of the calls is the guest's own IPI, which its run loop posts before it enters again."""


class Conservation(Monitor):
    """Posts and deliveries of one vector. KVM's own guarantees come to the same at rest, under conditions."""

    clauses = (
        E2E_1, E2E_2, E2E_3, E2E_10, E2E_11, E2E_13, E2E_14, VID_12,
        KVM_SND_7, KVM_ENT_10, KVM_ENT_11, KVM_ENT_13, PIP_15,
    )  # fmt: skip
    witnesses = (E2E_4, E2E_6, E2E_8)
    events = (ev.Called, ev.Changed, ev.Delivered, ev.Entered, ev.Returned, ev.GuestActed, ev.Taken)

    def __init__(self, scenario: Scenario, vcpu: str, vector: int) -> None:
        self.scenario, self.vcpu, self.vector = scenario, vcpu, vector
        self.word, self.bit = vector // 64, 1 << vector % 64
        self.name = f"{vcpu}.{vector}"
        already = word(dict(scenario.initial).get(f"{vcpu}.pid.pir[{self.word}]", 0)) & self.bit
        self.memory = Posts(1, True, owed=True) if already else Posts()
        self.pir, self.virr = f"{vcpu}.pid.pir[{self.word}]", f"{vcpu}.virr[{self.word}]"
        calls = (*scenario.threads, *scenario.interrupts)
        program = scenario.vcpus[int(vcpu[4:])].program
        self.inhibited = "apicv-inhibited" in scenario.facts
        conditions = {
            MIGRATES: scenario.budget.migrate > 0,
            BY_SOFTWARE: any(c.routine in POSTING and c.args[:2] == (vcpu, vector) for c in calls),
            BY_DEVICE: any(d.args[:2] == (vcpu, vector) for d in scenario.devices),
            RESTORED: any(a[0] in TRANSFERS for a in program),
            INHIBITED: self.inhibited,
        }
        self.where = frozenset(condition for condition, holds in conditions.items() if holds)
        self.about = about(pir(vcpu, vector), virr(vcpu, vector), vcpu)

    def for_any_number(self) -> Monitor:
        return Owed(self.scenario, self.vcpu, self.vector)

    def on(self, event: ev.Event, memory: Posts, look: Look) -> Posts:
        match event:
            case ev.Called(routine=routine, args=(self.vcpu, self.vector, *_)) if routine in POSTING:
                return memory._replace(
                    credit=memory.credit + 1, posted=True, calls=memory.calls + 1, unset=memory.unset + 1
                )
            case ev.Called(routine=routine, args=(self.vcpu, *vectors)) if routine in TRANSFERS:
                return self._transfer_begins(memory, routine, vectors)
            case ev.Changed(at=self.pir, set_bits=bits, routine=routine) if (
                bits & self.bit and routine not in TRANSFERS
            ):
                return self._took_effect(memory)
            case ev.Changed(at=self.virr, set_bits=bits, routine=routine) if bits & self.bit and self.inhibited:
                return self._took_effect(memory) if routine in POSTING else memory
            case ev.Changed(at=self.virr, set_bits=bits) if bits & self.bit:
                return memory._replace(in_virr=True)
            case ev.Changed(at=self.pir, old=int(old), new=int(new)) if old & ~new & self.bit:
                return memory._replace(in_virr=memory.in_virr or event.routine in HARDWARE)
            case ev.GuestActed(vcpu=self.vcpu, action=("self_ipi", self.vector)) if not self.inhibited:
                return self._posted(memory)
            case ev.GuestActed(vcpu=self.vcpu, action=("fastpath_ipi", self.vector)):
                return self._posted(memory)._replace(calls=memory.calls + 1, unset=memory.unset + 1, own=True)
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._enters(cpu, look)
                return self._over(memory)._replace(own=False) if memory.own else memory
            case ev.Returned(routine=routine, args=(self.vcpu, self.vector, *_)) if routine in POSTING:
                return self._over(memory)
            case ev.Returned(routine=routine, args=(self.vcpu, *_)) if routine in TRANSFERS:
                there = memory.in_virr if routine == "save_restore" else bool(word(look.value(self.virr)) & self.bit)
                return memory._replace(owed=memory.stays, served=memory.unset, stays=False, in_virr=there)
            case ev.Delivered(vcpu=self.vcpu, vector=self.vector):
                return self._delivered(memory, look)
            case ev.Taken(vector=vector, guest=""):
                if vector == PINV and not word(look.value(self.pir)):
                    look.witness(E2E_8, *self.about)
            case _:
                pass
        return memory

    def _posted(self, memory: Posts) -> Posts:
        return memory._replace(credit=memory.credit + 1, posted=True, owed=True)

    def _transfer_begins(self, memory: Posts, routine: str, vectors: list[Any]) -> Posts:
        """`save_restore` posts a vector and keeps all; `reset` forgets all, the first it is given too, and posts the second."""
        posts = self.vector in (vectors if routine == "save_restore" else vectors[1:])
        stays = posts or (routine == "save_restore" and memory.owed)
        credit = memory.credit if routine == "save_restore" else memory.calls
        posted = memory.posted or self.vector in vectors
        return memory._replace(credit=credit + posts, posted=posted, owed=memory.owed or posts, stays=stays)

    def _took_effect(self, memory: Posts) -> Posts:
        """Whose call it is does not matter; where nobody calls, it is a post of its own."""
        if not memory.unset:
            return self._posted(memory)
        unset = memory.unset - 1
        return memory._replace(unset=unset, served=min(memory.served, unset), owed=True)

    def _over(self, memory: Posts) -> Posts:
        """Of several calls under way the one that set the bit is taken to be the first to return."""
        calls = memory.calls - 1
        if memory.unset <= calls:
            return memory._replace(calls=calls)
        owed = memory.owed or not memory.served
        return memory._replace(calls=calls, unset=memory.unset - 1, served=max(0, memory.served - 1), owed=owed)

    def _delivered(self, memory: Posts, look: Look) -> Posts:
        look.witness(E2E_2)
        look.witness(E2E_3)
        if not memory.credit:
            unposted = f"vector {self.vector} is delivered to {self.vcpu}, and nobody ever posted it"
            too_often = f"vector {self.vector} is delivered to {self.vcpu} more often than it was posted"
            look.breach(E2E_3 if memory.posted else E2E_2, too_often if memory.posted else unposted, *self.about)
            return memory
        if memory.credit > 1:
            look.witness(E2E_4, *self.about)
        if any(
            word(look.value(f"{self.vcpu}.pid.pir[{w}]")) >> max(0, self.vector + 1 - 64 * w)
            for w in range(self.word, 4)
        ):
            look.witness(E2E_6, *self.about)
        return memory._replace(credit=memory.credit - 1, served=memory.unset, owed=False, in_virr=False)

    def _enters(self, cpu: int, look: Look) -> None:
        if look.latched(cpu) >> PINV & 1 and not self.inhibited:
            look.witness(PIP_15)

    def at_rest(self, memory: Posts, look: Look) -> None:
        if memory.posted:
            self._exercised(look)
        here = look.in_guest(self.vcpu)
        asleep = look.status(self.vcpu) == "sleeping"
        if here >= 0 and look.latched(here):
            waits = [latched(here, v) for v in range(256) if look.latched(here) >> v & 1]
            said = f"cpu{here} runs {self.vcpu}'s guest and never acknowledges a latched interrupt"
            look.breach(PIP_15, said, *waits, self.vcpu, f"cpu{here}")
        if not memory.owed or not (here >= 0 or asleep):
            return
        in_pir = word(look.value(self.pir)) & self.bit
        in_virr = word(look.value(self.virr)) & self.bit
        where = f"{self.vcpu} {'sleeps' if asleep else f'is in its guest on cpu{here}'}"
        waits = "PIR" if in_pir else "vIRR" if in_virr else "neither PIR nor vIRR"
        if self._deliverable(look):
            said = f"at rest {where}, while vector {self.vector} waits in {waits} and could be taken"
            look.breach(E2E_1, said, *self.about)
            if asleep and (in_pir or in_virr):
                look.breach(E2E_10, said, *self.about)
        elif memory.in_virr and not self.inhibited and not in_pir and not in_virr:
            look.breach(VID_12, f"masked vector {self.vector} is in {waits}: {where}", *self.about)
        suppressed = word(look.value(f"{self.vcpu}.pid.control")) & 2 or self.inhibited
        if in_pir and not asleep and not suppressed:
            said = f"at rest {where} with PIR[{self.vector}] = 1, and no notification is on its way"
            look.breach(E2E_11, said, *self.about)

    def _exercised(self, look: Look) -> None:
        """Which of its clauses this state at rest puts to the test."""
        look.witness(E2E_1)
        if look.in_guest(self.vcpu) >= 0:
            look.witness(E2E_11)
        if ("hlt",) in look.executed(self.vcpu):
            look.witness(E2E_10)
        if not self._deliverable(look):
            look.witness(VID_12)

    def _deliverable(self, look: Look) -> bool:
        return open_to(look, self.vcpu, self.vector, look.in_service(self.vcpu))


OWED, NOT_OWED = Posts(posted=True, owed=True), Posts(posted=True)


class Owed(Conservation):
    """Of posts no more than whether one has set the bit since the last delivery began: finite for any number of posts. A
    call that never sets the bit is not seen, and nothing is counted (E2E-2, E2E-3, E2E-4).
    """

    clauses = (E2E_1, E2E_10, E2E_11, E2E_14, VID_12, KVM_SND_7, KVM_ENT_10, KVM_ENT_11, PIP_15)
    witnesses = ()
    events = (ev.Changed, ev.Entered, ev.GuestActed, ev.Delivered)

    def __init__(self, scenario: Scenario, vcpu: str, vector: int) -> None:
        super().__init__(scenario, vcpu, vector)
        self.memory = OWED if self.memory.owed else NOT_OWED

    def on(self, event: ev.Event, memory: Posts, look: Look) -> Posts:
        match event:
            case ev.Changed(at=self.pir, set_bits=bits) if bits & self.bit:
                return memory._replace(owed=True)
            case ev.Changed(at=self.virr, set_bits=bits, routine=routine) if bits & self.bit and self.inhibited:
                return memory._replace(owed=memory.owed or routine in POSTING)
            case ev.Changed() | ev.Entered():
                return super().on(event, memory, look)
            case ev.GuestActed(vcpu=self.vcpu, action=("self_ipi", self.vector)) if not self.inhibited:
                return memory._replace(owed=True)
            case ev.Delivered(vcpu=self.vcpu, vector=self.vector):
                return NOT_OWED
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    made: list[Monitor] = [Conservation(scenario, vcpu, v) for vcpu in vcpus for v in scenario.vectors]
    return made
