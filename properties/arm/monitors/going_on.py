"""A guest that does not wait goes on, whatever made it leave: judged at rest, by what the guest has executed."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import ARM_ARM, LINUX, WAITING

VGIC_WFI_7 = WAITING.must(
    "VGIC-WFI-7",
    "A vCPU whose guest does not wait comes back to it and goes on, whatever made it leave: a physical interrupt, which ends a "
    "WFI too, or a write of GICD_ISACTIVER or GICD_ICACTIVER that halts it until the write is over.",
    LINUX("arm.c kvm_arm_resume_guest()"),
    ARM_ARM("WFI wake-up events"),
    authority="end-to-end",
    observe="At rest neither a thread sleeps, nor its guest, whose last instruction is no WFI, or one that an interrupt has ended.",
)


class GoingOn(Monitor):
    """Memory: whether the guest waits, by its last instruction and what has happened since."""

    clauses = (VGIC_WFI_7,)
    events = (ev.GuestActed, ev.Delivered, ev.Entered, ev.Exited)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.going_on"
        self.trapped = "wfi-not-trapped" not in scenario.facts
        self.memory = False

    def on(self, event: ev.Event, memory: bool, look: Look) -> bool:
        match event:
            case ev.GuestActed(vcpu=self.vcpu, action=("wfi",)):
                return True
            case ev.GuestActed(vcpu=self.vcpu) | ev.Delivered(vcpu=self.vcpu):
                return False
            case ev.Entered(vcpu=self.vcpu) if self.trapped:
                return False
            case ev.Exited(vcpu=self.vcpu, reason=("interrupt", _)):
                return False
            case _:
                return memory

    def at_rest(self, memory: bool, look: Look) -> None:
        if memory:
            return
        look.witness(VGIC_WFI_7)
        here = look.in_guest(self.vcpu)
        if look.status(self.vcpu) == "sleeping":
            said = f"at rest {self.vcpu} sleeps, whose guest does not wait for an interrupt"
            look.breach(VGIC_WFI_7, said, f"{self.vcpu}.status", self.vcpu)
        elif here >= 0 and look.value(f"{self.vcpu}.halted"):
            said = f"at rest {self.vcpu} waits in its guest on cpu{here}, which has executed no WFI that an interrupt did not end"
            look.breach(VGIC_WFI_7, said, f"{self.vcpu}.halted", self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    return [GoingOn(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
