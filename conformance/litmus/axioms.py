"""Two memory models as axioms over executions: x86-TSO and Armv8.

An execution is the events of its threads, what each read reads from (`rf`), and for each piece of memory the order of
writes (`co`); `fr` leads from a read to every write after the one it read from. It is allowed if

  - coherence:  program order of one piece, rmw, rf, co and fr have no cycle;
  - atomicity:  no other thread's write comes between the read and the write of an atomic pair;
  - order:      what the model keeps of each thread's order, and rf, co and fr between threads (TSO: all co and fr),
                have no cycle. What another thread observes of one piece of an access it observes of the whole access.

What is kept of a thread's order is `kept`: for x86-TSO after S. Owens, S. Sarkar, P. Sewell, A Better x86 Memory Model:
x86-TSO (TPHOLs 2009), for Armv8 after the Arm ARM (DDI 0487, B2.3, "Locally-ordered-before") in the words of its
machine-readable model. Accesses of different sizes are ordered as J. Alglave and others do in Armed Cats (TOPLAS 2021,
section 5) and the machine-readable models since (aarch64.cat, x86tso-mixed.cat): observed-by leads to the whole of a
single-copy atomic access, and so does a write that comes later to the same piece; an earlier read of what a read
overlaps is before whatever write overwrites any piece of the later one (`hazards`). Both speak of aligned accesses to
write-back memory: no page tables, no instruction fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from conformance.litmus.thread import MemoryEvent
from conformance.litmus.values import Address, Read

Model = Literal["tso", "armv8", "sc"]
MODELS: tuple[Model, ...] = ("tso", "armv8", "sc")


def kept(model: Model, events: Sequence[MemoryEvent]) -> list[int]:
    """For each event of a thread, those that the model puts after it, as a bit mask over the thread's events."""
    match model:
        case "tso":
            return _closed(_tso(events))
        case "armv8":
            return _armv8(events)
        case "sc":
            memory, whole = _mask(events, lambda e: e.kind != "F"), wholes(events)
            return [memory & _after(e.index) & ~whole[e.index] if e.kind != "F" else 0 for e in events]


def wholes(events: Sequence[MemoryEvent]) -> list[int]:
    """For each event of a thread the pieces of its access, itself among them, as a bit mask."""
    of: dict[int, int] = {}
    firsts = [event.index if event.access < 0 else event.access for event in events]
    for event, first in zip(events, firsts, strict=True):
        of[first] = of.get(first, 0) | 1 << event.index
    return [of[first] for first in firsts]


def hazards(events: Sequence[MemoryEvent]) -> list[int]:
    """For each read the earlier reads, as a bit mask, of a piece that its access takes too (Arm ARM B2.3,
    "Hazard-ordered-before"). With accesses of one size coherence says the same.
    """
    whole = wholes(events)
    made = [0] * len(events)
    for n, event in enumerate(events):
        if event.kind == "R" and whole[n] != 1 << n:
            touched = {events[piece].at for piece in bits(whole[n])}
            for earlier in events[:n]:
                overlaps = earlier.kind == "R" and earlier.at in touched and earlier.line != event.line
                made[n] |= overlaps << earlier.index
    return made


def _mask(events: Sequence[MemoryEvent], which: Callable[[MemoryEvent], bool]) -> int:
    return sum(1 << event.index for event in events if which(event))


def _after(index: int) -> int:
    """All later events."""
    return -1 << index + 1


def _closed(order: list[int]) -> list[int]:
    """The transitive closure of an order that only leads forward."""
    for i in range(len(order) - 1, -1, -1):
        rest, order[i] = order[i], 0
        while rest:
            j = (rest & -rest).bit_length() - 1
            order[i] |= 1 << j | order[j]
            rest &= ~order[i] & ~(1 << j)
    return order


def _tso(events: Sequence[MemoryEvent]) -> list[int]:
    """All of program order but a write before a read, unless a full fence stands between or one of them is locked.

    What does not wait in the store buffer (`message`) takes effect at once: before all that follows, and, unless a fence
    or a locked operation stands between, perhaps before an earlier write.
    """
    everything = _mask(events, lambda e: e.kind != "F")
    writes = _mask(events, lambda e: e.kind == "W" and "message" not in e.order)
    locked = _mask(events, lambda e: "locked" in e.order)
    fences = [e.index for e in events if "full" in e.order]
    whole = wholes(events)
    order: list[int] = []
    for e in events:
        later = everything & _after(e.index) & ~whole[e.index]
        if e.kind == "F":
            order.append(0)
        elif e.kind == "R" or "locked" in e.order or "message" in e.order:
            order.append(later)
        else:
            fence = next((f for f in fences if f > e.index), None)
            order.append(later & (writes | locked | (_after(fence) if fence is not None else 0)))
    return order


