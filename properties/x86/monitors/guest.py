"""The guest as it knows itself: whether it has interrupts open, what it handles, what it wrote to TPR, whether it halts.

Nothing here is read from a register that the code under test keeps: the guest's program, and what was delivered to it and
not completed, say it all.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Action, Scenario
from conformance.roles.x86.architecture import OPENED
from properties.x86.catalogue import END_TO_END, LINUX, SDM, SDM_2A, SDM_3A, VMX
from properties.x86.monitors.registers import word
from properties.x86.monitors.subjects import virr

POSTING = ("deliver_interrupt", "post", "virtual_ipi")

E2E_16 = END_TO_END.must_not(
    "E2E-16",
    "No handler of the guest is started while the guest has interrupts closed, or while its TPR, or a handler that it has not "
    "ended, masks the vector.",
    SDM("29.2.2", "a virtual interrupt is delivered if RFLAGS.IF is 1"),
    SDM_3A("10.8.3.1", "task and processor priorities"),
    observe="At each delivery what the guest has executed: its last STI or CLI, its last write of TPR, handlers without an EOI.",
)

E2E_18 = END_TO_END.must_not(
    "E2E-18",
    "A guest that has executed HLT executes nothing more before an interrupt that it would take has come for it. Its thread may "
    "wake for nothing, and its processor may exit and be entered again: the guest goes on halting.",
    SDM_2A("HLT", "an enabled interrupt resumes execution; NMIs, SMIs, INIT and debug exceptions are not modelled"),
    premise="guest halts",
    observe=(
        "Each instruction of the guest's program after its HLT: one that it would take was delivered since, or posted and not "
        "delivered."
    ),
)

E2E_19 = END_TO_END.may(
    "E2E-19",
    "What ends a guest's HLT may be delivered some instructions later: its vCPU has seen that it was posted, and goes on before it "
    "is injected.",
    LINUX(f"{VMX} vmx_deliver_interrupt", "with APICv inhibited vIRR is set before the event is requested"),
    observe="A trace where the guest executes an instruction after HLT, and what has ended that is delivered after it.",
)

E2E_20 = END_TO_END.may(
    "E2E-20",
    "A handler of the guest that has opened interrupts may be interrupted by one of a higher class, and that by another.",
    SDM_3A("10.8.3.1", "processor priority"),
    premise="the guest's handlers open interrupts",
    observe="A delivery while the guest handles another vector.",
)

E2E_24 = END_TO_END.must_not(
    "E2E-24",
    "The guest executes no instruction while a vector that it would take is in vIRR, unless somebody is still posting or an "
    "interrupt for its pCPU is on its way.",
    SDM("29.2.2", "a pending virtual interrupt is delivered at the next instruction boundary"),
    premise="the guest's handlers open interrupts",
    observe="Each instruction, an EOI too, against vIRR and what the guest has executed before it.",
)


def open_to(look: Look, vcpu: str, vector: int, in_service: tuple[int, ...]) -> bool:
    """Whether the guest would take the vector: interrupts open, its class above that of TPR and of all that it handles. In a
    handler they are open once that has opened them.
    """
    return takes(look.executed(vcpu), in_service, vector)


def takes(executed: tuple[Action, ...], in_service: tuple[int, ...], vector: int) -> bool:
    if not in_service:
        return open_after(executed, vector)
    return bool(in_service[-1] & OPENED) and vector >> 4 > priority(executed, in_service) >> 4


def priority(executed: tuple[Action, ...], in_service: tuple[int, ...]) -> int:
    """What masks: the guest's last write of TPR, or a vector that it handles."""
    return max(task_priority(executed), *map(handled, in_service)) if in_service else task_priority(executed)


def handled(told: int) -> int:
    """The vector of one that the guest has yet to complete."""
    return told & ~OPENED


def open_after(executed: tuple[Action, ...], vector: int) -> bool:
    """Whether these instructions leave the vector unmasked."""
    switched = [action[0] == "sti" for action in executed if action[0] in ("sti", "cli")]
    return (switched or [True])[-1] and vector >> 4 > task_priority(executed) >> 4


def task_priority(executed: tuple[Action, ...]) -> int:
    """What the guest last wrote to TPR."""
    return ([0] + [int(action[1]) for action in executed if action[0] == "write_tpr"])[-1]


