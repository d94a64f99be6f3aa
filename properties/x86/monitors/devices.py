"""Senders in hardware: what is on the wire after a VT-d post or a virtualized IPI (VT-d 5.2.3, 5.2.4; SDM, "IPI
Virtualization").
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.clause import Clause
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from conformance.roles.x86 import PINV
from properties.x86.catalogue import (
    ACRN,
    IPI_PSEUDOCODE,
    IPI_VIRTUALIZATION,
    KERNEL,
    LINUX,
    POSTED_INTR,
    VMX,
    VTD,
    VTD_POSTING,
    XEN,
)
from properties.x86.monitors.registers import word
from properties.x86.monitors.subjects import ndst, nv, on, pir

Latch = tuple[int, int]
"""(NV, NDST) as the word held them in the step that set ON."""


VTD_5 = VTD_POSTING.must(
    "VTD-5",
    "The notification carries NV and NDST as read in that atomic operation. A later change does not redirect it.",
    VTD("5.2.3"),
    observe="Vector and destination of each device notification equal NV and NDST at the step of its post.",
)

VTD_6 = VTD_POSTING.must(
    "VTD-6",
    "The change of the descriptor is globally visible before its notification is.",
    VTD("5.2.4"),
    observe="When a device's notification leaves, its vector's bit is set in PIR, or was set by a post of it that is not over.",
)

VTD_7 = VTD_POSTING.may(
    "VTD-7",
    "While ON is 1 any number of posts, of any vectors, give no further notification.",
    VTD("5.2.3", "follows from VTD-2"),
    observe="A trace with fewer device notifications than device posts and ON=1 at the silent ones.",
)

VTD_8 = VTD_POSTING.may(
    "VTD-8",
    "A notification may arrive at a pCPU that the vCPU has left, or find it in root mode.",
    VTD("5.2.3"),
    LINUX(f"{VMX} kvm_vcpu_trigger_posted_interrupt", "comment"),
    XEN("xen/arch/x86/hvm/vmx/vmx.c", "comments"),
    KERNEL("6737557442e5", "message"),
    observe="A trace where a device's notification is acknowledged in root mode.",
)

VTD_9 = VTD_POSTING.must(
    "VTD-9",
    "Only interrupts with a single destination and fixed (in KVM also lowest-priority) delivery are posted, as "
    "edges; multicast and other delivery modes stay remapped.",
    VTD("5.2"),
    LINUX(f"{POSTED_INTR} vmx_pi_update_irte"),
    ACRN("f7be985a2"),
    unchecked="The model begins at a remapping entry already in posted mode; how routes become entries is not modelled.",
    observe="Which interrupt routes get a remapping entry in posted mode.",
)

VTD_10 = VTD_POSTING.must(
    "VTD-10",
    "When a route stops being postable its remapping entry leaves posted mode before the old target's descriptor "
    "may be treated as unused.",
    KERNEL("9bcac97dc42d", "CVE-2025-37885"),
    authority="linux",
    unchecked="Changes of remapping entries and the lifetime of a vCPU's memory are not modelled.",
    observe="No device post on a descriptor after the route's change has completed.",
)

IPIV_3 = IPI_VIRTUALIZATION.must(
    "IPIV-3",
    "The notification goes to NDST with vector NV as read in the second operation.",
    IPI_PSEUDOCODE,
    KERNEL("6e0b456547f4 (2024)", "quotes the pseudocode"),
    premise="IPI virtualization",
    observe="Vector and destination of each notification equal NV and NDST at the step that set ON.",
)


MOST = 3
"""Enough for all that post one vector at a time; a device that sets what it was not given ends nothing."""


class Posting(NamedTuple):
    set: tuple[int, ...] = ()
    """Vectors whose bits were set by posts that are not over, each as often, up to `MOST`."""
    owed: tuple[Latch, ...] = ()
    """Notifications that are due, as latched."""


class Notification(Monitor):
    """What a notification says (`latched`), and that its post is visible before it (`visible`)."""

    events = (ev.Changed, ev.Returned, ev.Sent, ev.Taken)
    memory = Posting()
    witnesses = (VTD_7, VTD_8)

    def __init__(self, scenario: Scenario, vcpu: str, routine: str, latched: Clause, visible: Clause) -> None:
        self.vcpu, self.routine, self.latched, self.visible = vcpu, routine, latched, visible
        self.name = f"{vcpu}.{routine}"
        self.xapic = "xapic" in scenario.facts
        self.alone = not scenario.threads and not scenario.interrupts

    def on(self, event: ev.Event, memory: Posting, look: Look) -> Posting:
        match event:
            case ev.Changed(at=at, routine=self.routine, set_bits=bits) if (
                at.startswith(f"{self.vcpu}.pid.pir[") and bits
            ):
                if self.routine == "post" and word(look.value(f"{self.vcpu}.pid.control")) & 1:
                    look.witness(VTD_7, Subject(at, bits), on(self.vcpu), self.vcpu)
                vectors = (64 * int(at[-2]) + n for n in range(64) if bits >> n & 1)
                more = (v for v in vectors if memory.set.count(v) < MOST)
                return memory._replace(set=tuple(sorted((*memory.set, *more))))
            case ev.Changed(at=at, routine=self.routine, old=old, new=new) if at == f"{self.vcpu}.pid.control":
                if word(new) & 1 > word(old) & 1:
                    ndst = word(new) >> 32
                    latch = (word(new) >> 16 & 0xFF, ndst >> 8 & 0xFF if self.xapic else ndst)
                    return memory._replace(owed=(*memory.owed, latch))
            case ev.Returned(routine=self.routine, args=(self.vcpu, int(vector), *_)) if vector in memory.set:
                at = memory.set.index(vector)
                return memory._replace(set=(*memory.set[:at], *memory.set[at + 1 :]))
            case ev.Sent(routine=self.routine, vector=vector, to=to, args=(self.vcpu, int(posted), *_)):
                return self._sent((vector, to), posted, memory, look)
            case ev.Taken(vector=vector, guest="") if self.alone and vector == PINV:
                look.witness(VTD_8, nv(self.vcpu), self.vcpu)
            case _:
                pass
        return memory

    def _sent(self, message: Latch, posted: int, memory: Posting, look: Look) -> Posting:
        look.witness(self.latched)
        look.witness(self.visible)
        bit = pir(self.vcpu, posted)
        if posted not in memory.set and not word(look.value(bit.name)) & bit.mask:
            said = "a notification leaves before its post's PIR bit is visible"
            look.breach(self.visible, said, bit, on(self.vcpu), self.vcpu)
        if message not in memory.owed:
            expected = (
                ", ".join(f"vector {v:#x} to APIC id {d}" for v, d in memory.owed)
                or "no notification, for no post set ON"
            )
            sent = f"vector {message[0]:#x} to APIC id {message[1]}"
            said = f"the notification is {sent}; the descriptor said, when ON was set: {expected}"
            look.breach(self.latched, said, nv(self.vcpu), ndst(self.vcpu), on(self.vcpu), self.vcpu)
            return memory._replace(owed=memory.owed[1:])
        at = memory.owed.index(message)
        return memory._replace(owed=(*memory.owed[:at], *memory.owed[at + 1 :]))


class DevicePosts(Notification):
    clauses = (VTD_5, VTD_6)


class VirtualIpis(Notification):
    clauses = (IPIV_3,)


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = []
    for n in range(len(scenario.vcpus)):
        agents = [*scenario.devices, *scenario.threads]
        mine = {a.routine for a in agents if a.args[:1] == (f"vcpu{n}",)}
        if "post" in mine:
            made.append(DevicePosts(scenario, f"vcpu{n}", "post", VTD_5, VTD_6))
        if "virtual_ipi" in mine:
            made.append(VirtualIpis(scenario, f"vcpu{n}", "virtual_ipi", IPIV_3, IPIV_3))
    return made
