"""What makes a scenario one that can be run: checked before anything is explored, so that nothing of it is charged to an
implementation.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import chain

from conformance.roles.architecture import Architecture
from conformance.roles.nearest import nearest
from conformance.roles.scenario import Argument, Scenario, Thread

DEEPEST_BUFFER, MOST_CPUS, MOST_TOKENS = 8, 16, 8


def refusals(scenario: Scenario, architecture: Architecture) -> list[str]:
    """Why it makes no sense, each reason with the part that is wrong; nothing if it does."""
    for look in (_shape, _words, _calls):
        if wrong := list(look(scenario, architecture)):  # what comes later relies on what came before
            return wrong
    return list(architecture.refuses(scenario))


def _shape(scenario: Scenario, architecture: Architecture) -> Iterator[str]:
    return chain(_cpus(scenario), _names(scenario), _numbers(scenario))


def _cpus(scenario: Scenario) -> Iterator[str]:
    if not 1 <= scenario.cpus <= MOST_CPUS:
        yield f"cpus is {scenario.cpus}: a scenario has 1 to {MOST_CPUS}"
    if not scenario.vcpus:
        yield "there is no vCPU"
    hosts: dict[int, str] = {}
    for n, vcpu in enumerate(scenario.vcpus):
        if vcpu.cpu in hosts and scenario.loaded:
            yield f"vcpu{n} and {hosts[vcpu.cpu]} are both loaded on cpu{vcpu.cpu}: where they share a pCPU, loaded is false"
        hosts[vcpu.cpu] = f"vcpu{n}"
    threads: dict[int, Thread] = {}
    for thread in scenario.threads:
        if thread.cpu in hosts:
            yield f"thread {thread.name} is on cpu{thread.cpu}, where {hosts[thread.cpu]} runs: it takes a CPU of its own"
        if thread.cpu in threads:
            yield f"threads {threads[thread.cpu].name} and {thread.name} are both on cpu{thread.cpu}"
        threads[thread.cpu] = thread
    places = [*hosts, *threads, *(i.cpu for i in scenario.interrupts), *(cpu for _, cpu in scenario.budget.spurious)]
    taken = [(i.vector, i.cpu) for i in scenario.interrupts]
    for vector, cpu in sorted({each for each in taken if taken.count(each) > 1}):
        yield f"interrupt {vector:#x} comes twice to cpu{cpu}, where it would be one: another device's is another interrupt"
    for cpu in sorted({cpu for cpu in places if not 0 <= cpu < scenario.cpus}):
        yield f"there is no cpu{cpu}: {scenario.cpus} CPUs, from cpu0"


def _names(scenario: Scenario) -> Iterator[str]:
    agents = [*scenario.threads, *scenario.devices]
    names = [*(f"vcpu{n}" for n in range(len(scenario.vcpus))), *(agent.name for agent in agents)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two agents are called {name}"
    after = {agent.name: agent.after for agent in agents if agent.after}
    threads = [thread.name for thread in scenario.threads]
    devices = [device.name for device in scenario.devices]
    for name, before in after.items():
        known = [*threads, *devices] if name in devices else threads
        if before not in known:
            kind = "thread or device" if name in devices else "thread"
            yield f"{name} comes after {before!r}, and no {kind} is called so. {nearest(before, known)}"
        seen = {name}
        while before in after and before not in seen:
            seen.add(before)
            before = after[before]
        if before in seen:
            yield f"{name} comes after itself"


def _numbers(scenario: Scenario) -> Iterator[str]:
    budget = scenario.budget
    for what, n, most in (
        ("buffer", scenario.buffer, DEEPEST_BUFFER),
        ("samples", scenario.samples, 1_000_000),
        ("budget.preempt", budget.preempt, MOST_TOKENS),
        ("budget.migrate", budget.migrate, MOST_TOKENS),
        ("budget.exit", budget.exit, MOST_TOKENS),
        ("budget.again", budget.again, MOST_TOKENS),
    ):
        if not 0 <= n <= most:
            yield f"{what} is {n}: it is 0 to {most}"
    if len(set(scenario.vectors)) < len(scenario.vectors):
        yield f"an interrupt is there twice in vectors: {', '.join(map(str, scenario.vectors))}"


def _words(scenario: Scenario, architecture: Architecture) -> Iterator[str]:
    for fact in scenario.facts:
        if fact not in architecture.facts:
            yield f"{fact!r} is no fact of {architecture.name}. {nearest(fact, architecture.facts)}"
    for n, vcpu in enumerate(scenario.vcpus):
        for action in vcpu.program:
            name, operands = str(action[0]) if action else "", action[1:]
            if name not in architecture.instructions:
                yield f"vcpu{n}'s program has {name!r}. {nearest(name, architecture.instructions)}"
            elif len(operands) != len(architecture.instructions[name]):
                due = " ".join((name, *architecture.instructions[name]))
                yield f"vcpu{n}'s program has {' '.join(map(str, action))!r}, and it reads {due}"


def _calls(scenario: Scenario, architecture: Architecture) -> Iterator[str]:
    """Agents' calls fit the routines of roles, and name vCPUs and interrupts of the scenario."""
    routines = {
        name: list(inspect.signature(routine).parameters)[2:]  # less self and cpu
        for role in architecture.roles.values()
        for name, routine in vars(role).items()
        if callable(routine) and not name.startswith("_")
    }
    vcpus = [f"vcpu{n}" for n in range(len(scenario.vcpus))]
    agents = [(a.name, a.routine, a.args) for a in (*scenario.threads, *scenario.devices)]
    for name, routine, args in (
        *agents,
        *((f"the handler of {i.vector:#x}", i.routine, i.args) for i in scenario.interrupts),
    ):
        if routine not in routines:
            yield f"{name} calls {routine!r}, which no role has. {nearest(routine, routines)}"
            continue
        due = routines[routine]
        if len(args) != len(due):
            yield f"{name} calls {routine} with {len(args)} arguments: it takes {', '.join(due) or 'none'}"
            continue
        for parameter, value in zip(due, args, strict=True):
            yield from _argument(f"{name} calls {routine}", parameter, value, vcpus, scenario.vectors)


def _argument(
    call: str, parameter: str, value: Argument, vcpus: Sequence[str], vectors: Sequence[int]
) -> Iterator[str]:
    if parameter == "vcpu" and value not in vcpus:
        yield f"{call} for {value!r}: the scenario has {', '.join(vcpus)}"
    if parameter in ("vector", "intid") and (isinstance(value, str) or value not in vectors):
        yield f"{call} with {value!r}, which is not in vectors"
