"""docs/operations.md: what every operation is, and what it does to a machine, measured.

    python -m conformance.machine.page > docs/operations.md

What the tables say is what the machine was seen to do (`measure`); only the texts at the end are the operations' own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from conformance.adapters.source import Fault
from conformance.machine import facts
from conformance.machine.measure import DEPTH, SAMPLES, Attempt, Sample, Seen, classes, other_steps, small
from conformance.machine.perform import HARDWARE
from conformance.roles import operations as ops
from conformance.roles.scenario import Budget

# The columns


def who(sample: Sample) -> str:
    """Who may perform it."""
    device = issubclass(type(Attempt(small(), sample).node.answer), HARDWARE)
    try:
        Attempt(small(), sample, hardware=False).perform()
    except Fault:
        return "hardware" if device else "processor"
    return "all" if device else "CPUs"


def alone(sample: Sample) -> str:
    """Whether it is a step of its own."""
    circumstances = {
        "": small(),
        "with store buffers": small(DEPTH),
        "if the scenario preempts": small(0, Budget(preempt=1)),
        "if the scenario preempts and migrates": small(0, Budget(preempt=1, migrate=1)),
    }
    yes = [how for how, machine in circumstances.items() if Attempt(machine, sample).own_step()]
    text = "yes" if "" in yes else yes[0] if yes else "no"
    if sample.places:
        kinds = {"private": {}, "guarded": {"lock": "cpu0"}, "constant": {}}
        merged = [k for k, given in kinds.items() if not _at(sample, k, given).own_step()]
        text += f", but not at {', '.join(merged)} locations"
    return text


def _at(sample: Sample, kind: str, given: Mapping[str, Any]) -> Attempt:
    attempt = Attempt(small(), sample, at=kind)
    for name, value in given.items():
        attempt.let(name, value)
    return attempt


def waits(sample: Sample) -> str:
    found: list[str] = []
    if sample.name == "lock" and Attempt(small(), sample).let("lock", "cpu1").perform() is None:
        found.append("while the lock is held")
    if sample.name == "relax" and Attempt(small(), sample).let("x", 0).perform() is None:
        found.append("while nothing it read has changed")
    if Attempt(small(DEPTH), sample).buffering(1).perform() is None:
        found.append("until its store buffer has drained")
    elif Attempt(small(DEPTH), sample).buffering(DEPTH).perform() is None:
        found.append("while its store buffer is full")
    return "; ".join(found) or "no"


def buffered(sample: Sample, plain: Seen) -> str:
    """What store buffers change about its footprint."""
    seen = Attempt(small(DEPTH), sample).perform()
    assert seen
    texts = [
        f"{verb} {_list(more)}{' instead' if gone else ''}"
        for verb, more, gone in (
            ("reads", seen.reads - plain.reads, plain.reads - seen.reads),
            ("writes", seen.writes - plain.writes, plain.writes - seen.writes),
        )
        if more
    ]
    return "; ".join(texts) or "the same"


def footprint(sample: Sample, cpu: int = 0) -> Seen:
    seen = Attempt(small(), sample, cpu).perform()
    assert seen, f"{sample.name} has to wait in the state it is measured in"
    return seen


def conflicts(sample: Sample) -> str:
    """Operations of the other CPU with which it does not commute, both at the same location, lock or thread."""
    mine = footprint(sample)
    found = [f"`{other.name}`" for other in SAMPLES.values() if mine.conflicts(footprint(other, 1))]
    return ", ".join(found) or "none"


PLACES = {
    "x": "the location",
    "lock": "the lock",
    "list": "the lists",
    "cpu0.interrupts": "its interrupt flag",
    "cpu0.latched": "its latched interrupts",
    "cpu0.in_flight": "messages on their way to it",
    "cpu1.in_flight": "messages on their way to the destination",
    "cpu0.store_buffer": "its store buffer",
    "vcpu0.status": "its thread's state",
    "vcpu0.place": "its thread's place",
    "vcpu1.place": "the other thread's place",
    "vcpu0.saved": "its thread's saved calls",
    "vcpu1.saved": "the other thread's saved calls",
    "vcpu0.unpreemptible": "its preemption count",
    "vcpu0.guest": "its guest's position",
    "vcpu0.halted": "whether its guest is halted",
    "vcpu1.status": "the other thread's state",
    "budget.preempt": "tokens",
    "budget.migrate": "tokens",
    "budget.exit": "tokens",
    "budget.spurious.0x40.cpu0": "tokens",
}


def _list(cells: frozenset[str]) -> str:
    unknown = cells - PLACES.keys()
    assert not unknown, f"no words for {', '.join(sorted(unknown))}"
    return ", ".join(dict.fromkeys(text for name, text in PLACES.items() if name in cells)) or "nothing"


STEPS = {
    facts.Takes: "the host takes a latched interrupt",
    facts.Acknowledges: "the processor acknowledges one in the guest",
    facts.GuestDoes: "the guest executes an instruction",
    facts.Arrives: "a message arrives",
    facts.Drains: "a store drains",
    facts.SwitchesIn: "a waiting thread is switched in",
    facts.Preempts: "a thread is preempted (optional)",
    facts.Migrates: "a thread off its CPU moves (optional)",
    facts.Exits: "a guest exits by itself (optional)",
    facts.Strays: "an interrupt comes from nowhere (optional)",
}
"""By the first note of such a step."""


# The page

INTRODUCTION = """\
# Operations

