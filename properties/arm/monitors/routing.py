"""What the guest has made of the distributor, as far as one interrupt is concerned: enabled, forwarded, to whom.

A register holds its new value for sure once the write's routine has returned, if no other write came across it; from its
call to its return, nobody can say. Initially the distributor is on, everything is enabled, and every SPI targets vcpu0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look
from conformance.roles.scenario import Scenario
from properties.arm.catalogue import BAO, CHERIBSD, IHI_0048, LIBVMM, LINUX, REGISTERS, ROUTING
from properties.arm.monitors.lost import DISABLED, ENDED_DISABLED, LOST, OFF, RETARGETED
from properties.arm.monitors.registers import PENDING, state_of

CHANGING = -1


class Routing(NamedTuple):
    """1, 0 or CHANGING each; `target` is the number of a vCPU, or CHANGING.

    `writing`: what is being written, by whom, and the value; `crossed`: what two wrote across each other, and otherwise.
    Nobody can say which of them was the last, until it is written again.
    """

    enabled: int = 1
    forwarded: int = 1
    target: int = 0
    writing: tuple[tuple[str, str, int], ...] = ()
    crossed: frozenset[str] = frozenset()


def written(event: ev.Called | ev.Returned, intid: int, vcpu: str, routing: Routing) -> Routing:
    """After the call or return of a routine that writes the distributor. `vcpu`: whose banked interrupt it is, or ""."""
    match event:
        case (
            ev.Called(routine="distributor", args=(str(writer), str(register), int(about), int(value)))
            | ev.Returned(routine="distributor", args=(str(writer), str(register), int(about), int(value)))
        ):
            pass
        case _:
            return routing
    if register != "ctlr" and (about != intid or vcpu not in ("", writer)):
        return routing
    match register:
        case "ctlr":
            what, value = "forwarded", value & 1
        case "isenabler" | "icenabler":
            what, value = "enabled", int(register == "isenabler")
        case "itargetsr":
            what = "target"
        case _:
            return routing
    write = (what, writer, value)
    others = tuple(w for w in routing.writing if w != write)
    crossed = routing.crossed
    if isinstance(event, ev.Called):
        along = {v for w, _, v in others if w == what}
        crossed = crossed | {what} if along - {value} else crossed if along else crossed - {what}
        routing, others = routing._replace(crossed=crossed), tuple(sorted((*others, write)))
    known = isinstance(event, ev.Returned) and what not in crossed
    return routing._replace(writing=others, **{what: value if known else CHANGING})


def writes(scenario: Scenario) -> set[str]:
    """The distributor registers that guests of a scenario write."""
    return {str(a[1]) for v in scenario.vcpus for a in v.program if a[0] == "mmio"}


VGIC_EN_1 = ROUTING.must_not(
    "VGIC-EN-1",
    "An interrupt that was disabled before a vCPU last left its guest is forwarded to it, and acknowledged. (One "
    "that is active at the same time is not judged.)",
    REGISTERS("GICD_ICENABLER<n>"),
    LINUX("vgic/vgic.c vgic_target_oracle()"),
    authority="architecture",
    premise="an interrupt that may be pending is disabled",
    observe="At each acknowledgement: the list register held it pending at the entry and not at the exit before.",
)

VGIC_EN_2 = ROUTING.must(
    "VGIC-EN-2",
    "Disabling does not discard what is pending; enabling an interrupt that is pending delivers it.",
    REGISTERS("GICD_ICENABLER<n>", "disables forwarding, not changes of state"),
    LINUX("vgic/vgic.c vgic_target_oracle()"),
    LINUX("vgic/vgic-mmio.c vgic_mmio_write_senable()"),
    LIBVMM("issue 56"),
    authority="architecture",
    premise="an interrupt is disabled while it may be pending",
    observe="As VGIC-EDGE-1 and VGIC-LVL-1, of an interrupt that was disabled and enabled again.",
    of=LOST,
    where=(DISABLED,),
)

VGIC_EN_3 = ROUTING.must(
    "VGIC-EN-3",
    "An active interrupt that is disabled stays active until the guest ends it, and can be delivered again after that.",
    LINUX("vgic/vgic.c vgic_target_oracle()", "active wins"),
    BAO("issue 371"),
    CHERIBSD("PR 2692"),
    premise="an active interrupt is disabled",
    observe=(
        "The list registers at entry, of SPIs: who handles a private interrupt or an SGI would have to disable it itself, and no "
        "guest here writes the distributor in a handler. Edges after an end while disabled, of all."
    ),
    of=LOST,
    where=(ENDED_DISABLED,),
)

VGIC_EN_4 = ROUTING.may(
    "VGIC-EN-4",
    "An interrupt that is in a list register when another vCPU disables it is acknowledged all the same.",
    REGISTERS("GICD_ICENABLER<n>", "the end of the write does not promise its effect"),
    LINUX("vgic/vgic-mmio.c", "no recall of list registers"),
    authority="architecture",
    observe="An acknowledgement of a disabled interrupt.",
)

VGIC_EN_5 = ROUTING.must(
    "VGIC-EN-5",
    "Nothing pending is forwarded while the distributor is disabled; when it is enabled, what is pending is delivered.",
    REGISTERS("GICD_CTLR", read=False),
    LINUX("vgic/vgic.c vgic_target_oracle() and vgic_kick_vcpus()"),
    authority="architecture",
    premise="GICD_CTLR is written while an interrupt may be pending",
    observe="As VGIC-EN-1 and VGIC-EN-2, for GICD_CTLR.",
    of=LOST,
    where=(OFF,),
)

VGIC_RT_1 = ROUTING.must(
    "VGIC-RT-1",
    "A pending interrupt that is not active goes to its new target: it leaves the old one's list, and the new one "
    "is told.",
    IHI_0048("4.3.12", "quoted in Xen 6e42345c5c06"),
    LINUX("vgic/vgic.c vgic_prune_ap_list()"),
    authority="architecture",
    premise="an interrupt that may be pending is retargeted",
    observe=(
        "As VGIC-EDGE-1, of an interrupt retargeted while it may be pending; and it is not forwarded to the old "
        "target after that one's next exit."
    ),
    of=LOST,
    where=(RETARGETED,),
)

VGIC_RT_4 = ROUTING.may(
    "VGIC-RT-4",
    "An interrupt that is in a list register of its old target is acknowledged there.",
    LINUX("vgic/vgic-mmio-v2.c vgic_mmio_write_target()", "sets the target only"),
    authority="linux",
    observe="An acknowledgement by another than the target.",
)


VGIC_ACT_2 = ROUTING.must_not(
    "VGIC-ACT-2",
    "An interrupt that a write of GICD_ISACTIVER has made active is acknowledged before it is deactivated.",
    REGISTERS("GICD_ISACTIVER<n>", read=False),
    LINUX("vgic/vgic-mmio.c vgic_mmio_write_sactive()"),
    role="distributor",
    authority="architecture",
    premise="an interrupt may be pending while a register has made it active",
    observe="Each acknowledgement after the writer goes on, up to the next end of the interrupt or write of GICD_ICACTIVER.",
)


class Forwarding(NamedTuple):
    """One vCPU's: whether its list registers held the interrupt pending when it last exited, and may go on to do so; why, for
    all the time since, it must not be forwarded there; and why what a list register holds now should not be there.
    """

    held: bool = False
    barred: str = ""
    wrong: str = ""


SPARED = frozenset(c.id for c in (VGIC_EN_1, VGIC_EN_5, VGIC_RT_1))
"""Clauses that say nothing of what a list register holds already. A level's line is looked at anew before each entry."""


def shut(cpu: int, intid: int, source: int, barred: str, look: Look) -> Forwarding:
    """At a VM exit."""
    return Forwarding(barred in SPARED and bool(state_of(look, cpu, intid, source) & PENDING), barred)


def entered(gate: Forwarding, cpu: int, intid: int, source: int, look: Look) -> Forwarding:
    """At a VM entry: an interrupt that is pending now, was not kept from before the exit, and should not have been forwarded since.

    What was active at the same time stays where it is and is judged by nothing here.
    """
    new = state_of(look, cpu, intid, source) == PENDING and not gate.held
    return gate._replace(wrong=gate.barred if new else "")


def opened(gates: Iterable[Forwarding], barred: tuple[str, ...]) -> tuple[Forwarding, ...]:
    """After a change: what no longer holds bars nothing."""
    return tuple(g if g.barred == now else g._replace(barred="") for g, now in zip(gates, barred, strict=True))
