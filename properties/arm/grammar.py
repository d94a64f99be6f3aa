"""What an Arm scenario can be made of: what comes first and by whose doing, what comes second, what the guest does
meanwhile, how its handlers take interrupts, vCPUs, surroundings, budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from conformance.roles.arm import DEVICE, DOORBELL, EDGE, EDGE2, EDGE3, LEVEL, LPI, PPI, SGI
from conformance.roles.scenario import Action, Budget, Device, DeviceInterrupt, Scenario, Thread, VcpuSetup
from properties.arm.scenarios import EOI_MODE_1, WFI, redistributors, register
from properties.covering import Grammar, Option, Row


class Agent(NamedTuple):
    """Who makes an interrupt pending, and which: an injector on a CPU of its own, a handler on the vCPU's pCPU, the ITS, the
    guest's own write of a register, or a peer's, another vCPU's.
    """

    who: str
    intid: int


AGENTS: Mapping[str, Agent] = {
    "edge": Agent("injector", EDGE),
    "private": Agent("handler", PPI),
    "handler-edge": Agent("handler", EDGE),
    "handler-level": Agent("handler", LEVEL),
    "own-edge": Agent("own", EDGE),
    "own-latch": Agent("own", LEVEL),
    "own-sgi": Agent("own", SGI),
    "peer-edge": Agent("peer", EDGE),
    "peer-sgi": Agent("peer", SGI),
    "vlpi": Agent("its", LPI),
}
FIRST = {
    "edge": Option("software makes an edge", 45.7),
    "private": Option("a host interrupt's handler on the vCPU's pCPU raises a private line", 12.5),
    "handler-edge": Option("a host interrupt's handler on the vCPU's pCPU makes an edge", 8.8),
    "handler-level": Option("a host interrupt's handler on the vCPU's pCPU raises a line", 11.8),
    "own-edge": Option("a guest makes an edge pending through the distributor", 2.1),
    "own-latch": Option("a guest latches a level pending", 3.4),
    "own-sgi": Option("a vCPU sends itself an SGI", 1.2),
    "peer-edge": Option("another vCPU makes an edge pending", 1.1),
    "peer-sgi": Option("another vCPU sends an SGI", 1),
    "vlpi": Option("a device's virtual LPI comes", 7.7),
}
SECOND = {
    "none": Option("", 1),
    "again": Option("the same once more, by a handler on the vCPU's pCPU, and the guest's handlers nest", 6),
    "falls": Option("a handler on the vCPU's pCPU lowers the line", 5),
    "neighbour": Option("a handler on the vCPU's pCPU makes one of a priority one step higher", 12.6),
    "nested": Option(
        "a handler on the vCPU's pCPU makes one of a priority one step higher, and the guest's handlers nest", 13.5
    ),
    "nested-twice": Option(
        "handlers on the vCPU's pCPU make one of a priority one step higher, and one of a higher one still, and the "
        "guest's handlers nest",
        100,
    ),
    "equal": Option("a handler on the vCPU's pCPU makes one of equal priority, and the guest's handlers nest", 16.8),
    "own-sgi": Option("the vCPU sends itself an SGI, interrupts closed", 2.7),
    "own-crowd": Option("the guest makes two edges of neighbouring priorities pending, interrupts closed", 6.5),
    "elsewhere": Option("another vCPU latches a private level of its own", 1.9),
    "vlpi": Option("a device's virtual LPI comes, too", 10.4),
}
NEST = ("again", "equal", "nested", "nested-twice")
"""With these the guest's handlers nest: what must not interrupt one is tried, too."""
PROGRAMS = {
    "runs": Option("the guest runs", 1),
    "waits": Option("the guest waits for an interrupt", 3.3),
    "waits-closed": Option("the guest waits with PSTATE.I set", 2.6),
    "masks-waits": Option("the guest waits with a priority mask just above the first's priority, and at it", 3.2),
    "disables": Option("the first is disabled and enabled", 3),
    "off": Option("the distributor is turned off and on", 3.4),
    "clears": Option("the first is cleared by GICD_ICPENDR", 1.6),
    "deactivates": Option("the first is activated and deactivated by registers", 2.8),
    "retargets": Option("the first is given to the other vCPU", 2.4),
}
INTERFACES: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "one-register": ("one-list-register",),
    "split": ("eoi-mode-1",),
    "one-register+split": ("one-list-register", "eoi-mode-1"),
}
INTERFACE = {
    "plain": Option("", 1),
    "one-register": Option("one list register", 1.2),
    "split": Option("EOImode=1", 1.4),
    "one-register+split": Option("one list register, EOImode=1", 1.7),
}
VCPUS = {
    "one": Option("", 1),
    "another": Option("another vCPU on a pCPU of its own", 234),
    "shared": Option("another vCPU shares the pCPU and waits", 2.8),
}
FACTS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "in-guest-wfi": ("wfi-not-trapped",),
    "resampled": ("device-keeps-its-line", "irqfd-resample"),
    "gicv4": ("gicv4",),
    "gicv4.1": ("gicv4.1", "typer-dirty"),
}
ENVIRONMENTS = {
    "plain": Option("", 2.5),
    "in-guest-wfi": Option("WFI does not trap", 1),
    "resampled": Option("the device keeps its line until it is told of the end", 2),
    "gicv4": Option("GICv4.0", 5.3),
    "gicv4.1": Option("GICv4.1, a doorbell for nothing", 18),
}
SPENT: Mapping[str, Budget] = {
    "none": Budget(),
    "exit": Budget(exit=1),
    "preempt": Budget(preempt=1),
    "exit+preempt": Budget(exit=1, preempt=1),
    "migrate": Budget(preempt=1, migrate=1),
}
BUDGETS = {
    "none": Option("", 1),
    "exit": Option("one exit", 3.3),
    "preempt": Option("one preemption", 5.4),
    "exit+preempt": Option("one exit, one preemption", 14),
    "migrate": Option("one preemption, one migration", 17),
}
HALF = 0xA0
"""A priority mask that lets EDGE3 through, and not EDGE, whose priority is the mask."""
JUST = HALF + 8
"""One that lets EDGE through, just so: five of the eight bits are implemented."""
CLOSE: Action = ("mask",)
OPEN: Action = ("unmask",)