Everything that code under test can do, measured on the machine: `python -m conformance.machine.page > docs/operations.md` writes this
page, and a test fails when it is out of date.

A routine asks for one operation after another and is told each result; between two of them it is deterministic. **Own step**: the operation
begins a step, so that an interrupt, preemption or any step of another agent may come just before it. What is no step of its own joins the
step before it, because no other agent could tell the difference. **Reads** and **writes** are the footprint without store buffers, beside
the CPU's own calls, which every operation moves on. Operations whose footprints overlap, one of them writing, **conflict**: the
search tries both orders. They are compared on two CPUs, at the same location or lock, each naming the other's thread or CPU. **By**: all
agents; CPUs (software and processor, no device); hardware (processor and devices); or the processor alone.
"""

OTHERS = """\
## Steps that are no operation

With store buffers, each where it touches least; beside what the CPU runs. Optional steps spend a token of the scenario's budget.
"""


def page() -> str:
    header = ("Operation", "By", "Own step", "Reads", "Writes", "Waits", "With store buffers", "Conflicts with")
    rows = [header, ("---",) * len(header)]
    for sample in SAMPLES.values():
        plain = footprint(sample)
        rows.append(
            (
                f"`{sample.name}`",
                who(sample),
                alone(sample),
                _list(plain.reads),
                _list(plain.writes),
                waits(sample),
                buffered(sample, plain),
                conflicts(sample),
            )
        )
    least = [(text, seen) for kind, text in STEPS.items() for seen in (other_steps()[kind],)]
    steps = [("Step", "Reads", "Writes"), ("---",) * 3]
    steps += [(what, _list(seen.reads), _list(seen.writes)) for what, seen in least]
    texts = [_described(name, cls) for name, cls in classes().items()]
    return (
        "\n".join([INTRODUCTION, _table(rows), OTHERS, _table(steps), "## What each answers\n", *texts]).rstrip() + "\n"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _described(name: str, cls: type[ops.Operation]) -> str:
    fields = [f"`{f.name}`" + ("" if f.required else f" = {_default(f)}") for f in msgspec.structs.fields(cls)]
    return f"### `{name}`\n\n{inspect.getdoc(cls)}\n" + (f"\nFields: {', '.join(fields)}.\n" if fields else "")


def _default(described: Any) -> str:
    return "a full word" if described.default == ops.WORD else repr(described.default)


if __name__ == "__main__":
    print(page(), end="")
