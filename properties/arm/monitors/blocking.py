"""WFI: what a vCPU's thread has looked at before it sleeps (Linux arm.c, kvm_vcpu_wfi()), and what others may look at."""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import ARM_ARM, KERNEL, KVM_LIST, LINUX, PRIORITY, WAITING
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


TO_SLEEP = "the decision is to sleep"

GICV2_VMCR_2 = PRIORITY.must(
    "GICV2-VMCR-2",
    "While a vCPU is loaded, a decision that needs its PMR or group enables is made on what the hardware holds: "
    "the copy in memory may be stale.",
    KVM_LIST("M. Zyngier, 28 Sep 2021"),
    KERNEL("5eeaf10eec39 (2019)"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    observe="Of the decision to sleep in WFI alone: whether the thread has read GICH_VMCR since the exit.",
)

VGIC_WFI_1 = WAITING.must(
    "VGIC-WFI-1",
    "Before a vCPU's thread sleeps in WFI it has read GICH_VMCR out of the hardware, and looked for an interrupt "
    "after announcing that it would sleep.",
    LINUX("arm.c kvm_vcpu_wfi()"),
    KERNEL("b321c31c9b7b"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    observe="The order of the thread's operations between the exit and the sleep.",
    of=(GICV2_VMCR_2,),
    where=(TO_SLEEP,),
)

VGIC_WFI_4 = WAITING.may(
    "VGIC-WFI-4",
    "A WFI ends without an interrupt: a wake-up for nothing.",
    ARM_ARM("WFI"),
    authority="architecture",
    observe="A guest that goes on after its thread was woken, and acknowledges nothing first.",
)

VGIC_WFI_5 = WAITING.must(
    "VGIC-WFI-5",
    "Whether a vCPU in WFI could go on does not count interrupts that are masked by priority, disabled or active; "
    "PSTATE.I does not matter.",
    LINUX("vgic/vgic.c kvm_vgic_vcpu_pending_irq()"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    premise="a vCPU waits with all interrupts masked",
    observe=(
        "A vCPU that masked all priorities and is not woken does not come back from WFI without having slept. That "
        "PSTATE.I does not matter, VGIC-WFI-2 says. Not judged with GICv4, whose PendingLast tells no priority, nor of what is "
        "disabled or active."
    ),
)


class Waiting(Monitor):
    """What one vCPU's thread does between a WFI exit and its sleep, or its next entry."""

    witnesses = (VGIC_WFI_4,)
    events = (ev.Asked, ev.Exited, ev.Entered, ev.Slept, ev.Woken, ev.Delivered, ev.GuestActed)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.scenario, self.vcpu, self.name = scenario, vcpu, f"{vcpu}.waiting"
        self.told_priority = not {"gicv4", "gicv4.1"} & {*scenario.facts}
        self.clauses = (VGIC_WFI_1, *([VGIC_WFI_5] * self.told_priority), GICV2_VMCR_2)
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
                look.witness(VGIC_WFI_4, f"{self.vcpu}.status", self.vcpu)
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
        look.witness(GICV2_VMCR_2, where=(TO_SLEEP,))
        if self._masked(look):
            look.witness(VGIC_WFI_5)
        if not memory.looked:
            said = f"{self.vcpu} sleeps without having looked since it announced that it would"
            look.breach(VGIC_WFI_1, said, f"{self.vcpu}.status", self.vcpu)
        if not memory.synced:
            said = f"{self.vcpu} sleeps by what its priority mask was before: nobody read GICH_VMCR since its WFI"
            vmcr = [f"cpu{c}.vmcr" for c in look.cpus if look.has(f"cpu{c}.vmcr")]
            look.breach(GICV2_VMCR_2, said, *vmcr, f"{self.vcpu}.status", self.vcpu, where=(TO_SLEEP,))

    def _enters(self, memory: Wait, look: Look) -> None:
        if memory.waits and not memory.slept and self._masked(look):
            said = f"{self.vcpu} goes back to its guest from a WFI with all interrupts masked"
            look.breach(VGIC_WFI_5, said, f"{self.vcpu}.status", self.vcpu)

    def _masked(self, look: Look) -> bool:
        """Whether it masks all that could come, where what is pending has a priority that software is told."""
        return self.told_priority and not any(unmasked(look, self.vcpu, i) for i in self.scenario.vectors)


GICV2_VMCR_3 = PRIORITY.must_not(
    "GICV2-VMCR-3",
    "VMCR is not read from hardware for a vCPU that is not loaded on this pCPU.",
    KVM_LIST("M. Zyngier, 28 Sep 2021", "on reading it on demand"),
    kind="discipline",
    role="run_loop",
    profiles=("kvm",),
    authority="linux",
    observe="That a vCPU is loaded where the register is read; for whose sake its thread reads it is not seen.",
)

GICV2_VMCR_4 = PRIORITY.may(
    "GICV2-VMCR-4",
    "Userspace sees an outdated VMCR of a vCPU that runs.",
    KERNEL("328e56647944 (2018)", "message"),
    role="run_loop",
    authority="linux",
    unchecked="No scenario has userspace read a vCPU's registers.",
)


class HardwareView(Monitor):
    """Who touches a CPU's GICH_VMCR, and who is loaded there."""

    clauses = (GICV2_VMCR_3,)
    events = (ev.Asked,)
    name = "vmcr"

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Asked) or not isinstance(event.operation, ops.Load | ops.Store) or event.cpu < 0:
            return
        at = event.operation.at
        if not at.endswith(".vmcr") or not at.startswith("cpu") or event.routine in HARDWARE:
            return
        look.witness(GICV2_VMCR_3)
        loaded = look.on_cpu(event.cpu)
        if at != f"cpu{event.cpu}.vmcr" or not loaded.startswith("vcpu"):
            said = (
                f"{event.routine} touches {at} from cpu{event.cpu}, where {loaded or 'nobody'} is loaded: "
                "what a vCPU's GICH_VMCR is, only the CPU that it is loaded on can tell"
            )
            look.breach(GICV2_VMCR_3, said, at, f"cpu{event.cpu}")


VGIC_DY_1 = WAITING.must_not(
    "VGIC-DY-1",
    "Who asks whether a vCPU could run changes the state of that vCPU, or of the pCPU it runs on, while it is in "
    "its guest.",
    KVM_LIST("M. Zyngier, Sep 2021", "putting the vGIC would lead to state corruption"),
    role="run_loop",
    authority="linux",
    premise="a vCPU spins while another runs",
    observe="What the asking thread writes between its PAUSE exit and its next entry, host interrupts' handlers left aside.",
)

VGIC_DY_2 = WAITING.may(
    "VGIC-DY-2",
    "The answer to that question is out of date.",
    KVM_LIST("S. Christopherson and M. Zyngier, Sep 2021"),
    authority="linux",
    unchecked="the answer is software's own, and only a hint to its scheduler: the architecture shows nothing of it",
)


ASKS, TAKEN = "asks", "takes an interrupt"


class DirectedYield(Monitor):
    """Memory: whether this vCPU's thread handles a PAUSE exit; or the routine of the host interrupt that came in between,
    whose business with other vCPUs is its own.
    """

    clauses = (VGIC_DY_1,)
    events = (ev.Exited, ev.Entered, ev.Changed, ev.Taken, ev.Called, ev.Returned)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.yield"
        self.others = [f"vcpu{n}" for n in range(len(scenario.vcpus)) if f"vcpu{n}" != vcpu]
        self.memory = ""

    def on(self, event: ev.Event, memory: str, look: Look) -> str:
        match event:
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return ASKS if reason == ("pause",) else ""
            case ev.Entered(vcpu=self.vcpu) if memory:
                look.witness(VGIC_DY_1)
                return ""
            case ev.Taken(cpu=cpu, guest="") if memory == ASKS and look.on_cpu(cpu) == self.vcpu:
                return TAKEN
            case ev.Called(cpu=cpu, routine=routine) if memory == TAKEN and look.on_cpu(cpu) == self.vcpu:
                return routine
            case ev.Returned(routine=routine) if routine == memory:
                return ASKS
            case ev.Changed(cpu=cpu, at=at) if cpu >= 0 and look.on_cpu(cpu) == self.vcpu and memory == ASKS:
                for other in self.others:
                    hers = at.startswith((f"{other}.", f"cpu{look.in_guest(other)}."))
                    if look.in_guest(other) >= 0 and hers:
                        said = f"{event.routine} on cpu{cpu}, asking whether {other} could run, changes {at} while {other} "
                        look.breach(VGIC_DY_1, f"{said}is in its guest", at, other, self.vcpu)
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
