"""The architectural state of x86 posted interrupts: descriptor, virtual-APIC page, VMCS, and what a guest has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from conformance.roles.location import Field, Shared
from conformance.roles.role import BaseVcpu, BaseWorld, Places

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
        if not 0 <= vector < 256:
            raise ValueError(f"{vector} is no vector: they are numbered from 0 to 255")
        word, bit = divmod(vector, 64)
        return Field(self.pir[word].at, 1 << bit, bit)


class Vcpu(BaseVcpu):
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

In the VMCS: `rvi` and `svi`, the guest interrupt status; `injected`, the vector that the next VM entry injects, 0 for
none; `interrupt_window`, interrupt-window exiting. On the virtual-APIC page: `vtpr`, `vppr`. In the logical processor:
`recognized`, a pending virtual interrupt. In the guest: `rflags_if`, `blocking_by_sti`, `halted`.
"""


class World(BaseWorld):
    """What a routine can name in one scenario: vCPUs, CPUs, and what is so in it."""

    vcpus: dict[str, Vcpu]
    cpus: list[Places]
    make_vcpu = Vcpu

    @cached_property
    def words(self) -> tuple[int, ...]:
        """The words of PIR, vIRR and vISR in which the scenario's vectors lie, for routines that go over all of them: the
        others are 0 throughout, those of PIR by the machine's word (`constant`).
        """
        return tuple(sorted({v // 64 for v in self.scenario.vectors})) or (1, 3)

    def of_vcpu(self, n: int) -> Mapping[str, Shared]:
        own = Shared(0, private_to="*")
        virr = Shared(0) if self.fact("apicv-inhibited") else own
        registers: dict[str, Shared] = {}
        for w in range(4):
            registers[f"pid.pir[{w}]"] = Shared(0, constant=w not in self.words)
            registers |= {f"virr[{w}]": virr, f"visr[{w}]": own, f"eoi_exit[{w}]": own}
        return {**registers, **ARCHITECTURAL}

    @property
    def facts(self) -> tuple[str, ...]:
        """`posts-on-own-cpu` is for the search alone: without it nobody asks who runs on a CPU, and no account is needed."""
        own = self.posts_on_own_cpu() or "unabridged" in self.scenario.facts
        return (*super().facts, *(("posts-on-own-cpu",) if own else ()))

    def posts_on_own_cpu(self) -> bool:
        """Whether anything posts to a vCPU from the pCPU it runs on: a handler there, or the vCPU's own thread."""
        actions = {str(a[0]) for v in self.scenario.vcpus for a in v.program}
        return bool(self.scenario.interrupts) or bool(actions & {"self_ipi", "fastpath_ipi"})
