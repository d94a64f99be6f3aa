"""The roles of x86 posted interrupts, and the architectural state they share.

A role is what an implementation fills in: subclass one or several, write the routines, and the reference fills the
rest. Routines run on a `Cpu`, take vCPUs as `Vcpu` objects, and reach memory through their fields (`vcpu.pid.on`,
`vcpu.virr[w]`, and whatever `vcpu_state` and `cpu_state` declare). A routine that goes on elsewhere returns
`Then(routine, arguments)`.

    sender ──> PIR, ON ──> notification ──> processor ──> vIRR ──> guest
    IOMMU  ──┘   SN, NV, NDST <── residency (load, put)      run loop: entry, harvest, block
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from conformance.roles import role
from conformance.roles.architecture import Architecture
from conformance.roles.cpu import Cpu, Then
from conformance.roles.location import Field, Shared
from conformance.roles.role import Places
from conformance.roles.scenario import Scenario

PINV = 0xF2
"""Notification vector of a vCPU that is not blocked (Linux: POSTED_INTR_VECTOR)."""
WAKEUP = 0xF1
"""Notification vector of a blocked vCPU (Linux: POSTED_INTR_WAKEUP_VECTOR)."""
KICK = 0xFD
"""Host vector that only forces a VM exit (Linux: RESCHEDULE_VECTOR)."""
DEVICE = 0x50
"""A device's host interrupt, whose handler posts from hard-interrupt context."""

CONTROLS = (
    "process-posted-interrupts",
    "virtual-interrupt-delivery",
    "acknowledge-interrupt-on-exit",
    "external-interrupt-exiting",
    "tpr-shadow",
)
"""The VM-execution and VM-exit controls that depend on each other here."""

HIGH, LOW = 200, 100
"""The vectors of most scenarios: in PIR words 3 and 1."""


class Descriptor:
    """Fields of a Posted-Interrupt Descriptor (Intel SDM vol. 3C, "Posted-Interrupt Processing"; VT-d, PID format)."""

    def __init__(self, name: str) -> None:
        self.pir = tuple(Field(f"{name}.pir[{w}]") for w in range(4))
        control = f"{name}.control"
        self.control = Field(control)
        self.on = Field(control, 1)
        self.sn = Field(control, 2, 1)
        self.nv = Field(control, 0xFF << 16, 16)
        self.ndst = Field(control, 0xFFFFFFFF << 32, 32)

    def bit(self, vector: int) -> Field:
        word, bit = divmod(vector, 64)
        return Field(self.pir[word].at, 1 << bit, bit)


class Vcpu(role.BaseVcpu):
    """A virtual CPU: descriptor, virtual-APIC page, VMCS fields, and what the software declared."""

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.pid = Descriptor(f"{name}.pid")
        self.virr = tuple(Field(f"{name}.virr[{w}]") for w in range(4))
        self.visr = tuple(Field(f"{name}.visr[{w}]") for w in range(4))


ARCHITECTURAL: Mapping[str, Shared] = {
    "pid.control": Shared(PINV << 16 | 2),
    "rvi": Shared(0, private_to="*"),
    "svi": Shared(0, private_to="*"),
    "vtpr": Shared(0, private_to="*"),
    "vppr": Shared(0, private_to="*"),
    "recognized": Shared(0, private_to="*"),
    "interrupt_window": Shared(0, private_to="*"),
    "injected": Shared(0, private_to="*"),
    "rflags_if": Shared(1, private_to="*"),
    "blocking_by_sti": Shared(0, private_to="*"),
    "halted": Shared(0, private_to="*"),
}
"""Per vCPU, beside pid.pir, virr, visr and eoi_exit (four words each). NV starts as PINV and SN set: no pCPU runs it
yet.
"""