_BARRIERS = ("full", "dsb", "load", "store", "dsb.load", "dsb.store")


def _armv8(events: Sequence[MemoryEvent]) -> list[int]:
    """Locally-ordered-before. The names are those of the Arm ARM; each line is one of its alternatives.

    A write to a system register of the interrupt controller (`message`) is kept behind earlier accesses by DSB alone:
    an assumption, for the model itself speaks of memory only.
    """
    po = [_after(e.index) & _mask(events, lambda o, e=e: o.line != e.line) for e in events]
    memory, reads, writes = (_mask(events, lambda e, k=k: e.kind in k) for k in ("RW", "R", "W"))
    acquires = _mask(events, lambda e: "A" in e.order)
    acquires_pc = acquires | _mask(events, lambda e: "Q" in e.order)
    releases = _mask(events, lambda e: "L" in e.order)
    isb = _mask(events, lambda e: "isb" in e.order)
    messages = _mask(events, lambda e: "message" in e.order)
    same = {e.index: _mask(events, lambda o, e=e: o.at == e.at and o.at is not None) for e in events}
    order = [0] * len(events)

    def every(mask: int) -> Iterator[int]:
        return (e.index for e in events if mask >> e.index & 1)

    def past(kinds: int, first: int) -> int:
        """Memory events after the first event of `kinds` that follows `first` in program order."""
        found = next(every(kinds & po[first]), None)
        return po[found] & memory if found is not None else 0

    fences = {k: _mask(events, lambda e, k=k: k in e.order) for k in _BARRIERS}
    whole = wholes(events)
    lrs: dict[int, int] = {}
    for w in every(writes):
        nearest = next(every(po[w] & same[w] & writes), None)
        lrs[w] = po[w] & same[w] & reads & (~po[nearest] if nearest is not None else -1)
    for e in events:
        i = e.index
        if e.kind == "F":
            continue
        for w in every(po[i] & same[i] & writes):  # lws
            order[i] |= whole[w]
        order[i] |= past(fences["full"], i) & ~messages | past(fences["dsb"], i)  # bob
        if e.kind == "R":
            if "noret" not in e.order:
                order[i] |= past(fences["load"], i) & ~messages | past(fences["dsb.load"], i)
            if acquires_pc >> i & 1:
                order[i] |= po[i] & memory
        else:
            order[i] |= past(fences["store"], i) & writes & ~messages | past(fences["dsb.store"], i)
            if releases >> i & 1:
                order[i] |= po[i] & acquires
                if e.rmw >= 0 and acquires >> e.rmw & 1 and events[e.rmw].line == e.line:
                    order[i] |= po[i] & memory
        order[i] |= po[i] & releases
        if e.rmw >= 0:  # aob
            order[e.rmw] |= 1 << i
            order[e.rmw] |= lrs[i] & acquires_pc
    depends: list[int] = [0] * len(events)
    """By read: the events that its value reaches by any way but control; a pick-basic-dependency."""
    for e in events:
        local = lrs.get(e.index, 0)
        to_write = 1 << e.index & writes
        before_isb = e.kind == "F" and isb >> e.index & 1
        for r in e.addr:  # dob
            order[r] |= 1 << e.index | local | po[e.index] & writes | past(isb, e.index) & reads
        for r in e.data:
            order[r] |= 1 << e.index | local
        for r in e.ctrl:
            order[r] |= to_write | (po[e.index] & reads if before_isb else 0)
        for r in e.pick_addr - e.addr:  # pob
            order[r] |= to_write | po[e.index] & writes | past(isb, e.index)
        for r in e.pick_data:
            order[r] |= to_write
        for r in e.pick_ctrl:
            order[r] |= to_write | (po[e.index] & memory if before_isb else 0)
        for r in e.flow:
            depends[r] |= 1 << e.index
    for i in range(len(order)):
        order[i] &= ~(1 << i) & _after(i)
    _closed(order)
    picked = [0] * len(order)
    for r in every(reads):
        for e in every(depends[r] & _after(r)):  # pick-lob
            picked[r] |= order[e] & writes
    return _closed([kept | more for kept, more in zip(order, picked, strict=True)])


