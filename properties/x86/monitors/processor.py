"""Posted-interrupt processing and virtual-interrupt delivery in the presence of other agents (Intel SDM vol. 3C, 29.2,
29.6).

What a single routine does to a state is checked as a function, in properties/x86/sequential; here only what needs more than
one agent.
"""

from __future__ import annotations

from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Subject
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.scenario import Scenario
from properties.x86.monitors.end_to_end import PINV, word
from properties.x86.monitors.subjects import latched, on, pir, virr, visr

HARDWARE = ("vm_entry", "boundary", "acknowledge", "deliver", "instruction")


class Processing(NamedTuple):
    """One posted-interrupt processing in progress: ON cleared yet, PIR reached yet, and the vectors taken from PIR."""

    cleared: bool = False
    reached: bool = False
    taken: tuple[int, ...] = ()


class PostedInterruptProcessing(Monitor):
    """PIP-1, 4, 5, 9, 13. Memory: the processing in progress on this vCPU, or None as ()."""

    clauses = ("PIP-1", "PIP-4", "PIP-5", "PIP-9", "PIP-13")
    witnesses = ("PIP-6", "PIP-10", "PIP-12")
    events = (ev.Taken, ev.Asked, ev.Changed, ev.Returned, ev.Exited, ev.Delivered)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.processing"
        self.inhibited = "apicv-inhibited" in scenario.facts
        self.memory: Processing | tuple[()] = ()
        self.control, self.pir = f"{vcpu}.pid.control", f"{vcpu}.pid.pir["

    def on(self, event: ev.Event, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        match event:
            case ev.Taken(guest=self.vcpu, vector=vector):
                look.witness("PIP-1")
                look.witness("PIP-9")
                if vector != PINV or self.inhibited:
                    return ()
                if not word(look.value(self.control)) & 1 or not self._posted(look):
                    look.witness("PIP-12", on(self.vcpu), self.vcpu)
                return Processing()
            case ev.Asked(routine=routine, operation=ops.Rmw(at=at) | ops.Load(at=at)) if at.startswith(self.pir):
                if isinstance(memory, Processing) and routine == "acknowledge":
                    look.witness("PIP-4")
                    if not memory.cleared:
                        look.breach(
                            "PIP-4",
                            f"the processor looks at {at} before it has cleared ON",
                            on(self.vcpu),
                            at,
                            self.vcpu,
                        )
                    return memory._replace(reached=True)
            case ev.Asked(routine="acknowledge", operation=ops.Rmw(at=self.control, mask=mask, value=value)):
                if isinstance(memory, Processing) and mask & 1 and not value & 1:
                    return memory._replace(cleared=True)
            case ev.Changed(at=at) if at.startswith(self.pir):
                return self._pir_changed(event, memory, look)
            case ev.Returned(routine="acknowledge", args=(self.vcpu, int(vector))):
                return self._ended(vector, memory, look)
            case ev.Exited(vcpu=self.vcpu) | ev.Delivered(vcpu=self.vcpu) if isinstance(memory, Processing):
                said = f"the processor leaves posted-interrupt processing of {self.vcpu} before its end"
                look.breach("PIP-9", said, on(self.vcpu), self.vcpu)
                return ()
            case _:
                pass
        return memory

    def _pir_changed(self, event: ev.Changed, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        gone = word(event.old) & ~word(event.new)
        if gone and event.routine in HARDWARE:
            look.witness("PIP-13")
            look.witness("PIP-5")
            if not isinstance(memory, Processing):
                said = f"{event.routine} harvests {event.at} though no notification was acknowledged"
                for clause in ("PIP-1", "PIP-13"):
                    look.breach(clause, said, Subject(event.at, gone), self.vcpu)
                return memory
            base = 64 * int(event.at[-2])
            return memory._replace(taken=(*memory.taken, *(base + n for n in range(64) if gone >> n & 1)))
        if event.set_bits and isinstance(memory, Processing) and memory.reached:
            look.witness("PIP-6", Subject(event.at, event.set_bits), self.vcpu)
        return memory

    def _ended(self, vector: int, memory: Processing | tuple[()], look: Look) -> Processing | tuple[()]:
        if vector != PINV:
            said = f"vector {vector:#x} was acknowledged in {self.vcpu}'s guest and caused no VM exit"
            look.breach("PIP-1", said, *(latched(c, vector) for c in look.cpus), self.vcpu)
            return ()
        if not isinstance(memory, Processing):
            return memory
        for taken in memory.taken:
            if not word(look.value(f"{self.vcpu}.virr[{taken // 64}]")) >> taken % 64 & 1:
                said = f"the processor took PIR[{taken}] and vIRR[{taken}] is 0 when the processing ends"
                look.breach("PIP-5", said, pir(self.vcpu, taken), virr(self.vcpu, taken), self.vcpu)
        if not memory.cleared and word(look.value(self.control)) & 1 and self._posted(look):
            said = "the processing ends with a bit in PIR and the old ON still set: its notification is spent"
            waits = [f"{self.pir}{w}]" for w in range(4) if word(look.value(f"{self.pir}{w}]"))]
            look.breach("PIP-4", said, on(self.vcpu), *waits, self.vcpu)
        if word(look.value(f"{self.vcpu}.recognized")) and word(look.value(f"{self.vcpu}.rflags_if")):
            look.witness("PIP-10", f"{self.vcpu}.recognized", self.vcpu)
        return ()

    def _posted(self, look: Look) -> bool:
        return any(word(look.value(f"{self.pir}{w}]")) for w in range(4))


class Delivery(Monitor):
    """VID-2, 10, 12, 13. Memory: (vPPR, highest vIRR) as the delivery in progress found them, or ()."""

    clauses = ("VID-2", "VID-10", "VID-12", "VID-13")
    witnesses = ("VID-14",)
    events = (ev.Called, ev.Delivered, ev.Changed, ev.Taken)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.delivery"
        self.memory: tuple[int, ...] = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        match event:
            case ev.Called(routine="deliver", args=(self.vcpu,)):
                irr = sum(word(look.value(f"{self.vcpu}.virr[{w}]")) << 64 * w for w in range(4))
                return (word(look.value(f"{self.vcpu}.vppr")), irr.bit_length() - 1)
            case ev.Delivered(vcpu=self.vcpu, vector=vector) if memory:
                vppr, highest = memory
                look.witness("VID-12")
                look.witness("VID-13")
                if vector >> 4 <= vppr >> 4:
                    said = f"vector {vector} is delivered although vPPR is {vppr:#x}: its class is not higher"
                    look.breach("VID-12", said, f"{self.vcpu}.vppr", virr(self.vcpu, vector), self.vcpu)
                if vector < highest:
                    said = f"vector {vector} is delivered while the higher vector {highest} is in vIRR"
                    look.breach("VID-13", said, virr(self.vcpu, highest), virr(self.vcpu, vector), self.vcpu)
                return ()
            case ev.Changed(at=at, old=0, new=1, routine=routine) if at == f"{self.vcpu}.recognized":
                look.witness("VID-2")
                if routine not in ("vm_entry", "acknowledge", "instruction"):
                    said = f"{routine} recognizes a pending virtual interrupt: evaluation is not its business"
                    look.breach("VID-2", said, at, self.vcpu)
            case ev.Changed(at=at, set_bits=bits) if at.startswith(f"{self.vcpu}.virr["):
                if bits & word(look.value(at.replace("virr", "visr"))):
                    look.witness("VID-14", Subject(at, bits), self.vcpu)
            case ev.Taken(guest=self.vcpu):
                look.witness("VID-10")
                ready = all(word(look.value(f"{self.vcpu}.{n}")) for n in ("recognized", "rflags_if"))
                if ready and not word(look.value(f"{self.vcpu}.blocking_by_sti")):
                    look.breach(
                        "VID-10", "an external interrupt is acknowledged while a recognized virtual interrupt is deliverable",
                        f"{self.vcpu}.recognized", f"{self.vcpu}.rflags_if", self.vcpu,
                    )  # fmt: skip
            case _:
                pass
        return memory


class EoiExit(Monitor):
    """E2E-15, first half: an EOI exits exactly for vectors whose bit is set in the EOI-exit bitmap. Memory: (vector,
    bit) or ().
    """

    clauses = ("E2E-15",)
    events = (ev.Called, ev.Returned, ev.Exited)

    def __init__(self, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.eoi"
        self.memory: tuple[int, ...] = ()

    def on(self, event: ev.Event, memory: tuple[int, ...], look: Look) -> tuple[int, ...]:
        match event:
            case ev.Called(routine="instruction", args=(self.vcpu, "end_of_interrupt")):
                look.witness("E2E-15")
                in_service = sum(word(look.value(f"{self.vcpu}.visr[{w}]")) << 64 * w for w in range(4))
                vector = max(in_service.bit_length() - 1, 0)
                return (vector, word(look.value(f"{self.vcpu}.eoi_exit[{vector // 64}]")) >> vector % 64 & 1)
            case ev.Returned(routine="instruction", args=(self.vcpu, "end_of_interrupt")) if memory:
                if memory[1]:
                    said = f"the EOI of {memory[0]} caused no exit, though its EOI-exit bit is set"
                    look.breach("E2E-15", said, visr(self.vcpu, memory[0]), self.vcpu)
                return ()
            case ev.Exited(vcpu=self.vcpu, reason=("eoi", *_)) if memory:
                if not memory[1]:
                    said = f"the EOI of {memory[0]} caused an exit, though its EOI-exit bit is clear"
                    look.breach("E2E-15", said, visr(self.vcpu, memory[0]), self.vcpu)
                return ()
            case _:
                return memory


def monitors(scenario: Scenario) -> list[Monitor]:
    made: list[Monitor] = []
    for n in range(len(scenario.vcpus)):
        made += [PostedInterruptProcessing(scenario, f"vcpu{n}"), Delivery(f"vcpu{n}")]
        if "eoi-exit" in scenario.facts:
            made.append(EoiExit(f"vcpu{n}"))
    return made
