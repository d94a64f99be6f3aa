"""From L1's post to L2's handler: nothing lost, nothing invented, nobody left asleep, and no order across vectors.

One monitor for each vCPU and vector. A call of `l1_posts` must come to a delivery that starts after its bit was set, as long as
L1 itself does not run in between or take the notification: then L1 looks at PIR12 itself before it enters L2 again, or does not.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.nested import L2, PINV12
from conformance.roles.scenario import Action, Scenario
from properties.nested.catalogue import (
    BONZINI,
    CHRISTOPHERSON_2,
    KERNEL,
    KVM_LIST,
    KVM_NESTED,
    LINUX,
    MODE,
    NESTED_END_TO_END,
    REQUESTS,
    SDM,
    VMX,
)
from properties.nested.monitors.levels import HARDWARE, bit, in_l2, of, on12, posting, settled, wide, word
from properties.nested.monitors.under_way import Posting
from properties.x86.monitors.guest import open_after

EXITING = 2
SAW_EXITING, THROUGH_L0 = "the sender saw EXITING_GUEST_MODE", "L0's software sends the notification"
"""Conditions under which a clause here is another one, too."""

NST_E2E_1 = NESTED_END_TO_END.must(
    "NST-E2E-1",
    "A vector that L1 posts to L2, with a notification, is delivered to L2, if L1 does not run in between and L2 does not mask it.",
    SDM("29.6"),
    KVM_LIST(BONZINI, "an eventual scan"),
    observe="At quiescence, where L2 is active: each post against the deliveries since its bit was set.",
)

NST_E2E_2 = NESTED_END_TO_END.must_not(
    "NST-E2E-2",
    "No vector is delivered to L2 that L1 did not post to it.",
    SDM("29.6"),
    observe="Each delivery to L2 of a vCPU against the bits that L1 has set in PIR12 of that one.",
)

NST_E2E_3 = NESTED_END_TO_END.must_not(
    "NST-E2E-3",
    "A vector is not delivered to L2 more often than L1 posted it.",
    SDM("29.6, step 5"),
    KVM_LIST(CHRISTOPHERSON_2, "on double delivery"),
    observe="Deliveries to L2 against posts, those that merge with an earlier one counted too.",
)

NST_E2E_5 = NESTED_END_TO_END.must(
    "NST-E2E-5",
    "A sender that an NMI or SMI holds up between any two of its steps, however long, loses nothing.",
    KVM_LIST(BONZINI, "its NMI example is Christopherson's, which it quotes"),
    observe="Quiescence after every schedule, with each sender's next step held back as long as others can move.",
    of=(NST_E2E_1,),
    where=(THROUGH_L0,),
)

NST_E2E_6 = NESTED_END_TO_END.may(
    "NST-E2E-6",
    "A vector may be delivered to L2 before another one that L1 posted earlier: no order across vectors is promised.",
    KVM_LIST(BONZINI, "vector 200 delivered before vector 100"),
    observe="A trace where the lower vector's bit is set first and the higher vector is delivered first.",
)

KVM_NST_4 = KVM_NESTED.must(
    "KVM-NST-4",
    "What L0 moves from PIR12 to vIRR12 in software counts at the next entry to L2: RVI12 becomes the larger of what it was and the "
    "highest vector moved, and is never lowered.",
    SDM("29.6, step 6"),
    LINUX("arch/x86/kvm/vmx/nested.c vmx_complete_nested_posted_interrupt"),
    premise="L0 completes posted-interrupt processing in software",
    observe=(
        "RVI12 at each entry to L2 since: not below what it was before the move, nor below the highest vector moved; if above what it "
        "was, then not above vIRR12's highest, which is what Linux takes. Each change of RVI12 by software."
    ),
)

KVM_NST_7 = KVM_NESTED.must(
    "KVM-NST-7",
    "L2 that halts is woken by a vector posted to it, with a notification, if its class is above that of vPPR12.",
    SDM("29.2.2", "virtual-interrupt delivery wakes a halted processor"),
    KERNEL("27c4fa42b11a and 321ef62b0c5f (2024)"),
    premise="a vector is posted to L2, which halts",
    observe="At quiescence no vCPU sleeps with L2 halted and such a vector in PIR12 or vIRR12.",
)

MODE_4 = MODE.must_not(
    "MODE-4",
    "A sender of a posted interrupt that reads EXITING_GUEST_MODE does not rely on the kick that is under way: nothing is lost if "
    "the vCPU enters its guest again.",
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt"),
    LINUX(REQUESTS, "IPI Reduction"),
    premise="a sender reads EXITING_GUEST_MODE",
    observe="As NST-E2E-1, of a post whose sender read EXITING.",
    of=(NST_E2E_1,),
    where=(SAW_EXITING,),
)


class Posts(NamedTuple):
    credit: int = 0
    posted: bool = False
    """Whether there was any."""
    notified: Posting = Posting()
    """Those with a notification."""
    exiting: bool = False
    lapsed: bool = False
    """ON12 is set, and L1 has run since or has taken the notification: it may clear it and look, or leave it."""


class Conservation(Monitor):
    clauses = (NST_E2E_1, NST_E2E_2, NST_E2E_3, NST_E2E_5, MODE_4, KVM_NST_7)
    events = (ev.Called, ev.Returned, ev.Changed, ev.Delivered, ev.Entered, ev.Asked)
    memory = Posts()
    where = frozenset({THROUGH_L0})

    def __init__(self, scenario: Scenario, vcpu: str, vector: int) -> None:
        self.vcpu, self.vector, self.name = vcpu, vector, f"{vcpu}.l2.{vector}"
        self.posted, self.control = bit(vcpu, "l2.pid.pir", vector), f"{vcpu}.l2.pid.control"
        already = word(dict(scenario.initial).get(self.posted.name, 0)) & self.posted.mask
        self.memory = Posts(credit=1 if already else 0, posted=bool(already))
        self.about = (self.posted, bit(vcpu, "l2.virr", vector), on12(vcpu), vcpu)

    def on(self, event: ev.Event, memory: Posts, look: Look) -> Posts:
        match event:
            case ev.Called(routine="l1_posts", args=(self.vcpu, self.vector)):
                return memory._replace(notified=memory.notified.begins())
            case ev.Returned(routine="l1_posts", args=(self.vcpu, self.vector)):
                return memory._replace(notified=memory.notified.returns())
            case ev.Changed(at=self.posted.name, set_bits=bits, routine=routine) if bits & self.posted.mask:
                if not routine.startswith("l1_"):
                    return memory
                notified = memory.notified.sets() if routine == "l1_posts" else memory.notified
                return memory._replace(credit=memory.credit + 1, posted=True, notified=notified)
            case ev.Asked(operation=ops.Load(at=at), result=int(mode)) if at == f"{self.vcpu}.mode":
                if event.routine == "deliver_interrupt" and mode & 3 == EXITING:
                    return memory._replace(exiting=True)
            case ev.Entered(vcpu=self.vcpu) if not in_l2(look, self.vcpu):
                return memory._replace(lapsed=bool(word(look.value(self.control)) & 1))
            case ev.Delivered(vcpu=self.vcpu, vector=number) if number == PINV12:
                return memory._replace(lapsed=bool(word(look.value(self.control)) & 1))
            case ev.Changed(at=self.control, old=int(old), new=int(new)) if old & ~new & 1:
                return memory._replace(lapsed=False)
            case ev.Delivered(vcpu=self.vcpu, vector=number) if number == L2 + self.vector:
                return self._delivered(memory, look)
            case _:
                pass
        return memory

    def _delivered(self, memory: Posts, look: Look) -> Posts:
        look.witness(NST_E2E_2)
        look.witness(NST_E2E_3)
        self._exercised(memory, look)
        if not memory.credit:
            unposted = f"vector {self.vector} is delivered to L2 of {self.vcpu}, and L1 never posted it there"
            too_often = f"vector {self.vector} is delivered to L2 of {self.vcpu} more often than L1 posted it"
            clause, said = (NST_E2E_3, too_often) if memory.posted else (NST_E2E_2, unposted)
            look.breach(clause, said, *self.about)
        return memory._replace(credit=max(0, memory.credit - 1), notified=memory.notified.delivered())

    def _exercised(self, memory: Posts, look: Look) -> None:
        where = {SAW_EXITING} if memory.exiting else set[str]()
        look.witness(NST_E2E_1, where=where)
        if ("hlt",) in look.executed(self.vcpu):
            look.witness(KVM_NST_7)

    def at_rest(self, memory: Posts, look: Look) -> None:
        place = settled(look, self.vcpu)
        if not (memory.notified.owed and not memory.lapsed and place and posting(look, self.vcpu)):
            return
        if not open_after(since_launch(look, self.vcpu), self.vector):
            return
        self._exercised(memory, look)
        said = f"{place}, while vector {self.vector} was posted to it with a notification and is not delivered"
        about = (*self.about, f"{self.vcpu}.mode") if memory.exiting else self.about
        look.breach(NST_E2E_1, said, *about, where={SAW_EXITING} if memory.exiting else ())
        if look.status(self.vcpu) == "sleeping":
            look.breach(KVM_NST_7, said, *self.about)


def since_launch(look: Look, vcpu: str) -> tuple[Action, ...]:
    """What L2 has executed, and L1 after it: what either masks is not judged."""
    executed = look.executed(vcpu)
    launched = next((n for n, action in enumerate(executed) if action[0] == "vmlaunch"), len(executed))
    return executed[launched:]


class Unposted(Monitor):
    """Vectors that nobody posts to L2."""

    clauses = (NST_E2E_2,)
    events = (ev.Delivered,)
    name = "l2.unposted"

    def __init__(self, scenario: Scenario) -> None:
        self.known = {v for t in scenario.threads if t.routine.startswith("l1_") for v in t.args[1:]}

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if isinstance(event, ev.Delivered) and event.vector >= L2 and event.vector - L2 not in self.known:
            said = f"vector {event.vector - L2} is delivered to L2 of {event.vcpu}, and nobody posted it"
            look.breach(NST_E2E_2, said, *of(event.vcpu, "l2.virr"), f"{event.vcpu}.l2.rvi", event.vcpu)


class Moved(NamedTuple):
    """What L0's software has moved out of PIR12 since the last entry to L2."""

    highest: int = -1
    was: int = 0
    """RVI12 before that."""