class GuestTakes(Monitor):
    clauses = (E2E_16,)
    witnesses = (E2E_20,)
    events = (ev.Delivered,)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.guest"

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        if not isinstance(event, ev.Delivered) or event.vcpu != self.vcpu:
            return
        look.witness(E2E_16)
        before = look.in_service(self.vcpu)[:-1]
        if before:
            look.witness(E2E_20, f"{self.vcpu}.rflags_if", self.vcpu)
        if not open_to(look, self.vcpu, event.vector, before):
            priority = task_priority(look.executed(self.vcpu))
            because = (
                f"it handles vector {handled(before[-1])}"
                if before
                else f"its TPR is {priority:#x}"
                if event.vector >> 4 <= priority >> 4
                else "it has interrupts closed"
            )
            said = f"vector {event.vector} is delivered to {self.vcpu}'s guest, and {because}"
            look.breach(E2E_16, said, f"{self.vcpu}.rflags_if", f"{self.vcpu}.vppr", self.vcpu)


class Begun(NamedTuple):
    calls: int = 0
    """Posts under way."""
    in_service: tuple[int, ...] = ()
    """What the guest handles, as its last instruction or the last delivery left it."""


class GuestGoesOn(Monitor):
    clauses = (E2E_24,)
    events = (ev.Called, ev.Returned, ev.Delivered, ev.GuestActed)
    memory = Begun()

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vectors, self.vcpu, self.name = scenario.vectors, vcpu, f"{vcpu}.goes_on"

    def on(self, event: ev.Event, memory: Begun, look: Look) -> Begun:
        match event:
            case ev.Called(routine=routine, args=(self.vcpu, *_)) if routine in POSTING:
                return memory._replace(calls=memory.calls + 1)
            case ev.Returned(routine=routine, args=(self.vcpu, *_)) if routine in POSTING:
                return memory._replace(calls=max(0, memory.calls - 1))
            case ev.GuestActed(vcpu=self.vcpu, cpu=cpu):
                if not (memory.calls or look.in_flight(cpu) or look.latched(cpu)):
                    self._acts(memory.in_service, look)
                return memory._replace(in_service=look.in_service(self.vcpu))
            case ev.Delivered(vcpu=self.vcpu):
                return memory._replace(in_service=look.in_service(self.vcpu))
            case _:
                return memory

    def _acts(self, in_service: tuple[int, ...], look: Look) -> None:
        executed = look.executed(self.vcpu)
        before = executed if in_service else executed[:-1]
        for vector in self.vectors:
            pending = word(look.value(f"{self.vcpu}.virr[{vector // 64}]")) >> vector % 64 & 1
            if pending and takes(before, in_service, vector):
                said = f"{self.vcpu}'s guest goes on, while vector {vector} waits in vIRR and could be taken"
                look.breach(E2E_24, said, virr(self.vcpu, vector), f"{self.vcpu}.rvi", self.vcpu)
        look.witness(E2E_24)


class Halt(NamedTuple):
    halted: bool = False
    """The guest has executed HLT, and nothing was delivered to it since."""
    posted: tuple[int, ...] = ()
    """What was posted and not delivered, as often; posts that merge leave one more."""


class Halted(Monitor):
    clauses = (E2E_18,)
    witnesses = (E2E_19,)
    events = (ev.Called, ev.GuestActed, ev.Delivered)
    memory = Halt()

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.halted"

    def on(self, event: ev.Event, memory: Halt, look: Look) -> Halt:
        match event:
            case ev.Called(routine=routine, args=(self.vcpu, int(vector), *_)) if routine in POSTING:
                return memory._replace(posted=tuple(sorted((*memory.posted, vector))))
            case ev.GuestActed(vcpu=self.vcpu, action=action):
                if memory.halted:
                    self._goes_on(action, memory, look)
                if action == ("hlt",):
                    look.witness(E2E_18)
                return memory._replace(halted=action == ("hlt",))
            case ev.Delivered(vcpu=self.vcpu, vector=vector):
                left = list(memory.posted)
                if vector in left:
                    left.remove(vector)
                return Halt(posted=tuple(left))
            case _:
                return memory

    def _goes_on(self, action: Action, memory: Halt, look: Look) -> None:
        if any(open_after(look.executed(self.vcpu)[:-1], vector) for vector in memory.posted):
            look.witness(E2E_19, f"{self.vcpu}.halted", self.vcpu)
            return
        said = f"{self.vcpu}'s guest executes {' '.join(map(str, action))} after HLT, and no interrupt has ended that"
        look.breach(E2E_18, said, f"{self.vcpu}.halted", f"{self.vcpu}.status", self.vcpu)


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = [GuestTakes(f"vcpu{n}") for n in range(len(scenario.vcpus))]
    halting = (n for n, vcpu in enumerate(scenario.vcpus) if goes_on(vcpu.program))
    nests = range(len(scenario.vcpus)) if "handlers-nest" in scenario.facts else ()
    return [*made, *(Halted(f"vcpu{n}") for n in halting), *(GuestGoesOn(scenario, f"vcpu{n}") for n in nests)]


def goes_on(program: tuple[Action, ...]) -> bool:
    """Whether there is an instruction behind a HLT, for only then is it seen that the guest executes it."""
    return ("hlt",) in program[:-1]
