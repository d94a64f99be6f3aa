"""What the guest has made of the distributor, as far as one interrupt is concerned: enabled, forwarded, to whom.

A register holds its new value for sure once the write's routine has returned; from its call to its return, nobody can
say. Initially the distributor is on, everything is enabled, and every SPI targets vcpu0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from conformance.machine import events as ev
from conformance.machine.monitor import Look
from conformance.roles.scenario import Scenario
from properties.arm.monitors.registers import PENDING, state_of

CHANGING = -1


class Routing(NamedTuple):
    """1, 0 or CHANGING each; `target` is the number of a vCPU, or CHANGING."""

    enabled: int = 1
    forwarded: int = 1
    target: int = 0


def written(event: ev.Called | ev.Returned, intid: int, vcpu: str, routing: Routing) -> Routing:
    """After the call or return of a routine that writes the distributor. `vcpu`: whose banked interrupt it is, or ""."""
    match event:
        case ev.Called(routine="distributor", args=(str(writer), str(register), int(about), int(value))):
            done = False
        case ev.Returned(routine="distributor", args=(str(writer), str(register), int(about), int(value))):
            done = True
        case _:
            return routing
    if register == "ctlr":
        return routing._replace(forwarded=value & 1 if done else CHANGING)
    if about != intid or vcpu not in ("", writer):
        return routing
    match register:
        case "isenabler" | "icenabler":
            return routing._replace(enabled=int(register == "isenabler") if done else CHANGING)
        case "itargetsr":
            return routing._replace(target=value if done else CHANGING)
        case _:
            return routing


def writes(scenario: Scenario) -> set[str]:
    """The distributor registers that guests of a scenario write."""
    return {str(a[1]) for v in scenario.vcpus for a in v.program if a[0] == "mmio"}


class Forwarding(NamedTuple):
    """One vCPU's: whether its list registers held the interrupt pending when it last exited; why, for all the time since,
    it must not be forwarded there; and why what a list register holds now should not be there.
    """

    held: bool = False
    barred: str = ""
    wrong: str = ""


def shut(gate: Forwarding, cpu: int, intid: int, source: int, barred: str, look: Look) -> Forwarding:
    """At a VM exit."""
    return Forwarding(bool(state_of(look, cpu, intid, source) & PENDING), barred, "")


def entered(gate: Forwarding, cpu: int, intid: int, source: int, look: Look) -> Forwarding:
    """At a VM entry: an interrupt that is pending now, was not at the exit, and should not have been forwarded since.

    What was active at the same time stays where it is and is judged by nothing here.
    """
    new = state_of(look, cpu, intid, source) == PENDING and not gate.held
    return gate._replace(wrong=gate.barred if new else "")


def opened(gates: Iterable[Forwarding], barred: tuple[str, ...]) -> tuple[Forwarding, ...]:
    """After a change: what no longer holds bars nothing."""
    return tuple(g if g.barred == now else g._replace(barred="") for g, now in zip(gates, barred, strict=True))