@dataclass
class Parts:
    """A scenario in the making: what the guest and its peer execute, and who else makes which interrupt pending."""

    own: list[Action] = field(default_factory=list)
    peer: list[Action] = field(default_factory=list)
    injectors: list[int] = field(default_factory=list)
    handlers: list[tuple[int, int]] = field(default_factory=list)
    """(INTID, level of the line)"""
    vlpis: list[int] = field(default_factory=list)
    intids: set[int] = field(default_factory=set)

    def made(self, agent: Agent) -> None:
        who, intid = agent
        self.intids.add(intid)
        match who:
            case "injector":
                self.injectors.append(intid)
            case "handler":
                self.handlers.append((intid, 1))
            case "its":
                self.vlpis.append(intid)
            case _:
                write = register("sgir", intid, 1) if intid < 16 else register("ispendr", intid)
                (self.own if who == "own" else self.peer).append(write)


def build(name: str, about: str, row: Row) -> Scenario | None:
    first, second, program, interface, vcpus, environment, budget = row
    agent = AGENTS[first]
    if _pointless(agent, second, program, interface, vcpus, environment, budget):
        return None
    parts = Parts()
    parts.made(agent)
    _add_second(parts, agent, second)
    (parts.peer if vcpus != "one" and program in REGISTERS else parts.own).extend(_program(program, agent.intid))
    spent = SPENT[budget]
    if environment == "gicv4.1":
        spent = msgspec.structs.replace(spent, spurious=((DOORBELL, 0),))
    facts = (
        *INTERFACES[interface],
        *FACTS[environment],
        *(("handlers-nest",) if second in NEST else ()),
        *(("injects-from-handler",) if parts.handlers else ()),
    )
    return assemble(name, about, parts, facts, vcpus, spent)


REGISTERS = ("disables", "off", "clears", "deactivates", "retargets")
"""Programs of writes to the distributor: another vCPU's, where there is one."""


def _pointless(
    agent: Agent, second: str, program: str, interface: str, vcpus: str, environment: str, budget: str
) -> bool:
    """These do not go together, or the one leaves nothing of the other: a private interrupt has no other target, GICD_ICPENDR
    does nothing to an SGI, a line falls that rose, one list register is enough for one interrupt and always holds a level that
    is taken last, somebody else's vCPU is there to do something, and what waits in its guest leaves the pCPU to another vCPU
    if it is preempted.
    """
    who, intid = agent
    spi = 32 <= intid < LPI
    level = intid in (LEVEL, PPI)
    virtual = intid == LPI or second == "vlpi"
    peer = who == "peer" or second == "elsewhere"
    return (
        (peer and vcpus == "one")
        or (vcpus == "another" and not peer and program not in REGISTERS)
        or (program == "retargets" and (vcpus == "one" or not spi))
        or (program in ("disables", "clears", "deactivates") and not spi and (vcpus != "one" or intid == LPI))
        or (program == "clears" and intid < 16)
        or (second == "falls" and not (level and who == "handler"))
        or (second == "again" and who == "its")
        or (second == "equal" and intid < 16)
        or (second == "vlpi" and intid == LPI)
        or (second in ("own-sgi", "nested") and who == "own" and intid < 16)
        or (virtual != environment.startswith("gicv4"))
        or (environment == "in-guest-wfi" and "waits" not in program)
        or (environment == "resampled" and not (level and spi and who == "handler" and second != "falls"))
        or (environment == "resampled" and interface.startswith("one-register") and second in ("own-sgi", "own-crowd"))
        or (interface.startswith("one-register") and second in ("none", "again", "falls", "elsewhere"))
        or (vcpus == "shared" and budget == "migrate")
        or (vcpus == "shared" and environment == "in-guest-wfi" and budget != "preempt")
    )


