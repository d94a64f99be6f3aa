"""The maintenance interrupt: a level that may be late, and must neither be needed in time nor for ever asserted."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.arm import MAINTENANCE
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import ARM_LIST, BAO, IHI_0048, LINUX, MAINTENANCE_INTERRUPT, QUEUEING, VGIC_PATCHES
from properties.arm.monitors.registers import maintenance_asserted, registers

VGIC_OVF_2 = QUEUEING.must_not(
    "VGIC-OVF-2",
    "A vCPU enters its guest again with a maintenance interrupt asserted that was asserted at its last entry, its "
    "guest having done nothing in between: it never would.",
    BAO("issue 398"),
    IHI_0048("5.2", "that the maintenance interrupt is a level"),
    role="run_loop",
    observe="GICH_HCR and the list registers at each entry.",
)


class Storm(Monitor):
    """Memory: whether the interrupt was asserted at the last entry (1), and has been taken since, the guest
    having done nothing (2).
    """

    clauses = (VGIC_OVF_2,)
    events = (ev.Entered, ev.Exited, ev.GuestActed, ev.Delivered)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.storm"
        self.memory = 0

    def on(self, event: ev.Event, memory: int, look: Look) -> int:
        match event:
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                look.witness(VGIC_OVF_2)
                asserted = maintenance_asserted(look, cpu)
                if asserted and memory == 2:
                    said = (
                        f"{self.vcpu} enters its guest once more with the maintenance interrupt of cpu{cpu} asserted: "
                        "it was taken after the last entry, before the guest could do anything, and will be again"
                    )
                    look.breach(VGIC_OVF_2, said, f"cpu{cpu}.hcr", *registers(look, cpu), self.vcpu, f"cpu{cpu}")
                return int(asserted)
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return 2 if memory and reason == ("interrupt", MAINTENANCE) else 0
            case ev.GuestActed(vcpu=self.vcpu) | ev.Delivered(vcpu=self.vcpu):
                return 0
            case _:
                return memory


GICV2_MI_2 = MAINTENANCE_INTERRUPT.may(
    "GICV2-MI-2",
    "The maintenance interrupt arrives late: at any time while its level is asserted.",
    LINUX("vgic/vgic.c vgic_flush_lr_state()", "comment"),
    ARM_LIST(VGIC_PATCHES),
    authority="linux",
    observe="A guest goes on after the end of an interrupt that raised the level.",
)

GICV2_MI_3 = MAINTENANCE_INTERRUPT.must_not(
    "GICV2-MI-3",
    "A maintenance interrupt that comes late changes no state of another vCPU than the one it is about.",
    ARM_LIST(VGIC_PATCHES, "'messing with the wrong vcpu'"),
    role="run_loop",
    authority="linux",
    observe="What of another vCPU's, or of another pCPU's registers, the handler writes while that vCPU, or none, is loaded.",
)


class Handling(NamedTuple):
    """Whose guest ran on the CPU last; the routine that handles the interrupt now, and "" or what it may not touch."""

    last: str = ""
    taken: bool = False
    routine: str = ""


class LateInterrupt(Monitor):
    """Where it is taken late: on the host, when another vCPU is loaded, or none."""

    witnesses = (GICV2_MI_2,)
    events = (ev.Entered, ev.Exited, ev.Taken, ev.Called, ev.Returned, ev.Changed)

    def __init__(self, scenario: Scenario, cpu: int) -> None:
        self.cpu, self.name = cpu, f"cpu{cpu}.maintenance"
        self.late = "late-mi" in scenario.facts
        self.clauses = (GICV2_MI_3,) if self.late else ()
        vcpus, cpus = range(len(scenario.vcpus)), range(scenario.cpus)
        self.owners = {*(f"vcpu{n}" for n in vcpus), *(f"cpu{n}" for n in cpus if n != cpu)}
        self.memory = Handling()

    def on(self, event: ev.Event, memory: Handling, look: Look) -> Handling:
        if event.cpu != self.cpu:
            return memory
        match event:
            case ev.Entered(vcpu=vcpu):
                return memory._replace(last=vcpu)
            case ev.Exited(reason=reason) if reason != ("interrupt", MAINTENANCE):
                if maintenance_asserted(look, self.cpu):
                    look.witness(GICV2_MI_2, f"cpu{self.cpu}.hcr", *registers(look, self.cpu), f"cpu{self.cpu}")
            case ev.Taken(vector=vector, guest=guest) if vector == MAINTENANCE and self.late:
                return memory._replace(taken=not guest)
            case ev.Called(routine=routine, args=(self.cpu,)) if memory.taken:
                look.witness(GICV2_MI_3)
                return memory._replace(taken=False, routine=routine)
            case ev.Changed(routine=routine, at=at) if routine == memory.routine:
                loaded = look.on_cpu(self.cpu)
                owner = at.partition(".")[0]
                if loaded != memory.last and owner in self.owners - {memory.last}:
                    said = (
                        f"{routine} on cpu{self.cpu} handles a maintenance interrupt of {memory.last or 'nobody'} while "
                        f"{loaded or 'nobody'} is loaded there, and changes {at}"
                    )
                    look.breach(GICV2_MI_3, said, at, f"cpu{self.cpu}")
            case ev.Returned(routine=routine) if routine == memory.routine:
                return memory._replace(routine="")
            case _:
                pass
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    hosts = sorted({v.cpu for v in scenario.vcpus})
    late: list[Monitor] = [LateInterrupt(scenario, c) for c in hosts]
    if "late-mi" in scenario.facts:  # one that is spent on nobody comes again, as often as the budget allows
        return late
    return [*(Storm(f"vcpu{n}") for n in range(len(scenario.vcpus))), *late]