class World(role.BaseWorld):
    """What a routine can name in one scenario: vCPUs, CPUs, and what is so in it."""

    vcpus: dict[str, Vcpu]
    cpus: list[Places]

    def __init__(
        self,
        scenario: Scenario,
        vcpu_state: Mapping[str, Shared] | None = None,
        cpu_state: Mapping[str, Shared] | None = None,
        vm_state: Mapping[str, Shared] | None = None,
        irq_state: Mapping[str, Shared] | None = None,
    ) -> None:
        super().__init__(scenario)
        self.words = tuple(sorted({v // 64 for v in scenario.vectors})) or (1, 3)
        self.vm = Places("vm", self._declare("vm", vm_state or {}))
        for n in range(len(scenario.vcpus)):
            self._add_vcpu(f"vcpu{n}", vcpu_state or {})
        for n in range(scenario.cpus):
            self.cpus.append(Places(f"cpu{n}", self._declare(f"cpu{n}", cpu_state or {})))

    def _add_vcpu(self, name: str, declared: Mapping[str, Shared]) -> None:
        for w in range(4):
            unused = w not in self.words
            self.locations[f"{name}.pid.pir[{w}]"] = Shared(0, constant=unused)
            shared_virr = "" if self.fact("apicv-inhibited") else name
            self.locations[f"{name}.virr[{w}]"] = Shared(0, private_to=shared_virr)
            self.locations[f"{name}.visr[{w}]"] = Shared(0, private_to=name)
            self.locations[f"{name}.eoi_exit[{w}]"] = Shared(0, private_to=name)
        fields = self._declare(name, {**ARCHITECTURAL, **declared})
        self.vcpus[name] = Vcpu(name, fields)

    def posts_on_own_cpu(self) -> bool:
        """Whether anything posts to a vCPU from the pCPU it runs on: a handler there, or the vCPU's own thread."""
        actions = {str(a[0]) for v in self.scenario.vcpus for a in v.program}
        return bool(self.scenario.interrupts) or bool(actions & {"self_ipi", "fastpath_ipi"})


class Role(role.BaseRole):
    """Base of x86's roles."""

    architecture: ClassVar[str] = "x86"
    world: World


class Processor(Role):
    """The logical processor in non-root mode (Intel SDM vol. 3C, "APIC Virtualization and Virtual Interrupts")."""

    def vm_entry(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """VM entry: PPR virtualization and evaluation of pending virtual interrupts."""
        raise NotImplementedError

    def boundary(self, cpu: Cpu, vcpu: Vcpu, pending: tuple[int, ...]) -> Any:
        """At an instruction boundary: ("deliver",), ("acknowledge", vector of `pending`), or None. May only look."""
        raise NotImplementedError

    def acknowledge(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """An external interrupt was acknowledged in non-root mode: posted-interrupt processing or VM exit."""
        raise NotImplementedError

    def deliver(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Virtual-interrupt delivery."""
        raise NotImplementedError

    def instruction(self, cpu: Cpu, vcpu: Vcpu, what: str, *operands: int) -> Any:
        """The guest executes something that the processor virtualizes or that exits: hlt, end_of_interrupt, write_tpr,
        ...
        """
        raise NotImplementedError


class VmEntryChecks(Role):
    """What VM entry checks of the controls of posted-interrupt processing (Intel SDM vol. 3C, 26.2.1.1)."""

    def check_controls(self, cpu: Cpu, vcpu: Vcpu, address: int, notification_vector: int, *controls: str) -> Any:
        """Whether VM entry goes on: the two VMCS fields, and the names of those of `CONTROLS` that are 1."""
        raise NotImplementedError


class Iommu(Role):
    """VT-d interrupt posting."""

    def post(self, cpu: Cpu, vcpu: Vcpu, vector: int, urgent: bool) -> Any:
        raise NotImplementedError


class StateTransfer(Role):
    """What userspace does to a vCPU that is out of its guest, and when devices come and go."""

    def save_restore(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        """The host posts `vector` to its own vCPU, then saves the local APIC and restores it."""
        raise NotImplementedError

    def reset(self, cpu: Cpu, vcpu: Vcpu, old: int, timer: int) -> Any:
        """`old` was posted in the vCPU's former life; the state loaded now has no interrupt pending and an expired
        timer.
        """
        raise NotImplementedError

    def assign_device(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The first device that can post is assigned; when this has returned, it posts."""
        raise NotImplementedError

    def unassign_device(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """The last device that could post is gone."""
        raise NotImplementedError

    def inhibit_apicv(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        """Another vCPU's doing makes the VM ask for APICv to be inhibited; this vCPU has not acted on it yet."""
        raise NotImplementedError


class IpiVirtualization(Role):
    """The sending processor's half of IPI virtualization (Intel SDM vol. 3C, "IPI Virtualization")."""

    def virtual_ipi(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        raise NotImplementedError


class Sender(Role):
    """Software that posts an interrupt to a vCPU, from any context."""

    def deliver_interrupt(self, cpu: Cpu, vcpu: Vcpu, vector: int) -> Any:
        raise NotImplementedError


class RunLoop(Role):
    """The vCPU's thread: enters the guest, handles exits, blocks."""

    def vcpu_run(self, cpu: Cpu, vcpu: Vcpu) -> Any:
        raise NotImplementedError


class Residency(Role):
    """The scheduler's hooks: what happens to the descriptor as the vCPU's thread comes and goes."""

    def load(self, cpu: Cpu, vcpu: Vcpu, where: int) -> Any:
        """The thread is on pCPU `where` again. Runs with preemption disabled."""
        raise NotImplementedError

    def put(self, cpu: Cpu, vcpu: Vcpu, preempted: bool) -> Any:
        """The thread is leaving its pCPU. Runs with interrupts off."""
        raise NotImplementedError


ROLES: Mapping[str, type[Role]] = {
    "processor": Processor,
    "iommu": Iommu,
    "ipi_virtualization": IpiVirtualization,
    "sender": Sender,
    "run_loop": RunLoop,
    "residency": Residency,
    "state_transfer": StateTransfer,
    "vm_entry_checks": VmEntryChecks,
}

X86 = Architecture("x86", ROLES, World)

__all__ = ["Cpu", "Field", "Places", "Shared", "Then", "Vcpu", "World"]
