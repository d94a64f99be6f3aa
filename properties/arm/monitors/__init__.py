"""The monitors of Arm's virtual GIC: what the manuals and KVM promise, restated over observed state."""

from __future__ import annotations

from conformance.machine.monitor import Monitor
from conformance.roles.arm import LEVEL, LPI
from conformance.roles.scenario import Scenario
from properties.arm.monitors import blocking, crowding, doorbells, going_on, linux, maintenance, nesting, residency
from properties.arm.monitors.active import Active, deactivations
from properties.arm.monitors.edges import EdgeTriggered
from properties.arm.monitors.interrupts import Interrupt
from properties.arm.monitors.levels import Level
from properties.arm.monitors.list_registers import Contents
from properties.arm.monitors.unmade import Unmade


def interrupts(scenario: Scenario) -> list[Interrupt]:
    """One for each interrupt that somebody of the scenario can make pending."""
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    calls = [*scenario.threads, *scenario.interrupts, *scenario.devices]
    injected = {(i, str(c.args[0])) for c in calls if c.routine in ("inject", "vlpi") for i in c.args[1:2]}
    injected |= {
        (a[2], f"vcpu{n}") for n, v in enumerate(scenario.vcpus) for a in v.program if a[:2] == ("mmio", "ispendr")
    }
    made: list[Interrupt] = []
    for intid in scenario.vectors:
        if intid < 16:
            made += [EdgeTriggered(scenario, intid, v, n) for v, n in sent(scenario, intid)]
        elif intid < 32:
            made += [Level(scenario, intid, v) for v in vcpus if (intid, v) in injected]
        elif intid >= LPI:
            made += [EdgeTriggered(scenario, intid, v) for v in vcpus if (intid, v) in injected]
        else:
            made.append(Level(scenario, intid) if intid == LEVEL else EdgeTriggered(scenario, intid))
    return made


def sent(scenario: Scenario, intid: int) -> list[tuple[str, int]]:
    """(target, number of the source) of the SGIs that guests send, or make pending at their own vCPU."""
    pairs = set[tuple[str, int]]()
    for writer, vcpu in enumerate(scenario.vcpus):
        for action in vcpu.program:
            bits = [n for n in range(len(scenario.vcpus)) if len(action) > 3 and int(action[3]) >> n & 1]
            if action[:3] == ("mmio", "sgir", intid):
                pairs |= {(f"vcpu{target}", writer) for target in bits}
            elif action[:3] == ("mmio", "spendsgir", intid):
                pairs |= {(f"vcpu{writer}", source) for source in bits}
    return sorted(pairs)


def monitors(scenario: Scenario) -> list[Monitor]:
    parts = (maintenance, nesting, blocking, going_on, residency, doorbells, crowding, linux)
    watched = interrupts(scenario)
    made: list[Monitor] = [*watched, Unmade(scenario, {(i.bank, i.iar) for i in watched}), Contents(scenario)]
    made += [Active(scenario, f"vcpu{n}") for n in range(len(scenario.vcpus))]
    made += deactivations(scenario)
    return made + [m for part in parts for m in part.monitors(scenario)]
