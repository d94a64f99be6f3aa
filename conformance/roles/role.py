"""What the roles of all architectures share: locations by attribute, the world of one scenario, and the base of roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from conformance.roles.location import Field, Shared
from conformance.roles.scenario import Scenario


class Places:
    """Locations by attribute: what a role declared for a vCPU, CPU or interrupt."""

    def __init__(self, name: str, fields: Mapping[str, Field]) -> None:
        self._name, self._fields = name, fields

    def __getattr__(self, name: str) -> Any:
        field = self._fields.get(name)
        if field is None:
            raise AttributeError(f"{self._name} has no location {name}", name=name, obj=self)
        return field

    def __dir__(self) -> Iterator[str]:
        """What it can name: for whoever misspells one."""
        yield from self._fields
        yield from vars(self)

    def __str__(self) -> str:
        return self._name


class BaseVcpu(Places):
    """A virtual CPU. Each architecture's own class adds what its manual gives a vCPU."""

    is_vcpu = True

    def __init__(self, name: str, declared: Mapping[str, Field]) -> None:
        super().__init__(name, declared)
        self.name = name


NOTHING: Mapping[str, Shared] = {}


class BaseWorld:
    """What a routine can name in one scenario: vCPUs, CPUs, and what is so in it. Each architecture's own class says what
    its manual gives a vCPU and a CPU (`of_vcpu`, `of_cpu`); `state` is what the roles declare beside that.
    """

    make_vcpu: ClassVar[Callable[[str, Mapping[str, Field]], BaseVcpu]] = BaseVcpu
    make_cpu: ClassVar[Callable[[str, Mapping[str, Field]], Places]] = Places

    def __init__(
        self,
        scenario: Scenario,
        vcpu_state: Mapping[str, Shared] = NOTHING,
        cpu_state: Mapping[str, Shared] = NOTHING,
        vm_state: Mapping[str, Shared] = NOTHING,
        irq_state: Mapping[str, Shared] = NOTHING,
    ) -> None:
        self.scenario = scenario
        self.vcpus: dict[str, Any] = {}
        self.cpus: list[Any] = []
        self.locations: dict[str, Shared] = {}
        self.vm = Places("vm", self._declare("vm", {**self.of_vm(), **vm_state}))
        for n, name in enumerate(f"vcpu{n}" for n in range(len(scenario.vcpus))):
            self.vcpus[name] = type(self).make_vcpu(name, self._declare(name, {**self.of_vcpu(n), **vcpu_state}))
        for n, name in enumerate(f"cpu{n}" for n in range(scenario.cpus)):
            self.cpus.append(type(self).make_cpu(name, self._declare(name, {**self.of_cpu(n), **cpu_state})))

    def of_vcpu(self, n: int) -> Mapping[str, Shared]:
        """The architectural state of vCPU `n`. The machine asks for `halted`: a guest that is executes nothing."""
        return {"halted": Shared(0, private_to="*")}

    def of_cpu(self, n: int) -> Mapping[str, Shared]:
        """The architectural state of pCPU `n`, beside what the machine keeps of it."""
        return NOTHING

    def of_vm(self) -> Mapping[str, Shared]:
        """What is one for all CPUs of the machine, beside what the roles declare."""
        return NOTHING

    def _declare(self, owner: str, state: Mapping[str, Shared]) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for short, shared in state.items():
            guard = f"{owner}.{shared.guarded_by}" if shared.guarded_by else ""
            private = owner if shared.private_to else ""  # the name is filled in here
            constant = shared.constant or (bool(shared.changed_by) and not self._executes(shared.changed_by))
            self.locations[f"{owner}.{short}"] = Shared(
                shared.initial, guard, private, constant, shared.lock, read_freely=shared.read_freely
            )
            fields[short] = Field(f"{owner}.{short}")
        return fields

    def _executes(self, beginnings: tuple[tuple[int | str, ...], ...]) -> bool:
        """Whether a guest's program has an instruction that begins so."""
        programs = [vcpu.program for vcpu in self.scenario.vcpus]
        return any(action[: len(b)] == b for program in programs for action in program for b in beginnings)

    @property
    def facts(self) -> tuple[str, ...]:
        """What is so in the scenario, and what follows from it."""
        return self.scenario.facts

    def fact(self, name: str) -> bool:
        return name in self.facts

    def abridged(self, when: bool, because: str) -> bool:
        """For the search alone: whether code that mirrors an original may leave out what follows, as no agent of this
        scenario could tell the difference `when` this is so. With the fact `unabridged` nothing is left out: a test
        compares what is found.
        """
        return when and not self.fact("unabridged")

    def name(self, value: Any) -> Any:
        """The object a routine gets for an argument: a Vcpu for its name, else the value itself."""
        return self.vcpus.get(value, value) if isinstance(value, str) else value


class BaseRole:
    """Base of roles. An implementation is one class that subclasses one or several.

    The docstring of a routine in a role says when it is called and in what context, what it may rely on, what it must
    leave, and what it returns. The contexts:

    a thread: on a pCPU, interrupts and preemption on at first. The host takes what is latched before any operation
        while interrupts are on. A vCPU's thread may also be preempted there, and moved, unless preemption is off or it
        holds a lock. It may sleep.
    a handler: on top of whatever runs on a pCPU, interrupts off; no other handler comes on top of it. It may not
        sleep, nor touch what is private to a vCPU.
    load and put: between two threads of a pCPU. They may not sleep.
    the processor: on a pCPU that is in a guest, or on its way in; until it returns, nothing else happens on that pCPU.
        Its stores are visible at once, and `cpu.atomic` makes several operations one step.
    a device: on no pCPU. It loads, stores, does locked operations, sends messages, chooses, relaxes, and has
        `cpu.atomic`.

    Everywhere else other agents may come between any two operations, and a store waits in the pCPU's store buffer until
    it drains. A call is over when it returns; what outlives it lies in the locations that the role declares.
    """

    vcpu_state: ClassVar[Mapping[str, Shared]] = {}
    cpu_state: ClassVar[Mapping[str, Shared]] = {}
    vm_state: ClassVar[Mapping[str, Shared]] = {}
    irq_state: ClassVar[Mapping[str, Shared]] = {}
    """For each interrupt, where the architecture has interrupts with state of their own."""
    hardware: ClassVar[bool] = False
    """Whether its routines are no software: what they do in one step needs no fence."""
    feature: ClassVar[str] = ""
    """What an implementation declares to lack if it has no use for the role: scenarios that call it are left out."""
    goes_with: ClassVar[str] = ""
    """The role whose own state its routines know: who fills that one and not this one takes no part where it is called."""
    handles: ClassVar[tuple[int, ...]] = ()
    """Host interrupts whose handlers belong to it, not to the run loop."""
    handlers: ClassVar[Mapping[int, str]] = {}
    """Host interrupt vector to the routine that handles it."""
    profile: ClassVar[str] = "generic"
    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Clauses this implementation declares not applicable, each with its reason."""

    def __init__(self, world: Any) -> None:
        self.world = world
