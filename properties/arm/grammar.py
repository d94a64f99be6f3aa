"""What an Arm scenario can be made of: what comes first and by whose doing, what comes second, what the guest does
meanwhile, which registers are written, to whom it goes, how handlers take interrupts, vCPUs, WFI, GICv4, budget.
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
    "resampled": Agent("handler", LEVEL),
    "own-edge": Agent("own", EDGE),
    "own-latch": Agent("own", LEVEL),
    "own-sgi": Agent("own", SGI),
    "peer-edge": Agent("peer", EDGE),
    "peer-sgi": Agent("peer", SGI),
    "vlpi": Agent("its", LPI),
}
FIRST = {
    "edge": Option("software makes an edge", 80.5),
    "private": Option("a host interrupt's handler on the vCPU's pCPU raises a private line", 11.3),
    "handler-edge": Option("a host interrupt's handler on the vCPU's pCPU makes an edge", 10.6),
    "handler-level": Option("a host interrupt's handler on the vCPU's pCPU raises a line", 12.3),
    "resampled": Option(
        "a host interrupt's handler on the vCPU's pCPU raises a line, which its device keeps until it is told of the end",
        10.5,
    ),
    "own-edge": Option("a guest makes an edge pending through the distributor", 1.8),
    "own-latch": Option("a guest latches a level pending", 3.1),
    "own-sgi": Option("a vCPU sends itself an SGI", 1.7),
    "peer-edge": Option("another vCPU makes an edge pending", 1.1),
    "peer-sgi": Option("another vCPU sends an SGI, from the same pCPU to both", 1),
    "vlpi": Option("a device's virtual LPI comes", 8.7),
}
SECOND = {
    "none": Option("", 1),
    "again": Option("the same once more, by a handler on the vCPU's pCPU, and the guest's handlers nest", 9.1),
    "falls": Option("a handler on the vCPU's pCPU lowers the line", 7.3),
    "neighbour": Option("a handler on the vCPU's pCPU makes one of a priority one step higher", 13.4),
    "nested": Option(
        "a handler on the vCPU's pCPU makes one of a priority one step higher, and the guest's handlers nest", 13.6
    ),
    "nested-twice": Option(
        "handlers on the vCPU's pCPU make one of a priority one step higher, and one of a higher one still, and the "
        "guest's handlers nest",
        200,
    ),
    "equal": Option("a handler on the vCPU's pCPU makes one of equal priority, and the guest's handlers nest", 17),
    "own-sgi": Option("the vCPU sends itself an SGI, interrupts closed", 2.3),
    "own-crowd": Option("the guest makes two edges of neighbouring priorities pending, interrupts closed", 6.1),
    "elsewhere": Option("another vCPU latches a private level of its own", 1.8),
    "vlpi": Option("a device's virtual LPI comes, too", 11.4),
}
NEST = ("again", "equal", "nested", "nested-twice")
"""With these the guest's handlers nest: what must not interrupt one is tried, too."""
GUEST = {
    "runs": Option("the guest runs", 1),
    "waits": Option("the guest waits for an interrupt", 2),
    "waits-closed": Option("the guest waits with PSTATE.I set", 2.1),
    "masks-waits": Option("the guest waits with a priority mask just above the first's priority, and at it", 2.3),
}
REGISTERS = {
    "none": Option("", 1),
    "disables": Option("the first is disabled and enabled", 2),
    "off": Option("the distributor is turned off and on", 2.4),
    "clears": Option("the first is cleared by GICD_ICPENDR", 1.4),
    "deactivates": Option("the first is activated and deactivated by registers", 2.4),
}
TARGET = {
    "stays": Option("", 1),
    "retargets": Option("the first is given to the other vCPU", 1.1),
}
INTERFACES: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "one-register": ("one-list-register",),
    "split": ("eoi-mode-1",),
    "one-register+split": ("one-list-register", "eoi-mode-1"),
}
INTERFACE = {
    "plain": Option("", 1),
    "one-register": Option("one list register", 1.6),
    "split": Option("EOImode=1", 1.1),
    "one-register+split": Option("one list register, EOImode=1", 1.6),
}
VCPUS = {
    "one": Option("", 1),
    "another": Option("another vCPU on a pCPU of its own", 202.5),
    "shared": Option("another vCPU shares the pCPU and waits", 3.8),
}
WAIT = {
    "trapped": Option("", 1.3),
    "in-guest-wfi": Option("WFI does not trap", 1),
}
GICS: Mapping[str, tuple[str, ...]] = {"software": (), "gicv4": ("gicv4",), "gicv4.1": ("gicv4.1", "typer-dirty")}
GIC = {
    "software": Option("", 1),
    "gicv4": Option("GICv4.0", 1.8),
    "gicv4.1": Option("GICv4.1, a doorbell for nothing", 10.6),
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
    "exit": Option("one exit", 3.8),
    "preempt": Option("one preemption", 7.2),
    "exit+preempt": Option("one exit, one preemption", 22.8),
    "migrate": Option("one preemption, one migration", 13.1),
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
    vpe: str = "vcpu0"
    """Whose virtual LPIs they are."""
    peer_sends: int = 0b11
    """To whom a peer's SGI goes, a bit for each."""
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
                targets = 0b01 if who == "own" else self.peer_sends
                write = register("sgir", intid, targets) if intid < 16 else register("ispendr", intid)
                (self.own if who == "own" else self.peer).append(write)


def build(name: str, about: str, row: Row) -> Scenario | None:
    made = Made(*row)
    if _pointless(made):
        return None
    agent, parts = AGENTS[made.first], Parts(peer_sends=0b01 if made.vcpus == "another" else 0b11)
    parts.made(agent)
    _add_second(parts, agent, made.second)
    writes = _writes(made, agent.intid)
    (parts.own if made.vcpus == "one" else parts.peer).extend(writes)
    parts.own.extend(PROGRAMS[made.guest])
    spent = SPENT[made.budget]
    if made.gic == "gicv4.1":
        spent = msgspec.structs.replace(spent, spurious=((DOORBELL, 0),))
    facts = (
        *INTERFACES[made.interface],
        *GICS[made.gic],
        *(("wfi-not-trapped",) if made.wait == "in-guest-wfi" else ()),
        *(("device-keeps-its-line", "irqfd-resample") if made.first == "resampled" else ()),
        *(("handlers-nest",) if made.second in NEST else ()),
        *(("injects-from-handler",) if parts.handlers else ()),
    )
    return assemble(name, about, parts, facts, made.vcpus, spent)


class Made(NamedTuple):
    """An option of each factor."""

    first: str
    second: str
    guest: str
    registers: str
    target: str
    interface: str
    vcpus: str
    wait: str
    gic: str
    budget: str


def _pointless(row: Made) -> bool:
    """These do not go together, or the one leaves nothing of the other: a private interrupt has no other target, GICD_ICPENDR
    does nothing to an SGI, a line falls that rose, one list register is enough for one interrupt and always holds a level that
    is taken last, somebody else's vCPU is there to do something, and what waits in its guest leaves the pCPU to another vCPU
    if it is preempted.
    """
    who, intid = AGENTS[row.first]
    second, several = row.second, row.vcpus != "one"
    spi = 32 <= intid < LPI
    level = intid in (LEVEL, PPI)
    virtual = intid == LPI or second == "vlpi"
    peer = who == "peer" or second == "elsewhere"
    one_register, in_guest = row.interface.startswith("one-register"), row.wait == "in-guest-wfi"
    return (
        (peer and not several)
        or (row.vcpus == "another" and not peer and (row.registers, row.target) == ("none", "stays"))
        or (row.target == "retargets" and not (several and spi))
        or (row.registers in ("disables", "clears", "deactivates") and not spi and (several or intid == LPI))
        or (row.registers == "clears" and intid < 16)
        or (second == "falls" and not (level and who == "handler" and row.first != "resampled"))
        or (second == "again" and who == "its")
        or (second == "equal" and intid < 16)
        or (second == "vlpi" and intid == LPI)
        or (second in ("own-sgi", "nested") and who == "own" and intid < 16)
        or (virtual != (row.gic != "software"))
        or (in_guest and row.guest == "runs")
        or (row.first == "resampled" and one_register and second in ("own-sgi", "own-crowd"))
        or (one_register and second in ("none", "again", "falls", "elsewhere"))
        or (row.vcpus == "shared" and row.budget == "migrate")
        or (row.vcpus == "shared" and in_guest and row.budget != "preempt")
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


PROGRAMS: Mapping[str, Sequence[Action]] = {
    "runs": (),
    "waits": WFI,
    "waits-closed": (CLOSE, *WFI, OPEN),
    "masks-waits": (("write_pmr", JUST), *WFI, ("write_pmr", HALF), *WFI, ("write_pmr", 0xF8)),
}


def _writes(row: Made, first: int) -> list[Action]:
    """What another vCPU writes, where there is one: around the retarget, what makes the interrupt nobody's and somebody's."""
    around: Mapping[str, Sequence[Action]] = {
        "none": (),
        "disables": (register("icenabler", first), register("isenabler", first)),
        "off": (register("ctlr", 0, 0), register("ctlr", 0, 1)),
        "clears": (register("icpendr", first),),
        "deactivates": (register("isactiver", first), register("icactiver", first)),
    }
    before, after = around[row.registers][:1], around[row.registers][1:]
    given = (register("itargetsr", first, 1),) if row.target == "retargets" else ()
    return [*before, *given, *after]


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
            *(Device(f"ITS{f'-{n}' * (n > 0)}", "vlpi", (parts.vpe, lpi)) for n, lpi in enumerate(parts.vlpis)),
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
        "guest": GUEST,
        "registers": REGISTERS,
        "target": TARGET,
        "interface": INTERFACE,
        "vcpus": VCPUS,
        "wait": WAIT,
        "gic": GIC,
        "budget": BUDGETS,
    },
    build,
    least=8.7,
    triples=(("first", "registers", "target"), ("second", "registers", "target"), ("guest", "wait", "gic")),
)
