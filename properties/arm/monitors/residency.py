"""GICv4: which redistributor a virtual PE is resident at, and who asks for its doorbell (Arm IHI 0069, GICR_VPENDBASER;
Linux vgic-v4.c, irq-gic-v3-its.c).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.finding import Breach, Finding, Subject, Witness, about
from conformance.machine.monitor import Look, Monitor
from conformance.roles import operations as ops
from conformance.roles.arm import DIRTY, DOORBELL, DOORBELL_REQUEST, PENDING_LAST, VALID
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import takes, word

VPE = 0xFFFF


class VpeResidency(Monitor):
    """GICV4-RES-2, 4, 5 and RES-6's second half; RES-8 is observed. Of every write of a VPENDBASER alone."""

    clauses = ("GICV4-RES-2", "GICV4-RES-3", "GICV4-RES-4", "GICV4-RES-5", "GICV4-RES-6")
    witnesses = ("GICV4-RES-8",)
    events = (ev.Changed, ev.Asked)
    name = "vpendbaser"

    def __init__(self, scenario: Scenario) -> None:
        self.places = {f"cpu{c}.vpendbaser": c for c in range(scenario.cpus)}

    def on(self, event: ev.Event, memory: None, look: Look) -> None:
        match event:
            case ev.Changed(at=at, old=old, new=new, cpu=cpu) if at in self.places:
                if cpu < 0:
                    self._hardware(word(old), word(new), look)
                else:
                    self._software(self.places[at], word(old), word(new), look)
            case _:
                pass

    def _hardware(self, old: int, new: int, look: Look) -> None:
        if new & PENDING_LAST and not new & VALID and old & DIRTY and not word(look.value(f"vcpu{new & VPE}.vpt")):
            look.witness("GICV4-RES-8", f"vcpu{new & VPE}.vpt", f"vcpu{new & VPE}")

    def _software(self, c: int, old: int, new: int, look: Look) -> None:
        vpe, base = new & VPE, f"cpu{c}.vpendbaser"
        look.witness("GICV4-RES-5")
        if old & DIRTY:
            look.breach("GICV4-RES-5", f"{base} is written while Dirty = 1: UNPREDICTABLE", Subject(base, DIRTY))
        if new & VALID and old & VALID:
            said = f"vcpu{vpe} is made resident on cpu{c}, where vcpu{old & VPE} is resident already"
            look.breach("GICV4-RES-3", said, base, f"vcpu{vpe}", f"vcpu{old & VPE}")
        if not new & VALID or old & VALID:
            return
        for clause in ("GICV4-RES-2", "GICV4-RES-3", "GICV4-RES-4", "GICV4-RES-6"):
            look.witness(clause)
        to = word(look.value(f"vcpu{vpe}.vpe_affinity"))
        if to != c:
            said = f"vcpu{vpe} is made resident on cpu{c} while the ITS takes it to be at cpu{to}"
            look.breach("GICV4-RES-4", said, f"vcpu{vpe}.vpe_affinity", base, f"vcpu{vpe}")
        for other, n in self.places.items():
            there = word(look.value(other))
            if n == c or there & VPE != vpe:
                continue
            if there & VALID:
                said = f"vcpu{vpe} is made resident on cpu{c} and is resident on cpu{n}"
                look.breach("GICV4-RES-2", said, other, base, f"vcpu{vpe}")
            elif there & DIRTY:
                said = f"vcpu{vpe} is made resident on cpu{c} before cpu{n} has written its interrupts back"
                look.breach("GICV4-RES-6", said, Subject(other, DIRTY), base, f"vcpu{vpe}")


class Vpe(NamedTuple):
    """Of one vCPU's thread: the reason it exited for, the pCPU it last took the vPE off, what VPENDBASER answered last
    since, its doorbell taken since its last entry, and how many virtual LPIs that came while it was not resident may ring.
    """

    reason: str = ""
    off: int = -1
    read: int = DIRTY
    rung: bool = False
    may_ring: int = 0


