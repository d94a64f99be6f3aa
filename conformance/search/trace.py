"""From a schedule to rows: what each step did, in the words of the code under test, and what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.automaton.meaning import may_change
from conformance.machine.machine import Machine
from conformance.machine.state import Outcome
from conformance.roles import operations as ops
from conformance.roles.architecture import PLAIN, Architecture
from conformance.search.proof import BreakingSchedule, walk
from conformance.verdict.clause import Row


def rows(machine: Machine, found: BreakingSchedule) -> tuple[Row, ...]:
    """One row a step of the counterexample, the last marked if it is the step that breaks the clause."""
    made: list[Row] = []
    for number, (before, outcome, after) in enumerate(walk(machine, found.schedule), 1):
        agent = machine.agents[found.schedule[number - 1][0]].name
        broken = found.finding in outcome.findings and not found.at_rest
        texts, sites, reads, routine = _account(outcome, machine.assembly.architecture)
        changes = _changes(machine, before, after)
        made.append(Row(number, agent, bool(outcome.lane), texts, changes, routine, reads, broken, sites))
    return tuple(made)


def _account(outcome: Outcome, names: Architecture) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str], str]:
    texts: list[str] = []
    sites: list[str] = []
    reads: dict[str, str] = {}
    routine = ""
    for note in outcome.notes:
        texts.append(describe(note, names))
        sites.append("")
        if len(note) == 4 and isinstance(note[1], ops.Operation):
            routine = routine or note[0]
            sites[-1] = note[3].site
            if isinstance(note[1], ops.Load | ops.Rmw):
                reads[place(note[1].at, note[1].mask)] = show(note[2], note[1].mask)
    return tuple(texts), tuple(sites) if any(sites) else (), reads, routine


def describe(note: tuple[Any, ...], names: Architecture = PLAIN) -> str:
    """One thing that happened, in a few words."""
    match note:
        case (str(routine), ops.Operation() as op, result, _):
            return f"{routine}: {describe_operation(op, result, names)}"
        case ("takes", vector):
            interrupt = names.host_interrupt(vector)
            return f"takes {'interrupt ' * (interrupt[0] == '0')}{interrupt} {names.in_host}"
        case ("acknowledges", vector):
            return f"acknowledges {names.host_interrupt(vector)} in the guest"
        case ("arrives", vector, cpu):
            return f"{names.host_interrupt(vector)} arrives at cpu{cpu}"
        case ("rises", vector, cpu):
            return f"{names.host_interrupt(vector)} is on its way to cpu{cpu}"
        case ("spurious", vector, cpu):
            return f"spurious {names.host_interrupt(vector)} at cpu{cpu}"
        case ("drains", at, value, mask):
            return f"store buffer drains: {place(at, mask)} := {show(value, mask)}"
        case ("guest", action):
            return f"guest: {' '.join(map(str, action))}"
        case ("exits", vcpu, reason):
            return f"{vcpu} exits: {' '.join(map(str, reason))}"
        case ("delivers", vcpu, vector):
            return f"delivers {names.guest_interrupt(vector)} to {vcpu}"
        case ("preempts", thread):
            return f"{thread} is preempted"
        case ("migrates", thread, here, there):
            return f"{thread} moves from cpu{here} to cpu{there}"
        case ("switches in", thread):
            return f"{thread} is back on the CPU"
        case _:
            return " ".join(map(str, note))


def describe_operation(op: ops.Operation, result: Any, names: Architecture = PLAIN) -> str:
    match op:
        case ops.Load(at=at, mask=mask):
            return f"reads {place(at, mask)} = {show(result, mask)}"
        case ops.Store(at=at, value=value, mask=mask):
            return f"{place(at, mask)} := {show(value, mask)}"
        case ops.Rmw(at=at, how="cas", value=value, mask=mask, expect=expect):
            how = "done" if result == expect else "lost, it was " + show(result, mask)
            return f"cmpxchg {place(at, mask)} {show(expect, mask)} -> {show(value, mask)}: {how}"
        case ops.Rmw(at=at, how=how, value=value, mask=mask):
            mask = may_change(op) if ".pid." in at else mask  # the field that is meant, where the code takes the word
            return f"{how} {place(at, mask)} {show(value, mask)}, was {show(result, mask)}"
        case ops.Interrupts(on=on):
            return "interrupts on" if on else "interrupts off"
        case ops.Preemption(on=on):
            return "preemption on" if on else "preemption off"
        case ops.SendIpi(vector=vector, to=to):
            return f"sends {names.host_interrupt(vector)} to {'itself' if to is None else f'cpu{to}'}"
        case ops.Lock(at=at):
            return f"locks {at}"
        case ops.Unlock(at=at):
            return f"unlocks {at}"
        case ops.EnterGuest(vcpu=vcpu):
            return f"enters {vcpu}"
        case ops.Wake(thread=thread):
            return f"wakes {thread}" + ("" if result else " (it was awake)")
        case ops.PrepareToBlock():
            return "about to sleep"
        case ops.FinishBlock():
            return "stays awake"
        case ops.Schedule():
            return "sleeps"
        case ops.Fence():
            return "fence"
        case ops.Assert(what=what):
            return f"fails its assertion: {what}"
        case _:
            return type(op).__name__.lower()


FIELDS: dict[str, tuple[tuple[int, str], ...]] = {
    "pid.control": ((1, "ON"), (2, "SN"), (0xFF << 16, "NV"), (0xFFFFFFFF << 32, "NDST")),
    "lr": (
        (0x3FF, "VirtualID"), (7 << 10, "CPUID"), (1 << 19, "EOI"), (0x1F << 23, "Priority"), (3 << 28, "State"),
        (1 << 30, "Group1"), (1 << 31, "HW"),
    ),
    "vpendbaser": ((0xFFFF, "vPE"), (1 << 60, "Dirty"), (1 << 61, "PendingLast"), (1 << 62, "Doorbell"), (1 << 63, "Valid")),
}  # fmt: skip
"""Fields of the words that have some, by mask."""
MASKS = {name: mask for known in FIELDS.values() for mask, name in known}
WORDS = {stem.split(".")[-1]: tuple(name for _, name in known) for stem, known in FIELDS.items()}
"""The field names of each such word."""


def fields(at: str) -> tuple[str, str, tuple[tuple[int, str], ...]]:
    """What the fields of a word are prefixed with, the word's own name, and its fields; none if it is no such word."""
    owner, _, rest = at.partition(".")
    stem, _, index = rest.partition("[")
    found = FIELDS.get(stem, ())
    return (f"{owner}.{rest}" if index else owner), f"{owner}.{rest.split('.')[-1]}", found