@dataclass(frozen=True, slots=True)
class Execution:
    """A candidate: the events of all threads, and how they read from and overwrite each other."""

    threads: Sequence[Sequence[MemoryEvent]]
    rf: dict[Read, Read | None]
    """Each read's write; None is the initial value."""
    co: dict[Address, tuple[Read, ...]]
    """The writes of each piece of memory, first to last."""


def forbidden(execution: Execution, model: Model) -> str:
    """Which axiom an execution breaks, with the cycle; empty if it is allowed. Plain relations, no solver."""
    events = {event.name: event for thread in execution.threads for event in thread if event.kind != "F"}
    place = {w: n for order in execution.co.values() for n, w in enumerate(order)}
    rf: set[tuple[Read, Read]] = {(w, r) for r, w in execution.rf.items() if w is not None}
    co = {(a, b) for order in execution.co.values() for n, a in enumerate(order) for b in order[n + 1 :]}
    fr: set[tuple[Read, Read]] = set()
    for r, w in execution.rf.items():
        at = events[r].at
        assert at
        fr |= {(r, later) for later in execution.co.get(at, ())[place[w] + 1 if w is not None else 0 :] if later != r}
    rmw = {((e.thread, e.rmw), e.name) for e in events.values() if e.rmw >= 0}
    per_location: dict[tuple[int, Address | None], list[Read]] = {}
    for event in events.values():
        per_location.setdefault((event.thread, event.at), []).append(event.name)
    po_loc = {(a, b) for same in per_location.values() for n, a in enumerate(same) for b in same[n + 1 :]}
    if cycle := _cycle(po_loc | rmw | rf | co | fr):
        return f"coherence: {_told(cycle, events)}"
    for r, w in sorted(rmw):
        at = events[w].at
        assert at
        source = execution.rf[r]
        between = execution.co[at][place[source] + 1 if source is not None else 0 : place[w]]
        if other := next((o for o in between if o[0] != w[0]), None):
            return f"atomicity: {_told((r, other, w), events)}"
    local: set[tuple[Read, Read]] = set()
    for thread in execution.threads:
        for i, after in enumerate(kept(model, thread)):
            local |= {((thread[i].thread, i), (thread[i].thread, j)) for j in range(len(thread)) if after >> j & 1}
    across = rf | co | fr
    seen = across if model == "sc" else {(a, b) for a, b in across if a[0] != b[0]}
    if model == "armv8":
        local |= _hazards(execution, fr)
    whole = [wholes(thread) for thread in execution.threads]
    seen = {(a, (t, other)) for a, (t, i) in seen for other in bits(whole[t][i])}
    if model == "tso":
        seen |= co | fr
    if cycle := _cycle(local | rmw | seen):
        return f"order: {_told(cycle, events)}"
    return ""


def _hazards(execution: Execution, fr: set[tuple[Read, Read]]) -> set[tuple[Read, Read]]:
    """From a read to what another thread writes over a later read that overlaps it."""
    made: set[tuple[Read, Read]] = set()
    before = [hazards(thread) for thread in execution.threads]
    whole = [wholes(thread) for thread in execution.threads]
    for (t, i), (u, j) in fr:
        if t != u:
            made |= {((t, n), (u, m)) for n in bits(before[t][i]) for m in bits(whole[u][j])}
    return made


def bits(mask: int) -> Iterator[int]:
    return (n for n in range(mask.bit_length()) if mask >> n & 1)


def _told(cycle: Sequence[Read], events: dict[Read, MemoryEvent]) -> str:
    return " < ".join(f"P{e.thread} {e.kind} {e.at} ({e.text})" for e in (events[n] for n in cycle if n in events))


def _cycle(pairs: Iterable[tuple[Read, Read]]) -> tuple[Read, ...]:
    """A cycle of the relation, or nothing."""
    after: dict[Read, list[Read]] = {}
    for a, b in sorted(pairs):
        after.setdefault(a, []).append(b)
    done: set[Read] = set()
    for root in after:
        stack, walk = [iter((root,))], list[Read]()
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                if walk:
                    done.add(walk.pop())
            elif node in walk:
                return tuple(walk[walk.index(node) :])
            elif node not in done:
                walk.append(node)
                stack.append(iter(after.get(node, ())))
    return ()