class Doorbell(Monitor):
    """GICV4-RES-1, 6, 7, 10, DB-1, 2, 5, 6 and VGIC-WFI-6; DB-3 and 7 are observed."""

    witnesses = ("GICV4-DB-3", "GICV4-DB-7")
    events = (ev.Asked, ev.Changed, ev.Entered, ev.Exited, ev.Slept, ev.Sent, ev.Taken)

    def __init__(self, scenario: Scenario, vcpu: str) -> None:
        self.vcpu, self.name = vcpu, f"{vcpu}.vpe"
        self.number = int(vcpu.removeprefix("vcpu"))
        self.cpus = range(scenario.cpus)
        self.bases = [f"cpu{c}.vpendbaser" for c in self.cpus]
        self.requested = "gicv4.1" in scenario.facts
        self.dirty_is_seen = "typer-dirty" in scenario.facts
        self.waits = ("wfi",) in scenario.vcpus[self.number].program
        clauses = ["GICV4-RES-1", "GICV4-DB-2"]
        if self.waits:
            clauses += ["GICV4-RES-6", "GICV4-RES-10", "GICV4-DB-5", "VGIC-WFI-6"]
            clauses += ["GICV4-DB-1"] if self.requested else ["GICV4-DB-6"]
        if self.dirty_is_seen:
            clauses.append("GICV4-RES-7")
        self.clauses = tuple(clauses)
        self.memory = Vpe()

    def resident(self, look: Look) -> int:
        """The pCPU it is resident on, or -1."""
        bases = {c: word(look.value(f"cpu{c}.vpendbaser")) for c in self.cpus}
        return next((c for c, w in bases.items() if w & VALID and w & VPE == self.number), -1)

    def on(self, event: ev.Event, memory: Vpe, look: Look) -> Vpe:
        match event:
            case ev.Entered(vcpu=self.vcpu, cpu=cpu):
                self._enters(cpu, look)
                return Vpe(may_ring=memory.may_ring)
            case ev.Exited(vcpu=self.vcpu, reason=reason):
                return memory._replace(reason=str(reason[0]))
            case ev.Changed(at=at, old=old, new=new, cpu=cpu) if at == f"cpu{cpu}.vpendbaser":
                if word(new) & VPE != self.number:
                    return memory
                return self._written(cpu, word(old), word(new), memory, look)
            case ev.Asked(cpu=cpu, operation=ops.Load(at=at, mask=mask), result=int(result)) if (
                at == f"cpu{cpu}.vpendbaser" and look.on_cpu(cpu) == self.vcpu
            ):
                seen = memory.read & ~mask | result
                return memory._replace(read=seen) if memory.off == cpu else memory
            case ev.Changed(at=at, set_bits=bits) if at == f"{self.vcpu}.vpt" and bits:
                where = self.resident(look)
                if where < 0 and not look.value(f"{self.vcpu}.doorbell_enabled"):
                    look.witness("GICV4-DB-7", Subject(at, bits), f"{self.vcpu}.doorbell_enabled", self.vcpu)
                if where < 0 or word(look.value(f"cpu{where}.vpendbaser")) & DIRTY:
                    return memory._replace(may_ring=min(memory.may_ring + 1, 3))
            case ev.Sent(vector=vector) if vector == DOORBELL + self.number:
                look.witness("GICV4-DB-2")
                if not memory.may_ring:
                    said = f"the doorbell of {self.vcpu} rings for what came while it was resident"
                    look.breach("GICV4-DB-2", said, f"{self.vcpu}.vpt", *self.bases, self.vcpu)
                return memory._replace(may_ring=max(memory.may_ring - 1, 0))
            case ev.Taken(vector=vector) if vector == DOORBELL + self.number:
                if look.status(self.vcpu) != "sleeping" or not word(look.value(f"{self.vcpu}.vpt")):
                    look.witness("GICV4-DB-3", f"{self.vcpu}.vpt", self.vcpu)
                return memory._replace(rung=True)
            case ev.Slept(thread=self.vcpu):
                self._sleeps(memory, look)
            case _:
                pass
        return memory

    def _enters(self, cpu: int, look: Look) -> None:
        look.witness("GICV4-RES-1")
        where = self.resident(look)
        if where != cpu:
            at = f"resident on cpu{where}" if where >= 0 else "resident nowhere"
            said = f"{self.vcpu} enters its guest on cpu{cpu}, and its vPE is {at}"
            look.breach("GICV4-RES-1", said, *self.bases, self.vcpu)
        elif self.dirty_is_seen:
            look.witness("GICV4-RES-7")
            if word(look.value(f"cpu{cpu}.vpendbaser")) & DIRTY:
                said = f"{self.vcpu} enters its guest before cpu{cpu} has scanned its pending table"
                look.breach("GICV4-RES-7", said, Subject(f"cpu{cpu}.vpendbaser", DIRTY), self.vcpu)

    def _written(self, cpu: int, old: int, new: int, memory: Vpe, look: Look) -> Vpe:
        if new & VALID and not old & VALID:
            if look.has(f"{self.vcpu}.in_wfi"):
                look.witness("GICV4-RES-10")
                if look.value(f"{self.vcpu}.in_wfi"):
                    said = f"{self.vcpu} is made resident on cpu{cpu} on its way to sleep"
                    look.breach("GICV4-RES-10", said, f"{self.vcpu}.in_wfi", f"cpu{cpu}.vpendbaser", self.vcpu)
            return memory._replace(off=-1, read=DIRTY)
        if old & VALID and not new & VALID:
            if new & DOORBELL_REQUEST and self.requested and memory.reason != "wfi":
                said = f"a doorbell is asked for {self.vcpu}, which is not on its way to sleep"
                look.breach("GICV4-DB-1", said, Subject(f"cpu{cpu}.vpendbaser", DOORBELL_REQUEST), self.vcpu)
            return memory._replace(off=cpu, read=DIRTY)
        return memory

    def _sleeps(self, memory: Vpe, look: Look) -> None:
        look.witness("GICV4-RES-6")
        if memory.off >= 0 and memory.read & DIRTY:
            said = f"{self.vcpu} sleeps without having read cpu{memory.off}.vpendbaser with Dirty = 0"
            look.breach("GICV4-RES-6", said, Subject(f"cpu{memory.off}.vpendbaser", DIRTY), self.vcpu)
        look.witness("VGIC-WFI-6")
        if memory.off >= 0 and memory.read & PENDING_LAST:
            said = f"{self.vcpu} sleeps, and PendingLast was 1 when its vPE came off cpu{memory.off}"
            last = Subject(f"cpu{memory.off}.vpendbaser", PENDING_LAST)
            look.breach("VGIC-WFI-6", said, last, f"{self.vcpu}.vpt", self.vcpu)
        enabled = word(look.value(f"{self.vcpu}.doorbell_enabled"))
        if self.requested:
            look.witness("GICV4-DB-1")
            base = word(look.value(f"cpu{memory.off}.vpendbaser")) if memory.off >= 0 else 0
            if not base & DOORBELL_REQUEST and not memory.rung and not enabled:
                said = f"{self.vcpu} sleeps, and nobody asked for its doorbell"
                asked = [Subject(at, DOORBELL_REQUEST) for at in self.bases]
                look.breach("GICV4-DB-1", said, *asked, f"{self.vcpu}.doorbell_enabled", self.vcpu)
        else:
            look.witness("GICV4-DB-6")
            if not enabled and not memory.rung:
                said = f"{self.vcpu} sleeps with its doorbell disabled"
                look.breach("GICV4-DB-6", said, f"{self.vcpu}.doorbell_enabled", self.vcpu)

    def at_rest(self, memory: Vpe, look: Look) -> Iterable[Finding]:
        if not self.waits or not memory.rung:
            return
        yield Witness("GICV4-DB-5")
        pending = word(look.value(f"{self.vcpu}.vpt"))
        if look.status(self.vcpu) == "sleeping" and pending and takes(look, self.vcpu, 8192):
            said = f"at rest {self.vcpu} sleeps with {self.vcpu}.vpt = {pending:#x}, though its doorbell was taken"
            yield Breach("GICV4-DB-5", said, about(f"{self.vcpu}.vpt", f"{self.vcpu}.status", self.vcpu))


def monitors(scenario: Scenario) -> list[Monitor]:
    if not {"gicv4", "gicv4.1"} & set(scenario.facts):
        return []
    return [VpeResidency(scenario), *(Doorbell(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus)))]