def place(at: str, mask: int) -> str:
    """A location as the field's people write it: PIR[200], vcpu0.ON, cpu0.lr[0].State, vcpu0.mode."""
    prefix, whole, known = fields(at)
    if known:
        names = [name for bits, name in known if bits & mask]
        return f"{prefix}.{'+'.join(names)}" if 0 < len(names) < len(known) else whole
    owner, _, rest = at.partition(".pid.")
    if rest.startswith("pir["):
        word = int(rest[4:-1])
        if mask.bit_count() == 1:
            return f"{owner}.PIR[{64 * word + mask.bit_length() - 1}]"
        if mask == ops.WORD:
            return f"{owner}.PIR word {word}"
        low = (mask & -mask).bit_length() - 1
        return f"{owner}.PIR[{64 * word + mask.bit_length() - 1}:{64 * word + low}]"
    return at


def show(value: Any, mask: int = ops.WORD) -> str:
    """A value under a mask, shifted down to bit 0; small numbers decimal, large ones hexadecimal."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value) or "free"
    if mask and mask != ops.WORD:
        value = (value & mask) >> ((mask & -mask).bit_length() - 1)
    return str(value) if value < 10 else hex(value)


def _changes(machine: Machine, before: int, after: int) -> dict[str, tuple[str, str]]:
    """Memory, interrupt flags and latched and travelling interrupts that the step changed, fields named one by one."""
    changed: dict[str, tuple[str, str]] = {}
    for at, cell in machine.memory.items():
        if (before ^ after) & cell.mask:
            old, new = cell.unpack(before), cell.unpack(after)
            for name, a, b in _split(at, old, new):
                changed[name] = (a, b)
    for c, cpu in enumerate(machine.cpus):
        for cell, name in ((cpu.latched, "latched"), (cpu.flight, "in flight")):
            if (before ^ after) & cell.mask:
                shown = machine.assembly.architecture.host_interrupt
                changed[f"cpu{c} {name}"] = (_vectors(cell.unpack(before), shown), _vectors(cell.unpack(after), shown))
        if (before ^ after) & cpu.flag.mask:
            changed[f"cpu{c} IF"] = (str(int(cpu.flag.unpack(before))), str(int(cpu.flag.unpack(after))))
    for name, thread in machine.threads.items():
        if (before ^ after) & thread.status.mask:
            changed[name] = (thread.status.unpack(before), thread.status.unpack(after))
    return changed


def _split(at: str, old: ops.Value, new: ops.Value) -> list[tuple[str, str, str]]:
    if isinstance(old, int) and isinstance(new, int):
        if named := [m for m, _ in fields(at)[2] if (old ^ new) & m]:
            return [(place(at, m), show(old, m), show(new, m)) for m in named]
        if ".pid.pir[" in at:
            bits = [1 << n for n in range(64) if (old ^ new) >> n & 1]
            return [(place(at, m), show(old, m), show(new, m)) for m in bits]
    return [(place(at, ops.WORD), show(old), show(new))]


def _vectors(mask: int, shown: Callable[[int], str]) -> str:
    return ", ".join(shown(v) for v in range(mask.bit_length()) if mask >> v & 1) or "none"