def _add_second(parts: Parts, first: Agent, second: str) -> None:
    match second:
        case "again" if first.intid < 16:
            parts.made(Agent(first.who, first.intid))
        case "again":
            parts.made(Agent("handler", first.intid))
        case "falls":
            parts.handlers.append((first.intid, 0))
        case "neighbour" | "nested":
            parts.made(Agent("handler", EDGE3))
        case "nested-twice":
            parts.made(Agent("handler", EDGE3))
            parts.made(Agent("handler", EDGE2))
        case "equal":
            parts.made(Agent("handler", EDGE if first.intid == LEVEL else LEVEL))
        case "own-sgi" | "own-crowd":
            also = [SGI] if second == "own-sgi" else [EDGE3, EDGE2]
            for intid in also:
                parts.made(Agent("own", intid))
            parts.own = [CLOSE, *parts.own, OPEN]
        case "elsewhere":
            parts.peer.append(register("ispendr", PPI))
            parts.intids.add(PPI)
        case "vlpi":
            parts.made(Agent("its", LPI))
        case _:
            pass


def _program(name: str, first: int) -> list[Action]:
    almost, low, all_priorities = ("write_pmr", JUST), ("write_pmr", HALF), ("write_pmr", 0xF8)
    programs: Mapping[str, Sequence[Action]] = {
        "runs": (),
        "waits": WFI,
        "waits-closed": (CLOSE, *WFI, OPEN),
        "masks-waits": (almost, *WFI, low, *WFI, all_priorities),
        "disables": (register("icenabler", first), register("isenabler", first)),
        "off": (register("ctlr", 0, 0), register("ctlr", 0, 1)),
        "clears": (register("icpendr", first),),
        "deactivates": (register("isactiver", first), register("icactiver", first)),
        "retargets": (register("itargetsr", first, 1),),
    }
    return list(programs[name])


def assemble(name: str, about: str, parts: Parts, facts: tuple[str, ...], vcpus: str, budget: Budget) -> Scenario:
    """`vcpus`: one, another or shared, as in VCPUS. Each injector on a CPU of its own, behind those of the vCPUs; one more of
    those where a vCPU may move.
    """
    hosts = 2 if vcpus == "another" or budget.migrate else 1
    setup: Sequence[Action] = EOI_MODE_1 if "eoi-mode-1" in facts else ()
    guests = [VcpuSetup(0, (*setup, *parts.own))]
    if vcpus == "another":
        guests.append(VcpuSetup(1, (*setup, *parts.peer)))
    elif vcpus == "shared":
        guests.append(VcpuSetup(0, (*setup, *parts.peer, *WFI)))
    threads = [
        Thread(f"injector{n}", "inject", ("vcpu0", intid, 1), hosts + n - 1)
        for n, intid in enumerate(parts.injectors, 1)
    ]
    gicv4 = "gicv4" in facts or "gicv4.1" in facts
    return Scenario(
        name=name,
        about=about,
        architecture="arm",
        cpus=hosts + len(threads),
        vcpus=tuple(guests),
        threads=tuple(threads),
        devices=(
            *(Device(f"ITS{f'-{n}' * (n > 0)}", "vlpi", ("vcpu0", lpi)) for n, lpi in enumerate(parts.vlpis)),
            *(redistributors(hosts) if gicv4 else ()),
        ),
        interrupts=tuple(
            DeviceInterrupt(DEVICE + n, 0, "inject", ("vcpu0", *line)) for n, line in enumerate(parts.handlers)
        ),
        vectors=tuple(sorted(parts.intids)),
        budget=budget,
        facts=facts,
        initial=tuple((f"vcpu{n}.pstate_i", 1) for n in range(len(guests))) if setup else (),
        loaded=vcpus != "shared",
        story=False,
    )


ARM = Grammar(
    "arm",
    {
        "first": FIRST,
        "second": SECOND,
        "program": PROGRAMS,
        "interface": INTERFACE,
        "vcpus": VCPUS,
        "environment": ENVIRONMENTS,
        "budget": BUDGETS,
    },
    build,
    least=9,
)
