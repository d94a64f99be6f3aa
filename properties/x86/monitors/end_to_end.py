"""From a post to the guest's handler: nothing lost, nothing invented, nobody left asleep.

One monitor for each vCPU and vector. Its memory counts posts not yet matched by a delivery (`credit`), whether a
delivery has started since the last post (`owed`: it has not), and post routines that returned (`returned`), so that a
sender which returns without ever setting a bit is held to its post all the same. A post takes effect in the step that
sets its bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding, Witness, about
from conformance.machine.monitor import Look, Monitor
from conformance.roles.operations import Value
from conformance.roles.scenario import Scenario
from properties.x86.monitors.subjects import latched, on, pir, virr

POSTING = ("deliver_interrupt", "post", "virtual_ipi")
PINV = 0xF2


def word(value: Value) -> int:
    return value if isinstance(value, int) else 0


class Posts(NamedTuple):
    credit: int = 0
    posts: int = 0
    returned: int = 0
    owed: bool = False


class Conservation(Monitor):
    """E2E-1, 2, 3, 10, 11, 13, 14 and the guarantees of KVM that come to the same at rest."""

    clauses = (
        "E2E-1", "E2E-2", "E2E-3", "E2E-10", "E2E-11", "E2E-13", "E2E-14", "VID-12",
        "KVM-SND-7", "KVM-ENT-10", "KVM-ENT-11", "KVM-ENT-13", "PIP-15",
    )  # fmt: skip
    witnesses = ("E2E-4", "E2E-6", "E2E-8")
    events = (ev.Changed, ev.Delivered, ev.Returned, ev.GuestActed, ev.Taken)

    def __init__(self, scenario: Scenario, vcpu: str, vector: int) -> None:
        self.scenario, self.vcpu, self.vector = scenario, vcpu, vector
        self.word, self.bit = vector // 64, 1 << vector % 64
        self.name = f"{vcpu}.{vector}"
        already = word(dict(scenario.initial).get(f"{vcpu}.pid.pir[{self.word}]", 0)) & self.bit
        self.memory = Posts(1, 1, 0, True) if already else Posts()
        self.pir, self.virr = f"{vcpu}.pid.pir[{self.word}]", f"{vcpu}.virr[{self.word}]"
        calls = (*scenario.threads, *scenario.interrupts)
        self.by_software = any(c.routine in POSTING and c.args[:2] == (vcpu, vector) for c in calls)
        self.by_device = any(d.args[:2] == (vcpu, vector) for d in scenario.devices)
        program = scenario.vcpus[int(vcpu[4:])].program
        self.transfer = any(a[0] in ("save_restore", "reset") for a in program)
        self.inhibited = "apicv-inhibited" in scenario.facts
        self.about = about(pir(vcpu, vector), virr(vcpu, vector), vcpu)

    def on(self, event: ev.Event, memory: Posts, look: Look) -> Posts:
        match event:
            case ev.Changed(at=self.pir, set_bits=bits) if bits & self.bit:
                return self._posted(memory)
            case ev.Changed(at=self.virr, set_bits=bits, routine=routine) if bits & self.bit and self.inhibited:
                return self._posted(memory) if routine in POSTING else memory
            case ev.GuestActed(vcpu=self.vcpu, action=("self_ipi", self.vector)) if not self.inhibited:
                return self._posted(memory)
            case ev.Returned(routine=routine, args=(self.vcpu, self.vector, *_)) if routine in POSTING:
                memory = memory._replace(returned=memory.returned + 1)
                return self._posted(memory) if memory.returned > memory.posts else memory
            case ev.Returned(routine="reset", args=(self.vcpu, self.vector, *_)):
                return memory._replace(credit=0, owed=False)
            case ev.Delivered(vcpu=self.vcpu, vector=self.vector):
                return self._delivered(memory, look)
            case ev.Taken(vector=vector, guest=""):
                if vector == PINV and not word(look.value(self.pir)):
                    look.witness("E2E-8", *self.about)
            case _:
                pass
        return memory

    def _posted(self, memory: Posts) -> Posts:
        return memory._replace(credit=memory.credit + 1, posts=memory.posts + 1, owed=True)

    def _delivered(self, memory: Posts, look: Look) -> Posts:
        for clause in ("E2E-2", "E2E-3"):
            look.witness(clause)
        if self.scenario.budget.migrate:
            look.witness("E2E-13")
        if not memory.credit:
            if not memory.posts:
                said = f"vector {self.vector} is delivered to {self.vcpu}, and nobody ever posted it"
                look.breach("E2E-2", said, *self.about)
            else:
                said = f"vector {self.vector} is delivered to {self.vcpu} more often than it was posted"
                look.breach("E2E-3", said, *self.about)
                if self.scenario.budget.migrate:
                    look.breach("E2E-13", said, *self.about)
            if self.transfer:
                said = f"vector {self.vector} of {self.vcpu}'s former life is delivered after the restore"
                look.breach("KVM-ENT-13", said, *self.about)
            return memory
        if memory.credit > 1:
            look.witness("E2E-4", *self.about)
        if any(
            word(look.value(f"{self.vcpu}.pid.pir[{w}]")) >> max(0, self.vector + 1 - 64 * w)
            for w in range(self.word, 4)
        ):
            look.witness("E2E-6", *self.about)
        return memory._replace(credit=memory.credit - 1, owed=False)

    def at_rest(self, memory: Posts, look: Look) -> Iterable[Finding]:
        if memory.posts:
            yield from self._exercised(look)
        here = look.in_guest(self.vcpu)
        asleep = look.status(self.vcpu) == "sleeping"
        if here >= 0 and look.latched(here):
            waits = [latched(here, v) for v in range(256) if look.latched(here) >> v & 1]
            said = f"cpu{here} runs {self.vcpu}'s guest and never acknowledges a latched interrupt"
            yield Breach("PIP-15", said, about(*waits, self.vcpu, f"cpu{here}"))
        if not memory.owed or not (here >= 0 or asleep):
            return
        in_pir = word(look.value(self.pir)) & self.bit
        in_virr = word(look.value(self.virr)) & self.bit
        where = f"{self.vcpu} {'sleeps' if asleep else f'is in its guest on cpu{here}'}"
        if not in_pir and not in_virr:
            yield from self._lost(
                f"vector {self.vector} was posted, is in neither PIR nor vIRR, and never delivered: {where}", look
            )
            if not self._deliverable(look):
                yield Breach("VID-12", f"masked vector {self.vector} is in neither PIR nor vIRR: {where}", self.about)
        elif self._deliverable(look):
            held = f"vector {self.vector} waits in {'PIR' if in_pir else 'vIRR'} and could be taken"
            yield from self._lost(f"at rest {where}, while {held}", look)
            if asleep:
                yield Breach("E2E-10", f"at rest {where}, while {held}", self.about)
                if self.by_software:
                    yield Breach("KVM-SND-7", f"at rest {where}, while software-posted {held}", self.about)
            elif in_pir and not word(look.value(f"{self.vcpu}.pid.control")) & 2 and not self.inhibited:
                said = f"at rest {where} with PIR[{self.vector}] = 1, and no notification is on its way"
                yield Breach("E2E-11", said, about(*self.about, on(self.vcpu)))
            if self.inhibited and self.by_device and not asleep:
                said = f"at rest {where} with APICv inhibited, while device-posted {held}"
                yield Breach("KVM-ENT-10", said, self.about)

    def _lost(self, reason: str, look: Look) -> Iterable[Finding]:
        yield Breach("E2E-1", reason, self.about)
        if self.scenario.budget.migrate:
            yield Breach("E2E-13", reason, self.about)
        if self.by_software:
            yield Breach("E2E-14", reason, self.about)
        if self.transfer:
            yield Breach("KVM-ENT-13", reason, self.about)
        if self.inhibited:
            yield Breach("KVM-ENT-11", reason, self.about)

    def _exercised(self, look: Look) -> Iterable[Finding]:
        """Which of its clauses this state at rest puts to the test."""
        yield Witness("E2E-1")
        if self.by_software:
            yield Witness("E2E-14")
        if self.transfer:
            yield Witness("KVM-ENT-13")
        if self.inhibited:
            yield Witness("KVM-ENT-11")
        if self.inhibited and self.by_device:
            yield Witness("KVM-ENT-10")
        if look.in_guest(self.vcpu) >= 0:
            yield Witness("E2E-11")
            yield Witness("PIP-15")
        if any(a[0] == "hlt" for a in self.scenario.vcpus[int(self.vcpu[4:])].program):
            yield Witness("E2E-10")
            if self.by_software:
                yield Witness("KVM-SND-7")
        if not self._deliverable(look):
            yield Witness("VID-12")

    def _deliverable(self, look: Look) -> bool:
        """Whether the guest would take it: IF set, and its class above that of TPR and of everything in service."""
        if not look.value(f"{self.vcpu}.rflags_if"):
            return False
        in_service = sum(word(look.value(f"{self.vcpu}.visr[{w}]")) << 64 * w for w in range(4))
        above = max(word(look.value(f"{self.vcpu}.vtpr")) >> 4, (in_service.bit_length() - 1) >> 4)
        return self.vector >> 4 > above


class Unposted(Monitor):
    """E2E-2 for vectors that no agent of the scenario posts: artefacts such as 0 or 0xFF."""

    clauses = ("E2E-2",)
    events = (ev.Delivered,)
    name = "unposted"

    def __init__(self, scenario: Scenario) -> None:
        self.known = scenario.vectors

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if isinstance(event, ev.Delivered) and event.vector not in self.known:
            said = f"vector {event.vector} is delivered to {event.vcpu}, and nobody ever posted it"
            look.breach("E2E-2", said, pir(event.vcpu, event.vector), virr(event.vcpu, event.vector), event.vcpu)


class PostOrder(Monitor):
    """E2E-5: a witness that the lower vector's post can be first and its delivery second. Memory: vectors posted, in
    order.
    """

    witnesses = ("E2E-5",)
    events = (ev.Changed, ev.Delivered)
    name = "post_order"
    memory = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        if isinstance(event, ev.Changed) and ".pid.pir[" in event.at:
            base = 64 * int(event.at[-2])
            new = tuple(base + n for n in range(64) if event.set_bits >> n & 1)
            return (*memory, *(v for v in new if v not in memory))
        if isinstance(event, ev.Delivered) and event.vector in memory:
            if any(v < event.vector for v in memory[: memory.index(event.vector)]):
                lower = min(v for v in memory if v < event.vector)
                look.witness("E2E-5", *(pir(event.vcpu, v) for v in (lower, event.vector)), event.vcpu)
            return tuple(v for v in memory if v != event.vector)
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    made: list[Monitor] = [Conservation(scenario, vcpu, v) for vcpu in vcpus for v in scenario.vectors]
    made.append(Unposted(scenario))
    if "post-order" in scenario.facts:
        made.append(PostOrder())
    return made
