"""Senders in hardware: what is on the wire after a VT-d post or a virtualized IPI (VT-d 5.2.3, 5.2.4; SDM, "IPI
Virtualization").
"""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from properties.x86.monitors.end_to_end import PINV, word
from properties.x86.monitors.subjects import ndst, nv, on

Latch = tuple[int, int]
"""(NV, NDST) as the word held them in the step that set ON."""


class Notification(Monitor):
    """VTD-5 and 6 for `post`, IPIV-3 for `virtual_ipi`. Memory: notifications owed, as latched, and PIR bits set but
    not yet paired.
    """

    events = (ev.Changed, ev.Sent, ev.Taken)
    witnesses = ("VTD-7", "VTD-8")

    def __init__(self, scenario: Scenario, vcpu: str, routine: str, latched: str, visible: str) -> None:
        self.vcpu, self.routine, self.latched, self.visible = vcpu, routine, latched, visible
        self.name = f"{vcpu}.{routine}"
        self.xapic = "xapic" in scenario.facts
        self.alone = not scenario.threads and not scenario.interrupts
        self.memory: tuple[int, tuple[Latch, ...]] = (0, ())

    def on(self, event: ev.Event, memory: tuple[int, tuple[Latch, ...]], look: Look) -> tuple[int, tuple[Latch, ...]]:
        match event:
            case ev.Changed(at=at, routine=self.routine, set_bits=bits) if (
                at.startswith(f"{self.vcpu}.pid.pir[") and bits
            ):
                if self.routine == "post" and word(look.value(f"{self.vcpu}.pid.control")) & 1:
                    look.witness("VTD-7", Subject(at, bits), on(self.vcpu), self.vcpu)
                unpaired, owed = memory
                return min(unpaired + bits.bit_count(), 3), owed
            case ev.Changed(at=at, routine=self.routine, old=old, new=new) if at == f"{self.vcpu}.pid.control":
                if word(new) & 1 > word(old) & 1:
                    unpaired, owed = memory
                    ndst = word(new) >> 32
                    return unpaired, (*owed, (word(new) >> 16 & 0xFF, ndst >> 8 & 0xFF if self.xapic else ndst))
            case ev.Sent(routine=self.routine, vector=vector, to=to, args=(self.vcpu, *_)):
                return self._sent((vector, to), *memory, look)
            case ev.Taken(vector=vector, guest="") if self.alone and vector == PINV:
                look.witness("VTD-8", nv(self.vcpu), self.vcpu)
            case _:
                pass
        return memory

    def _sent(
        self, message: Latch, unpaired: int, owed: tuple[Latch, ...], look: Look
    ) -> tuple[int, tuple[Latch, ...]]:
        look.witness(self.latched)
        look.witness(self.visible)
        if not unpaired:
            pir = [f"{self.vcpu}.pid.pir[{w}]" for w in range(4)]
            said = "a notification leaves before its post's PIR bit is visible"
            look.breach(self.visible, said, *pir, on(self.vcpu), self.vcpu)
        if message not in owed:
            expected = (
                ", ".join(f"vector {v:#x} to APIC id {d}" for v, d in owed) or "no notification, for no post set ON"
            )
            sent = f"vector {message[0]:#x} to APIC id {message[1]}"
            said = f"the notification is {sent}; the descriptor said, when ON was set: {expected}"
            look.breach(self.latched, said, nv(self.vcpu), ndst(self.vcpu), on(self.vcpu), self.vcpu)
            return max(unpaired - 1, 0), owed[1:]
        at = owed.index(message)
        return max(unpaired - 1, 0), (*owed[:at], *owed[at + 1 :])


class DevicePosts(Notification):
    clauses = ("VTD-5", "VTD-6")


class VirtualIpis(Notification):
    clauses = ("IPIV-3",)


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = []
    for n in range(len(scenario.vcpus)):
        agents = [*scenario.devices, *scenario.threads]
        mine = {a.routine for a in agents if a.args[:1] == (f"vcpu{n}",)}
        if "post" in mine:
            made.append(DevicePosts(scenario, f"vcpu{n}", "post", "VTD-5", "VTD-6"))
        if "virtual_ipi" in mine:
            made.append(VirtualIpis(scenario, f"vcpu{n}", "virtual_ipi", "IPIV-3", "IPIV-3"))
    return made
