"""WFI: what a vCPU's thread has looked at before it sleeps (Linux arm.c, kvm_vcpu_wfi()), and what others may look at."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import unmasked

HARDWARE = ("vm_entry", "boundary", "acknowledge", "deliver", "instruction", "maintenance", "redistributor", "vlpi")


class Wait(NamedTuple):
    """Since the last VM exit: whether it was a WFI, whether the thread read GICH_VMCR out of hardware, announced that it
    would sleep and looked after that, slept; whether it was woken and has done nothing since.
    """

    waits: bool = False
    synced: bool = False
    announced: bool = False
    looked: bool = False
    slept: bool = False
    woken: bool = False


class Waiting(Monitor):
    """VGIC-WFI-1, WFI-5 and GICV2-VMCR-2; VGIC-WFI-4 is observed."""

    clauses = ("VGIC-WFI-1", "VGIC-WFI-5", "GICV2-VMCR-2")
    witnesses = ("VGIC-WFI-4",)
    events = (ev.Asked, ev.Exited, ev.Entered, ev.Slept, ev.Woken, ev.Delivered, ev.GuestActed)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.scenario, self.vcpu, self.name = scenario, vcpu, f"{vcpu}.waiting"
        self.memory = Wait()

    def on(self, event: ev.Event, memory: Wait, look: Look) -> Wait:
        match event:
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return Wait(waits=reason == ("wfi",), woken=memory.woken)
            case ev.Asked(cpu=cpu, operation=op, routine=routine) if isinstance(op, ops.Load | ops.PrepareToBlock):
                if cpu < 0 or routine in HARDWARE or look.on_cpu(cpu) != self.vcpu:
                    return memory
                return self._asked(op, cpu, memory)
            case ev.Slept(thread=self.vcpu):
                self._sleeps(memory, look)
                return memory._replace(announced=False, looked=False, slept=True)
            case ev.Woken(thread=self.vcpu, was="sleeping"):
                return memory._replace(woken=True)
            case ev.Entered(vcpu=self.vcpu):
                self._enters(memory, look)
                return Wait(woken=memory.woken)
            case ev.Delivered(vcpu=self.vcpu):
                return memory._replace(woken=False)
            case ev.GuestActed(vcpu=self.vcpu) if memory.woken:
                look.witness("VGIC-WFI-4", f"{self.vcpu}.status", self.vcpu)
                return memory._replace(woken=False)
            case _:
                return memory

    def _asked(self, op: ops.Load | ops.PrepareToBlock, cpu: int, memory: Wait) -> Wait:
        if isinstance(op, ops.PrepareToBlock):
            return memory._replace(announced=True, looked=False)
        if op.at == f"cpu{cpu}.vmcr":
            return memory._replace(synced=True)
        return memory._replace(looked=True) if memory.announced else memory

    def _sleeps(self, memory: Wait, look: Look) -> None:
        if not memory.waits:
            return
        masked = not any(unmasked(look, self.vcpu, i) for i in self.scenario.vectors)
        for clause in ("VGIC-WFI-1", "GICV2-VMCR-2", *(["VGIC-WFI-5"] if masked else [])):
            look.witness(clause)
        if not memory.looked:
            said = f"{self.vcpu} sleeps without having looked since it announced that it would"
            look.breach("VGIC-WFI-1", said, f"{self.vcpu}.status", self.vcpu)
        if not memory.synced:
            said = f"{self.vcpu} sleeps by what its priority mask was before: nobody read GICH_VMCR since its WFI"
            vmcr = [f"cpu{c}.vmcr" for c in look.cpus if look.has(f"cpu{c}.vmcr")]
            for clause in ("GICV2-VMCR-2", "VGIC-WFI-1"):
                look.breach(clause, said, *vmcr, f"{self.vcpu}.status", self.vcpu)

    def _enters(self, memory: Wait, look: Look) -> None:
        if not memory.waits or any(unmasked(look, self.vcpu, i) for i in self.scenario.vectors):
            return
        if not memory.slept:
            said = f"{self.vcpu} goes back to its guest from a WFI with all interrupts masked"
            look.breach("VGIC-WFI-5", said, f"{self.vcpu}.status", self.vcpu)


class HardwareView(Monitor):
    """GICV2-VMCR-3: the CPU's GICH_VMCR is asked only for the vCPU that is loaded there."""

    clauses = ("GICV2-VMCR-3",)
    events = (ev.Asked,)
    name = "vmcr"

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Asked) or not isinstance(event.operation, ops.Load | ops.Store) or event.cpu < 0:
            return
        at = event.operation.at
        if not at.endswith(".vmcr") or not at.startswith("cpu") or event.routine in HARDWARE:
            return
        look.witness("GICV2-VMCR-3")
        loaded = look.on_cpu(event.cpu)
        if at != f"cpu{event.cpu}.vmcr" or not loaded.startswith("vcpu"):
            said = (
                f"{event.routine} touches {at} from cpu{event.cpu}, where {loaded or 'nobody'} is loaded: "
                "what a vCPU's GICH_VMCR is, only the CPU that it is loaded on can tell"
            )
            look.breach("GICV2-VMCR-3", said, at, f"cpu{event.cpu}")


class DirectedYield(Monitor):
    """VGIC-DY-1. Memory: whether this vCPU's thread handles a PAUSE exit."""

    clauses = ("VGIC-DY-1",)
    events = (ev.Exited, ev.Entered, ev.Changed)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.yield"
        self.others = [f"vcpu{n}" for n in range(len(scenario.vcpus)) if f"vcpu{n}" != vcpu]
        self.memory = False

    def on(self, event: ev.Event, memory: bool, look: Look) -> bool:
        match event:
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return reason == ("pause",)
            case ev.Entered(vcpu=self.vcpu) if memory:
                look.witness("VGIC-DY-1")
                return False
            case ev.Changed(cpu=cpu, at=at) if cpu >= 0 and look.on_cpu(cpu) == self.vcpu and memory:
                for other in self.others:
                    hers = at.startswith((f"{other}.", f"cpu{look.in_guest(other)}."))
                    if look.in_guest(other) >= 0 and hers:
                        said = f"{event.routine} on cpu{cpu}, asking whether {other} could run, changes {at} while {other} "
                        look.breach("VGIC-DY-1", f"{said}is in its guest", at, other, self.vcpu)
            case _:
                pass
        return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = [HardwareView()]
    for n, vcpu in enumerate(scenario.vcpus):
        if ("wfi",) in vcpu.program:
            made.append(Waiting(scenario, f"vcpu{n}"))
        if ("pause",) in vcpu.program:
            made.append(DirectedYield(scenario, f"vcpu{n}"))
    return made