class Requested(Monitor):
    """RVI12, where L0 does the processor's work."""

    clauses = (KVM_NST_4,)
    events = (ev.Changed, ev.Entered)
    memory = Moved()

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name, self.rvi = vcpu, f"{vcpu}.l2.rvi", f"{vcpu}.l2.rvi"
        self.pir = f"{vcpu}.l2.pid.pir["

    def on(self, event: ev.Event, memory: Moved, look: Look) -> Moved:
        about = (self.rvi, *of(self.vcpu, "l2.virr"), self.vcpu)
        match event:
            case ev.Changed(at=self.rvi, old=int(old), new=int(new)) if event.routine not in HARDWARE and new < old:
                look.breach(KVM_NST_4, f"{event.routine} lowers RVI12 of {self.vcpu} from {old} to {new}", *about)
            case ev.Changed(at=at, old=int(old), new=int(new)) if at.startswith(self.pir) and old & ~new:
                if event.routine in HARDWARE or event.routine.startswith("l1_"):
                    return memory
                was = word(look.value(self.rvi)) if memory.highest < 0 else memory.was
                return Moved(max(memory.highest, 64 * int(at[-2]) + (old & ~new).bit_length() - 1), was)
            case ev.Entered(vcpu=self.vcpu) if memory.highest >= 0 and in_l2(look, self.vcpu):
                look.witness(KVM_NST_4)
                rvi, requested = word(look.value(self.rvi)), wide(look, f"{self.vcpu}.l2.virr").bit_length() - 1
                if not max(memory.was, memory.highest) <= rvi <= max(memory.was, requested):
                    said = (
                        f"L2 of {self.vcpu} is entered with RVI12 = {rvi}: it was {memory.was}, vector {memory.highest} was moved, "
                        f"and {max(0, requested)} is the highest in vIRR12"
                    )
                    look.breach(KVM_NST_4, said, *about)
                return Moved()
            case _:
                pass
        return memory


class PostOrder(Monitor):
    """Memory: vectors in PIR12 or vIRR12, in the order of their posts."""

    witnesses = (NST_E2E_6,)
    events = (ev.Changed, ev.Delivered)
    memory: tuple[int, ...] = ()

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name, self.pir = vcpu, f"{vcpu}.l2.order", f"{vcpu}.l2.pid.pir["

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        match event:
            case ev.Changed(at=at, set_bits=bits) if at.startswith(self.pir) and bits:
                vector = 64 * int(at[-2]) + bits.bit_length() - 1
                return memory if vector in memory else (*memory, vector)
            case ev.Delivered(vcpu=self.vcpu, vector=number) if number - L2 in memory:
                vector = number - L2
                earlier = [v for v in memory[: memory.index(vector)] if v < vector]
                if earlier:
                    look.witness(NST_E2E_6, *(bit(self.vcpu, "l2.pid.pir", v) for v in (*earlier, vector)), self.vcpu)
                return tuple(v for v in memory if v != vector)
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    made: list[Monitor] = [Unposted(scenario)]
    if any(thread.routine.startswith("l1_") for thread in scenario.threads):
        made += [Conservation(scenario, vcpu, v) for vcpu in vcpus for v in scenario.vectors]
        made += [Requested(vcpu) for vcpu in vcpus]
        made += [PostOrder(vcpu) for vcpu in vcpus if len(scenario.vectors) > 1]
    return made
